"""Models of binary images: some say `log p(x)`, others, the energies, `log p*(x)`, which lacks a constant.

All take `x [B, ...]` of -1 and 1 and say [B] nats; their formulas speak of `v = (x + 1) / 2`, flattened row by row.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn import softplus

from ganjax.core import Array
from ganjax.likelihoods import bernoulli

zeros, small = nn.initializers.zeros_init(), nn.initializers.normal(0.1)


def bits(x: Array) -> Array:
    """`[B, ...]` of -1 and 1 to `v [B, D]` of 0 and 1."""
    return (x.reshape(len(x), -1) + 1) / 2


class Factorial(nn.Module):
    """`p(x) = prod_i sigmoid(b_i)^v_i sigmoid(-b_i)^(1 - v_i)`: pixels that know nothing of each other."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        b = self.param("bias", zeros, (x[0].size,))
        return bits(x) @ b - softplus(b).sum()


class Autoregression(nn.Module):
    """`p(x) = prod_i p(v_i | v_1 ... v_(i-1))`, each factor a logistic regression (Frey 1998)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        v = bits(x)
        size = v.shape[1]
        b, w = self.param("bias", zeros, (size,)), self.param("kernel", zeros, (size, size))
        logits = v @ jnp.tril(w, -1).T + b[None]
        return (v * logits - softplus(logits)).sum(1)


class Pairwise(nn.Module):
    """`log p*(x) = b v + sum_(i<j) J_ij v_i v_j`, the Boltzmann machine without hidden units (Ackley et al. 1985)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        v = bits(x)
        size = v.shape[1]
        b, j = self.param("bias", zeros, (size,)), self.param("kernel", zeros, (size, size))
        return v @ b + (v @ jnp.triu(j, 1) * v).sum(1)


class RBM(nn.Module):
    """`log p*(x) = b v + sum_j softplus(c_j + (v W)_j)`, the hidden units summed out (Smolensky 1986).

    `gibbs` draws the hidden units given the visible ones and these anew given the hidden ones.
    """

    visible: int
    hidden: int

    def setup(self) -> None:
        self.b = self.param("visible_bias", zeros, (self.visible,))
        self.c = self.param("hidden_bias", zeros, (self.hidden,))
        self.w = self.param("kernel", small, (self.visible, self.hidden))

    def __call__(self, x: Array) -> Array:
        v = bits(x)
        return v @ self.b + softplus(v @ self.w + self.c[None]).sum(1)

    def gibbs(self, x: Array, uniform: Array) -> Array:
        """One sweep from x [B, ...], by uniform noise [B, hidden + visible]."""
        for_h, for_v = jnp.split(uniform, [self.hidden], axis=1)
        h = (for_h < jax.nn.sigmoid(bits(x) @ self.w + self.c[None])).astype(x.dtype)
        v = for_v < jax.nn.sigmoid(h @ self.w.T + self.b[None])
        return jnp.where(v, 1.0, -1.0).astype(x.dtype).reshape(x.shape)


class Unit(nn.Module):
    """The feature `f(x) = softplus(c + w v)`: added to an energy, it is one more hidden unit of an `RBM`.

    It begins with c = -3, where it adds next to nothing: so a round can only gain.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        drawn, low = nn.initializers.normal(1.0), nn.initializers.constant(-3.0)
        return softplus(nn.Dense(1, kernel_init=drawn, bias_init=low)(bits(x)))[:, 0]


class Perceptron(nn.Module):
    """`f(x)` of any sign, with tanh units; without hidden layers linear, which no energy profits from."""

    hidden: Sequence[int] = (8,)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = bits(x)
        for width in self.hidden:
            h = nn.tanh(nn.Dense(width)(h))
        return nn.Dense(1)(h)[:, 0]


class Mixture(nn.Module):
    """`p(x) = sum_k pi_k prod_i p_ki(v_i)`, a mixture of factorial laws."""

    components: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        v = bits(x)
        share = self.param("shares", zeros, (self.components,))
        logits = self.param("logits", nn.initializers.normal(1.0), (self.components, v.shape[1]))
        return mixed(v, jax.nn.log_softmax(share), logits)


def mixed(v: Array, log_share: Array, logits: Array) -> Array:
    """`log sum_k share_k prod_i sigmoid(l_ki)^v_i sigmoid(-l_ki)^(1 - v_i)`, [B], of v [B, D] and logits [K, D]."""
    return jax.nn.logsumexp(v @ logits.T + (log_share - softplus(logits).sum(1))[None], axis=1)


def latent_grid(reach: float = 4.0, side: int = 41) -> tuple[np.ndarray, np.ndarray]:
    """Points z [side^2, 2] of a square and the logarithms of their shares of N(0, I): the integral over z as a sum."""
    line = np.linspace(-reach, reach, side)
    z = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    log_share = -(z**2).sum(1) / 2
    return z, log_share - np.log(np.exp(log_share).sum())


class Gridded(nn.Module):
    """`p(x) = sum_z p(z) prod_i p(v_i | z)` over the `latent_grid` of two latents: a decoder's exact likelihood."""

    decoder: nn.Module  # z [B, 2] -> logits [B, ...]

    def __call__(self, x: Array) -> Array:
        z, log_share = (jnp.asarray(part, x.dtype) for part in latent_grid())
        return mixed(bits(x), log_share, self.decoder(z).reshape(len(z), -1))


class Drawn(nn.Module):
    """A generator of binary images: `x_i = 1` where `u_i < sigmoid(l_i(z))`, else -1.

    Its latent is `(z, u)`, u uniform noise for each pixel, so that nothing behind it is random. A threshold has no
    slope; `log_prob` is what a score function takes its gradient of.
    """

    decoder: nn.Module  # z [B, size] -> logits [B, ...]
    size: int

    def __call__(self, latent: Array) -> Array:
        logits = self.decoder(latent[:, : self.size])
        uniform = latent[:, self.size :].reshape(logits.shape)
        return jnp.where(uniform < jax.nn.sigmoid(logits), 1.0, -1.0)

    def log_prob(self, latent: Array, x: Array) -> Array:
        """`log q(x | z)`, [B]."""
        return bernoulli().log_prob(self.decoder(latent[:, : self.size]), x)

    def again(self, latent: Array, keys: Array) -> Array:
        """Latents of the same z, with other noise for the pixels, by keys [B]."""
        draw = lambda key: jax.random.uniform(key, latent.shape[1:], latent.dtype)[self.size :]  # noqa: E731
        return jnp.concatenate([latent[:, : self.size], jax.vmap(draw)(keys)], 1)
