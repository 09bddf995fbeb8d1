"""What is said of a run that diverges: at which step, whose, in which leaf, and in which terms of the cost."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.core import Array, Cost, Game, GameState, Key, Moment, Outcome, PerPlayer
from ganjax.dynamics.field import View
from ganjax.errors import DivergedError
from ganjax.training import feed, parallel
from ganjax.training.chunk import Collate, batch_of, first_not_finite
from ganjax.training.setup import Setup
from ganjax.training.step import Step, all_finite

MAX_SKIPPED = 5  # consecutive steps without a finite result before the run is stopped


def diverged(
    setup: Setup,
    move: Step,
    collate: Collate,
    positions: feed.Positions,
    key: Key,
    step: int,
    record: Mapping[str, float],
    state: GameState,
) -> DivergedError:
    """The error that ends a run: which values were not finite, and who is to blame.

    Args:
        setup: what is trained.
        move: from `unguarded_step`.
        collate: looks the examples of a step up.
        positions: from `setup.order`.
        key: the base key.
        step: the last of the steps that were rejected.
        record: its metrics.
        state: on the devices, as it was before that step, since it was rejected.
    """
    before = replace(parallel.fetch(state), step=np.int32(step - 1))
    chunk = feed.gathered(setup, positions(step - 1, 1))
    leaf = first_not_finite(move, collate, parallel.replicate(before), chunk.data, chunk.rows, key)
    bad = [name for name, value in record.items() if not np.isfinite(value)]
    player = next((owner for name in ([leaf] if leaf else bad) if (owner := owner_of(setup, name))), "unknown")
    costs = [name for name in setup.game.costs if setup.game.mover(name) == player]
    terms = terms_not_finite(setup, costs, collate, before, chunk, key)
    where = "".join([f": {leaf}" if leaf else "", f"; not finite of its terms: {', '.join(terms)}" if terms else ""])
    return DivergedError(
        f"step {step}: {MAX_SKIPPED} steps in a row gave values that are not finite ({', '.join(bad) or 'no metric'}), "
        f"the first of the player {player}{where}; the same settings would diverge again from the newest checkpoint: "
        "use a new --workdir and a lower --learning-rate"
    )


def owner_of(setup: Setup, name: str) -> str | None:
    """The player whose metric (cost/name) or leaf (kind, ..., player, layer, name) it is, or whose average."""
    kept = [kept.owners for key, kept in setup.averages.items() if name.startswith(f"averages.{key}.")]
    averaged = [owners[0] for owners in kept if len(owners) == 1]
    owners = [setup.game.mover(part) for part in [*averaged, *re.split("[./]", name)]]
    return next((owner for owner in owners if owner in setup.game.players), None)


def terms_not_finite(
    setup: Setup, costs: Sequence[str], collate: Collate, state: GameState, chunk: feed.Chunk, key: Key
) -> list[str]:
    """The terms that these costs log, each by itself, whose value or else whose gradient is not finite in a step.

    A square root at 0 has a finite value and no finite gradient. What a rule sees elsewhere than at the step's own
    point, as after a turn of the opponent, is not looked at: then none may be found.

    Args:
        setup: what is trained.
        costs: their names.
        collate: looks the examples up.
        state: on the host, before the step.
        chunk: the examples of the step.
        key: the base key.
    """
    slices = setup.dynamics.slices

    def probe(state: GameState, data: Mapping, rows: Mapping, key: Key, i: Array) -> tuple[GameState, Any]:
        batch = batch_of(collate, data, rows, i, key, state)
        moment = Moment(state.net_state, batch, jax.random.fold_in(key, state.step), state.step)
        turns = jax.tree.map(lambda leaf: leaf.reshape(slices, -1, *leaf.shape[1:]), batch)

        def finite(own: Any) -> dict[str, dict[str, Array]]:
            return _finite_terms(setup.game, costs, state.params, moment._replace(batch=own))

        return state, jax.tree.map(lambda flags: flags.all(), jax.lax.map(finite, turns))

    _, finite = parallel.compiled(probe)(parallel.replicate(state), chunk.data, chunk.rows, key, 0)
    unfit = {name: all_of for name, all_of in parallel.fetch(finite).items() if not all(all_of.values())}
    return [f"the {'gradient' if one['value'] else 'value'} of {name}" for name, one in unfit.items()]


def _finite_terms(game: Game, costs: Sequence[str], params: PerPlayer, moment: Moment) -> dict[str, dict[str, Array]]:
    """Whether they are finite: "cost/term" -> {"value": bool, "gradient": bool}."""
    finite = {}
    for name in costs:
        cost = game.costs[name]
        logged = jax.eval_shape(lambda params, cost=cost: cost(params, moment)[1].metrics, params)
        for metric in [key for key, term in logged.items() if jnp.issubdtype(term.dtype, jnp.inexact)]:
            alone = game._replace(costs={name: _alone(cost, metric)})
            field = View(alone, moment, parallel.axis_name()).field(params)
            value, gradient = field.metrics[f"{name}/cost"], field.gradients
            finite[f"{name}/{metric}"] = {"value": jnp.isfinite(value), "gradient": all_finite(gradient)}
    return finite


def _alone(cost: Cost, metric: str) -> Cost:
    """The cost of what another logs under this name."""

    def term(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        return cost(params, moment)[1].metrics[metric], Outcome({}, {})

    return term
