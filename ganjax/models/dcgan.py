"""DCGAN (Radford, Metz & Chintala 2016, section 3), for images of any height and width divisible by four.

The published guidelines: strided and fractionally strided convolutions instead of pooling; BatchNorm in both
networks, but not at the generator's output nor the discriminator's input layer; no hidden dense layers; ReLU
and a tanh output in the generator, LeakyReLU(0.2) in the discriminator; kernels from N(0, 0.02).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.checks import check_name
from ganjax.core import Array, Critique
from ganjax.errors import DataError
from ganjax.layers.conditioning import is_condition, joined
from ganjax.layers.convolution import Conv, ConvTranspose
from ganjax.layers.dropout import Dropout
from ganjax.layers.heads import check_labels, critique, projection
from ganjax.layers.normalisation import BatchNorm, ConditionalBatchNorm
from ganjax.models.mlp import leaky_relu

kernel_init = nn.initializers.normal(0.02)


def _scale_init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


# 4x4 kernels of stride 2 halve or double a side exactly; before BatchNorm a bias has no effect.
_down = partial(Conv, kernel_size=(4, 4), strides=(2, 2), padding=1, kernel_init=kernel_init)
_up = partial(ConvTranspose, kernel_size=(4, 4), strides=(2, 2), padding="SAME", kernel_init=kernel_init)
batch_norm = partial(BatchNorm, scale_init=_scale_init)


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Raises `DataError` for a shape that DCGAN cannot halve twice.

    Args:
        shape: (height, width, channels) of one image.
    """
    if len(shape) != 3 or min(shape) < 1 or shape[0] % 4 or shape[1] % 4:
        raise DataError(
            f"image shape: got {tuple(shape)}, expected (height, width, channels) with height and width "
            "divisible by 4. Crop, pad or resize the images (30 -> 28 or 32), or use the MLP."
        )


def doublings(height: int, width: int) -> int:
    """How often the base map is doubled: while both sides stay whole and at least 4, but twice at least."""
    n = 2
    while height % 2 ** (n + 1) == width % 2 ** (n + 1) == 0 and min(height, width) >= 4 * 2 ** (n + 1):
        n += 1
    return n


class Generator(nn.Module):
    """`G: z -> image`, from a base map of height / 2^n by width / 2^n with `width * 2^(n - 1)` channels.

    With classes, a learned embedding of the label is concatenated to `z` (Mirza & Osindero 2014), or the scales and
    offsets of BatchNorm are those of the class. Without (`num_classes = 0`), labels are ignored, so that labelled data
    can train an unconditional model.
    """

    shape: tuple[int, ...]  # (height, width, channels)
    width: int = 64  # channels of the last hidden map
    conditioning: Literal["concatenation", "batch_norm"] = "concatenation"
    output: Callable[[Array], Array] = jnp.tanh
    num_classes: int = 0
    embedding: int = 64  # length of a label's vector
    axis_name: str | None = None  # of the devices that share BatchNorm statistics
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool) -> Array:
        """[B, Z] latents and labels, [B] int32 or vectors [B, E], to images [B, H, W, C]."""
        check_name("dcgan.Generator", "conditioning", self.conditioning, ("concatenation", "batch_norm"))
        check_image_shape(self.shape)
        check_labels(labels, self.num_classes)
        if self.conditioning == "concatenation":
            z = joined(z, labels, self.embedding, self.num_classes, dtype=self.dtype)
        shared: dict[str, Any] = {"axis_name": self.axis_name, "dtype": self.dtype}

        def norm(x: Array) -> Array:
            if is_condition(labels, self.num_classes) and self.conditioning == "batch_norm":
                return ConditionalBatchNorm(self.num_classes, **shared)(x, labels, train=train)
            return batch_norm(use_running_average=not train, **shared)(x)

        height, width, channels = self.shape
        n = doublings(height, width)
        x_BxHxWxC = ConvTranspose(
            self.width * 2 ** (n - 1),
            kernel_size=(height // 2**n, width // 2**n),
            padding="VALID",
            use_bias=False,
            kernel_init=kernel_init,
            dtype=self.dtype,
        )(z[:, None, None])
        x_BxHxWxC = nn.relu(norm(x_BxHxWxC))
        for i in reversed(range(n - 1)):
            x_BxHxWxC = _up(self.width * 2**i, use_bias=False, dtype=self.dtype)(x_BxHxWxC)
            x_BxHxWxC = nn.relu(norm(x_BxHxWxC))
        return self.output(_up(channels, dtype=self.dtype)(x_BxHxWxC))


class Discriminator(nn.Module):
    """`D: image -> logits`, the generator mirrored; the last convolution covers the whole base map.

    With classes, it is a projection discriminator: the logit gains `<embed(y), h(x)>` for the last map `h`, of which
    the logit without classes is linear too (Miyato & Koyama 2018, equation 3). Summed over positions, the maps of so
    few layers hardly tell classes apart. Whoever asks Flax for intermediates gets the hidden maps, as "maps".
    """

    width: int = 64  # channels of the first map
    num_classes: int = 0
    batch_norm: bool = True  # False: biases instead, as penalties on each example need
    heads: Mapping[str, int] | None = None  # name -> size; with any mapping, even {}, it returns a `Critique`
    dropout: float = 0.0  # share of each hidden map that is dropped in training
    axis_name: str | None = None  # of the devices that share the batch: BatchNorm statistics, dropout's masks
    dtype: Any = None

    @property
    def by_example(self) -> bool:
        """Whether no layer mixes examples, nor draws for them by their place in the batch."""
        return not self.batch_norm and not self.dropout

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None, *, train: bool) -> Array | Critique:
        """[B, H, W, C] images and labels, [B] int32 or vectors [B, E], to logits [B], with heads to a `Critique`."""
        check_image_shape(x.shape[1:])
        check_labels(labels, self.num_classes)
        norm = partial(batch_norm, use_running_average=not train, axis_name=self.axis_name, dtype=self.dtype)
        h_BxHxWxC = leaky_relu(_down(self.width, dtype=self.dtype)(x))
        self.sow("intermediates", "maps", h_BxHxWxC)
        for i in range(1, doublings(*x.shape[1:3])):
            h_BxHxWxC = _down(self.width * 2**i, use_bias=not self.batch_norm, dtype=self.dtype)(h_BxHxWxC)
            h_BxHxWxC = leaky_relu(norm()(h_BxHxWxC) if self.batch_norm else h_BxHxWxC)
            if self.dropout:
                h_BxHxWxC = Dropout(self.dropout, self.axis_name)(h_BxHxWxC, deterministic=not train)
            self.sow("intermediates", "maps", h_BxHxWxC)
        logits_B = Conv(
            1, kernel_size=h_BxHxWxC.shape[1:3], padding="VALID", kernel_init=kernel_init, dtype=self.dtype
        )(h_BxHxWxC).reshape(-1)
        h_BxF = h_BxHxWxC.reshape(len(x), -1)
        logits_B += projection(h_BxF, labels, self.num_classes, embedding_init=kernel_init, dtype=self.dtype)
        return critique(logits_B, h_BxF, self.heads, self.dtype)
