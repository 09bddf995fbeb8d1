"""Interpolation against a float64 oracle that gathers and mixes neighbours, and against weights by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers.resize import bilinear


def oracle(x, size, half_pixel):
    """Two neighbours along one axis, then along the other."""
    for axis, m in ((1, size[0]), (2, size[1])):
        n = x.shape[axis]
        at = [(i + 0.5) * n / m - 0.5 if half_pixel else i * n / m for i in range(m)]
        at = np.clip(at, 0, n - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, n - 1)
        w = (at - low).reshape([-1 if a == axis else 1 for a in range(4)])
        x = (1 - w) * x.take(low, axis) + w * x.take(high, axis)
    return x


@pytest.mark.parametrize("half_pixel", [True, False])
@pytest.mark.parametrize(
    ("before", "after"), [((28, 32), (299, 299)), ((7, 5), (7, 5)), ((1, 3), (4, 2)), ((40, 31), (13, 30))]
)
def test_equals_the_mix_of_neighbours(before, after, half_pixel):
    x = np.random.default_rng(0).standard_normal((2, *before, 3))
    y = bilinear(jnp.asarray(x, jnp.float32), after, half_pixel=half_pixel)
    assert y.shape == (2, *after, 3) and y.dtype == jnp.float32
    np.testing.assert_allclose(y, oracle(x, after, half_pixel), atol=2e-6)


def test_two_pixels_to_four_by_hand():
    x = jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(bilinear(x, (1, 4)).ravel(), [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(bilinear(x, (1, 4), half_pixel=False).ravel(), [0, 0.5, 1, 1])
    # Shrinking reads single pixels: nothing is averaged.
    x = jnp.array([0.0, 0.0, 9.0, 0.0, 0.0, 0.0]).reshape(1, 1, 6, 1)
    np.testing.assert_allclose(bilinear(x, (1, 2)).ravel(), [0, 0])


def test_an_image_without_batch_axis_is_an_error():
    with pytest.raises(ValueError, match=r"x has shape \(4, 4, 3\), expected \[B, H, W, C\]"):
        bilinear(jnp.zeros((4, 4, 3)), (2, 2))
