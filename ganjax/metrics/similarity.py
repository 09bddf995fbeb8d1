"""Multi-scale structural similarity: how alike two images are, and so how diverse samples are."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike, NDArray

from ganjax.core import Array
from ganjax.metrics.sets import check_images, check_units

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of scales, finest first (Wang et al. 2003)
K1, K2 = 0.01, 0.03
WINDOW, SIGMA = 11, 1.5  # of the Gaussian, pixels


class Diversity(NamedTuple):
    """Similarity of random pairs of samples: small where samples are diverse."""

    mean: float  # 0 to 1
    error: float  # standard error of the mean


def ms_ssim(x: Array, y: Array, *, window: int = WINDOW) -> Array:
    """`l_M^w_M prod_j (c_j s_j)^w_j` over scales j, each half the size of the one before (Wang et al. 2003).

    l compares luminance, at the coarsest scale M alone, and c s contrast and structure, in Gaussian windows of
    standard deviation 1.5 without padding; their means over the image are negative for opposite structure, which
    counts as 0. The paper has five scales. Smaller images have as many as are no smaller than the window, the weights
    divided by their sum: 2 for 28 or 32 pixels, 3 for 64, 4 for 128, 5 from 176 on. An odd last row or column is
    dropped in halving. Channels are compared one by one and averaged, as TensorFlow does.

    Args:
        x: [N, H, W, C] uint8, or floating in [-1, 1].
        y: the same shape, likewise.
        window: side of the windows in pixels, 11 in the paper, odd; smaller for images below 11 pixels.

    Returns:
        [N] floating, 1 for equal images.

    Raises:
        TypeError: another dtype.
        ValueError: the shapes differ, images are smaller than the window, or, where they are known when this is called,
            floating ones are in 0..255.
    """
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"ms_ssim: x has shape {x.shape} and y {y.shape}, expected two equal shapes [N, H, W, C]")
    if window < 1 or window % 2 == 0 or min(x.shape[1:3]) < window:
        raise ValueError(f"ms_ssim: {window=} for images of shape {x.shape}, expected an odd one that fits into them")
    x, y = _zero_to_one("x", x), _zero_to_one("y", y)
    scales = _scales(min(x.shape[1:3]), window)
    weights, values = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales]), []
    for scale in range(scales):
        if scale:
            x, y = _halve(x), _halve(y)
        luminance, structure = _compare(x, y, window)
        values.append((luminance * structure if scale == scales - 1 else structure).mean((1, 2)))  # [N, C]
    powers = [jnp.maximum(value, 0) ** weight for value, weight in zip(values, weights, strict=True)]
    return jnp.stack(powers).prod(0).mean(-1)


def ms_ssim_diversity(images: ArrayLike, *, pairs: int, seed: int, window: int = WINDOW) -> Diversity:
    """Mean `ms_ssim` of random pairs of different samples, best of one class (Odena et al. 2017).

    Print that of real images beside it: a class of similar things has a large one too.

    Args:
        images: [N, H, W, C] uint8, or floating in [-1, 1].
        pairs: how many are drawn, at least two; the paper takes 100 per class.
        seed: of the draws.
        window: as in `ms_ssim`.

    Raises:
        TypeError: another dtype.
        ValueError: fewer than two images or pairs, or images that do not fit.
    """
    check_images("ms_ssim_diversity", images=images)
    x = np.asarray(images)
    if len(x) < 2 or pairs < 2:
        raise ValueError(f"ms_ssim_diversity: {len(x)} images and {pairs=}, expected at least two of both")
    rng = np.random.default_rng(seed)
    first = rng.integers(len(x), size=pairs)
    second = (first + rng.integers(1, len(x), size=pairs)) % len(x)
    values = np.asarray(_pairs(x, first, second, window=window), np.float64)
    return Diversity(float(values.mean()), float(values.std(ddof=1) / np.sqrt(pairs)))


@partial(jax.jit, static_argnames="window")
def _pairs(images: Array, first: Array, second: Array, *, window: int) -> Array:
    def one(pair: tuple[Array, Array]) -> Array:
        return ms_ssim(images[pair[0]][None], images[pair[1]][None], window=window)[0]

    return lax.map(one, (first, second), batch_size=64)


def _scales(side: int, window: int) -> int:
    """How many of the five are no smaller than the window."""
    return sum(side // 2**scale >= window for scale in range(len(WEIGHTS)))


def _zero_to_one(name: str, images: Array) -> Array:
    if images.dtype == jnp.uint8:
        return jnp.asarray(images, jnp.result_type(float)) / 255
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"ms_ssim: {name} has dtype {images.dtype}, expected uint8, or floating in [-1, 1]")
    if not isinstance(images, jax.core.Tracer):
        check_units("ms_ssim", name, np.asarray(images))
    wide = jnp.promote_types(images.dtype, jnp.float32)  # variances are small differences
    return (jnp.asarray(images, wide) + 1) / 2


def _compare(x: Array, y: Array, window: int) -> tuple[Array, Array]:
    """Luminance and contrast times structure in each window, of images in [0, 1]."""
    rows, columns = (_windows(side, window) for side in x.shape[1:3])
    stack = jnp.stack([x, y, x * x, y * y, x * y])
    # In full precision on accelerators too: variances are small differences.
    means = jnp.einsum("ih,jw,snhwc->snijc", rows, columns, stack, precision=lax.Precision.HIGHEST)
    mean_x, mean_y, square_x, square_y, product = means
    both, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    luminance = (2 * both + K1**2) / (squares + K1**2)
    return luminance, (2 * (product - both) + K2**2) / (square_x + square_y - squares + K2**2)


def _windows(size: int, window: int) -> NDArray[np.float64]:
    """[size - window + 1, size] a Gaussian window in each row, weights that sum to 1."""
    offset = np.arange(window) - window // 2
    kernel = np.exp(-(offset**2) / (2 * SIGMA**2))
    return np.stack([np.pad(kernel / kernel.sum(), (i, size - window - i)) for i in range(size - window + 1)])


def _halve(x: Array) -> Array:
    """Means of 2 x 2 pixels."""
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
