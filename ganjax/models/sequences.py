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
