"""Sequences of symbols: by likelihood, and by games whose generator draws what has no slope.

A batch is a `Batch` whose x is tokens [B, T] from `FIRST` on, as `ganjax.data.text` numbers the words of a vocabulary;
sequences are whole, without padding. Networks are those of `ganjax.models.sequences`.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import stop_gradient

from ganjax.checks import check_name, check_range
from ganjax.core import Array, Batch, Game, Key, Measure, Moment, PerPlayer, PyTree, Sampler, Weights, noise
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.discrete import REWARDS, leave_one_out
from ganjax.games.network import Network, network, owned
from ganjax.games.terms import Term, of_terms
from ganjax.losses import LOSSES

FIRST = 2  # the number of the first word of a vocabulary, after padding and the unknown word

Relaxation = Literal["none", "concrete", "straight_through"]
Estimator = Literal["probability", "ratio", "logit", "concrete", "straight_through"]


class Drawn(NamedTuple):
    """Sequences of a generator."""

    x: Array  # [B, T, K], corners, or points between them
    log_q: Array  # [B, T], of what was drawn, in the generator's parameters


class Played(NamedTuple):
    """What one look shows."""

    drawn: Drawn
    real: Array  # [B, S], what the discriminator says of real sequences
    fake: Array  # [B, S]


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

    begin = (module.begin(len(uniform)), jnp.zeros((len(uniform), module.symbols)))
    _, (x, log_q) = jax.lax.scan(step, begin, uniform.swapaxes(0, 1))
    return Drawn(x.swapaxes(0, 1), log_q.swapaxes(0, 1))


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


def sequence_gan(
    generator: nn.Module, discriminator: nn.Module, estimator: Estimator = "ratio", *, temperature: float = 1.0
) -> Game:
    """A game of sequences, whose generator's gradient is an estimate.

    The discriminator pays `softplus(-u(x)) + softplus(u(G))`, the mean over what it says of each symbol. With a reward
    the generator pays `-sum_t A_t log q(x_t | x_<t)`, whose gradient is the score function's (Williams 1992): A_t is
    the sum of the rewards of x_t and of what follows it, held, less the mean of the other sequences' at the same place.
    At the optimal, held discriminator of a pair of neighbours

    - "probability", R = D (SeqGAN, Yu et al. 2017), descends KL(p, (p + q) / 2), which is bounded;
    - "ratio", D / (1 - D) normalised over the batch (MaliGAN, Che et al. 2017; BGAN, Hjelm et al. 2018), KL(p, q);
    - "logit", KL(q, p).

    Without one it pays `softplus(-u(G))` through symbols between the corners ("concrete") or through corners with the
    slope of these ("straight_through"): gradients of another game, biased of this one.

    Args:
        generator: module, a step of a sequence.
        discriminator: module, `x [B, T, K] -> u [B, S]`.
        estimator: how the generator's gradient is estimated.
        temperature: of the softmax of the last two.

    Returns:
        A game of the players "discriminator" and "generator".

    Raises:
        ValueError: an unknown estimator, or a temperature of 0.
    """
    check_name("sequence_gan", "estimator", estimator, (*REWARDS, "concrete", "straight_through"))
    check_range("sequence_gan", 1e-6, temperature=temperature)
    g, d = network(generator), network(discriminator)
    likelihood = sequence_likelihood(generator)
    relaxed = estimator not in REWARDS

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        params, state = likelihood.init(key, batch)
        own = owned({DISCRIMINATOR: d.init(jax.random.fold_in(key, 1), symbols(batch.x, generator.symbols))})  # type: ignore[attr-defined]
        return {**own[0], **params}, {**own[1], **state}

    def look(params: PerPlayer, moment: Moment) -> tuple[Played, PerPlayer]:
        batch, state = moment.batch, moment.net_state
        x = symbols(batch.x, generator.symbols)  # type: ignore[attr-defined]
        uniform = noise(lambda k: _open_uniform(k, x.shape[1:]), moment.key, batch.position)
        how: Relaxation = estimator if relaxed else "none"  # type: ignore[assignment]
        drawn = draw(g, generator, (params[GENERATOR], state[GENERATOR]), uniform, how, temperature)
        real, fake = (d.apply(params[DISCRIMINATOR], state[DISCRIMINATOR], s, train=True)[0] for s in (x, drawn.x))
        return Played(drawn, real, fake), state

    def score(seen: Played) -> Array:
        log_q = seen.drawn.log_q
        rewards = stop_gradient(REWARDS[estimator](seen.fake))
        to_go = jnp.flip(jnp.flip(rewards, 1).cumsum(1), 1)
        before = jnp.broadcast_to(to_go[:, :1], (len(to_go), log_q.shape[1] - to_go.shape[1]))
        advantages = leave_one_out(jnp.concatenate([before, to_go], 1))
        return -(advantages * log_q).sum(1) / rewards.shape[1]

    loss = LOSSES["non_saturating"]
    paid = (lambda seen: loss.generator(seen.real, seen.fake)) if relaxed else score
    terms = {
        DISCRIMINATOR: {"adversarial": Term(lambda seen: loss.discriminator(seen.real, seen.fake))},
        GENERATOR: {"adversarial" if relaxed else "score": Term(paid)},
    }
    return Game(init, of_terms(look, terms))


def _open_uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """Between 0 and 1, neither of which has a double logarithm."""
    return jax.random.uniform(key, shape, minval=jnp.finfo(jnp.float32).tiny, maxval=1 - 2**-24)


def sampler(generator: nn.Module, length: int, *, stream: str = "data") -> Sampler:
    """Sequences of tokens, [B, length] int32; sample i depends on (key, i) alone."""
    check_range("sampler", 1, whole=True, length=length)
    g = network(generator)

    def made(weights: Weights, key: Key, index: Array, given: PyTree) -> Array:
        del given
        uniform = noise(lambda k: _open_uniform(k, (length, generator.symbols)), key, index)  # type: ignore[attr-defined]
        return draw(g, generator, weights[GENERATOR], uniform).x.argmax(-1).astype(jnp.int32) + FIRST

    return Sampler((GENERATOR,), stream, made)


def nll(generator: nn.Module) -> Measure:
    """Nats of a symbol of held-out sequences, the first included."""
    g = network(generator)

    def values(weights: Weights, batch: Batch, key: Key) -> Array:
        del key
        return -log_probs(g, generator, weights[GENERATOR], symbols(batch.x, generator.symbols))  # type: ignore[attr-defined]

    return Measure(values, (GENERATOR,), "data", "lower")
