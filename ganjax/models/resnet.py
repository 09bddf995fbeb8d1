"""The residual networks of WGAN-GP, SNGAN, its projection variant and SAGAN, for images of 32, 48, 64 and 128 pixels.

Gulrajani et al. 2017 (appendix C), Miyato et al. 2018 (appendix B.4), Miyato & Koyama 2018, Zhang et al. 2019. Spectral
normalisation, penalties and losses belong to the game. With the sizes of `SIZES` parameter counts are those of
mimicry (Lee & Town 2020); other images whose sides are 2^n times 3 to 7 get the layout of the nearest one.

| side | generator from a base map | discriminator |
|---|---|---|
| 32 | 4x4, 3 doublings, 256 channels throughout | 2 halvings, 2 blocks more, 128 channels throughout |
| 48 | 6x6, 3 doublings, 512 to 64 | 4 halvings, 1 block more, 64 to 1024 |
| 64 | 4x4, 4 doublings, 1024 to 64 | 5 halvings, 64 to 1024 |
| 128 | 4x4, 5 doublings, 1024 to 64 | 5 halvings, 1 block more, 64 to 1024 |
"""

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.checks import check_name
from ganjax.core import Array, Critique
from ganjax.errors import DataError
from ganjax.layers.conditioning import is_condition
from ganjax.layers.heads import check_labels, logit_head
from ganjax.layers.normalisation import BatchNorm, ConditionalBatchNorm
from ganjax.layers.resampling import Conv3x3
from ganjax.layers.residual import XAVIER, DownBlock, UpBlock, stacked


class Size(NamedTuple):
    """Channels as multiples of a width, from the base map to the image and from the image to the logit."""

    generator: tuple[int, ...]  # the base map, then each doubling
    discriminator: tuple[int, ...]  # each block
    halvings: int  # how many of the discriminator's blocks halve; the first ones

    def down(self, width: int) -> list[dict[str, Any]]:
        """The arguments of each of the discriminator's blocks."""
        return [
            {"features": multiple * width, "resample": "down" if i < self.halvings else "none", "first": i == 0}
            for i, multiple in enumerate(self.discriminator)
        ]

    def attention_sides(self, side: int) -> list[int]:
        """The even sides of maps behind blocks of both networks, for images of that side."""
        doublings = len(self.generator) - 1
        up = {side >> i for i in range(doublings)}
        down = {side >> min(i + 1, self.halvings) for i in range(len(self.discriminator))}
        return sorted(n for n in up & down if n % 2 == 0)


SIZES = {
    32: Size((1, 1, 1, 1), (1, 1, 1, 1), 2),
    48: Size((8, 4, 2, 1), (1, 2, 4, 8, 16), 4),
    64: Size((16, 8, 4, 2, 1), (1, 2, 4, 8, 16), 5),
    128: Size((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
}
# Published channels at the image's end, (generator, discriminator).
WIDTHS = {32: (256, 128), 48: (64, 64), 64: (64, 64), 128: (64, 64)}


def layout(shape: tuple[int, ...]) -> Size:
    """The layout for images of that shape: of `SIZES` where their larger side is there.

    Small images take the layout of 32 with as many doublings as lead to a base map of 3 to 7 pixels; larger ones of
    other sizes that of 64 or 128.

    Raises:
        DataError: the sides cannot be halved down to such a base map.
    """
    fine = len(shape) == 3 and min(shape[:2]) >= 4
    doublings = next((n for n in range(1, 6) if fine and max(shape[:2]) < 8 * 2**n), 0)
    if not doublings or any(side % 2**doublings for side in shape[:2]):
        raise DataError(
            f"image shape: got {tuple(shape)}, expected (height, width, channels) whose sides are a base of at most 7 "
            "times a power of 2, such as 28, 32, 48, 64 or 128; crop, pad or resize the images"
        )
    if max(shape[:2]) in SIZES:
        size = SIZES[max(shape[:2])]
    elif doublings <= 3:
        size = Size((1,) * (doublings + 1), (1, 1, 1, 1), min(2, doublings))
    else:
        size = SIZES[64 if doublings == 4 else 128]._replace(halvings=doublings)
    # No further halvings than leave even sides to halve: the smaller side of 48x64 has four of them, 64 pixels five.
    even = next(n for n in itertools.count() if any(side % 2 ** (n + 1) for side in shape[:2]))
    return size._replace(halvings=min(size.halvings, even))


class Generator(nn.Module):
    """`G: z -> image`: an affine map to the base map, residual blocks that double it, BatchNorm, ReLU, conv, tanh.

    With classes, BatchNorm is conditional (Miyato & Koyama 2018), but not the last one, as in their code.
    """

    shape: tuple[int, ...]  # (height, width, channels)
    width: int = 256  # channels of the last block
    num_classes: int = 0
    attention: int = 0  # side of the map behind whose block self-attention is (SAGAN); 0 for none
    remat: bool = False  # recompute blocks in the backward pass rather than keep them
    axis_name: str | None = None  # of the devices that share BatchNorm statistics
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool) -> Array:
        """[B, Z] latents and labels, [B] int32 or vectors [B, E], to images [B, H, W, C]."""
        check_labels(labels, self.num_classes)
        plain = partial(BatchNorm, use_running_average=not train, axis_name=self.axis_name, dtype=self.dtype)

        def norm(x: Array) -> Array:
            if not is_condition(labels, self.num_classes):
                return plain()(x)
            conditional = ConditionalBatchNorm(self.num_classes, axis_name=self.axis_name, dtype=self.dtype)
            return conditional(x, labels, train=train)

        height, width, channels = self.shape
        base, *widths = layout(self.shape).generator
        n = len(widths)
        x_BxHxWxC = nn.Dense(
            height * width // 4**n * base * self.width, kernel_init=XAVIER, dtype=self.dtype, name="base"
        )(z).reshape(z.shape[0], height // 2**n, width // 2**n, base * self.width)
        each = [{"features": multiple * self.width, "norm": norm} for multiple in widths]
        how: dict[str, Any] = {"attention": self.attention, "remat": self.remat, "dtype": self.dtype}
        x_BxHxWxC = stacked(UpBlock, x_BxHxWxC, each, **how)
        x_BxHxWxC = jax.nn.relu(plain()(x_BxHxWxC))
        return jnp.tanh(Conv3x3(channels, kernel_init=XAVIER, dtype=self.dtype, name="image")(x_BxHxWxC))


class Discriminator(nn.Module):
    """`D: image -> logits`: residual blocks, ReLU, positions joined, an affine map. Each example by itself.

    With classes, it is a projection discriminator: the logit gains `<embed(y), h(x)>` (Miyato & Koyama 2018, eq. 3).
    """

    width: int = 128  # channels of the first block
    num_classes: int = 0
    pooling: Literal["sum", "mean"] = "sum"  # over positions: sum in SNGAN, mean in WGAN-GP
    attention: int = 0  # side of the map behind whose block self-attention is; 0 for none
    remat: bool = False  # recompute blocks in the backward pass rather than keep them
    heads: Mapping[str, int] | None = None  # name -> size; with any mapping, even {}, it returns a `Critique`
    dtype: Any = None

    by_example = True  # no BatchNorm: real and generated images can share a pass

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None) -> Array | Critique:
        """[B, H, W, C] images and labels, [B] int32 or vectors [B, E], to logits [B], with heads to a `Critique`."""
        check_name("resnet.Discriminator", "pooling", self.pooling, ("sum", "mean"))
        check_labels(labels, self.num_classes)
        size = layout(x.shape[1:])
        how: dict[str, Any] = {"attention": self.attention, "remat": self.remat, "dtype": self.dtype}
        h_BxHxWxC = jax.nn.relu(stacked(DownBlock, x, size.down(self.width), **how))
        h_BxC = h_BxHxWxC.sum((1, 2)) if self.pooling == "sum" else h_BxHxWxC.mean((1, 2))
        return logit_head(h_BxC, labels, self, XAVIER)
