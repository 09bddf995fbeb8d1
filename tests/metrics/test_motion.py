"""Tracks against the law of bouncing, classes that stay, and the two controls."""

import numpy as np
import pytest

from ganjax.data import Dataset
from ganjax.data.bouncing import FASTEST, bouncing
from ganjax.metrics.motion import (
    at_rest,
    centres,
    frozen,
    identity,
    ink_variation,
    motion_consistency,
    shuffled,
    straightness,
)


@pytest.fixture(scope="module")
def clips():
    base = Dataset(np.random.default_rng(0).integers(128, 256, (60, 12, 12, 1), dtype=np.uint8), name="noise")
    return bouncing(base, frames=12, side=24).x_train


def test_the_centre_of_two_pixels_by_hand():
    x = np.zeros((1, 3, 4, 6, 1), np.uint8)
    x[0, 0, 1, 2], x[0, 0, 3, 4] = 255, 255
    x[0, 1, 1, 2], x[0, 1, 3, 4] = 255, 20  # less than a tenth is background
    found = centres(x)[0]
    np.testing.assert_allclose(found[:2], [[2, 3], [1, 2]], atol=1e-12)
    assert np.isnan(found[2]).all(), "a dark frame has no centre"


def test_the_simulator_obeys_its_law_and_the_controls_do_not(clips):
    def consistency(x):
        return motion_consistency(centres(x), (12, 12), fastest=FASTEST)

    assert (consistency(clips) == 1).all()
    assert consistency(clips[:, ::-1]).min() == 1, "the law is the same backwards"
    assert consistency(shuffled(clips)).mean() < 0.3 and consistency(frozen(clips)).mean() < 0.3
    tracks = centres(clips)
    offset = tracks + np.array([5.25, -3.5])
    assert (motion_consistency(offset, (12, 12), fastest=FASTEST) == 1).all(), "where the walls are does not matter"
    wrong = motion_consistency(tracks, (5, 5), fastest=FASTEST).mean()
    assert wrong < 0.7, "how far apart they are does"


def test_steps_that_count_by_hand():
    t = np.arange(8.0)
    straight = np.stack([20 - np.abs(t * 2 - 14), t + 1], -1)[None]  # a wall at the end of the rows
    assert motion_consistency(straight, (20, 20), fastest=3) == 1
    jump = straight.copy()
    jump[0, 4:, 1] += 6  # one step of seven is none of the law
    np.testing.assert_allclose(motion_consistency(jump, (20, 20), fastest=3), 6 / 7)
    dark = straight.copy()
    dark[0, 3] = np.nan
    np.testing.assert_allclose(motion_consistency(dark, (20, 20), fastest=3), 5 / 7)
    fast = np.stack([4 * t, t], -1)[None]
    assert motion_consistency(fast, (40, 40), fastest=3) == 0
    assert motion_consistency(fast, (40, 40), fastest=4) == 1
    between = np.stack([1.5 * t, 2.25 * t], -1)[None]
    assert motion_consistency(between, (40, 40), fastest=3) == 1, "speeds between whole pixels are lawful"


def test_the_simulator_goes_straight_on_and_keeps_its_ink(clips):
    def straight(x):
        return straightness(centres(x), (24, 24), (12, 12), fastest=FASTEST)

    assert straight(clips) == straight(frozen(clips)) == 1 and straight(shuffled(clips)) < 0.7
    assert straightness(centres(clips), (24, 24), (18, 18), fastest=FASTEST) < 1, "walls that are taken to be farther"
    assert at_rest(centres(clips)).max() == 0 and (at_rest(centres(frozen(clips))) == 1).all()
    np.testing.assert_allclose(ink_variation(clips), 0, atol=1e-12)
    half = clips.copy()
    half[:, 6:] = 0
    np.testing.assert_allclose(ink_variation(half), 1, atol=1e-12)


def test_frames_that_go_straight_on_by_hand():
    t = np.arange(7.0)
    track = np.stack([6 + t, np.full(7, 9.0)], -1)[None]  # rows 6 to 12 of 20, of which 7.25 to 11.75 are away

    def straight(tracks):
        return straightness(tracks, (20, 20), (10, 10), fastest=1.5)

    assert straight(track) == 1
    bent = track.copy()
    bent[0, 3:, 0] += 0.6  # two of the four second differences of rows, and none of the five of columns
    np.testing.assert_allclose(straight(bent), 7 / 9)
    beside = bent - np.array([4.0, 0])  # only its last inner frame is away now
    assert straight(beside) == 1
    dark = bent.copy()
    dark[0, 2] = np.nan
    assert straight(dark) == 1
    assert straight(track - 6) == 0, "nothing is ever away"


def test_identity_and_controls_by_hand():
    np.testing.assert_allclose(identity([[1, 1, 1, 1], [0, 1, 1, 2], [3, 2, 1, 0]]), [1, 0.5, 0.25])
    x = np.arange(12).reshape(2, 6, 1)
    mixed = shuffled(x)
    assert (np.sort(mixed, 1) == x).all() and (mixed != x).any() and (mixed[1] - 6 != mixed[0]).any()
    assert (frozen(x) == x[:, :1]).all() and frozen(x).shape == x.shape


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: centres(np.zeros((1, 2, 4, 4, 1))), TypeError, "float64, expected uint8 clips"),
        (lambda: centres(np.zeros((2, 4, 4, 1), np.uint8)), ValueError, r"expected clips \[N, T, H, W, C\]"),
        (lambda: motion_consistency(np.zeros((1, 1, 2)), (3, 3), fastest=3), ValueError, "of at least 2 frames"),
        (lambda: motion_consistency(np.zeros((1, 4, 2)), (0, 3), fastest=3), ValueError, "free"),
        (lambda: straightness(np.zeros((1, 2, 2)), (9, 9), (3, 3), fastest=1), ValueError, "of at least 3 frames"),
        (lambda: at_rest(np.zeros((4, 2))), ValueError, "at_rest: tracks have shape"),
        (lambda: ink_variation(np.zeros((2, 4, 4, 1), np.uint8)), ValueError, "ink_variation: x has shape"),
        (lambda: identity(np.zeros((2, 3))), ValueError, r"expected integers \[N, T\]"),
    ],
)
def test_what_is_no_track_is_refused(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
