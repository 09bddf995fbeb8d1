"""The vector field of a game, the gradient of each player's cost in that player's own parameters, and its Jacobian."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ganjax.core import Array, Game, Metrics, Moment, Outcome, PerPlayer, PyTree, as_arrays


class Field(NamedTuple):
    """What one evaluation of costs gives, each keyed by player where it is a dict."""

    gradients: dict  # keyed by those who move, each shaped like the player's params
    net_state: dict  # keyed by player
    metrics: Metrics  # "cost/name" -> scalar, "cost/cost" its value


def average_over(axis_name: str | None, tree: PyTree) -> PyTree:
    """The mean of every floating leaf over the devices of a named axis; the tree itself without a name."""
    if axis_name is None:
        return tree
    return jax.tree.map(lambda leaf: jax.lax.pmean(leaf, axis_name) if _is_real(leaf) else leaf, tree)


def _is_real(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


class View(NamedTuple):
    """A game seen at one moment: its field and its Jacobian products, as functions of the parameters.

    `J` is the Jacobian of the field `v` in the parameters of all players who move; it is never formed. Products are
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
    moment: Moment  # statistics, batch, key and step, the same in every product
    axis_name: str | None = None  # the mapped axis that shares the batch; None on one device

    def field(self, params: PerPlayer, costs: tuple[str, ...] | None = None) -> Field:
        """`v_i = d c_i / d theta_i` for each cost: nobody's cost leaks into another's parameters.

        All players see the same batch and key, hence the same noise, so a compiler can share what they have in
        common (the generator's forward pass).

        Args:
            params: keyed by player.
            costs: the names of those whose gradients to take; all of them by default.

        Returns:
            A `Field`; `net_state` of players whose cost was not asked for is returned as it came.

        Raises:
            ValueError: two of the costs belong to one player, who cannot move by both at once.
        """
        names = tuple(self.game.costs) if costs is None else costs
        _check_movers(self.game, names)

        def evaluate(batch: PyTree) -> Field:
            found = Field({}, {}, {})
            for name in names:
                player = self.game.mover(name)

                def own_cost(own: PyTree, name: str = name, player: str = player):
                    return self._cost(name, {**params, player: own}, batch)

                (value, outcome), gradient = jax.value_and_grad(own_cost, has_aux=True)(params[player])
                found.gradients[player], found.net_state[player] = gradient, outcome.net_state
                said = {"cost": value, **outcome.metrics}
                found.metrics.update({f"{name}/{metric}": number for metric, number in said.items()})
            return found

        found = self._mean(evaluate)
        return found._replace(net_state={**self.moment.net_state, **found.net_state})

    def jacobian_product(self, params: PerPlayer, w: PerPlayer, *, interaction: bool = False) -> dict:
        """`J w`, whose part of player i is `grad_i <grad c_i, w>`.

        Args:
            params: where to take J, keyed by player.
            w: keyed by those who move, shaped like their params.
            interaction: leave out each player's own Hessian, the diagonal blocks of J.
        """
        moving = self.game.moving(params)
        _check_movers(self.game, tuple(self.game.costs))

        def evaluate(batch: PyTree) -> dict:
            product = {}
            for name in self.game.costs:
                player = self.game.mover(name)
                seen = {p: w[p] for p in w if not (interaction and p == player)}

                def along(own: PyTree, name: str = name, player: str = player, seen: dict = seen) -> Array:
                    slope = jax.grad(lambda theta: self._cost(name, {**params, **theta}, batch)[0])
                    found = slope({**moving, player: own})
                    return dot({p: found[p] for p in seen}, seen)

                product[player] = jax.grad(along)(params[player])
            return product

        return self._mean(evaluate)

    def transposed_product(self, params: PerPlayer, w: PerPlayer, *, interaction: bool = False) -> dict:
        """`J^T w = sum_i grad <grad_i c_i, w_i>`; arguments as in `jacobian_product`."""
        moving = self.game.moving(params)
        _check_movers(self.game, tuple(self.game.costs))

        def evaluate(batch: PyTree) -> dict:
            product = jax.tree.map(jnp.zeros_like, moving)
            for name in self.game.costs:
                player = self.game.mover(name)

                def own_gradient(theta: PerPlayer, name: str = name, player: str = player) -> PyTree:
                    cost = lambda own: self._cost(name, {**params, **theta, player: own}, batch)[0]  # noqa: E731
                    return jax.grad(cost)(theta[player])

                pulled = jax.vjp(own_gradient, moving)[1](w[player])[0]
                if interaction:
                    del pulled[player]
                product |= {p: add(product[p], part) for p, part in pulled.items()}
            return product

        return self._mean(evaluate)

    def _cost(self, name: str, params: PerPlayer, batch: PyTree) -> tuple[Array, Outcome]:
        found = self.game.costs[name](params, self.moment._replace(batch=batch))
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Outcome)):
            raise TypeError(
                f"the cost {name!r} returns a {type(found).__name__}, expected (scalar, Outcome(net_state, metrics))"
            )
        value, outcome = as_arrays(found)
        if value.ndim:
            raise ValueError(f"the cost {name!r} has shape {value.shape}, expected a scalar; take its mean")
        return value, outcome

    def _mean(self, evaluate: Callable[[PyTree], PyTree]) -> PyTree:
        """`evaluate(batch)`, its floating leaves averaged over the micro-batches and over the mapped axis."""
        parts = self.game.parts
        if parts == 1:
            return average_over(self.axis_name, evaluate(self.moment.batch))
        micro = jax.tree.map(lambda leaf: _dealt(leaf, parts), self.moment.batch)

        def add_one(total: PyTree, batch: PyTree) -> tuple[PyTree, None]:
            found = evaluate(batch)
            return jax.tree.map(lambda t, new: t + new / parts if _is_real(new) else new, total, found), None

        shapes = jax.eval_shape(evaluate, jax.tree.map(lambda leaf: leaf[0], micro))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return average_over(self.axis_name, jax.lax.scan(add_one, zeros, micro, length=parts)[0])


def vector_field(
    game: Game,
    params: PerPlayer,
    moment: Moment,
    *,
    costs: tuple[str, ...] | None = None,
    axis_name: str | None = None,
) -> Field:
    """`View(game, moment, axis_name).field(params, costs)`, in one call."""
    return View(game, moment, axis_name).field(params, costs)


def _check_movers(game: Game, costs: tuple[str, ...]) -> None:
    """Raise `ValueError` unless each of these costs has a player of its own."""
    for player in {game.mover(name) for name in costs}:
        owned = [name for name in costs if game.mover(name) == player]
        if len(owned) > 1:
            raise ValueError(
                f"the player {player!r} owns the costs {owned} and cannot move by all of them at once; "
                "use alternating with an order= in which they take turns, and no adjustment"
            )


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
