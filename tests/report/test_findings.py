"""A finished, judged run has no warning; each thing that can be wrong has one, with its numbers."""

import shutil

import pytest

from ganjax.report.findings import findings
from ganjax.report.run import read

ROWS = [{"step": k, "time": float(k), "finite": 1.0, "g/cost": 1.0} for k in range(10, 101, 10)]


def found(run):
    return {finding.name: dict(finding.numbers) for finding in findings(read(run.workdir))}


def test_a_whole_run_has_no_warning(run):
    assert found(run) == {}


def test_a_run_that_stopped_early(run):
    run.config(config={"steps": 150})
    assert found(run) == {"unfinished": {"step": 100, "of": 150}}


def test_a_stage_ends_with_its_own_steps(run):
    """Which may be fewer than the run says; nothing is said of one that does not say how many, as they once did not."""
    for steps, warned in ((100, {}), (120, {"unfinished": {"step": 100, "of": 120}})):
        run.config(config={"steps": 4000}, stage="text", steps=steps)
        assert found(run) == warned
    run.config(config={"steps": 4000}, stage="text")
    assert found(run) == {}


def test_stages_are_warned_of_by_name(run):
    """What is wrong with each, those that have not begun among them, and nothing of the folder that holds them."""
    whole = type(run)(run.workdir.parent / "run-s")
    whole.config(stages=["text", "image"])
    run.config(stage="text", steps=120)
    run.workdir.rename(whole.workdir / "text")
    assert found(whole) == {"text: unfinished": {"step": 100, "of": 120}, "image: unfinished": {}}


def test_of_stages_the_last_that_has_begun_should_have_been_judged(run):
    """Nobody judges the sketches of an earlier one, or a classifier."""
    whole = type(run)(run.workdir.parent / "run-s")
    whole.config(stages=["text", "image"])
    shutil.rmtree(run.workdir / "scores")
    run.config(stage="text", steps=100)
    shutil.copytree(run.workdir, whole.workdir / "text")
    assert found(whole) == {"text: no score": {}, "image: unfinished": {}}
    shutil.copytree(run.workdir, whole.workdir / "image")
    assert found(whole) == {"image: no score": {}}


def test_the_step_is_the_last_that_any_file_tells_of(run):
    run.picture("samples/00000120.png")
    assert read(run.workdir).step == 120 and found(run) == {"old score": {"score": 100, "run": 120}}
    run.json("checkpoints/130/meta/metadata", {"step": 130})
    assert read(run.workdir).step == 130


def test_rejected_steps_and_values_that_are_not_finite(run):
    rows = [dict(row) for row in ROWS]
    rows[3] |= {"finite": 0.0, "g/cost": None}
    rows[4] |= {"finite": 0.0, "g/cost": float("nan")}
    run.lines("metrics.jsonl", rows)
    assert found(run) == {
        "skipped steps": {"rejected": 2, "of logged": 10, "first at step": 40},
        "not finite": {"g/cost": 2},
    }


def test_a_run_that_nobody_judged(run):
    (run.workdir / "scores" / "100-ema.json").unlink()
    assert found(run) == {"no score": {}}


def test_a_run_that_computes_needs_no_score(run):
    (run.workdir / "scores" / "100-ema.json").unlink()
    (run.workdir / "metrics.jsonl").unlink()
    run.config(data_digest="")
    assert found(run) == {}


def test_scores_without_held_out_figures_or_finite_values(run):
    run.score(100, metrics={"fid": {"value": 3.0, "floor": 1.0, "held_out": None}, "kid": {"value": None}})
    assert found(run) == {"no held-out data": {}, "not finite": {"kid": 1}}


def test_scores_of_other_data(run):
    run.config(data_digest="a" * 64)
    assert found(run) == {"other data": {"run": "a" * 64, "score": "d" * 64}}


def test_alarms_ring_once_each_with_their_last_numbers(run):
    alarm = {"alarm": "duplicates", "sentence": "Copies.", "numbers": {"pairs": 3}}
    other = {"step": 20, "alarm": "gradient", "sentence": "Gone.", "numbers": {"ratio": 0.5}}
    run.lines("alarms.jsonl", [alarm | {"step": 10}, other, alarm | {"step": 30, "numbers": {"pairs": 7}}])
    assert found(run) == {
        "duplicates": {"times": 2, "first step": 10, "last step": 30, "pairs": 7},
        "gradient": {"step": 20, "ratio": 0.5},
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "scores/100-ema.json cannot be read"),
        ("[1]", "scores/100-ema.json cannot be read"),
        ('{"step": "x", "metrics": {}}', "scores/100-ema.json has no step or no metrics"),
        ('{"step": 100, "metrics": []}', "scores/100-ema.json has no step or no metrics"),
    ],
)
def test_a_score_that_is_none(run, content, sentence):
    (run.workdir / "scores" / "100-ema.json").write_text(content)
    (damage,) = read(run.workdir).damage
    assert sentence in damage and found(run).keys() == {"no score", "file"}


def test_training_time_is_that_of_all_processes(run):
    times = [1.0, 2.0, 4.0, 0.5, 3.0, 2.5]  # three processes: 4 + 3 + 2.5
    run.lines("metrics.jsonl", [{"step": 10 * k, "time": time} for k, time in enumerate(times)])
    assert read(run.workdir).seconds == 9.5
