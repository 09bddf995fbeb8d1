"""Many steps in one call: compiled, donated, and traced once."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ganjax.core import Array, GameState, Key, Metrics
from ganjax.training import parallel
from ganjax.training.setup import gather
from ganjax.training.state import by_path
from ganjax.training.step import Step


def compile_chunk(step: Step, *, scan: bool, length: int) -> Callable:
    """`(state, data, positions [length, batch], key, count) -> (state, metrics, each [>= count])`.

    The first `count` steps are taken; `count` is data, so that a shorter last chunk is the same program.

    Args:
        step: from `train_step`.
        scan: run the chunk as one program; else dispatch each step, for networks that XLA compiles badly in a loop.
        length: the most steps of a chunk.
    """

    def one(state: GameState, data: Mapping, positions: Array, key: Key, i: Array) -> tuple[GameState, Metrics]:
        local = positions[i]
        return step(state, gather(data, local, parallel.global_index(local.shape[0])), key)

    if not scan:
        compiled = parallel.compile_chunk(one)

        def dispatch(state, data, positions, key, count):
            metrics = []
            for i in range(count):
                state, values = compiled(state, data, positions, key, i)
                metrics.append(values)
            return state, metrics

        return dispatch

    one = jax.jit(one)  # traced once: for the shapes of its metrics, and for the loop

    def scanned(state, data, positions, key, count):
        shapes = jax.eval_shape(one, state, data, positions, key, 0)[1]
        metrics = jax.tree.map(lambda m: jnp.zeros((length, *m.shape), m.dtype), shapes)

        def body(i, carry):
            state, metrics = carry
            state, values = one(state, data, positions, key, i)
            return state, jax.tree.map(lambda all_, value: all_.at[i].set(value), metrics, values)

        return jax.lax.fori_loop(0, count, body, (state, metrics))

    return parallel.compile_chunk(scanned)


def per_step(metrics: Any, count: int) -> list[dict[str, float]]:
    """Metrics of a chunk as host numbers, one record per step taken."""
    host = parallel.fetch(metrics)
    if isinstance(host, list):
        return host
    return [{name: values[i] for name, values in host.items()} for i in range(count)]


def first_not_finite(move: Step, state: GameState, data: Mapping, positions: Array, key: Key) -> str | None:
    """The path of the first leaf of the state that an unguarded step makes not finite, or None.

    Args:
        move: from `unguarded_step`.
        state: on the devices; it is used up.
        data: on the devices.
        positions: of the step's examples, [1, batch], dealt.
        key: the base key.
    """

    def probe(state: GameState, data: Mapping, positions: Array, key: Key, i: Array) -> tuple[GameState, Metrics]:
        local = positions[i]
        new, _ = move(state, gather(data, local, parallel.global_index(local.shape[0])), key)
        return new, {path: jnp.isfinite(leaf).all() for path, leaf in by_path(new).items()}

    _, finite = parallel.compile_chunk(probe)(state, data, positions, key, 0)
    finite = parallel.fetch(finite)
    return next((path for path in by_path(state) if not finite[path]), None)
