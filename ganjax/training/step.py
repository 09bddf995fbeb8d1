"""One step of training: the dynamics' move, the averages after it, and the guard around both."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce

import jax
import jax.numpy as jnp

from ganjax.core import Array, Dynamics, Game, GameState, Key, Metrics, PyTree
from ganjax.training.absorbing import absorbing
from ganjax.training.state import Averaged

Step = Callable[[GameState, PyTree, Key], tuple[GameState, Metrics]]


def train_step(
    game: Game,
    dynamics: Dynamics,
    averages: Mapping[str, Averaged] | None = None,
    *,
    axis_name: str | None = None,
) -> Step:
    """`(state, batch, base_key) -> (state, metrics)`, a pure function to compile.

    The key of step k is `fold_in(base_key, k)`. A step after which any value is not finite is rejected whole:
    parameters, optimiser states, statistics and averages stay as they were, `skipped` counts it, and the metric
    `finite` is 0. With `axis_name`, the devices of that axis reject a step together.
    """
    return guarded(unguarded_step(game, dynamics, averages), axis_name=axis_name)


def guarded(move: Step, *, axis_name: str | None = None) -> Step:
    """The step that rejects whole what an unguarded one makes not finite, on all devices of the axis together."""

    def step(state: GameState, batch: PyTree, base_key: Key) -> tuple[GameState, Metrics]:
        new, metrics = move(state, batch, base_key)
        finite = everywhere(all_finite((new, metrics)), axis_name)
        return chosen(finite, new, state, 1), metrics | {"finite": finite.astype(jnp.float32)}

    return step


def chosen(finite: Array, new: GameState, state: GameState, steps: Array | int) -> GameState:
    """The state after so many steps if all is finite, else the one before them with these steps counted as rejected."""
    return replace(
        _where(finite, new, state), step=state.step + steps, skipped=state.skipped + jnp.where(finite, 0, steps)
    )


def _where(condition: Array, yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def everywhere(condition: Array, axis_name: str | None) -> Array:
    """Whether it holds on all devices of the axis."""
    return condition if axis_name is None else jax.lax.pmin(condition.astype(jnp.int32), axis_name) > 0


def watched(move: Step) -> Callable[[GameState, PyTree, Key], tuple[GameState, Metrics, Array]]:
    """`(state, batch, base_key) -> (state, metrics, finite)`: the unguarded step, counted, with the least of tests.

    `finite` tells of the metrics and of those leaves alone in which a later step could hide a value that is not finite
    (`absorbing` says which cannot). So if it holds after each of several steps, and their last state is finite, each of
    them was finite: `guarded` would have done the same. Statistics are chosen as there, which costs nothing and has the
    compiler round them as there: it fuses what makes them with the choice.
    """
    move = jax.jit(move)  # traced once: for its program, and for its use

    def step(state: GameState, batch: PyTree, base_key: Key) -> tuple[GameState, Metrics, Array]:
        keep = absorbing(move, state, batch, base_key)
        new, metrics = move(state, batch, base_key)
        healed = [leaf for leaf, stays in zip(jax.tree.leaves(new), keep, strict=True) if not stays]
        finite = all_finite((healed, metrics))
        net_state = _where(finite, new.net_state, state.net_state)
        return replace(new, net_state=net_state, step=state.step + 1), metrics, finite

    return step


def unguarded_step(game: Game, dynamics: Dynamics, averages: Mapping[str, Averaged] | None = None) -> Step:
    """The dynamics' move and the averages after it, whatever comes of it; the counters stay as they are."""

    def step(state: GameState, batch: PyTree, base_key: Key) -> tuple[GameState, Metrics]:
        new, metrics = dynamics.step(game, state, batch, jax.random.fold_in(base_key, state.step))
        updated = {
            name: kept.average.update(kept.of(new.params, new.net_state), state.averages[name])
            for name, kept in (averages or {}).items()
        }
        return replace(new, averages=updated), metrics

    return step


def all_finite(tree: PyTree) -> Array:
    """Whether every floating leaf is finite everywhere, a boolean scalar.

    `0 x` is 0 for finite x and NaN for any other, so a product with a vector of zeros tells; on a CPU it takes a
    quarter of the time of a reduction of `isfinite` (benchmarks/README.md). Scalars and vectors are tested as they
    are: the compiler can fuse the test with what made them, which populations of toy games live on.
    """
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    large = jax.lax.optimization_barrier([leaf for leaf in leaves if leaf.ndim >= 2])
    finite = [jnp.isfinite(leaf).all() for leaf in leaves if leaf.ndim < 2]
    if large:
        finite.append(jnp.isfinite(jnp.stack([_zero_if_finite(leaf) for leaf in large])).all())
    return reduce(jnp.logical_and, finite, jnp.array(True))


def _zero_if_finite(leaf: Array) -> Array:
    """0 in float32 if every element of the matrix is finite, else NaN.

    The barriers keep the compiler from computing the leaf twice and from knowing the zeros.
    """
    zeros = jax.lax.optimization_barrier(jnp.zeros(leaf.shape[-1], leaf.dtype))
    return jnp.matmul(leaf, zeros, precision="highest").sum().astype(jnp.float32)
