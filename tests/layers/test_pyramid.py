"""The Laplacian pyramid: it is invertible, and its residuals obey a law where d(u(l)) = l."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate1d

from ganjax.kinds import from_bytes, to_bytes
from ganjax.layers.pyramid import KERNELS, pyramid, reconstruct, without_small
from ganjax.layers.resize import bilinear

BOX, SMOOTH = KERNELS["box"], KERNELS["smooth"]
BYTES = np.random.default_rng(0).integers(0, 256, (4, 16, 24, 3), np.uint8)


@pytest.mark.parametrize("name", KERNELS)
def test_a_pyramid_is_its_image(name):
    """In float32 nearly, and in 8 bits wholly; two levels have 5/4 as many numbers as the image."""
    x, kernels = from_bytes(jnp.asarray(BYTES)), KERNELS[name]
    residuals, small = jax.jit(lambda x: pyramid(x, 4, kernels))(x)
    assert [h.shape[1:3] for h in residuals] == [(16, 24), (8, 12), (4, 6)] and small.shape == (4, 2, 3, 3)
    back = jax.jit(lambda *parts: reconstruct(*parts, kernels))(residuals, small)
    np.testing.assert_allclose(back, x, atol=2.5e-7)
    np.testing.assert_array_equal(to_bytes(np.asarray(back)), BYTES)
    (first,), second = pyramid(x[:, :, :16, :1], 2, kernels)
    assert first[0].size + second[0].size == 320


def test_the_smooth_kernels_are_those_of_others(float64):
    """Weights 1, 3, 3, 1 by SciPy, and bilinear interpolation, with edges that repeat: a constant stays one."""
    x = np.random.default_rng(1).normal(size=(2, 8, 6, 3))
    weights = np.array([1, 3, 3, 1]) / 8
    expected = correlate1d(correlate1d(x, weights, 1, mode="nearest", origin=-1), weights, 2, mode="nearest", origin=-1)
    down, up, wide = jax.jit(lambda x: (SMOOTH.down(x), SMOOTH.up(x), bilinear(x, (16, 12))))(x)
    np.testing.assert_allclose(down, expected[:, ::2, ::2], rtol=1e-12)
    np.testing.assert_allclose(up, wide, rtol=1e-12)
    changes = (*BOX[:2], *SMOOTH[:2])
    for changed in jax.jit(lambda x: [change(x) for change in changes])(np.full((1, 4, 4, 1), -1.0)):
        np.testing.assert_allclose(changed, -1, rtol=1e-12)


def test_true_residuals_have_zero_mean_in_every_block_of_the_box():
    """So one that looks at means of blocks tells all that do not; what is projected does, and then d gives l back."""
    rng = np.random.default_rng(2)
    x, drawn = from_bytes(jnp.asarray(BYTES)), jnp.asarray(rng.normal(size=BYTES.shape), jnp.float32)
    for kernels, lawful in ((BOX, True), (SMOOTH, False)):
        (h,), _ = jax.jit(lambda x, kernels=kernels: pyramid(x, 2, kernels))(x)
        down = jax.jit(kernels.down)
        assert (np.abs(down(h)).max() < 2e-7) == lawful
        assert np.abs(down(drawn)).max() > 0.5
    small, free = jax.jit(BOX.down)(x), jax.jit(without_small)
    once = free(drawn)
    np.testing.assert_allclose(jax.jit(lambda small, h: BOX.down(BOX.up(small) + h))(small, once), small, atol=5e-7)
    np.testing.assert_allclose(free(once), once, atol=5e-7)
    with pytest.raises(ValueError, match=r"expected kernels with d\(u\(l\)\) = l"):
        without_small(drawn, SMOOTH)


@pytest.mark.fault("residuals through tanh or in 8 bits: those of 3 % of the pixels of random images are cut")
def test_residuals_leave_the_range_of_images():
    x = jnp.asarray(np.random.default_rng(3).uniform(-1, 1, (1, 512, 512, 1)), jnp.float32)
    (h,), _ = pyramid(x, 2)
    assert 0.02 < np.mean(np.abs(h) > 1) < 0.05 and np.abs(h).max() > 1.3
    lonely = jnp.full((1, 2, 2, 1), -1.0).at[0, 0, 0, 0].set(1.0)
    np.testing.assert_allclose(pyramid(lonely, 2)[0][0].max(), 1.5)


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match=r"images of 28x30 have no 3 levels, expected sides divisible by 4"):
        pyramid(jnp.zeros((1, 28, 30, 1)), 3)
    with pytest.raises(ValueError, match="5x4"):
        SMOOTH.down(jnp.zeros((1, 5, 4, 1)))
