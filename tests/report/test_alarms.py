"""Alarms: each rings on a run with its fault, names the numbers, and stays silent on a healthy run."""

import json

import numpy as np
import pytest

from ganjax.report.alarms import LEAST, find_alarms, oscillation, write_alarms

RNG = np.random.default_rng(0)
STEPS = 200


def _healthy():
    """Metrics of 200 records, every tenth step."""
    noise = RNG.normal(size=(4, STEPS))
    return {
        "discriminator/cost": 1.0 + 0.1 * noise[0],
        "discriminator/real_logit": 0.7 + 0.2 * noise[1],
        "discriminator/fake_logit": -0.7 + 0.2 * noise[2],
        "generator/cost": 1.5 + 0.2 * noise[3],
        "generator/gradient": np.where(np.arange(STEPS) % 20 == 19, 0.4 + 0.05 * noise[1], np.nan),
        "Conv_0/operator": np.where(np.arange(STEPS) % 20 == 19, 2 + np.arange(STEPS) / STEPS, np.nan),
    }


def _write(path, columns, name="metrics.jsonl"):
    rows = (
        {"step": 10 * (i + 1)} | {k: v[i] for k, v in columns.items()} for i in range(len(next(iter(columns.values()))))
    )
    clean = ({k: v for k, v in row.items() if np.isfinite(v)} for row in rows)
    (path / name).write_text("".join(json.dumps(row, default=float) + "\n" for row in clean))


def _judge(modes, duplicates):
    return {"modes": np.asarray(modes, float), "duplicates": np.asarray(duplicates, float)}


def test_a_healthy_run_rings_nothing(tmp_path):
    _write(tmp_path, _healthy())
    _write(tmp_path, _judge([6, 9, 10, 10], [0.3, 0.02, 0.0, 0.01]), "judge.jsonl")
    assert find_alarms(tmp_path) == [] and write_alarms(tmp_path) == []
    assert not (tmp_path / "alarms.jsonl").exists()


LATE = np.arange(STEPS) > 150
FAULTS = {
    "discriminator saturated": lambda m: m | {
        "discriminator/cost": np.where(LATE, 1e-3, m["discriminator/cost"]),
        "discriminator/real_logit": np.where(LATE, 7.0, 0.7), "discriminator/fake_logit": np.where(LATE, -9.0, -0.7),
    },
    "generator starved of gradient": lambda m: m | {
        "generator/gradient": np.where(LATE, 1e-4, 1.0) * m["generator/gradient"]
    },
    "oscillation of the field": lambda m: m | {
        "generator/cost": m["generator/cost"] + np.sin(2 * np.pi * np.arange(STEPS) / 25)
    },
    "spectral norm drifting": lambda m: m | {"Conv_0/operator": m["Conv_0/operator"] * np.exp(np.arange(STEPS) / 60)},
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_rings_its_own_alarm(tmp_path, name):
    _write(tmp_path, FAULTS[name](_healthy()))
    found = find_alarms(tmp_path)
    assert [alarm.alarm for alarm in found] == [name]
    assert found[0].step == 10 * STEPS and all(np.isfinite(v) for v in found[0].numbers.values())
    if name == "oscillation of the field":
        assert abs(found[0].numbers["period in steps"] - 250) <= 10
    if name == "spectral norm drifting":
        (ratio,) = found[0].numbers.values()
        np.testing.assert_allclose(ratio, (2 + 199 / 200) / (2 + 19 / 200) * np.exp(180 / 60), rtol=1e-6)


@pytest.mark.parametrize(
    "name, modes, duplicates, number",
    [("modes lost", [4, 10, 10, 7], [0, 0, 0, 0], 7), ("duplicates", [10, 10], [0.01, 0.3], 0.3)],
)
def test_what_the_judge_sees(tmp_path, name, modes, duplicates, number):
    _write(tmp_path, _healthy())
    _write(tmp_path, _judge(modes, duplicates), "judge.jsonl")
    (alarm,) = find_alarms(tmp_path)
    assert alarm.alarm == name and number in alarm.numbers.values() and alarm.step == 10 * len(modes)


@pytest.mark.parametrize("value, floor, rings", [(0.2, 0.02, True), (0.04, 0.0, False), (0.1, 0.05, False)])
def test_memorisation_is_seen_in_the_newest_score(tmp_path, value, floor, rings):
    _write(tmp_path, _healthy())
    (tmp_path / "scores").mkdir()
    for step, share in ((100, 1.0), (2000, value)):
        record = {"step": step, "metrics": {"memorised": {"value": share, "floor": floor}}}
        (tmp_path / "scores" / f"{step:08d}-ema.json").write_text(json.dumps(record))
    found = find_alarms(tmp_path)
    assert [alarm.alarm for alarm in found] == ["memorisation"] * rings
    if rings:
        assert found[0].step == 2000 and found[0].numbers["share of samples"] == value
    for name in ("ema-other", "raw"):  # of the newest step too, not scored for it
        (tmp_path / "scores" / f"00002000-{name}.json").write_text(json.dumps({"step": 2000, "metrics": {}}))
    assert find_alarms(tmp_path) == found
    (tmp_path / "scores" / "00003000-ema.json").write_text("{")
    assert find_alarms(tmp_path) == []


def test_a_wasserstein_critic_has_no_cost_of_zero(tmp_path):
    """Its cost is negative and its logits lie far apart, without anything being wrong."""
    healthy = _healthy()
    _write(tmp_path, healthy | {"discriminator/cost": healthy["discriminator/cost"] - 20,
                                "discriminator/real_logit": healthy["discriminator/real_logit"] + 30})  # fmt: skip
    assert find_alarms(tmp_path) == []


def test_alarms_are_joined_once(tmp_path):
    _write(tmp_path, FAULTS["oscillation of the field"](_healthy()))
    first = write_alarms(tmp_path)
    before = (tmp_path / "alarms.jsonl").read_text()
    assert len(first) == 1 and write_alarms(tmp_path) == [] and (tmp_path / "alarms.jsonl").read_text() == before
    _write(tmp_path, _judge([10, 3], [0, 0]), "judge.jsonl")
    assert [alarm.alarm for alarm in write_alarms(tmp_path)] == ["modes lost"]
    rows = [json.loads(line) for line in (tmp_path / "alarms.jsonl").read_text().splitlines()]
    assert [row["alarm"] for row in rows] == ["oscillation of the field", "modes lost"]
    assert rows[1]["numbers"] == {"modes": 3.0, "most so far": 10.0, "at step": 10}


def test_oscillation_of_waves_noise_and_trends():
    t = np.arange(256)
    for period in (8, 25, 60):
        found, swing = oscillation(np.sin(2 * np.pi * t / period) + 0.3 * RNG.normal(size=256))
        assert abs(found - period) <= 1 and 0.7 < swing <= 1.1
    for seed in range(200):
        assert oscillation(np.random.default_rng(seed).normal(size=4 * LEAST))[1] < 0.45
    assert oscillation(3 - 0.01 * t) == (0, 0.0) and oscillation(np.ones(256)) == (0, 0.0)
    drift = np.cumsum(np.random.default_rng(1).normal(size=256)) / 10  # a random walk comes back now and then
    assert oscillation(drift)[1] < 1.0
