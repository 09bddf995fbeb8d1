"""The command profile: every second of a run is that of one part, and the run is the one that train makes."""

import contextlib
import importlib.util
import io
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from ganjax import launch, profile
from ganjax.training.flops import step_flops

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RATES = {"matmul float32": 4e9, "convolution float32": 5e9, "matmul bfloat16": 8e9, "convolution bfloat16": 1e9}


def _run(*args, name="vanilla_gan"):
    """(exit code, stdout, stderr) of a command, in this process."""
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            launch.main(module.EXPERIMENT, [str(arg) for arg in args])
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def _known_rates(monkeypatch):
    monkeypatch.setattr(profile, "measured_rates", lambda: RATES)


def test_the_parts_are_the_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    setups = []
    monkeypatch.setattr(profile, "step_flops", lambda setup: setups.append(setup) or step_flops(setup))
    out = tmp_path / "profile.json"
    code, text, err = _run("profile", "--smoke", "--out", out, "--trace", tmp_path / "trace")
    assert code == 0, err
    assert not list((tmp_path / "tmp").glob("ganjax-profile-*")), "the run is left behind"
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))
    found = json.loads(out.read_text())
    parts = {name: part["seconds"] for name, part in found["parts"].items()}
    assert sum(parts.values()) == pytest.approx(found["total_seconds"], rel=0.02)
    assert {"start", "trace", "compile", "input", "step", "metrics", "checkpoint", "sampling", "telemetry"} <= set(
        parts
    )
    assert all(seconds >= 0 for seconds in parts.values()) and parts["other"] < 0.2 * found["total_seconds"]
    calls = {name: part["calls"] for name, part in found["parts"].items()}
    # 60 steps in chunks of 10 and less: at 20, 30, 40 and 60 something is done, and at 0 samples are drawn.
    assert calls["step"] == 6 and calls["sampling"] == 4 and calls["telemetry"] == 3 and calls["input"] == 6
    assert found["examples_per_step"] == 128 and found["flops_per_step"] == step_flops(setups[0])
    assert found["flops_per_second"] == pytest.approx(found["flops_per_step"] / found["step_seconds"])
    assert found["utilisation"]["float32"] == pytest.approx(found["flops_per_second"] / 5e9)
    assert found["utilisation"]["bfloat16"] == pytest.approx(found["flops_per_second"] / 8e9)
    lines = text.splitlines()
    assert lines[1].split() == ["part", "calls", "seconds", "percent", "ms/call"] and lines[-1] == str(out)
    assert any(line.startswith("total") and "100.0" in line for line in lines)
    assert sum("utilisation" in line for line in lines) == 2


def test_it_is_the_run_that_train_makes(tmp_path):
    code, _, err = _run("profile", "--smoke", "--workdir", tmp_path / "run")
    assert code == 0, err
    args = ("train", "--smoke", "--quiet", "--sample-every", 0)
    _, profiled, _ = _run(*args, "--workdir", tmp_path / "run")
    _, trained, _ = _run(*args, "--workdir", tmp_path / "other")
    assert "is finished" in profiled and profiled.splitlines()[-1] == trained.splitlines()[-1]
    code, _, err = _run("profile", "--smoke", "--workdir", tmp_path / "run")
    assert code == 2 and "there is nothing to measure" in err


def test_a_long_run_is_measured_by_its_first_steps():
    code, text, _ = _run("profile", "--help")
    assert code == 0 and "default: 200" in text


def test_a_second_is_that_of_one_part():
    clock = profile.Clock()

    def outer():
        time.sleep(0.1)
        clock("metrics", time.sleep)(0.2)

    with clock.running():
        time.sleep(0.05)
        clock("input", time.sleep)(0.01)
        clock("checkpoint", outer)()
        time.sleep(0.03)
    for part, seconds in {"start": 0.05, "input": 0.01, "checkpoint": 0.1, "metrics": 0.2, "other": 0.03}.items():
        assert seconds <= clock.seconds[part] < seconds + 0.1, part
    assert sum(clock.seconds.values()) == pytest.approx(clock.total, abs=1e-6)


def test_compilation_is_no_part_of_the_step():
    """An inner `jit` is traced within the outer one, and counted once."""
    clock = profile.Clock()
    inner = jax.jit(lambda x: jnp.tanh(x) @ x)
    step = clock("step", jax.jit(lambda x, count: inner(x) + inner(x.T) * count))
    x = jnp.ones((8, 8))
    with clock.running():
        began = time.perf_counter()
        for count in (5, 7, 7):
            step(x, count)
        took = time.perf_counter() - began
    assert clock.seconds["trace"] > 0 and clock.seconds["compile"] > 0
    assert min(clock.seconds.values()) >= 0 and sum(clock.seconds.values()) == pytest.approx(took, abs=0.05)
    assert clock.seconds["step"] < clock.seconds["trace"] + clock.seconds["compile"]
    assert [steps for steps, _ in clock.chunks] == [7, 7], "the first call compiled"


def test_rates(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(profile._PRODUCTS, "matmul", ((64, 128), *profile._PRODUCTS["matmul"][1:]))
    monkeypatch.setitem(profile._PRODUCTS, "convolution", ((8,), *profile._PRODUCTS["convolution"][1:]))
    rates = profile.measured_rates(0.02)
    assert rates.keys() == RATES.keys() and all(1e6 < rate < 1e16 for rate in rates.values())
    assert profile.best_rates(RATES) == {"float32": 5e9, "bfloat16": 8e9}
