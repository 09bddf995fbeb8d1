"""Models of so few pixels that all states are counted: exact likelihoods, and boosting by rounds."""

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
