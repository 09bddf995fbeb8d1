"""The experiment `video`: what it refuses, and the pictures of a generator that nobody has trained."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ganjax.data import Dataset, subsample
from ganjax.errors import ConfigError, DataError
from ganjax.gallery import animation_of, picture
from ganjax.training import Keys, draw
from ganjax.training.setup import state_shapes

FILE = Path(__file__).parents[1] / "experiments" / "video.py"


@pytest.fixture(scope="module")
def video():
    spec = importlib.util.spec_from_file_location("video", FILE)
    module = sys.modules["video"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _data(*shape, n=20):
    return Dataset(np.random.default_rng(0).integers(0, 255, (n, *shape), dtype=np.uint8), name="mine")


def _setup(video, data, **options):
    config = dataclasses.replace(video.CONFIG, **video.SMOKE, **options)
    return config, video.build(config, lambda name: data, None)


@pytest.mark.parametrize(
    ("shape", "options", "error", "sentence"),
    [
        ((8, 8, 1), {}, DataError, r"mine has images .*expected clips .*by --data bouncing:mine"),
        ((1, 8, 8, 1), {}, DataError, "a clip of one frame, which has no motion"),
        ((4, 8, 9, 1), {}, DataError, "divisible by 4"),
        ((4, 8, 8, 1), {"judged": 5}, ConfigError, "--judged is 5, expected at most 4"),
        ((4, 8, 8, 1), {"judged": 0}, ConfigError, "--judged is 0, expected at least 1"),
        ((4, 8, 8, 1), {"generator": "moved"}, ConfigError, "--sprite is 16, expected less than 8, the side of"),
        ((4, 8, 8, 1), {"sprite": 6}, ConfigError, "--sprite is 6, expected 4, 8, 12"),
        ((4, 8, 8, 1), {"mask": -1.0}, ConfigError, "--mask is -1.0, expected a number that is not negative"),
    ],
)
def test_what_no_clip_can_be_made_of_is_refused(video, shape, options, error, sentence):
    with pytest.raises(error, match=sentence):
        _setup(video, _data(*shape), **options)


def test_clips_of_two_lengths_are_refused():
    train, test = _data(4, 8, 8, 1).x_train, _data(5, 8, 8, 1).x_train
    with pytest.raises(DataError, match=r"x_test has examples of shape \(5, 8, 8, 1\), expected \(4, 8, 8, 1\)"):
        Dataset(train, x_test=test)


@pytest.mark.parametrize(
    ("options", "players"),
    [
        ({"generator": "moved", "sprite": 4}, ("frame", "clip", "generator")),
        ({"generator": "two_stream"}, ("frame", "clip", "generator")),
        ({"generator": "volume", "judges": "clip", "spectral": False}, ("clip", "generator")),
        ({"generator": "stills", "judges": "frame", "judged": 4}, ("frame", "generator")),
    ],
)
def test_every_generator_and_choice_of_judges_is_a_game(video, options, players):
    config, setup = _setup(video, _data(4, 8, 8, 1), **options)
    assert setup.game.players == players
    shapes = state_shapes(setup)
    sampler = setup.sampler()
    x = jax.eval_shape(sampler.__call__, shapes.weights, Keys.of(0).samples, jax.ShapeDtypeStruct((3,), "int32"))
    assert x.shape == (3, 4, 8, 8, 1)
    if config.generator in ("two_stream", "volume"):
        with pytest.raises(ConfigError, match=f"--frames is 9, but {config.generator} makes clips of"):
            video.longer(config, setup, 9)


def test_longer_clips_and_a_matrix_of_contents_and_motions(video, tmp_path):
    config, setup = _setup(video, _data(4, 8, 8, 1))
    rng = np.random.default_rng(1)
    state = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)).astype(leaf.dtype), state_shapes(setup))
    ones = jax.tree.map(jnp.ones_like, state.net_state)
    state = state.replace(net_state=ones, averages=jax.tree.map(jnp.zeros_like, state.averages))
    setup_9 = video.longer(config, setup, 9)
    x = draw(setup_9, state, Keys.of(0).samples, 3)
    assert x.shape == (3, 9, 8, 8, 1) and x.std(1).max() > 0
    picture(setup_9, x, tmp_path / "a.png")
    with Image.open(animation_of(tmp_path / "a.png")) as moving:
        assert moving.n_frames == 9
    panel = video.Panel(workdir=tmp_path, out=tmp_path / "m.png", contents=2, motions=3)
    paths = video.matrix(config, setup, state, panel)
    assert [path.name for path in paths] == ["m.png", "m.gif"] and all(path.exists() for path in paths)


def test_tracks_are_of_so_many_samples_over_sixteen_times_as_many_real_clips(video, tmp_path, monkeypatch):
    """A bright pixel that goes down in samples; in real clips to the right, in the second half of these to the left."""
    down, right = np.zeros((2, 5, 8, 6, 1), np.uint8)
    down[range(5), range(5), 2], right[range(5), 7, range(5)] = 255, 255
    data, asked, shown = Dataset(np.stack(50 * [right] + 50 * [right[::-1]]), name="mine"), [], []
    monkeypatch.setattr("ganjax.report.animation.track_plot", lambda *args: shown.append(args))

    def drawn(setup, state, key, count, **how):
        asked.append((key, count, how))
        return np.stack([down] * count)

    monkeypatch.setattr("ganjax.training.draw", drawn)
    setup = SimpleNamespace(streams={"data": SimpleNamespace(dataset=data)})
    panel = video.Panel(workdir=tmp_path, out=tmp_path / "t.png", what="tracks", count=3, weights="raw", seed=7)
    assert video.tracks(video.CONFIG, setup, None, panel) == [tmp_path / "t.png"]
    ((samples, real, size, out),) = shown
    np.testing.assert_array_equal(samples, np.stack(3 * [np.stack([np.arange(5), np.full(5, 2)], 1)]))
    assert real.shape == (48, 5, 2) and size == (8, 6) and out == tmp_path / "t.png"
    np.testing.assert_array_equal(real[:, 0, 1], np.where(subsample(100, 48) < 50, 0, 4))
    ((key, count, how),) = asked
    assert (real[..., 0] == 7).all() and count == 3 and how == {"weights": "raw"} and key == Keys.of(7).samples
