"""Layers that let a discriminator compare the examples of a batch, and maxout."""

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype

from ganjax.core import Array


class MinibatchDiscrimination(nn.Module):
    """`o(x_i)_b = sum_(j != i) exp(-|M_ib - M_jb|_1)` with `M = f T`, joined to f (Salimans et al. 2016, section 3.2).

    Examples that lie close together have large o, which shows a generator that draws always the same.
    """

    kernels: int = 32  # b, features that are added
    dims: int = 8  # length of each M_ib
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, f: Array) -> Array:
        """[B, F] to [B, F + kernels]."""
        m_BxKxD = nn.Dense(self.kernels * self.dims, use_bias=False, dtype=self.dtype)(f)
        m_BxKxD = m_BxKxD.reshape(len(f), self.kernels, self.dims)
        distance_BxBxK = jnp.abs(m_BxKxD[:, None] - m_BxKxD[None]).sum(-1)
        o_BxK = jnp.exp(-distance_BxBxK).sum(1) - 1  # the example itself
        return jnp.concatenate([f, o_BxK.astype(f.dtype)], axis=-1)


class MinibatchStandardDeviation(nn.Module):
    """One more feature, the standard deviation over the batch, averaged over features (Karras et al. 2018)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, ..., C] to [B, ..., C + 1]."""
        # A little above zero, where the root has no derivative.
        deviation = jnp.sqrt(x.var(0) + 1e-8).mean()
        return jnp.concatenate([x, jnp.full((*x.shape[:-1], 1), deviation, x.dtype)], axis=-1)


class Maxout(nn.Module):
    """`max_k (W_k x + b_k)` over `pieces` affine maps (Goodfellow et al. 2013)."""

    features: int
    pieces: int
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, F] to [B, features]."""
        return nn.Dense(self.features * self.pieces, dtype=self.dtype)(x).reshape(len(x), -1, self.pieces).max(-1)
