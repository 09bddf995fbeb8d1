"""Update rules: how the players of a game move. Each is a `Dynamics` and runs on every `Game`.

Where a rule looks at the field more than once in a step, the look from the step's own point moves the players'
statistics (`net_state`) and gives the metrics; all looks see the same batch and noise. Negative momentum
(Gidel et al. 2019) is `optax.sgd(eta, momentum=-0.5)`, two time scales (Heusel et al. 2017) are two learning
rates: both are optimisers, not rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, groupby
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ganjax.checks import check_each, check_name, check_players, check_range
from ganjax.core import Array, Draw, Dynamics, Game, GameState, Key, Metrics, PerPlayer, PyTree, substream
from ganjax.dynamics.rule import Adjust, Look, Optimizers, Rates, descend, rule, settle, shifted


def simultaneous(optimizers: Optimizers, *, adjust: Adjust = None, axis_name: str | None = None) -> Dynamics:
    """All players descend their own cost from the same point: `theta_i <- theta_i - eta_i v_i(theta)`.

    On `v(a, b) = ab` with step eta the norm grows by `sqrt(1 + eta^2)` per step.

    Args:
        optimizers: one optax transformation per player who moves.
        adjust: adjustments of the field.
        axis_name: the mapped axis that shares the batch, if any.
    """

    def move(look: Look, state: GameState) -> tuple[GameState, Metrics]:
        field = look(state.params)
        params, memory = descend(optimizers, state.params, state.dynamics_state.optimizers, field.gradients)
        return settle(state, params, field, optimizers=memory), field.metrics

    return rule(optimizers, move, adjust=adjust, axis_name=axis_name)


def alternating(
    optimizers: Optimizers,
    *,
    turns: Mapping[str, int] | None = None,
    order: Sequence[str | tuple[str, ...]] | None = None,
    fresh: bool = True,
    adjust: Adjust = None,
    axis_name: str | None = None,
) -> Dynamics:
    """Players move one after another, each seeing the moves before it (Goodfellow et al. 2014, algorithm 1).

    On `v(a, b) = ab` with step eta and a first, `a^2 + b^2 - eta a b` is conserved.

    Args:
        optimizers: one optax transformation per player, in the order of play.
        turns: how many updates in a row a player makes; 1 where not given.
        order: the costs in the order of play, by default those named like the players in the order of `optimizers`.
            Those of a tuple move at once, from the same point: `[("g", "f"), ("d_x", "d_y")]`. A player with several
            costs moves by each in its turn, with one optimiser.
        fresh: each turn has its own slice of the batch, so that one step consumes as many equal slices as turns. False
            shows the whole batch to every turn; the turns of a cost after its first then have noise of their own.
        adjust: adjustments of the field.
        axis_name: the mapped axis that shares the batch, if any.
    """
    groups = [(entry,) if isinstance(entry, str) else tuple(entry) for entry in order or optimizers]
    check_players("alternating", turns, [group[0] for group in groups if len(group) == 1])
    for name, count in (turns or {}).items():
        check_range("alternating", 1, whole=True, **{f"turns of {name}": count})  # type: ignore[arg-type]
    counts = [(turns or {}).get(group[0], 1) if len(group) == 1 else 1 for group in groups]
    sequence = [group for group, count in zip(groups, counts, strict=True) for _ in range(count)]

    def move(look: Look, state: GameState) -> tuple[GameState, Metrics]:
        _check_order(look.view.game, groups)
        metrics: Metrics = {}
        taken = 0
        for costs, repeated in groupby(sequence):
            count = len(list(repeated))

            def one(state: GameState, turn: dict, costs: tuple[str, ...] = costs) -> tuple[GameState, Metrics]:
                field = look.at(net_state=state.net_state, **turn)(state.params, costs)
                params, memory = descend(optimizers, state.params, state.dynamics_state.optimizers, field.gradients)
                return settle(state, params, field, optimizers=memory), field.metrics

            if fresh:
                cut = partial(_turns, first=taken, count=count, turns=len(sequence))
                seen = {"batch": jax.tree.map(cut, look.view.moment.batch)}
            else:
                before = sum(bool({*costs} & {*group}) for group in sequence[:taken])
                seen = {"key": _repetitions(look.view.moment.key, before, count)}
            if count == 1:
                state, last = one(state, jax.tree.map(lambda leaf: leaf[0], seen))
            else:  # one program for all turns in a row: they would each be compiled
                state, said = jax.lax.scan(one, state, seen, length=count)
                last = jax.tree.map(lambda values: values[-1], said)
            metrics |= last
            taken += count
        return state, metrics

    slices, alone = len(sequence) if fresh else 1, all(len(group) == 1 for group in groups)
    return rule(optimizers, move, adjust=adjust, slices=slices, one_at_a_time=alone, axis_name=axis_name)


def extragradient(
    optimizers: Optimizers,
    *,
    extrapolation: Optimizers | None = None,
    adjust: Adjust = None,
    axis_name: str | None = None,
) -> Dynamics:
    """Look ahead to `w = theta - gamma v(theta)`, then step from theta with `v(w)` (Korpelevich 1976).

    On `v(a, b) = ab` with `gamma = eta`: the multiplier `1 - eta^2 + i eta`.

    Args:
        optimizers: one optax transformation per player who moves.
        extrapolation: the optimisers that look ahead, with memories of their own. By default the optimisers
            themselves, whose moments then see both gradients: with Adam this is ExtraAdam (Gidel et al. 2019,
            algorithm 4).
        adjust: adjustments of the field.
        axis_name: the mapped axis that shares the batch, if any.
    """
    ahead = optimizers if extrapolation is None else extrapolation

    def own(params: PerPlayer) -> PyTree:
        check_each("extragradient", "the extrapolation", extrapolation, params)
        return () if extrapolation is None else {p: extrapolation[p].init(params[p]) for p in params}

    def move(look: Look, state: GameState) -> tuple[GameState, Metrics]:
        memory = state.dynamics_state
        here = look(state.params)
        seen = memory.optimizers if extrapolation is None else memory.own
        point, seen = descend(ahead, state.params, seen, here.gradients)
        used = seen if extrapolation is None else memory.optimizers
        params, used = descend(optimizers, state.params, used, look(point).gradients)
        return settle(state, params, here, optimizers=used, own=() if extrapolation is None else seen), here.metrics

    return rule(optimizers, move, adjust=adjust, own=own, axis_name=axis_name)


def past_extragradient(optimizers: Optimizers, *, adjust: Adjust = None, axis_name: str | None = None) -> Dynamics:
    """Extragradient that looks ahead with the gradient of the step before (Popov 1980): one evaluation per step.

    `w_t = theta_t - eta v(w_(t-1))`, then `theta_(t+1) = theta_t - eta v(w_t)`; at first `w_0 = theta_0`. With SGD its
    look-ahead points `w_t` are the iterates of optimistic gradient descent.

    Args:
        optimizers: one optax transformation per player. The look ahead uses their memory and leaves it as it is.
        adjust: adjustments of the field.
        axis_name: the mapped axis that shares the batch, if any.
    """

    def move(look: Look, state: GameState) -> tuple[GameState, Metrics]:
        memory = state.dynamics_state
        point, _ = descend(optimizers, state.params, memory.optimizers, memory.own)
        field = look(point)
        params, used = descend(optimizers, state.params, memory.optimizers, field.gradients)
        return settle(state, params, field, optimizers=used, own=field.gradients), field.metrics

    zeros = lambda params: jax.tree.map(jnp.zeros_like, dict(params))  # noqa: E731
    return rule(optimizers, move, adjust=adjust, own=zeros, axis_name=axis_name)


def optimistic(optimizers: Optimizers, *, adjust: Adjust = None, axis_name: str | None = None) -> Dynamics:
    """Simultaneous play with twice the present update minus the one before (Daskalakis et al. 2018, equation 4).

    With SGD `theta_(t+1) = theta_t - 2 eta v_t + eta v_(t-1)`; the first step is `eta v_0`, as in optax. With
    Adam it is their Optimistic Adam, which extrapolates the update rather than the gradient.

    Args:
        optimizers: one optax transformation per player; `optax.scale_by_optimistic_gradient` follows each.
        adjust: adjustments of the field.
        axis_name: the mapped axis that shares the batch, if any.
    """
    doubled = {p: optax.chain(optimizer, optax.scale_by_optimistic_gradient()) for p, optimizer in optimizers.items()}
    return simultaneous(doubled, adjust=adjust, axis_name=axis_name)


# Butcher tableaus: the rows of A below the first, and the weights b.
_TABLEAUS: dict[int, tuple[list[list[float]], list[float]]] = {
    1: ([], [1.0]),
    2: ([[1.0]], [1 / 2, 1 / 2]),
    3: ([[1 / 2], [-1.0, 2.0]], [1 / 6, 2 / 3, 1 / 6]),
    4: ([[1 / 2], [0.0, 1 / 2], [0.0, 0.0, 1.0]], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
}


def runge_kutta(
    optimizers: Optimizers, *, step: Rates, order: int = 4, adjust: Adjust = None, axis_name: str | None = None
) -> Dynamics:
    """Integrate `theta' = -v(theta)`, all players jointly, and give the mean slope to the optimisers.

    ODE-GAN (Qin et al. 2020). With `optax.sgd(h)` and `step=h` it is the Runge-Kutta method itself: Heun's for
    order 2, Kutta's for order 3, the classical one for order 4.

    Args:
        optimizers: one optax transformation per player who moves.
        step: the length h of the inner stages, one for all or keyed by player.
        order: 1, 2, 3 or 4.
        adjust: adjustments of the field.
        axis_name: the mapped axis that shares the batch, if any.
    """
    check_name("runge_kutta", "order", order, _TABLEAUS)
    rows, weights = _TABLEAUS[order]

    def move(look: Look, state: GameState) -> tuple[GameState, Metrics]:
        here = look(state.params)
        slopes = [here.gradients]
        for row in rows:
            slopes.append(look(shifted(state.params, _mix(row, slopes), step)).gradients)
        params, memory = descend(optimizers, state.params, state.dynamics_state.optimizers, _mix(weights, slopes))
        return settle(state, params, here, optimizers=memory), here.metrics

    return rule(optimizers, move, adjust=adjust, rates=step, axis_name=axis_name)


class LookaheadState(NamedTuple):
    """The memory of `lookahead`."""

    slow: dict  # keyed by player, the slow weights
    inner: PyTree  # the memory of the wrapped dynamics
    taken: Array  # scalar int32, steps taken


def lookahead(dynamics: Dynamics, *, k: int, alpha: float | Array) -> Dynamics:
    """After every k steps of a dynamics go back: `slow <- slow + alpha (fast - slow)`, `fast <- slow`.

    Lookahead-minimax (Chavdarova et al. 2021, algorithm 1): over the parameters of all players at once. On
    `v(a, b) = ab` it multiplies by `1 - alpha + alpha lambda^k` in k steps if the dynamics multiplies by lambda.

    Args:
        dynamics: what makes the fast steps; its own memory goes on through the synchronisation.
        k: fast steps between two synchronisations.
        alpha: in (0, 1]; 1 is the dynamics itself.
    """
    check_range("lookahead", 1, whole=True, k=k)
    check_range("lookahead", 0, 1, above=True, alpha=alpha)

    def init(params: PerPlayer) -> LookaheadState:
        return LookaheadState(jax.tree.map(jnp.copy, dict(params)), dynamics.init(params), jnp.zeros((), jnp.int32))

    def step(game: Game, state: GameState, batch: PyTree, key: Key) -> tuple[GameState, Metrics]:
        slow, inner, count = state.dynamics_state
        new, metrics = dynamics.step(game, replace(state, dynamics_state=inner), batch, key)
        synchronise = (count + 1) % k == 0
        fast = game.moving(new.params)
        mixed = jax.tree.map(lambda s, f: s + (alpha * (f - s)).astype(s.dtype), slow, fast)
        slow, fast = (
            jax.tree.map(lambda m, kept: jnp.where(synchronise, m, kept), mixed, kept) for kept in (slow, fast)
        )
        memory = LookaheadState(slow, new.dynamics_state, count + 1)
        return replace(new, params={**new.params, **fast}, dynamics_state=memory), metrics

    return dynamics._replace(init=init, step=step)


def _mix(weights: Sequence[float], trees: Sequence[dict]) -> dict:
    """`sum_k w_k tree_k`."""
    return jax.tree.map(lambda *leaves: sum(w * leaf for w, leaf in zip(weights, leaves, strict=True)), *trees)


def _turns(leaf: Array, first: int, count: int, turns: int) -> Array:
    """What `count` turns see of a leaf whose leading axis is cut into `turns` equal parts, [count, size, ...]."""
    size, rest = divmod(leaf.shape[0], turns)
    if rest:
        raise ValueError(
            f"alternating: a batch of {leaf.shape[0]} cannot be cut into {turns} equal turns; use a multiple of {turns}"
        )
    return leaf[first * size : (first + count) * size].reshape(count, size, *leaf.shape[1:])


def _repetitions(key: Key, before: int, count: int) -> Array:
    """The keys of a cost's turns on one batch, [count], of which `before` were taken: the first is the step's own."""
    return jnp.stack([key if r == 0 else substream(key, Draw.REPETITION, r) for r in range(before, before + count)])


def _check_order(game: Game, groups: Sequence[tuple[str, ...]]) -> None:
    """Raise `ValueError` unless the order of play names each cost of the game and no other."""
    names = list(chain.from_iterable(groups))
    for name in names:
        check_name("alternating", "a cost of the order of play", name, game.costs)
    if missing := [name for name in game.costs if name not in names]:
        raise ValueError(f"alternating: the order of play {names} must name each of the costs, and lacks {missing}")
