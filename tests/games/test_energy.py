"""Energies: every likelihood by counting, every gradient by hand."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax

from ganjax.core import Batch, Moment
from ganjax.data.binary import bars_and_stripes, index, states
from ganjax.games.energy import (
    FEATURE,
    MODEL,
    Contrast,
    boosting,
    contrastive_divergence,
    gain,
    line_search,
    logistic,
    maximum_likelihood,
    noise_contrastive,
)
from ganjax.models.binary import RBM, Pairwise, Perceptron, bits


@pytest.fixture(autouse=True)
def _double(float64):
    """Oracles need it."""


X, H = states(2, 3), 4
V = (X.reshape(64, -1).astype(float) + 1) / 2


def _rbm(seed=0):
    rng = np.random.default_rng(seed)
    return {"visible_bias": rng.normal(size=6), "hidden_bias": rng.normal(size=H), "kernel": rng.normal(size=(6, H))}


def _moment(batch, net_state=None, key=0):
    return Moment({MODEL: net_state or {}, FEATURE: {}}, batch, jax.random.key(key))


def _batch(x):
    return Batch(jnp.asarray(x, float), None, jnp.arange(len(x)))


def test_the_rbm_sums_its_hidden_units_out_and_z_is_the_same_from_both_sides():
    p = _rbm()
    h = np.array(list(product([0, 1], repeat=H)))
    joint = (V @ p["visible_bias"])[:, None] + h @ p["hidden_bias"] + V @ p["kernel"] @ h.T
    f = RBM(6, H).apply({"params": p}, jnp.asarray(X, float))
    np.testing.assert_allclose(f, logsumexp(joint, axis=1), rtol=1e-12)
    by_hidden = h @ p["hidden_bias"] + np.logaddexp(0, h @ p["kernel"].T + p["visible_bias"]).sum(1)
    np.testing.assert_allclose(logsumexp(f), logsumexp(by_hidden), rtol=1e-12)


def test_the_gradient_of_the_likelihood_is_data_minus_model():
    p, x = _rbm(), X[[3, 5, 60]]
    game = maximum_likelihood(RBM(6, H), jnp.asarray(X, float))
    slope = jax.jit(jax.grad(lambda p: game.costs[MODEL]({MODEL: p}, _moment(_batch(x)))[0]))(p)
    share = softmax(np.asarray(RBM(6, H).apply({"params": p}, jnp.asarray(X, float))))
    phi = lambda v: expit(v @ p["kernel"] + p["hidden_bias"])  # noqa: E731
    data = V[[3, 5, 60]]
    expected = data.T @ phi(data) / 3 - (V * share[:, None]).T @ phi(V)
    np.testing.assert_allclose(slope["kernel"], -expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(slope["visible_bias"], share @ V - data.mean(0), rtol=1e-10, atol=1e-12)


def test_a_gibbs_sweep_keeps_the_law_of_the_model():
    """Draws of the exact law keep its frequencies; units are drawn, never replaced by their probabilities."""
    p, count = _rbm(), 40_000
    share = softmax(np.asarray(RBM(6, H).apply({"params": p}, jnp.asarray(X, float))))
    rng = np.random.default_rng(1)
    x, u = X[rng.choice(64, count, p=share)], rng.uniform(size=(count, H + 6))
    after = RBM(6, H).apply({"params": p}, jnp.asarray(x, float), jnp.asarray(u), method="gibbs")
    found = np.bincount(index(after), minlength=64) / count
    assert (np.abs(found - share) < 5 * np.sqrt(share / count) + 1e-4).all()
    h = (u[:, :H] < expit((x.reshape(count, -1) + 1) / 2 @ p["kernel"] + p["hidden_bias"])).astype(float)
    expected = np.where(u[:, H:] < expit(h @ p["kernel"].T + p["visible_bias"]), 1, -1)
    np.testing.assert_array_equal(np.asarray(after).reshape(count, -1), expected)


def _swept(p, x, u):
    for k in range(u.shape[1]):
        x = RBM(6, H).apply({"params": p}, x, u[:, k], method="gibbs")
    return x


@pytest.mark.fault("wiseodd/generative-models: each of the K sweeps begins at the data, so CD-10 is CD-1")
@pytest.mark.fault("scikit-learn: the sum over the chains is divided by the size of the batch")
@pytest.mark.parametrize("chains", [0, 5])
def test_contrastive_divergence_by_hand(chains):
    """k sweeps in a row from the data, or from chains that are where the last step left them."""
    x, p = X, {MODEL: _rbm()}
    game = contrastive_divergence(RBM(6, H), steps=3, chains=chains)
    net_state = jax.jit(game.init)(jax.random.key(2), _batch(x))[1][MODEL]
    moment = _moment(_batch(x), net_state, key=4)
    (_, outcome), slope = jax.jit(jax.value_and_grad(lambda p: game.costs[MODEL](p, moment), has_aux=True))(p)
    count = chains or len(x)
    u = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(moment.key, i), (3, H + 6)))(jnp.arange(count))
    start = net_state["chains"] if chains else jnp.asarray(x, float)
    negatives = jax.jit(_swept)(p[MODEL], start, u)
    phi = lambda v: expit(v @ p[MODEL]["kernel"] + p[MODEL]["hidden_bias"])  # noqa: E731
    v, w = np.asarray(bits(jnp.asarray(x, float))), np.asarray(bits(negatives))
    np.testing.assert_allclose(slope[MODEL]["kernel"], w.T @ phi(w) / count - v.T @ phi(v) / 64, rtol=1e-10, atol=1e-12)
    if chains:
        np.testing.assert_array_equal(outcome.net_state["chains"], negatives)
        assert (negatives != start).any()


class Table(nn.Module):
    """Any law of six pixels."""

    @nn.compact
    def __call__(self, x):
        places = bits(x).astype(int) @ (1 << jnp.arange(6)[::-1])
        return self.param("f", nn.initializers.zeros_init(), (64,))[places]


def test_noise_contrastive_estimation_finds_the_normaliser():
    """Against uniform noise the optimum is log p of the data: its sum is 1, which nobody asked for."""
    counts = np.random.default_rng(0).integers(1, 9, 64)
    batch = Contrast(jnp.asarray(np.repeat(X, counts, 0), float), jnp.asarray(X, float), jnp.full(64, -np.log(64)))
    game = noise_contrastive(Table(), lambda x: jnp.full(len(x), -np.log(64)))
    cost = lambda t: game.costs[MODEL]({MODEL: {"module": {"f": t[:-1]}, "log_z": t[-1]}}, _moment(batch))[0]  # noqa: E731
    both = jax.jit(jax.value_and_grad(cost))
    found = minimize(lambda t: tuple(map(np.asarray, both(t))), np.zeros(65), jac=True, method="BFGS", tol=1e-10).x
    np.testing.assert_allclose(found[:-1] - found[-1], np.log(counts / counts.sum()), atol=1e-6)


def test_against_itself_it_is_maximum_likelihood():
    """With a held copy as noise: value 2 log 2, gradient half of that of the negative log-likelihood."""
    rng = np.random.default_rng(3)
    p = {"bias": rng.normal(size=6), "kernel": rng.normal(size=(6, 6))}
    f = lambda x: Pairwise().apply({"params": p}, x)  # noqa: E731
    log_z = logsumexp(f(jnp.asarray(X, float)))
    data = jnp.asarray(X[[1, 7, 42]], float)
    batch = Contrast(data, jnp.asarray(X, float), f(jnp.asarray(X, float)) - log_z)
    game = noise_contrastive(Pairwise(), lambda x: f(x) - log_z)
    own = {MODEL: {"module": p, "log_z": jnp.asarray(log_z)}}
    value, slope = jax.jit(jax.value_and_grad(lambda p: game.costs[MODEL](p, _moment(batch))[0]))(own)
    np.testing.assert_allclose(value, 2 * np.log(2), rtol=1e-12)
    exact = maximum_likelihood(Pairwise(), jnp.asarray(X, float)).costs[MODEL]
    expected = jax.jit(jax.grad(lambda p: exact({MODEL: p}, _moment(_batch(data)))[0]))(p)
    for name in p:
        np.testing.assert_allclose(slope[MODEL]["module"][name], expected[name] / 2, rtol=1e-9, atol=1e-12)


def test_the_gain_of_a_round():
    """LL(p_t exp(alpha f) / Z) - LL(p_t), concave, and largest where the line search says; the game agrees."""
    rng = np.random.default_rng(4)
    log_p, f, rows = np.log(rng.dirichlet(np.ones(64))), rng.normal(size=64), rng.integers(0, 64, 30)
    f[rows] += 0.7
    of, slope = (jax.jit(lambda a, g=g: g(a, f[rows], f, log_p)) for g in (gain, jax.grad(gain)))
    for alpha in (0.3, 1.0, 2.0):
        after = log_p + alpha * f - logsumexp(log_p + alpha * f)
        np.testing.assert_allclose(of(alpha), (after - log_p)[rows].mean(), atol=1e-14)
    best = line_search(f[rows], f, log_p)
    np.testing.assert_allclose(slope(best), 0, atol=1e-10)
    assert slope(best - 0.1) > 0 > slope(best + 0.1)
    assert line_search(-f[rows], -f, log_p) == 0.0, "no step along a feature that prefers the negatives"
    assert line_search(np.ones(3), np.array([0.0, 0.5]), np.log([0.5, 0.5])) == 1e3, "a feature that separates"
    one = Perceptron((3,))
    for criterion in ("logistic", "likelihood"):
        game = boosting(one, criterion=criterion)
        batch = Contrast(jnp.asarray(X[rows], float), jnp.asarray(X, float), jnp.asarray(log_p))

        @jax.jit
        def told(game=game, batch=batch):
            params, _ = jax.jit(game.init)(jax.random.key(0), batch)
            said = one.apply({"params": params[FEATURE]}, batch.negatives)
            return said, {player: cost(params, _moment(batch))[0] for player, cost in game.costs.items()}

        said, costs = jax.tree.map(np.asarray, told())
        expected = logsumexp(log_p + said) - said[rows].mean()
        np.testing.assert_allclose(costs["coefficient"], expected, atol=1e-14)
        entropy = np.logaddexp(0, -said[rows]).mean() + np.exp(log_p) @ np.logaddexp(0, said)
        expected = entropy if criterion == "logistic" else costs["coefficient"]
        np.testing.assert_allclose(costs[FEATURE], expected, atol=1e-14)
    with pytest.raises(ValueError, match=r"did you mean .logistic"):
        boosting(one, criterion="logistics")


def test_an_optimal_discriminator_is_the_whole_way_in_one_round():
    """p_t exp(logit D*) = p, with Z = 1."""
    p, q = np.random.default_rng(5).dirichlet(np.ones(64), 2)
    f = np.log(p) - np.log(q)
    np.testing.assert_allclose(logsumexp(np.log(q) + f), 0, atol=1e-12)
    np.testing.assert_allclose(np.log(q) + f, np.log(p), atol=1e-12)


def test_linear_features_get_nowhere_on_bars_and_stripes():
    """At the factorial law a linear logit cannot do better than 2 log 2: its slope there is zero, and it is convex."""
    every = states()
    log_p, data = np.full(len(every), -16 * np.log(2)), bars_and_stripes()

    def cost(w):
        return logistic(jnp.asarray(data.reshape(30, -1)) @ w, jnp.asarray(every.reshape(-1, 16)) @ w, log_p)

    value, slope = jax.value_and_grad(cost)(jnp.zeros(16))
    np.testing.assert_allclose(value, 2 * np.log(2), rtol=1e-12)
    np.testing.assert_allclose(slope, 0, atol=1e-12)


def test_the_logistic_optimum_is_an_ascent_direction():
    """E_data f >= E_p f for a feature whose scale is its best."""
    rng = np.random.default_rng(6)
    f, g, share = rng.normal(0.3, 1, 40), rng.normal(0, 1, 64), np.log(rng.dirichlet(np.ones(64)))
    scale = minimize(lambda s: float(logistic(s * f, s * g, share)), 0.0).x[0]
    assert scale * (f.mean() - np.exp(share) @ g) > 0


@pytest.mark.parametrize("options", [{"steps": 0}, {"chains": -1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"contrastive_divergence: (steps is 0|chains is -1), expected at least"):
        contrastive_divergence(RBM(6, 3), **options)


def test_a_module_that_says_more_than_a_number_is_refused():
    """[B, 1] would broadcast in silence."""
    batch = _batch(X[:3].reshape(3, -1))
    games = {"maximum_likelihood": maximum_likelihood(nn.Dense(1)), "boosting": boosting(nn.Dense(1))}
    games["noise_contrastive"] = noise_contrastive(nn.Dense(1), lambda x: jnp.zeros(len(x)))
    for name, game in games.items():
        with pytest.raises(ValueError, match=rf"{name}: the module says \(3, 1\) of \(3, 6\), expected \[B\]"):
            jax.eval_shape(game.init, jax.random.key(0), batch)
