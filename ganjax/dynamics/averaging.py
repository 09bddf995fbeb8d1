"""Averages of a trajectory: triples (init, update, value) of pure functions over any tree.

Leaves that are not floating point are not averaged; the latest value is kept.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_range
from ganjax.core import Array, PyTree


class AverageState(NamedTuple):
    """The memory of an average."""

    total: PyTree  # like the tree, the weighted sum so far
    weight: Array  # scalar float32, the sum of weights in `total`
    seen: Array  # scalar int32, how many trees


class Average(NamedTuple):
    """How to average a sequence of trees."""

    init: Callable[[PyTree], AverageState]
    update: Callable[[PyTree, AverageState], AverageState]  # (tree, state) -> state
    value: Callable[[AverageState], PyTree]  # the average so far


def _average(rate: Callable[[Array], Array]) -> Average:
    """`total <- (1 - r) total + r tree` with `r = rate(count)`, a float; the value is `total / weight`."""

    def floating(leaf: Array) -> bool:
        return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)

    def init(tree: PyTree) -> AverageState:
        return AverageState(jax.tree.map(jnp.zeros_like, tree), jnp.zeros(()), jnp.zeros((), jnp.int32))

    def update(tree: PyTree, state: AverageState) -> AverageState:
        r = rate(state.seen.astype(state.weight.dtype))

        def mix(new: Array, old: Array) -> Array:
            return old + (r * (new - old)).astype(old.dtype) if floating(old) else new

        total = jax.tree.map(mix, tree, state.total)
        return AverageState(total, state.weight + r * (1 - state.weight), state.seen + 1)

    def value(state: AverageState) -> PyTree:
        xp = jnp if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state)) else np
        scale = xp.where(state.weight > 0, state.weight, xp.ones((), state.weight.dtype))
        return jax.tree.map(lambda t: (t / scale).astype(t.dtype) if floating(t) else t, state.total)

    return Average(init, update, value)


def ema(decay: float | Array, *, warmup: bool = False) -> Average:
    """Exponential moving average `m <- decay m + (1 - decay) theta`, debiased: the weights always sum to one.

    Debiasing divides by `1 - decay^t` (Kingma and Ba 2015, section 3), so the first values are not drawn to zero.
    On a mode that turns by the angle phi per step, it scales the amplitude by
    `(1 - decay) / sqrt(1 - 2 decay cos(phi) + decay^2)`.

    Args:
        decay: in [0, 1); the average looks back over about `1 / (1 - decay)` steps.
        warmup: use `min(decay, (1 + t) / (10 + t))` at step t, so that early parameters are forgotten sooner.
    """
    check_range("ema", 0, 1, below=True, decay=decay)
    if not warmup:
        return _average(lambda count: jnp.asarray(1 - decay, count.dtype))
    return _average(lambda count: 1 - jnp.minimum(decay, (1 + count) / (10 + count)))


def tail_average(start: int = 0) -> Average:
    """The uniform mean of all trees after the first `start` ones (Polyak and Juditsky 1992).

    Before that it is the latest tree.
    """
    check_range("tail_average", 0, whole=True, start=start)
    return _average(lambda count: 1 / jnp.maximum(count - start + 1, 1))
