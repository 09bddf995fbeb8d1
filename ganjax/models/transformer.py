"""A causal transformer of maps of codes (Esser et al. 2021, section 3.2; Radford et al. 2019).

As the networks of `models.pixelcnn` it says the outputs of each entry from those before it, in raster order, and has
the methods by which `games.autoregressive` draws one entry after another.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from ganjax.core import Array
from ganjax.layers.masked import Place
from ganjax.likelihoods import unscaled
from ganjax.models.pixelcnn import Autoregressive, OfClass


class CausalAttention(nn.Module):
    """`softmax(q k^T / sqrt(d)) v` over earlier positions and a position's own, by heads (Vaswani et al. 2017).

    `h [B, N, F] -> [B, N, F]`; or of position i of `size` alone, [B, 1, F], which writes its key and its value into
    the collection "cache" and reads those of the earlier ones there.
    """

    heads: int

    @nn.compact
    def __call__(self, h: Array, i: Array | None = None, size: int = 0) -> Array:
        (b, n, f), d = h.shape, h.shape[-1] // self.heads
        query, key, value = jnp.moveaxis(nn.Dense(3 * f)(h).reshape(b, n, 3, self.heads, d), 2, 0)
        if i is not None:
            key, value = self._remembered("key", key, i, size), self._remembered("value", value, i, size)
        at = jnp.arange(n) if i is None else i.reshape(1)
        seen = jnp.arange(key.shape[1]).reshape(1, -1) <= at.reshape(-1, 1)
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key) / d**0.5
        weights = jax.nn.softmax(jnp.where(seen[None, None], logits, -jnp.inf))
        return nn.Dense(f)(jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(b, n, f))

    def _remembered(self, name: str, new: Array, i: Array, size: int) -> Array:
        """What all positions up to i have, [B, size, heads, d]; 0 behind."""
        cache = self.variable("cache", name, jnp.zeros, (new.shape[0], size, *new.shape[2:]), new.dtype)
        none = jnp.zeros_like(i)
        cache.value = lax.dynamic_update_slice(cache.value, new, (none, i, none, none))
        return cache.value


class Blocks(nn.Module):
    """Pre-norm blocks of attention and of a perceptron 4 times as wide, and outputs, all of them 0 at first."""

    outputs: int
    blocks: int
    heads: int

    @nn.compact
    def __call__(self, h: Array, i: Array | None = None, size: int = 0) -> Array:
        f = h.shape[-1]
        for _ in range(self.blocks):
            h = h + CausalAttention(self.heads)(nn.LayerNorm()(h), i, size)
            h = h + nn.Dense(f)(nn.gelu(nn.Dense(4 * f)(nn.LayerNorm()(h))))
        return nn.Dense(self.outputs, kernel_init=nn.initializers.zeros)(nn.LayerNorm()(h))


class Transformer(Autoregressive):
    """`x [B, H, W, 1]`, codes as `categorical(outputs)` has them, from -1 to 1, to logits [B, H, W, outputs].

    A position is told the code before it, its row and column, and the class. It takes maps of the height and width
    that it was initialised with; larger ones are drawn by sliding over them (`games.autoregressive.sliding`).
    """

    width: int = 64  # a multiple of the heads
    blocks: int = 3
    heads: int = 4

    @nn.compact
    def say(self, x: Array, above: Any, labels: Array | None = None, place: Place | None = None) -> Array:
        b, rows, columns, channels = x.shape
        if channels != 1 or self.width % self.heads:
            raise ValueError(
                f"Transformer: x has shape {x.shape} and width is {self.width}, expected maps [B, H, W, 1] and a "
                f"multiple of the {self.heads} heads"
            )
        codes = unscaled(x.reshape(b, -1), self.outputs)
        before = jnp.concatenate([jnp.full((b, 1), self.outputs, jnp.int32), codes[:, :-1]], 1)  # a start of its own
        init = nn.initializers.normal(0.02)
        row, column = (
            self.param(name, init, (size, self.width)) for name, size in (("row", rows), ("column", columns))
        )
        where = (row[:, None] + column[None]).reshape(1, rows * columns, -1)
        i = None if place is None else place.row * columns + (0 if place.column is None else place.column)
        if i is not None:
            before, where = (lax.dynamic_slice_in_dim(one, i, 1, 1) for one in (before, where))
        h = nn.Embed(self.outputs + 1, self.width, embedding_init=init)(before) + where
        if self.num_classes:
            h = h + jnp.asarray(OfClass(self.width, self.num_classes)(labels))[:, 0]
        said = Blocks(self.outputs, self.blocks, self.heads)(h, i, rows * columns)
        return said.reshape(b, rows, columns, -1) if i is None else said[:, None]
