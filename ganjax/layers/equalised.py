"""Layers with equalised learning rates: weights of N(0, 1), scaled by He's constant where they are used.

Under Adam, whose steps do not know the scale of a gradient, every weight then learns as fast relative to its spread
(Karras et al. 2018, section 4.1): a step of size lr moves the weight that acts by lr times the constant.
"""

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.checks import check_name
from ganjax.core import Array
from ganjax.layers.resampling import conv, smooth_conv_then_pool


def equalised(
    module: nn.Module, shape: tuple[int, ...], gain: float = 1.0, rate: float = 1.0, name: str = "kernel"
) -> Array:
    """A parameter of `N(0, 1) / rate`, times `gain rate / sqrt(fan in)`, the fan in all but the last axis."""
    stored = module.param(name, nn.initializers.normal(1 / rate), shape)
    return stored * (gain * rate / math.sqrt(math.prod(shape[:-1])))


class Dense(nn.Module):
    """`x W + b`."""

    features: int
    gain: float = 1.0
    rate: float = 1.0  # of learning, relative to that of other layers
    bias: float = 0.0  # at first
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., C] to [..., features]."""
        kernel = equalised(self, (x.shape[-1], self.features), self.gain, self.rate)
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        if not self.use_bias:
            return x @ kernel
        bias = self.param("bias", nn.initializers.constant(self.bias / self.rate), (self.features,))
        return x @ kernel + (bias * self.rate).astype(x.dtype).reshape(*[1] * (x.ndim - 1), -1)


class Conv(nn.Module):
    """A convolution of odd side with zeros around the map, or of its smoothed form with stride 2."""

    features: int
    side: int = 3
    resample: Literal["none", "down"] = "none"
    gain: float = 1.0
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, H, W, features], or half as large."""
        check_name("equalised.Conv", "resample", self.resample, ("none", "down"))
        kernel = equalised(self, (self.side, self.side, x.shape[-1], self.features), self.gain)
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        y = conv(x, kernel) if self.resample == "none" else smooth_conv_then_pool(x, kernel)
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


def pixel_norm(x: Array) -> Array:
    """`x / sqrt(mean x^2 + 1e-8)` over the channels: every pixel, or every latent, of unit second moment."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-8)
