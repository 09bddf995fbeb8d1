"""What all update rules share: optimisers, adjustments, and the memory of both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import optax

from ganjax.checks import check_each, check_kind, check_range
from ganjax.core import Dynamics, Game, GameState, Key, Metrics, Moment, PerPlayer, PyTree
from ganjax.dynamics.adjustments import Adjustment, adjusted
from ganjax.dynamics.field import Field, View
from ganjax.errors import did_you_mean

Optimizers = Mapping[str, optax.GradientTransformation]
Adjust = Adjustment | Sequence[Adjustment] | None
Rates = float | jax.Array | Mapping[str, float | jax.Array]  # a step size, of all players or keyed by player


class Memory(NamedTuple):
    """The dynamics_state of an update rule."""

    optimizers: dict  # keyed by player, the state of its optimiser
    adjustments: tuple  # one memory for each adjustment
    own: PyTree = ()  # what the rule itself remembers


class Look(NamedTuple):
    """The field that a rule sees: adjusted, and averaged over devices."""

    view: View  # of the game at the moment of the step, or of a turn
    adjustments: tuple[Adjustment, ...]  # of the field, each of the unadjusted one
    memories: tuple  # what each adjustment remembers

    def __call__(self, params: PerPlayer, costs: tuple[str, ...] | None = None) -> Field:
        return adjusted(self.view, params, self.adjustments, self.memories, costs)

    def at(self, **changes: PyTree) -> "Look":
        """The same at another moment: other statistics, another part of the batch, another key."""
        return self._replace(view=self.view._replace(moment=self.view.moment._replace(**changes)))


Move = Callable[[Look, GameState], tuple[GameState, Metrics]]  # (look, state) -> (state, metrics)


def rule(
    optimizers: Optimizers | None,
    move: Move,
    *,
    adjust: Adjust = None,
    own: Callable[[PerPlayer], PyTree] = lambda params: (),
    rates: Rates | None = None,
    slices: int = 1,
    one_at_a_time: bool = False,
    axis_name: str | None = None,
) -> Dynamics:
    """A dynamics from what it does in a step.

    Args:
        optimizers: one optax transformation per player who moves; None for a rule that has step sizes of its own.
        move: the step; it looks at the adjusted field wherever it wants and returns the new state.
        adjust: adjustments of the field.
        own: params -> what the rule remembers beside optimisers and adjustments.
        rates: step sizes of the rule's own, which every player must have.
        slices: the equal parts of a batch that one step consumes.
        one_at_a_time: no two players move at once.
        axis_name: the mapped axis that shares the batch, if any.
    """
    adjustments = (adjust,) if isinstance(adjust, Adjustment) else tuple(adjust or ())
    for one in adjustments:
        check_kind("dynamics", Adjustment, adjust=one)
    for player, optimizer in (optimizers or {}).items():
        check_kind("dynamics", optax.GradientTransformation, **{f"the optimiser of {player}": optimizer})

    check_rates("dynamics", rates)

    def init(params: PerPlayer) -> Memory:
        check_each("dynamics", "the step", rates, params)
        return Memory(_start(optimizers, params), tuple(a.init(params) for a in adjustments), own(params))

    def step(game: Game, state: GameState, batch: PyTree, key: Key) -> tuple[GameState, Metrics]:
        memories = state.dynamics_state.adjustments
        moment = Moment(state.net_state, batch, key, state.step)
        new, metrics = move(Look(View(game, moment, axis_name), adjustments, memories), state)
        moved = game.moving(new.params)
        updated = tuple(a.update(moved, memory) for a, memory in zip(adjustments, memories, strict=True))
        return replace(new, dynamics_state=new.dynamics_state._replace(adjustments=updated)), metrics

    return Dynamics(init, step, slices, axis_name, one_at_a_time)


def descend(
    optimizers: Optimizers, params: PerPlayer, memory: Mapping[str, PyTree], gradients: PerPlayer
) -> tuple[dict, dict]:
    """Each player with a gradient takes one step of its own optimiser: new (params, memory)."""
    moved, remembered = dict(params), dict(memory)
    for player, gradient in gradients.items():
        update, remembered[player] = optimizers[player].update(gradient, memory[player], params[player])
        moved[player] = optax.apply_updates(params[player], update)
    return moved, remembered


def settle(state: GameState, params: dict, field: Field, *, own: PyTree = (), **memory: PyTree) -> GameState:
    """The state after a step: new parameters, the statistics of `field`, and what is remembered."""
    remembered = state.dynamics_state._replace(own=own, **memory)
    return replace(state, params=params, net_state=field.net_state, dynamics_state=remembered)


def check_rates(where: str, rates: Rates | None) -> None:
    """Raise `ValueError` about a step size that is negative or not finite."""
    for rate in rates.values() if isinstance(rates, Mapping) else (rates,):
        check_range(where, 0, step=rate)


def rate_of(rates: Rates, player: str) -> float | jax.Array:
    """The player's step size."""
    return rates[player] if isinstance(rates, Mapping) else rates


def shifted(params: PerPlayer, gradients: PerPlayer, rates: Rates, scale: float = 1.0) -> dict:
    """`theta_i - scale eta_i g_i` for each player with a gradient; the others as they are."""
    moved = dict(params)
    for player, gradient in gradients.items():
        rate = scale * rate_of(rates, player)
        moved[player] = jax.tree.map(lambda x, g, r=rate: x - (r * g).astype(x.dtype), params[player], gradient)
    return moved


def _start(optimizers: Optimizers | None, params: PerPlayer) -> dict:
    if optimizers is None:
        return {}
    if set(optimizers) != set(params):
        near = [did_you_mean(player, params) for player in optimizers if player not in params]
        raise ValueError(
            f"dynamics: the optimisers are for the players {sorted(optimizers)}, but those who have a cost are "
            f"{sorted(params)}; give one optax transformation for each of these{''.join(near[:1])}"
        )
    return {player: optimizers[player].init(params[player]) for player in params}
