"""The A-distance and the bound of label shift at their ends and by hand."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from ganjax.metrics.domains import label_shift_bound, proxy_a_distance

# How often each digit comes in the training sets.
MNIST = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
USPS = [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]


def test_an_a_distance_is_0_where_domains_are_alike_and_2_where_a_plane_parts_them():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 600, 3))
    assert abs(proxy_a_distance(x, y)) < 0.25  # the error of 600 examples has a deviation of .02
    assert proxy_a_distance(x, y + 9) == 2
    half = np.where(np.arange(600) % 2, 9, 0)[:, None]
    assert proxy_a_distance(x, y + half) == pytest.approx(1, abs=0.25), "half of the target is told"


def test_an_a_distance_is_held_out():
    """Noise of many dimensions is told apart where it was learned, and only there."""
    x, y = np.random.default_rng(1).normal(size=(2, 100, 300))
    assert abs(proxy_a_distance(x, y)) < 0.6


def test_what_classes_cost_an_alignment():
    """90/10 against 10/90: half the divergence, .531004 bits; what does err least errs more than that."""
    p, q = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    bits = 1 + 0.9 * np.log2(0.9) + 0.1 * np.log2(0.1)
    assert label_shift_bound(p, q) == pytest.approx(bits / 2, rel=1e-12)
    errors = [
        np.abs(p - r).sum() / 2 + np.abs(q - r).sum() / 2 for r in np.linspace(0, 1, 21)[:, None] * [1, -1] + [0, 1]
    ]
    assert min(errors) == pytest.approx(0.8) and min(errors) > label_shift_bound(p, q)
    assert label_shift_bound(p, q, features=np.sqrt(bits)) == 0 == label_shift_bound(p, p)
    assert label_shift_bound(p, q, features=2.0) == 0, "features further apart than classes prove nothing"


def test_mnist_and_usps_are_hardly_of_different_classes():
    shares = [np.array(counts) / sum(counts) for counts in (MNIST, USPS)]
    assert np.abs(shares[0] - shares[1]).sum() / 2 == pytest.approx(0.0915, abs=5e-5)
    assert jensenshannon(*shares) ** 2 == pytest.approx(0.00664, abs=5e-6)
    assert label_shift_bound(MNIST, USPS) == pytest.approx(0.0048, abs=5e-5)
