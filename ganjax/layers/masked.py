"""Convolutions that see the past alone, of a whole image or, remembering what they saw, of one pixel after another."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from ganjax.core import Array
from ganjax.layers.convolution import conv_general_dilated


class Place(NamedTuple):
    """Where an image is being drawn."""

    row: Array  # scalar int32
    column: Array | None  # scalar int32, or None: the whole row
    size: tuple[int, int]  # height and width of the image


def mask(
    kind: Literal["A", "B"] | None, rows: int, columns: int, right: int, groups: int, c_in: int, c_out: int
) -> np.ndarray:
    """Which taps of a kernel see the past, [rows, columns, c_in, c_out] of 0.0 and 1.0.

    The last row is the pixel's own; of it, what lies right of the centre is 0, and at the centre input feature i meets
    output feature j where its group comes before (A) or is no later (B). Feature i is of group `i % groups`, so that
    both halves of a gate have the same groups. None masks nothing: rows that are all of the past.
    """
    found = np.ones((rows, columns, c_in, c_out), np.float32)
    if kind is not None:
        own, of = np.arange(c_in)[:, None] % groups, np.arange(c_out) % groups
        centre = columns - 1 - right
        found[-1, centre] = own < of if kind == "A" else own <= of
        found[-1, centre + 1 :] = 0
    return found


class MaskedConv(nn.Module):
    """`x [B, H, W, I] -> [B, H, W, features]`, of rows up to a pixel's own (van den Oord et al. 2016, figure 2).

    Rows below have no weights at all. The mask multiplies the kernel in every pass, so no optimiser can undo it.

    With a `place` it says what it would there, [B, 1, 1, features], or [B, 1, W, features] of a row: an x that is the
    whole image is read, and less, [B, 1, 1 or W, I], is written into the collection "cache", whose windows are read.
    """

    features: int
    kernel_size: tuple[int, int] = (1, 1)  # rows and columns
    right: int = 0  # columns right of the pixel's own
    mask: Literal["A", "B"] | None = "B"
    groups: int = 1  # channels of the image, whose order is that of the features of a pixel
    kernel_init: Any = nn.linear.default_kernel_init

    @nn.compact
    def __call__(self, x: Array, place: Place | None = None) -> Array:
        (rows, columns), c = self.kernel_size, x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (rows, columns, c, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        seen = mask(self.mask, rows, columns, self.right, self.groups, c, self.features)
        padding = ((rows - 1, 0), (columns - 1 - self.right, self.right))
        if place is not None:
            x, padding = self._window(x, place, padding), ((0, 0), (0, 0))
        numbers = ("NHWC", "HWIO", "NHWC")
        y = conv_general_dilated(x, kernel * seen.astype(kernel.dtype), (1, 1), padding, dimension_numbers=numbers)
        return y + bias.reshape(1, 1, 1, -1)

    def _window(self, x: Array, place: Place, padding: tuple) -> Array:
        """What the kernel sees there."""
        (rows, columns), (b, *size, c) = self.kernel_size, x.shape
        none = jnp.zeros_like(place.row)
        at = none, place.row, none if place.column is None else place.column, none
        if tuple(size) == place.size:
            image = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        elif self.kernel_size == (1, 1):
            return x
        else:
            around = [n + low + high for n, (low, high) in zip(place.size, padding, strict=True)]
            cache = self.variable("cache", "x", jnp.zeros, (b, *around, c), x.dtype)
            (above, _), (left, _) = padding
            cache.value = lax.dynamic_update_slice(cache.value, x, (none, at[1] + above, at[2] + left, none))
            image = cache.value
        width = image.shape[2] if place.column is None else columns
        return lax.dynamic_slice(image, at, (b, rows, width, c))
