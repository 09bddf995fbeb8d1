"""Whole runs as pure functions: one program plays all steps, and `population` plays many runs in one program."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ganjax.checks import check_range
from ganjax.core import Array, Dynamics, Game, GameState, Key, PyTree
from ganjax.training.setup import Keys
from ganjax.training.state import Averaged, init_state
from ganjax.training.step import train_step


def simulate(
    game: Game,
    dynamics: Dynamics,
    steps: int,
    *,
    key: Key | None = None,
    batch: PyTree = None,
    sample: Callable[[Key], PyTree] | None = None,
    keep: Callable[[GameState], PyTree] | None = lambda state: state.params,
) -> tuple[GameState, Any]:
    """Play `steps` steps in one program and keep the whole trajectory; no files.

    The function is pure: `jax.vmap` it, or use `population`, over anything the game or the dynamics was built from.
    A step that is not finite is rejected, and the path stands still: a `RuntimeWarning` then says how often and since
    when. Inside a compiled function nothing can be said; there `skipped` of the final state counts the rejected steps,
    and `rejected` makes the sentence.

    Args:
        game: the game.
        dynamics: how it is played.
        steps: how many steps.
        key: of the initialisation and, folded with the step, of every step. Seed 0 by default.
        batch: what the costs expect, the same at every step.
        sample: draws the batch of a step from its key, instead of `batch`.
        keep: what to keep of each state; None keeps nothing, as for long runs of large populations.

    Returns:
        The final state, and what was kept with a leading axis of `steps + 1` times, None if nothing.
    """
    check_range("simulate", 0, whole=True, steps=steps)
    init_key, step_key, data_key = jax.random.split(jax.random.key(0) if key is None else key, 3)
    step = train_step(game, dynamics)

    def batch_of(index: Array | int) -> PyTree:
        return batch if sample is None else sample(jax.random.fold_in(data_key, index))

    start = init_state(game, dynamics, init_key, batch_of(0))

    def advance(carry: tuple[GameState, Array], _):
        before, first = carry
        state, _ = step(before, batch_of(before.step), step_key)
        first = jnp.where((state.skipped > 0) & (before.skipped == 0), state.step, first)
        return (state, first), None if keep is None else keep(state)

    (state, first), kept = jax.lax.scan(advance, (start, jnp.zeros((), jnp.int32)), length=steps)
    if not isinstance(state.skipped, jax.core.Tracer) and (said := rejected(state.skipped, steps, first)):
        warnings.warn(said, RuntimeWarning, stacklevel=2)
    if keep is None:
        return state, None
    return state, jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), keep(start), kept)


def states_at(
    stops: Sequence[int] | np.ndarray,
    game: Game,
    dynamics: Dynamics,
    keys: Keys,
    sample: Callable[[Key], PyTree],
    averages: Mapping[str, Averaged] = MappingProxyType({}),
) -> Iterator[GameState]:
    """The state after each of these numbers of steps, for runs that are looked at now and then.

    The steps from one stop to the next are one call of one program. Data are drawn anew for each: the batch of step k
    is `sample(fold_in(keys.samples, k))`.

    Args:
        stops: from 0, the beginning, on; no number is smaller than the one before.
        game: the game.
        dynamics: how it is played.
        keys: of a run, or of several with a leading axis, as of `jax.vmap(Keys.of)(seeds)`; states then have it too.
        sample: draws a batch, as `drawn` does.
        averages: what is kept of players.
    """
    counts = np.diff(stops, prepend=0)
    if (counts < 0).any():
        raise ValueError(f"states_at: the stops are {list(stops)}, expected numbers from 0 on that do not fall")
    step = train_step(game, dynamics, averages)

    def batch(keys: Keys, index: Array | int) -> PyTree:
        return sample(jax.random.fold_in(keys.samples, index))

    def begin(keys: Keys) -> GameState:
        return init_state(game, dynamics, keys.init, batch(keys, 0), averages)

    def advance(state: GameState, keys: Keys, count: Array) -> GameState:
        return jax.lax.fori_loop(0, count, lambda _, s: step(s, batch(keys, s.step), keys.steps)[0], state)

    if keys.init.ndim:
        begin, advance = jax.vmap(begin), jax.vmap(advance, (0, 0, None))
    state, advance = jax.jit(begin)(keys), jax.jit(advance)
    for count in counts:
        state = advance(state, keys, count)
        yield state


def rejected(skipped: ArrayLike, steps: int, first: ArrayLike | None = None) -> str:
    """What to say of a run, or of the members of a population together, with rejected steps; nothing if there are none.

    >>> rejected(np.array([0, 56]), 60)
    '56 of 120 steps were not finite and were rejected, so that the path stands still; take smaller steps'

    Args:
        skipped: of the final states, integers of any shape.
        steps: of each run.
        first: the number of the first rejected step, if it is known.
    """
    count, taken = int(np.asarray(skipped).sum()), steps * np.size(skipped)
    since = "" if first is None else f", from step {int(np.asarray(first))} on"
    said = f"{count} of {taken} steps were not finite and were rejected{since}, so that the path stands still; "
    return said + "take smaller steps" if count else ""


def population(train: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """A whole run for every combination of its arguments, in one compiled program.

    `population(train)(seed=jnp.arange(5), eta=etas)` calls `train(seed=..., eta=...)` for each seed and each eta. Each
    member is what it is alone, up to rounding.

    >>> import jax.numpy as jnp
    >>> population(lambda a, b: 10 * a + b)(a=jnp.arange(2), b=jnp.arange(3))
    Array([[ 0,  1,  2],
           [10, 11, 12]], dtype=int32)

    Args:
        train: a pure function of keyword arguments; `simulate` inside makes a whole run of it.

    Returns:
        The function of arrays, one per keyword. Results have one leading axis for each, in the order given; a tree
        of arrays given as argument counts as one axis, that of its leaves.
    """

    @partial(jax.jit, static_argnums=0)
    def run(names: tuple[str, ...], *values: PyTree) -> PyTree:
        member = lambda *one: train(**dict(zip(names, one, strict=True)))  # noqa: E731
        for mapped in reversed(range(len(names))):
            member = jax.vmap(member, in_axes=tuple(0 if i == mapped else None for i in range(len(names))))
        return member(*values)

    as_array = lambda value: value if isinstance(value, jax.Array) else np.asarray(value)  # noqa: E731
    return lambda **axes: run(tuple(axes), *jax.tree.map(as_array, tuple(axes.values())))
