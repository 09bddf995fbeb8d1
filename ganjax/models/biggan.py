"""BigGAN for images of 32, 64 and 128 pixels (Brock, Donahue & Simonyan 2019, appendix B, figure 15).

The residual networks of SNGAN with wider blocks, and a generator whose BatchNorms are conditioned on one embedding of
the class that all share, joined with a part of z of their block's own. Layers, shapes and parameter counts are those of
the authors' PyTorch code (Brock & Schonfeld, BigGAN-PyTorch), the form of its CIFAR script included: no shared
embedding, z undivided, kernels from N(0, 0.02). Spectral normalisation, which is in both players, and orthogonal
regularisation belong to the game; the code normalises every kernel, and of the tables only the discriminator's.

| side | generator from a base map of 4x4, channels / width | discriminator, channels / width |
|---|---|---|
| 32 | 4, 4, 4, 4 | 4, 4, 4, 4; the first 2 blocks halve |
| 64 | 16, 16, 8, 4, 2 | 1, 2, 4, 8, 16; the first 4 blocks halve |
| 128 | 16, 16, 8, 4, 2, 1 | 1, 2, 4, 8, 16, 16; the first 5 blocks halve |

Other sides that are a base of 4 to 7 times a power of two get the layout of the nearest one.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.core import Array, Critique
from ganjax.errors import ConfigError
from ganjax.layers.conditioning import embedded, is_condition
from ganjax.layers.heads import check_labels, logit_head
from ganjax.layers.normalisation import BatchNorm, ConditionalBatchNorm
from ganjax.layers.resampling import Conv3x3
from ganjax.layers.residual import DownBlock, UpBlock, stacked
from ganjax.models import resnet
from ganjax.models.resnet import Size

Initialisation = Literal["orthogonal", "normal"]
# Kernels and tables: (semi-)orthogonal as in the paper, or N(0, 0.02) as in the CIFAR script. Biases are zero.
INITIALISATIONS = {"orthogonal": nn.initializers.orthogonal(), "normal": nn.initializers.normal(0.02)}
_SMALL, _64, _128 = (
    Size((4, 4, 4, 4), (4, 4, 4, 4), 2),
    Size((16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 4),
    Size((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
)


def layout(shape: tuple[int, ...]) -> Size:
    """The layout for images of that shape, (height, width, channels).

    Raises:
        DataError: the sides are no base of at most 7 times a power of 2.
    """
    doublings = len(resnet.layout(shape).generator) - 1
    if doublings > 3:
        return _64 if doublings == 4 else _128
    return Size(_SMALL.generator[: doublings + 1], _SMALL.discriminator, min(_SMALL.halvings, doublings))


class Generator(nn.Module):
    """`G: z -> image`: an affine map to the base map, residual blocks that double it, BatchNorm, ReLU, conv, tanh.

    z is split evenly, the first part for the base map and one for each block. A block's BatchNorms map `[e(y), part]`
    linearly to scales and offsets, with `e` shared by all (the paper). `embedding = 0` gives each of them tables of its
    own instead, which know no part of z (the CIFAR script). Without classes the condition is the part of z alone.
    """

    shape: tuple[int, ...]  # (height, width, channels)
    width: int = 64  # ch in the authors' code
    num_classes: int = 0
    embedding: int = 128  # length of the shared embedding; 0 for tables in each BatchNorm
    split: bool = True  # z over the base map and the blocks; False: all of it to the base map
    attention: int = 0  # side of the map behind whose block self-attention is; 0 for none
    initialisation: Initialisation = "orthogonal"
    remat: bool = False  # recompute blocks in the backward pass rather than keep them
    axis_name: str | None = None  # of the devices that share BatchNorm statistics
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool) -> Array:
        """[B, Z] latents and labels, [B] int32 or vectors [B, E], to images [B, H, W, C]."""
        check_labels(labels, self.num_classes)
        height, width, channels = self.shape
        base, *widths = layout(self.shape).generator
        n = len(widths)
        z, *parts = self._parts(z, n, by_table=is_condition(labels, self.num_classes) and not self.embedding)
        init = INITIALISATIONS[self.initialisation]
        shared = []
        if is_condition(labels, self.num_classes) and self.embedding:
            options = {"embedding_init": init, "dtype": self.dtype, "name": "classes"}
            shared = [embedded(labels, self.embedding, self.num_classes, **options)]
        plain = partial(BatchNorm, use_running_average=not train, axis_name=self.axis_name, dtype=self.dtype)
        conditional = partial(ConditionalBatchNorm, axis_name=self.axis_name, kernel_init=init, dtype=self.dtype)

        def norm(part: list[Array]) -> Any:
            def call(x: Array) -> Array:
                if is_condition(labels, self.num_classes) and not self.embedding:
                    return conditional(self.num_classes)(x, labels, train=train)
                if not shared + part:
                    return plain()(x)
                return conditional()(x, jnp.concatenate(shared + part, -1), train=train)

            return call

        x_BxHxWxC = nn.Dense(
            height * width // 4**n * base * self.width, kernel_init=init, dtype=self.dtype, name="base"
        )(z).reshape(z.shape[0], height // 2**n, width // 2**n, base * self.width)
        pairs = zip(widths, parts, strict=True)
        each = [{"features": multiple * self.width, "norm": norm(part)} for multiple, part in pairs]
        x_BxHxWxC = stacked(UpBlock, x_BxHxWxC, each, **_how(self, init))
        x_BxHxWxC = jax.nn.relu(plain()(x_BxHxWxC))
        return jnp.tanh(Conv3x3(channels, kernel_init=init, dtype=self.dtype, name="image")(x_BxHxWxC))

    def _parts(self, z: Array, blocks: int, *, by_table: bool) -> list[Any]:
        """z for the base map, and for each block a list of its own part, if it has one."""
        if not self.split:
            return [z, *([] for _ in range(blocks))]
        if by_table:
            raise ConfigError(
                "biggan.Generator: embedding is 0, which leaves z no way into a BatchNorm; got split=True, expected "
                "split=False, or a shared embedding of 128"
            )
        if z.shape[-1] % (blocks + 1):
            raise ConfigError(
                f"biggan.Generator: z has {z.shape[-1]} entries, expected a multiple of {blocks + 1}, one part for the "
                f"base map and one for each of {blocks} blocks; change the latent's size, or set split=False"
            )
        first, *others = jnp.split(z, blocks + 1, -1)
        return [first, *([part] for part in others)]


def _how(network: Any, init: Any) -> dict[str, Any]:
    """What all blocks of a network have in common."""
    inits = dict.fromkeys(("kernel_init", "shortcut_init", "attention_init"), init)
    return {**inits, "attention": network.attention, "remat": network.remat, "dtype": network.dtype}


class Discriminator(nn.Module):
    """`D: image -> logits`: residual blocks, ReLU, the sum over positions, an affine map. Each example by itself.

    With classes, it is a projection discriminator: the logit gains `<embed(y), h(x)>` (Miyato & Koyama 2018, eq. 3).
    """

    width: int = 64  # ch in the authors' code
    num_classes: int = 0
    attention: int = 0  # side of the map behind whose block self-attention is; 0 for none
    initialisation: Initialisation = "orthogonal"
    remat: bool = False  # recompute blocks in the backward pass rather than keep them
    heads: Mapping[str, int] | None = None  # name -> size; with any mapping, even {}, it returns a `Critique`
    dtype: Any = None

    by_example = True  # no BatchNorm: real and generated images can share a pass

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None) -> Array | Critique:
        """[B, H, W, C] images and labels, [B] int32 or vectors [B, E], to logits [B], with heads to a `Critique`."""
        check_labels(labels, self.num_classes)
        size = layout(x.shape[1:])
        init = INITIALISATIONS[self.initialisation]
        each = [{**block, "hidden": block["features"]} for block in size.down(self.width)]
        h_BxHxWxC = stacked(DownBlock, x, each, **_how(self, init))
        h_BxC = jax.nn.relu(h_BxHxWxC).sum((1, 2))
        return logit_head(h_BxC, labels, self, init)
