"""Convolutional encoder and decoder with a map of vectors between them (van den Oord, Vinyals and Kavukcuoglu 2017)."""

import jax.numpy as jnp
from flax import linen as nn

from ganjax.core import Array
from ganjax.errors import DataError
from ganjax.layers.convolution import Conv, ConvTranspose


def map_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the map of an image; raises `DataError` unless two halvings lead to whole numbers."""
    if len(shape) != 3 or shape[0] % 4 or shape[1] % 4:
        raise DataError(
            f"examples have shape {shape}, expected images (height, width, channels) with height and width divisible "
            "by 4; crop, pad or resize them"
        )
    return shape[0] // 4, shape[1] // 4


class MapEncoder(nn.Module):
    """`x [B, H, W, C] -> z [B, H / 4, W / 4, D]`: two convolutions of stride 2, one of 3x3, one of 1x1."""

    size: int  # D, of each vector
    width: int = 32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = (x + 1) / 2  # black is 0, as in the encoder of `models.vae`
        for k in (1, 2):
            h = nn.relu(Conv(k * self.width, (4, 4), strides=(2, 2), padding=1)(h))
        h = nn.relu(Conv(2 * self.width, (3, 3), padding=1)(h))
        return Conv(self.size, (1, 1))(h)


class MapDecoder(nn.Module):
    """The way back, to C `outputs` channels."""

    channels: int  # C
    outputs: int = 1  # numbers for each entry of an example
    width: int = 32
    last = ("ConvTranspose_1", "kernel")  # where the kernel of the last layer lies among the parameters

    @nn.compact
    def __call__(self, z: Array) -> Array:
        h = nn.relu(Conv(2 * self.width, (3, 3), padding=1)(z))
        h = nn.relu(ConvTranspose(self.width, (4, 4), strides=(2, 2), padding="SAME")(h))
        h = ConvTranspose(self.channels * self.outputs, (4, 4), strides=(2, 2), padding="SAME")(h)
        return h.astype(jnp.promote_types(h.dtype, jnp.float32))
