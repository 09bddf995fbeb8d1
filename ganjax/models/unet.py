"""U-Net: an encoder and a decoder of images with a skip at every size (Isola et al. 2017, section 3.2.1)."""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from ganjax.checks import check_name, check_range
from ganjax.core import Array
from ganjax.errors import DataError
from ganjax.layers.convolution import Conv, ConvTranspose
from ganjax.layers.dropout import Dropout
from ganjax.layers.normalisation import BatchNorm, InstanceNorm
from ganjax.models.mlp import leaky_relu

_kernel_init = nn.initializers.normal(0.02)
_down = partial(Conv, kernel_size=(4, 4), strides=(2, 2), padding=1, kernel_init=_kernel_init)
_up = partial(ConvTranspose, kernel_size=(4, 4), strides=(2, 2), padding="SAME", kernel_init=_kernel_init)
DROPPED = 3  # blocks of the decoder, the innermost first, whose maps lose entries


class UNet(nn.Module):
    """`G: image -> image of the same size`, by `downs` convolutions of stride 2 and as many transposed ones.

    C64-C128-C256-C512-C512-... down and mirrored up; each map of the decoder but the innermost is joined to the one of
    the encoder of its size. LeakyReLU 0.2 down, ReLU up, tanh at the end. The first and the innermost map have no norm:
    of one example of 1x1 BatchNorm would make zeros. With 64 channels, BatchNorm and 3 channels in and out it has
    54,413,955 parameters with 8 downs (256x256), 41,828,995 with 7 (128x128), 29,244,035 with 6 (64x64).

    The only noise is dropout, which acts where examples are numbered, in training and in evaluation alike.
    """

    channels: int  # of the image that it makes
    width: int = 64  # channels of the first map; they double with each one, up to eight times as many
    downs: int = 8
    norm: Literal["batch", "instance"] = "batch"
    dropout: float = 0.5  # share of what is dropped of the three innermost maps of the decoder
    axis_name: str | None = None  # of the devices that share BatchNorm's statistics
    dtype: Any = None

    @nn.compact
    def __call__(self, y: Array, index: Array | None = None, *, train: bool) -> Array:
        """[B, H, W, C] to [B, H, W, channels]; `index` [B] are the numbers by which dropout draws, None for none.

        Raises:
            DataError: a side is no multiple of 2^downs.
        """
        check_name("UNet", "norm", self.norm, ("batch", "instance"))
        check_range("UNet", 1, whole=True, downs=self.downs, width=self.width, channels=self.channels)
        step = 2**self.downs
        if y.ndim != 4 or y.shape[1] % step or y.shape[2] % step:
            raise DataError(
                f"image shape: got {y.shape[1:]}, expected (height, width, channels) with sides divisible by {step} "
                f"for a U-Net of {self.downs} downs. Take fewer downs, or crop, pad or resize the images."
            )
        norms: dict[str, Any] = {
            "batch": partial(BatchNorm, use_running_average=not train, axis_name=self.axis_name),
            "instance": InstanceNorm,
        }
        norm = partial(norms[self.norm], dtype=self.dtype)
        options: dict[str, Any] = {"use_bias": self.norm != "batch", "dtype": self.dtype}
        features = [self.width * min(2**i, 8) for i in range(self.downs)]
        x, skips = y, []
        for i, count in enumerate(features):
            x = _down(count, **options)(x if i == 0 else leaky_relu(x))
            x = norm()(x) if 0 < i < self.downs - 1 else x
            skips.append(x)
        x = skips.pop()
        for i, count in enumerate(reversed(features[:-1])):
            x = norm()(_up(count, **options)(nn.relu(x)))
            if i < DROPPED:
                x = Dropout(self.dropout, self.axis_name)(x, index, deterministic=index is None)
            x = jnp.concatenate([x, skips.pop()], -1)
        return jnp.tanh(_up(self.channels, dtype=self.dtype)(nn.relu(x)))
