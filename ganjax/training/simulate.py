"""Games small enough to keep every step of."""

import jax
import jax.numpy as jnp

from ganjax.core import Dynamics, Game, GameState, Key, PyTree
from ganjax.training.state import init_state
from ganjax.training.step import train_step


def simulate(
    game: Game, dynamics: Dynamics, steps: int, *, key: Key | None = None, batch: PyTree = None
) -> tuple[GameState, dict]:
    """Play `steps` steps in one program and keep the whole trajectory; no data, no files.

    The function is pure: `jax.vmap` it over anything the game or the dynamics was built from.

    Args:
        game: the game.
        dynamics: how it is played.
        steps: how many steps.
        key: of the initialisation and, folded with the step, of every step. Seed 0 by default.
        batch: what the costs expect, the same at every step.

    Returns:
        The final state, and the parameters keyed by player, with a leading axis of `steps + 1` times.
    """
    init_key, step_key = jax.random.split(jax.random.key(0) if key is None else key)
    step = train_step(game, dynamics)
    start = init_state(game, dynamics, init_key, batch)

    def advance(state: GameState, _):
        state, _ = step(state, batch, step_key)
        return state, state.params

    state, path = jax.lax.scan(advance, start, length=steps)
    return state, jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start.params, path)
