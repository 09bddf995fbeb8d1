"""Models of so few units that all states are counted: exact likelihoods, boosting by rounds, and a check of AIS."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from ganjax.checks import check_range
from ganjax.core import Array, Key, PyTree
from ganjax.data.binary import index, states
from ganjax.dynamics import simultaneous
from ganjax.games.energy import FEATURE, Contrast, boosting, line_search
from ganjax.training import simulate

Log = NDArray[np.float64]


def said(module: nn.Module, params: PyTree, x: ArrayLike) -> Log:
    """What a module says of images [N, ...], in float64, at most 4,096 of them at a time."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), params)
        return np.asarray(_said(module, params, jnp.asarray(np.asarray(x, np.float64))))


@partial(jax.jit, static_argnums=0)
def _said(module: nn.Module, params: PyTree, x: Array) -> Array:
    return jax.lax.map(lambda image: module.apply({"params": params}, image[None])[0], x, batch_size=4096)


def log_probabilities(module: nn.Module, params: PyTree, *, energy: bool = True) -> Log:
    """`log p` of all 65,536 binary images of 4x4, in the order of `data.binary.states`.

    Args:
        module: one of `models.binary`.
        params: of it.
        energy: normalise; False takes what is said for `log p` as it is.
    """
    f = said(module, params, states())
    return f - logsumexp(f) if energy else f


class Round(NamedTuple):
    """The energy after a round of boosting."""

    log_p: Log  # [S] of all states
    alpha: float  # what the feature was multiplied with
    gained: float  # nats of the data's mean log-likelihood
    cost: float  # of the classifier, on what it learned from; 2 log 2 where it tells nothing apart


def boosted(
    feature: nn.Module,
    x: NDArray,
    log_p: Log,
    *,
    key: Key,
    steps: int,
    rate: float = 0.02,
    decay: float = 0.0,
    criterion: Literal["logistic", "likelihood"] = "logistic",
    sampled: int = 0,
    search: float = 1e3,
) -> Iterator[Round]:
    """Self-supervised boosting of an energy, round after round, with no end of its own (Welling et al. 2002).

    Args:
        feature: a Flax module, `x [B, ...] -> f [B]`, trained anew in each round.
        x: the data, [B, 4, 4, 1] of -1 and 1.
        log_p: where to begin, [65,536].
        key: of the initialisations and the negatives.
        steps: of Adam in a round.
        rate: of Adam, falling to 0 along a cosine.
        decay: of the feature's weights, `decay / 2 |theta|^2` in its cost.
        criterion: as of `games.energy.boosting`.
        sampled: negatives are so many draws of the present energy, the same for feature and coefficient; 0 for all
            states, each by its probability.
        search: the coefficient is the best on the negatives, up to this; 0 for a coefficient of 1.
    """
    check_range("boosted", 1, whole=True, steps=steps)
    check_range("boosted", 0, whole=True, sampled=sampled)
    every = states()
    descent = optax.adam(optax.cosine_decay_schedule(rate, steps))
    descents = {FEATURE: optax.chain(optax.add_decayed_weights(decay), descent)}
    game = boosting(feature, criterion=criterion)
    game = game._replace(costs={FEATURE: game.costs[FEATURE]})  # the coefficient is found by its line
    play = jax.jit(lambda key, batch: simulate(game, simultaneous(descents), steps, key=key, batch=batch, keep=None)[0])
    for number in count():
        own = jax.random.fold_in(key, number)
        negatives, share = every, log_p
        if sampled:
            rows = np.random.default_rng(int(jax.random.bits(own))).choice(len(every), sampled, p=np.exp(log_p))
            negatives, share = every[rows], np.full(sampled, -np.log(sampled))
        params = play(own, Contrast(jnp.asarray(x), jnp.asarray(negatives), jnp.asarray(share, np.float32)))
        f = said(feature, params.params[FEATURE], every)
        on_data, on_negatives = f[index(x)], f[index(negatives)]
        alpha = line_search(on_data, on_negatives, share, search) if search else 1.0
        cost = np.logaddexp(0, -on_data).mean() + np.exp(share) @ np.logaddexp(0, on_negatives)
        gained = float(np.mean(alpha * on_data) - logsumexp(log_p + alpha * f))
        log_p = log_p + alpha * f
        log_p -= logsumexp(log_p)
        yield Round(log_p, alpha, gained, float(cost))


def rbm_log_z(params: PyTree) -> float:
    """`log sum_h exp(c h) prod_i (1 + exp(b_i + (W h)_i))`, the normaliser of an RBM by its hidden states, float64.

    Args:
        params: of a `models.binary.RBM` of at most 20 hidden units, whatever its visible ones.
    """
    b, c, w = (np.asarray(params[name], np.float64) for name in ("visible_bias", "hidden_bias", "kernel"))
    h = (states(1, len(c)).reshape(-1, len(c)).astype(np.float64) + 1) / 2
    parts = np.array_split(h, max(1, len(h) // 4096))
    return float(logsumexp(np.concatenate([part @ c + np.logaddexp(0, part @ w.T + b).sum(1) for part in parts])))


def annealed_log_z(params: PyTree, base: ArrayLike, *, key: Key, chains: int = 100, steps: int = 1000) -> float:
    """`log Z` of an RBM by annealed importance sampling (Neal 2001; Salakhutdinov and Murray 2008).

    From independent pixels along `log p_t* = (1 - t) base v + t b v + sum_j softplus(t (c + v W)_j)`, a Gibbs sweep a
    temperature. Z is unbiased, so log Z is too small on average, and likelihoods made with it are too large.

    Args:
        params: of a `models.binary.RBM`.
        base: logits of the pixels at t = 0, [V].
        key: of the chains.
        chains: independent ones, whose weights are averaged.
        steps: temperatures.
    """
    check_range("annealed_log_z", 1, whole=True, chains=chains, steps=steps)
    own = [jnp.asarray(params[name]) for name in ("visible_bias", "hidden_bias", "kernel")]
    a = jnp.asarray(base, own[0].dtype)
    log_weights = np.asarray(_annealed(a, *own, key, chains=chains, steps=steps), np.float64)
    start = np.logaddexp(0, np.asarray(a, np.float64)).sum() + len(own[1]) * np.log(2)
    return float(start + logsumexp(log_weights) - np.log(chains))


@partial(jax.jit, static_argnames=("chains", "steps"))
def _annealed(a: Array, b: Array, c: Array, w: Array, key: Key, *, chains: int, steps: int) -> Array:
    """The logarithms of the chains' weights, [chains]."""

    def energy(t: Array, v: Array) -> Array:
        return v @ ((1 - t) * a + t * b) + jax.nn.softplus(t * (v @ w + c[None])).sum(1)

    def cool(carry: tuple[Array, Array], at: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        (v, log_weight), (before, t, own) = carry, at
        log_weight += energy(t, v) - energy(before, v)
        for_h, for_v = jax.random.split(own)
        h = jax.random.bernoulli(for_h, jax.nn.sigmoid(t * (v @ w + c[None]))).astype(v.dtype)
        logits = ((1 - t) * a + t * b)[None] + t * (h @ w.T)
        return (jax.random.bernoulli(for_v, jax.nn.sigmoid(logits)).astype(v.dtype), log_weight), None

    first, rest = jax.random.split(key)
    v = jax.random.bernoulli(first, jax.nn.sigmoid(a)[None], (chains, len(a))).astype(a.dtype)
    t = jnp.linspace(0, 1, steps + 1, dtype=a.dtype)
    start = (v, jnp.zeros(chains, a.dtype))
    return jax.lax.scan(cool, start, (t[:-1], t[1:], jax.random.split(rest, steps)))[0][1]
