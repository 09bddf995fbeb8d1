"""Tracks against the law of bouncing, classes that stay, and the two controls."""

import numpy as np
import pytest

from ganjax.data import Dataset
from ganjax.data.bouncing import FASTEST, bouncing
from ganjax.metrics.motion import centres, frozen, identity, motion_consistency, shuffled


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
        (lambda: identity(np.zeros((2, 3))), ValueError, r"expected integers \[N, T\]"),
    ],
)
def test_what_is_no_track_is_refused(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
