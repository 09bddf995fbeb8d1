"""Bringing images to the size of a network. What looks like a detail moves a Frechet distance by whole points."""

import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_range
from ganjax.core import Array


def bilinear(x: Array, size: tuple[int, int], *, half_pixel: bool = True) -> Array:
    """Bilinear interpolation of the input's values, without antialiasing.

    Along each axis of n input and m output pixels, `y_i = sum_j max(0, 1 - |s_i - j|) x_j` with the position `s_i`
    clipped to [0, n - 1]:

        s_i = (i + 1/2) n / m - 1/2     half_pixel, as in PyTorch (align_corners=False), TensorFlow 2 and OpenCV
        s_i = i n / m                   as in TensorFlow 1, which shifts the picture up and to the left

    Args:
        x: [B, H, W, C] floating.
        size: (height, width) of the output.
        half_pixel: the choice of positions.

    Returns:
        [B, *size, C] in the dtype of `x`.

    Raises:
        ValueError: x is not of rank 4.
    """
    check_range("bilinear", 1, whole=True, size=size)
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}, expected [B, H, W, C]; add a batch axis with x[None].")
    rows, columns = (jnp.asarray(_matrix(n, m, half_pixel), x.dtype) for n, m in zip(x.shape[1:3], size, strict=True))
    return jnp.einsum("ph,qw,bhwc->bpqc", rows, columns, x, precision="highest")


def _matrix(n: int, m: int, half_pixel: bool) -> np.ndarray:
    """[m, n] float64, the weights of n input pixels in each of m output pixels."""
    shift = 0.5 if half_pixel else 0.0
    position = ((np.arange(m) + shift) * n / m - shift).clip(0, n - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(n)))
