"""The Laplacian pyramid: an image as residuals of every size and one small image (Burt and Adelson 1983).

    l_0 = x    l_(k+1) = d(l_k)    h_k = l_k - u(l_(k+1))        and back    l_k = u(l_(k+1)) + h_k

It is invertible whatever d and u are, up to rounding in float32 and wholly after rounding to 8 bits. Residuals have
other bounds than images: with pixels from -1 to 1 those of the box reach 1.5, which neither a tanh nor 8 bits hold.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from ganjax.checks import check_range
from ganjax.core import Array
from ganjax.layers.resampling import double, mean_pool, smooth_double, smoothed


class Kernels(NamedTuple):
    """How sizes change, both linear."""

    down: Callable[[Array], Array]  # d, [B, H, W, C] to [B, H / 2, W / 2, C]
    up: Callable[[Array], Array]  # u, [B, H, W, C] to [B, 2H, 2W, C]
    inverse: bool  # d(u(l)) = l, so that residuals hold nothing of the small image: d(h) = 0


def _edged(x: Array) -> Array:
    """One more pixel on each side, a copy of the edge."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")


def _smooth_down(x: Array) -> Array:
    check_halves(x.shape, 2)
    return smoothed(_edged(x), 0, 0)[:, ::2, ::2]


KERNELS = {
    "box": Kernels(mean_pool, double, inverse=True),  # the mean of 2x2 pixels; each pixel four times
    # weights 1, 3, 3, 1 and bilinear interpolation, edges repeated outside
    "smooth": Kernels(_smooth_down, lambda x: smooth_double(_edged(x))[:, 2:-2, 2:-2], inverse=False),
}


def check_halves(shape: tuple[int, ...], levels: int) -> None:
    """Raise `ValueError` unless images [..., H, W, C] can be halved `levels - 1` times."""
    check_range("pyramid", 1, whole=True, levels=levels)
    height, width = shape[-3:-1]
    if height % 2 ** (levels - 1) or width % 2 ** (levels - 1):
        raise ValueError(
            f"pyramid: images of {height}x{width} have no {levels} levels, expected sides divisible by "
            f"{2 ** (levels - 1)}; take fewer levels, or pad the images"
        )


def pyramid(x: Array, levels: int, kernels: Kernels = KERNELS["box"]) -> tuple[list[Array], Array]:
    """The residuals `h_0, ..., h_(levels - 2)` of falling size and the small image `l_(levels - 1)`.

    Args:
        x: [B, H, W, C] floating.
        levels: sizes of image in all; 1 for the image itself.
        kernels: d and u.

    Raises:
        ValueError: a side cannot be halved so often.
    """
    check_halves(x.shape, levels)
    residuals = []
    for _ in range(levels - 1):
        small = kernels.down(x)
        residuals.append(x - kernels.up(small))
        x = small
    return residuals, x


def reconstruct(residuals: Sequence[Array], small: Array, kernels: Kernels = KERNELS["box"]) -> Array:
    """The image of a pyramid, [B, H, W, C]; arguments as `pyramid` returns them."""
    for residual in reversed(residuals):
        small = kernels.up(small) + residual
    return small


def without_small(h: Array, kernels: Kernels = KERNELS["box"]) -> Array:
    """`h - u(d(h))`: the part of h that can be a residual, whose mean over each block of 2x2 is zero with the box.

    Raises:
        ValueError: d(u(l)) is not l, and what is left has no such law.
    """
    if not kernels.inverse:
        raise ValueError("without_small: expected kernels with d(u(l)) = l, such as the box")
    return h - kernels.up(kernels.down(h))
