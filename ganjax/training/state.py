"""The state of a run: how it begins, and its fingerprint."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_name, check_players
from ganjax.core import Dynamics, Game, GameState, Key, Owned, PerPlayer, PyTree, as_arrays
from ganjax.dynamics.averaging import Average


class Averaged(NamedTuple):
    """An average to keep of a player, or of several together.

    It is over their parameters and their `net_state`, BatchNorm statistics included.
    """

    players: str | tuple[str, ...]
    average: Average

    @property
    def owners(self) -> tuple[str, ...]:
        """Whose it is."""
        return (self.players,) if isinstance(self.players, str) else self.players

    def of(self, params: PerPlayer, net_state: PerPlayer) -> PyTree:
        """What is averaged: `(params, net_state)` of the player, or {player: (params, net_state)}."""
        if isinstance(self.players, str):
            return params[self.players], net_state[self.players]
        return {player: (params[player], net_state[player]) for player in self.players}

    def value(self, kept: PyTree) -> dict[str, Owned]:
        """The averaged weights, keyed by player."""
        averaged = self.average.value(kept)
        averaged = {self.players: averaged} if isinstance(self.players, str) else averaged
        return {player: Owned(*own) for player, own in averaged.items()}


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

    Raises:
        TypeError: a parameter is complex or an integer; names it. Python numbers are taken as floats.
        ValueError: an average is of a player that the game has not, or a cost of one without parameters.
    """
    params, net_state = game.init(key, batch)
    _check_costs(game, params)
    params, net_state = as_arrays(jax.tree.map(_parameter, params)), as_arrays(net_state)
    for path, leaf in by_path(params).items():
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"init_state: the parameter {path} is {kind(leaf)}, expected real floating values; give a complex "
                "number as two real ones, its real and imaginary part"
            )
    for name, kept in (averages or {}).items():
        check_players(f"the average {name!r}", kept.owners, params)
    return GameState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        net_state=net_state,
        dynamics_state=dynamics.init(game.moving(params)),
        averages={name: kept.average.init(kept.of(params, net_state)) for name, kept in (averages or {}).items()},
        skipped=jnp.zeros((), jnp.int32),
    )


def _check_costs(game: Game, params: PyTree) -> None:
    """Raise `ValueError` unless each cost moves a player who has parameters."""
    for name in game.movers:
        check_name("Game.movers", "a cost", name, game.costs)
    for name in game.costs:
        if (player := game.mover(name)) not in params:
            raise ValueError(
                f"the cost {name!r} moves the player {player!r}, but init gives parameters of {sorted(params)} alone; "
                "say in Game.movers whose cost it is"
            )


def _parameter(leaf: Any) -> Any:
    """A Python number as a float: a parameter that starts at 1 starts at 1.0."""
    return jnp.asarray(leaf, float) if isinstance(leaf, bool | int | float) else leaf


def by_path(state: PyTree) -> dict[str, Any]:
    """The leaves keyed by path, in the state's order: a form that restores without the optimisers' classes."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def digests(state: PyTree) -> dict[str, str]:
    """The sha256 of every leaf by path, over path, dtype, shape and bytes in C order."""
    return {path: digest_of(path, leaf) for path, leaf in by_path(state).items()}


def digest_of(path: str, leaf: Any) -> str:
    """The sha256 over path, dtype, shape and bytes of a leaf."""
    array = np.asarray(leaf)
    sha = hashlib.sha256(f"{path} {kind(array)}".encode())
    sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def digest(state: PyTree) -> str:
    """One sha256 of all leaves: equal digests are bitwise equal states."""
    return hashlib.sha256("".join(digests(state).values()).encode()).hexdigest()


def kind(leaf: Any) -> str:
    """dtype and shape.

    >>> kind(np.zeros((2, 3), np.float32))
    'float32[2, 3]'
    """
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
