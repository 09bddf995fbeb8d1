"""The experiment `semi_supervised` beyond its default: labels alone, shifted images, and the curve over labels."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ganjax.data import load
from ganjax.errors import ConfigError, DataError

_path = Path(__file__).parents[1] / "experiments" / "semi_supervised.py"
_spec = importlib.util.spec_from_file_location("semi_supervised", _path)
EXPERIMENT = sys.modules["semi_supervised"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(EXPERIMENT)
SMALL = replace(EXPERIMENT.CONFIG, **EXPERIMENT.SMOKE)


def test_labels_alone_have_no_sampler_and_only_labelled_images_are_shifted():
    alone = EXPERIMENT.build(replace(SMALL, method="supervised", shift=1), load, None)
    assert not alone.samplers and alone.game.players == ("discriminator",) and alone.judged_by == "error"
    assert {name: one.prepare is not None for name, one in alone.streams.items()} == {
        "unlabelled": False, "labelled": True,
    }  # fmt: skip
    both = EXPERIMENT.build(SMALL, load, None)
    assert {name: one.y for name, one in both.streams.items()} == {"unlabelled": None, "labelled": "class"}
    assert len(both.streams["labelled"].dataset.x_train) == SMALL.labels
    assert both.averages["ema"].owners == ("discriminator", "generator")


def test_the_curve_measures_each_run_once(tmp_path, monkeypatch):
    asked = []

    def error(config, load, label):
        asked.append((config.method, config.shift, config.labels, config.subset))
        return 1 / config.labels + 0.1 * config.subset

    monkeypatch.setattr(EXPERIMENT, "trained_error", error)
    curve = EXPERIMENT.Curve(out=tmp_path / "new" / "labels.png", labels_of=(10, 20), subsets=2, config=SMALL)
    lines = EXPERIMENT.curve(curve, load)
    arms = [("supervised", 0), ("supervised", 1), ("gan", 0)]
    assert sorted(asked) == sorted((*arm, n, s) for arm in arms for n in (10, 20) for s in (0, 1))
    assert lines[0].split()[:3] == ["labels", "labels", "alone"] and "15.00 ± 7.07" in lines[1]
    assert Path(lines[-1]).stat().st_size > 10_000
    assert sorted(json.loads((tmp_path / "new" / "labels.json").read_text()).values())[0] == 0.05
    again = EXPERIMENT.curve(replace(curve, labels_of=(10, 20, 50)), load)
    assert len(asked) == 18 and again[1:3] == lines[1:3]


def test_what_cannot_be_read_is_refused():
    with pytest.raises(DataError, match="--labels 15: expected a multiple of the 10 classes"):
        EXPERIMENT.build(replace(SMALL, labels=15), load, None)
    with pytest.raises(DataError, match="expected images"):
        EXPERIMENT.build(replace(SMALL, data="ring"), load, None)
    with pytest.raises(ConfigError, match="numbers of at least 1"):
        EXPERIMENT.Curve(out=Path("labels.png"), labels_of=())
