"""Fully connected generator and discriminator for data of any shape (Goodfellow et al. 2014)."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.checks import check_name, check_range
from ganjax.core import Array, Critique, Key
from ganjax.layers.conditioning import joined
from ganjax.layers.dropout import Dropout
from ganjax.layers.heads import check_labels, critique, projection
from ganjax.layers.minibatch import Maxout, MinibatchDiscrimination, MinibatchStandardDeviation
from ganjax.layers.normalisation import BatchNorm

Initialisation = Literal["lecun_normal", "uniform"]

leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)


def identity(x: Array) -> Array:
    """The output activation for points, which have no bounds."""
    return x


def dense(features: int, inputs: int, initialisation: Initialisation, **options: Any) -> nn.Dense:
    """An affine map with Flax's initialisation, or with that of PyTorch.

    "uniform" draws kernel and bias from `U(-1, 1) / sqrt(inputs)`. Its biases put the kinks of a first layer all over
    the plane; with zero biases they all pass through the origin, and mixtures of Gaussians are learned several times
    as slowly (experiments/mode_collapse.py).
    """
    check_name("dense", "initialisation", initialisation, get_args(Initialisation))
    if initialisation == "lecun_normal":
        return nn.Dense(features, **options)

    def draw(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -1, 1) / math.sqrt(inputs)

    return nn.Dense(features, kernel_init=draw, bias_init=draw, **options)


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
    initialisation: Initialisation = "lecun_normal"
    axis_name: str | None = None  # of the devices that share BatchNorm statistics
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool) -> Array:
        """[B, Z] latents and labels, [B] int32 or vectors [B, E], to examples [B, *shape]."""
        check_labels(labels, self.num_classes)
        affine = partial(dense, initialisation=self.initialisation, dtype=self.dtype)
        x_BxF = joined(z, labels, self.embedding, self.num_classes, dtype=self.dtype)
        for width in self.hidden:
            # BatchNorm subtracts what a bias would add.
            x_BxF = affine(width, x_BxF.shape[-1], use_bias=not self.batch_norm)(x_BxF)
            if self.batch_norm:
                x_BxF = BatchNorm(use_running_average=not train, axis_name=self.axis_name, dtype=self.dtype)(x_BxF)
            x_BxF = leaky_relu(x_BxF)
        x_BxF = affine(math.prod(self.shape), x_BxF.shape[-1])(x_BxF)
        return self.output(x_BxF).reshape(z.shape[0], *self.shape)


class Discriminator(nn.Module):
    """`D: x -> logits`, hidden layers with LeakyReLU(0.2).

    With classes, it is a projection discriminator: `logit = <embed(y), h(x)> + psi(h(x))` for the last
    features `h` (Miyato & Koyama 2018, equation 3).
    """

    hidden: Sequence[int] = (512, 256)  # widths, from x to the logit
    num_classes: int = 0
    heads: Mapping[str, int] | None = None  # name -> size; with any mapping, even {}, it returns a `Critique`
    dropout: float = 0.0  # share of each hidden layer that is dropped in training
    maxout: int = 0  # pieces of maxout layers, instead of LeakyReLU
    minibatch: Literal["none", "discrimination", "std"] = "none"  # comparison of the batch before the logit
    group: int | None = None  # examples that such a comparison takes together; None for the whole batch
    initialisation: Initialisation = "lecun_normal"
    axis_name: str | None = None  # of the devices that share the batch, for dropout's masks
    dtype: Any = None

    @property
    def by_example(self) -> bool:
        """Whether no layer mixes examples, nor draws for them by their place in the batch."""
        return self.minibatch == "none" and not self.dropout

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None, *, train: bool) -> Array | Critique:
        """[B, ...] examples and labels, [B] int32 or vectors [B, E], to logits [B], with heads to a `Critique`."""
        check_name("mlp.Discriminator", "minibatch", self.minibatch, ("none", "discrimination", "std"))
        check_range("mlp.Discriminator", 0, whole=True, maxout=self.maxout)
        check_labels(labels, self.num_classes)
        affine = partial(dense, initialisation=self.initialisation, dtype=self.dtype)
        h_BxF = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            if self.maxout:
                h_BxF = Maxout(width, self.maxout, dtype=self.dtype)(h_BxF)
            else:
                h_BxF = leaky_relu(affine(width, h_BxF.shape[-1])(h_BxF))
            if self.dropout:
                h_BxF = Dropout(self.dropout, self.axis_name)(h_BxF, deterministic=not train)
        if self.minibatch == "discrimination":
            h_BxF = MinibatchDiscrimination(group=self.group, dtype=self.dtype)(h_BxF)
        elif self.minibatch == "std":
            h_BxF = MinibatchStandardDeviation(group=self.group)(h_BxF)
        logits_B = affine(1, h_BxF.shape[-1])(h_BxF)[:, 0]
        logits_B += projection(h_BxF, labels, self.num_classes, dtype=self.dtype)
        return critique(logits_B, h_BxF, self.heads, self.dtype)
