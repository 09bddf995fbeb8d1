"""Generators and discriminators of sequences of symbols: tables of a Markov chain, and recurrent networks.

A generator is a step, `(carry, previous symbol [B, K]) -> (carry, logits [B, K])`, which `begin(B)` gives the first
carry; the symbol before the first is the zero vector. A discriminator sees a whole sequence, `x [B, T, K] -> u [B, S]`,
and says something of each of its last S symbols, from what stands up to it. Symbols may lie between the corners.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ganjax.core import Array


class TabularChain(nn.Module):
    """The logits of a Markov chain: K (K + 1) numbers, 0 at first, with which all symbols are equally likely."""

    symbols: int  # K

    def begin(self, count: int) -> tuple[()]:
        del count
        return ()

    @nn.compact
    def __call__(self, carry: tuple[()], x: Array) -> tuple[tuple[()], Array]:
        k = self.symbols
        start_K = self.param("start", nn.initializers.zeros, (k,))
        table_KxK = self.param("table", nn.initializers.zeros, (k, k))
        return carry, x @ table_KxK + (1 - x.sum(-1, keepdims=True)) * start_K[None]


class Recurrent(nn.Module):
    """A gated recurrent unit (Cho et al. 2014) over the symbols."""

    symbols: int
    features: int = 64

    def begin(self, count: int) -> Array:
        return jnp.zeros((count, self.features))

    @nn.compact
    def __call__(self, carry: Array, x: Array) -> tuple[Array, Array]:
        carry, h_BxF = nn.GRUCell(self.features)(carry, x)
        return carry, nn.Dense(self.symbols)(h_BxF)


class Lstm(nn.Module):
    """A long short-term memory over embedded symbols (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    `c = f c + i tanh(g)`, `h = o tanh(c)`, the gates i, f, g, o one product of the symbol's vector and h. It is the
    generator and, with the weights of `ganjax.data.oracle`, the oracle of SeqGAN (Yu et al. 2017).
    """

    symbols: int
    embedding: int = 32  # numbers of a symbol's vector
    features: int = 32

    def begin(self, count: int) -> tuple[Array, Array]:
        return jnp.zeros((count, self.features)), jnp.zeros((count, self.features))

    @nn.compact
    def __call__(self, carry: tuple[Array, Array], x: Array) -> tuple[tuple[Array, Array], Array]:
        c, h = carry
        e_BxE = _embedded(x, self.embedding)
        i, f, g, o = jnp.split(nn.Dense(4 * self.features, name="gates")(jnp.concatenate([e_BxE, h], -1)), 4, -1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), nn.Dense(self.symbols, name="out")(h)


def _embedded(x: Array, size: int) -> Array:
    """Corners [..., K] as vectors [..., size], points between them as the mean vectors."""
    return nn.Dense(size, use_bias=False, kernel_init=nn.initializers.normal(size**-0.5), name="embedding")(x)


class PairCritic(nn.Module):
    """`u_t = x_t^T W x_t+1`, a number for each pair of neighbours: with it D can be optimal of a Markov chain."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, K] to [B, T - 1]."""
        table_KxK = self.param("table", nn.initializers.zeros, (x.shape[-1], x.shape[-1]))
        return jnp.einsum("bti,ij,btj->bt", x[:, :-1], table_KxK, x[:, 1:])


class RecurrentCritic(nn.Module):
    """What a gated recurrent unit says after each symbol but the first."""

    features: int = 64

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, K] to [B, T - 1]."""
        cell: Any = nn.GRUCell(self.features)
        return nn.Dense(1)(nn.RNN(cell)(x))[:, 1:, 0]


class ConvolutionalCritic(nn.Module):
    """One number of a whole sequence: the strongest answer of each feature to any window (Kim 2014), a highway layer.

    The discriminator of SeqGAN (Yu et al. 2017) without its dropout. Windows longer than the sequence are left out.
    """

    features: int = 32  # of a width, and numbers of a symbol's vector
    widths: tuple[int, ...] = (1, 2, 3, 4, 5)  # of windows, in symbols

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, K] to [B, 1]."""
        e_BxTxE, length = _embedded(x, self.features), x.shape[1]
        found = []
        for width in self.widths:
            if width <= length:
                windows = [e_BxTxE[:, k : length - width + 1 + k] for k in range(width)]
                found.append(nn.relu(nn.Dense(self.features)(jnp.concatenate(windows, -1))).max(1))
        h = jnp.concatenate(found, -1)
        gate = nn.sigmoid(nn.Dense(h.shape[-1], bias_init=nn.initializers.constant(-2.0), name="gate")(h))
        return nn.Dense(1)(gate * nn.relu(nn.Dense(h.shape[-1], name="highway")(h)) + (1 - gate) * h)
