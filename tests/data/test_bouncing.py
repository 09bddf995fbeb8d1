"""Clips of bouncing digits against a step-by-step simulation, and the laws that they obey."""

import numpy as np
import pytest

from ganjax.data import Dataset, load
from ganjax.data.bouncing import bounced, bouncing
from ganjax.errors import DataError


def _images(count, side, seed=0):
    x = np.random.default_rng(seed).integers(1, 256, (count, side, side, 1), dtype=np.uint8)
    return Dataset(x, np.arange(count, dtype=np.int32) % 3, x[:2], np.zeros(2, np.int32), name="noise")


@pytest.mark.fault("SVG moving_mnist: a digit is put at the wall instead of being reflected by it")
def test_the_triangle_wave_is_step_and_reflect():
    length = 7
    for start in range(2 * length):
        for speed in (1, 2, 3):
            x, v = (start, speed) if start <= length else (2 * length - start, -speed)
            track = []
            for _ in range(30):
                track.append(x)
                x += v
                if x < 0 or x > length:
                    x, v = (-x if x < 0 else 2 * length - x), -v
            np.testing.assert_array_equal(bounced(start, speed, 30, length), track)


def test_every_frame_has_the_same_law_and_so_has_the_way_back():
    """Over all phases: places, and pairs of neighbours in either order of time."""
    length = 5
    tracks = bounced(np.arange(2 * length), 3, 9, length)
    for t in range(1, 9):
        np.testing.assert_array_equal(np.sort(tracks[:, t]), np.sort(tracks[:, 0]))
        forth = sorted(zip(tracks[:, t - 1], tracks[:, t], strict=True))
        assert forth == sorted(zip(tracks[:, t], tracks[:, t - 1], strict=True))


@pytest.mark.fault("SVG moving_mnist: the share of digits at a wall grows from frame to frame")
def test_the_places_of_drawn_clips_have_the_same_law_at_all_times():
    """That of a circle of 24 phases, in six parts: a chi squared of 5 degrees is beyond 20.5 once in 1,000."""
    clips = bouncing(_images(6000, 1), frames=10, side=14).x_train[..., 0] > 0  # doubled: 12 pixels to move
    law = np.bincount(bounced(np.arange(24), 0, 1, 12)[:, 0] * 6 // 13, minlength=6) / 24
    for axis in (3, 2):
        places = clips.any(axis).argmax(2)
        for t in (0, 4, 9):
            seen, expected = np.bincount(places[:, t] * 6 // 13, minlength=6), len(clips) * law
            assert ((seen - expected) ** 2 / expected).sum() < 20.5


def test_ink_is_kept_and_the_track_is_that_of_the_motion():
    base = _images(40, 20)
    data = bouncing(base, frames=12, side=32)
    assert data.kind.name == "clip" and data.shape == (12, 32, 32, 1) and data.name == "bouncing:noise"
    clips = data.x_train[..., 0].astype(int)
    assert (clips.sum((2, 3)) == clips[:, :1].sum((2, 3))).all()
    boxes = (clips > 0).any(3).argmax(2), (clips > 0).any(2).argmax(2)  # the first bright row and column
    motion = data.companions["motion"].train
    for track, (place, speed) in zip(boxes, (motion[:, :2].T, motion[:, 2:].T), strict=True):
        np.testing.assert_array_equal(track[:, 0], place)
        phase = np.where(speed > 0, place, 24 - place).astype(int)
        np.testing.assert_array_equal(track, bounced(phase, np.abs(speed).astype(int), 12, 12))
        assert set(np.abs(speed)) == {1, 2, 3} and (speed < 0).any()
    first = clips[np.arange(40)[:, None, None], 0, (boxes[0][:, 0, None] + np.arange(20))[:, :, None],
                  (boxes[1][:, 0, None] + np.arange(20))[:, None]]  # fmt: skip
    for clip, y in zip(first, data.y_train, strict=True):
        assert any(
            np.array_equal(clip, x[..., 0]) and y == label for x, label in zip(base.x_train, base.y_train, strict=True)
        )


def test_the_brighter_pixel_of_two_is_seen():
    one, two = (bouncing(_images(30, 20), frames=3, at_once=n) for n in (1, 2))
    assert (two.x_train >= one.x_train).all() and (two.x_train > one.x_train).any()
    assert set(np.unique(two.x_train)) <= set(range(256)) and two.x_train.shape == one.x_train.shape


def test_by_name_and_always_the_same():
    data = load("bouncing:digits")
    assert data.shape == (16, 32, 32, 1) and len(data.x_train) == 1500 and data.classes == 10
    small = bouncing(_images(30, 20), count=9)
    assert len(small.x_train) == 9 and small.digest == bouncing(_images(30, 20), count=9).digest
    assert small.digest != bouncing(_images(30, 20), count=9, seed=1).digest


def test_what_cannot_bounce_is_refused():
    colour = Dataset(np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3), name="colour")
    with pytest.raises(DataError, match="expected grey images"):
        bouncing(colour)
    with pytest.raises(DataError, match="do not move in frames of 20"):
        bouncing(_images(4, 20), side=20)
    with pytest.raises(ValueError, match="frames"):
        bouncing(_images(4, 20), frames=0)
