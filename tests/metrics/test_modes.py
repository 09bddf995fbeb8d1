"""Mode counts by hand, and what a perfect sampler scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from ganjax.data.points import grid, grid_centres, ring, ring_centres
from ganjax.metrics import density_tv, histogram_modes, label_modes, modes, perfect_density_tv, perfect_modes

counted = jax.jit(modes, static_argnames=("std", "radius", "least"))


def test_counts_by_hand(float64):
    centres = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    near = [[0.0, 0.29], [0.0, -0.29], [1.29, 0.0]]  # of high quality at std 0.1
    far = [[0.0, 0.31], [0.5, 0.5], [np.nan, 0.0], [np.inf, 0.0]]
    found = counted(jnp.array(near + far), centres, std=0.1)
    assert found.histogram.tolist() == [2, 1, 0, 0] and int(found.captured) == 2
    np.testing.assert_allclose(found.high_quality, 3 / 7)
    np.testing.assert_allclose(found.reverse_kl, 2 / 3 * np.log(4 * 2 / 3) + 1 / 3 * np.log(4 / 3), rtol=1e-12)
    np.testing.assert_allclose(found.tv, (2 / 3 - 1 / 4) + (1 / 3 - 1 / 4), rtol=1e-12)  # the excess of the two
    assert int(counted(jnp.array(near + far), centres, std=0.1, least=0.2).captured) == 1  # 2 of 7, not 1 of 7
    empty = counted(jnp.full((5, 2), np.nan), centres, std=0.1)
    assert int(empty.captured) == 0 and float(empty.high_quality) == 0
    np.testing.assert_allclose(empty.reverse_kl, np.log(4))
    np.testing.assert_allclose(empty.tv, 3 / 4)
    np.testing.assert_allclose(histogram_modes(jnp.array([8, 0]), 10)[:4], [1, 0.8, np.log(2), 0.5], rtol=1e-12)


def test_a_perfect_sampler_meets_the_ceiling_and_the_floor():
    """98.889 % of high quality, and a reverse divergence of (K - 1) / 2N."""
    count, seeds = 2500, 400
    x = jnp.stack([ring(count, seed=seed)[0] for seed in range(seeds)])
    found = jax.jit(jax.vmap(lambda s: modes(s, ring_centres(), 0.02)))(x)
    quality, floor, variation = perfect_modes(8, count)
    np.testing.assert_allclose(quality, 1 - np.exp(-4.5), rtol=1e-5)
    error = np.sqrt(quality * (1 - quality) / (count * seeds))
    assert abs(float(found.high_quality.mean()) - quality) < 3 * error
    assert (found.captured == 8).all()
    np.testing.assert_allclose(floor, 7 / (5000 * (1 - np.exp(-4.5))), rtol=1e-5)
    # 2 N KL is chi-squared with K - 1 = 7 degrees of freedom, of variance 14.
    assert abs(float(found.reverse_kl.mean()) - floor) < 3 * np.sqrt(14 / seeds) / (2 * count)
    error = found.tv.std() / np.sqrt(seeds)
    assert abs(float(found.tv.mean()) - variation) < 3 * error and error < 0.03 * variation
    np.testing.assert_allclose(perfect_modes(8, count, dimensions=5)[0], chi2.cdf(9, 5), rtol=1e-5)


def test_density_by_hand():
    """At one centre with cells of side 1: a sample in the cell [0, 1) x [-1, 0), two outside."""
    line = np.diff([0.5, 0.8413447461, 0.9772498681])  # Phi(1) - Phi(0), Phi(2) - Phi(1)
    cells = np.outer([line[1], line[0], line[0], line[1]], [line[1], line[0], line[0], line[1]])
    x = jnp.array([[0.5, -0.5], [2.5, 0.0], [np.nan, 0.0]])
    expected = abs(1 / 3 - cells[2, 1]) + cells.sum() - cells[2, 1] + abs(2 / 3 - (1 - cells.sum()))
    found = jax.jit(lambda x: density_tv(x, jnp.zeros((1, 2)), 1.0, reach=2))(x)
    np.testing.assert_allclose(found, expected / 2, rtol=1e-5)


def test_a_perfect_samplers_density(float64):
    """Its expectation is the mean deviation of multinomial counts; a mode that shrinks, moves or is lost costs more."""
    count, seeds, centres = 2500, 40, jnp.asarray(grid_centres())
    x = jnp.stack([grid(count, seed=seed)[0] for seed in range(seeds)])
    score = jax.jit(jax.vmap(lambda s: density_tv(s, centres, 0.05)))
    found = score(x)
    error = found.std() / np.sqrt(seeds)
    floor = perfect_density_tv(25, count)
    assert abs(float(found.mean()) - floor) < 3 * error and error < 0.01 * floor
    nearest = centres[jax.vmap(lambda s: ((s[:, None] - centres[None]) ** 2).sum(-1).argmin(-1))(x)]
    assert score(nearest + 0.5 * (x - nearest)).min() > floor + 0.2
    assert score(x + 0.05).min() > floor + 0.2
    assert score(jnp.where(x > 3, -4.0, x)).min() > floor + 0.1


def test_a_ring_of_seven_modes_is_caught():
    """linspace(0, 2 pi, 8) holds its end: 7 distinct modes, the first one double, between the true ones."""
    angle = np.linspace(0, 2 * np.pi, 8)
    wrong = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    assert len(np.unique(wrong.round(6), axis=0)) == 7
    x = jnp.asarray(np.repeat(wrong, 100, axis=0), jnp.float32)
    on_true_ring = counted(x, jnp.asarray(ring_centres()), std=0.02)
    assert int(on_true_ring.captured) == 1 and float(on_true_ring.high_quality) == 0.25
    # With circles of 0.7 around the true modes, the one opposite to the double stays empty: at 180 degrees,
    # 25.7 from the nearest centre.
    wide = counted(x, jnp.asarray(ring_centres()), std=0.02, radius=35.0)
    assert int(wide.captured) == 7 and wide.histogram.tolist() == [200, 100, 100, 100, 0, 100, 100, 100]
    np.testing.assert_allclose(wide.reverse_kl, 2 / 8 * np.log(2), rtol=1e-5)
    seven = np.unique(wrong.round(6), axis=0).astype(np.float32)
    double = counted(x, jnp.asarray(seven), std=0.02)
    assert int(double.captured) == 7
    np.testing.assert_allclose(double.reverse_kl, 6 / 8 * np.log(7 / 8) + 2 / 8 * np.log(14 / 8), rtol=1e-4)
    centres = ring_centres()
    assert len(np.unique(centres.round(4), axis=0)) == 8, "the ring of ganjax has eight"
    gaps = np.linalg.norm(np.roll(centres, -1, axis=0) - centres, axis=1)
    np.testing.assert_allclose(gaps, 4 * np.sin(np.pi / 8), rtol=1e-5)


def test_a_nan_leaves_the_other_samples_alone_and_seeds_are_mapped():
    x = jnp.stack([ring(200, seed=seed)[0] for seed in range(3)]).at[1, :50].set(jnp.nan)
    together = jax.jit(jax.vmap(lambda s: modes(s, ring_centres(), 0.02)))(x)
    for i, alone in enumerate(counted(s, ring_centres(), std=0.02) for s in x):
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-6), together, alone)
    finite = counted(x[1, 50:], ring_centres(), std=0.02)
    assert together.histogram[1].tolist() == finite.histogram.tolist()
    np.testing.assert_allclose(together.high_quality[1], 0.75 * finite.high_quality, rtol=1e-6)
    np.testing.assert_allclose(together.reverse_kl[1], finite.reverse_kl, rtol=1e-6)


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"samples have shape \(5,\) and centres \(3, 2\)"):
        modes(jnp.zeros(5), jnp.zeros((3, 2)), 1.0)
    with pytest.raises(ValueError, match=r"std has shape \(3,\)"):  # N = K = 3 would broadcast
        modes(jnp.zeros((3, 2)), jnp.zeros((3, 2)), jnp.ones(3))


def test_labels_by_hand():
    """Of three classes and of two digits together; what is unsure or out of range is of low quality."""
    score = jax.jit(label_modes, static_argnums=1)
    found = score(np.array([0, 0, 2, -1, 3]), 3)
    assert found.histogram.tolist() == [2, 0, 1] and int(found.captured) == 2
    np.testing.assert_allclose(found.high_quality, 3 / 5)
    np.testing.assert_allclose(found.reverse_kl, 2 / 3 * np.log(2) + 0 + 1 / 3 * np.log(1), rtol=1e-5)
    pairs = score(np.array([[0, 1], [1, 0], [1, 0], [2, 2], [2, -1], [0, 3]]), 3)
    assert pairs.histogram.tolist() == [0, 1, 0, 2, 0, 0, 0, 0, 1]
    np.testing.assert_allclose(pairs.high_quality, 4 / 6, rtol=1e-6)
    stacked = np.stack(np.unravel_index(np.arange(1000), (10, 10, 10)), 1)
    assert int(score(stacked.astype(np.uint8), 10).captured) == 1000
    assert int(score(np.array([0, 0, 0, 1, 1]), 3, least=0.5).captured) == 1
    with pytest.raises(TypeError, match="take the argmax of logits"):
        label_modes(np.ones(3), 3)
    with pytest.raises(ValueError, match=r"labels have shape \(2, 1, 1\)"):
        label_modes(np.ones((2, 1, 1), int), 3)
