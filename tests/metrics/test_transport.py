"""The sliced distance against SciPy's one-dimensional one and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from ganjax.metrics import sliced_wasserstein


def test_each_slice_is_the_distance_of_scipy(float64):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 3))
    key = jax.random.key(1)
    directions = np.array(jax.random.normal(key, (3, 7)))
    directions /= np.linalg.norm(directions, axis=0)
    expected = np.mean([wasserstein_distance(x @ u, y @ u) for u in directions.T])
    np.testing.assert_allclose(sliced_wasserstein(jnp.asarray(x), jnp.asarray(y), key, projections=7), expected)


def test_a_translation_of_the_plane(float64):
    """`E |<u, d>| = 2 |d| / pi` for directions of the plane; the variance of `|cos|` is `1/2 - 4 / pi^2`."""
    x = jax.random.normal(jax.random.key(0), (40, 2))
    projections = 20_000
    distance = jax.jit(lambda key: sliced_wasserstein(x, x + jnp.array([[3.0, 4.0]]), key, projections=projections))
    error = 5 * np.sqrt((0.5 - 4 / np.pi**2) / projections)
    assert abs(float(distance(jax.random.key(1))) - 10 / np.pi) < 3 * error


def test_images_are_flattened_and_seeds_are_mapped():
    x, y = jax.random.normal(jax.random.key(0), (2, 3, 20, 4, 4, 1))
    key = jax.random.key(1)
    together = jax.vmap(lambda a, b: sliced_wasserstein(a, b, key))(x, y)
    alone = [sliced_wasserstein(a.reshape(20, 16), b.reshape(20, 16), key) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    keys = jax.random.split(key, 3)
    by_key = jax.vmap(lambda k: sliced_wasserstein(x[0], y[0], k))(keys)
    assert len(set(by_key.tolist())) == 3, "the key has no effect"
    np.testing.assert_allclose(by_key, [sliced_wasserstein(x[0], y[0], k) for k in keys], rtol=1e-5)


def test_no_projection_is_an_error():
    with pytest.raises(ValueError, match="projections is 0, expected at least 1"):
        sliced_wasserstein(jnp.zeros((3, 2)), jnp.ones((3, 2)), jax.random.key(0), projections=0)


def test_unequal_counts_are_an_error():
    with pytest.raises(ValueError, match="draw as many"):
        sliced_wasserstein(jnp.zeros((3, 2)), jnp.zeros((4, 2)), jax.random.key(0))
