"""What a network says of data: conditional likelihoods of pixels, value by value, and the terms of variational bounds.

Data are scaled as networks see them, from -1 to 1; log-probabilities are in nats, summed over all that an example has.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import softplus

from ganjax.checks import check_range
from ganjax.core import Array


class Observation(NamedTuple):
    """A likelihood `p(x | outputs)`, of each entry of x by itself."""

    name: str
    outputs: int  # numbers that a network says of each entry of x
    log_prob: Callable[[Array, Array], Array]  # (outputs [B, ..., C outputs], x [B, ..., C]) -> [B] nats
    mean: Callable[[Array], Array]  # outputs -> E x, [B, ..., C]
    discrete: bool  # a probability of what was stored, and no density


def _split(outputs: Array, count: int) -> Array:
    """[..., C count] to [..., C, count]."""
    return outputs.reshape(*outputs.shape[:-1], -1, count)


def _total(values: Array) -> Array:
    """[B, ...] to [B]."""
    return values.reshape(len(values), -1).sum(1)


def bernoulli() -> Observation:
    """`x = 2 b - 1` with `b ~ Bernoulli(sigmoid(l))`; of grey pixels it is no likelihood, their entropy remains."""
    return Observation(
        "bernoulli",
        1,
        lambda logits, x: _total((x + 1) / 2 * logits - softplus(logits)),
        lambda logits: jnp.tanh(logits / 2),
        discrete=True,
    )


def log_normaliser(logits: Array) -> Array:
    """`log C(lambda)`, `C = 2 atanh(1 - 2 lambda) / (1 - 2 lambda) = l / tanh(l / 2)`, l the logit of lambda.

    Of the continuous Bernoulli density `C lambda^x (1 - lambda)^(1 - x)` on [0, 1] (Loaiza-Ganem and Cunningham 2019).
    """
    near = jnp.abs(logits) < 1e-2
    far = jnp.where(near, 1.0, logits)
    series = math.log(2) + logits**2 / 12 - 7 * logits**4 / 1440
    return jnp.where(near, series, jnp.log(far / jnp.tanh(far / 2)))


def continuous_bernoulli() -> Observation:
    """`(x + 1) / 2 ~ CB(sigmoid(l))`: the density on [0, 1] that the cross-entropy of grey pixels belongs to."""

    def log_prob(logits: Array, x: Array) -> Array:
        return _total((x + 1) / 2 * logits - softplus(logits) + log_normaliser(logits) - math.log(2))

    def mean(logits: Array) -> Array:
        """`2 E - 1` with `E = sigmoid(l) / tanh(l / 2) - 1 / l`."""
        near = jnp.abs(logits) < 1e-2
        far = jnp.where(near, 1.0, logits)
        exact = jax.nn.sigmoid(far) / jnp.tanh(far / 2) - 1 / far
        return 2 * jnp.where(near, 0.5 + logits / 12 - logits**3 / 720, exact) - 1

    return Observation("continuous_bernoulli", 1, log_prob, mean, discrete=False)


def gaussian(std: float) -> Observation:
    """`x ~ N(m, std^2)`; mean squared error in disguise, whose weight is the standard deviation."""
    check_range("gaussian", 0, above=True, std=std)
    constant = math.log(std) + math.log(2 * math.pi) / 2
    return Observation(
        "gaussian", 1, lambda m, x: _total(-(((x - m) / std) ** 2) / 2 - constant), lambda m: m, discrete=False
    )


def discretised_logistic(levels: int = 256) -> Observation:
    """`p(v) = s((v + 1/2 - m) / t) - s((v - 1/2 - m) / t)`, s the sigmoid, with open tails (Salimans et al. 2017).

    Of levels 0 to `levels - 1` that were scaled to [-1, 1]. By `s(a) - s(b) = s(a) s(-b) (1 - exp(b - a))` it is exact
    for every scale. The outputs are m and log t, which is kept at -7 or more.
    """
    check_range("discretised_logistic", 2, whole=True, levels=levels)
    half = 1 / (levels - 1)

    def log_prob(outputs: Array, x: Array) -> Array:
        m, log_t = jnp.moveaxis(_split(outputs, 2), -1, 0)
        inverse = jnp.exp(-jnp.maximum(log_t, -7.0))
        a, b = (x - m + half) * inverse, (x - m - half) * inverse
        below, above = -softplus(-a), -softplus(b)  # log s(a), log s(-b)
        inner = below + above + jnp.log(-jnp.expm1(-2 * half * inverse))
        ends = jnp.where(x < -1 + half, below, above)
        return _total(jnp.where(jnp.abs(x) > 1 - half, ends, inner))

    def mean(outputs: Array) -> Array:
        return jnp.clip(_split(outputs, 2)[..., 0], -1, 1)

    return Observation("discretised_logistic", 2, log_prob, mean, discrete=True)


def standard_normal(z: Array) -> Array:
    """`log N(z; 0, I)`, summed over the last axis."""
    return -(z**2 + math.log(2 * math.pi)).sum(-1) / 2


def normal(z: Array, mean: Array, log_std: Array) -> Array:
    """`log N(z; mean, exp(log_std)^2)`, summed over the last axis."""
    return standard_normal((z - mean) * jnp.exp(-log_std)) - log_std.sum(-1)


def gaussian_kl(mean: Array, log_std: Array) -> Array:
    """`KL(N(mean, exp(log_std)^2) || N(0, 1))` of each latent, of the shape of the arguments."""
    return (mean**2 + jnp.exp(2 * log_std) - 1 - 2 * log_std) / 2


def bits_per_dimension(nats: Array, dimensions: int) -> Array:
    """`nats / (D log 2)`."""
    return nats / (dimensions * math.log(2))


def dequantise(x: Array, u: Array, levels: int = 256) -> Array:
    """`2 (v + u) / levels - 1` for the level v of 0 to `levels - 1` that x in [-1, 1] stands for (Uria et al. 2013).

    With u ~ U(0, 1) the expectation of a log-density at it is at most `log P(v)` of the discretised model plus
    `log(levels / 2)` for each entry; the log-density at what is not dequantised has no bound at all.

    Args:
        x: `2 v / (levels - 1) - 1`; what lies between two levels is rounded.
        u: of the shape of x, in [0, 1).
        levels: at least 2.
    """
    check_range("dequantise", 2, whole=True, levels=levels)
    return 2 * (jnp.round((x + 1) / 2 * (levels - 1)) + u) / levels - 1


def quantise(x: Array, levels: int = 256) -> Array:
    """The value in [-1, 1] of the level whose cell holds x; undoes `dequantise`."""
    check_range("quantise", 2, whole=True, levels=levels)
    return 2 * jnp.clip(jnp.floor((x + 1) / 2 * levels), 0, levels - 1) / (levels - 1) - 1
