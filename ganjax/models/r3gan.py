"""R3GAN: residual networks without any normalisation (Huang, Gokaslan, Kuleshov & Tompkin 2024, section 4).

Built as the authors' code is: blocks of a 1x1, a grouped 3x3 and a 1x1 convolution that start as the identity (the
fix-up initialisation of Zhang et al. 2019: the last kernel is zero, the others are shrunk by the number of blocks),
LeakyReLU(0.2) with a bias before it and none elsewhere, bilinear resampling between stages, 1x1 convolutions where the
channels change, a learned base map scaled by a linear map of z, and a learned weight for every position of
the last map. There is no output activation.

The published sizes have 768 channels, and half as many in each stage after the fourth from the base map: with 32 pixels
(CIFAR-10, Stacked-MNIST) 20.7 million parameters in each network. The base map has 4 to 7 pixels, 4 as published.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.core import Array, Critique
from ganjax.errors import ConfigError, DataError
from ganjax.layers.conditioning import is_condition, joined
from ganjax.layers.convolution import conv_general_dilated, use_trio
from ganjax.layers.heads import check_labels, critique, projection
from ganjax.layers.resampling import smooth_double, smooth_pool

_GAIN = math.sqrt(2 / (1 + 0.2**2))  # keeps the second moment through LeakyReLU(0.2)
_PLANAR = ("NHWC", "HWIO", "NHWC")


def fan_in(gain: float = 1.0) -> Any:
    """`N(0, gain^2 / inputs)`."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal") if gain else nn.initializers.zeros


def grouped_conv(x: Array, kernel: Array, groups: int) -> Array:
    """A convolution of each group of channels by itself, zeros around it.

    XLA on a CPU runs the gradients of a grouped convolution 20 times slower, and its second derivatives 40 to 60 times
    slower, than one group after another by the convolutions of `ganjax.layers` (two busy cores, 16 images,
    32 groups of 16 channels, 8x8: 573 ms to 25, and 2,280 ms to 36 in a compiled loop).

    Args:
        x: [N, H, W, C].
        kernel: [h, w, C / groups, O], odd sides; the outputs of a group are neighbours.
        groups: how many.

    Returns:
        [N, H, W, O].
    """
    stock = partial(conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=_PLANAR)
    if groups == 1 or not use_trio():
        return stock(x, kernel, feature_group_count=groups)
    parts = jnp.moveaxis(x.reshape(*x.shape[:3], groups, -1), 3, 0)
    kernels = jnp.moveaxis(kernel.reshape(*kernel.shape[:3], groups, -1), 3, 0)
    y = jax.lax.map(lambda pair: stock(*pair), (parts, kernels))
    return jnp.moveaxis(y, 0, 3).reshape(*x.shape[:3], -1)


def stages(shape: tuple[int, ...], width: int) -> tuple[int, ...]:
    """Channels of each stage from the base map on; each stage but the first doubles the map.

    Raises:
        DataError: the sides cannot be halved down to a base map of at most 7 pixels.
    """
    fine = len(shape) == 3 and min(shape[:2]) >= 4
    doublings = next((n for n in range(8) if fine and max(shape[:2]) < 8 * 2**n), None)
    if doublings is None or any(side % 2**doublings for side in shape[:2]):
        raise DataError(
            f"image shape: got {tuple(shape)}, expected (height, width, channels) whose sides are a base of at most 7 "
            "times a power of 2, such as 28, 32, 64 or 256; crop, pad or resize the images"
        )
    return tuple(width // 2 ** max(i - 3, 0) for i in range(doublings + 1))


class Conv(nn.Module):
    """A convolution without bias, in groups, from `fan_in(gain)`."""

    features: int
    side: int = 1
    groups: int = 1
    gain: float = 1.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[N, H, W, C] to [N, H, W, features]."""
        shape = (self.side, self.side, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", fan_in(self.gain), shape)
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        return grouped_conv(x, kernel, self.groups)


class Block(nn.Module):
    """`x + conv1x1(act(conv3x3(act(conv1x1(x)))))`, the 3x3 one in groups; the identity at first."""

    blocks: int  # of the whole network, L
    expansion: int = 2  # hidden channels / channels
    group: int = 16  # channels of a group
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[N, H, W, C] to [N, H, W, C]."""
        hidden = self.expansion * x.shape[-1]
        if hidden % self.group:
            raise ConfigError(
                f"r3gan: {hidden} hidden channels cannot be split into groups of {self.group}; expected a multiple, so "
                "change the width or the group"
            )

        def activation(h: Array, name: str) -> Array:
            bias = self.param(name, nn.initializers.zeros, (hidden,)).astype(h.dtype)
            return nn.leaky_relu(h + bias.reshape(1, 1, 1, -1), 0.2)

        # L^(-1 / (2m - 2)) for blocks of m = 3 layers (Zhang et al. 2019, section 3).
        conv = partial(Conv, hidden, gain=_GAIN * self.blocks**-0.25, dtype=self.dtype)
        h = activation(conv(name="conv_0")(x), "bias_0")
        h = activation(conv(side=3, groups=hidden // self.group, name="conv_1")(h), "bias_1")
        return x + Conv(x.shape[-1], gain=0.0, dtype=self.dtype, name="conv_2")(h)


class Generator(nn.Module):
    """`G: z -> image`: a base map scaled by a linear map of z, then stages of blocks that double it.

    With classes, an embedding of the label is joined to z.
    """

    shape: tuple[int, ...]  # (height, width, channels)
    width: int = 768  # channels of the first four stages
    blocks: int = 2  # of each stage
    expansion: int = 2  # hidden channels of a block / its channels
    group: int = 16  # channels of a group in the 3x3 convolutions
    num_classes: int = 0
    embedding: int = 64  # length of a label's vector
    remat: bool = False  # recompute blocks in the backward pass rather than keep them
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None) -> Array:
        """[B, Z] latents and labels, [B] int32 or vectors [B, E], to images [B, H, W, C], without bounds."""
        check_labels(labels, self.num_classes)
        height, width, channels = self.shape
        widths = stages(self.shape, self.width)
        n = len(widths) - 1
        z = joined(z, labels, self.embedding, self.num_classes, embedding_init=fan_in(), name="classes")
        basis = self.param("basis", nn.initializers.normal(1.0), (height // 2**n, width // 2**n, widths[0]))
        style = nn.Dense(widths[0], use_bias=False, kernel_init=fan_in(), dtype=self.dtype, name="style")(z)
        x_BxHxWxC = style[:, None, None] * basis[None].astype(style.dtype)
        block = partial(_block(self), self.blocks * len(widths), self.expansion, self.group, self.dtype)
        for i, features in enumerate(widths):
            if i:
                if features != x_BxHxWxC.shape[-1]:
                    x_BxHxWxC = Conv(features, dtype=self.dtype, name=f"widths_{i}")(x_BxHxWxC)
                x_BxHxWxC = smooth_double(x_BxHxWxC)
            for j in range(self.blocks):
                x_BxHxWxC = block(name=f"block_{i}_{j}")(x_BxHxWxC)
        return Conv(channels, dtype=self.dtype, name="image")(x_BxHxWxC)


class Discriminator(nn.Module):
    """`D: image -> logits`: the generator mirrored. Each example by itself.

    With classes, the last layer is as wide as the network and the logit its inner product with the label's embedding.
    """

    width: int = 768  # channels of the last four stages
    blocks: int = 2  # of each stage
    expansion: int = 2  # hidden channels of a block / its channels
    group: int = 16  # channels of a group in the 3x3 convolutions
    num_classes: int = 0
    remat: bool = False  # recompute blocks in the backward pass rather than keep them
    heads: Mapping[str, int] | None = None  # name -> size; with any mapping, even {}, it returns a `Critique`
    dtype: Any = None

    by_example = True  # no BatchNorm: real and generated images can share a pass

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None) -> Array | Critique:
        """[B, H, W, C] images and labels, [B] int32 or vectors [B, E], to logits [B], with heads to a `Critique`."""
        check_labels(labels, self.num_classes)
        widths = stages(x.shape[1:], self.width)[::-1]
        block = partial(_block(self), self.blocks * len(widths), self.expansion, self.group, self.dtype)
        h_BxHxWxC = Conv(widths[0], dtype=self.dtype, name="image")(x)
        for i, features in enumerate(widths):
            if i:
                h_BxHxWxC = smooth_pool(h_BxHxWxC)
                if features != h_BxHxWxC.shape[-1]:
                    h_BxHxWxC = Conv(features, dtype=self.dtype, name=f"widths_{i}")(h_BxHxWxC)
            for j in range(self.blocks):
                h_BxHxWxC = block(name=f"block_{i}_{j}")(h_BxHxWxC)
        area = math.prod(h_BxHxWxC.shape[1:3])
        basis = self.param("basis", nn.initializers.normal(area**-0.5), h_BxHxWxC.shape[1:])
        h_BxC = jnp.einsum("bhwc,hwc->bc", h_BxHxWxC, basis.astype(h_BxHxWxC.dtype))
        conditional = is_condition(labels, self.num_classes)
        outputs = self.width if conditional else 1
        last_BxF = nn.Dense(outputs, use_bias=False, kernel_init=fan_in(), dtype=self.dtype, name="logit")(h_BxC)
        if conditional:
            init = fan_in(outputs**-0.5)
            logits_B = projection(
                last_BxF, labels, self.num_classes, embedding_init=init, dtype=self.dtype, name="classes"
            )
        else:
            logits_B = last_BxF[:, 0]
        return critique(logits_B, h_BxC, self.heads, self.dtype)


def _block(network: Any) -> Any:
    return nn.remat(Block) if network.remat else Block
