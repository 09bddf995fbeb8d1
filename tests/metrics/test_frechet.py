"""Frechet distance: closed forms, the formula of pytorch-fid, singular covariances, a perfect sampler's score."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from ganjax.metrics import (
    Moments,
    frechet_bias,
    frechet_distance,
    frechet_distance_infinity,
    intra_class_frechet,
    merge,
    moments,
)


def _as_pytorch_fid(x, y):
    """The formula written with numpy.cov and the matrix square root of the product, as pytorch-fid does, in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    root = sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False))
    gap = x.mean(0) - y.mean(0)
    return gap @ gap + np.trace(np.cov(x, rowvar=False) + np.cov(y, rowvar=False) - 2 * np.real(root))


def _truth(dimensions):
    return Moments(2, np.zeros(dimensions), np.eye(dimensions))  # N - 1 = 1: covariance I


def test_moments_are_those_of_numpy():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(9000, 5)) @ rng.normal(size=(5, 5)) + 1e3).astype(np.float32)  # three blocks, far from 0
    found = moments(x)
    assert found.count == 9000 and found.covariance.dtype == np.float64
    np.testing.assert_allclose(found.mean, x.mean(0, dtype=np.float64), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), rtol=1e-10)


def test_shards_merge_to_the_whole():
    """Features of four devices of unequal size, in any order, and of none."""
    x = np.random.default_rng(1).normal(size=(1000, 7)) * np.arange(1, 8) + 3
    whole, shards = moments(x), [moments(part) for part in np.split(x, [1, 300, 310])]
    nothing = Moments(0, np.zeros(7), np.zeros((7, 7)))
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        total = nothing
        for i in order:
            total = merge(total, shards[i])
        assert total.count == 1000
        np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(total.scatter, whole.scatter, rtol=1e-12, atol=1e-12 * whole.scatter.max())
    assert merge(nothing, nothing).count == 0


def test_closed_forms():
    """|m|^2 + sum (s_a - s_b)^2 where covariances commute; by hand for two that do not."""
    a = Moments(2, np.array([1.0, 2.0]), np.diag([4.0, 9.0]))
    b = Moments(2, np.array([0.0, 0.0]), np.diag([1.0, 25.0]))
    np.testing.assert_allclose(frechet_distance(a, b), 5 + 1 + 4, rtol=1e-13)
    # S_a = diag(4, 1), S_b = [[2, 1], [1, 2]]: the product has trace 10 and determinant 12, so that
    # tr (S_a S_b)^1/2 = sqrt(10 + 2 sqrt(12)).
    a = Moments(5, np.zeros(2), 4 * np.diag([4.0, 1.0]))
    b = Moments(3, np.zeros(2), 2 * np.array([[2.0, 1.0], [1.0, 2.0]]))
    np.testing.assert_allclose(frechet_distance(a, b), 9 - 2 * np.sqrt(10 + 2 * np.sqrt(12)), rtol=1e-12)


def test_agrees_with_the_formula_of_pytorch_fid():
    rng = np.random.default_rng(2)
    x = np.abs(rng.normal(size=(400, 40)) @ rng.normal(size=(40, 40))).astype(np.float32)
    y = np.abs(rng.normal(size=(300, 40)) @ rng.normal(size=(40, 40))).astype(np.float32)
    np.testing.assert_allclose(frechet_distance(moments(x), moments(y)), _as_pytorch_fid(x, y), rtol=1e-9)


def _by_singular_values(x, y):
    """From the centred features themselves: `tr (S_a S_b)^1/2` is the sum of the singular values of A_a A_b^T."""
    a, b = ((z - z.mean(0)) / np.sqrt(len(z) - 1) for z in (x, y))
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * overlap


@pytest.mark.parametrize("rows", [2, 10, 63, 64, 65])
def test_rank_deficient_covariances(rows):
    """Fewer examples than features."""
    rng = np.random.default_rng(rows)
    x, y = rng.normal(size=(rows, 64)), 2 * rng.normal(size=(80, 64)) + 1
    for p, q in ((x, y), (y, x), (x, x[::-1] + 1)):
        np.testing.assert_allclose(frechet_distance(moments(p), moments(q)), _by_singular_values(p, q), rtol=1e-10)
    assert 0 <= frechet_distance(moments(x), moments(x)) < 1e-9


def test_subspaces_that_overlap_in_part():
    """10 of 20 and 30 dimensions in common: ten eigenvalues are zero, and by rounding some are negative."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    x, y = rng.normal(size=(100, 20)) @ basis[:20], rng.normal(size=(100, 30)) @ basis[10:]
    np.testing.assert_allclose(frechet_distance(moments(x), moments(y)), _by_singular_values(x, y), rtol=1e-7)


def test_singular_covariances_do_not_crash():
    """Constant features, repeated features and dead ones; a product that is defective has no matrix square root."""
    constant, rng = np.full((10, 3), 7.0), np.random.default_rng(0)
    one = rng.normal(size=(50, 1))
    repeated = np.hstack([one, one, 0 * one])
    assert frechet_distance(moments(constant), moments(constant)) == 0
    np.testing.assert_allclose(frechet_distance(moments(constant), moments(constant + 2)), 12)
    np.testing.assert_allclose(
        frechet_distance(moments(constant), moments(repeated)),
        ((7 - repeated.mean(0)) ** 2).sum() + repeated.var(0, ddof=1).sum(),
    )
    a = Moments(2, np.zeros(2), np.array([[1.0, 0.0], [0.0, 0.0]]))
    b = Moments(2, np.zeros(2), np.array([[1.0, 1.0], [1.0, 1.0]]))
    nilpotent = Moments(2, np.zeros(2), np.array([[0.0, 0.0], [0.0, 1.0]]))  # a times this is 0
    np.testing.assert_allclose(frechet_distance(a, b), 1, atol=1e-12)  # 1 + 2 - 2 sqrt(1)
    np.testing.assert_allclose(frechet_distance(a, nilpotent), 2, atol=1e-12)


def test_a_perfect_sampler_scores_its_bias():
    """D / N + D (D + 1) / 4N against the truth, and twice that against as many real examples."""
    d, n, draws = 20, 2000, 60
    rng = np.random.default_rng(0)
    sets = [moments(rng.normal(size=(n, d))) for _ in range(draws)]
    found = np.array([frechet_distance(s, _truth(d)) for s in sets])
    np.testing.assert_allclose(frechet_bias(d, n), 0.0625, rtol=1e-12)
    error = found.std() / np.sqrt(draws)
    assert abs(found.mean() - 0.0625) < 3 * error + 0.0625 * d / n  # the next order is relative d / N
    assert error < 0.02 * 0.0625
    pairs = np.array([frechet_distance(a, b) for a, b in zip(sets[::2], sets[1::2], strict=True)])
    assert abs(pairs.mean() - 0.125) < 3 * pairs.std() / np.sqrt(len(pairs)) + 0.125 * d / n


def test_extrapolation_takes_the_bias_away():
    rng = np.random.default_rng(0)
    sizes = np.linspace(400, 4000, 10).astype(int)
    found = [frechet_distance_infinity(rng.normal(size=(4000, 20)), _truth(20), sizes=sizes, seed=s) for s in range(12)]
    values, slopes = np.array([f.value for f in found]), np.array([f.slope for f in found])
    assert abs(values.mean()) < 0.1 * frechet_bias(20, 4000)
    np.testing.assert_allclose(slopes.mean(), 20 + 20 * 21 / 4, rtol=0.05)
    moved = frechet_distance_infinity(rng.normal(size=(4000, 20)) + 0.5, _truth(20), sizes=sizes, seed=0)
    np.testing.assert_allclose(moved.value, 20 * 0.25, rtol=0.03)
    again = frechet_distance_infinity(np.eye(6), moments(np.eye(6)), sizes=[3, 6], seed=1)
    np.testing.assert_allclose(again.distances[1], 0, atol=1e-12)  # all rows are drawn
    np.testing.assert_allclose([again.value + again.slope / n for n in (3, 6)], again.distances, atol=1e-12)


def test_swapped_classes_show_within_classes_only():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    x, y = (rng.normal(size=(400, 4)) + 3 * labels[:, None] for _ in range(2))
    right = intra_class_frechet(x, labels, y, labels)
    swapped = intra_class_frechet(x, 1 - labels, y, labels)
    assert right.mean < 0.2 and swapped.mean > 0.9 * 4 * 9
    assert right.classes.tolist() == [0, 1]
    expected = [frechet_distance(moments(x[labels == c]), moments(y[labels == c])) for c in (0, 1)]
    np.testing.assert_allclose(right.distances, expected)
    np.testing.assert_allclose(right.mean, np.mean(expected))
    with pytest.raises(ValueError, match="class 2 has fewer than two examples"):
        intra_class_frechet(x, labels, y, np.where(np.arange(400) < 5, 2, labels))
    with pytest.raises(ValueError, match=r"labels have shapes \(400, 1\) and \(400,\)"):
        intra_class_frechet(x, labels[:, None], y, labels)


def test_wrong_moments_and_sizes():
    one, three = moments(np.ones((1, 3))), moments(np.eye(3))
    with pytest.raises(ValueError, match="moments of 1 examples have no covariance"):
        frechet_distance(one, three)
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(2,\)"):
        frechet_distance(three, moments(np.eye(2)))
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(2,\)"):
        merge(three, moments(np.eye(2)))
    for sizes in ([3, 3], [1, 3], [2, 4]):
        with pytest.raises(ValueError, match="expected at least two different ones from 2 to 3"):
            frechet_distance_infinity(np.eye(3), three, sizes=sizes, seed=0)
