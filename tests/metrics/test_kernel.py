"""Kernel distance against double loops, and its unbiasedness."""

import numpy as np
import pytest

from ganjax.metrics import kernel_distance, kernel_distance_subsets


def _oracle(x, y, biased=False):
    def k(a, b):
        return (np.dot(a, b) / len(a) + 1) ** 3

    def within(z):
        values = [k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if biased or i != j]
        return np.mean(values)

    return within(x) + within(y) - 2 * np.mean([k(a, b) for a in x for b in y])


def test_against_loops_and_by_hand():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)), rng.normal(size=(13, 4)) + 0.5
    np.testing.assert_allclose(kernel_distance(x, y), _oracle(x, y), rtol=1e-12)
    np.testing.assert_allclose(kernel_distance(y, x), _oracle(x, y), rtol=1e-12)
    # On the line: k(0, .) = 1, k(1, 1) = 8 and k(1, -1) = 0, so that 1 + 0 - 2 * 1.
    np.testing.assert_allclose(kernel_distance(np.zeros((2, 1)), np.array([[1.0], [-1.0]])), -1, rtol=1e-12)


def test_blocks_give_the_whole(monkeypatch):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(23, 3)), rng.normal(size=(31, 3))
    monkeypatch.setattr("ganjax.metrics.sets.ENTRIES", 15)  # five rows
    np.testing.assert_allclose(kernel_distance(x, y), _oracle(x, y), rtol=1e-12)


def test_unbiased():
    """Over disjoint halves of one set the mean is 0 within its error, and that of the biased estimator is not."""
    pool, splits = np.random.default_rng(0).normal(size=(4000, 8)), 100
    rng, found, biased = np.random.default_rng(1), [], []
    for _ in range(splits):
        x, y = np.split(pool[rng.permutation(4000)[:200]], 2)
        found.append(kernel_distance(x, y))
        own = [((z**2).sum(1) / 8 + 1) ** 3 for z in (x, y)]  # the diagonals, which the biased estimator keeps
        within = [((z @ z.T / 8 + 1) ** 3).mean() for z in (x, y)]
        n = len(x)
        change = sum((w - (w * n * n - d.sum()) / (n * (n - 1))) for w, d in zip(within, own, strict=True))
        biased.append(found[-1] + change)
    error = np.std(found) / np.sqrt(splits)
    assert abs(np.mean(found)) < 3 * error
    assert np.mean(biased) > 20 * error
    assert min(found) < 0


def test_subsets():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=(80, 5)) + 0.3
    draw = np.random.default_rng(7)
    values = [_oracle(*(z[draw.choice(len(z), 20, replace=False)] for z in (x, y))) for _ in range(4)]
    found = kernel_distance_subsets(x, y, subsets=4, size=20, seed=7)
    np.testing.assert_allclose(found, [np.mean(values), np.std(values)], rtol=1e-10)
    full = kernel_distance_subsets(x, x + 1, subsets=2, size=60, seed=0)
    np.testing.assert_allclose(full, [kernel_distance(x, x + 1), 0], rtol=1e-12, atol=1e-12)
    many = kernel_distance_subsets(x, y, subsets=300, size=20, seed=0)
    assert abs(many.mean - kernel_distance(x, y)) < 3 * many.std / np.sqrt(300)
    with pytest.raises(ValueError, match="expected at least 1 and from 2 to 60"):
        kernel_distance_subsets(x, y, size=61, seed=0)
    with pytest.raises(ValueError, match="expected at least 1 and from 2 to 60"):
        kernel_distance_subsets(x, y, subsets=0, size=5, seed=0)
