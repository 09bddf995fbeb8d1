"""The one entry point, and what importing it does not do."""

import subprocess
import sys

import pytest

from ganjax.data import KNOWN, catalogue, load
from ganjax.errors import DataError


def test_known_names():
    assert list(KNOWN) == ["chirps", "digits", "fashion_mnist", "fluent_emoji", "glyphs", "grid", "ring", "swiss_roll"]


@pytest.mark.parametrize(
    "name, hint",
    [("fashon_mnist", ': did you mean "fashion_mnist"?'), ("Ring", ': did you mean "ring"?'), ("qqq", ".")],
)
def test_an_unknown_name_is_one_sentence_with_a_suggestion(name, hint):
    with pytest.raises(DataError) as caught:
        load(name)
    assert str(caught.value) == (
        f'unknown data set "{name}"{hint} Known: chirps, digits, fashion_mnist, fluent_emoji, glyphs, grid, ring, '
        "swiss_roll, tfds:NAME, stacked:NAME, bouncing:NAME, spinning:NAME, oracle:WORDS, "
        "a path to an .npz file or a folder of images or WAV files"
    )
    assert caught.value.exit_code == 5


def test_a_path_that_is_not_there_is_no_unknown_name():
    with pytest.raises(DataError, match=r"^some/where: no such folder; give the path of a folder of images$"):
        load("some/where")


def test_a_known_name_wins_over_a_folder(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(load("digits").x_train) == 1500
    with pytest.raises(DataError, match="the folder holds no images"):
        load("./digits")


def test_importing_loads_no_reader_and_starts_no_device():
    program = """
import sys, ganjax.data
heavy = {"tensorflow_datasets", "tensorflow", "sklearn", "PIL", "tqdm"} & set(sys.modules)
assert not heavy, heavy
if "jax" in sys.modules:
    from jax._src import xla_bridge
    assert not xla_bridge._backends
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["a\0b/c", "x" * 300 + "/", "x" * 5000 + ".npz", "~no such user/photos", "\udcff/x"])
def test_a_path_that_no_system_has_is_bad_data(name):
    with pytest.raises(DataError) as caught:
        load(name)
    sentence = str(caught.value)
    assert sentence.isprintable() and len(sentence) < 500
    assert "not a path that can be read" in sentence or "no such folder" in sentence


def test_prepared_sets_may_lie_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(catalogue, "load_tfds", lambda name, data_dir, lazy: data_dir)
    assert [load("tfds:a", where) for where in ("~/b", "b", None)] == ["/home/me/b", "b", None]
