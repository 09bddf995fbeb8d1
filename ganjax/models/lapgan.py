"""The networks of a level of LAPGAN (Denton et al. 2015), as the authors' code has them for images of 32x32.

Three convolutions draw a residual of an enlarged image and of a map of noise, two and a linear layer judge the sum; no
BatchNorm. The smallest level is a game of its own, of perceptrons (`ganjax.models.mlp`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ganjax.checks import check_name
from ganjax.core import Array
from ganjax.layers.conditioning import embedded
from ganjax.layers.convolution import Conv
from ganjax.layers.dropout import Dropout
from ganjax.layers.mode import mode
from ganjax.layers.pyramid import KERNELS, without_small


class Refiner(nn.Module):
    """`(z, l) -> u(l) + h`: an image of twice the side from a small one, by a residual without bounds.

    Projected, h has nothing of the small image, so that d of what is drawn is the small image again, as it is of data:
    otherwise a discriminator of block means alone tells the two apart.
    """

    width: int = 64  # channels of both hidden maps
    side: int = 7  # of their kernels
    kernels: str = "box"
    projected: bool = True  # with kernels that allow it
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, small: Array) -> Array:
        """[B, H, W, 1] noise and [B, H / 2, W / 2, C] images to images [B, H, W, C]."""
        check_name("lapgan.Refiner", "kernels", self.kernels, KERNELS)
        kernels = KERNELS[self.kernels]
        large = kernels.up(small)
        h = jnp.concatenate([z.astype(large.dtype), large], -1)
        for _ in range(2):
            h = nn.relu(Conv(self.width, (self.side, self.side), dtype=self.dtype)(h))
        h = Conv(small.shape[-1], (5, 5), dtype=self.dtype)(h).astype(large.dtype)
        return large + (without_small(h, kernels) if self.projected else h)


class Judge(nn.Module):
    """`(x, l) -> logit`: of the image, or of the image and the enlarged small one.

    With the box and projected residuals the image says what the small one was; with other kernels only the pair does.
    """

    width: int = 64
    pair: bool = False
    kernels: str = "box"
    dropout: float = 0.5  # share of the last map
    axis_name: str | None = None  # of the devices that share the batch, for dropout's masks
    dtype: Any = None

    @property
    def by_example(self) -> bool:
        """Whether nothing is drawn for examples by their place in the batch."""
        return not self.dropout

    @nn.compact
    def __call__(self, x: Array, small: Array, *, train: bool) -> Array:
        """[B, H, W, C] images and [B, H / 2, W / 2, C] to logits [B]."""
        h = jnp.concatenate([x, KERNELS[self.kernels].up(small).astype(x.dtype)], -1) if self.pair else x
        for stride in (1, 2):
            side = tuple(min(5, n) for n in h.shape[1:3])
            h = nn.relu(Conv(self.width, side, (stride, stride), "VALID", dtype=self.dtype)(h))
        h = Dropout(self.dropout, self.axis_name)(h, deterministic=not train)
        return nn.Dense(1, dtype=self.dtype)(h.reshape(len(h), -1))[:, 0]


class OfClasses(nn.Module):
    """A network of a level that is told the class too: a learned map of it is one more channel of the noise or image.

    The class-conditional model of the paper, section 3.1; its map is one of the images' size for each class.
    """

    make: Callable[..., nn.Module]  # (dtype=..., name=...) -> a `Refiner` or `Judge`
    num_classes: int
    by_example: bool = False  # whether the network is
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, given: Mapping[str, Array], *, train: bool) -> Array:
        """[B, H, W, C] noise or images, "small" [B, H / 2, W / 2, C] and "class" [B], to what the network says."""
        maps = embedded(given["class"], x.shape[1] * x.shape[2], self.num_classes, dtype=self.dtype, name="classes")
        planes = maps.reshape(*x.shape[:3], 1).astype(x.dtype)
        network = self.make(dtype=self.dtype, name="network")
        return network(jnp.concatenate([x, planes], -1), given["small"], **mode(network, train))
