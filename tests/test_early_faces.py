"""The experiment `early_faces`: equal time, whatever compiles first; stages that begin where others ended."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.commands.base import stages_of
from ganjax.core import Game, Outcome
from ganjax.data import Dataset, load
from ganjax.dynamics import ema, simultaneous
from ganjax.errors import ConfigError, DataError
from ganjax.evaluation import Score
from ganjax.training import Averaged, From, Setup, Stream, beginning, fit

_path = Path(__file__).parents[1] / "experiments" / "early_faces.py"
_spec = importlib.util.spec_from_file_location("early_faces", _path)
EXPERIMENT = sys.modules["early_faces"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(EXPERIMENT)
SMALL = replace(EXPERIMENT.Config(), **EXPERIMENT.SMOKE)


def test_a_first_chunk_that_compiles_counts_as_later_ones():
    """90 seconds of compiling, then 2 seconds for 10 steps: 8 seconds are 40 steps."""
    times = iter([90.0, 92.0, 94.0, 96.0, 98.0])
    watch = EXPERIMENT.Clock(8.0, lambda: next(times))
    stopped = [watch(step, None) for step in (10, 20, 30, 40)]
    assert stopped == [False, False, False, True]
    assert (watch.steps, watch.spent) == (40, pytest.approx(8.0))


def test_stages_share_the_time_equally(monkeypatch):
    """And count together; a stage is begun with what earlier ones came to."""
    asked = []
    ticks = iter(np.arange(0, 100, 1.0))
    monkeypatch.setitem(EXPERIMENT.CLOCKS, "wall", lambda: float(next(ticks)))

    def fake_fit(setup, seed, steps, *, watch, chunk, **how):
        taken = 0
        while True:
            taken += chunk
            if watch(taken, None):
                asked.append((setup, taken))
                return taken

    monkeypatch.setattr(EXPERIMENT, "fit", fake_fit)
    monkeypatch.setattr(EXPERIMENT, "beginning", lambda setup, earlier: (setup, sorted(earlier)))
    monkeypatch.setattr(Setup, "examples", property(lambda setup: 5))
    first, last = (Setup(None, None, {}, score=name) for name in ("a", "b"))
    found = EXPERIMENT.trained(replace(SMALL, seconds=6.0, chunk=2), "two", {"a": first, "b": last})
    assert [(begun[0].score, begun[1]) for begun, _ in asked] == [("a", []), ("b", ["a"])]
    assert [taken for _, taken in asked] == [6, 6]  # 3 seconds each, a second for 2 steps
    assert found == (last, 6, 12, 60, pytest.approx(6.0))


def test_a_stage_in_memory_begins_where_the_earlier_one_ended():
    """With raw weights or averaged ones; what a stage has not, is refused."""
    digits = load("digits")

    def cost(params, moment):
        return jnp.square(params["mean"].reshape(1, 8, 8, 1) - moment.batch.x).mean(), Outcome({}, {})

    game = Game(lambda key, batch: ({"mean": jnp.zeros((8, 8, 1))}, {"mean": {}}), {"mean": cost})
    play = simultaneous({"mean": optax.sgd(10.0)})
    first = Setup(game, play, {"data": Stream(digits, 8)}, {"ema": Averaged("mean", ema(0.9))})
    state = fit(first, 0, 3, chunk=3)
    for weights in ("raw", "ema"):
        later = first._replace(start={"mean": From("first", "mean", weights)})
        begun = beginning(later, {"first": (first, state)})
        assert not begun.start
        params, _ = begun.game.init(None, None)
        wanted = state.params["mean"] if weights == "raw" else first.averages["ema"].value(state.averages["ema"])
        wanted = wanted if weights == "raw" else wanted["mean"].params
        assert np.array_equal(params["mean"], wanted) and np.abs(wanted).max() > 0.1
    assert beginning(first, {}).game is game
    with pytest.raises(ValueError, match="run is 'first', expected one of"):
        beginning(later, {"second": (first, state)})
    with pytest.raises(ConfigError, match="--weights is 'tail'"):
        beginning(first._replace(start={"mean": From("first", "mean", "tail")}), {"first": (first, state)})


@pytest.mark.parametrize("side", [28, 64])
def test_every_model_is_built_for_the_images(side, monkeypatch):
    monkeypatch.syspath_prepend(_path.parent)
    x = np.random.default_rng(0).integers(0, 256, (4, side, side, 1 if side == 28 else 3), np.uint8)
    data = Dataset(x, np.arange(4, dtype=np.int32) % 2, x, name="few")
    for name in EXPERIMENT.YEARS:
        stages = stages_of(EXPERIMENT.plan(name, data, 7))
        last = list(stages.values())[-1]
        assert last.imitated(last.sampler()).shape == x.shape[1:], name
        assert len(stages) == {"lapgan": {28: 3, 64: 5}, "growing": {28: 3, 64: 5}}.get(name, {}).get(side, 1)
    assert EXPERIMENT.recipe("growing", data, 7)[1]["fade_steps"] == 7
    alone = EXPERIMENT.recipe("biggan", Dataset(x), 7)[1]
    assert not alone["conditional"] and EXPERIMENT.recipe("biggan", data, 7)[1]["conditional"]


def test_the_table_and_what_is_refused(tmp_path):
    digits = load("digits")
    score = Score(value=3.0, floor=1.0, held_out=None, better="lower")
    one = EXPERIMENT.Found(
        2014, 1200, 76_800, 60.0, {"generator": 1000, "discriminator": 234}, score, digits.x_test[:4]
    )
    worse = one._replace(year=2016, frechet=replace(score, value=5.0))
    lines = EXPERIMENT.table(SMALL, digits, "pixels", {"perceptrons": one, "dcgan": worse})
    assert lines[2].split() == ["perceptrons", "2014", "1,200", "76,800", "60", "1,234", "3.00", "1.00"]
    assert lines[-1].startswith("nearest to the data: perceptrons")
    with pytest.raises(DataError, match="expected images"):
        EXPERIMENT.compute(replace(SMALL, data="ring"), tmp_path)
    with pytest.raises(ConfigError, match="--seconds is 0"):
        replace(SMALL, seconds=0.0)
