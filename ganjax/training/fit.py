"""Training without files: for notebooks, for several seeds, for what is trained on the way to something else."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from ganjax.checks import check_range
from ganjax.core import GameState, Key, PyTree
from ganjax.training.setup import Keys, Setup, arrays, collate, initial_state, order
from ganjax.training.step import train_step

CHUNK = 50  # steps per compiled call


def fit(
    setup: Setup,
    seed: int | np.ndarray,
    steps: int,
    *,
    label: str = "",
    progress: bool = False,
    chunk: int = CHUNK,
    watch: Callable[[int, GameState], bool] | None = None,
) -> GameState:
    """The state after so many steps on one device, as NumPy arrays; nothing is written.

    It is what `train` makes of (setup, seed, steps) on one device, up to rounding: a step whose values are not finite
    is rejected, and `skipped` counts it. Several seeds are one program, each member the run of its seed alone.

    Args:
        setup: what to train; its data lie in memory.
        seed: of the initialisation, the order of the data and all noise; an array [S] trains that many runs, and every
            leaf of the state has a leading axis over them.
        steps: how many.
        label: in front of the progress bar.
        progress: show one on standard error.
        chunk: steps of one call.
        watch: called after every chunk with the steps taken and the state, which the next chunk uses up; what it
            returns says whether to stop there.
    """
    check_range("fit", 0, whole=True, steps=steps)
    check_range("fit", 1, whole=True, chunk=chunk)

    def of_seeds(make: Callable[[int], PyTree]) -> PyTree:
        if np.ndim(seed) == 0:
            return make(int(seed))
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(make(int(one)) for one in np.asarray(seed)))

    def rows_of(one: int, start: int, count: int) -> dict[str, np.ndarray]:
        return order(setup, one)(start, count)

    run = stretch(setup) if np.ndim(seed) == 0 else jax.vmap(stretch(setup), (0, None, 0, 0))
    run, data = jax.jit(run, donate_argnums=0), jax.device_put(arrays(setup))
    state, keys = of_seeds(partial(initial_state, setup)), of_seeds(lambda one: Keys.of(one).steps)
    with tqdm(total=steps, desc=label, unit="step", disable=not progress, dynamic_ncols=True) as bar:
        for start in range(0, steps, chunk):
            count = min(chunk, steps - start)
            state = run(state, data, of_seeds(partial(rows_of, start=start, count=count)), keys)
            jax.block_until_ready(state)  # so that the bar and who watches the clock are told the truth
            bar.update(count)
            if watch is not None and watch(start + count, state):
                break
    return jax.tree.map(np.asarray, state)


def stretch(setup: Setup) -> Callable[[GameState, Any, Any, Key], GameState]:
    """`(state, data, rows {stream: [count, examples]}, base key) -> state` after a step for each of the rows."""
    step = train_step(setup.game, setup.dynamics, setup.averages)

    def run(state: GameState, data: Any, rows: Any, key: Key) -> GameState:
        def one(state: GameState, own: Any) -> tuple[GameState, None]:
            return step(state, collate(setup, data, own, jax.random.fold_in(key, state.step)), key)[0], None

        return jax.lax.scan(one, state, rows)[0]

    return run
