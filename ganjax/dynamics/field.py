"""The vector field of a game: the gradient of each player's cost in that player's own parameters."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ganjax.core import Game, Key, Metrics, PerPlayer, PyTree


class Field(NamedTuple):
    """What one evaluation of costs gives, each keyed by player where it is a dict."""

    gradients: dict  # keyed by player, each shaped like the player's params
    net_state: dict  # keyed by player
    metrics: Metrics  # "player/name" -> scalar


def average_over(axis_name: str | None, tree: PyTree) -> PyTree:
    """The mean of every floating leaf over the devices of a named axis; the tree itself without a name."""
    if axis_name is None:
        return tree
    return jax.tree.map(
        lambda leaf: jax.lax.pmean(leaf, axis_name) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf, tree
    )


def vector_field(
    game: Game,
    params: PerPlayer,
    net_state: PerPlayer,
    batch: PyTree,
    key: Key,
    *,
    players: tuple[str, ...] | None = None,
    axis_name: str | None = None,
) -> Field:
    """`v_i = d c_i / d theta_i` for each player i: nobody's cost leaks into another's parameters.

    All players see the same batch and key, hence the same noise, so a compiler can share what they have in
    common (the generator's forward pass).

    Args:
        game: the game.
        params: keyed by player.
        net_state: keyed by player.
        batch: what the costs expect.
        key: the key of the step.
        players: whose gradients to take; all of them by default.
        axis_name: average gradients, states and metrics over this mapped axis.

    Returns:
        A `Field`; `net_state` of players that were not asked for is returned as it came.
    """
    gradients, states = {}, dict(net_state)
    metrics: Metrics = {}
    for player in game.players if players is None else players:

        def own_cost(own: PyTree, player: str = player):
            return game.costs[player]({**params, player: own}, net_state, batch, key)

        (cost, outcome), gradients[player] = jax.value_and_grad(own_cost, has_aux=True)(params[player])
        states[player] = outcome.net_state
        metrics |= {f"{player}/{name}": value for name, value in {"cost": cost, **outcome.metrics}.items()}
    return Field(*average_over(axis_name, (gradients, states, metrics)))
