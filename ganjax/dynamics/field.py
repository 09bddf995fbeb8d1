"""The vector field of a game, the gradient of each player's cost in that player's own parameters, and its Jacobian."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ganjax.core import Array, Game, Key, Metrics, PerPlayer, PyTree


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


class View(NamedTuple):
    """A game seen at one batch and key: its field and its Jacobian products, as functions of the parameters.

    `J` is the Jacobian of the field `v` in the parameters of all players; it is never formed. Products are
    reverse over reverse, since the convolutions of `ganjax.layers` have no forward mode, and are averaged
    over the mapped axis as the field is.
    """

    game: Game
    net_state: PerPlayer
    batch: PyTree
    key: Key
    axis_name: str | None = None

    def field(self, params: PerPlayer, players: tuple[str, ...] | None = None) -> Field:
        """`v_i = d c_i / d theta_i` for each player i: nobody's cost leaks into another's parameters.

        All players see the same batch and key, hence the same noise, so a compiler can share what they have in
        common (the generator's forward pass).

        Args:
            params: keyed by player.
            players: whose gradients to take; all of them by default.

        Returns:
            A `Field`; `net_state` of players that were not asked for is returned as it came.
        """
        gradients, states = {}, dict(self.net_state)
        metrics: Metrics = {}
        for player in self.game.players if players is None else players:

            def own_cost(own: PyTree, player: str = player):
                return self._cost(player, {**params, player: own})

            (cost, outcome), gradients[player] = jax.value_and_grad(own_cost, has_aux=True)(params[player])
            states[player] = outcome.net_state
            metrics |= {f"{player}/{name}": value for name, value in {"cost": cost, **outcome.metrics}.items()}
        return Field(*average_over(self.axis_name, (gradients, states, metrics)))

    def jacobian_product(self, params: PerPlayer, w: PerPlayer, *, interaction: bool = False) -> dict:
        """`J w`, whose part of player i is `grad_i <grad c_i, w>`.

        Args:
            params: where to take J, keyed by player.
            w: shaped like `params`.
            interaction: leave out each player's own Hessian, the diagonal blocks of J.
        """
        product = {}
        for player in self.game.players:
            seen = {p: w[p] for p in w if not (interaction and p == player)}

            def along(own: PyTree, player: str = player, seen: dict = seen) -> Array:
                slope = jax.grad(lambda theta: self._cost(player, theta)[0])({**params, player: own})
                return dot({p: slope[p] for p in seen}, seen)

            product[player] = jax.grad(along)(params[player])
        return average_over(self.axis_name, product)

    def transposed_product(self, params: PerPlayer, w: PerPlayer, *, interaction: bool = False) -> dict:
        """`J^T w = sum_i grad <grad_i c_i, w_i>`; arguments as in `jacobian_product`."""
        product = jax.tree.map(jnp.zeros_like, dict(params))
        for player in self.game.players:

            def own_gradient(theta: PerPlayer, player: str = player) -> PyTree:
                return jax.grad(lambda own: self._cost(player, {**theta, player: own})[0])(theta[player])

            pulled = jax.vjp(own_gradient, dict(params))[1](w[player])[0]
            if interaction:
                del pulled[player]
            product |= {p: add(product[p], part) for p, part in pulled.items()}
        return average_over(self.axis_name, product)

    def _cost(self, player: str, params: PerPlayer):
        return self.game.costs[player](params, self.net_state, self.batch, self.key)


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
    """`View(game, net_state, batch, key, axis_name).field(params, players)`, in one call."""
    return View(game, net_state, batch, key, axis_name).field(params, players)


def add(x: PyTree, y: PyTree, scale: Array | float = 1.0) -> PyTree:
    """`x + scale y`, leaf by leaf, in the dtype of x."""
    return jax.tree.map(lambda a, b: a + (scale * b).astype(a.dtype), x, y)


def dot(x: PyTree, y: PyTree) -> Array:
    """`<x, y>` over all leaves, a scalar."""
    return sum((jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)), jnp.zeros(()))
