"""Update rules: how the players of a game move. Each is a `Dynamics` and runs on every `Game`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import optax

from ganjax.core import Dynamics, Game, GameState, Key, Metrics, PerPlayer, PyTree
from ganjax.dynamics.field import Field, vector_field

Optimizers = Mapping[str, optax.GradientTransformation]


def _init(optimizers: Optimizers, params: PerPlayer) -> dict:
    if set(optimizers) != set(params):
        raise ValueError(
            f"dynamics: the optimisers are for the players {sorted(optimizers)}, but the game has {sorted(params)}; "
            "give one optax transformation per player"
        )
    return {player: optimizers[player].init(params[player]) for player in params}


def _descend(optimizers: Optimizers, state: GameState, field: Field) -> GameState:
    """Each player with a gradient takes one step of its own optimiser."""
    params, memory = dict(state.params), dict(state.dynamics_state)
    for player, gradient in field.gradients.items():
        update, memory[player] = optimizers[player].update(gradient, memory[player], params[player])
        params[player] = optax.apply_updates(params[player], update)
    return replace(state, params=params, net_state=field.net_state, dynamics_state=memory)


def simultaneous(optimizers: Optimizers, *, axis_name: str | None = None) -> Dynamics:
    """All players descend their own cost from the same point: `theta_i <- theta_i - eta_i v_i(theta)`.

    On `v(a, b) = ab` with step eta the norm grows by `sqrt(1 + eta^2)` per step.

    Args:
        optimizers: one optax transformation per player.
        axis_name: the mapped axis that shares the batch, if any.
    """

    def step(game: Game, state: GameState, batch: PyTree, key: Key) -> tuple[GameState, Metrics]:
        field = vector_field(game, state.params, state.net_state, batch, key, axis_name=axis_name)
        return _descend(optimizers, state, field), field.metrics

    return Dynamics(lambda params: _init(optimizers, params), step)


def alternating(
    optimizers: Optimizers,
    *,
    turns: Mapping[str, int] | None = None,
    order: Sequence[str] | None = None,
    axis_name: str | None = None,
) -> Dynamics:
    """Players move one after another, each seeing the moves before it (Goodfellow et al. 2014, algorithm 1).

    On `v(a, b) = ab` with step eta and a first, `a^2 + b^2 - eta a b` is conserved.

    Args:
        optimizers: one optax transformation per player, in the order of play.
        turns: how many updates in a row a player makes; 1 where not given. Each turn has its own slice of the
            batch, so one step consumes `sum(turns)` equal slices.
        order: the order of play; the order of `optimizers` by default.
        axis_name: the mapped axis that shares the batch, if any.
    """
    counts = {player: (turns or {}).get(player, 1) for player in optimizers}
    sequence = [player for player in order or optimizers for _ in range(counts[player])]
    unknown = set(turns or {}) - set(optimizers)
    if unknown or set(sequence) != set(optimizers) or min(counts.values()) < 1:
        raise ValueError(
            f"alternating: turns {dict(turns or {})} and order {list(order or optimizers)} must name each of the "
            f"players {sorted(optimizers)}, with at least one turn each"
        )

    def step(game: Game, state: GameState, batch: PyTree, key: Key) -> tuple[GameState, Metrics]:
        metrics: Metrics = {}
        for turn, player in enumerate(sequence):
            part = _slice(batch, turn, len(sequence))
            field = vector_field(game, state.params, state.net_state, part, key, players=(player,), axis_name=axis_name)
            state = _descend(optimizers, state, field)
            metrics |= field.metrics
        return state, metrics

    return Dynamics(lambda params: _init(optimizers, params), step, slices=len(sequence))


def _slice(batch: PyTree, turn: int, turns: int) -> PyTree:
    """The `turn`-th of `turns` equal parts of every leaf's leading axis."""

    def part(leaf: jax.Array) -> jax.Array:
        size, rest = divmod(leaf.shape[0], turns)
        if rest:
            raise ValueError(
                f"alternating: a batch of {leaf.shape[0]} cannot be cut into {turns} equal turns; "
                f"use a multiple of {turns}"
            )
        return leaf[turn * size : (turn + 1) * size]

    return jax.tree.map(part, batch)
