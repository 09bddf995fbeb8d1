"""Values that are not finite: one step rejected whole, five in a row the end, and none of them on disk."""

import itertools
import json
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from children import finished, with_devices
from faults import FULL, Row

from ganjax.data import Dataset
from ganjax.errors import DivergedError
from ganjax.training import Keys, digest, latest_step, load_state, train_step
from ganjax.training.setup import arrays, collate, initial_state, order

BAD = {"NaN": np.nan, "infinity": np.inf}
# The cost itself, its gradient alone (as of a square root at 0), and a statistic that no cost sees.
PLAYERS = ("discriminator", "generator")
PLACES = ("cost", "gradient", "statistic")


def _spoiled(values):
    """The game whose player meets `values[player, place](key)`, which is 0 where a step is as it should be."""

    def spoiled(player, cost, params, moment):
        found, outcome = cost(params, moment)
        bad = {place: values[player, place](moment.key) for place in PLACES if (player, place) in values}
        if "cost" in bad:
            found = found + bad["cost"]
        if "gradient" in bad:
            moved = sum(leaf.sum() for leaf in jax.tree.leaves(params[player]))
            found = found + bad["gradient"] * (moved - jax.lax.stop_gradient(moved))
        if "statistic" in bad:
            floating = lambda x: jnp.issubdtype(x.dtype, jnp.floating)  # noqa: E731
            spoil = lambda x: x + bad["statistic"].astype(x.dtype) if floating(x) else x  # noqa: E731
            outcome = outcome._replace(net_state=jax.tree.map(spoil, outcome.net_state))
        return found, outcome

    def wrap(game):
        return game._replace(costs={player: partial(spoiled, player, cost) for player, cost in game.costs.items()})

    return wrap


@pytest.mark.fault("optax.apply_if_finite: protects neither BatchNorm statistics nor power iteration nor averages")
def test_one_step_that_is_not_finite():
    """Nothing moves but the two counters, bit by bit, and the next step is as if it had not been."""
    with Row("R9", "one step that is not finite") as row:
        cases = list(itertools.product(PLACES, PLAYERS, BAD))
        for place, player, name in cases if FULL else cases[1::4]:
            with row.case(f"{name}, {player}, {place}"):
                _check_one(player, place, BAD[name])


@cache
def _start():
    return initial_state(toy.plain(), 0)


@jax.jit
def _step(state, data, rows, key, player, place, value):
    """One program for all cases: step 2 meets the value in this place of this player, by their numbers."""
    last = jax.random.key_data(jax.random.fold_in(key, 2))

    def at(i, j):
        hit = lambda key: (player == i) & (place == j) & (jax.random.key_data(key) == last).all()  # noqa: E731
        return lambda key: jnp.where(hit(key), value, 0.0)

    values = {(one, spot): at(i, j) for i, one in enumerate(PLAYERS) for j, spot in enumerate(PLACES)}
    setup = toy.setup(wrap=_spoiled(values))
    step = train_step(setup.game, setup.dynamics, setup.averages)
    return step(state, collate(setup, data, {"data": rows}, key), key)


def _check_one(player, place, value):
    clean, key = toy.plain(), Keys.of(0).steps
    state, data, rows = _start(), arrays(clean), order(clean, 0)(0, 4)
    case = PLAYERS.index(player), PLACES.index(place), np.float32(value)
    for k in range(4):
        before = state
        state, metrics = _step(state, data, rows["data"][k], key, *case)
        assert metrics["finite"] == (k != 2), f"step {k}"
        if k == 2:
            kept = before.replace(step=state.step, skipped=state.skipped)
            assert digest(jax.device_get(state)) == digest(jax.device_get(kept)), "part of the state moved"
    assert (int(state.step), int(state.skipped)) == (4, 1)


def test_every_step_is_not_finite(tmp_path):
    """The end after five, with step, player and leaf; the log is on disk, and no checkpoint with such a value."""
    with Row("R10", "no step is finite any more") as row:
        cases = [(place, player) for place in ("gradient", "cost") for player in PLAYERS]
        for place, player in cases if FULL else cases[:1]:
            workdir = tmp_path / f"{player} {place}"
            toy.run(workdir, 5)
            setup = toy.setup(wrap=_spoiled({(player, place): lambda key: jnp.float32(np.nan)}))
            with row.case(f"{player}, {place}"):
                leaf = rf": params\.{player}\.BatchNorm_0\.bias;" if place == "gradient" else ";"
                sentence = rf"step 10: 5 steps in a row .*\({player}/cost.*the first of the player {player}{leaf}"
                with pytest.raises(DivergedError, match=sentence):
                    toy.run(workdir, 30, of=setup, every=6, allow_change=True)
                steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
                assert steps[-1] >= 10 and latest_step(workdir) in (5, 6)
                assert not toy.not_finite(load_state(setup, workdir))


def test_one_device_of_four():
    """All reject the step together, and stay equal bit by bit."""
    with Row("R11", "a value that is not finite on one of 4 devices") as row:
        for device in range(4 if FULL else 1):
            with row.case(device):
                done = finished(Path(__file__).parent / "one_device_worker.py", device, env=with_devices(4))
                assert done.returncode == 0, done.stderr


def test_data_that_are_not_finite_are_no_skipped_step():
    for bad in BAD.values():
        x = np.ones((40, 2), np.float32)
        x[7, 1] = bad
        with pytest.raises(ValueError, match=r"finite|NaN|infinit"):
            Dataset(x)
