"""Games of sequences: draws and their probabilities against a chain, and the score function written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.nn import log_softmax, softplus

from ganjax.chains import Chain, marginals
from ganjax.core import Batch, Moment, Owned
from ganjax.data import oracle as oracles
from ganjax.data.text import UNKNOWN
from ganjax.dynamics import View
from ganjax.games import sequences as games
from ganjax.games.network import network
from ganjax.models.sequences import ConvolutionalCritic, Lstm, PairCritic, Recurrent, RecurrentCritic, TabularChain

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
    ask = jax.jit(lambda p: games.log_probs(network(module), module, (p, {}), games.symbols(TOKENS, K)))
    found = np.asarray(ask(PARAMS))
    np.testing.assert_allclose(found, jax.jit(_log_q)(PARAMS, x), rtol=1e-5)
    measure = games.nll(module)
    values = jax.jit(lambda p: measure.values({"generator": Owned(p, {})}, BATCH, jax.random.key(0)))(PARAMS)
    np.testing.assert_allclose(values, -found)


def _field(estimator, **options):
    game = games.sequence_gan(TabularChain(K), PairCritic(), estimator, **options)
    params = {"generator": PARAMS, "discriminator": {"table": jnp.asarray(RNG.normal(size=(K, K)), jnp.float32)}}
    moment = Moment({"generator": {}, "discriminator": {}}, BATCH, jax.random.key(3), jnp.int32(0))
    own = {"generator": Owned(PARAMS, {})}
    x = jax.jit(lambda key: games.sampler(TabularChain(K), T)(own, key, BATCH.position))(moment.key)
    return params, np.asarray(x) - games.FIRST, jax.jit(lambda p: View(game, moment).field(p, None))(params)


@pytest.mark.fault("many: the reward of a token includes what was drawn before it")
@pytest.mark.parametrize("estimator", ["probability", "ratio", "logit"])
def test_the_score_function_written_out(estimator):
    """Each token has the rewards of the pairs that it is in or that follow, less the mean of the others."""
    params, x, field = _field(estimator)
    u = np.asarray(params["discriminator"]["table"])[x[:, :-1], x[:, 1:]]
    reward = {"probability": 1 / (1 + np.exp(-u)), "logit": u, "ratio": B * np.exp(u) / np.exp(u).sum(0)}[estimator]
    to_go = np.stack([reward.sum(1), *(reward[:, t:].sum(1) for t in range(T - 1))], 1)
    advantage = np.stack([to_go[b] - np.delete(to_go, b, 0).mean(0) for b in range(B)])
    slope = jax.jit(jax.grad(lambda p: -(advantage * _log_q(p, x)).sum(1).mean() / (T - 1)))(PARAMS)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), field.gradients["generator"], slope
    )

    def of_critic(p):
        real = p["table"][TOKENS[:, :-1] - games.FIRST, TOKENS[:, 1:] - games.FIRST]
        return softplus(-real).mean() + softplus(p["table"][x[:, :-1], x[:, 1:]]).mean()

    slope = jax.jit(jax.grad(of_critic))(params["discriminator"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), field.gradients["discriminator"], slope
    )


def test_straight_through_shows_corners_and_the_concrete_points_between():
    """The discriminator of the first sees what is sampled; both give the generator a slope through what it made."""
    _, x, corners = _field("straight_through", temperature=0.5)
    module, net = TabularChain(K), network(TabularChain(K))
    uniform = jnp.asarray(np.random.default_rng(1).uniform(0.01, 0.99, (B, T, K)), jnp.float32)
    ways = ("none", "concrete", "straight_through")
    draw = jax.jit(lambda p: {how: games.draw(net, module, (p, {}), uniform, how, 0.5) for how in ways})
    drawn = jax.device_get(draw(PARAMS))
    np.testing.assert_allclose(drawn["straight_through"].x, drawn["none"].x, atol=1e-6)
    np.testing.assert_array_equal(drawn["concrete"].x[:, 0].argmax(-1), drawn["none"].x[:, 0].argmax(-1))
    np.testing.assert_allclose(drawn["concrete"].x.sum(-1), 1, rtol=1e-5)
    assert float(drawn["concrete"].x.max()) < 0.9999
    assert float(np.abs(corners.gradients["generator"]["table"]).max()) > 1e-4
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


class Sum(nn.Module):
    """A discriminator of whole sequences: a weight for each symbol at each place, added up."""

    @nn.compact
    def __call__(self, x):
        return jnp.einsum("btk,tk->b", x, self.param("table", nn.initializers.normal(1.0), x.shape[1:]))[:, None]


def test_completions_keep_the_beginning_and_go_on_as_the_generator_does():
    module, n = TabularChain(K), 3000
    net = network(module)
    corners = jnp.asarray(games.symbols(TOKENS[:1], K)).repeat(n, 0)
    uniform = jnp.asarray(np.random.default_rng(5).uniform(size=(n, T)), jnp.float32)
    found = jax.jit(lambda kept: games.completed(net, module, (PARAMS, {}), corners, kept, uniform).argmax(-1))
    for kept in (2, T):
        x = np.asarray(found(kept))
        np.testing.assert_array_equal(x[:, :kept], np.asarray(TOKENS[:1, :kept] - games.FIRST).repeat(n, 0))
        if kept == T:
            continue
        law = CHAIN.transition[x[0, kept - 1]]
        for t in range(kept, T):
            shares = np.bincount(x[:, t], minlength=K) / n
            assert (np.abs(shares - law) < 4.5 * np.sqrt(law / n)).all()
            law = law @ CHAIN.transition


@pytest.mark.fault("many: the value of a prefix is the reward of one sequence, whatever followed")
def test_rollouts_estimate_the_value_of_each_prefix():
    """Of a sum over places: what was drawn, and the expected rest, within the noise of so many completions."""
    n, module = 2000, TabularChain(K)
    game = games.sequence_gan(module, Sum(), "logit", rollouts=n)
    table = jnp.asarray(RNG.normal(size=(T, K)), jnp.float32)
    params = {"generator": PARAMS, "discriminator": {"table": table}}
    moment = Moment({"generator": {}, "discriminator": {}}, BATCH, jax.random.key(3), jnp.int32(0))
    slopes = jax.jit(lambda p: View(game, moment).field(p, ("generator",)).gradients["generator"])(params)
    drawn = games.sampler(module, T)({"generator": Owned(PARAMS, {})}, moment.key, BATCH.position) - games.FIRST
    x, w = np.asarray(drawn), np.asarray(table, np.float64)
    value = np.zeros((B, T))
    for t in range(T):
        value[:, t] = w[np.arange(t + 1), x[:, : t + 1]].sum(1)
        law = CHAIN.transition[x[:, t]]
        for s in range(t + 1, T):
            value[:, t] += law @ w[s]
            law = law @ CHAIN.transition
    advantage = np.stack([value[b] - np.delete(value, b, 0).mean(0) for b in range(B)])
    expected = jax.grad(lambda p: -(advantage * _log_q(p, x)).sum(1).mean())(PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.08), slopes, expected)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected)) > 0.3


def test_sequences_of_all_devices_are_one_anothers_baseline():
    game = {
        axis: games.sequence_gan(TabularChain(K), Sum(), "ratio", rollouts=2, axis_name=axis) for axis in (None, "d")
    }
    table = jnp.asarray(RNG.normal(size=(T, K)), jnp.float32)
    params = {"generator": PARAMS, "discriminator": {"table": table}}
    dealt = Batch(TOKENS.reshape(3, 2, T).swapaxes(0, 1), None, jnp.arange(B).reshape(3, 2).T)  # example j n + d

    def cost(axis, batch):
        moment = Moment({"generator": {}, "discriminator": {}}, batch, jax.random.key(3), jnp.int32(0))
        return game[axis].costs["generator"](params, moment)[0]

    one = jax.jit(lambda: (cost(None, BATCH), jax.vmap(lambda b: cost("d", b), axis_name="d")(dealt).mean()))()
    np.testing.assert_allclose(one[1], one[0], rtol=1e-5)


def test_the_network_of_the_oracle_says_what_the_oracle_does():
    """And at a temperature what its logits say when they are divided by it."""
    weights = oracles.oracle(K, features=4)
    module, x = Lstm(K, 4, 4), np.asarray(TOKENS - games.FIRST)
    fresh = jax.eval_shape(module.init, jax.random.key(0), module.begin(B), jnp.zeros((B, K)))["params"]
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(np.shape, weights.params)
    measure = games.nll_of_samples(TabularChain(K), T, module, weights.params)

    @jax.jit
    def said():
        cold = games.tempered(network(module), 0.5)
        own = games.log_probs(cold, module, (weights.params, {}), games.symbols(TOKENS, K))
        return own, measure.values({"generator": Owned(PARAMS, {})}, BATCH, jax.random.key(3))

    cold, of_samples = said()
    drawn = games.sampler(TabularChain(K), T)({"generator": Owned(PARAMS, {})}, jax.random.key(3), BATCH.position)
    np.testing.assert_allclose(of_samples, oracles.nll(weights, np.asarray(drawn) - games.FIRST), rtol=1e-4, atol=1e-5)
    halved = weights._replace(out=2 * weights.out, out_bias=2 * weights.out_bias)
    np.testing.assert_allclose(cold, -oracles.nll(halved, x), rtol=1e-4, atol=1e-5)


def test_the_convolutional_critic_sees_windows_wherever_they_are():
    """Sequences with the same pairs, in another order, are told the same; windows that do not fit are left out."""
    critic = ConvolutionalCritic(2, (1, 2, 9))
    x = games.symbols(jnp.array([[2, 3, 3, 2, 2], [3, 3, 2, 2, 3], [2, 3, 2, 2, 2]]), K)
    said, variables = jax.jit(lambda key: critic.init_with_output(key, x))(jax.random.key(1))
    assert said.shape == (3, 1) and variables["params"]["Dense_1"]["kernel"].shape == (4, 2)
    assert "Dense_3" not in variables["params"], "two widths, and what is said of both"
    np.testing.assert_allclose(said[1], said[0], rtol=1e-6)
    assert abs(float(said[2, 0] - said[0, 0])) > 1e-3, "the pair 3 3 is missing"


def test_rollouts_ask_for_one_number_and_for_a_reward():
    with pytest.raises(ValueError, match="rollouts is 2, but 'concrete' has no reward"):
        games.sequence_gan(TabularChain(K), PairCritic(), "concrete", rollouts=2)
    game = games.sequence_gan(TabularChain(K), PairCritic(), rollouts=2)
    params, net_state = jax.eval_shape(game.init, jax.random.key(0), BATCH)
    moment = Moment(net_state, BATCH, jax.random.key(0), jnp.int32(0))
    with pytest.raises(ValueError, match="says 3 things of a sequence, expected one"):
        jax.eval_shape(lambda p: game.costs["generator"](p, moment)[0], params)
