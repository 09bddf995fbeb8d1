"""StackGAN (Zhang et al. 2017): two stages of a generator of images from captions, and who judges both together."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ganjax.core import Array
from ganjax.errors import DataError
from ganjax.layers.convolution import Conv
from ganjax.layers.normalisation import BatchNorm
from ganjax.layers.resampling import Conv3x3
from ganjax.models import dcgan
from ganjax.models.mlp import leaky_relu

Made = tuple[Array, Array, Array]  # x, and mean and log_std of the condition


class Conditions(nn.Module):
    """`c = mean(phi) + std(phi) epsilon`, conditioning augmentation (section 3.1), or without it a layer as in GAN-CLS.

    Both are affine in phi, so that c can be as precise as it pays to be.
    """

    size: int = 128
    augmented: bool = True

    @nn.compact
    def __call__(self, phi: Array, epsilon: Array) -> Made:
        """[B, E] and N(0, I) [B, size] to c, mean and log_std, each [B, size]; the last two are 0 without it."""
        if not self.augmented:
            c = leaky_relu(nn.Dense(self.size)(phi))
            return c, jnp.zeros_like(c), jnp.zeros_like(c)
        mean, log_std = jnp.split(nn.Dense(2 * self.size)(phi), 2, -1)
        return mean + jnp.exp(log_std) * epsilon, mean, log_std


class StageOne(nn.Module):
    """A caption and noise to a small image, by the generator of DCGAN."""

    shape: tuple[int, ...]  # (height, width, channels)
    width: int = 32  # channels of the last hidden map
    conditions: int = 128
    augmented: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z: Array, phi: Array, *, train: bool) -> Made:
        """z [B, Z + conditions], of which the last entries are epsilon, and phi [B, E]."""
        noise, epsilon = jnp.split(z, [z.shape[1] - self.conditions], 1)
        c, mean, log_std = Conditions(self.conditions, self.augmented)(phi, epsilon)
        generator = dcgan.Generator(self.shape, self.width, axis_name=self.axis_name)
        return generator(jnp.concatenate([noise, c], 1), train=train), mean, log_std


class StageTwo(nn.Module):
    """The image of the first stage and its caption once more to an image twice as large.

    A convolution and a halving, conditions at every place of that map, residual blocks, and doublings of it.
    """

    shape: tuple[int, ...]  # (height, width, channels), of what comes out
    width: int = 16  # channels next to the image, four times as many in the blocks
    blocks: int = 2
    conditions: int = 128
    augmented: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z: Array, phi: Array, x: Array, *, train: bool) -> Made:
        """epsilon [B, conditions], phi [B, E] and the image [B, H / 2, W / 2, C] of the stage before."""

        def normal(h: Array) -> Array:
            return BatchNorm(use_running_average=not train, axis_name=self.axis_name)(h)

        c, mean, log_std = Conditions(self.conditions, self.augmented)(phi, z)
        h = nn.relu(Conv3x3(self.width)(x))
        h = nn.relu(normal(Conv(2 * self.width, (4, 4), strides=(2, 2), padding=1, use_bias=False)(h)))
        h = jnp.concatenate([h, tiled(c, h)], -1)
        h = nn.relu(normal(Conv3x3(4 * self.width, use_bias=False)(h)))
        for _ in range(self.blocks):
            inner = nn.relu(normal(Conv3x3(4 * self.width, use_bias=False)(h)))
            h = nn.relu(h + normal(Conv3x3(4 * self.width, use_bias=False)(inner)))
        for width in (2 * self.width, self.width):
            h = nn.relu(normal(Conv3x3(width, "up", use_bias=False)(h)))
        return jnp.tanh(Conv3x3(self.shape[-1])(h)), mean, log_std


class MatchingCritic(nn.Module):
    """Says whether an image is real and what its caption says: a trunk of halvings, joined by the caption at 4x4.

    No layer mixes examples, as BatchNorm of the published networks does.
    """

    layers: int  # halvings, until a side is 4
    width: int = 32
    text: int = 128  # units that the caption's vector becomes
    unconditional: bool = False  # whether it also has a logit of the image alone
    dtype: Any = None

    def setup(self) -> None:
        down = [self.width * 2**i for i in range(self.layers)]
        self.trunk = [Conv(w, (4, 4), strides=(2, 2), padding=1, dtype=self.dtype) for w in down]
        self.read = nn.Dense(self.text, dtype=self.dtype)
        self.joint = Conv(down[-1], (1, 1), dtype=self.dtype)
        self.logit = nn.Dense(1, dtype=self.dtype)
        if self.unconditional:
            self.own = nn.Dense(1, dtype=self.dtype)

    def features(self, x: Array) -> Array:
        """[B, H, W, C] to [B, 4, 4, F]."""
        for layer in self.trunk:
            x = leaky_relu(layer(x))
        return x

    def judge(self, h: Array, phi: Array) -> Array:
        """Features and captions [B, E] to logits [B]."""
        text = leaky_relu(self.read(phi))
        both = leaky_relu(self.joint(jnp.concatenate([h, tiled(text, h)], -1)))
        return self.logit(both.reshape(both.shape[0], -1))[:, 0]

    def alone(self, h: Array) -> Array:
        """Features to logits [B] of the image alone."""
        return self.own(h.reshape(h.shape[0], -1))[:, 0]

    def __call__(self, x: Array, phi: Array) -> tuple[Array, Array | None]:
        """[B, H, W, C] and [B, E] to both kinds of logits."""
        h = self.features(x)
        return self.judge(h, phi), self.alone(h) if self.unconditional else None


def tiled(c: Array, h: Array) -> Array:
    """[B, C] at every place of the map h [B, H, W, F]."""
    return jnp.broadcast_to(c[:, None, None], (*h.shape[:3], c.shape[1]))


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Raise `DataError` for a shape that two stages cannot make, the first of half the side.

    Args:
        shape: (height, width, channels) of one image.
    """
    side = shape[0]
    if len(shape) != 3 or shape[1] != side or side < 16 or side & (side - 1):
        raise DataError(
            f"image shape: got {tuple(shape)}, expected (side, side, channels) with a side of 16, 32, 64, ...; resize "
            "the images"
        )


def halvings(side: int) -> int:
    """How often a side of 2^k is halved until it is 4."""
    return side.bit_length() - 3
