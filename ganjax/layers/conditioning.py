"""Conditions: what a class or a vector says to a layer, and concatenation to networks that know neither."""

from collections.abc import Callable
from typing import Any, TypeGuard

import flax.linen as nn
import jax.numpy as jnp

from ganjax.core import Array
from ganjax.layers.mode import check_told, mode


def is_condition(y: Array | None, num_classes: int) -> TypeGuard[Array]:
    """Whether a model goes by y: by vectors always, by classes if it has any (`num_classes`), else it ignores them."""
    return y is not None and (num_classes > 0 or bool(jnp.issubdtype(y.dtype, jnp.floating)))


def embedded(
    y: Array, size: int, num_classes: int, *, embedding_init: Any = None, kernel_init: Any = None, **layer: Any
) -> Array:
    """`e(y)`: the row of a table for a class, a linear map without bias for a vector.

    Called inside a module, which then owns the table or the map.

    Args:
        y: [B] integers, or [B, E] floating, such as the vectors of captions.
        size: length of e(y).
        num_classes: rows of the table.
        embedding_init: of the table, of unit variance over its columns by default.
        kernel_init: of the map, as `embedding_init` if that is given and this is not.
        layer: options of `nn.Embed` and `nn.Dense` alike, such as `dtype` and `name`.

    Returns:
        [B, size].
    """
    if jnp.issubdtype(y.dtype, jnp.floating):
        start = kernel_init or embedding_init or nn.initializers.lecun_normal()
        return nn.Dense(size, use_bias=False, kernel_init=start, **layer)(y)
    table = {} if embedding_init is None else {"embedding_init": embedding_init}
    return nn.Embed(num_classes, size, **table, **layer)(y)


def joined(z: Array, y: Array | None, size: int, num_classes: int, **options: Any) -> Array:
    """`[z, e(y)]` (Mirza & Osindero 2014), [B, Z + size] with the options of `embedded`; z where y is no condition."""
    if not is_condition(y, num_classes):
        return z
    return jnp.concatenate([z, embedded(y, size, num_classes, **options).astype(z.dtype)], -1)


class ConcatenatedLatent(nn.Module):
    """`G([z, e(y)])` (Mirza & Osindero 2014) for a generator that knows neither classes nor vectors y."""

    make: Callable[..., nn.Module]  # (dtype=..., name=...) -> generator without classes
    num_classes: int
    embedding: int = 64  # length of e(y)
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, labels: Array, *, train: bool) -> Array:
        """[B, Z] latents and [B] int32 classes or [B, E] vectors to examples."""
        generator = self.make(dtype=self.dtype, name="generator")
        z = joined(z, labels, self.embedding, self.num_classes, dtype=self.dtype, name="classes")
        return _told(generator, z, train)


class ConcatenatedImage(nn.Module):
    """`D([x, e(y)])` (Mirza & Osindero 2014) with a map `e(y)`, as large as the image, as one more channel."""

    make: Callable[..., nn.Module]  # (dtype=..., name=...) -> discriminator without classes
    num_classes: int
    by_example: bool = False  # whether the discriminator is
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, labels: Array, *, train: bool) -> Any:
        """[B, H, W, C] images and [B] int32 classes or [B, E] vectors to what the discriminator says."""
        size = x.shape[1] * x.shape[2]
        maps = embedded(labels, size, self.num_classes, dtype=self.dtype, name="classes")
        planes = maps.reshape(*x.shape[:3], 1).astype(x.dtype)
        discriminator = self.make(dtype=self.dtype, name="discriminator")
        return _told(discriminator, jnp.concatenate([x, planes], -1), train)


def _told(module: nn.Module, x: Array, train: bool) -> Any:
    """The module's output, in this mode."""
    output = module(x, **mode(module, train))
    check_told(module, module.variables)
    return output
