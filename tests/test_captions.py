"""Captions on the command line, and what the experiment with captions makes of a data set."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from ganjax import launch
from ganjax.core import Game, Outcome, Sampler
from ganjax.data import Companion, Dataset, load, text
from ganjax.dynamics import simultaneous
from ganjax.errors import DataError
from ganjax.kinds import VECTOR
from ganjax.options import TrainConfig
from ganjax.training import Setup, Stream, in_turn
from ganjax.training.setup import state_shapes

CAPTIONS = ["red heart", "red car", "wave skin tone", "blue car", "skin", "a heart", "blue", "car"]
EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def _module(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _data(side=16):
    x = np.random.default_rng(0).integers(0, 256, (16, side, side, 3), np.uint8)
    words = text.vocabulary(CAPTIONS)
    tokens = words.encode(CAPTIONS * 2)
    y = np.arange(16, dtype=np.int32) % 2
    beside = {"caption": Companion(tokens[:8], tokens[8:], text.tokens(words, tokens.shape[1]))}
    return Dataset(x[:8], y[:8], x[8:], y[8:], companions=beside)


# -- sample --text ----------------------------------------------------------------------------------------------------


def _build(config, load, axis_name):
    """Pictures whose grey says which tokens they were asked for."""
    data = load(config.data)

    def cost(params, moment):
        return jnp.square(params["mean"]), Outcome({}, {})

    def draw(weights, key, index, tokens):
        grey = (tokens * jnp.array([[1.0, 10, 100]])).sum(1) / 255 - 1
        return jnp.broadcast_to(grey[:, None, None, None], (tokens.shape[0], *data.shape))

    return Setup(
        Game(lambda key, batch: ({"mean": jnp.zeros(())}, {"mean": {}}), {"mean": cost}),
        simultaneous({"mean": optax.sgd(0.1)}),
        {"data": Stream(data, 4)},
        samplers={
            "told": Sampler(("mean",), "data", draw, given=("data", "caption")),
            "free": Sampler(("mean",), "data", lambda w, k, index, given: jnp.zeros((index.shape[0], *data.shape))),
        },
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    data = _data(8)
    arrays = {f"x_{split}": getattr(data, f"x_{split}") for split in ("train", "test")}
    np.savez(folder / "d.npz", **arrays, caption_train=np.array(CAPTIONS), caption_test=np.array(CAPTIONS))
    config = TrainConfig(steps=1, data=str(folder / "d.npz"), sample_every=0, batch_size=4, chunk=1)
    experiment = launch.Experiment("told", "Draws what is said.", config, {}, _build)
    launch.main(experiment, ["train", "--workdir", str(folder / "run")])
    return experiment, folder


def _sample(trained, capsys, *args):
    experiment, folder = trained
    code, out = 0, folder / "drawn.png"
    out.unlink(missing_ok=True)
    capsys.readouterr()
    try:
        launch.main(experiment, ["sample", "--workdir", str(folder / "run"), "--out", str(out), "--count", "1", *args])
    except SystemExit as end:
        code = end.code
    return code, capsys.readouterr().err, out


def test_what_is_said_is_drawn_and_unknown_words_are_named(trained, capsys):
    code, err, out = _sample(trained, capsys, "--text", "A crimson CAR")
    assert code == 0 and out.exists() and err == "unknown words, which are left out: crimson\n"
    code, err, out = _sample(trained, capsys, "--text", "Red car!")
    words = text.vocabulary(CAPTIONS)
    expected = int((words.encode(["red car"], 3)[0] * [1, 10, 100]).sum() / 2 + 0.5)
    with Image.open(out) as picture:
        grey = np.asarray(picture.convert("L"))[10, 10]
    assert (code, err) == (0, "") and abs(int(grey) - expected) <= 1


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--text", "green dog"), "error: --text: 'green dog' holds no word that the vocabulary of 8 has\n"),
        (("--text", ""), "error: --text: '' holds no word at all, expected some of 8 known ones\n"),
        (("--text", "red " * 2500), "of 10,000 characters, has 2,500 words, expected at most 3, as in the longest"),
        (("--text", "red", "--given", "car"), "error: --given is ('car',), expected nothing beside --text"),
        (("--text", "red", "--sampler", "free"), "is asked for nothing, not for captions; leave it out\n"),
    ],
    ids=["unknown", "empty", "long", "twice", "not asked"],
)
def test_a_caption_that_cannot_be_drawn_is_one_sentence(args, sentence, trained, capsys):
    code, err, out = _sample(trained, capsys, *args)
    assert code == 2 and sentence in err and err.count("\n") == 1 and not out.exists(), err


# -- the experiment ---------------------------------------------------------------------------------------------------


def test_captions_of_some_words_are_left_out():
    """Whole words, one after another: "skin" alone stays."""
    module = _module("stackgan")
    found = module.captioned(_data(), "Skin tone")
    words = found.y_kind("caption").facts["vocabulary"]
    for split in ("train", "test"):
        assert words.decode(found.y("caption", split)) == [one for one in CAPTIONS if "tone" not in one]
        assert len(getattr(found, f"x_{split}")) == len(getattr(found, f"y_{split}")) == 7
    assert len(module.captioned(_data(), "").x_train) == 8
    one = dataclasses.replace(_data(), companions={"caption": _data().companions["caption"]})
    with pytest.raises(DataError, match="has no 'caption' with its examples"):
        module.captioned(dataclasses.replace(one, companions={}), "")
    vectors = Companion(np.ones((8, 2), np.float32), np.ones((8, 2), np.float32), VECTOR)
    with pytest.raises(DataError, match="for captions, expected texts"):
        module.captioned(dataclasses.replace(one, companions={"caption": vectors}), "")


@pytest.mark.parametrize("split", ["train", "test"])
def test_captions_without_a_word_are_refused(split, tmp_path):
    module, data, wordless = _module("stackgan"), _data(), ["  ", "blue car", "", "\t...!"]
    arrays = {f"x_{name}": getattr(data, f"x_{name}") for name in ("train", "test")}
    captions = {"caption_train": CAPTIONS, "caption_test": CAPTIONS} | {f"caption_{split}": CAPTIONS[:4] + wordless}
    np.savez(tmp_path / "d.npz", **arrays, **{name: np.array(own) for name, own in captions.items()})
    sentence = rf"has 3 of 8 captions without a word in caption_{split}, the first at index 4; write what these images"
    with pytest.raises(DataError, match=sentence):
        module.captioned(load(str(tmp_path / "d.npz")), "skin tone")


def test_readers_learn_what_generators_do_not():
    """The matcher's pairs are all of both splits, the generators' those of training alone; no weights are shared."""
    module = _module("stackgan")
    config = dataclasses.replace(module.CONFIG, **module.SMOKE)
    stages = module.build(config, lambda _: _data(), None)
    assert list(stages) == ["text", "matcher", "sketch", "image"]
    assert [len(one.streams["data"].dataset.x_train) for one in stages.values()] == [7, 14, 7, 7]
    for name in ("sketch", "image"):
        begun = stages[name].start
        assert {(own.run, own.player) for player, own in begun.items() if player.startswith(("reader", "class"))} == {
            ("matcher", player) for player in ("text", "image", "classifier")
        }
        assert (begun["text"].run, begun["text"].player) == ("text", "text")
        assert set(stages[name].game.players) == {"discriminator", "generator"}
    assert stages["image"].start["before"].run == "sketch" and stages["image"].start["before"].weights == "ema"
    random = module.build(dataclasses.replace(config, encoder="random"), lambda _: _data(), None)
    assert list(random) == ["matcher", "sketch", "image"] and "text" not in random["image"].start


def test_the_panel_shows_both_stages_and_what_lies_between():
    module = _module("stackgan")
    config = dataclasses.replace(module.CONFIG, **module.SMOKE)
    setup = module.build(config, lambda _: _data(), None)["image"]
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        low = 0.5 if "var" in jax.tree_util.keystr(path) else -0.5
        return rng.uniform(low, 0.6, shape.shape).astype(shape.dtype)

    state = jax.tree_util.tree_map_with_path(leaf, state_shapes(setup))
    state = state.replace(averages=jax.tree.map(np.zeros_like, state.averages))
    panel = module.Panel(workdir=Path(), out=Path("a.png"), count=3, draws=2, between=("red heart", "blue car"))
    given = in_turn(setup, setup.sampler("image"), 3)
    content, heads = module.strips(setup, state, given, panel)
    assert heads == ["sketch", "", "image", "", "truth"] and len(content) == 3
    truth = setup.streams["data"].dataset.x_test[given.rows]
    np.testing.assert_array_equal([row.images[-1] for row in content], truth)
    assert all((row.images[0, ::2, ::2] == row.images[0, 1::2, 1::2]).all() for row in content), "sketches are doubled"
    assert all(row.images[0].std() > 5 and (row.images[0] != row.images[1]).any() for row in content)
    ends = module.tokens_of(setup, panel)
    painter = module.painter_of(config, setup)
    between, heads = module.path(setup, state, painter, ends, panel)
    assert heads == ["red heart", "", "blue car"] and [row.images.shape for row in between] == [(3, 16, 16, 3)] * 2
    alone, _ = module.strips(setup, state, ends, panel)
    np.testing.assert_allclose(alone[0].images[2].astype(int), between[0].images[0].astype(int), atol=1)
    np.testing.assert_allclose(alone[1].images[3].astype(int), between[1].images[2].astype(int), atol=1)
