"""Sequences of symbols: by likelihood, and by games whose generator draws what has no slope.

A batch is a `Batch` whose x is tokens [B, T] from `FIRST` on, as `ganjax.data.text` numbers the words of a vocabulary;
sequences are whole, without padding. Networks are those of `ganjax.models.sequences`.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import stop_gradient

from ganjax.checks import check_name, check_range
from ganjax.core import (
    Array,
    Batch,
    Draw,
    Game,
    Key,
    Measure,
    Moment,
    PerPlayer,
    PyTree,
    Sampler,
    Weights,
    everyone,
    global_index,
    noise,
    substream,
)
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.discrete import REWARDS, leave_one_out
from ganjax.games.network import Network, network, owned
from ganjax.games.terms import Term, of_terms
from ganjax.losses import LOSSES

FIRST = 2  # the number of the first word of a vocabulary, after padding and the unknown word

Relaxation = Literal["none", "concrete", "straight_through"]
Estimator = Literal["probability", "ratio", "logit", "non_saturating", "minimax", "concrete", "straight_through"]


class Drawn(NamedTuple):
    """Sequences of a generator."""

    x: Array  # [B, T, K], corners, or points between them
    log_q: Array  # [B, T], of what was drawn, in the generator's parameters


class Played(NamedTuple):
    """What one look shows."""

    drawn: Drawn
    real: Array  # [B, S], what the discriminator says of real sequences
    fake: Array  # [B, S]
    values: Callable[[], Array]  # the reward of each drawn symbol and of what follows it, held, [B, T]


def symbols(x: Array, size: int) -> Array:
    """Tokens [B, T] as corners [B, T, K]."""
    return jax.nn.one_hot(x - FIRST, size)


def draw(
    net: Network,
    module: nn.Module,
    weights: tuple[PyTree, PyTree],
    uniform: Array,
    relaxation: Relaxation = "none",
    temperature: float = 1.0,
) -> Drawn:
    """Sequences, symbol after symbol, by the Gumbel trick: `argmax_k (logits_k + g_k)` is a categorical draw.

    Args:
        net: of the generator.
        module: the generator, of which `begin` and `symbols` are used.
        weights: of the generator.
        uniform: [B, T, K], which becomes g = -log(-log u).
        relaxation: corners without a slope; the softmax of the same sum by the temperature (Jang et al. 2017; Maddison
            et al. 2017); or corners with the slope of that softmax (Bengio et al. 2013).
        temperature: of the softmax.
    """

    def step(carry: tuple, u: Array) -> tuple[tuple, tuple[Array, Array]]:
        memory, previous = carry
        (memory, logits), _ = net.apply(*weights, memory, previous, train=True)
        noisy = logits - jnp.log(-jnp.log(u))
        corner = jax.nn.one_hot(noisy.argmax(-1), logits.shape[-1])
        log_q = (jax.nn.log_softmax(logits) * corner).sum(-1)
        soft = jax.nn.softmax(noisy / temperature)
        x = {"none": corner, "concrete": soft, "straight_through": corner + soft - stop_gradient(soft)}[relaxation]
        return (memory, x), (x, log_q)

    count = uniform.shape[0]  # which `export` leaves open
    begin = (module.begin(count), jnp.zeros((count, module.symbols)))
    _, (x, log_q) = jax.lax.scan(step, begin, uniform.swapaxes(0, 1))
    return Drawn(x.swapaxes(0, 1), log_q.swapaxes(0, 1))


def tempered(net: Network, temperature: Array | float) -> Network:
    """A generator whose logits are divided by the temperature: below 1 it is surer of what it says anyhow."""

    def apply(*args: Any, **how: Any) -> tuple[Any, PyTree]:
        (memory, logits), state = net.apply(*args, **how)
        return (memory, logits / temperature), state

    return net._replace(apply=apply)


def completed(
    net: Network, module: nn.Module, weights: tuple[PyTree, PyTree], x: Array, kept: Array | int, uniform: Array
) -> Array:
    """Sequences that begin as others do and go on as the generator likes, [B, T, K]: the rollouts of SeqGAN.

    Args:
        net: of the generator.
        module: the generator.
        weights: of the generator.
        x: [B, T, K] corners.
        kept: how many of their symbols stay.
        uniform: [B, T], of which u_t says where in the law of symbol t, added up in order, the draw lies.
    """

    def step(carry: tuple, now: tuple) -> tuple[tuple, Array]:
        memory, previous = carry
        place, own, u = now
        (memory, logits), _ = net.apply(*weights, memory, previous, train=True)
        ends = jax.nn.softmax(logits).cumsum(-1)
        number = jnp.minimum((ends < u[:, None]).sum(-1), logits.shape[-1] - 1)  # the last end may be rounded below 1
        symbol = jnp.where(place < kept, own, jax.nn.one_hot(number, logits.shape[-1]))
        return (memory, symbol), symbol

    begin = (module.begin(len(x)), jnp.zeros_like(x[:, 0]))
    along = jnp.arange(x.shape[1]), x.swapaxes(0, 1), uniform.swapaxes(0, 1)
    return jax.lax.scan(step, begin, along)[1].swapaxes(0, 1)


def log_probs(net: Network, module: nn.Module, weights: tuple[PyTree, PyTree], x: Array) -> Array:
    """`log q(x_t | x_<t)` of corners [B, T, K], [B, T]."""

    def step(carry: tuple, now: Array) -> tuple[tuple, Array]:
        memory, previous = carry
        (memory, logits), _ = net.apply(*weights, memory, previous, train=True)
        return (memory, now), (jax.nn.log_softmax(logits) * now).sum(-1)

    begin = (module.begin(len(x)), jnp.zeros_like(x[:, 0]))
    return jax.lax.scan(step, begin, x.swapaxes(0, 1))[1].swapaxes(0, 1)


def sequence_likelihood(generator: nn.Module) -> Game:
    """Maximum likelihood: the generator pays `-log q(x_t | x_<t)`, the mean over all symbols, in nats.

    Args:
        generator: module, a step of a sequence.

    Returns:
        A game of the player "generator".
    """
    g = network(generator)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        first = symbols(batch.x, generator.symbols)[:, 0]  # type: ignore[attr-defined]
        return owned({GENERATOR: g.init(key, generator.begin(len(first)), first)})  # type: ignore[attr-defined]

    def look(params: PerPlayer, moment: Moment) -> tuple[Array, PerPlayer]:
        own = params[GENERATOR], moment.net_state[GENERATOR]
        x = symbols(moment.batch.x, generator.symbols)  # type: ignore[attr-defined]
        return -log_probs(g, generator, own, x), moment.net_state

    return Game(init, of_terms(look, {GENERATOR: {"nll": Term(lambda nats: nats)}}))


def rewards_to_go(rewards: Array, length: int) -> Array:
    """The sum of the rewards [B, S] of each of `length` symbols and of what follows it, over S: [B, length].

    They are of the last S symbols, so that all before these have the sum of all.
    """
    found = jnp.flip(jnp.flip(rewards, 1).cumsum(1), 1) / rewards.shape[1]
    return jnp.concatenate([jnp.broadcast_to(found[:, :1], (len(found), length - found.shape[1])), found], 1)


def values_of_prefixes(
    net: Network,
    module: nn.Module,
    weights: tuple[PyTree, PyTree],
    x: Array,
    rewards: Callable[[Array], Array],
    moment: Moment,
    rollouts: int,
) -> Array:
    """The mean reward of `completed` sequences that begin as x does, up to each of its symbols, [B, T].

    Args:
        net: of the generator.
        module: the generator.
        weights: of the generator.
        x: [B, T, K] corners.
        rewards: of whole sequences, [N, T, K] to [N, 1].
        moment: of the look.
        rollouts: completions of each prefix; the whole sequence is its own.

    Raises:
        ValueError: there is more than one reward of a sequence.
    """
    x, held = stop_gradient((x, weights))
    count, length, _ = x.shape
    if (last := rewards(x)).shape[1] != 1:
        raise ValueError(
            f"sequence_gan: with rollouts the discriminator says {last.shape[1]} things of a sequence, expected one; "
            "take another one, or rollouts=0"
        )

    def after(_: None, t: Array) -> tuple[None, Array]:
        own = substream(moment.key, Draw.OTHER, t)
        uniform = noise(lambda k: jax.random.uniform(k, (rollouts, length)), own, moment.batch.position)
        many = x.repeat(rollouts, 0)
        whole = completed(net, module, held, many, t + 1, uniform.reshape(-1, length))
        return None, rewards(whole).reshape(count, rollouts).mean(1)

    found = jax.lax.scan(after, None, jnp.arange(length - 1))[1]
    return jnp.concatenate([found.T, last], 1)


def sequence_gan(
    generator: nn.Module,
    discriminator: nn.Module,
    estimator: Estimator = "ratio",
    *,
    temperature: float = 1.0,
    rollouts: int = 0,
    axis_name: str | None = None,
) -> Game:
    """A game of sequences, whose generator's gradient is an estimate.

    The discriminator pays `softplus(-u(x)) + softplus(u(G))`, the mean over what it says of each symbol. With a reward
    the generator pays `-sum_t A_t log q(x_t | x_<t)`, whose gradient is the score function's (Williams 1992): A_t is
    the sum of the rewards of x_t and of what follows it, held, less the mean of the other sequences' at the same place.
    At the optimal, held discriminator of a pair of neighbours

    - "probability", R = D (SeqGAN, Yu et al. 2017), descends KL(p, (p + q) / 2), which is bounded;
    - "ratio", D / (1 - D) normalised over the batch (MaliGAN, Che et al. 2017), KL(p, q);
    - "logit", KL(q, p);
    - "non_saturating", log D, KL(q, p) - 2 JSD;
    - "minimax", -log(1 - D), 2 JSD.

    BGAN (Hjelm et al. 2018) normalises the ratio among several outputs of each z. A generator of symbols has no z, all
    its sequences are outputs of the same one: so "ratio" is both. Of a z `discrete.score_function` has `outputs`.

    With rollouts, as SeqGAN has them, A_t is the mean reward of so many sequences that begin as the drawn one does up
    to x_t and that the generator, as it is now, completes; of the last symbol it is the reward of the sequence itself.
    They ask for a discriminator of whole sequences (S = 1), without them all symbols of a sequence share its reward.

    Without a reward it pays `softplus(-u(G))` through symbols between the corners ("concrete") or through corners with
    the slope of these ("straight_through"): gradients of another game, biased of this one.

    Args:
        generator: module, a step of a sequence.
        discriminator: module, `x [B, T, K] -> u [B, S]`.
        estimator: how the generator's gradient is estimated.
        temperature: of the softmax of the last two.
        rollouts: completions of each prefix; 0 for none.
        axis_name: the mapped axis that shares the batch, of which all sequences are one another's baseline.

    Returns:
        A game of the players "discriminator" and "generator".

    Raises:
        ValueError: an unknown estimator, a temperature of 0, or rollouts without a reward or, from a look, with a
            discriminator that says more than one thing of a sequence.
    """
    check_name("sequence_gan", "estimator", estimator, (*REWARDS, "concrete", "straight_through"))
    check_range("sequence_gan", 1e-6, temperature=temperature)
    check_range("sequence_gan", 0, whole=True, rollouts=rollouts)
    g, d = network(generator), network(discriminator)
    likelihood = sequence_likelihood(generator)
    relaxed = estimator not in REWARDS
    if relaxed and rollouts:
        raise ValueError(f"sequence_gan: rollouts is {rollouts}, but {estimator!r} has no reward; expected 0")

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        params, state = likelihood.init(key, batch)
        own = owned({DISCRIMINATOR: d.init(jax.random.fold_in(key, 1), symbols(batch.x, generator.symbols))})  # type: ignore[attr-defined]
        return {**own[0], **params}, {**own[1], **state}

    def rewarded(u: Array) -> Array:
        own = global_index(len(u), axis_name)
        return stop_gradient(REWARDS[estimator](everyone(axis_name, u))[own])

    def look(params: PerPlayer, moment: Moment) -> tuple[Played, PerPlayer]:
        batch, state = moment.batch, moment.net_state
        own = params[GENERATOR], state[GENERATOR]
        x = symbols(batch.x, generator.symbols)  # type: ignore[attr-defined]
        how: Relaxation = estimator if relaxed else "none"  # type: ignore[assignment]
        drawn = draw(g, generator, own, uniforms(moment.key, batch.position, *x.shape[1:]), how, temperature)
        says = lambda s: d.apply(params[DISCRIMINATOR], state[DISCRIMINATOR], s, train=True)[0]  # noqa: E731
        rewards = lambda s: rewarded(says(s))  # noqa: E731
        values = lambda: (  # noqa: E731
            values_of_prefixes(g, generator, own, drawn.x, rewards, moment, rollouts)
            if rollouts
            else rewards_to_go(rewards(drawn.x), x.shape[1])
        )
        return Played(drawn, says(x), says(drawn.x), values), state

    def score(seen: Played) -> Array:
        values = seen.values()
        advantages = leave_one_out(everyone(axis_name, values))[global_index(len(values), axis_name)]
        return -(advantages * seen.drawn.log_q).sum(1)

    loss = LOSSES["non_saturating"]
    paid = (lambda seen: loss.generator(seen.real, seen.fake)) if relaxed else score
    terms = {
        DISCRIMINATOR: {"adversarial": Term(lambda seen: loss.discriminator(seen.real, seen.fake))},
        GENERATOR: {"adversarial" if relaxed else "score": Term(paid)},
    }
    return Game(init, of_terms(look, terms))


def uniforms(key: Key, index: Array, length: int, size: int) -> Array:
    """What `draw` draws from, [B, length, size]: between 0 and 1, neither of which has a double logarithm."""
    low, high = jnp.finfo(jnp.float32).tiny, 1 - 2**-24
    return noise(lambda k: jax.random.uniform(k, (length, size), minval=low, maxval=high), key, index)


def sampler(generator: nn.Module, length: int, *, stream: str = "data") -> Sampler:
    """Sequences of tokens, [B, length] int32; sample i depends on (key, i) alone."""
    check_range("sampler", 1, whole=True, length=length)
    g = network(generator)

    def made(weights: Weights, key: Key, index: Array, given: PyTree) -> Array:
        del given
        uniform = uniforms(key, index, length, generator.symbols)  # type: ignore[attr-defined]
        return draw(g, generator, weights[GENERATOR], uniform).x.argmax(-1).astype(jnp.int32) + FIRST

    return Sampler((GENERATOR,), stream, made)


def nll(generator: nn.Module) -> Measure:
    """Nats of a symbol of held-out sequences, the first included."""
    g = network(generator)

    def values(weights: Weights, batch: Batch, key: Key) -> Array:
        del key
        return -log_probs(g, generator, weights[GENERATOR], symbols(batch.x, generator.symbols))  # type: ignore[attr-defined]

    return Measure(values, (GENERATOR,), "data", "lower")


def nll_of_samples(generator: nn.Module, length: int, truth: nn.Module, params: PyTree) -> Measure:
    """NLL_oracle (Yu et al. 2017): nats of a symbol that the truth says of sequences of the generator, `H(q, p)`.

    The truth's most probable sequence alone has the least: look at `nll` too.

    Args:
        generator: module.
        length: of a sequence.
        truth: module, a step of a sequence, over the same symbols.
        params: of the truth.
    """
    p, draws, size = network(truth), sampler(generator, length), generator.symbols  # type: ignore[attr-defined]

    def values(weights: Weights, batch: Batch, key: Key) -> Array:
        x = symbols(draws(weights, key, batch.position), size)
        return -log_probs(p, truth, (params, {}), x)

    return Measure(values, (GENERATOR,), "data", "lower")
