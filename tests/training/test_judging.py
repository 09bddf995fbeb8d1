"""The light judge of a run: the best state is exact, is kept, and changes nothing."""

import json
import math
import shutil
from functools import cache

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.core import Game, Outcome
from ganjax.data import Dataset
from ganjax.dynamics import simultaneous
from ganjax.errors import CheckpointError
from ganjax.rundir import latest_step
from ganjax.training import Schedule, Setup, Stream, digest, load_state, train
from ganjax.training.checkpoint import BEST, Checkpoints

pytestmark = pytest.mark.usefixtures("compiled_once")


@cache
def _setup():
    """One number that moves by the mean of its batch, about -1 a step."""

    def cost(params, moment):
        return params["one"] * moment.batch.x.mean(), Outcome({}, {})

    game = Game(lambda key, batch: ({"one": jnp.zeros(())}, {"one": {}}), {"one": cost})
    x = np.random.default_rng(0).normal(1, 0.1, (40, 2)).astype(np.float32)
    return Setup(game, simultaneous({"one": optax.sgd(1.0)}), {"data": Stream(Dataset(x), 4)})


def _judge(target):
    """The distance of the number from the target."""
    return lambda state: {"score": abs(float(state.params["one"]) - target), "one": float(state.params["one"])}


def _train(workdir, steps, target=-9.0, judge_every=3, **changes):
    schedule = Schedule(steps, log_every=1, sample_every=100, checkpoint_every=5, judge_every=judge_every, chunk=4)
    judge = _judge(target) if judge_every else None
    return train(_setup(), workdir, seed=0, schedule=schedule, progress=False, **{"judge": judge, **changes})


def _judged(workdir):
    return [json.loads(line) for line in (workdir / "judge.jsonl").read_text().splitlines()]


def test_the_best_state_is_kept_exactly_and_judging_changes_nothing(tmp_path):
    whole = _train(tmp_path / "judged", 20)
    records = _judged(tmp_path / "judged")
    assert [record["step"] for record in records] == [3, 6, 9, 12, 15, 18, 20]
    best = load_state(_setup(), tmp_path / "judged", best=True)
    assert int(best.step) == min(records, key=lambda record: record["score"])["step"] == 9
    plain = [_train(tmp_path / str(steps), steps, judge_every=0) for steps in (9, 20)]
    assert [digest(best), digest(whole.state)] == [digest(run.state) for run in plain]
    assert not (tmp_path / "20" / BEST).exists() and not (tmp_path / "20" / "judge.jsonl").exists()


def test_tensorboard_shows_the_judge(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _train(tmp_path, 6)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    shown = {event.step: event.value for event in events.Scalars("judge/score")}
    assert shown == pytest.approx({record["step"]: record["score"] for record in _judged(tmp_path)}, rel=1e-5)


def test_a_continued_run_knows_what_to_beat(tmp_path):
    _train(tmp_path / "whole", 21)
    _train(tmp_path / "part", 15)
    shutil.rmtree(tmp_path / "part" / "best" / "9")
    _train(tmp_path / "part", 15)
    assert latest_step(tmp_path / "part", BEST) is None, "a finished run judges nothing"
    _train(tmp_path / "other", 12)
    _train(tmp_path / "other", 21)
    assert _judged(tmp_path / "other") == _judged(tmp_path / "whole")
    assert latest_step(tmp_path / "other", BEST) == 9


def test_a_run_that_died_repeats_its_judgement(tmp_path):
    """Step 9 was the best and was judged, the newest checkpoint is that of step 5."""
    _train(tmp_path, 10)
    shutil.rmtree(tmp_path / "checkpoints" / "10")
    assert _train(tmp_path, 21).began == 5
    assert [record["step"] for record in _judged(tmp_path)] == [3, 6, 9, 12, 15, 18, 21]
    assert latest_step(tmp_path, BEST) == 9


def test_a_better_earlier_state_replaces_a_later_one(tmp_path):
    """With other steps judged than before the run died, best of all may be one that lies earlier."""
    _train(tmp_path, 10, target=-8.0, judge_every=9)
    assert latest_step(tmp_path, BEST) == 9
    shutil.rmtree(tmp_path / "checkpoints" / "10")
    _train(tmp_path, 10, target=-8.0, judge_every=8)
    assert int(load_state(_setup(), tmp_path, best=True).step) == 8
    assert [path.name for path in (tmp_path / BEST).iterdir() if path.name.isdigit()] == ["8"]


def test_a_run_never_starts_from_its_best(tmp_path):
    first = _train(tmp_path, 12)
    shutil.rmtree(tmp_path / "checkpoints")
    again = _train(tmp_path, 12)
    assert again.began == 0 and digest(again.state) == digest(first.state)


def test_what_is_no_number_is_never_best(tmp_path):
    _train(tmp_path, 6, judge=lambda state: {"score": math.nan})
    assert [record["score"] for record in _judged(tmp_path)] == [None, None]
    with pytest.raises(CheckpointError, match="holds no best checkpoint; train with --judge-every"):
        load_state(_setup(), tmp_path, best=True)


def test_the_score_lies_beside_the_state(tmp_path):
    _train(tmp_path, 12)
    best = Checkpoints(tmp_path, folder=BEST, read_only=True)
    score = next(record["score"] for record in _judged(tmp_path) if record["step"] == 9)
    assert best.meta()["score"] == pytest.approx(score, rel=1e-6) and best.meta()["step"] == 9
    best.close()
    nothing = Checkpoints(tmp_path / "new", folder=BEST)
    assert nothing.meta() == {} and nothing.latest is None
    nothing.close()


def test_a_schedule_without_a_judge(tmp_path):
    with pytest.raises(ValueError, match="judge_every is 3 and there is no judge"):
        _train(tmp_path / "run", 6, judge=None)
    assert not (tmp_path / "run").exists()
