"""The pictures of a run: which real data they show beside samples."""

from types import SimpleNamespace

import numpy as np
import pytest

from ganjax import gallery
from ganjax.core import Sampler
from ganjax.data import Dataset
from ganjax.data.text import Vocabulary, tokens
from ganjax.data.wav import read_wav
from ganjax.kinds import waveforms
from ganjax.training import Setup, Stream

Y = np.repeat(np.arange(4, dtype=np.int32), 50)  # class after class, as a folder is read


@pytest.fixture
def shown(monkeypatch):
    """What the drawing functions are given."""
    found = {}
    monkeypatch.setattr(gallery, "scatter", lambda x, path, **options: found.update(options))
    monkeypatch.setattr(gallery, "nearest_neighbours", lambda x, train, path, **options: found.update(options))
    monkeypatch.setattr(gallery, "panel", lambda *args: None)
    monkeypatch.setattr(
        gallery, "draw", lambda setup, state, key, count, given=None: np.zeros((count, 4, 4, 1), np.uint8)
    )
    return found


def _setup(dataset):
    return Setup(None, None, {"data": Stream(dataset, 1)}, samplers={"x": Sampler(("one",), "data")})


def test_points_are_drawn_over_a_sample_of_the_data(shown, tmp_path):
    x = np.stack([Y, Y], 1).astype(np.float32)
    gallery.picture(_setup(Dataset(x)), x[:60], tmp_path / "a.png")
    assert set(shown["reference"][:, 0]) == {0, 1, 2, 3} and len(shown["reference"]) == 60


@pytest.mark.parametrize(
    ("width", "title"), [(1, "the only coordinate"), (2, None), (3, "the first two of 3 coordinates")]
)
def test_points_of_any_width_are_drawn_in_a_plane(width, title, tmp_path, monkeypatch):
    drawn, scatter = [], gallery.scatter
    monkeypatch.setattr(gallery, "scatter", lambda x, path, **options: drawn.append((x, options)) or scatter(x, path))
    x = np.random.default_rng(0).normal(size=(50, width)).astype(np.float32)
    gallery.picture(_setup(Dataset(x)), x, tmp_path / "a.png")
    ((points, options),) = drawn
    expected = np.concatenate([x, 0 * x], 1)[:, :2] if width == 1 else x[:, :2]
    np.testing.assert_array_equal(points, expected)
    np.testing.assert_array_equal(np.sort(options["reference"], 0), np.sort(expected, 0))
    assert options["title"] == title and (tmp_path / "a.png").exists()


def test_samples_of_a_run_that_are_texts_are_kept_as_such(tmp_path, monkeypatch):
    words = tokens(Vocabulary(("a", "b", " "), "character"))
    setup = _setup(Dataset(np.array([[2, 4, 3]], np.int32), x_kind=words))
    monkeypatch.setattr(gallery, "in_turn", lambda *args: SimpleNamespace(values=None))
    monkeypatch.setattr(gallery, "draw", lambda *args: np.array([[2, 4, 3], [3, 3, 4]]))
    monkeypatch.setattr(gallery, "texts", lambda lines, path: lines)
    assert gallery._samples(setup, None, 0, tmp_path / "1.png") == ["a b", "bb "]
    assert (tmp_path / "1.txt").read_text() == "a b\nbb \n"


def test_neighbours_have_a_sample_of_held_out_images_as_control(shown, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "COUNT", 10)
    x = np.broadcast_to(Y[:, None, None, None].astype(np.uint8) * 9, (200, 4, 4, 1))
    setup = _setup(Dataset(x, Y, x, Y))
    gallery._draw(setup, SimpleNamespace(step=3), 0, tmp_path, curved=False)
    assert set(shown["held_out"].ravel() // 9) == {0, 1, 2, 3} and len(shown["held_out"]) == 40


def test_an_image_its_translation_and_the_way_back_stand_under_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "draw", lambda setup, state, key, count, given, sampler: given + DRAWN[sampler])
    monkeypatch.setattr(gallery, "grid", lambda x, columns: x)
    monkeypatch.setattr(gallery, "_save", lambda strips, path: shown.append(strips))
    shown, drawn = [], lambda *_: None
    shades = np.arange(20, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2)
    a, b = (Dataset(k + shades % 2 * 100, name=str(k)) for k in (10, 20))
    samplers = {
        "a_to_b": Sampler(("g",), "b", drawn, given=("a", "x")),
        "b_to_a": Sampler(("f",), "a", drawn, given=("b", "x")),
        "back": Sampler(("g", "f"), "a", drawn, given=("a", "x")),
        "prior": Sampler(("g",), "a", drawn),
    }
    setup = Setup(None, None, {"a": Stream(a, 1), "b": Stream(b, 1)}, samplers=samplers)
    gallery._made(setup, None, 0, tmp_path / "made.png")
    ((captions, strips, _),) = shown
    assert captions == ["given", "a_to_b", "back", "given", "b_to_a"]
    assert [int(strip.min()) for strip in strips] == [10, 11, 13, 20, 22]


DRAWN = {"a_to_b": 1, "b_to_a": 2, "back": 3}


def test_waveforms_are_seen_and_heard(tmp_path):
    """The first sixteen as spectrograms, all as WAV files that hold what was drawn; the brightest row is the tone's."""
    t = np.arange(256) / 8000
    x = (9000 * np.sin(2 * np.pi * np.array([[1000.0], [3000.0]]) * t)).astype(np.int16)
    setup = _setup(Dataset(x, x_kind=waveforms(8000)))
    image = gallery.picture(setup, x, tmp_path / "a.png")
    assert image.shape[-1] == 3 and (tmp_path / "a.png").exists()
    found = [read_wav(path) for path in sorted((tmp_path / "a").iterdir())]
    assert [rate for _, rate in found] == [8000, 8000]
    np.testing.assert_array_equal([one for one, _ in found], x)
    coloured = image.astype(int).sum(-1) * (np.ptp(image.astype(int), axis=-1) > 20)
    low, high = (coloured[:, int(part * image.shape[1])].argmax() for part in (0.18, 0.42))
    assert high < low - 50  # 3 kHz stands above 1 kHz
    gallery.picture(_setup(Dataset(x[:, :40], x_kind=waveforms(8000))), x[:, :40], tmp_path / "short.png")
    assert (tmp_path / "short.png").exists() and not (tmp_path / "short").exists()
