"""What the experiments of translation add to their games: trivial predictors, the panel, and what they refuse."""

import contextlib
import dataclasses
import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ganjax.config import parse
from ganjax.core import Batch
from ganjax.data import Companion, Dataset
from ganjax.errors import ConfigError, DataError
from ganjax.kinds import CLASS, IMAGE, MAP
from ganjax.launch import _commands
from ganjax.training.setup import initial_state, state_shapes

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
NOISE = np.random.default_rng(2).integers(0, 256, (12, 4, 4, 1), np.uint8)


def _module(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _data(**beside):
    rng = np.random.default_rng(0)
    x, drawing = (rng.integers(0, 256, (12, 8, 8, c), np.uint8) for c in (3, 1))
    own = {"drawing": (drawing, IMAGE), **beside}
    companions = {name: Companion(one[:9], one[9:], kind) for name, (one, kind) in own.items()}
    return Dataset(x[:9], x_test=x[9:], companions=companions)


def _setup(name, data, **options):
    module = _module(name)
    config = dataclasses.replace(module.EXPERIMENT.config, **module.EXPERIMENT.smoke, **options)
    return module, module.build(config, lambda _: data, None)


def test_predictors_that_learn_nothing():
    data = _data()
    _, setup = _setup("pix2pix", data)
    x, y = (np.float64(one) / 127.5 - 1 for one in (data.x_test, data.companions["drawing"].test))
    known = np.float64(data.companions["drawing"].train) / 127.5 - 1
    nearest = ((y[:, None] - known[None]) ** 2).sum((2, 3, 4)).argmin(1)
    median = np.median(data.x_train, 0) / 127.5 - 1
    guesses = {
        "l1_drawing": y,
        "l1_neighbour": np.float64(data.x_train[nearest]) / 127.5 - 1,
        "l1_mean": data.x_train.mean(0) / 127.5 - 1,
        "l1_median": median,
        "l1_outlined": np.where(y < 0, y, median[None]),
    }
    batch = Batch(np.float32(x), np.float32(y), None)
    for name, guess in guesses.items():
        measure = setup.measures[name]
        found = measure.summary(measure.values({}, batch, None))
        np.testing.assert_allclose(found, np.abs(x - guess).mean(), rtol=1e-5)
    assert next(iter(setup.measures)) == "l1", "what a judge goes by"


def test_the_panel_shows_held_out_drawings_and_other_masks():
    data = _data()
    module, setup = _setup("pix2pix", data, average="none")
    state = jax.tree.map(np.asarray, initial_state(setup, 0))
    rows = module.strips(setup, state, 3, 2)
    assert [row.caption.replace("\n", " ") for row in rows] == [
        "given",
        "distance alone",
        "with the game",
        "truth",
        "masks 2",
    ]
    given, alone, made, truth, other = (row.images.astype(int) for row in rows)
    assert sorted(truth.sum((1, 2, 3))) == sorted(data.x_test.astype(int).sum((1, 2, 3)))
    place = [int(np.abs(data.x_test.astype(int) - one).sum((1, 2, 3)).argmin()) for one in truth]
    np.testing.assert_array_equal(given[..., :1], data.companions["drawing"].test[place])
    np.testing.assert_array_equal(made, alone)  # of one initialisation, with one key
    assert (made != other).any()


@pytest.mark.parametrize(
    "name, beside, options, error",
    [
        ("pix2pix", {}, {"given": "title"}, "has no 'title' with its examples"),
        ("pix2pix", {"kind": (np.arange(12, dtype=np.int32), CLASS)}, {"given": "kind"}, "integer labels .* images of"),
        ("pix2pix", {"tiny": (NOISE, IMAGE)}, {"given": "tiny"}, r"expected images of \(8, 8\) pixels"),
        ("spade", {}, {"given": "drawing"}, r"expected maps of labels \[N, 8, 8\] of int32"),
        ("spade", {"map": (np.full((12, 8, 8), 3, np.int32), MAP)}, {"given": "map"}, "has the label 3, .* --labels 4"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_refused(name, beside, options, error):
    with pytest.raises(DataError, match=error):
        _setup(name, _data(**beside), **options)


def test_options_that_do_not_go_together_are_refused():
    config = _module("pix2pix").CONFIG
    for wrong in ({"game": 0.0, "distance": 0.0}, {"distance": 0.0}, {"dropout": 1.0}, {"width": 0}, {"jitter": -1}):
        with pytest.raises(ConfigError, match=f"--{list(wrong)[-1]} is "):
            dataclasses.replace(config, **wrong)
    for wrong in ({"labels": 1}, {"hidden": 0}, {"features": -1.0}, {"discriminator_rate": 0.0}):
        with pytest.raises(ConfigError, match=f"--{next(iter(wrong)).replace('_', '-')} is "):
            dataclasses.replace(_module("spade").CONFIG, **wrong)


@pytest.mark.parametrize(
    "name, words, error",
    [
        ("pix2pix", "--game 0 --discriminator-width 16", "--discriminator-width is 16, .*: --game 0 leaves the disc"),
        ("pix2pix", "--game 0 --discriminator-layers 4", "--discriminator-layers is 4, .*: --game 0 leaves the disc"),
        ("pix2pix", "--game 0 --average none", ""),
        ("pix2pix", "--discriminator-width 16 --ema-decay .9", ""),
        ("spade", "--network plain --hidden 64", "--hidden is 64, .*: --network plain reads the map at its input"),
        ("spade", "--network unet --hidden 64", "--hidden is 64, .*: --network unet reads the map at its input"),
        ("spade", "--network unet", ""),
        ("spade", "--hidden 64", ""),
    ],
)
@pytest.mark.parametrize("smoke", [[], ["--smoke"]], ids=["whole", "smoke"])
def test_options_without_effect_are_refused(name, words, error, smoke):
    told = ["train", "--workdir", "w", *words.split(), *smoke]
    with pytest.raises(ConfigError, match=f"^{error}") if error else contextlib.nullcontext():
        parse(_commands(_module(name).EXPERIMENT, bool(smoke)), told, prog="", description="")


@pytest.mark.parametrize("network", ["spade", "plain", "unet"])
def test_maps_of_ones_own_are_read_by_every_network(network):
    maps = np.random.default_rng(1).integers(0, 3, (12, 8, 8)).astype(np.int32)
    _, setup = _setup("spade", _data(map=(maps, MAP)), given="map", network=network)
    assert state_shapes(setup).params.keys() == {"generator", "discriminator"}
    assert "agreement" not in setup.measures and "l1" in setup.measures
    _, setup = _setup("spade", _data(), network=network)
    assert next(iter(setup.measures)) == "agreement"


def test_without_the_game_there_is_no_discriminator():
    _, setup = _setup("pix2pix", _data(), game=0.0, control=False)
    assert setup.game.players == tuple(state_shapes(setup).params) == ("generator",)
    assert set(setup.samplers) == {"translation", "translation_undropped"}
