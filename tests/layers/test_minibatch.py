"""Layers over the batch, and maxout, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.layers.minibatch import Maxout, MinibatchDiscrimination, MinibatchStandardDeviation

KEY = jax.random.key(0)
F = jax.random.normal(jax.random.key(1), (5, 6))


def test_minibatch_discrimination_by_loops(float64):
    layer, f = MinibatchDiscrimination(kernels=3, dims=2), F.astype(jnp.float64)
    params = layer.init(KEY, f)
    m = (np.asarray(f) @ np.asarray(params["params"]["Dense_0"]["kernel"])).reshape(5, 3, 2)
    expected = np.zeros((5, 3))
    for i, j, b in np.ndindex(5, 5, 3):
        if i != j:
            expected[i, b] += np.exp(-np.abs(m[i, b] - m[j, b]).sum())
    found = layer.apply(params, f)
    np.testing.assert_allclose(found[:, :6], f)
    np.testing.assert_allclose(found[:, 6:], expected, rtol=1e-10)
    collapsed = layer.apply(params, jnp.ones((5, 6)))
    np.testing.assert_allclose(collapsed[:, 6:], 4, rtol=1e-12)  # everybody is close to the four others


def test_minibatch_standard_deviation():
    layer = MinibatchStandardDeviation()
    found = layer.apply({}, F)
    np.testing.assert_allclose(found[:, 6], np.asarray(F).std(0).mean(), rtol=1e-5)
    np.testing.assert_array_equal(found[:, :6], F)
    images = jax.random.normal(KEY, (4, 3, 2, 5))
    maps = layer.apply({}, images)
    assert maps.shape == (4, 3, 2, 6)
    np.testing.assert_allclose(maps[..., 5], np.asarray(images).std(0).mean(), rtol=1e-5)
    slope = jax.grad(lambda f: layer.apply({}, f).sum())(jnp.ones((4, 2)))
    assert np.isfinite(slope).all(), "all examples equal"


def test_maxout():
    layer = Maxout(4, 3)
    params = layer.init(KEY, F)
    dense = params["params"]["Dense_0"]
    pieces = np.asarray(F) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    np.testing.assert_allclose(layer.apply(params, F), pieces.reshape(5, 4, 3).max(-1), rtol=1e-5)
