"""Halving and doubling maps, alone and folded into the 3x3 convolution beside them.

A mean over 2x2 pixels after a convolution, and nearest-neighbour doubling before one, are linear maps, so each pair is
one convolution with another kernel: the same function and the same parameters with 2.25 times fewer multiplications.

    mean of 2x2 after 3x3     a 4x4 convolution of stride 2, with the mean of the kernel's four shifts
    3x3 after doubling        a transposed 4x4 convolution of stride 2, with their sum

A kernel of 1x1 commutes with both, so a shortcut is computed on the small side.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.checks import check_name
from ganjax.core import Array
from ganjax.layers.convolution import conv_general_dilated, conv_transpose

_PLANAR = ("NHWC", "HWIO", "NHWC")

Taps = tuple[float, ...]  # of a filter along each side, symmetric, their sum 1
SMOOTH: Taps = (1 / 8, 3 / 8, 3 / 8, 1 / 8)  # StyleGAN2's: .79, .35 and .06 of 1/4, 1/2 and 3/4 of the band pass
# `scipy.signal.firwin(12, 0.5, width=0.5)`, by Kaiser's window as in StyleGAN3: .995, .5 and .005 of them pass.
_HALF: Taps = (0.002919349489282359, 0.011240638815001758, -0.028115720338583516)
_HALF += (-0.060336966634814304, 0.13056329526111163, 0.44372940340800215)
LOW_PASS: Taps = (*_HALF, *_HALF[::-1])


def mean_pool(x: Array) -> Array:
    """The mean of each 2x2 block, [N, H, W, C] to [N, H / 2, W / 2, C].

    Raises:
        ValueError: a side is odd.
    """
    n, h, w, c = x.shape
    if h % 2 or w % 2:
        raise ValueError(f"mean_pool: x has shape {x.shape}, expected an even height and width; crop or pad the map")
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def double(x: Array) -> Array:
    """Nearest-neighbour doubling, [N, H, W, C] to [N, 2H, 2W, C]."""
    n, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (n, h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)


def smooth_double(x: Array) -> Array:
    """Bilinear doubling, `y[2i] = (x[i - 1] + 3 x[i]) / 4` and `y[2i + 1] = (3 x[i] + x[i + 1]) / 4` along each side.

    Zeros outside, as in the authors' code of StyleGAN2 and R3GAN. [N, H, W, C] to [N, 2H, 2W, C].
    """
    for axis in (1, 2):
        before, after = _neighbours(x, axis)
        y = jnp.stack([(before + 3 * x) / 4, (3 * x + after) / 4], axis + 1)
        x = y.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
    return x


def smooth_pool(x: Array) -> Array:
    """Bilinear halving, `y[i] = (x[2i - 1] + 3 x[2i] + 3 x[2i + 1] + x[2i + 2]) / 8` along each side; zeros outside.

    A quarter of the transpose of `smooth_double`. [N, H, W, C] to [N, H / 2, W / 2, C].
    """
    for axis in (1, 2):
        pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        even, odd = jnp.take(pairs, 0, axis + 1), jnp.take(pairs, 1, axis + 1)
        x = (_neighbours(odd, axis)[0] + 3 * even + 3 * odd + _neighbours(even, axis)[1]) / 8
    return x


def _neighbours(x: Array, axis: int) -> tuple[Array, Array]:
    """What stands before and after each place, zero at the ends."""
    pad = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
    padded = jnp.pad(x, pad)
    return jax.lax.slice_in_dim(padded, 0, -2, axis=axis), jax.lax.slice_in_dim(padded, 2, None, axis=axis)


def smoothed(x: Array, low: int, high: int, taps: Taps = SMOOTH) -> Array:
    """`y[i] = sum_k taps[k] x[i + k - low]` along each side, zeros outside.

    [N, H, W, C] to [N, H + low + high + 1 - K, W + low + high + 1 - K, C] for K taps.
    """
    for axis in (1, 2):
        padded = jnp.pad(x, [(low, high) if i == axis else (0, 0) for i in range(x.ndim)])
        size = padded.shape[axis] + 1 - len(taps)
        shifts = (jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(len(taps)))
        x = sum((tap * shift for tap, shift in zip(taps, shifts, strict=True)), jnp.zeros((), x.dtype))
    return x


def low_pass_double(x: Array) -> Array:
    """Doubling by `LOW_PASS`: zeros between the pixels, then the filter. [N, H, W, C] to [N, 2H, 2W, C]."""
    half = len(LOW_PASS) // 2
    side = (half, half, 1)  # one zero after each pixel, the last one's among those above
    return 4 * smoothed(jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), side, side, (0, 0, 0))), 0, 0, LOW_PASS)


def smooth_double_then_conv(x: Array, kernel: Array, taps: Taps = SMOOTH) -> Array:
    """A transposed convolution of stride 2 by a 3x3 kernel, smoothed: the doubling of StyleGAN2 (Karras et al. 2020).

    [N, H, W, C] and [3, 3, C, O] to [N, 2H, 2W, O].
    """
    around = len(taps) // 2 - 1
    return 4 * smoothed(conv_transpose(x, kernel, (2, 2), "VALID"), around, around, taps)


def smooth_conv_then_pool(x: Array, kernel: Array) -> Array:
    """A convolution of stride 2 by a 3x3 kernel of the smoothed map, [N, H, W, C] to [N, H / 2, W / 2, O]."""
    return conv(smoothed(x, 2, 2), kernel, "VALID", stride=2)


def conv(x: Array, kernel: Array, padding: Any = "SAME", stride: int = 1) -> Array:
    """[N, H, W, C] with a kernel [h, w, C, O] to [N, P, Q, O]."""
    return conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=_PLANAR)


def conv_then_pool(x: Array, kernel: Array) -> Array:
    """`mean_pool(conv(x, kernel))` for a 3x3 kernel, as one convolution."""
    return conv(x, _shifts(kernel) / 4, ((1, 1), (1, 1)), stride=2)


def double_then_conv(x: Array, kernel: Array) -> Array:
    """`conv(double(x), kernel)` for a 3x3 kernel, as one transposed convolution of the small map."""
    return conv_transpose(x, _shifts(kernel), (2, 2), "SAME")


def _shifts(kernel: Array) -> Array:
    """The 3x3 kernel summed over its four places in a 4x4 one."""
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    return sum(
        (jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i, j in places), jnp.zeros((), kernel.dtype)
    )


class Conv3x3(nn.Module):
    """A 3x3 convolution and the resampling beside it, as one; always with the parameters of `flax.linen.Conv`."""

    features: int
    resample: str = "none"  # none; up: doubled before; down: pooled after
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[N, H, W, C] to [N, P, Q, features]: the same size, doubled or halved."""
        check_name("Conv3x3", "resample", self.resample, ("none", "up", "down"))
        kernel = self.param("kernel", self.kernel_init, (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        if self.resample == "up":
            y = double_then_conv(x, kernel)
        elif self.resample == "down":
            y = conv_then_pool(x, kernel)
        else:
            y = conv(x, kernel)
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)
