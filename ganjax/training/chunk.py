"""Many steps in one call: compiled, donated, and traced once."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.core import Array, GameState, Key, Metrics, PyTree
from ganjax.training import parallel
from ganjax.training.state import by_path
from ganjax.training.step import Step, all_finite, chosen, everywhere, guarded, watched

# (data, rows of a step, key of the step) -> its batch, on this device
Collate = Callable[[Mapping, Mapping, Key], PyTree]


def compile_chunk(move: Step, collate: Collate, *, scan: bool, length: int) -> Callable:
    """`(state, data, rows {stream: [length, examples]}, key, count) -> (state, metrics, each [>= count])`.

    The first `count` steps are taken; `count` is data, so that a shorter last chunk is the same program. Each step does
    what `step.guarded` says: one after which any value is not finite is rejected whole, on all devices.

    Args:
        move: from `unguarded_step`.
        collate: looks the examples of a step up.
        scan: run the chunk as one program; else dispatch each step, for networks that XLA compiles badly in a loop.
        length: the most steps of a chunk.
    """
    if scan:
        return _scanned(move, collate, length)
    return _dispatched(guarded(move, axis_name=parallel.axis_name()), collate)


def _dispatched(step: Step, collate: Collate) -> Callable:
    def one(state: GameState, data: Mapping, rows: Mapping, key: Key, i: Array) -> tuple[GameState, Metrics]:
        return step(state, batch_of(collate, data, rows, i, key, state), key)

    compiled = parallel.compiled(one)

    def dispatch(state, data, rows, key, count):
        metrics = []
        for i in range(count):
            state, values = compiled(state, data, rows, key, i)
            metrics.append(values)
        return state, metrics

    return dispatch


def _scanned(move: Step, collate: Collate, length: int) -> Callable:
    """A chunk that guards its steps together, and one by one only where that fails.

    From its start all steps are taken unguarded (`step.watched`) and their last state is tested. Where a value is not
    finite they are taken again from the start, which was kept, one at a time, and those that are to blame are rejected.
    Either way each is a turn of one and the same compiled loop, so that its bits depend neither on which way it was nor
    on where chunks begin. A chunk that follows one with rejected steps begins one at a time: a run that rejects often
    does not take its steps twice.
    """
    step = watched(move)

    @jax.jit  # traced once: for the shapes of its metrics, and for the loop
    def one(state: GameState, data: Mapping, rows: Mapping, key: Key, i: Array) -> tuple[GameState, Metrics, Array]:
        return step(state, batch_of(collate, data, rows, i, key, state), key)

    def scanned(begin, data, rows, key, count):
        state, wary = begin
        shapes = jax.eval_shape(one, state, data, rows, key, 0)[1]
        metrics = jax.tree.map(lambda m: jnp.zeros((length, *m.shape), m.dtype), shapes)

        def turn(i, carry):
            state, metrics, finite = carry
            state, values, found = one(state, data, rows, key, i)
            return state, jax.tree.map(lambda all_, value: all_.at[i].set(value), metrics, values), finite & found

        def attempt(carry):
            """The steps `first` to `first + steps` together."""
            state, metrics, flags, first, steps = carry
            end = first + steps
            new, metrics, finite = jax.lax.fori_loop(first, end, turn, (state, metrics, jnp.array(True)))
            finite = everywhere(finite & all_finite(new), parallel.axis_name())
            taken = jnp.where(finite | (steps == 1), steps, 0)
            flags = flags.at[first].set((finite | (taken == 0)).astype(flags.dtype))
            return chosen(finite, new, state, taken), metrics, flags, first + taken, jnp.where(finite, steps, 1)

        def left(carry):
            return carry[3] < count

        flags, size = jnp.ones(length), jnp.where(wary, 1, count)
        start = (state, metrics, flags, jnp.zeros_like(size), size)
        new, metrics, flags, *_ = jax.lax.while_loop(left, attempt, start)
        return (new, new.skipped > state.skipped), metrics | {"finite": flags}

    compiled, wary = parallel.compiled(scanned), None

    def run(state, data, rows, key, count):
        nonlocal wary
        wary = parallel.replicate(np.array(False)) if wary is None else wary
        (state, wary), metrics = compiled((state, wary), data, rows, key, count)
        return state, metrics

    return run


def batch_of(collate: Collate, data: Mapping, rows: Mapping, i: Array, key: Key, state: GameState) -> PyTree:
    """The batch of step i of a chunk."""
    own = {name: positions[i] for name, positions in rows.items()}
    return collate(data, own, jax.random.fold_in(key, state.step))


def per_step(metrics: Any, count: int) -> list[dict[str, float]]:
    """Metrics of a chunk as host numbers, one record per step taken."""
    host = parallel.fetch(metrics)
    if isinstance(host, list):
        return host
    return [{name: values[i] for name, values in host.items()} for i in range(count)]


def first_not_finite(
    move: Step, collate: Collate, state: GameState, data: Mapping, rows: Mapping, key: Key
) -> str | None:
    """The path of the first leaf of the state that an unguarded step makes not finite, or None.

    Args:
        move: from `unguarded_step`.
        collate: looks the examples up.
        state: on the devices; it is used up.
        data: on the devices.
        rows: of the step's examples, {stream: [1, examples]}, dealt.
        key: the base key.
    """

    def probe(state: GameState, data: Mapping, rows: Mapping, key: Key, i: Array) -> tuple[GameState, Metrics]:
        new, _ = move(state, batch_of(collate, data, rows, i, key, state), key)
        return new, {path: jnp.isfinite(leaf).all() for path, leaf in by_path(new).items()}

    _, finite = parallel.compiled(probe)(state, data, rows, key, 0)
    finite = parallel.fetch(finite)
    return next((path for path in by_path(state) if not finite[path]), None)
