"""SNDCGAN: the plain convolutional networks on which spectral normalisation was shown (Miyato et al. 2018).

Layers and widths are those of Kurach et al. 2019 (compare_gan) and chainer-gan-lib; in the paper's table the strided
layers of D are half as wide. For images of any size: the generator starts from an eighth of each side, rounded up, and
crops the last row and column of a doubled map where the next side is odd, as compare_gan does (28 pixels: 4, 7, 14,
28). Spectral normalisation belongs to the game.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.core import Array, Critique
from ganjax.errors import DataError
from ganjax.layers.conditioning import is_condition
from ganjax.layers.convolution import Conv, ConvTranspose
from ganjax.layers.heads import check_labels, logit_head
from ganjax.layers.normalisation import BatchNorm, ConditionalBatchNorm

_init = nn.initializers.normal(0.02)


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Raises `DataError` for what is no image of at least 4 by 4 pixels."""
    if len(shape) != 3 or min(shape[:2]) < 4 or shape[2] < 1:
        raise DataError(
            f"image shape: got {tuple(shape)}, expected (height, width, channels) with sides of at least 4 pixels; "
            "use the MLP for other data"
        )


class Generator(nn.Module):
    """`G: z -> image`: an affine map, three transposed convolutions that double the map, a convolution, tanh.

    BatchNorm and ReLU in between; with classes, the scales and offsets are those of the class.
    """

    shape: tuple[int, ...]  # (height, width, channels)
    width: int = 64  # channels of the last hidden map; 8, 4 and 2 times as many before it
    num_classes: int = 0
    axis_name: str | None = None  # of the devices that share BatchNorm statistics
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool) -> Array:
        """[B, Z] latents and labels, [B] int32 or vectors [B, E], to images [B, H, W, C]."""
        check_image_shape(self.shape)
        check_labels(labels, self.num_classes)
        shared: dict[str, Any] = {"axis_name": self.axis_name, "dtype": self.dtype}

        def norm(x: Array) -> Array:
            if is_condition(labels, self.num_classes):
                return ConditionalBatchNorm(self.num_classes, **shared)(x, labels, train=train)
            return BatchNorm(use_running_average=not train, **shared)(x)

        height, width, channels = self.shape
        sizes = [(-(-height // k), -(-width // k)) for k in (8, 4, 2, 1)]
        (h, w), *larger = sizes
        x_BxHxWxC = nn.Dense(h * w * 8 * self.width, kernel_init=_init, dtype=self.dtype, name="base")(z)
        x_BxHxWxC = jax.nn.relu(norm(x_BxHxWxC.reshape(z.shape[0], h, w, -1)))
        for multiple, (h, w) in zip((4, 2, 1), larger, strict=True):
            x_BxHxWxC = ConvTranspose(
                multiple * self.width, (4, 4), (2, 2), "SAME", use_bias=False, kernel_init=_init, dtype=self.dtype
            )(x_BxHxWxC)[:, :h, :w]
            x_BxHxWxC = jax.nn.relu(norm(x_BxHxWxC))
        return jnp.tanh(Conv(channels, (3, 3), kernel_init=_init, dtype=self.dtype, name="image")(x_BxHxWxC))


class Discriminator(nn.Module):
    """`D: image -> logits`: 3x3 convolutions and 4x4 ones of stride 2 by turns, LeakyReLU(0.1), an affine map.

    With classes, it is a projection discriminator: the logit gains `<embed(y), h(x)>` for the last map summed over
    positions (Miyato & Koyama 2018, equation 3). Each example by itself.
    """

    width: int = 64  # channels of the first map
    num_classes: int = 0
    heads: Mapping[str, int] | None = None  # name -> size; with any mapping, even {}, it returns a `Critique`
    dtype: Any = None

    by_example = True  # no BatchNorm: real and generated images can share a pass

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None) -> Array | Critique:
        """[B, H, W, C] images and labels, [B] int32 or vectors [B, E], to logits [B], with heads to a `Critique`."""
        check_image_shape(x.shape[1:])
        check_labels(labels, self.num_classes)
        conv = partial(Conv, padding="SAME", kernel_init=_init, dtype=self.dtype)
        h_BxHxWxC = x
        for i, multiple in enumerate((1, 2, 2, 4, 4, 8, 8)):
            k, s = (4, 2) if i % 2 else (3, 1)
            h_BxHxWxC = conv(multiple * self.width, (k, k), (s, s))(h_BxHxWxC)
            h_BxHxWxC = nn.leaky_relu(h_BxHxWxC, 0.1)
        return logit_head(h_BxHxWxC.reshape(len(x), -1), labels, self, _init, projected=h_BxHxWxC.sum((1, 2)))
