"""Convolutions over time, rows and columns against XLA's own of three axes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ganjax.layers.volume import VolumeConvTranspose, convolution, transposed

NUMBERS = ("NDHWC", "DHWIO", "NDHWC")
RNG = np.random.default_rng(0)


def _drawn(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.mark.parametrize("taps", [4, 3])
def test_values_and_gradients_are_those_of_three_axes(taps):
    """A layer that halves time and one that keeps it; down, and up as its mirror."""
    strides = (2 if taps == 4 else 1, 2, 2)
    pads = ((1, 1), (1, 1), (1, 1))
    x, w = _drawn(2, 6, 4, 4, 2), _drawn(taps, 4, 4, 2, 3)
    down = partial(lax.conv_general_dilated, window_strides=strides, padding=pads, dimension_numbers=NUMBERS)
    up = partial(lax.conv_transpose, strides=strides, padding="SAME", dimension_numbers=NUMBERS)
    ours = [lambda x, w: convolution(x, w, strides, pads), lambda x, w: transposed(x, w, strides, (1, 1))]

    @jax.jit
    def both(x, w):
        found = []
        for functions in zip(ours, (down, up), strict=True):
            for f in functions:
                y, back = jax.vjp(f, x, w)
                found.append((y, *back(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))))
        return found

    own_down, xla_down, own_up, xla_up = both(x, w)
    assert own_up[0].shape == (2, 6 * strides[0], 8, 8, 3)
    for own, xla in ((own_down, xla_down), (own_up, xla_up)):
        for a, b in zip(own, xla, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_latent_becomes_a_volume():
    """1x1x1 by a kernel as large as its stride: each place of the volume has weights of its own."""
    x = jnp.zeros((2, 1, 1, 1, 5))
    layer = VolumeConvTranspose(7, (2, 4, 4), (2, 4, 4))
    assert jax.eval_shape(lambda: layer.init_with_output(jax.random.key(0), x)[0]).shape == (2, 2, 4, 4, 7)
