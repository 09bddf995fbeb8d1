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
from ganjax.core import Array, Batch, Key


class Observation(NamedTuple):
    """A likelihood `p(x | outputs)`, of each entry of x by itself."""

    name: str
    outputs: int  # numbers that a network says of each entry of x
    log_probs: Callable[[Array, Array], Array]  # (outputs [B, ..., C outputs], x [B, ..., C]) -> [B, ..., C] nats
    mean: Callable[[Array], Array]  # outputs -> E x, [B, ..., C]
    discrete: bool  # a probability of what was stored, and no density
    sample: Callable[[Key, Array], Array] | None = None  # (key, outputs [..., C outputs]) -> x [..., C], as stored

    def log_prob(self, outputs: Array, x: Array) -> Array:
        """`log p(x | outputs)` of each example, [B] nats."""
        return self.log_probs(flat(outputs), flat(x)).sum(1)


def _split(outputs: Array, count: int) -> Array:
    """[..., C count] to [..., C, count]."""
    return outputs.reshape(*outputs.shape[:-1], -1, count)


def flat(x: Array) -> Array:
    """[B, ...] to [B, N], for sums over all of an example: XLA on a CPU sums a map of one channel 13 times slower."""
    return x.reshape(x.shape[0], -1)


def bernoulli() -> Observation:
    """`x = 2 b - 1` with `b ~ Bernoulli(sigmoid(l))`; of grey pixels it is no likelihood, their entropy remains."""
    return Observation(
        "bernoulli",
        1,
        lambda logits, x: (x + 1) / 2 * logits - softplus(logits),
        lambda logits: jnp.tanh(logits / 2),
        discrete=True,
        sample=lambda key, logits: jnp.where(jax.random.logistic(key, logits.shape, logits.dtype) < logits, 1.0, -1.0),
    )


def binarised(key: Key, one: Batch) -> Batch:
    """An example whose pixels v of -1 to 1 are 1 with the probability (v + 1) / 2, else -1; a stream's `prepare`."""
    return one._replace(x=jnp.where(jax.random.uniform(key, one.x.shape) < (one.x + 1) / 2, 1.0, -1.0))


def quantised(levels: int) -> Callable[[Key, Batch], Batch]:
    """A stream's `prepare`: bytes v, scaled to [-1, 1], as the level `floor(v levels / 256)`, scaled to [-1, 1] too."""
    check_range("quantised", 2, 256, whole=True, levels=levels)

    def prepare(key: Key, one: Batch) -> Batch:
        v = jnp.round((one.x + 1) * 127.5)
        return one._replace(x=scaled(jnp.floor(v * levels / 256), levels))

    return prepare


def scaled(v: Array, levels: int) -> Array:
    """Levels 0 to levels - 1 as networks see them, from -1 to 1: what `categorical` speaks of."""
    return v / ((levels - 1) / 2) - 1


def unscaled(x: Array, levels: int) -> Array:
    """The way back, to the nearest level, int32."""
    return jnp.round((x + 1) * ((levels - 1) / 2)).astype(jnp.int32)


def categorical(levels: int = 256) -> Observation:
    """`p(v) = softmax(l)_v` of `levels` levels that were scaled to [-1, 1]: nothing is said of their order.

    With logits of zero it says log2(levels) bits (van den Oord et al., Pixel Recurrent Neural Networks, 2016).
    """
    check_range("categorical", 2, whole=True, levels=levels)

    def log_probs(logits: Array, x: Array) -> Array:
        v = unscaled(x, levels)
        return jnp.take_along_axis(jax.nn.log_softmax(_split(logits, levels)), v[..., None], -1)[..., 0]

    def mean(logits: Array) -> Array:
        return jax.nn.softmax(_split(logits, levels)) @ scaled(jnp.arange(levels, dtype=logits.dtype), levels)

    def sample(key: Key, logits: Array) -> Array:
        v = jax.random.categorical(key, _split(logits, levels))
        return scaled(v.astype(logits.dtype), levels)

    return Observation("categorical", levels, log_probs, mean, discrete=True, sample=sample)


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
        return (x + 1) / 2 * logits - softplus(logits) + log_normaliser(logits) - math.log(2)

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
    return Observation("gaussian", 1, lambda m, x: -(((x - m) / std) ** 2) / 2 - constant, lambda m: m, discrete=False)


def laplace(scale: float) -> Observation:
    """`x ~ exp(-|x - m| / b) / (2 b)`; mean absolute error in disguise, whose weight is the scale."""
    check_range("laplace", 0, above=True, scale=scale)
    return Observation(
        "laplace", 1, lambda m, x: -jnp.abs(x - m) / scale - math.log(2 * scale), lambda m: m, discrete=False
    )


def _log_cell(x: Array, m: Array, log_t: Array, levels: int) -> Array:
    """`log(s((x + h - m) / t) - s((x - h - m) / t))`, s the sigmoid, h half a step of the levels, with open tails.

    By `s(a) - s(b) = s(a) s(-b) (1 - exp(b - a))` it is exact for every scale.
    """
    half = 1 / (levels - 1)
    inverse = jnp.exp(-jnp.maximum(log_t, -7.0))
    a, b = (x - m + half) * inverse, (x - m - half) * inverse
    below, above = -softplus(-a), -softplus(b)  # log s(a), log s(-b)
    inner = below + above + jnp.log(-jnp.expm1(-2 * half * inverse))
    ends = jnp.where(x < -1 + half, below, above)
    return jnp.where(jnp.abs(x) > 1 - half, ends, inner)


def _level(key: Key, m: Array, log_t: Array, levels: int) -> Array:
    """A draw of such a logistic as the level in whose cell it lies."""
    x = m + jnp.exp(jnp.maximum(log_t, -7.0)) * jax.random.logistic(key, m.shape, m.dtype)
    return scaled(jnp.clip(jnp.round((x + 1) * ((levels - 1) / 2)), 0, levels - 1), levels)


def discretised_logistic(levels: int = 256) -> Observation:
    """`p(v) = s((v + 1/2 - m) / t) - s((v - 1/2 - m) / t)`, s the sigmoid, with open tails (Salimans et al. 2017).

    Of levels 0 to `levels - 1` that were scaled to [-1, 1], exact for every scale. The outputs are m and log t, which
    is kept at -7 or more.
    """
    check_range("discretised_logistic", 2, whole=True, levels=levels)

    def two(outputs: Array) -> tuple[Array, Array]:
        m, log_t = jnp.moveaxis(_split(outputs, 2), -1, 0)
        return m, log_t

    def mean(outputs: Array) -> Array:
        return jnp.clip(two(outputs)[0], -1, 1)

    return Observation(
        "discretised_logistic",
        2,
        lambda outputs, x: _log_cell(x, *two(outputs), levels),
        mean,
        discrete=True,
        sample=lambda key, outputs: _level(key, *two(outputs), levels),
    )


def logistic_mixture(components: int = 5, levels: int = 256) -> Observation:
    """`p(v) = sum_k softmax(l)_k p_k(v)` of discretised logistics (Salimans et al., PixelCNN++, 2017).

    The outputs of an entry are `components` logits, means and log scales. Component k is centred on
    `(2 k + 1) / components - 1` where its mean says 0, so that outputs of zero are no saddle. A sub-pixel depends on
    the earlier ones of its pixel through the network that says the outputs, not by a linear term of the means; a draw
    is a level of the data, as what later pixels are conditioned on in training is.
    """
    check_range("logistic_mixture", 2, whole=True, levels=levels)
    check_range("logistic_mixture", 1, whole=True, components=components)

    def parts(outputs: Array) -> tuple[Array, Array, Array]:
        """Log weights, means and log scales, each [..., C, K]."""
        logits, m, log_t = jnp.split(_split(outputs, 3 * components), 3, -1)
        centre = (2 * jnp.arange(components, dtype=m.dtype) + 1) / components - 1
        return jax.nn.log_softmax(logits), m + jnp.broadcast_to(centre, m.shape), log_t

    def log_probs(outputs: Array, x: Array) -> Array:
        log_w, m, log_t = parts(outputs)
        return jax.nn.logsumexp(log_w + _log_cell(x[..., None], m, log_t, levels), -1)

    def mean(outputs: Array) -> Array:
        log_w, m, _ = parts(outputs)
        return (jnp.exp(log_w) * jnp.clip(m, -1, 1)).sum(-1)

    def sample(key: Key, outputs: Array) -> Array:
        which, within = jax.random.split(key)
        log_w, m, log_t = parts(outputs)
        k = jax.random.categorical(which, log_w)[..., None]
        m, log_t = (jnp.take_along_axis(of, k, -1)[..., 0] for of in (m, log_t))
        return _level(within, m, log_t, levels)

    return Observation("logistic_mixture", 3 * components, log_probs, mean, discrete=True, sample=sample)


def standard_normal(z: Array) -> Array:
    """`log N(z; 0, I)`, summed over the last axis."""
    return -(z**2 + math.log(2 * math.pi)).sum(-1) / 2


def normal(z: Array, mean: Array, log_std: Array) -> Array:
    """`log N(z; mean, exp(log_std)^2)`, summed over the last axis."""
    return standard_normal((z - mean) * jnp.exp(-log_std)) - log_std.sum(-1)


def gaussian_kl(mean: Array, log_std: Array) -> Array:
    """`KL(N(mean, exp(log_std)^2) || N(0, 1))` of each latent, of the shape of the arguments."""
    return (mean**2 + jnp.exp(2 * log_std) - 1 - 2 * log_std) / 2


def bits_per_dimension(nats: Array, dimensions: int, step: float = 1.0) -> Array:
    """`nats / (D log 2) - log2(step)`.

    Args:
        nats: `-log p` of an example.
        dimensions: D.
        step: of a density, from one stored level to the next in its units: 1 / 256 adds 8 bits, 1 / 128 adds 7; 1 for
            a probability. The levels must have been made continuous by noise of one step, `(v + u) step`.
    """
    return nats / (dimensions * math.log(2)) - math.log2(step)


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
