"""Domains: no pair is in training, the truth stays with its image, and sizes are brought together."""

import dataclasses

import numpy as np
import pytest

from ganjax.data import Companion, Dataset, load
from ganjax.data.unpaired import TRUTH, resized, unpaired
from ganjax.errors import DataError
from ganjax.kinds import IMAGE


def _pairs(count, test=5):
    """Image i is of the grey level i, its companion of the level i + 100, in colour."""
    x = np.arange(count + test, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    other = np.repeat(x + 100, 3, axis=-1)
    y = np.arange(count + test, dtype=np.int32) % 3
    cut = lambda z: (z[:count], z[count:])  # noqa: E731
    (x_train, x_test), (y_train, y_test) = cut(x), cut(y)
    return Dataset(x_train, y_train, x_test, y_test, companions={"drawing": Companion(*cut(other), IMAGE)})


def test_no_pair_is_in_training_and_the_truth_stays_with_its_image():
    a, b = unpaired(_pairs(70), "drawing")
    of_a, of_b = a.x_train[:, 0, 0, 0] - 100, b.x_train[:, 0, 0, 0]
    assert len(of_a) == len(of_b) == 35 and not {*of_a.tolist()} & {*of_b.tolist()}
    assert len({*of_a.tolist(), *of_b.tolist()}) == 70
    for own, shift in ((a, 156), (b, 100)):
        for split in ("train", "test"):
            x, truth = getattr(own, f"x_{split}"), own.y(TRUTH, split)
            assert (x[:, 0, 0, 0] + np.uint8(shift) == truth[:, 0, 0, 0]).all()
    assert (a.y_train == of_a % 3).all() and (a.y_test == b.y_test).all() and len(a.x_test) == 5
    again = unpaired(_pairs(70), "drawing")
    assert a.digest == again[0].digest != b.digest


def test_few_pairs_are_not_halved_and_what_is_no_image_is_refused():
    assert [len(one.x_train) for one in unpaired(_pairs(9), "drawing")] == [9, 9]
    with pytest.raises(DataError, match=r"with the companion 'caption' of tokens \[N, L\], expected images"):
        unpaired(load("fluent_emoji"), "caption")
    with pytest.raises(DataError, match="no 'sketch' with its examples"):
        unpaired(_pairs(9), "sketch")


def test_other_images_go_through_the_same():
    """What is to be translated is framed with the colour of the training set's corners, not of its own."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (9, 6, 6, 1), dtype=np.uint8)
    x[:, [0, 0, -1, -1], [0, -1, 0, -1]] = 40
    ready = resized(Dataset(x, x_test=255 - x, name="x"), 8, pad=2, channels=3)
    np.testing.assert_array_equal(ready.form(x), ready.x_train)
    np.testing.assert_array_equal(ready.form(255 - x), ready.x_test)
    assert (ready.form(255 - x)[:, 0] == 40).all()
    assert dataclasses.replace(ready, name="y").form is ready.form


def test_images_are_padded_then_resized_and_grey_ones_repeated():
    """16 + 2 * 3 to 32 pixels: a digit that fills its frame fills 16 / 22 of it; corners are black, and so the pad."""
    x = np.zeros((3, 16, 16, 1), np.uint8)
    x[:, :, 2:14] = 255
    x[:, 0, 0] = 0
    data = resized(Dataset(x, x_test=x), 32, pad=3, channels=3)
    assert data.shape == (32, 32, 3) and data.x_test.shape == (3, 32, 32, 3)
    ink = data.x_train[0, :, :, 1] > 127
    assert abs(ink.any(1).sum() - 32 * 16 / 22) <= 1 and abs(ink.any(0).sum() - 32 * 12 / 22) <= 1
    assert (data.x_train[..., 0] == data.x_train[..., 2]).all()
    white = resized(Dataset(255 - x), 0, pad=1)
    assert white.shape == (18, 18, 1) and (white.x_train[:, 0] == 255).all()
    assert resized(data) is data


def test_companions_that_are_images_go_along_and_colours_are_not_guessed():
    pairs = resized(_pairs(9), 8)
    assert pairs.y("drawing").shape == (9, 8, 8, 3) and pairs.y("drawing", "test").shape == (5, 8, 8, 3)
    assert (pairs.x_train[:, 0, 0, 0] == np.arange(9)).all()
    with pytest.raises(DataError, match="has 3 channels, expected 1 or 4"):
        resized(Dataset(np.repeat(_pairs(9).x_train, 3, -1)), channels=4)
    with pytest.raises(DataError, match="expected images"):
        resized(load("ring"), 8)
