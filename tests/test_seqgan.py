"""The experiment seqgan: a game of a text that is stopped and continued, and its control at all temperatures."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ganjax.data import load
from ganjax.data import oracle as oracles
from ganjax.errors import ConfigError, DataError
from ganjax.training import Schedule, digest, train

spec = importlib.util.spec_from_file_location("seqgan", Path(__file__).parent.parent / "experiments" / "seqgan.py")
seqgan = importlib.util.module_from_spec(spec)
sys.modules["seqgan"] = seqgan
spec.loader.exec_module(seqgan)


@pytest.fixture
def text(tmp_path):
    said = np.frombuffer(b"the cat sat on the mat. " * 40, np.uint8)
    np.savez(tmp_path / "text.npz", play_train=said, play_test=said[:200])
    return str(tmp_path / "text.npz")


def small(**told):
    return dataclasses.replace(seqgan.CONFIG, **{**seqgan.SMOKE, **told})


@pytest.mark.usefixtures("compiled_once")
def test_a_game_that_is_stopped_in_its_middle_ends_where_it_would_have(text, tmp_path):
    """Bit for bit, with rollouts, on a text; the discriminator's turns see other examples each."""
    setup = seqgan.build(small(data=text, rollouts=2), load, None)["game"]._replace(start={}, telemetry=None)

    def run(folder, steps):
        schedule = Schedule(steps=steps, chunk=1, checkpoint_every=2, sample_every=0, log_every=1)
        return train(setup, tmp_path / folder, seed=3, schedule=schedule, progress=False)[0]

    part = run("part", 2)
    assert digest(run("part", 4)) == digest(run("whole", 4)) != digest(part)


def test_stages_hand_on_what_they_trained(text, monkeypatch):
    monkeypatch.setattr(oracles, "COUNTS", {"train": 20, "test": 10})
    stages = seqgan.build(small(data=text, method="gumbel"), load, None)
    assert tuple(stages) == seqgan.STAGES
    began = {name: {player: own.run for player, own in setup.start.items()} for name, setup in stages.items()}
    assert began["game"] == {"generator": "likelihood", "discriminator": "discriminator"}
    assert began["discriminator"] == {"generator": "likelihood"} and not began["likelihood"]
    assert stages["discriminator"].game.players == ("discriminator",)
    assert list(stages["game"].measures) == ["bits_per_character"]
    assert stages["game"].measures["bits_per_character"].summary(np.log(2.0) * np.ones(3)) == pytest.approx(1)
    assert list(seqgan.build(small(), load, None)["game"].measures) == ["nll_test", "nll_oracle"]


def test_the_control_of_the_oracle_itself(monkeypatch):
    """The oracle in the generator's place: both numbers are its entropy; colder, one falls and the other rises."""
    monkeypatch.setattr(oracles, "COUNTS", {"train": 300, "test": 200})
    truth = seqgan.truth_of(small(data="oracle:6", length=20), load)
    says, known = seqgan.says_of(truth, 2, 200)
    asked = seqgan.Curve(workdirs=(Path("a"),), out=Path("a.png"), count=200)
    weights = oracles.oracle(6)
    at = seqgan.judged(truth, (32, 32), (weights.params, {}), says, asked)
    warm, cold = at(1.0), at(0.5)
    np.testing.assert_allclose(warm.test, known["the oracle"].test, rtol=1e-4)
    assert abs(warm.oracle - warm.test) < 0.1 and cold.oracle < warm.oracle - 0.1 and cold.test > warm.test + 0.1
    assert known["2-grams"].test > known["the oracle"].test


def test_the_curve_says_which_temperature_does_what_a_game_did(monkeypatch, tmp_path):
    """And refuses runs of other data, before anything is drawn."""
    truth = seqgan.Truth(2, "word", SimpleNamespace(digest="a"))
    path = {"nll_test": (np.array([1, 2]), np.array([2.0, 1.0]))}
    control = seqgan.Stage(truth, lambda t: seqgan.Judged(2 * t, 4 - t), {"the oracle": seqgan.Judged(1, 1)}, path)
    game = control._replace(at=lambda t: seqgan.Judged(1.5, 3.3))
    monkeypatch.setattr(seqgan, "stage_of", lambda asked, experiment, w, stage: stages[stage])
    stages = {"likelihood": control, "game": game}
    asked = seqgan.Curve(workdirs=(tmp_path / "seqgan",), out=tmp_path / "a" / "c.png", temperatures=(1.0, 0.5))
    lines = seqgan.curve(asked, None)
    assert [line.split()[-4:] for line in lines[1:3]] == [
        ["2.0000", "3.0000", "1.000", "3.0000"], ["1.5000", "3.3000", "0.750", "3.2500"],
    ]  # fmt: skip
    assert lines[-1] == str(asked.out) and asked.out.stat().st_size > 1000
    stages["game"] = game._replace(truth=truth._replace(data=SimpleNamespace(digest="b")))
    with pytest.raises(ConfigError, match="seqgan was trained on other data than seqgan"):
        seqgan.curve(asked, None)
    for workdirs in ((), (tmp_path / "a", tmp_path / "b" / "a")):
        with pytest.raises(ConfigError, match="each of another last name"):
            dataclasses.replace(asked, workdirs=workdirs)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"critic": "recurrent"}, "--rollouts is 2, expected 0 with --critic recurrent"),
        ({"rollouts": -1}, "--rollouts is -1, expected at least 0"),
        ({"length": 1}, "--length is 1, expected at least 2"),
        ({"temperature": 0.0}, "--temperature is 0.0, expected a positive number"),
    ],
)
def test_what_is_out_of_range(told, said):
    with pytest.raises(ConfigError, match=said):
        small(**told)


def test_what_is_no_text_is_refused(text):
    with pytest.raises(DataError, match=r"has points .* expected a text, or tokens"):
        seqgan.build(small(data="ring"), load, None)
    with pytest.raises(DataError, match=r"x_train has texts of 199 symbols"):
        seqgan.build(small(data=text, length=500), load, None)
