"""Copies are found where the Frechet distance praises them."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu

from ganjax.metrics import duplicates, frechet_distance, memorisation, moments, nearest, rank_test


def _images(count, seed):
    """Smooth random images, uint8 8 x 8."""
    low = np.random.default_rng(seed).uniform(0, 255, size=(count, 4, 4, 1))
    return np.rint(np.kron(low, np.ones((1, 2, 2, 1)))).astype(np.uint8)


def test_ranks_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for x, y in (
        (rng.normal(size=30), rng.normal(size=41) + 0.3),
        (rng.integers(3, size=30), rng.integers(3, size=9)),  # ties
    ):
        found = rank_test(x, y)
        expected = mannwhitneyu(x, y, method="asymptotic", use_continuity=False)
        np.testing.assert_allclose(found.auc, expected.statistic / (len(x) * len(y)), rtol=1e-12)
        np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-10)
        pairs = [(a > b) + (a == b) / 2 for a in x for b in y]
        np.testing.assert_allclose(found.auc, np.mean(pairs), rtol=1e-12)
    assert rank_test([1, 1], [1, 1, 1]) == (0.5, 0, 1)
    assert rank_test([1, 2], [3, 4, 5]).auc == 0 and rank_test([1, 2], [3, 4, 5]).z < 0
    # Meehan's Z_U without ties: (0 - 3) / sqrt(2 * 3 * 6 / 12).
    np.testing.assert_allclose(rank_test([1, 2], [3, 4, 5]).z, -3 / np.sqrt(3), rtol=1e-12)
    with pytest.raises(ValueError, match="has no rank"):
        rank_test([1, np.nan], [1.0])
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        rank_test([], [1.0])


def test_twenty_images_repeated():
    images = _images(20, 0)
    found = duplicates(images[np.random.default_rng(1).permutation(200) % 20])
    assert found.share == 1
    np.testing.assert_allclose(found.distinct, 20, rtol=1e-12)
    once = duplicates(_images(200, 2))
    assert once.share == 0 and once.distinct == 200
    some = duplicates(np.concatenate([_images(200, 2), images[:3], images[:3], images[:3]]))
    np.testing.assert_allclose(some, (9 / 209, 203), rtol=1e-12)


@pytest.mark.parametrize("within, share", [(0.0, 0.0), (0.49, 0.0), (0.51, 0.4), (1.01, 0.6)])
def test_near_duplicates_by_hand(within, share):
    """Pixels of 0 and 1/2 are 1/2 apart; the third is 1 from the nearer of them."""
    x = np.zeros((5, 1, 2, 1), np.float32)
    x[:, 0, 0, 0], x[:, 0, 1, 0] = [0, 0.5, 1.5, 4, 8], [0, 0, 0, 0, 8]
    assert duplicates(x, within=within).share == pytest.approx(share)


def test_one_grey_level_is_no_duplicate():
    """Among images that are far apart, so that norms are large and the difference is small beside them."""
    x = np.random.default_rng(0).integers(256, size=(5, 128, 128, 3), dtype=np.uint8)
    x[4] = x[3]
    assert duplicates(x).share == 0.4
    x[4, 5, 6, 0] ^= 1
    assert duplicates(x).share == 0
    np.testing.assert_allclose(nearest(x[4:], x[:4]).distances, 1 / 255, rtol=1e-4)


def test_nearest_is_that_of_differences():
    x, y = _images(30, 0), _images(50, 1)
    found = nearest(x, y)
    exact = cdist(x.reshape(30, -1) / 255, y.reshape(50, -1) / 255)
    assert found.indices.tolist() == exact.argmin(1).tolist()
    np.testing.assert_allclose(found.distances, exact.min(1), rtol=1e-12)
    again = nearest(y[[7, 3]], y)
    assert again.indices.tolist() == [7, 3] and again.distances.tolist() == [0, 0]


def test_a_generator_that_copies_is_caught_where_frechet_is_not():
    rng = np.random.default_rng(0)
    train, held_out, honest = rng.normal(size=(500, 10)), rng.normal(size=(300, 10)), rng.normal(size=(300, 10))
    copies = train[rng.permutation(500)[:300]] + 0.01 * rng.normal(size=(300, 10))
    real = moments(train)
    assert frechet_distance(moments(copies), real) < 0.5 * frechet_distance(moments(honest), real)
    fair, caught = memorisation(honest, train, held_out), memorisation(copies, train, held_out)
    assert abs(fair.z) < 3 and fair.p > 0.003 and abs(fair.auc - 0.5) < 0.07 and fair.closer < 0.04
    assert caught.z < -20 and caught.p < 1e-12 and caught.auc == 0 and caught.closer == 1
    assert caught.median < 0.1 * caught.held_out_median
    np.testing.assert_allclose(fair.held_out_distances, cdist(held_out, train).min(1), rtol=1e-9)
    np.testing.assert_allclose(fair.median, np.median(cdist(honest, train).min(1)), rtol=1e-9)
    np.testing.assert_allclose(caught[3:6], rank_test(caught.distances, caught.held_out_distances), rtol=1e-12)


def test_few_copies_show_in_the_share_and_distant_samples_do_not_look_copied():
    rng = np.random.default_rng(1)
    train, held_out, samples = rng.normal(size=(500, 10)), rng.normal(size=(400, 10)), rng.normal(size=(400, 10))
    samples[:40] = train[:40]
    found = memorisation(samples, train, held_out)
    assert 0.1 <= found.closer < 0.13
    far = memorisation(samples[40:] + 5, train, held_out)
    assert far.closer == 0 and far.z > 10


def test_a_perfect_sampler_has_a_standard_normal_statistic():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(100, 4))
    found = [memorisation(rng.normal(size=(50, 4)), train, rng.normal(size=(60, 4)), quantile=0.1) for _ in range(200)]
    z = np.array([f.z for f in found])
    assert abs(z.mean()) < 3 / np.sqrt(200) and 0.85 < z.std() < 1.15
    assert abs(np.mean([f.closer for f in found]) - 0.1) < 0.025


def test_wrong_arguments():
    x = np.eye(3)
    with pytest.raises(ValueError, match=r"within is -1"):
        duplicates(x, within=-1)
    with pytest.raises(ValueError, match="quantile is 1, expected between"):
        memorisation(x, x, x, quantile=1)
    with pytest.raises(TypeError, match="uint8 and train float64 and held_out float64 have different units"):
        memorisation(x.astype(np.uint8), x, x)
