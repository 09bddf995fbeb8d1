"""The score function: what each reward descends, by enumeration, and the game with thresholds."""

from itertools import product
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax.chains import Chain, cross_entropy, permuted_chain
from ganjax.core import Batch, Moment
from ganjax.dynamics import View
from ganjax.games import gan
from ganjax.games.discrete import REWARDS, leave_one_out, score_function
from ganjax.losses import LOSSES
from ganjax.models.binary import Drawn, Perceptron


@pytest.fixture(autouse=True)
def _double(float64):
    """Oracles need it."""


DESCENDED = {
    "logit": lambda p, q: (q * jnp.log(q / p)).sum(),
    "ratio": lambda p, q: (p * jnp.log(p / q)).sum(),
    "probability": lambda p, q: (p * jnp.log(2 * p / (p + q))).sum(),
    "non_saturating": lambda p, q: (q * jnp.log(q / p)).sum() - DESCENDED["minimax"](p, q),
    "minimax": lambda p, q: (p * jnp.log(2 * p / (p + q)) + q * jnp.log(2 * q / (p + q))).sum(),
}


def _reward(name, p, q):
    """At the optimal discriminator, p / (p + q); the ratio's mean of 1 is taken under q here, not over a batch."""
    reward = REWARDS[name](jnp.log(p) - jnp.log(q))
    return reward / (q * reward).sum() if name == "ratio" else reward


@pytest.mark.fault("Texygen MaliganReward: D is normalised instead of D / (1 - D), MaliGAN in name alone")
@pytest.mark.parametrize("name", REWARDS)
def test_what_a_reward_descends(name):
    """-sum_x R(x) grad q(x) at the optimal, held discriminator is the divergence's gradient."""
    p = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(7)))
    theta = jnp.asarray(np.random.default_rng(1).normal(size=7))
    q = jax.nn.softmax(theta)
    reward = _reward(name, p, q)
    slope = jax.grad(lambda t: -(reward * jax.nn.softmax(t)).sum())(theta)
    expected = jax.grad(lambda t: DESCENDED[name](p, jax.nn.softmax(t)))(theta)
    np.testing.assert_allclose(slope, expected, atol=1e-12)


@pytest.mark.fault("many: the gradient at a held discriminator is taken for all of it, whatever the cost")
def test_a_held_critic_hides_nothing_of_a_zero_sum_cost_alone():
    """The envelope theorem; of the non-saturating cost it hides `sum_x (1 - D(x)) grad q(x)` (Pfau and Vinyals)."""
    p = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(7)))
    theta = jnp.asarray(np.random.default_rng(1).normal(size=7))
    costs = {
        "zero-sum": lambda q, d: (p * jnp.log(d) + q * jnp.log(1 - d)).sum(),
        "non-saturating": lambda q, d: -(q * jnp.log(d)).sum(),
    }

    @jax.jit
    def hidden(theta):
        best = lambda t: p / (p + jax.nn.softmax(t))  # noqa: E731
        d = best(theta)
        of = lambda cost, d: jax.grad(lambda t: cost(jax.nn.softmax(t), d(t)))(theta)  # noqa: E731
        found = {name: of(cost, best) - of(cost, lambda t: d) for name, cost in costs.items()}
        return found, jax.grad(lambda t: ((1 - d) * jax.nn.softmax(t)).sum())(theta)

    found, expected = hidden(theta)
    np.testing.assert_allclose(found["zero-sum"], 0, atol=1e-10)
    np.testing.assert_allclose(found["non-saturating"], expected, atol=1e-10)
    assert np.abs(expected).max() > 0.01


def test_the_ratio_of_the_exact_discriminator_leads_to_the_truth_from_where_its_probability_does_not():
    """Descent of the laws of pairs of a chain, by enumeration; at first what the truth says most is said least."""
    truth, step = permuted_chain(), optax.sgd(8.0)

    def pairs(theta):  # [64], how often neighbours are these
        start, table = map(jax.nn.softmax, theta)
        return ((start + start @ table)[:, None] / 2 * table).ravel()  # of sequences of three

    @jax.jit
    def ends(p):
        def descend(name, theta):
            reward = _reward(name, p, pairs(theta))
            slope = jax.grad(lambda theta: -(reward * pairs(theta)).sum())(theta)
            return optax.apply_updates(theta, step.update(slope, step.init(theta))[0])

        begun = jax.tree.map(lambda law: -3 * jnp.log(law), tuple(truth))
        end = lambda name: jax.lax.scan(lambda theta, _: (descend(name, theta), None), begun, length=300)[0]  # noqa: E731
        return {name: jax.tree.map(jax.nn.softmax, end(name)) for name in ("ratio", "probability")}

    found = {name: Chain(*map(np.asarray, laws)) for name, laws in ends(pairs(jax.tree.map(jnp.log, truth))).items()}
    assert cross_entropy(truth, found["ratio"], 3) < 1.5077 + 0.001
    np.testing.assert_allclose(cross_entropy(found["ratio"], truth, 3), 1.5077, atol=0.006)
    assert cross_entropy(truth, found["probability"], 3) > 5


def test_a_deterministic_policy_gradient_is_that_of_a_generator():
    """Of actor z -> a and critic Q(a): mean (da / dtheta) dQ / da (Silver et al. 2014) is what -Q = -D gives."""
    actor, critic = nn.Dense(2), Perceptron((3,))
    game = gan(actor, critic, LOSSES["wasserstein"], prior=lambda key: jax.random.normal(key, (4,)))
    batch = Batch(jnp.zeros((5, 2)), None, jnp.arange(5))

    @jax.jit
    def both(key):
        params, net_state = game.init(key, batch)
        field = View(game, Moment(net_state, batch, key)).field(params).gradients["generator"]
        z = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (4,)))(batch.position)
        value = lambda a: critic.apply({"params": params["discriminator"]}, a[None])[0]  # noqa: E731
        return field, z, jax.vmap(jax.grad(value))(actor.apply({"params": params["generator"]}, z))

    field, z, of_actions = jax.tree.map(np.asarray, both(jax.random.key(0)))
    np.testing.assert_allclose(field["kernel"], -z.T @ of_actions / 5, rtol=1e-5)
    np.testing.assert_allclose(field["bias"], -of_actions.mean(0), rtol=1e-5)


def test_the_ratio_has_the_mean_one():
    logits = jnp.array([0.3, -1.0, 2.0])
    np.testing.assert_allclose(REWARDS["ratio"](logits), 3 * jnp.exp(logits) / jnp.exp(logits).sum(), rtol=1e-12)


@pytest.mark.fault("many: a baseline of the batch that includes the sample itself scales the gradient by (k - 1) / k")
@pytest.mark.parametrize("k", [2, 3])
def test_the_baseline_leaves_the_gradient_as_it_is(k):
    """Over all batches of k draws of a Bernoulli: the expectation is p (1 - p) (f_1 - f_0)."""
    p, f = 0.3, np.array([-1.0, 2.5])
    total = 0.0
    for draws in product((0, 1), repeat=k):
        b = np.array(draws)
        share = np.prod(np.where(b, p, 1 - p))
        total += share * np.mean(np.asarray(leave_one_out(jnp.asarray(f[b]))) * (b - p))
    np.testing.assert_allclose(total, p * (1 - p) * (f[1] - f[0]), rtol=1e-12)


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Dense(4)(nn.tanh(z)).reshape(len(z), 2, 2, 1)


def _prior(key):
    z, u = jax.random.split(key)
    return jnp.concatenate([jax.random.normal(z, (3,)), jax.random.uniform(u, (4,))])


def test_the_whole_gradient_of_a_generator_of_bits():
    """Thresholds have no slope: the field is `-mean (R - baseline) grad log q(x | z)` and nothing else."""
    generator, discriminator = Drawn(Decoder(), 3), Perceptron((5,))
    term = {"generator": {"score": score_function(generator, "probability")}}
    game = gan(generator, discriminator, LOSSES["non_saturating"], prior=_prior, terms=term)
    batch = Batch(jnp.sign(jax.random.normal(jax.random.key(1), (6, 2, 2, 1))), None, jnp.arange(6))
    params, net_state = jax.jit(game.init)(jax.random.key(0), batch)
    moment = Moment(net_state, batch, jax.random.key(2))
    found = jax.jit(lambda p: View(game, moment).field(p).gradients)(params)["generator"]

    @jax.jit
    def expected(params):
        latent = jax.vmap(lambda i: _prior(jax.random.fold_in(moment.key, i)))(jnp.arange(6))
        logits = Decoder().apply({"params": params["generator"]["decoder"]}, latent[:, :3])
        x = jnp.where(latent[:, 3:].reshape(logits.shape) < jax.nn.sigmoid(logits), 1.0, -1.0)
        reward = jax.nn.sigmoid(discriminator.apply({"params": params["discriminator"]}, x))
        return x, jax.grad(lambda p: surrogate(p, latent, x, reward))(params["generator"])

    def surrogate(p, latent, x, reward):
        l = Decoder().apply({"params": p["decoder"]}, latent[:, :3])
        log_q = jnp.where(x > 0, jax.nn.log_sigmoid(l), jax.nn.log_sigmoid(-l)).sum((1, 2, 3))
        others = (reward.sum() - reward) / 5
        return -((reward - others) * log_q).mean()

    x, slope = expected(params)
    assert len(np.unique(np.asarray(x))) == 2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), found, slope)
    with pytest.raises(ValueError, match=r"did you mean .ratio"):
        score_function(generator, "ratios")


class Told(nn.Module):
    """Makes the number that stands in its latent beside the number of a z, whose law is a row of a table."""

    def setup(self):
        self.table = self.param("table", nn.initializers.normal(1.0), (2, 3))

    def __call__(self, latent):
        return latent[:, 1]

    def log_prob(self, latent, x):
        return jax.nn.log_softmax(self.table)[latent[:, 0], x]

    def again(self, latent, keys):
        return jnp.stack([latent[:, 0], jax.vmap(lambda key: jax.random.randint(key, (), 0, 3))(keys)], 1)


@pytest.mark.fault("many: BGAN normalises over the batch, which is MaliGAN")
def test_outputs_of_one_z_are_weighed_among_themselves():
    """Expected over all pairs of outputs of each of two z: `(w_i - w_j) / (w_i + w_j)`; near w = 1 as KL(p_z, q_z)."""
    pairs, keys = np.array([*product(range(3), repeat=2)]), jax.random.split(jax.random.key(0), 200)
    both = jax.vmap(lambda key: jax.random.split(key, 2))(keys).reshape(-1)
    drawn = Told().apply({"params": {"table": jnp.zeros((2, 3))}}, jnp.zeros((400, 2), int), both, method="again")
    drawn = np.asarray(drawn)[:, 1].reshape(-1, 2)
    which = [np.flatnonzero((drawn == pair).all(1))[0] for pair in pairs]
    table, u = np.random.default_rng(0).normal(size=(2, 3)), np.array([0.3, -1.2, 0.8])
    q = np.exp(table) / np.exp(table).sum(1, keepdims=True)

    @jax.jit
    def slope(table, u):
        z = jnp.stack([jnp.arange(2).repeat(9), jnp.zeros(18, int)], 1)

        def expected(table):
            scene = SimpleNamespace(
                params={"generator": {"table": table}}, z=z, keys=keys[np.tile(which, 2)], critic=lambda x: u[x]
            )
            values = score_function(Told(), "ratio", outputs=2).values(scene)
            return (values.mean(0) * (q[:, pairs[:, 0]] * q[:, pairs[:, 1]]).ravel()).sum() / 2

        return jax.grad(expected)(table)

    def by_hand(w):
        i, j = pairs.T
        share = q[:, i] * q[:, j] * (w[i] - w[j]) / (w[i] + w[j])
        return -share @ (np.eye(3)[i] - np.eye(3)[j]) / 2

    np.testing.assert_allclose(slope(table, u), by_hand(np.exp(u)), rtol=1e-12)
    w = np.exp(1e-5 * u)
    held = q * w / (q * w).sum(1, keepdims=True)
    np.testing.assert_allclose(slope(table, 1e-5 * u), (q - held) / 2, rtol=1e-4)


def test_what_is_drawn_again_of_a_z_differs_in_its_noise_alone():
    module, latent = Drawn(Decoder(), 3), jnp.full((2, 7), 2.0)
    params = {"params": {"decoder": {"Dense_0": {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)}}}}
    found = module.apply(params, latent, jax.random.split(jax.random.key(0), 2), method="again")
    np.testing.assert_array_equal(found[:, :3], 2)
    assert len(np.unique(found[:, 3:])) == 8 and found[:, 3:].min() >= 0 and found[:, 3:].max() < 1
    with pytest.raises(ValueError, match="outputs is 0, expected at least 1"):
        score_function(module, outputs=0)
