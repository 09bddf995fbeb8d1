"""The state of a run: how it begins, and its fingerprint."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.core import Dynamics, Game, GameState, Key, PyTree
from ganjax.dynamics.averaging import Average


class Averaged(NamedTuple):
    """An average to keep of one player: over its parameters and its `net_state`, BatchNorm statistics included."""

    player: str
    average: Average


def init_state(
    game: Game, dynamics: Dynamics, key: Key, batch: PyTree, averages: Mapping[str, Averaged] | None = None
) -> GameState:
    """The state at step 0.

    Args:
        game: gives the parameters.
        dynamics: gives the optimisers' states.
        key: the key of the initialisation.
        batch: an example of what the costs will see.
        averages: keyed by the name under which each is kept.
    """
    params, net_state = game.init(key, batch)
    return GameState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        net_state=net_state,
        dynamics_state=dynamics.init(params),
        averages={
            name: kept.average.init((params[kept.player], net_state[kept.player]))
            for name, kept in (averages or {}).items()
        },
        skipped=jnp.zeros((), jnp.int32),
    )


def digest(state: PyTree) -> str:
    """sha256 over path, dtype, shape and bytes of every leaf: equal digests are bitwise equal states."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype.name} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
