"""Variational autoencoders against truth: exact posteriors, the linear one in closed form, gradients by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from ganjax.core import Batch, Moment
from ganjax.dynamics import View
from ganjax.games import variational
from ganjax.games.variational import DECODER, ENCODER, Coded, active_units, bound, vae
from ganjax.likelihoods import bernoulli, gaussian, normal
from ganjax.models.vae import Decoder, Encoder


@pytest.fixture(autouse=True)
def _double(float64):
    """Oracles need it."""


EIGENVALUES = np.array([5.0, 3.0, 2.0, 1.0, 0.5, 0.2])


class LinearEncoder(nn.Module):
    size: int

    @nn.compact
    def __call__(self, x):
        log_std = self.param("log_std", nn.initializers.zeros, (self.size,))
        mean = nn.Dense(self.size, use_bias=False, name="mean")(x)
        return jnp.stack([mean, jnp.broadcast_to(log_std, mean.shape)], 1)


class LinearDecoder(nn.Module):
    dimensions: int

    @nn.compact
    def __call__(self, z):
        return nn.Dense(self.dimensions, use_bias=False, name="mean")(z)


def _whitened(count=400):
    """Points whose covariance has these eigenvalues exactly, on the axes."""
    x = np.random.default_rng(0).normal(size=(count, 6))
    x -= x.mean(0)
    u, _, vt = np.linalg.svd(x, full_matrices=False)
    return jnp.asarray(np.sqrt(count * EIGENVALUES) * (u @ vt))


def _optimum(s, beta=1.0, size=6):
    """The linear VAE of noise s: `|w_i|^2 = lambda_i - beta s`, posterior variance `beta s / lambda_i`."""
    level = beta * s
    active = EIGENVALUES[:size] > level
    w = np.sqrt(np.where(active, EIGENVALUES[:size] - level, 0))
    variance = np.where(active, level / EIGENVALUES[:size], 1.0)
    gain = np.where(active, w / (w**2 + level), 0.0)
    return {
        ENCODER: {"mean": {"kernel": jnp.asarray(np.eye(6)[:, :size] * gain)}, "log_std": jnp.log(variance) / 2},
        DECODER: {"mean": {"kernel": jnp.asarray((np.eye(6)[:, :size] * w).T)}},
    }


def _linear_cost(params, x, s, beta):
    """The bound of the linear VAE, the expectation over the posterior in closed form."""
    mean, log_std = x @ params[ENCODER]["mean"]["kernel"], params[ENCODER]["log_std"]
    w = params[DECODER]["mean"]["kernel"]
    error = ((x - mean @ w) ** 2).sum(1).mean() + ((jnp.exp(log_std)[:, None] * w) ** 2).sum()
    kl = (mean**2 + (jnp.exp(2 * log_std) - 1 - 2 * log_std)[None]).sum(1).mean() / 2
    return error / (2 * s) + 3 * jnp.log(2 * jnp.pi * s) + beta * kl


@pytest.mark.parametrize(("s", "beta"), [(0.7, 1.0), (0.4, 1.5), (2.5, 1.0)])
def test_the_linear_vae_is_reverse_water_filling(s, beta):
    """KL_i = log(lambda_i / level) / 2 at the level beta s, which is also the error along what is kept."""
    x, params, level = _whitened(), _optimum(s, beta), beta * s
    slope = jax.jit(jax.grad(_linear_cost))(params, x, s, beta)
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(slope)) < 1e-10, "a stationary point"
    x, params = np.asarray(x), jax.tree.map(np.asarray, params)
    mean, log_std = x @ params[ENCODER]["mean"]["kernel"], params[ENCODER]["log_std"]
    kl = (mean**2 + (np.exp(2 * log_std) - 1 - 2 * log_std)[None]).mean(0) / 2
    np.testing.assert_allclose(kl, np.maximum(0, np.log(EIGENVALUES / level) / 2), atol=1e-10)
    w = params[DECODER]["mean"]["kernel"]
    error = ((x - mean @ w) ** 2).mean(0) + ((np.exp(log_std)[:, None] * w) ** 2).sum(0)
    np.testing.assert_allclose(error, np.minimum(EIGENVALUES, level), atol=1e-10)
    units = active_units(mean)
    assert units == (1.0101 * level < EIGENVALUES).sum() or abs(EIGENVALUES / level - 1).min() < 0.02


def _game(objective="elbo", samples=1, size=6, **options):
    networks = LinearEncoder(size), LinearDecoder(6)
    return vae(*networks, gaussian(np.sqrt(0.7)), size=size, objective=objective, samples=samples, **options)


def _moment(x, key=0, step=0):
    batch = Batch(x, None, jnp.arange(len(x)))
    return Moment({ENCODER: {}, DECODER: {}}, batch, jax.random.key(key), step)


def test_the_game_is_that_bound():
    """The mean over many keys is the closed form, within four standard errors; its terms are logged in nats."""
    x, params, game = _whitened(50), _optimum(0.7), _game(samples=200)
    cost = jax.jit(game.costs[ENCODER])
    values = [cost(params, _moment(x, key)) for key in range(40)]
    found = np.array([value for value, _ in values])
    expected = _linear_cost(params, x, 0.7, 1.0)
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found)) + 1e-6
    metrics = values[0][1].metrics
    np.testing.assert_allclose(metrics["reconstruction"] + metrics["kl"], found[0], rtol=1e-10)


def test_players_own_what_they_move_and_pay_what_is_theirs():
    """The decoder does not pay for the divergence, and a schedule of beta is that of the step."""
    x, game = _whitened(20), _game(beta=lambda step: jnp.minimum(1.0, step / 10))
    params, _ = jax.jit(game.init)(jax.random.key(1), _moment(x).batch)
    early, late = (jax.jit(game.costs[ENCODER])(params, _moment(x, step=step)) for step in (0, 20))
    np.testing.assert_allclose(late[0] - early[0], late[1].metrics["kl"], rtol=1e-8)
    field = jax.jit(lambda moment: View(game, moment).field(params).gradients)
    fields = [field(_moment(x, step=step)) for step in (0, 20)]
    np.testing.assert_array_equal(*(field[DECODER]["mean"]["kernel"] for field in fields))
    assert (fields[0][ENCODER]["mean"]["kernel"] != fields[1][ENCODER]["mean"]["kernel"]).any()


def test_free_bits_cost_nothing_below_the_line():
    """The maximum is taken of the mean over the batch; a latent under it feels no divergence at all."""
    x = _whitened(50)
    params = _optimum(0.7)  # divergences of .98, .73, .52, .18 nats and twice 0
    plain, free = (jax.jit(jax.grad(lambda p, g=game: g.costs[ENCODER](p, _moment(x))[1].metrics["kl"])) for game in
                   (_game(), _game(free_bits=0.4)))  # fmt: skip
    own, without = (np.asarray(slope(params)[ENCODER]["mean"]["kernel"]) for slope in (free, plain))
    np.testing.assert_array_equal(own[:, 3:], 0)
    np.testing.assert_allclose(own[:, :3], without[:, :3], rtol=1e-10)
    value = jax.jit(_game(free_bits=0.4).costs[ENCODER])(params, _moment(x))[1].metrics["kl"]
    kl = np.maximum(0, np.log(EIGENVALUES / 0.7) / 2)
    np.testing.assert_allclose(value, np.maximum(0.4, kl).sum(), rtol=1e-8)


def _scalar(z):
    """One latent, p(x | z) = N(z, .5), x = 1.3, q = N(.6, .5)."""
    z = jnp.asarray(z)[..., None]
    count = z.shape[:1]
    log_likelihood = normal(jnp.full_like(z, 1.3), z, jnp.full_like(z, np.log(0.5) / 2))
    return Coded(jnp.full((*count, 1), 0.6), jnp.full((*count, 1), np.log(0.5) / 2), z, log_likelihood)


def test_bounds_of_one_latent_by_quadrature():
    """log p = -1.6850044, L_1 = -1.8389385; L_k rises and ends k (log p - L_k) -> .0900."""
    q = stats.norm(0.6, np.sqrt(0.5))
    weight = jax.jit(lambda z: _scalar(z).log_weights())
    one = lambda z: float(weight(np.array([[z]]))[0, 0])  # noqa: E731
    first, _ = integrate.quad(lambda z: q.pdf(z) * one(z), -6, 7)
    evidence, _ = integrate.quad(lambda z: q.pdf(z) * np.exp(one(z)), -6, 7)
    np.testing.assert_allclose([first, np.log(evidence)], [-1.8389385, -1.6850044], atol=1e-6)
    np.testing.assert_allclose(np.log(evidence), stats.norm.logpdf(1.3, 0, np.sqrt(1.5)), atol=1e-7)
    draws = q.rvs((40_000, 50), random_state=0)
    mean = jax.jit(lambda draws: bound(_scalar(draws).log_weights()).mean())
    found = {k: float(mean(draws[:, :k])) for k in (1, 2, 5, 10, 50)}
    assert list(found.values()) == sorted(found.values()) and found[50] < np.log(evidence)
    np.testing.assert_allclose([found[k] for k in (2, 5, 10, 50)], [-1.7429763, -1.7048, -1.6941, -1.6866], atol=4e-3)


def test_at_the_posterior_every_bound_is_the_evidence_and_the_path_is_flat():
    """q = p(z | x) = N(1.3 / 1.5, 1/3): each weight is log p(x), and the sticking-the-landing gradient is zero."""
    z = np.random.default_rng(0).normal(1.3 / 1.5, np.sqrt(1 / 3), (7, 20))
    seen = _scalar(z)._replace(mean=jnp.full((7, 1), 1.3 / 1.5), log_std=jnp.full((7, 1), -np.log(3) / 2))
    np.testing.assert_allclose(
        jax.jit(lambda: seen.log_weights())(), stats.norm.logpdf(1.3, 0, np.sqrt(1.5)), rtol=1e-12
    )

    def path(mean, epsilon):
        z = (mean + epsilon / jnp.sqrt(3))[None, None]
        log_likelihood = normal(jnp.full((1, 1, 1), 1.3), z[..., None], jnp.full((1, 1, 1), np.log(0.5) / 2))
        coded = Coded(mean[None, None], jnp.full((1, 1), -np.log(3) / 2), z[..., None], log_likelihood)
        return coded.log_weights(path=True)[0, 0]

    slopes = jax.jit(jax.vmap(jax.grad(path), (None, 0)))(jnp.array(1.3 / 1.5), jnp.linspace(-2, 2, 9))
    np.testing.assert_allclose(slopes, 0, atol=1e-14)


def test_dreg_is_the_gradient_of_the_same_bound_with_less_noise():
    """Equal in expectation for the encoder, the same for the decoder; the logged cost is the bound."""
    x, params = _whitened(4), _optimum(0.7)
    params = jax.tree.map(lambda leaf: leaf + 0.05, params)
    fields = {}
    for objective in ("iwae", "dreg"):
        game = _game(objective, samples=8)
        field = jax.jit(lambda key, game=game: View(game, _moment(x)._replace(key=key)).field(params).gradients)
        fields[objective] = jax.vmap(field)(jax.random.split(jax.random.key(0), 20_000))
    fields = jax.tree.map(np.asarray, fields)
    np.testing.assert_allclose(*(fields[o][DECODER]["mean"]["kernel"][:50] for o in fields), rtol=1e-8, atol=1e-10)
    own = {o: np.asarray(fields[o][ENCODER]["mean"]["kernel"]) for o in fields}
    error = own["iwae"].std(0) / np.sqrt(20_000)
    assert (np.abs(own["iwae"].mean(0) - own["dreg"].mean(0)) < 5 * error).mean() > 0.97
    assert own["dreg"].std(0).mean() < 0.7 * own["iwae"].std(0).mean()
    costs = [jax.jit(_game(o, samples=8).costs[ENCODER])(params, _moment(x)) for o in ("iwae", "dreg")]
    np.testing.assert_allclose(costs[1][1].metrics["cost"], costs[0][0], rtol=1e-12)


def test_measures_of_the_linear_vae():
    """The estimate of log p is exact where q is the posterior: that of the Gaussian with covariance W W^T + s I."""
    x, params = _whitened(30), _optimum(0.7)
    weights = {p: (own, {}) for p, own in params.items()}
    networks = LinearEncoder(6), LinearDecoder(6), gaussian(np.sqrt(0.7))
    measures = variational.measures(*networks, size=6, samples=5)
    batch, key = Batch(x, None, jnp.arange(30)), jax.random.key(0)
    cov = np.diag(np.maximum(EIGENVALUES, 0.7))
    expected = stats.multivariate_normal(np.zeros(6), cov).logpdf(np.asarray(x))
    found = jax.jit(measures["log_likelihood"].values)(weights, batch, key)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    elbo = jax.jit(lambda key: measures["elbo"].values(weights, batch, key))
    many = np.mean([elbo(jax.random.key(k)) for k in range(400)], axis=0)
    np.testing.assert_allclose(many, expected, atol=0.35)  # the bound is tight there, its estimate is not
    assert measures["active_units"].summary(measures["active_units"].values(weights, batch, key)) == 4


def test_held_out_images_are_binarised_each_by_its_own_key():
    seen = []

    def prepare(key, one):
        return one._replace(x=one.x + jax.random.uniform(key))

    networks = Encoder(2, (3,)), Decoder((4, 4, 1), 1, (3,)), bernoulli()
    measure = variational.measures(*networks, size=2, prepare=prepare)["active_units"]
    x = jnp.zeros((6, 4, 4, 1))
    variables = [
        jax.jit(net.init)(jax.random.key(0), arg)["params"]
        for net, arg in zip(networks, (x, jnp.zeros((6, 2))), strict=False)
    ]
    weights = {ENCODER: (variables[0], {}), DECODER: (variables[1], {})}
    for position in (jnp.arange(6), jnp.arange(6)[::-1]):
        seen.append(jax.jit(measure.values)(weights, Batch(x, None, position), jax.random.key(3)))
    np.testing.assert_allclose(seen[0], seen[1][::-1], rtol=1e-12)
    assert len(np.unique(np.asarray(seen[0])[:, 0].round(9))) == 6


def test_bits_per_dimension_are_of_probabilities_alone():
    networks = Encoder(2, (3,)), Decoder((4, 4, 1), 1, (3,))
    x, key = jnp.where(jax.random.bernoulli(jax.random.key(1), 0.5, (6, 4, 4, 1)), 1.0, -1.0), jax.random.key(0)
    made = [jax.jit(net.init)(key, arg)["params"] for net, arg in zip(networks, (x, jnp.zeros((6, 2))), strict=True)]
    weights = {player: (own, {}) for player, own in zip((ENCODER, DECODER), made, strict=True)}
    measures = variational.measures(*networks, bernoulli(), size=2, samples=5)
    nats, bits = (
        jax.jit(measures[n].values)(weights, Batch(x, None, jnp.arange(6)), key)
        for n in ("log_likelihood", "bits_per_dimension")
    )
    np.testing.assert_allclose(bits, -nats / 16 / np.log(2), rtol=1e-12)
    assert "bits_per_dimension" not in variational.measures(*networks, gaussian(1.0), size=2)


def test_networks_that_do_not_fit_are_refused():
    batch = Batch(jnp.zeros((2, 4, 4, 1)), None, jnp.arange(2))
    with pytest.raises(ValueError, match=r"the encoder makes \(2, 3\) of an example, expected \(2, 5\)"):
        jax.eval_shape(vae(Encoder(3), Decoder((4, 4, 1)), bernoulli(), size=5).init, jax.random.key(0), batch)
    with pytest.raises(ValueError, match=r"the decoder makes \(4, 4, 2\) of a latent, expected \(4, 4, 1\)"):
        jax.eval_shape(vae(Encoder(3), Decoder((4, 4, 1), 2), bernoulli(), size=3).init, jax.random.key(0), batch)
    with pytest.raises(ValueError, match=r"did you mean .elbo"):
        vae(Encoder(3), Decoder((4, 4, 1)), bernoulli(), size=3, objective="elbow")
