"""RealNVP: an invertible network with an exact density (Dinh, Sohl-Dickstein and Bengio 2017), with perceptrons."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn import log_sigmoid, sigmoid

from ganjax.core import Array


class Coupling(nn.Module):
    """Scales and shifts for all entries, from those that are shown: `x [B, D] -> s, t [B, D]`; zero at first."""

    size: int  # D
    hidden: Sequence[int]

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        h = x
        for width in self.hidden:
            h = nn.relu(nn.Dense(width)(h))
        raw, t = jnp.split(nn.Dense(2 * self.size, kernel_init=nn.initializers.zeros)(h), 2, axis=-1)
        gain = self.param("gain", nn.initializers.ones, (1, self.size))
        return gain * jnp.tanh(raw), t  # bounded scales: no step makes a likelihood infinite


class RealNVP(nn.Module):
    """`G: z [B, D] -> x [B, *shape]`, a bijection; `encode` goes back.

    Each coupling leaves half of the entries as they are and maps the others by `y = x exp(s) + t`, s and t functions of
    the first half: `log |det dy/dx| = sum s`. The halves go by a bit of the entry's number, another one for every pair
    of couplings, of which the second has the complement: in `2 log2 D` of them any two entries are apart once.
    With `alpha`, x are pixels of -1 to 1, and the couplings act on `logit(alpha + (1 - 2 alpha) (x + 1) / 2)` (4.1).
    """

    shape: tuple[int, ...]  # of an example: (2,), (8, 8, 1)
    couplings: int = 8
    hidden: Sequence[int] = (64, 64)  # of each coupling's perceptron
    alpha: float = 0.0  # 0 for points, which have no bounds; 0.05 in the paper

    def setup(self) -> None:
        self.networks = [Coupling(math.prod(self.shape), self.hidden) for _ in range(self.couplings)]

    @property
    def masks(self) -> np.ndarray:
        """[couplings, 1, D] float32: 1 where an entry is shown and stays."""
        size = math.prod(self.shape)
        bits = max(1, (size - 1).bit_length())
        numbers = [np.arange(size) >> (k // 2) % bits for k in range(self.couplings)]
        return np.stack([(number + k) % 2 for k, number in enumerate(numbers)])[:, None].astype(np.float32)

    def encode(self, x: Array) -> tuple[Array, Array]:
        """z [B, D] and `log |det dz/dx|` [B]."""
        h, log_det = x.reshape(x.shape[0], -1), jnp.zeros(x.shape[0], x.dtype)
        if self.alpha:
            y = self.alpha + (1 - 2 * self.alpha) * (h + 1) / 2
            h, slope = jnp.log(y) - jnp.log1p(-y), math.log((1 - 2 * self.alpha) / 2)
            log_det += (slope - jnp.log(y) - jnp.log1p(-y)).sum(1)
        for shown, network in zip(self.masks, self.networks, strict=True):
            s, t = ((1 - shown) * part for part in network(shown * h))
            h = h * jnp.exp(s) + t
            log_det += s.sum(1)
        return h, log_det

    def decode(self, z: Array) -> tuple[Array, Array]:
        """x [B, *shape] and `log |det dx/dz|` [B], minus that of `encode` there."""
        h, log_det = z, jnp.zeros(z.shape[0], z.dtype)
        for shown, network in zip(self.masks[::-1], self.networks[::-1], strict=True):
            s, t = ((1 - shown) * part for part in network(shown * h))
            h = (h - t) * jnp.exp(-s)
            log_det -= s.sum(1)
        if self.alpha:
            log_det += (log_sigmoid(h) + log_sigmoid(-h) - math.log((1 - 2 * self.alpha) / 2)).sum(1)
            h = 2 * (sigmoid(h) - self.alpha) / (1 - 2 * self.alpha) - 1
        return h.reshape(z.shape[0], *self.shape), log_det

    def __call__(self, z: Array, labels: Array | None = None) -> Array:
        """The sample that z makes; labels are ignored, so that labelled data can train it."""
        del labels
        return self.decode(z)[0]
