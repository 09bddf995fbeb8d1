"""Training without files: for notebooks, for several seeds, for what is trained on the way to something else."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from ganjax.checks import check_name, check_range
from ganjax.core import GameState, Key, PyTree
from ganjax.training.sampling import weights_of
from ganjax.training.setup import Keys, Setup, arrays, collate, initial_state, order
from ganjax.training.start import Taken, started
from ganjax.training.state import by_path
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
        return jax.tree.map(stacked, *(make(int(one)) for one in np.asarray(seed)))

    def stacked(*leaves: Any) -> Any:
        return (jnp if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key) else np).stack(leaves)

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


def beginning(setup: Setup, earlier: Mapping[str, tuple[Setup, GameState]]) -> Setup:
    """The setup of a stage whose players begin with those of earlier stages in memory, where `train` reads their files.

    Args:
        setup: of the stage; what its `start` says is done, and none is left.
        earlier: what earlier stages were and came to, keyed by the names that `start` has for them.

    Raises:
        ConfigError: an earlier stage keeps no such average.
        CheckpointError: weights that are taken do not fit.
        ValueError: it begins with a stage that is not there, or a player that it has not.
    """
    taken = {}
    for player, source in setup.start.items():
        check_name("beginning", "run", str(source.run), list(earlier))
        other, state = earlier[str(source.run)]
        own = weights_of(other, state, (source.player,), source.weights)[source.player]
        leaves = by_path({"params": own.params, "net_state": own.net_state})
        taken[player] = Taken(leaves, int(state.step), source)
    game = setup.game._replace(init=started(setup.game.init, taken)) if taken else setup.game
    return setup._replace(start={}, game=game)


def stretch(setup: Setup) -> Callable[[GameState, Any, Any, Key], GameState]:
    """`(state, data, rows {stream: [count, examples]}, base key) -> state` after a step for each of the rows."""
    step = train_step(setup.game, setup.dynamics, setup.averages)

    def run(state: GameState, data: Any, rows: Any, key: Key) -> GameState:
        def one(state: GameState, own: Any) -> tuple[GameState, None]:
            return step(state, collate(setup, data, own, jax.random.fold_in(key, state.step)), key)[0], None

        return jax.lax.scan(one, state, rows)[0]

    return run
