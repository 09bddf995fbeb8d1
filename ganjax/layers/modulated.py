"""Convolutions whose input channels a style scales (Karras et al. 2020, section 2.2)."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.checks import check_name
from ganjax.core import Array
from ganjax.layers.equalised import equalised
from ganjax.layers.resampling import SMOOTH, Taps, conv, smooth_double_then_conv


def modulated_conv(
    x: Array,
    kernel: Array,
    style: Array,
    *,
    demodulate: bool = True,
    resample: Literal["none", "up"] = "none",
    taps: Taps = SMOOTH,
) -> Array:
    """`y = conv(x, w')` with `w'_kio = s_i w_kio / sqrt(sum_ki (s_i w_kio)^2 + 1e-8)`, another kernel for each example.

    Computed on activations, `conv(s x, w)` times the root, which is the same and one convolution for all examples:
    grouped ones, of a kernel for each, are many times slower on a CPU. Without demodulation the root is left out.

    Args:
        x: [B, H, W, C] maps.
        kernel: [h, w, C, O], sides odd, 3x3 with `resample`.
        style: [B, C], s.
        demodulate: divide by the root, so that the output of white noise of unit variance has unit variance.
        resample: "up" doubles the map, smoothed.
        taps: of the filter that smooths it.

    Returns:
        [B, H, W, O], or twice as large.
    """
    check_name("modulated_conv", "resample", resample, ("none", "up"))
    x = x * style[:, None, None]
    y = conv(x, kernel) if resample == "none" else smooth_double_then_conv(x, kernel, taps)
    if not demodulate:
        return y
    power = jnp.square(style) @ jnp.square(kernel).sum((0, 1))
    return y * jax.lax.rsqrt(power + 1e-8)[:, None, None]


class ModulatedConv(nn.Module):
    """`modulated_conv` with equalised learning rates; the style comes from a map of its own, which starts around 1."""

    features: int
    side: int = 3
    resample: Literal["none", "up"] = "none"
    demodulate: bool = True
    gain: float = 1.0  # of the style
    taps: Taps = SMOOTH
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        """[B, H, W, C] maps and [B, W] to [B, H, W, features], or twice as large."""
        channels = x.shape[-1]
        bias = self.param("style_bias", nn.initializers.ones, (channels,))
        style = (w @ equalised(self, (w.shape[-1], channels), name="style") + bias[None]) * self.gain
        shape = (self.side, self.side, channels, self.features)
        # Demodulation forgets the scale of a kernel; without it He's constant is the style's gain.
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape)
        x, kernel, style = nn.dtypes.promote_dtype(x, kernel, style, dtype=self.dtype)
        how: dict[str, Any] = {"demodulate": self.demodulate, "resample": self.resample, "taps": self.taps}
        return modulated_conv(x, kernel, style, **how)
