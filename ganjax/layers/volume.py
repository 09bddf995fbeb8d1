"""Convolutions over time, rows and columns, as planar ones of frames.

`y[t] = sum_k x[s t + k - low] w[k]` over the taps k in time is a planar convolution of a frame whose channels are those
of its `kt` neighbours, and its transpose scatters the `kt` maps of a frame among its neighbours. So volumes have the
derivatives of `ganjax.layers.convolution`, which are fast on a CPU in every order.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax

from ganjax.core import Array
from ganjax.layers.convolution import conv_general_dilated, conv_transpose

Steps = tuple[int, int, int]  # along time, rows and columns
Padding = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # (low, high) along each


def convolution(x: Array, w: Array, strides: Steps, padding: Padding) -> Array:
    """`y[i] = sum_k x[strides i + k - low] w[k]` along time, rows and columns.

    Args:
        x: [B, T, H, W, C].
        w: [kt, kh, kw, C, O].
        strides: along the three axes.
        padding: zeros before and behind.

    Returns:
        [B, T', H', W', O].
    """
    x = jnp.pad(x, ((0, 0), padding[0], (0, 0), (0, 0), (0, 0)))
    taps, kh, kw, c, o = w.shape
    frames = (x.shape[1] - taps) // strides[0] + 1
    near = [x[:, k : k + strides[0] * (frames - 1) + 1 : strides[0]] for k in range(taps)]
    x_NxHxWxC = jnp.concatenate(near, -1).reshape(-1, *x.shape[2:4], taps * c)
    planar = w.transpose(1, 2, 0, 3, 4).reshape(kh, kw, taps * c, o)
    y = conv_general_dilated(x_NxHxWxC, planar, strides[1:], padding[1:], dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y.reshape(-1, frames, *y.shape[1:])


def transposed(x: Array, w: Array, strides: Steps, crop: tuple[int, int]) -> Array:
    """`y[strides[0] t + k - low] += x[t] w[kt - 1 - k]` along time, 'SAME' along rows and columns.

    As `jax.lax.conv_transpose` has it, the kernel slides unflipped over the dilated input: in time too.

    Args:
        x: [B, T, H, W, C].
        w: [kt, kh, kw, C, O].
        strides: the factors by which the sides grow.
        crop: frames that are left out at the beginning and at the end of `strides[0] (T - 1) + kt`.

    Returns:
        [B, strides[0] (T - 1) + kt - sum(crop), strides[1] H, strides[2] W, O].
    """
    (_, frames, *_), (taps, kh, kw, c, o) = x.shape, w.shape
    planar = w[::-1].transpose(1, 2, 3, 0, 4).reshape(kh, kw, c, taps * o)
    y = conv_transpose(x.reshape(-1, *x.shape[2:]), planar, strides[1:], "SAME")
    y_BxTxHxWxKxO = y.reshape(-1, frames, *y.shape[1:3], taps, o)
    zero = jnp.zeros((), y.dtype)
    none = (0, 0, 0)
    apart = [  # tap k of frame t comes to s t + k
        lax.pad(y_BxTxHxWxKxO[..., k, :], zero, (none, (k, taps - 1 - k, strides[0] - 1), none, none, none))
        for k in range(taps)
    ]
    whole = sum(apart[1:], apart[0])
    return whole[:, crop[0] : whole.shape[1] - crop[1]]


class _Volume(nn.Module):
    """What both layers hold: kernel [kt, kh, kw, C, features] and bias [features]."""

    features: int
    kernel_size: Steps
    strides: Steps = (1, 1, 1)
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = None

    def weights(self, x: Array) -> tuple[Array, Array, Array | float]:
        """x and kernel and bias in the dtype of the layer."""
        w = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features))
        b = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        x, w, b = promote_dtype(x, w, b, dtype=self.dtype)  # type: ignore[assignment]
        return x, w, 0.0 if b is None else b.reshape(1, 1, 1, 1, -1)


class VolumeConv(_Volume):
    """`convolution` with a bias; a padding of (k - s) / 2 at both ends divides each side by its stride exactly."""

    padding: Padding = ((0, 0), (0, 0), (0, 0))

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, H, W, C] to [B, T', H', W', features]."""
        x, w, b = self.weights(x)
        return convolution(x, w, self.strides, self.padding) + b


class VolumeConvTranspose(_Volume):
    """`transposed` with a bias; each side grows by its stride exactly."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, H, W, C] to [B, strides[0] T, strides[1] H, strides[2] W, features]."""
        x, w, b = self.weights(x)
        extra = self.kernel_size[0] - self.strides[0]
        return transposed(x, w, self.strides, (extra // 2, extra - extra // 2)) + b
