"""The generator of SPADE and its discriminator of several scales (Park et al. 2019, appendix A)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from ganjax.checks import check_range
from ganjax.core import Array
from ganjax.errors import DataError
from ganjax.layers.convolution import Conv
from ganjax.layers.normalisation import BatchNorm
from ganjax.layers.resampling import double
from ganjax.layers.spade import Spade, nearest
from ganjax.models.mlp import leaky_relu

_conv = partial(Conv, kernel_init=nn.initializers.xavier_normal())


class SpadeBlock(nn.Module):
    """`norm, LeakyReLU, conv`, twice, plus the input, through a norm and a 1x1 kernel where the channels change."""

    features: int
    norm: Callable[[Array, str], Array]  # (x, name), called inside the block, where it makes its modules
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, H, W, features]."""
        middle = min(x.shape[-1], self.features)
        h = _conv(middle, (3, 3), dtype=self.dtype, name="conv_0")(leaky_relu(self.norm(x, "norm_0")))
        h = _conv(self.features, (3, 3), dtype=self.dtype, name="conv_1")(leaky_relu(self.norm(h, "norm_1")))
        if x.shape[-1] != self.features:
            x = self.norm(x, "norm_shortcut")
            x = _conv(self.features, (1, 1), use_bias=False, dtype=self.dtype, name="shortcut")(x)
        return x + h


class SpadeResNet(nn.Module):
    """`G: map -> image`: residual blocks normalised by the map at each size, doubled between them.

    The first map is a convolution of the map of labels at the smallest size. As published it has 7 blocks and is
    doubled 5 times (an image of 256x512 begins at 8x16), with 97,480,899 parameters for the 184 planes of COCO,
    96,492,483 for 151 (ADE) and 93,048,003 for 36 (Cityscapes).
    """

    channels: int  # of the image
    width: int = 64
    factors: Sequence[int] = (16, 16, 16, 8, 4, 2, 1)  # channels of each block, in widths
    doubled: Sequence[int] = (1, 3, 4, 5, 6)  # blocks before which the map is doubled
    hidden: int = 128  # of `Spade`
    norm: Literal["batch", "instance"] = "batch"  # without parameters, inside `Spade`
    modulated: bool = True  # False: BatchNorm in its place, and the map is seen at the smallest size alone
    axis_name: str | None = None  # of the devices that share BatchNorm's statistics
    dtype: Any = None

    @nn.compact
    def __call__(self, y: Array, index: Array | None = None, *, train: bool) -> Array:
        """One-hot maps [B, H, W, L] to images [B, H, W, channels]; nothing is random, whatever the numbers `index`.

        Raises:
            DataError: a side cannot be halved as often as the map is doubled.
        """
        del index
        step = 2 ** len(self.doubled)
        if y.shape[1] % step or y.shape[2] % step:
            raise DataError(
                f"map shape: got {y.shape[1:3]}, expected sides divisible by {step}, for the generator doubles "
                f"{len(self.doubled)} times. Crop, pad or resize the images."
            )
        shared: dict[str, Any] = {"axis_name": self.axis_name, "dtype": self.dtype}

        def norm(x: Array, name: str) -> Array:
            if not self.modulated:
                return BatchNorm(use_running_average=not train, name=name, **shared)(x)
            return Spade(self.hidden, self.norm, name=name, **shared)(x, y, train=train)

        x = nearest(y, (y.shape[1] // step, y.shape[2] // step))
        x = _conv(self.width * self.factors[0], (3, 3), dtype=self.dtype, name="first")(x)
        for i, factor in enumerate(self.factors):
            x = double(x) if i in self.doubled else x
            x = SpadeBlock(self.width * factor, norm, self.dtype, name=f"block_{i}")(x)
        return jnp.tanh(_conv(self.channels, (3, 3), dtype=self.dtype, name="last")(leaky_relu(x)))


class MultiScale(nn.Module):
    """Discriminators of one kind, each of an image half as large as that of the one before (Wang et al. 2018)."""

    make: Callable[..., nn.Module]  # (name=...) -> a discriminator with a method `maps`
    scales: int = 2

    @nn.compact
    def maps(self, x: Array, *, train: bool) -> tuple[tuple[Array, ...], ...]:
        """[B, H, W, C] images to the maps of all layers of each scale, the last of them of logits."""
        check_range("MultiScale", 1, whole=True, scales=self.scales)
        found = []
        for i in range(self.scales):
            if i:
                x = nn.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=False)
            found.append(self.make(name=f"scale_{i}").maps(x, train=train))
        return tuple(found)

    def __call__(self, x: Array, *, train: bool) -> tuple[Array, ...]:
        """[B, H, W, C] images to the logits of each scale, [B, h, w]."""
        return tuple(maps[-1][..., 0] for maps in self.maps(x, train=train))
