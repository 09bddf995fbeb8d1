"""The classifier that is trained on the data: good enough to judge, kept, never trusted when damaged."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from ganjax.data import Dataset, load
from ganjax.data.chirps import chirps
from ganjax.errors import DataError
from ganjax.evaluation import classifier as module
from ganjax.evaluation.classifier import Recipe, accuracy, trained_classifier
from ganjax.evaluation.evaluate import chosen_extractor
from ganjax.evaluation.extractor import extract, pixels
from ganjax.kinds import waveforms
from ganjax.training import digest

SHORT = Recipe(steps=60)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder, and the classifier of digits that it keeps."""
    cache = tmp_path_factory.mktemp("cache")
    return cache, trained_classifier(load("digits"), cache, recipe=SHORT)


def test_it_knows_held_out_digits(kept):
    data, (_, extractor) = load("digits"), kept
    assert accuracy(extractor, data.x_test, data.y_test) > 0.9
    features, logits = extract(extractor, data.x_test)
    assert features.shape == (297, 128) and features.min() == 0 and logits.shape == (297, 10)
    np.testing.assert_allclose(accuracy(extractor, data.x_test, data.y_test), (logits.argmax(1) == data.y_test).mean())


def test_it_is_trained_once_and_read_back_bitwise(kept, monkeypatch):
    cache, first = kept
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    monkeypatch.setattr(module, "fit", lambda *args, **how: pytest.fail("trained again"))
    again = trained_classifier(load("digits"), cache, recipe=SHORT)
    assert digest(again.weights) == digest(first.weights) and again.digest == first.digest
    assert files == {path: path.stat().st_mtime_ns for path in cache.iterdir()} and len(files) == 1


def test_training_is_a_pure_function_of_data_and_recipe(kept, tmp_path):
    cache, first = kept
    assert trained_classifier(load("digits"), tmp_path, recipe=SHORT).digest == first.digest
    other = trained_classifier(load("digits"), cache, recipe=dataclasses.replace(SHORT, seed=1))
    assert other.digest != first.digest and len(list(cache.glob("*.npz"))) == 2
    relabelled = dataclasses.replace(load("digits"), y_train=(load("digits").y_train + 1) % 10)
    assert module._key(relabelled, SHORT) != module._key(load("digits"), SHORT)


@pytest.mark.parametrize("damage", ["cut", "empty", "pickle", "shape"])
def test_a_damaged_file_is_made_again(kept, tmp_path, damage):
    cache, first = kept
    path = tmp_path / f"{module._key(load('digits'), SHORT)}.npz"
    whole = (cache / path.name).read_bytes()
    if damage in ("cut", "empty"):
        path.write_bytes(whole[: len(whole) // 2 if damage == "cut" else 0])
    elif damage == "pickle":
        np.savez(path, **{"head.bias": np.array([object()])})
    else:
        np.savez(path, **{"head.bias": np.zeros(3, np.float32)})
    assert trained_classifier(load("digits"), tmp_path, recipe=SHORT).digest == first.digest
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_points_have_a_perceptron(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300).astype(np.int32)
    x = (np.array([[0, 0], [3, 0], [0, 3]])[y] + 0.3 * rng.standard_normal((300, 2))).astype(np.float32)
    extractor = trained_classifier(Dataset(x, y), tmp_path, recipe=SHORT)
    assert accuracy(extractor, x, y) > 0.98


def test_waveforms_have_convolutions_of_their_spectrograms(tmp_path):
    data = chirps(length=512, train=512, test=64)
    recipe = Recipe(steps=40, batch_size=64, learning_rate=0.02, width=4, features=16)
    extractor = trained_classifier(data, tmp_path, recipe=recipe)
    assert accuracy(extractor, data.x_test, data.y_test) > 0.9
    features, _ = extract(extractor, data.x_test[:5])
    assert features.shape == (5, 16)
    same, faster = (module._extractor(None, extractor.weights, waveforms(rate)).digest for rate in (8000, 16_000))
    assert same == extractor.digest != faster
    bare = dataclasses.replace(data, y_train=None, y_test=None, class_names=None)
    assert chosen_extractor(None, bare, progress=False).name == "pixels"


def test_data_without_classes_are_told_what_to_use(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    with pytest.raises(DataError, match=r"photos has no labels.*--extractor pixels"):
        trained_classifier(Dataset(x, name="photos"), tmp_path)
    with pytest.raises(DataError, match="has a single class"):
        trained_classifier(Dataset(x, np.zeros(20, np.int32)), tmp_path)
    with pytest.raises(ValueError, match="the extractor pixels has no logits"):
        accuracy(pixels(), x, np.zeros(20, np.int32))
    assert not list(tmp_path.iterdir())


def test_the_cache_is_where_others_keep_theirs(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert module.default_cache() == tmp_path / "ganjax" / "classifiers"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert module.default_cache() == tmp_path / "home" / ".cache" / "ganjax" / "classifiers"


@pytest.mark.parametrize("broken", ["a file for the folder", "a folder for the file", "a full disk"])
def test_a_cache_that_cannot_be_written_costs_a_warning(kept, tmp_path, monkeypatch, caplog, broken):
    _, first = kept
    monkeypatch.setattr(module, "fit", lambda *args, **how: SimpleNamespace(params={"classifier": first.weights}))
    cache = tmp_path / "cache"
    if broken == "a file for the folder":
        cache.write_text("")
    elif broken == "a folder for the file":
        (cache / f"{module._key(load('digits'), SHORT)}.npz").mkdir(parents=True)
    else:

        def full(path, content):
            raise OSError(28, "No space left on device", str(path))

        monkeypatch.setattr(module, "write_atomically", full)
    assert trained_classifier(load("digits"), cache, recipe=SHORT).digest == first.digest
    (said,) = [record.getMessage() for record in caplog.records]
    assert "the classifier cannot be kept" in said and "XDG_CACHE_HOME" in said and str(cache) in said


def test_the_cache_lies_where_it_is_asked_for_and_never_here(monkeypatch):
    for value, expected in (("/some/where", "/some/where"), ("", "/home/me/.cache"), (None, "/home/me/.cache")):
        monkeypatch.setenv("HOME", "/home/me")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        if value is not None:
            monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert str(module.default_cache()) == f"{expected}/ganjax/classifiers"
