"""Games of sequences: draws and their probabilities against a chain, and the score function written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import log_softmax, softplus

from ganjax.chains import Chain, marginals
from ganjax.core import Batch, Moment, Owned
from ganjax.data.text import UNKNOWN
from ganjax.dynamics import View
from ganjax.games import sequences as games
from ganjax.games.network import network
from ganjax.models.sequences import PairCritic, Recurrent, RecurrentCritic, TabularChain

K, T, B = 3, 4, 6
RNG = np.random.default_rng(0)
PARAMS = {
    "start": jnp.asarray(RNG.normal(size=K), jnp.float32),
    "table": jnp.asarray(RNG.normal(size=(K, K)), jnp.float32),
}
CHAIN = Chain(*(np.exp(np.asarray(log_softmax(PARAMS[n]), np.float64)) for n in ("start", "table")))
TOKENS = jnp.asarray(RNG.integers(0, K, (B, T)), jnp.int32) + games.FIRST
BATCH = Batch(TOKENS, None, jnp.arange(B))


def test_symbols_are_the_words_of_a_vocabulary():
    assert UNKNOWN + 1 == games.FIRST
    np.testing.assert_array_equal(games.symbols(TOKENS, K).argmax(-1) + games.FIRST, TOKENS)


def test_draws_are_of_the_chain_and_know_their_probability():
    module, n = TabularChain(K), 4000
    made = jax.jit(lambda key: games.sampler(module, T)({"generator": Owned(PARAMS, {})}, key, jnp.arange(n)))
    x = np.asarray(made(jax.random.key(0))) - games.FIRST
    for t, law in enumerate(marginals(CHAIN, T)):
        assert (np.abs(np.bincount(x[:, t], minlength=K) / n - law) < 4.5 * np.sqrt(law / n)).all()
    pairs = np.array([np.bincount(x[:, 2][x[:, 1] == i], minlength=K) for i in range(K)])
    law = CHAIN.transition
    assert (np.abs(pairs / pairs.sum(1, keepdims=True) - law) < 4.5 * np.sqrt(law / pairs.sum(1, keepdims=True))).all()
    few = games.sampler(module, T)({"generator": Owned(PARAMS, {})}, jax.random.key(0), jnp.array([7, 2]))
    np.testing.assert_array_equal(few - games.FIRST, x[[7, 2]], "sample i depends on the key and i alone")


def _log_q(params, x):
    start, table = log_softmax(params["start"]), log_softmax(params["table"])
    return jnp.concatenate([start[x[:, :1]], table[x[:, :-1], x[:, 1:]]], 1)


def test_log_probabilities_are_those_of_the_table():
    module, x = TabularChain(K), TOKENS - games.FIRST
    found = games.log_probs(network(module), module, (PARAMS, {}), games.symbols(TOKENS, K))
    np.testing.assert_allclose(found, _log_q(PARAMS, x), rtol=1e-5)
    values = games.nll(module).values({"generator": Owned(PARAMS, {})}, BATCH, jax.random.key(0))
    np.testing.assert_allclose(values, -found)


def _field(estimator, **options):
    game = games.sequence_gan(TabularChain(K), PairCritic(), estimator, **options)
    params = {"generator": PARAMS, "discriminator": {"table": jnp.asarray(RNG.normal(size=(K, K)), jnp.float32)}}
    moment = Moment({"generator": {}, "discriminator": {}}, BATCH, jax.random.key(3), jnp.int32(0))
    drawn = games.sampler(TabularChain(K), T)({"generator": Owned(PARAMS, {})}, moment.key, BATCH.position)
    return params, drawn - games.FIRST, jax.jit(lambda p: View(game, moment).field(p, None))(params)


@pytest.mark.fault("many: the reward of a token includes what was drawn before it")
@pytest.mark.parametrize("estimator", ["probability", "ratio", "logit"])
def test_the_score_function_written_out(estimator):
    """Each token has the rewards of the pairs that it is in or that follow, less the mean of the others."""
    params, x, field = _field(estimator)
    u = np.asarray(params["discriminator"]["table"])[x[:, :-1], x[:, 1:]]
    reward = {"probability": 1 / (1 + np.exp(-u)), "logit": u, "ratio": B * np.exp(u) / np.exp(u).sum(0)}[estimator]
    to_go = np.stack([reward.sum(1), *(reward[:, t:].sum(1) for t in range(T - 1))], 1)
    advantage = np.stack([to_go[b] - np.delete(to_go, b, 0).mean(0) for b in range(B)])
    slope = jax.grad(lambda p: -(advantage * _log_q(p, x)).sum(1).mean() / (T - 1))(PARAMS)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), field.gradients["generator"], slope
    )

    def of_critic(p):
        real = p["table"][TOKENS[:, :-1] - games.FIRST, TOKENS[:, 1:] - games.FIRST]
        return softplus(-real).mean() + softplus(p["table"][x[:, :-1], x[:, 1:]]).mean()

    slope = jax.grad(of_critic)(params["discriminator"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), field.gradients["discriminator"], slope
    )


def test_straight_through_shows_corners_and_the_concrete_points_between():
    """The discriminator of the first sees what is sampled; both give the generator a slope through what it made."""
    _, x, corners = _field("straight_through", temperature=0.5)
    module, net = TabularChain(K), network(TabularChain(K))
    uniform = jnp.asarray(np.random.default_rng(1).uniform(0.01, 0.99, (B, T, K)), jnp.float32)
    drawn = {
        how: games.draw(net, module, (PARAMS, {}), uniform, how, 0.5)
        for how in ("none", "concrete", "straight_through")
    }
    np.testing.assert_allclose(drawn["straight_through"].x, drawn["none"].x, atol=1e-6)
    np.testing.assert_array_equal(drawn["concrete"].x[:, 0].argmax(-1), drawn["none"].x[:, 0].argmax(-1))
    np.testing.assert_allclose(drawn["concrete"].x.sum(-1), 1, rtol=1e-5)
    assert float(drawn["concrete"].x.max()) < 0.9999
    assert float(jnp.abs(corners.gradients["generator"]["table"]).max()) > 1e-4
    assert "generator/adversarial" in corners.metrics and x.shape == (B, T)


def test_maximum_likelihood_of_a_table_counts():
    """Its gradient is zero at the shares of the data."""
    game = games.sequence_likelihood(TabularChain(K))
    x = np.asarray(TOKENS) - games.FIRST
    pairs = np.array([[np.sum((x[:, :-1] == i) & (x[:, 1:] == j)) for j in range(K)] for i in range(K)]) + 1e-9
    starts = np.bincount(x[:, 0], minlength=K) + 1e-9
    best = {"start": jnp.log(starts / starts.sum()), "table": jnp.log(pairs / pairs.sum(1, keepdims=True))}
    best = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), best)
    moment = Moment({"generator": {}}, BATCH, jax.random.key(0), jnp.int32(0))
    slope = jax.jit(lambda p: View(game, moment).field(p, None).gradients)({"generator": best})
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope)) < 1e-6


def test_recurrent_networks_are_players_too():
    """Later symbols change nothing that was said before."""
    x = games.symbols(TOKENS, K)
    both = jnp.stack([x, x.at[:, -1].set(jnp.roll(x[:, -1], 1, -1))])
    module, critic = Recurrent(K, 4), RecurrentCritic(3)

    @jax.jit
    def said(key):
        own = module.init(key, module.begin(B), x[:, 0])["params"]
        weights = critic.init(key, x)
        return jax.vmap(lambda x: (games.log_probs(network(module), module, (own, {}), x), critic.apply(weights, x)))(
            both
        )

    for values in said(jax.random.key(0)):
        np.testing.assert_array_equal(values[0, :, :-1], values[1, :, :-1])
        assert float(jnp.abs(values[0, :, -1] - values[1, :, -1]).max()) > 1e-4
    game = games.sequence_gan(module, critic)
    params, net_state = jax.eval_shape(game.init, jax.random.key(0), BATCH)
    moment = Moment(net_state, BATCH, jax.random.key(0), jnp.int32(0))
    field = jax.eval_shape(lambda p: View(game, moment).field(p, None), params)
    assert jax.tree.map(jnp.shape, field.gradients) == jax.tree.map(jnp.shape, params)


def test_what_is_out_of_range():
    with pytest.raises(ValueError, match=r"did you mean .ratio"):
        games.sequence_gan(TabularChain(K), PairCritic(), "ratios")
    with pytest.raises(ValueError, match="temperature"):
        games.sequence_gan(TabularChain(K), PairCritic(), "concrete", temperature=0.0)
    with pytest.raises(ValueError, match="length"):
        games.sampler(TabularChain(K), 0)
