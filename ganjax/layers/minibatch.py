"""Layers that let a discriminator compare the examples of a batch, and maxout.

With `group`, examples are compared within groups of that size: example i with i + B / size, i + 2 B / size, ..., which
are together on one device, however many share the batch.
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype

from ganjax.checks import check_range
from ganjax.core import Array


def _grouped(x: Array, group: int | None) -> Array:
    """[B, ...] to [size, B / size, ...]: one row of examples is not compared, one column is."""
    check_range("minibatch layer", 1, whole=True, group=group)
    size = len(x) if group is None else min(group, len(x))
    if len(x) % size:
        raise ValueError(f"minibatch layer: a batch of {len(x)} has no groups of {size}; expected a multiple")
    return x.reshape(size, -1, *x.shape[1:])


class MinibatchDiscrimination(nn.Module):
    """`o(x_i)_b = sum_(j != i) exp(-|M_ib - M_jb|_1)` with `M = f T`, joined to f (Salimans et al. 2016, section 3.2).

    Examples that lie close together have large o, which shows a generator that draws always the same. Time and memory
    grow with `group * B`.
    """

    kernels: int = 32  # b, features that are added
    dims: int = 8  # length of each M_ib
    group: int | None = None  # examples that are compared with each other; None for the whole batch
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, f: Array) -> Array:
        """[B, F] to [B, F + kernels]."""
        check_range("MinibatchDiscrimination", 1, whole=True, kernels=self.kernels, dims=self.dims)
        m_BxKD = nn.Dense(self.kernels * self.dims, use_bias=False, dtype=self.dtype)(f)
        m_GxNxKxD = _grouped(m_BxKD.reshape(len(f), self.kernels, self.dims), self.group)
        distance_GxGxNxK = jnp.abs(m_GxNxKxD[:, None] - m_GxNxKxD[None]).sum(-1)
        o_GxNxK = jnp.exp(-distance_GxGxNxK).sum(1) - 1  # the example itself
        return jnp.concatenate([f, o_GxNxK.reshape(len(f), -1).astype(f.dtype)], axis=-1)


class MinibatchStandardDeviation(nn.Module):
    """One more feature, the standard deviation over the group, averaged over features (Karras et al. 2018)."""

    group: int | None = None  # examples that are compared with each other; None for the whole batch

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, ..., C] to [B, ..., C + 1]."""
        x_GxN = _grouped(x, self.group)
        # A little above zero, where the root has no derivative.
        deviation_N = jnp.sqrt(x_GxN.var(0) + 1e-8).mean(tuple(range(1, x.ndim)))
        feature_B = jnp.tile(deviation_N, len(x_GxN)).reshape(-1, *[1] * (x.ndim - 1))
        return jnp.concatenate([x, jnp.broadcast_to(feature_B, (*x.shape[:-1], 1)).astype(x.dtype)], axis=-1)


class Maxout(nn.Module):
    """`max_k (W_k x + b_k)` over `pieces` affine maps (Goodfellow et al. 2013)."""

    features: int
    pieces: int
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, F] to [B, features]."""
        check_range("Maxout", 1, whole=True, features=self.features, pieces=self.pieces)
        return nn.Dense(self.features * self.pieces, dtype=self.dtype)(x).reshape(len(x), -1, self.pieces).max(-1)
