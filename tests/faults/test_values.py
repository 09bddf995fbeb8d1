"""Values that are not finite: one step rejected whole, five in a row the end, and none of them on disk."""

import itertools
import json
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


def _spoiled(player, place, value, when):
    """The game whose player meets the value in every step of which `when(key)` holds."""

    def wrap(game):
        def cost(params, moment):
            found, outcome = game.costs[player](params, moment)
            bad = jnp.where(when(moment.key), value, 0.0)
            if place == "cost":
                found = found + bad
            elif place == "gradient":
                moved = sum(leaf.sum() for leaf in jax.tree.leaves(params[player]))
                found = found + bad * (moved - jax.lax.stop_gradient(moved))
            else:
                spoil = lambda x: x + bad.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x  # noqa: E731
                outcome = outcome._replace(net_state=jax.tree.map(spoil, outcome.net_state))
            return found, outcome

        return game._replace(costs={**game.costs, player: cost})

    return wrap


@pytest.mark.fault("optax.apply_if_finite: protects neither BatchNorm statistics nor power iteration nor averages")
def test_one_step_that_is_not_finite():
    """Nothing moves but the two counters, bit by bit, and the next step is as if it had not been."""
    with Row("R9", "one step that is not finite") as row:
        cases = list(itertools.product(PLACES, PLAYERS, BAD))
        for place, player, name in cases if FULL else cases[1::4]:
            with row.case(f"{name}, {player}, {place}"):
                _check_one(player, place, BAD[name])


def _check_one(player, place, value):
    keys = Keys.of(0)
    bad = jax.random.key_data(jax.random.fold_in(keys.steps, 2))
    clean = toy.setup()
    setup = toy.setup(wrap=_spoiled(player, place, value, lambda key: (jax.random.key_data(key) == bad).all()))
    step = jax.jit(train_step(setup.game, setup.dynamics, setup.averages))
    state, data = initial_state(clean, 0), jax.tree.map(jnp.asarray, arrays(clean))
    rows = order(clean, 0)(0, 4)
    for k in range(4):
        before = state
        batch = collate(clean, data, {"data": jnp.asarray(rows["data"][k])}, keys.steps)
        state, metrics = step(state, batch, keys.steps)
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
            setup = toy.setup(wrap=_spoiled(player, place, np.nan, lambda key: True))
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
