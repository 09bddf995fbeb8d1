"""Rules about who the opponent is: the one after its next steps, its past, or its best response.

`lola`, `opponent_lookahead`, `unrolled`, `history_of_opponents` and `against_average` change what the players'
costs see and leave the moving to any other dynamics.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ganjax.checks import check_each, check_players, check_range
from ganjax.core import Array, Cost, Dynamics, Game, GameState, Key, Metrics, Moment, PerPlayer, PyTree
from ganjax.dynamics.averaging import Average, tail_average
from ganjax.dynamics.field import View
from ganjax.dynamics.rule import Look, Rates, check_rates, rule, settle, shifted


def lola(dynamics: Dynamics, *, step: Rates, axis_name: str | None = None) -> Dynamics:
    """Every player differentiates through one gradient step of its opponents (LOLA, Foerster et al. 2018).

    `c_i(theta_i, theta_(-i) - alpha v_(-i)(theta))`, in its exact form rather than the first-order expansion.
    On `v(a, b) = ab` in simultaneous play with step eta: the multiplier `1 - 2 eta alpha + i eta`.

    Args:
        dynamics: how the players move in the game that they anticipate.
        step: alpha, what a player thinks to be the step of its opponents, one for all or keyed by opponent.
        axis_name: the mapped axis that shares the batch; by default that of `dynamics`.
    """
    return _anticipated("lola", dynamics, None, 1, step, True, axis_name)


def opponent_lookahead(dynamics: Dynamics, *, step: Rates, axis_name: str | None = None) -> Dynamics:
    """Every player faces its opponents after their next step, which it takes as given (Zhang and Lesser 2010).

    LOLA without the derivative of the opponents' step. On `v(a, b) = ab`: the multiplier
    `1 - eta alpha + i eta`, the extragradient's if `alpha = eta`. Arguments as in `lola`.
    """
    return _anticipated("opponent_lookahead", dynamics, None, 1, step, False, axis_name)


def unrolled(
    dynamics: Dynamics,
    *,
    player: str,
    steps: int,
    step: Rates,
    backpropagate: bool = True,
    axis_name: str | None = None,
) -> Dynamics:
    """One player faces its opponents after `steps` of their gradient steps (unrolled GAN, Metz et al. 2017).

    The opponents themselves play as ever. On `v(a, b) = ab` in simultaneous play, a with K steps of length u:
    `a <- a - eta (b + 2 K u a)` with backpropagation, `a <- a - eta (b + K u a)` without.

    Args:
        dynamics: how the players move.
        player: who looks ahead, "generator" in an unrolled GAN.
        steps: K.
        step: u, the length of the opponents' steps, one for all or keyed by opponent.
        backpropagate: differentiate through the opponents' steps, as published.
        axis_name: the mapped axis that shares the batch; by default that of `dynamics`.
    """
    check_range("unrolled", 1, whole=True, steps=steps)
    return _anticipated("unrolled", dynamics, (player,), steps, step, backpropagate, axis_name)


def _anticipated(
    where: str,
    dynamics: Dynamics,
    players: tuple[str, ...] | None,
    steps: int,
    rates: Rates,
    through: bool,
    axis_name: str | None,
) -> Dynamics:
    """The dynamics in the game in which these players, or all, face their opponents after their next steps."""
    check_rates(where, rates)
    axis_name = dynamics.axis_name if axis_name is None else axis_name

    def init(params: PerPlayer) -> PyTree:
        check_players(where, players, params)
        alone = players if players is not None and len(players) == 1 else ()  # who is nobody's opponent
        check_each(where, "the step", rates, params, needed=[p for p in params if p not in alone])
        return dynamics.init(params)

    def step(game: Game, state: GameState, batch: PyTree, key: Key) -> tuple[GameState, Metrics]:
        changed = _anticipating(game, players, steps, rates, through, axis_name)
        return dynamics.step(changed, state, batch, key)

    return dynamics._replace(init=init, step=step)


def _anticipating(
    game: Game, players: Sequence[str] | None, steps: int, rates: Rates, through: bool, axis_name: str | None
) -> Game:
    """The game in which the costs of `players` see their opponents after these steps."""

    def ahead(name: str, player: str) -> Cost:
        theirs = tuple(other for other in game.costs if game.mover(other) != player)

        def cost(params: PerPlayer, moment: Moment):
            view = View(game._replace(parts=1), moment, axis_name)  # of the batch that it is given

            def advance(moved: dict, _):
                gradients = view.field({**params, **moved}, theirs).gradients
                return shifted(moved, gradients, rates), None

            start = {p: params[p] for p in map(game.mover, theirs)}
            moved, _ = jax.lax.scan(advance, start, length=steps)
            if not through:
                moved = jax.lax.stop_gradient(moved)
            return game.costs[name]({**params, **moved}, moment)

        return cost

    return _with_costs(game, players, ahead)


def _with_costs(game: Game, players: Sequence[str] | None, changed: Callable[[str, str], Cost]) -> Game:
    """The game in which these players' costs, by default all, are those of `changed(name, player)`."""
    chosen = game.players if players is None else players
    named = {name: game.mover(name) for name in game.costs}
    return game._replace(costs={n: changed(n, p) if p in chosen else game.costs[n] for n, p in named.items()})


class HistoryState(NamedTuple):
    """The memory of `history_of_opponents`."""

    past: dict  # keyed by player, shaped like its params with a leading axis [size]
    taken: Array  # scalar int32, steps taken
    inner: PyTree  # the memory of the wrapped dynamics


def history_of_opponents(
    dynamics: Dynamics, *, size: int, every: int = 1, players: Sequence[str] | None = None
) -> Dynamics:
    """Players minimise the mean of their cost over their opponents' last `size` snapshots and the present ones.

    A remedy for cycling with roots in fictitious play (Brown 1951). In the unconstrained bilinear game gradient
    play against the past spirals out *faster*; it needs best responses in a bounded set (`fictitious_play`).

    Args:
        dynamics: how the players move.
        size: snapshots kept; before there are so many, the start fills the rest.
        every: steps between two snapshots.
        players: who faces the history; all by default. The others face the present alone.
    """
    check_range("history_of_opponents", 1, whole=True, size=size, every=every)

    def init(params: PerPlayer) -> HistoryState:
        check_players("history_of_opponents", players, params)
        past = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], size, axis=0), dict(params))
        return HistoryState(past, jnp.zeros((), jnp.int32), dynamics.init(params))

    def step(game: Game, state: GameState, batch: PyTree, key: Key) -> tuple[GameState, Metrics]:
        past, count, inner = state.dynamics_state

        def facing(name: str, player: str) -> Cost:
            def cost(params: PerPlayer, moment: Moment):
                def against(opponents: dict) -> Array:
                    return game.costs[name]({**params, **opponents, player: params[player]}, moment)[0]

                present, outcome = game.costs[name](params, moment)
                before = jax.lax.map(against, past).sum()  # one after another: memory of one opponent
                return (present + before) / (size + 1), outcome

            return cost

        facing_past = _with_costs(game, players, facing)
        new, metrics = dynamics.step(facing_past, replace(state, dynamics_state=inner), batch, key)
        slot, due = (count // every) % size, count % every == 0
        present = game.moving(state.params)
        past = jax.tree.map(lambda kept, now: jnp.where(due, kept.at[slot].set(now), kept), past, present)
        return replace(new, dynamics_state=HistoryState(past, count + 1, new.dynamics_state)), metrics

    return dynamics._replace(init=init, step=step)


def against_average(
    dynamics: Dynamics, *, average: Average | None = None, players: Sequence[str] | None = None
) -> Dynamics:
    """Players face the average of their opponents' past parameters, the present ones included.

    Where the cost is linear in the opponent's parameters this is the whole history of opponents. In continuous time
    on `v(a, b) = ab`, one player facing the uniform average grows as `exp(3/4 t^(2/3))`, both as `exp(sqrt(2 t))`.

    Args:
        dynamics: how the players move.
        average: of the past; the uniform mean by default.
        players: who faces the average; all by default.
    """
    past = tail_average() if average is None else average

    def init(params: PerPlayer) -> tuple[PyTree, PyTree]:
        check_players("against_average", players, params)
        return past.init(dict(params)), dynamics.init(params)

    def step(game: Game, state: GameState, batch: PyTree, key: Key) -> tuple[GameState, Metrics]:
        memory, inner = state.dynamics_state
        memory = past.update(game.moving(state.params), memory)
        mean = past.value(memory)

        def facing(name: str, player: str) -> Cost:
            return lambda params, moment: game.costs[name]({**params, **mean, player: params[player]}, moment)

        new, metrics = dynamics.step(
            _with_costs(game, players, facing), replace(state, dynamics_state=inner), batch, key
        )
        return replace(new, dynamics_state=(memory, new.dynamics_state)), metrics

    return dynamics._replace(init=init, step=step)


BestResponse = Callable[
    [PyTree], PyTree
]  # gradient of the own cost -> the strategy that minimises <gradient, strategy>


def vertex(gradient: PyTree) -> PyTree:
    """The best pure strategy on the simplex: 1 where the gradient, [n], is smallest (the first such), else 0."""
    return jax.tree.map(lambda g: jax.nn.one_hot(jnp.argmin(g), g.shape[0], dtype=g.dtype), gradient)


def corner(radius: float = 1.0) -> BestResponse:
    """The best strategy in the box `[-radius, radius]^n`: `-radius sign(gradient)`."""
    check_range("corner", 0, above=True, radius=radius)
    return lambda gradient: jax.tree.map(lambda g: -radius * jnp.sign(g), gradient)


def fictitious_play(
    best_response: BestResponse | Mapping[str, BestResponse], *, simultaneous: bool = True, axis_name: str | None = None
) -> Dynamics:
    """Each player adds its best response to the average of the others' past plays (Brown 1951; Robinson 1951).

    The parameters are these averages, the start counting as the first play. In games that are linear in each
    player's own strategy the best response minimises `<v_i, strategy>`, so one gradient tells it.

    Args:
        best_response: `vertex` on the simplex, `corner(r)` in a box; one for all or keyed by player.
        simultaneous: all respond to the same averages; otherwise one after another, in the game's order.
        axis_name: the mapped axis that shares the batch, if any.
    """

    def move(look: Look, state: GameState) -> tuple[GameState, Metrics]:
        plays = state.dynamics_state.own + 1
        field = look(state.params)
        params = dict(state.params)
        for name in look.view.game.costs:
            player = look.view.game.mover(name)
            seen = field if simultaneous else look(params, (name,))
            respond = best_response[player] if isinstance(best_response, Mapping) else best_response
            response = respond(seen.gradients[player])
            params[player] = jax.tree.map(
                lambda mean, play: mean + ((play - mean) / (plays + 1)).astype(mean.dtype), params[player], response
            )
        return settle(state, params, field, own=plays), field.metrics

    def own(params: PerPlayer) -> Array:
        check_each("fictitious_play", "the best response", best_response, params)
        return jnp.zeros((), jnp.int32)

    return rule(None, move, own=own, one_at_a_time=not simultaneous, axis_name=axis_name)
