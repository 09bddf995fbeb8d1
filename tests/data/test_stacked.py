"""Stacked images by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.data import Dataset, load
from ganjax.data.dataset import Companion
from ganjax.data.stacked import stacked
from ganjax.errors import DataError
from ganjax.evaluation import classifier
from ganjax.evaluation.extractor import Extractor, Features
from ganjax.kinds import IMAGE

# The image of class k is filled with 10 k.
IMAGES = np.repeat(np.arange(3, dtype=np.uint8) * 10, 4).reshape(3, 2, 2, 1)
BESIDE = {"photo": Companion(IMAGES, IMAGES, IMAGE)}  # of single images: stacks have none
THREE = np.arange(3, dtype=np.int32)
BASE = Dataset(IMAGES, THREE, IMAGES, THREE, name="grey", companions=BESIDE)


def test_a_label_is_the_number_that_the_channels_spell():
    data = stacked(BASE, count=500, test_count=60)
    digits = data.x_train[:, 0, 0].astype(int) // 10  # [500, 3]
    np.testing.assert_array_equal(data.y_train, digits @ [1, 3, 9])
    assert data.shape == (2, 2, 3) and data.classes == 27 and len(data.x_test) == len(data.y_test) == 60
    assert len(np.unique(data.y_train)) == 27, "all modes are there"
    assert data.class_names[1 + 3 * 2 + 9 * 0] == "1 2 0"
    assert data.name == "stacked:grey" and not data.companions and not np.array_equal(data.x_train[:60], data.x_test)
    again, other = stacked(BASE, count=500, test_count=60), stacked(BASE, count=500, test_count=60, seed=1)
    assert again.digest == data.digest != other.digest


def test_by_name():
    data = load("stacked:digits")
    assert data.shape == (8, 8, 3) and data.classes == 1000 and len(data.x_train) == 128_000


def test_what_cannot_be_stacked_is_refused():
    colour = Dataset(np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3), np.arange(2, dtype=np.int32), name="colour")
    with pytest.raises(DataError, match=r"stacked:colour: .*\(2, 2, 3\) and labels, expected labelled grey images"):
        stacked(colour)
    with pytest.raises(DataError, match="no labels"):
        stacked(Dataset(IMAGES, name="grey"))


def test_the_classifier_of_stacks_names_each_channel(monkeypatch):
    """By one that reads the class from a pixel of a grey image."""

    def apply(weights, x):
        del weights
        level = x[:, 0, 0, :1].astype(jnp.float32) / 10
        return Features(level, -10 * (level - jnp.arange(3.0)[None]) ** 2)

    seen = []

    def trained(single, *args, **kwargs):
        del args, kwargs
        seen.append((single.shape, single.classes))
        return Extractor("classifier", "0" * 64, apply, (), "none")

    monkeypatch.setattr(classifier, "trained_classifier", trained)
    data = stacked(BASE, count=300, test_count=60)
    assert classifier.accuracy(classifier.stacked_classifier(data), data.x_test, data.y_test) == 1
    assert seen == [((2, 2, 1), 3)]
