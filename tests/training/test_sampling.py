"""What becomes of a generator's numbers."""

import jax.numpy as jnp
import numpy as np

from ganjax.training.sampling import as_data


def test_pixels_are_rounded_in_float32():
    """Of a network that computes in bfloat16 too, whose own sums near 255 are a whole level apart."""
    x = np.asarray(jnp.linspace(-1.0, 1.0, 1001).astype(jnp.bfloat16))
    expected = np.round((x.astype(np.float64) + 1) * 127.5)
    np.testing.assert_allclose(as_data(x, np.dtype(np.uint8)), expected)
    np.testing.assert_array_equal(as_data(np.array([-3.0, 3.0]), np.dtype(np.uint8)), [0, 255])
