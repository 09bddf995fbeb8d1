"""Maps of labels made of images, against scikit-learn and counting."""

import numpy as np
import pytest

from ganjax.data import Dataset, load
from ganjax.data.layout import LAYOUT, layouts, palette, with_layout
from ganjax.errors import DataError

COLOURS = np.array([[0, 0, 0], [200, 30, 30], [30, 200, 200], [255, 255, 255]], np.uint8)


def _images(noise=6, count=20):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (count, 8, 8))
    x = COLOURS[labels].astype(int) + rng.integers(-noise, noise + 1, (count, 8, 8, 3))
    return x.clip(0, 255).astype(np.uint8), labels


def test_colours_are_found_and_each_pixel_gets_the_nearest():
    x, labels = _images()
    data, found = with_layout(Dataset(x[:15], x_test=x[15:]), 4)
    assert np.abs(found.astype(int) - COLOURS).max() <= 4, "the darkest first"
    made = data.companions[LAYOUT]
    np.testing.assert_array_equal(np.concatenate([made.train, made.test]), labels)
    assert data.y_kind(LAYOUT).name == "map" and made.train.dtype == np.int32
    np.testing.assert_array_equal(palette(x[:15], 4), found)


def test_the_nearest_is_that_of_whole_numbers_and_ties_go_to_the_first():
    x = np.random.default_rng(1).integers(0, 256, (3, 5, 4, 2)).astype(np.uint8)
    colours = np.array([[0, 0], [9, 200], [255, 255], [9, 200]], np.uint8)
    away = ((x[..., None, :].astype(int) - colours.astype(int)) ** 2).sum(-1)
    np.testing.assert_array_equal(layouts(x, colours), away.argmin(-1))


def test_fewer_colours_than_asked_for_and_what_has_none():
    x = np.zeros((2, 4, 4, 1), np.uint8)
    x[1] = 255
    data, found = with_layout(Dataset(x), 5)
    assert found.ravel().tolist() == [0, 255, 255, 255, 255] and data.companions[LAYOUT].train.max() == 1
    with pytest.raises(DataError, match=r"has points \[N, D\], expected images"):
        with_layout(load("ring"), 3)
