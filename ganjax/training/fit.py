"""Training without files, for notebooks and for what is trained on the way to something else."""

from functools import partial

import jax
import numpy as np
from tqdm import tqdm

from ganjax.checks import check_range
from ganjax.core import GameState
from ganjax.training.setup import Keys, Setup, arrays, collate, initial_state, order
from ganjax.training.step import train_step

CHUNK = 50  # steps per compiled call


def fit(setup: Setup, seed: int, steps: int, *, label: str = "", progress: bool = False) -> GameState:
    """The state after so many steps on one device, as NumPy arrays; nothing is written.

    It is what `train` makes of (setup, seed, steps) on one device, up to rounding: a step whose values are not finite
    is rejected, and `skipped` counts it.

    Args:
        setup: what to train; its data lie in memory.
        seed: of the initialisation, the order of the data and all noise.
        steps: how many.
        label: in front of the progress bar.
        progress: show one on standard error.
    """
    check_range("fit", 0, whole=True, steps=steps)
    keys, rows, step = Keys.of(seed), order(setup, seed), train_step(setup.game, setup.dynamics, setup.averages)

    @partial(jax.jit, donate_argnums=0)
    def chunk(state: GameState, data, rows) -> GameState:
        def one(state: GameState, own) -> tuple[GameState, None]:
            batch = collate(setup, data, own, jax.random.fold_in(keys.steps, state.step))
            return step(state, batch, keys.steps)[0], None

        return jax.lax.scan(one, state, rows)[0]

    state, data = initial_state(setup, seed), jax.device_put(arrays(setup))
    with tqdm(total=steps, desc=label, unit="step", disable=not progress, dynamic_ncols=True) as bar:
        for start in range(0, steps, CHUNK):
            count = min(CHUNK, steps - start)
            state = chunk(state, data, rows(start, count))
            bar.update(count)
    return jax.tree.map(np.asarray, state)
