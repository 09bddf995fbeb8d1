"""The networks of progressive growing (Karras et al. 2018), by the shapes and the names of the authors' code.

Blocks of two 3x3 convolutions double or halve a map, from the smallest one that the image can be halved to with sides
of at least 4; weights are equalised, and in the synthesis network every pixel of every map has unit second moment. Maps
of side s have `min(base / s, most)` channels. Layers are named by the side of their map: a network for images of twice
the side has all layers of the smaller one under the same names, but for the layers next to the image, of which it has
the smaller one's and its own, between which it fades while it is new.
"""

import math
from itertools import pairwise
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ganjax.core import Array
from ganjax.errors import DataError
from ganjax.layers.equalised import Conv, Dense, pixel_norm
from ganjax.layers.fading import faded, share_now
from ganjax.layers.minibatch import MinibatchStandardDeviation
from ganjax.layers.resampling import double, mean_pool
from ganjax.models.mlp import leaky_relu

BASE = 4  # the least side of a map
GAIN = math.sqrt(2)  # of layers before a LeakyReLU


def maps(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """(height, width) of all maps, that of the image last: 28 is 7, 14 and 28, and 64 is 4, 8, 16, 32 and 64.

    Raises:
        DataError: this is no image.
    """
    if len(shape) != 3:
        raise DataError(f"progressive growing: examples have shape {tuple(shape)}, expected images (H, W, C)")
    found = [tuple(shape[:2])]
    while found[0][0] % 2 == found[0][1] % 2 == 0 and min(found[0]) >= 2 * BASE:
        found.insert(0, (found[0][0] // 2, found[0][1] // 2))
    return found  # type: ignore[return-value]


def channels(side: int, base: int, most: int) -> int:
    """Of the maps of this height."""
    return max(1, min(base // side, most))


class Synthesis(nn.Module):
    """`z [B, Z] -> image [B, H, W, C]`, without bounds; z is brought to unit second moment."""

    shape: tuple[int, ...]  # (height, width, channels)
    fade_steps: int = 0  # in which its newest block fades in; 0 where it is there, or the only one
    base: int = 16384
    most: int = 512  # channels
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """[B, Z] to [B, H, W, C] float32."""
        first, *later = maps(self.shape)

        def conv(x: Array, side: int, name: str) -> Array:
            features = channels(side, self.base, self.most)
            return pixel_norm(leaky_relu(Conv(features, gain=GAIN, dtype=self.dtype, name=name)(x)))

        def image(x: Array, side: int) -> Array:
            made = Conv(self.shape[-1], 1, dtype=self.dtype, name=f"image_{side}")(x)
            return made.astype(jnp.promote_types(made.dtype, jnp.float32))

        features = channels(first[0], self.base, self.most)
        dense = Dense(math.prod(first) * features, GAIN / 4, use_bias=False, dtype=self.dtype, name="dense")
        x = dense(pixel_norm(z)).reshape(z.shape[0], *first, features)
        bias = self.param("bias", nn.initializers.zeros, (features,)).astype(x.dtype)
        x = conv(pixel_norm(leaky_relu(x + bias.reshape(1, 1, 1, -1))), first[0], f"conv_{first[0]}")
        before, old = x, first[0]
        for side, _ in later:
            before, old = x, x.shape[1]
            x = conv(double(x), side, f"conv_{side}_0")
            x = conv(x, side, f"conv_{side}_1")
        made = image(x, self.shape[0])
        if not (later and self.fade_steps):
            return made
        return faded(double(image(before, old)), made, share_now(self, self.shape[0], self.fade_steps))


class Critic(nn.Module):
    """`D: image -> logits`, the synthesis network mirrored; the deviation over groups of the batch before the end."""

    fade_steps: int = 0
    base: int = 16384
    most: int = 512  # channels
    group: int = 4  # examples whose deviation is taken; a batch that it does not divide is refused
    dtype: Any = None

    by_example = False  # examples of a group are compared

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] images to logits [B]."""
        sides = [side for side, _ in reversed(maps(x.shape[1:]))]

        def conv(x: Array, side: int, name: str, size: int = 3) -> Array:
            features = channels(side, self.base, self.most)
            return leaky_relu(Conv(features, size, gain=GAIN, dtype=self.dtype, name=name)(x))

        h = conv(x, sides[0], f"image_{sides[0]}", 1)
        for place, (side, half) in enumerate(pairwise(sides)):
            h = conv(h, side, f"conv_{side}_0")
            h = mean_pool(conv(h, half, f"conv_{side}_1"))
            if place == 0 and self.fade_steps:
                old = conv(mean_pool(x), half, f"image_{half}", 1)
                h = faded(old, h, share_now(self, side, self.fade_steps).astype(h.dtype))
        h = MinibatchStandardDeviation(self.group, name="deviation")(h)
        h = conv(h, sides[-1], f"conv_{sides[-1]}").reshape(len(x), -1)
        features = channels(sides[-1] // 2, self.base, self.most)
        h = leaky_relu(Dense(features, GAIN, dtype=self.dtype, name="dense")(h))
        return Dense(1, dtype=self.dtype, name="logit")(h)[:, 0]
