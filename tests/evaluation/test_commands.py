"""The commands evaluate, compare and report, as a user types them."""

import contextlib
import dataclasses
import importlib.util
import io
import json
import re
import sys
from pathlib import Path

import pytest

from ganjax import launch
from ganjax.evaluation import Recipe, compare, read
from ganjax.evaluation import classifier as classifiers

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def _experiment(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.EXPERIMENT


def _run(*args, name="vanilla_gan"):
    """(exit code, stdout, stderr) of a command, in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            launch.main(_experiment(name), [str(arg) for arg in args])
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 60 steps, judged at 20, 40 and 60; its classifier is trained shortly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(classifiers, "Recipe", lambda: Recipe(steps=60))
        workdir = tmp_path_factory.mktemp("runs") / "digits"
        code, _, err = _run("train", "--workdir", workdir, "--smoke", "--quiet", "--judge-every", 20)
        assert code == 0, err
        yield workdir


FEW = ("--metrics", "frechet", "modes", "--count", 100, "--quiet")


def _kept(workdir):
    """The bytes of all files but scores."""
    return {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file() and "scores" not in p.parts}


def test_a_judged_run_has_its_records_and_its_best_state(trained):
    records = [json.loads(line) for line in (trained / "judge.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [20, 40, 60]
    assert all(record["score"] > record["floor"] > 0 and 1 <= record["modes"] <= 10 for record in records)
    best = min(records, key=lambda record: record["score"])["step"]
    assert [path.name for path in (trained / "best").iterdir() if path.name.isdigit()] == [str(best)]
    assert json.loads((trained / "config.json").read_text())["config"]["judge_every"] == 20


def test_evaluate_prints_a_table_and_writes_a_receipt(trained):
    before = _kept(trained)
    code, out, err = _run("evaluate", "--workdir", trained, *FEW)
    assert code == 0, err
    head, columns, *rows, path = out.splitlines()
    assert head == "step 60 (last), ema weights: 100 samples against 100 training examples, as classifier sees them"
    assert columns.split() == ["metric", "better", "value", "floor", "held", "out", "note"]
    assert [row.split()[0] for row in rows] == ["frechet_classifier", "modes", "mode_kl"]
    record = read(Path(path))
    assert (record.step, record.weights, record.which) == (60, "ema", "last")
    assert Path(path).parent == trained / "scores"
    assert Path(path).name.startswith("00000060-ema-classifier-100-seed0-")
    assert (record.receipt.count, record.receipt.reference_count, record.receipt.seed) == (100, 100, 0)
    assert _kept(trained) == before, "evaluating only reads the run"
    again = _run("evaluate", "--workdir", trained, *FEW)[1]
    assert again == out and read(Path(path)).metrics == record.metrics
    fewer = _run("evaluate", "--workdir", trained, "--metrics", "duplicates", *FEW[3:])[1].splitlines()
    assert fewer[-1] == path and [row.split()[0] for row in fewer[2:-1]] == ["duplicates"]
    assert read(Path(path)).metrics.items() >= record.metrics.items(), "asking for less destroys nothing"


def test_the_best_state_is_scored_by_name_only(trained):
    code, out, err = _run("evaluate", "--workdir", trained, *FEW, "--which", "best", "--weights", "raw", "--seed", 3)
    assert code == 0, err
    record = read(Path(out.splitlines()[-1]))
    assert record.which == "best" and record.receipt.weights == "raw" and record.receipt.seed == 3
    assert (trained / "best" / str(record.step)).is_dir() and "(best), raw weights" in out


def test_compare(trained, tmp_path):
    paths = []
    for seed in (0, 1):
        paths.append(Path(_run("evaluate", "--workdir", trained, *FEW, "--seed", seed)[1].splitlines()[-1]))
    assert [read(path).receipt.seed for path in paths] == [0, 1], "neither replaces the other"
    code, out, err = _run("compare", "--scores", *paths)
    assert code == 0 and err == "" and out.splitlines() == compare(paths).lines
    for text, changed in (("error", "count"), ("warning", "device")):
        content = json.loads(paths[0].read_text())
        content["receipt"][changed] = 7 if changed == "count" else "another"
        (tmp_path / "other.json").write_text(json.dumps(content))
        code, out, err = _run("compare", "--scores", paths[0], tmp_path / "other.json")
        assert code == (2 if text == "error" else 0) and err.startswith(f"{text}: ") and f"differ in {changed}" in err
        assert len(err.splitlines()) == 1 and bool(out) == (text == "warning")


def test_report_writes_the_page(trained):
    code, out, err = _run("report", "--workdir", trained)
    assert code == 0 and Path(out.strip()).is_file(), err


BAD = {
    "no run": (2, ("evaluate", "--workdir", "nowhere"), "nowhere holds no run; train one first"),
    "no run to report": (2, ("report", "--workdir", "nowhere"), "nowhere holds no run"),
    "unknown metric": (2, ("evaluate", "--workdir", None, "--metrics", "fid"), "unknown metric 'fid'.*Known: frechet"),
    "no samples": (2, ("evaluate", "--workdir", None, "--count", 0), "--count is 0, expected at least 1"),
    "few samples": (5, ("evaluate", "--workdir", None, "--count", 3), "3 samples against 3.*cannot be judged"),
    "weights": (2, ("evaluate", "--workdir", None, *FEW, "--weights", "eam"), "--weights is 'eam', expected one of"),
    "no BatchNorm": (2, ("evaluate", "--workdir", None, *FEW, "--standing", 3), "no BatchNorm.*leave --standing out"),
    "no file of weights": (2, ("evaluate", "--workdir", None, "--extractor", "fid"), "needs --extractor-file"),
    "negative interval": (2, ("train", "--workdir", "x", "--judge-every", -1), "--judge-every is -1"),
    "one file": (2, ("compare", "--scores", "a.json"), "got 1 file of scores"),
    "no files": (2, ("compare", "--scores", "a.json", "b.json"), "a.json: No such file or directory"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, trained):
    expected, args, sentence = BAD[case]
    before = _kept(trained)
    code, out, err = _run(*(trained if arg is None else arg for arg in args))
    assert code == expected and out == "", err
    assert len(err.splitlines()) == 1 and re.search(f"error: .*{sentence}", err), err
    assert _kept(trained) == before


def test_a_run_without_checkpoints(trained, tmp_path):
    (tmp_path / "config.json").write_text((trained / "config.json").read_text())
    for more, sentence in ((), "holds no checkpoint"), (("--which", "best"), "holds no best checkpoint"):
        code, _, err = _run("evaluate", "--workdir", tmp_path, *more)
        assert code == 6 and sentence in err and not (tmp_path / "scores").exists()


@pytest.mark.parametrize("name", sorted(path.stem for path in EXPERIMENTS.glob("*.py")))
def test_every_experiment_that_trains_can_be_judged(name):
    experiment = _experiment(name)
    commands = launch._commands(experiment, smoke=False)
    assert "report" in commands and ("evaluate" in commands) == ("compare" in commands) == bool(experiment.build)
    assert not experiment.build or "judge_every" in {field.name for field in dataclasses.fields(experiment.config)}


def test_help_teaches():
    code, out, _ = _run("evaluate", "--help")
    assert code == 0
    for option in ("--workdir", "--which", "--weights", "--metrics", "--count", "--extractor-file", "--seed"):
        assert option in out
