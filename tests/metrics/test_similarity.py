"""MS-SSIM against an independent oracle in SciPy, and what it says of diversity."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve2d

from ganjax.metrics import ms_ssim, ms_ssim_diversity
from ganjax.metrics.similarity import WEIGHTS


def _ssim(x, y, window):
    """Means of SSIM and of its contrast and structure part over windows, of one channel with values of 0 to 255."""
    grid = np.arange(window) - (window - 1) / 2
    kernel = np.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def blur(z):
        return convolve2d(z, kernel, mode="valid")

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mu, nu = blur(x), blur(y)
    structure = (2 * (blur(x * y) - mu * nu) + c2) / (blur(x * x) - mu**2 + blur(y * y) - nu**2 + c2)
    return (structure * (2 * mu * nu + c1) / (mu**2 + nu**2 + c1)).mean(), structure.mean()


def _oracle(x, y, scales, window=11):
    """[N, H, W, C] uint8, in double precision, one channel after another."""
    total = np.zeros(len(x))
    for i in range(len(x)):
        for c in range(x.shape[3]):
            a, b = x[i, ..., c].astype(np.float64), y[i, ..., c].astype(np.float64)
            value = 1.0
            for j in range(scales):
                full, structure = _ssim(a, b, window)
                weight = WEIGHTS[j] / sum(WEIGHTS[:scales])
                value *= max(full if j == scales - 1 else structure, 0) ** weight
                a, b = (z[: len(z) // 2 * 2, : z.shape[1] // 2 * 2] for z in (a, b))
                a, b = ((z[::2, ::2] + z[1::2, ::2] + z[::2, 1::2] + z[1::2, 1::2]) / 4 for z in (a, b))
            total[i] += value / x.shape[3]
    return total


def _pair(shape, seed=0, noise=40):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 255, shape)
    x = sum(np.roll(x, (i, j), (1, 2)) for i in range(4) for j in range(4)) / 16  # neither white nor flat
    return np.rint(x).astype(np.uint8), np.clip(np.rint(x + noise * rng.normal(size=shape)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape, scales", [((1, 176, 180, 1), 5), ((2, 64, 64, 3), 3), ((2, 29, 45, 1), 2)])
def test_against_scipy(shape, scales, float64):
    x, y = _pair(shape)
    expected = _oracle(x, y, scales)
    assert (expected < 0.97).all() and (expected > 0.1).all()
    compare = jax.jit(ms_ssim)
    np.testing.assert_allclose(compare(x, y), expected, rtol=1e-9)
    np.testing.assert_allclose(compare(x / 127.5 - 1, y / 127.5 - 1), expected, rtol=1e-9)


def test_single_precision_and_small_windows():
    x, y = _pair((3, 28, 28, 1))
    np.testing.assert_allclose(jax.jit(ms_ssim)(x, y), _oracle(x, y, 2), rtol=1e-4)
    x, y = _pair((3, 8, 8, 1))
    compare = jax.jit(partial(ms_ssim, window=7))
    np.testing.assert_allclose(compare(x, y), _oracle(x, y, 1, 7), rtol=1e-4)
    half = [jnp.asarray(z / 127.5 - 1, jnp.float16) for z in (x, y)]  # computed in single precision
    np.testing.assert_allclose(compare(*half), compare(*(z.astype(jnp.float32) for z in half)), rtol=1e-6)


def test_the_weights_are_those_of_the_paper():
    np.testing.assert_allclose(sum(WEIGHTS), 1, atol=1e-3)
    assert WEIGHTS == (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def test_equal_opposite_and_constant_images(float64):
    x, _ = _pair((2, 32, 32, 1))
    compare = jax.jit(ms_ssim)
    np.testing.assert_allclose(compare(x, x), 1, rtol=1e-12)
    assert float(compare(x, 255 - x).max()) < 0.05
    a, b = np.full((1, 32, 32, 1), 51, np.uint8), np.full((1, 32, 32, 1), 102, np.uint8)
    weight = WEIGHTS[1] / (WEIGHTS[0] + WEIGHTS[1])  # luminance counts at the coarsest of two scales
    expected = ((2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4)) ** weight
    np.testing.assert_allclose(compare(a, b), expected, rtol=1e-9)


def test_diversity():
    x, _ = _pair((40, 28, 28, 1))
    found = ms_ssim_diversity(x, pairs=100, seed=0)
    assert found.mean < 0.3 and found.error < 0.03
    assert ms_ssim_diversity(x, pairs=100, seed=0) == found and ms_ssim_diversity(x, pairs=100, seed=1) != found
    collapsed = ms_ssim_diversity(np.repeat(x[:1], 40, 0), pairs=100, seed=0)
    np.testing.assert_allclose(collapsed, (1, 0), atol=1e-5)
    # Of two images, all pairs are the two of them and none is an image with itself.
    alone = jax.jit(ms_ssim)(np.repeat(x[:1], 64, 0), np.repeat(x[1:2], 64, 0))[0]  # as many as are compared at once
    np.testing.assert_allclose(ms_ssim_diversity(x[:2], pairs=70, seed=0).mean, alone, rtol=1e-5)


def test_wrong_images():
    x = np.zeros((2, 10, 12, 1), np.uint8)
    with pytest.raises(ValueError, match="window=11 for images of shape"):
        ms_ssim(x, x)
    with pytest.raises(ValueError, match="window=4 for images"):
        ms_ssim(x, x, window=4)
    with pytest.raises(ValueError, match="expected two equal shapes"):
        ms_ssim(x, x[:1])
    with pytest.raises(TypeError, match="y has dtype int32"):
        ms_ssim(x, x.astype(np.int32), window=5)
    with pytest.raises(ValueError, match="expected at least two of both"):
        ms_ssim_diversity(x, pairs=1, seed=0)
