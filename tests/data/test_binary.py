"""Sixteen pixels: counts, entropies and floors by hand."""

import numpy as np
import pytest

from ganjax.data.binary import bars_and_stripes, index, small_digits, states


def _entropy(counts):
    p = np.asarray(counts) / np.sum(counts)
    return -(p * np.log(p)).sum()


def test_states_are_numbered():
    x = states(2, 3)
    assert x.shape == (64, 2, 3, 1) and set(np.unique(x)) == {-1, 1}
    np.testing.assert_array_equal(index(x), np.arange(64))
    np.testing.assert_array_equal(x[1].ravel(), [-1, -1, -1, -1, -1, 1])
    with pytest.raises(ValueError, match=r"states: pixels is 25, expected at least 1, at most 20"):
        states(5, 5)


def test_bars_and_stripes():
    """30 patterns, each once; drawn as a direction and four bits the two blank ones would count twice."""
    x = bars_and_stripes()[..., 0]
    assert x.shape == (30, 4, 4) and len(np.unique(index(x))) == 30
    assert all((one == one[:1]).all() or (one == one[:, :1]).all() for one in x)
    np.testing.assert_allclose(_entropy(np.ones(30)), 3.401197, atol=5e-7)
    np.testing.assert_allclose(_entropy([2, 2, *[1] * 28]), 3.379093, atol=5e-7)
    np.testing.assert_array_equal(x.mean(0), 0)
    np.testing.assert_allclose(16 * np.log(2), 11.090355, atol=5e-7)


def test_small_digits():
    train, test = small_digits()
    assert train.shape == (1347, 4, 4, 1) and test.shape == (450, 4, 4, 1)
    found, counts = np.unique(index(train), return_counts=True)
    assert len(found) == 185
    np.testing.assert_allclose(_entropy(counts), 4.0571, atol=5e-5)
    np.testing.assert_allclose(1 - np.isin(index(test), found).mean(), 0.069, atol=5e-4)
    v, w = ((x.reshape(len(x), -1) + 1) / 2 for x in (train, test))
    p = (v.sum(0) + 1) / (len(v) + 2)
    for rows, cost in ((v, 4.9099), (w, 4.6752)):
        np.testing.assert_allclose(-(rows @ np.log(p) + (1 - rows) @ np.log1p(-p)).mean(), cost, atol=5e-5)
