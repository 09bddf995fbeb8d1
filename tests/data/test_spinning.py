"""Clips of images that turn: quarter turns are exact, and every frame has the same law."""

import numpy as np
import pytest

from ganjax.data import KNOWN, Dataset, load, subsample
from ganjax.data.spinning import STEPS, spinning, turned
from ganjax.errors import DataError


def _images(count, side, seed=0):
    x = np.random.default_rng(seed).integers(1, 256, (count, side, side, 1), dtype=np.uint8)
    return Dataset(x, np.arange(count, dtype=np.int32) % 3, x[:2], np.zeros(2, np.int32), name="noise")


@pytest.mark.parametrize("side", [6, 7])
def test_quarter_turns_move_whole_pixels_to_the_left(side):
    x = _images(3, side).x_train[..., 0]
    for quarters in range(-3, 5):
        np.testing.assert_array_equal(turned(x, 90 * quarters), np.rot90(x, quarters, (1, 2)))


def test_between_them_the_centre_of_what_is_bright_goes_around():
    """Of a block 3 rows above and 3 columns to the right of the middle; mean places and ink are kept, nearly."""
    x = np.zeros((1, 15, 15), np.uint8)
    x[0, 3:6, 9:12] = 240
    for angle in (15, 100, -45):
        light = turned(x, angle)[0] / 1.0
        row, column = (light.sum(axis) @ (np.arange(15) - 7) / light.sum() for axis in (1, 0))
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        np.testing.assert_allclose((row, column), (-3 * cos - 3 * sin, -3 * sin + 3 * cos), atol=0.05)
        np.testing.assert_allclose(light.sum(), 9 * 240, rtol=0.03)


def test_clips_turn_at_the_speed_that_they_are_told_to():
    """And angles are as likely as one another at every time: chi squared of 23 degrees, beyond 49.7 once in 1,000."""
    data = spinning(_images(2400, 1), frames=6, side=4)
    assert data.kind.name == "clip" and data.shape == (6, 4, 4, 1) and data.name == "spinning:noise"
    first, speed = data.companions["turn"].train.T
    assert set(np.unique(np.abs(speed))) == {15, 30, 45} and 1100 < (speed > 0).sum() < 1300
    for t in (0, 5):
        seen = np.bincount(np.round((first + speed * t) / 15).astype(int) % STEPS, minlength=STEPS)
        assert ((seen - 100) ** 2 / 100).sum() < 49.7
    base, placed = _images(8, 12), np.zeros((8, 18, 18), np.uint8)
    small, rows = spinning(base, frames=5, side=18), subsample(8, 8)
    placed[:, 3:15, 3:15] = base.x_train[rows, ..., 0]
    np.testing.assert_array_equal(small.y_train, base.y_train[rows])
    turns = small.companions["turn"].train.astype(float)
    for one, clip, (angle, step) in zip(placed, small.x_train[..., 0], turns, strict=True):
        for t in range(5):
            np.testing.assert_array_equal(clip[t], turned(one[None], (angle + t * step) % 360)[0])


def test_by_name_and_what_cannot_turn_is_refused(monkeypatch):
    monkeypatch.setitem(KNOWN, "digits", lambda: _images(4, 8))
    assert load("spinning:digits").shape == (16, 32, 32, 1)
    colour = Dataset(np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3), name="colour")
    with pytest.raises(DataError, match=r"spinning:colour: it has .* expected grey images"):
        spinning(colour)
    with pytest.raises(DataError, match="images of 20x20 pixels do not turn in frames of 28"):
        spinning(_images(4, 20), side=28)
    with pytest.raises(ValueError, match="frames"):
        spinning(_images(4, 20), frames=0)
