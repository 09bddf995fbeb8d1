"""Prepared TensorFlow Datasets: a small builder of our own is prepared once, without TensorFlow or a network."""

import re
import shutil
import socket
import sys
import time

import numpy as np
import pytest
from PIL import Image

from ganjax.data import LazyImages, load
from ganjax.errors import DataError

tfds = pytest.importorskip("tensorflow_datasets")

COUNTS = {"train": 7, "test": 3}
COLOURS = ["red", "green", "blue"]


def image(split, i):
    return np.random.default_rng((i, len(split))).integers(0, 256, (6, 5, 3), np.uint8)


class GanjaxTiny(tfds.core.GeneratorBasedBuilder):
    """Seven training and three test images of noise, 6x5x3, in three classes."""

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # TFDS looks it up with importlib_resources, which the extra `prepare` brings
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(6, 5, 3)), "label": tfds.features.ClassLabel(names=COLOURS)}
    )
    splits = ("train", "test")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=self.features, license="CC0")

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in self.splits}

    def _generate_examples(self, split):
        for i in range(COUNTS[split]):
            yield i, {"image": Image.fromarray(image(split, i)), "label": COLOURS[i % 3]}


class GanjaxRagged(GanjaxTiny):
    """Images of two sizes, and no labels."""

    features = tfds.features.FeaturesDict({"photo": tfds.features.Image(shape=(None, None, 3))})
    splits = ("train",)

    def _generate_examples(self, split):
        yield 0, {"photo": Image.fromarray(image(split, 0))}
        yield 1, {"photo": Image.fromarray(image(split, 1)[:4])}


class GanjaxSilent(GanjaxTiny):
    """No image at all."""

    features = tfds.features.FeaturesDict({"label": tfds.features.ClassLabel(names=COLOURS)})
    splits = ("train",)

    def _generate_examples(self, split):
        yield 0, {"label": "red"}


class GanjaxUntrained(GanjaxTiny):
    """A test split alone."""

    splits = ("test",)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    for builder in (GanjaxTiny, GanjaxRagged, GanjaxSilent, GanjaxUntrained):
        builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


pytestmark = pytest.mark.usefixtures("no_network")


def refused(name, data_dir):
    """The sentence with which `load` refuses the set."""
    with pytest.raises(DataError) as caught:
        load(name, None if data_dir is None else str(data_dir))
    sentence = str(caught.value)
    assert sentence.startswith(name) and "\n" not in sentence
    return sentence


def test_reads_every_example_of_both_splits(data_dir):
    data = load("tfds:ganjax_tiny", data_dir)
    for split, x, y in (("train", data.x_train, data.y_train), ("test", data.x_test, data.y_test)):
        expected = {image(split, i).tobytes(): i % 3 for i in range(COUNTS[split])}  # TFDS shuffles when it prepares
        assert {a.tobytes(): b for a, b in zip(x, y, strict=True)} == expected
        assert len(x) == COUNTS[split]
    assert (data.x_train.dtype, data.y_train.dtype) == (np.uint8, np.int32)
    assert (data.name, data.licence, data.class_names) == ("tfds:ganjax_tiny", "CC0", tuple(COLOURS))
    assert load("tfds:ganjax_tiny:1.0.0", data_dir).digest == data.digest


def test_unprepared_says_how_to_prepare_at_once(tmp_path):
    start = time.monotonic()
    sentence = refused("tfds:mnist", tmp_path)
    assert time.monotonic() - start < 2
    command = f'tfds.builder("mnist", file_format="array_record", data_dir="{tmp_path}").download_and_prepare()'
    assert sentence == (
        f"tfds:mnist: not prepared, nothing in {tmp_path}/mnist/3.0.1; prepare it once: "
        f"pip install \"ganjax[prepare]\" && python -c 'import tensorflow_datasets as tfds; {command}'"
    )
    assert not list(tmp_path.iterdir())


def test_the_command_that_it_gives_does_prepare(tmp_path):
    command = re.search(r"tfds; (.*)'$", refused("tfds:ganjax_tiny", tmp_path))[1]
    exec(command, {"tfds": tfds})
    assert len(load("tfds:ganjax_tiny", str(tmp_path)).x_train) == 7


@pytest.mark.parametrize("name", ["mnits", "mnits/a", "mnits:1.0.0"])
def test_unknown_name_with_a_suggestion(tmp_path, name):
    sentence = refused(f"tfds:{name}", tmp_path)
    assert sentence == f'tfds:{name}: TFDS knows no such data set: did you mean "mnist"?'


def test_unknown_name_without_one(tmp_path):
    sentence = refused("tfds:qqqqqqqq", tmp_path)
    assert sentence == "tfds:qqqqqqqq: TFDS knows no such data set; see tensorflow.org/datasets"


def test_unknown_config(tmp_path):
    assert "emnist" in refused("tfds:emnist/leters", tmp_path)


@pytest.mark.parametrize("name", ["", "huggingface:mnist", "../mnist", "/etc", "a b", "mnist/../x/y", "mnist[:10]"])
def test_refuses_what_is_no_name(tmp_path, name):
    assert 'not a name; expected for example "tfds:mnist"' in refused(f"tfds:{name}", tmp_path)


def test_tfds_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    sentence = refused("tfds:mnist", tmp_path)
    assert "tensorflow_datasets cannot be imported" in sentence
    assert sentence.endswith("pip install tensorflow-datasets")


def test_images_of_two_sizes(data_dir):
    sentence = refused("tfds:ganjax_ragged", data_dir)
    assert "example 1: the image has shape" in sentence and "expected images of one size" in sentence


def test_no_images(data_dir):
    assert "image features none, expected one, or one named image" in refused("tfds:ganjax_silent", data_dir)


def test_no_training_split(data_dir):
    assert "there is no split train, found test; use another" in refused("tfds:ganjax_untrained", data_dir)


@pytest.fixture
def copy(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path / "copy")
    return tmp_path / "copy"


def test_another_format(copy):
    info = copy / "ganjax_tiny" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    sentence = refused("tfds:ganjax_tiny", copy)
    assert "is prepared as tfrecord, not array_record; remove it and prepare it once: pip install" in sentence


def test_images_are_left_on_disk(data_dir, monkeypatch):
    """When asked, or where they are more than fits: the same images and labels, whatever is read first."""
    whole, lazy = load("tfds:ganjax_tiny", data_dir), load("tfds:ganjax_tiny", data_dir, lazy=True)
    monkeypatch.setattr("ganjax.data.memory.MAX_BYTES", 7 * 6 * 5 * 3 - 1)
    large = load("tfds:ganjax_tiny", data_dir)
    for data in (lazy, large):
        assert isinstance(data.x_train, LazyImages) and data.x_train.shape == (7, 6, 5, 3)
        np.testing.assert_array_equal(data.x_train[[5, 0, 5]], whole.x_train[[5, 0, 5]])
        np.testing.assert_array_equal(data.y_train, whole.y_train)
        np.testing.assert_array_equal(data.y_test, whole.y_test)
    np.testing.assert_array_equal(lazy.x_test, whole.x_test)
    assert isinstance(large.x_test, np.ndarray), "which does fit"
    assert lazy.digest == load("tfds:ganjax_tiny", data_dir, lazy=True).digest != whole.digest


def test_lazy_images_of_two_sizes(data_dir):
    data = load("tfds:ganjax_ragged", data_dir, lazy=True)
    with pytest.raises(DataError, match=r"train example 1: the image has shape .* expected images of one size"):
        data.x_train[:]


def records(copy):
    return next((copy / "ganjax_tiny" / "1.0.0").glob("*train.array_record*"))


def test_a_missing_file_of_records(copy):
    records(copy).unlink()
    assert "cannot be read" in refused("tfds:ganjax_tiny", copy)


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_truncated_file_of_records(copy, share):
    raw = records(copy).read_bytes()
    records(copy).write_bytes(raw[: int(len(raw) * share)])
    sentence = refused("tfds:ganjax_tiny", copy)
    assert "cannot be read" in sentence and sentence.endswith("and prepare it again")


def test_a_file_that_is_damaged_later(copy):
    """What is read when asked for is checked when read."""
    data = load("tfds:ganjax_tiny", str(copy), lazy=True)
    raw = bytearray(records(copy).read_bytes())
    raw[100:1500] = bytes(1400)
    records(copy).write_bytes(raw)
    with pytest.raises(DataError, match=r"tfds:ganjax_tiny train: cannot be read .*and prepare it again"):
        data.x_train[:]
