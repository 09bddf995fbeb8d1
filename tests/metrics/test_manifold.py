"""Precision, recall, density and coverage against brute force, against `prdc`, and for copies and perfect samplers."""

import numpy as np
import pytest

from ganjax.metrics import density_coverage, perfect_coverage, precision_recall


def _sets():
    rng = np.random.default_rng(0)
    return rng.normal(size=(150, 6)), 0.8 * rng.normal(size=(200, 6)) + 0.3


# precision, recall, density, coverage: prdc.compute_prdc(*_sets(), nearest_k=k) of prdc 0.2 with NumPy 2.4.
PRDC = {
    1: (0.6, 0.4666666666666667, 0.95, 0.4266666666666667),
    3: (0.905, 0.7466666666666667, 1.15, 0.84),
    5: (0.945, 0.8333333333333334, 1.153, 0.96),
}


def _oracle(real, fake, k):
    """By differences, one pair at a time in double precision."""

    def distance(a, b):
        return float(np.sqrt(((a - b) ** 2).sum()))

    def radii(x):
        return [sorted(distance(a, b) for j, b in enumerate(x) if j != i)[k - 1] for i, a in enumerate(x)]

    real_radii, fake_radii = radii(real), radii(fake)
    between = np.array([[distance(r, f) for f in fake] for r in real])
    inside = between < np.array(real_radii)[:, None]
    recalled = between < np.array(fake_radii)
    return inside.any(0).mean(), recalled.any(1).mean(), inside.sum(0).mean() / k, inside.any(1).mean()


@pytest.mark.parametrize("k", PRDC)
def test_against_prdc_and_brute_force(k):
    real, fake = _sets()
    found = (*precision_recall(real, fake, k=k), *density_coverage(real, fake, k=k))
    np.testing.assert_allclose(found, PRDC[k], rtol=1e-12)
    few = (*precision_recall(real[:40], fake[:30], k=k), *density_coverage(real[:40], fake[:30], k=k))
    np.testing.assert_allclose(few, _oracle(real[:40], fake[:30], k), rtol=1e-12)


def test_blocks_give_the_whole(monkeypatch):
    real, fake = _sets()
    monkeypatch.setattr("ganjax.metrics.sets.ENTRIES", 700)  # of 3 or 4 rows of distances, and of 116 rows of features
    found = (*precision_recall(real, fake), *density_coverage(real, fake, k=3))
    np.testing.assert_allclose(found, PRDC[3], rtol=1e-12)


def test_copies():
    """Of the real examples: closed balls hold them, open ones k of k + 1. Far from 0, where differences are rounded."""
    x = np.random.default_rng(0).normal(size=(300, 20)) + 1e4
    assert precision_recall(x, x) == (1, 1)
    assert density_coverage(x, x.copy()) == (1, 1)
    assert density_coverage(x, x[::-1], k=3) == (1, 1)


def test_constant_features():
    """All distances are 0: closed balls of radius 0 hold their centre, open ones hold nothing."""
    x = np.full((7, 3), 1 / 3)
    assert precision_recall(x, x) == (1, 1) and density_coverage(x, x) == (0, 0)
    assert precision_recall(x, x + 1) == (0, 0)


def test_lost_modes_cost_recall_and_outliers_cost_density():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(400, 2)) + 20 * (np.arange(400) % 2)[:, None]
    one_mode = rng.normal(size=(400, 2))
    assert precision_recall(real, one_mode).precision > 0.9 and precision_recall(real, one_mode).recall < 0.55
    assert density_coverage(real, one_mode).coverage < 0.55
    outlier = np.concatenate([rng.normal(size=(399, 2)), [[100.0, 0.0]]])  # its ball holds what lies around
    around = rng.normal(size=(200, 2)) + np.array([100.0, 0.0])
    assert precision_recall(outlier, around).precision > 0.9 and density_coverage(outlier, around).density < 0.25


def test_a_perfect_sampler():
    """Density 1 and coverage 1 - prod (N - i) / (N + M - i), 96.9 % for k = 5."""
    n, m, draws = 200, 150, 60
    rng = np.random.default_rng(0)
    found = np.array([density_coverage(rng.normal(size=(n, 3)), rng.normal(size=(m, 3)), k=2) for _ in range(draws)])
    error = found.std(0) / np.sqrt(draws)
    assert (abs(found.mean(0) - [1, perfect_coverage(n, m, k=2)]) < 3 * error).all() and (error < 0.02).all()
    np.testing.assert_allclose(perfect_coverage(n, m, k=2), 1 - 199 * 198 / (349 * 348), rtol=1e-12)
    np.testing.assert_allclose(perfect_coverage(10**6, 10**6), 1 - 2**-5, atol=1e-5)


def test_k_out_of_range():
    with pytest.raises(ValueError, match="k is 0, expected at least 1"):
        precision_recall(np.eye(3), np.eye(3), k=0)
    with pytest.raises(ValueError, match=r"x_fake has shape \(3, 5\), expected \[N, F\] with N at least 4"):
        density_coverage(np.eye(5), np.ones((3, 5)), k=3)
