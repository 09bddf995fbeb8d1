"""Counting as a model of maps of codes, against tables by hand and entropies that are known."""

import numpy as np
import pytest

from ganjax.metrics.codes import bits_by_counting


def test_a_table_by_hand():
    """Three codes of two: the table of all places says (2.5 / 4) of a 1 and (1.5 / 4) of a 0."""
    found = bits_by_counting([[[1, 0, 1]]], [[[1, 1, 0]]], 2)
    assert found["uniform"] == 1
    np.testing.assert_allclose(found["unigram"], -np.log2([2.5 / 4, 2.5 / 4, 1.5 / 4]).mean())
    np.testing.assert_allclose(found["by_place"], -np.log2([1.5 / 2, 0.5 / 2, 0.5 / 2]).mean())
    # the first column has no left; after a 1 in the second place a 0 was seen; after a 1 in the third nothing was
    np.testing.assert_allclose(found["by_left"], -np.log2([1.5 / 2, 0.5 / 2, 1 / 2]).mean())


def test_each_table_finds_what_it_can_see():
    """A chain that copies its left with probability .9, whose first column is one code by row."""
    rng = np.random.default_rng(0)
    maps = np.empty((20_000, 2, 4), np.int64)
    maps[:, :, 0] = [1, 3]
    for column in range(1, 4):
        fresh = rng.integers(0, 3, maps.shape[:2])
        other = (maps[:, :, column - 1] + 1 + fresh) % 4
        maps[:, :, column] = np.where(rng.random(maps.shape[:2]) < 0.9, maps[:, :, column - 1], other)
    found = bits_by_counting(maps[:10_000], maps[10_000:], 4)
    step = -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1 / 3))
    np.testing.assert_allclose(found["by_left"], 3 / 4 * step, atol=0.02)
    assert found["by_left"] < found["by_place"] < found["unigram"] < found["uniform"] == 2


@pytest.mark.parametrize(
    ("train", "test", "sentence"),
    [
        (np.zeros((2, 3), int), np.zeros((2, 3), int), r"expected \[N, H, W\]"),
        (np.zeros((2, 3, 3), int), np.zeros((2, 3, 4), int), r"expected \[N, H, W\]"),
        (np.full((2, 3, 3), 4), np.zeros((2, 3, 3), int), "codes is"),
    ],
)
def test_what_are_no_maps_of_codes_is_refused(train, test, sentence):
    with pytest.raises(ValueError, match=sentence):
        bits_by_counting(train, test, 4)
