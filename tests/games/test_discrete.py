"""The score function: what each reward descends, by enumeration, and the game with thresholds."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

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
}


@pytest.mark.parametrize("name", REWARDS)
def test_what_a_reward_descends(name):
    """-sum_x R(x) grad q(x) at the optimal, held discriminator is the divergence's gradient."""
    p = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(7)))
    theta = jnp.asarray(np.random.default_rng(1).normal(size=7))
    q = jax.nn.softmax(theta)
    logits = jnp.log(p) - jnp.log(q)
    # The ratio is normalised over a batch: here, by its mean under q, which is 1.
    reward = jnp.exp(logits) if name == "ratio" else REWARDS[name](logits)
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
