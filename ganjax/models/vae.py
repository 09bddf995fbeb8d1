"""Encoders and decoders of autoencoders, with perceptrons (Burda et al. 2016) or convolutions."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from flax import linen as nn

from ganjax.core import Array
from ganjax.errors import DataError
from ganjax.layers.convolution import Conv, ConvTranspose


class Encoder(nn.Module):
    """`x [B, ...] -> [B, 2, L]`: mean and log of the standard deviation of a diagonal Gaussian."""

    size: int  # L
    hidden: Sequence[int] = (200, 200)
    activation: Callable[[Array], Array] = nn.tanh

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = (x.reshape(x.shape[0], -1) + 1) / 2  # black is 0: most pixels of a digit say nothing
        for width in self.hidden:
            h = self.activation(nn.Dense(width)(h))
        return nn.Dense(2 * self.size)(h).reshape(x.shape[0], 2, self.size)


class Decoder(nn.Module):
    """`z [B, L] -> [B, ..., C outputs]`."""

    shape: tuple[int, ...]  # of an example
    outputs: int = 1  # numbers for each entry of it
    hidden: Sequence[int] = (200, 200)
    activation: Callable[[Array], Array] = nn.tanh

    @nn.compact
    def __call__(self, z: Array) -> Array:
        h = z
        for width in reversed(self.hidden):
            h = self.activation(nn.Dense(width)(h))
        shape = (*self.shape[:-1], self.shape[-1] * self.outputs)
        size = 1
        for n in shape:
            size *= n
        return nn.Dense(size)(h).reshape(z.shape[0], *shape)


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Raise `DataError` unless two halvings lead to whole numbers."""
    if len(shape) != 3 or shape[0] % 4 or shape[1] % 4:
        raise DataError(f"images have shape {shape}, expected height and width divisible by 4; use --network mlp")


class ConvEncoder(nn.Module):
    """Two convolutions of stride 2 and a layer of 256 units; as `Encoder`."""

    size: int
    width: int = 32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for k in (1, 2):
            x = nn.relu(Conv(k * self.width, (4, 4), strides=(2, 2), padding=1)(x))
        h = nn.relu(nn.Dense(256)(x.reshape(x.shape[0], -1)))
        return nn.Dense(2 * self.size)(h).reshape(x.shape[0], 2, self.size)


class ConvDecoder(nn.Module):
    """The way back; as `Decoder`."""

    shape: tuple[int, ...]
    outputs: int = 1
    width: int = 32

    @nn.compact
    def __call__(self, z: Array) -> Array:
        height, columns, channels = self.shape
        h = nn.relu(nn.Dense(256)(z))
        h = nn.relu(nn.Dense(height * columns // 16 * 2 * self.width)(h))
        h = h.reshape(z.shape[0], height // 4, columns // 4, 2 * self.width)
        h = nn.relu(ConvTranspose(self.width, (4, 4), strides=(2, 2), padding="SAME")(h))
        h = ConvTranspose(channels * self.outputs, (4, 4), strides=(2, 2), padding="SAME")(h)
        return h.astype(jnp.float32)


def networks(name: str, shape: tuple[int, ...], outputs: int, size: int, hidden: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder: "mlp" with two layers of `hidden` units, or "conv".

    Raises:
        DataError: images whose sides two halvings do not divide.
    """
    if name == "mlp":
        return Encoder(size, (hidden, hidden)), Decoder(shape, outputs, (hidden, hidden))
    check_image_shape(shape)
    return ConvEncoder(size), ConvDecoder(shape, outputs)
