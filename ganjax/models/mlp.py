"""Fully connected generator and discriminator for data of any shape (Goodfellow et al. 2014)."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ganjax.core import Array
from ganjax.errors import ConfigError

leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)


def identity(x: Array) -> Array:
    """The output activation for points, which have no bounds."""
    return x


def check_labels(labels: Array | None, num_classes: int) -> None:
    """Raises `ConfigError` where a conditional model is called without labels."""
    if num_classes and labels is None:
        raise ConfigError(
            f"labels: got None, expected int32 [B], because num_classes={num_classes}. Pass labels, "
            "or set num_classes=0 for an unconditional model."
        )


class Generator(nn.Module):
    """`G: z -> x`, hidden layers with LeakyReLU(0.2).

    With classes, a learned embedding of the label is concatenated to `z` (Mirza & Osindero 2014). Without
    (`num_classes = 0`), labels are ignored, so that labelled data can train an unconditional model.
    """

    shape: tuple[int, ...]  # of one example: (28, 28, 1), (2,)
    hidden: Sequence[int] = (256, 512, 1024)  # widths, from z to x
    output: Callable[[Array], Array] = jnp.tanh  # identity for points
    num_classes: int = 0
    embedding: int = 64  # length of a label's vector
    batch_norm: bool = False
    axis_name: str | None = None  # of the devices that share BatchNorm statistics
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool) -> Array:
        """[B, Z] latents and [B] int32 labels to examples [B, *shape]."""
        check_labels(labels, self.num_classes)
        x_BxF = z
        if self.num_classes:
            label = nn.Embed(self.num_classes, self.embedding, dtype=self.dtype)(labels)
            x_BxF = jnp.concatenate([z, label.astype(z.dtype)], axis=-1)
        for width in self.hidden:
            # BatchNorm subtracts what a bias would add.
            x_BxF = nn.Dense(width, use_bias=not self.batch_norm, dtype=self.dtype)(x_BxF)
            if self.batch_norm:
                x_BxF = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=0.9,  # as in dcgan.py, and so is the variance
                    use_fast_variance=False,
                    axis_name=self.axis_name,
                    dtype=self.dtype,
                )(x_BxF)
            x_BxF = leaky_relu(x_BxF)
        x_BxF = nn.Dense(math.prod(self.shape), dtype=self.dtype)(x_BxF)
        return self.output(x_BxF).reshape(z.shape[0], *self.shape)


class Discriminator(nn.Module):
    """`D: x -> logits`, hidden layers with LeakyReLU(0.2).

    With classes, it is a projection discriminator: `logit = <embed(y), h(x)> + psi(h(x))` for the last
    features `h` (Miyato & Koyama 2018, equation 3).
    """

    hidden: Sequence[int] = (512, 256)  # widths, from x to the logit
    num_classes: int = 0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None, *, train: bool) -> Array:
        """[B, ...] examples and [B] int32 labels to logits [B]."""
        del train  # nothing here differs
        check_labels(labels, self.num_classes)
        h_BxF = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            h_BxF = leaky_relu(nn.Dense(width, dtype=self.dtype)(h_BxF))
        logits_B = nn.Dense(1, dtype=self.dtype)(h_BxF)[:, 0]
        if self.num_classes:
            label_BxF = nn.Embed(self.num_classes, h_BxF.shape[-1], dtype=self.dtype)(labels)
            logits_B += (label_BxF * h_BxF).sum(axis=-1)
        return logits_B
