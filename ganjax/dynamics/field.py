"""The vector field of a game, the gradient of each player's cost in that player's own parameters, and its Jacobian."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ganjax.core import Array, Game, Key, Metrics, Outcome, PerPlayer, PyTree, as_arrays


class Field(NamedTuple):
    """What one evaluation of costs gives, each keyed by player where it is a dict."""

    gradients: dict  # keyed by player, each shaped like the player's params
    net_state: dict  # keyed by player
    metrics: Metrics  # "player/name" -> scalar


def average_over(axis_name: str | None, tree: PyTree) -> PyTree:
    """The mean of every floating leaf over the devices of a named axis; the tree itself without a name."""
    if axis_name is None:
        return tree
    return jax.tree.map(lambda leaf: jax.lax.pmean(leaf, axis_name) if _is_real(leaf) else leaf, tree)


def _is_real(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


class View(NamedTuple):
    """A game seen at one batch and key: its field and its Jacobian products, as functions of the parameters.

    `J` is the Jacobian of the field `v` in the parameters of all players; it is never formed. Products are
    reverse over reverse, since the convolutions of `ganjax.layers` have no forward mode, and are averaged
    over the mapped axis as the field is.

    A game of k parts is evaluated in k equal micro-batches, one after another in the memory of one, and everything is
    their mean (gradient accumulation). They are to the batch what devices are: dealt like cards, each with its own
    global positions, hence the same noise, and all from the same `net_state`. So a mean of costs of single examples,
    of packs, or of the groups of a minibatch layer is that of the undivided batch up to rounding. What looks at a
    whole batch looks at a micro-batch: BatchNorm normalises each by itself, and its running statistics move once, to
    the mean over the micro-batches.
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

        def evaluate(batch: PyTree) -> Field:
            gradients, states = {}, dict(self.net_state)
            metrics: Metrics = {}
            for player in self.game.players if players is None else players:

                def own_cost(own: PyTree, player: str = player):
                    return self._cost(player, {**params, player: own}, batch)

                (cost, outcome), gradients[player] = jax.value_and_grad(own_cost, has_aux=True)(params[player])
                states[player] = outcome.net_state
                metrics |= {f"{player}/{name}": value for name, value in {"cost": cost, **outcome.metrics}.items()}
            return Field(gradients, states, metrics)

        return self._mean(evaluate)

    def jacobian_product(self, params: PerPlayer, w: PerPlayer, *, interaction: bool = False) -> dict:
        """`J w`, whose part of player i is `grad_i <grad c_i, w>`.

        Args:
            params: where to take J, keyed by player.
            w: shaped like `params`.
            interaction: leave out each player's own Hessian, the diagonal blocks of J.
        """

        def evaluate(batch: PyTree) -> dict:
            product = {}
            for player in self.game.players:
                seen = {p: w[p] for p in w if not (interaction and p == player)}

                def along(own: PyTree, player: str = player, seen: dict = seen) -> Array:
                    slope = jax.grad(lambda theta: self._cost(player, theta, batch)[0])({**params, player: own})
                    return dot({p: slope[p] for p in seen}, seen)

                product[player] = jax.grad(along)(params[player])
            return product

        return self._mean(evaluate)

    def transposed_product(self, params: PerPlayer, w: PerPlayer, *, interaction: bool = False) -> dict:
        """`J^T w = sum_i grad <grad_i c_i, w_i>`; arguments as in `jacobian_product`."""

        def evaluate(batch: PyTree) -> dict:
            product = jax.tree.map(jnp.zeros_like, dict(params))
            for player in self.game.players:

                def own_gradient(theta: PerPlayer, player: str = player) -> PyTree:
                    return jax.grad(lambda own: self._cost(player, {**theta, player: own}, batch)[0])(theta[player])

                pulled = jax.vjp(own_gradient, dict(params))[1](w[player])[0]
                if interaction:
                    del pulled[player]
                product |= {p: add(product[p], part) for p, part in pulled.items()}
            return product

        return self._mean(evaluate)

    def _cost(self, player: str, params: PerPlayer, batch: PyTree) -> tuple[Array, Outcome]:
        found = self.game.costs[player](params, self.net_state, batch, self.key)
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Outcome)):
            raise TypeError(
                f"the cost of the player {player!r} returns a {type(found).__name__}, expected (scalar, "
                "Outcome(net_state, metrics))"
            )
        value, outcome = as_arrays(found)
        if value.ndim:
            raise ValueError(
                f"the cost of the player {player!r} has shape {value.shape}, expected a scalar; take its mean"
            )
        return value, outcome

    def _mean(self, evaluate: Callable[[PyTree], PyTree]) -> PyTree:
        """`evaluate(batch)`, its floating leaves averaged over the micro-batches and over the mapped axis."""
        parts = self.game.parts
        if parts == 1:
            return average_over(self.axis_name, evaluate(self.batch))
        micro = jax.tree.map(lambda leaf: _dealt(leaf, parts), self.batch)

        def add_one(total: PyTree, batch: PyTree) -> tuple[PyTree, None]:
            found = evaluate(batch)
            return jax.tree.map(lambda t, new: t + new / parts if _is_real(new) else new, total, found), None

        shapes = jax.eval_shape(evaluate, jax.tree.map(lambda leaf: leaf[0], micro))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return average_over(self.axis_name, jax.lax.scan(add_one, zeros, micro, length=parts)[0])


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


def _dealt(leaf: Array, parts: int) -> Array:
    """[B, ...] to [parts, B / parts, ...]: example i goes to part i mod parts."""
    if len(leaf) % parts:
        raise ValueError(
            f"a batch of {len(leaf)} examples (on one device) cannot be divided into {parts} equal micro-batches; "
            "use a multiple, or another --accumulate"
        )
    return leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1)


def add(x: PyTree, y: PyTree, scale: Array | float = 1.0) -> PyTree:
    """`x + scale y`, leaf by leaf, in the dtype of x."""
    return jax.tree.map(lambda a, b: a + (scale * b).astype(a.dtype), x, y)


def dot(x: PyTree, y: PyTree) -> Array:
    """`<x, y>` over all leaves, a scalar."""
    return sum((jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)), jnp.zeros(()))
