"""Layers over the batch, and maxout, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers.minibatch import Maxout, MinibatchDiscrimination, MinibatchStandardDeviation

KEY = jax.random.key(0)
F = jax.random.normal(jax.random.key(1), (5, 6))


def test_minibatch_discrimination_by_loops(float64):
    layer, f = MinibatchDiscrimination(kernels=3, dims=2), F.astype(jnp.float64)
    params = jax.jit(layer.init)(KEY, f)
    m = (np.asarray(f) @ np.asarray(params["params"]["Dense_0"]["kernel"])).reshape(5, 3, 2)
    expected = np.zeros((5, 3))
    for i, j, b in np.ndindex(5, 5, 3):
        if i != j:
            expected[i, b] += np.exp(-np.abs(m[i, b] - m[j, b]).sum())
    run = jax.jit(layer.apply)
    found, collapsed = (np.asarray(run(params, x)) for x in (f, np.ones((5, 6))))
    np.testing.assert_allclose(found[:, :6], f)
    np.testing.assert_allclose(found[:, 6:], expected, rtol=1e-10)
    np.testing.assert_allclose(collapsed[:, 6:], 4, rtol=1e-12)  # everybody is close to the four others


def test_minibatch_standard_deviation():
    layer = MinibatchStandardDeviation()
    run = jax.jit(lambda x: layer.apply({}, x))
    found = np.asarray(run(F))
    np.testing.assert_allclose(found[:, 6], np.asarray(F).std(0).mean(), rtol=1e-5)
    np.testing.assert_array_equal(found[:, :6], F)
    images = jax.random.normal(KEY, (4, 3, 2, 5))
    maps = np.asarray(run(images))
    assert maps.shape == (4, 3, 2, 6)
    np.testing.assert_allclose(maps[..., 5], np.asarray(images).std(0).mean(), rtol=1e-5)
    slope = jax.jit(jax.grad(lambda f: layer.apply({}, f).sum()))(np.ones((4, 2), np.float32))
    assert np.isfinite(slope).all(), "all examples equal"


@pytest.mark.parametrize("layer", [MinibatchDiscrimination(3, 2, group=2), MinibatchStandardDeviation(group=2)])
def test_groups_are_compared_by_themselves(layer):
    """Six examples in groups of two: i with i + 3, and nobody else."""
    f = np.asarray(jax.random.normal(KEY, (6, 4)))
    params = jax.jit(layer.init)(KEY, f)
    found, alone = np.asarray(jax.jit(layer.apply)(params, f)), jax.jit(layer.clone(group=None).apply)
    for i in range(3):
        pair = np.array([i, i + 3])
        whole = alone(params, f[pair])
        np.testing.assert_allclose(found[pair], whole, rtol=1e-5)
    with pytest.raises(ValueError, match="a batch of 5 has no groups of 2"):
        layer.apply(params, f[:5])


def test_maxout():
    layer = Maxout(4, 3)
    params = jax.jit(layer.init)(KEY, F)
    dense = params["params"]["Dense_0"]
    pieces = np.asarray(F) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    np.testing.assert_allclose(jax.jit(layer.apply)(params, F), pieces.reshape(5, 4, 3).max(-1), rtol=1e-5)
