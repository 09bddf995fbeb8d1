"""How far two sets of features are apart, as what learns features for two domains minimises it; and lambda of a step.

Each takes the examples of both domains, [N, F] and [M, F] floating, and returns a scalar.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.nn import softmax, softplus

from ganjax.checks import check_range
from ganjax.core import Array


def domain_entropy(u_source: Array, u_target: Array) -> Array:
    """`mean softplus(-u_s) + mean softplus(u_t)`: cross-entropy of the domains, u the log-odds of the source, [N], [M].

    What a critic minimises: 2 log 2 where it knows nothing. With the sign changed what features minimise under
    gradient reversal (Ganin et al. 2016), whose slope in a target's u, -sigmoid(u), vanishes where the critic is sure.
    """
    return softplus(-u_source).mean() + softplus(u_target).mean()


def domain_confusion(u_source: Array, u_target: Array) -> Array:
    """Cross-entropy of fair coins under the critic, both domains (Tzeng et al. 2015, equation 4).

    `mean (softplus(u) + softplus(-u)) / 2`, of slope sigmoid(u) - 1/2: it pulls to u = 0 and not past it.
    """
    return sum(((softplus(u) + softplus(-u)) / 2).mean() for u in (u_source, u_target))  # type: ignore[return-value]


def inverted_labels(u_source: Array, u_target: Array) -> Array:
    """`mean softplus(-u_t)`: the targets called sources (Tzeng et al. 2017, equation 9).

    Of slope -(1 - sigmoid(u)), largest where the critic is sure.
    """
    del u_source
    return softplus(-u_target).mean()


def coral(source: Array, target: Array) -> Array:
    """`|C_s - C_t|_F^2 / (4 F^2)` of the unbiased covariances (Sun and Saenko 2016, equations 1 to 3)."""
    return jnp.square(_covariance(source) - _covariance(target)).sum() / (4 * source.shape[1] ** 2)


def _covariance(x: Array) -> Array:
    x = x - x.mean(0, keepdims=True)
    return x.T @ x / (x.shape[0] - 1)


def mmd(source: Array, target: Array, widths: Sequence[float | Array]) -> Array:
    """Unbiased `E k(x, x') + E k(y, y') - 2 E k(x, y)`, the squared maximum mean discrepancy (Gretton et al. 2012).

    `k(x, y) = mean_h exp(-|x - y|^2 / (2 h^2))` over the widths h. Pairs of an example with itself are left out, so
    that it may be negative. Between N(m_i, S_i) in d dimensions `E k(x, y)` with a width h is
    `h^d |S_i + S_j + h^2 I|^(-1/2) exp(-D^T (S_i + S_j + h^2 I)^(-1) D / 2)`, D the difference of the means.
    """
    within = sum((_kernel(x, x, widths).sum() - x.shape[0]) / (x.shape[0] * (x.shape[0] - 1)) for x in (source, target))
    return within - 2 * _kernel(source, target, widths).mean()


def _kernel(x: Array, y: Array, widths: Sequence[float | Array]) -> Array:
    square = jnp.square(x).sum(1)[:, None] + jnp.square(y).sum(1)[None] - 2 * x @ y.T
    return sum(jnp.exp(-square / (2 * h**2)) for h in widths) / len(widths)  # type: ignore[return-value]


def widths(source: Array, target: Array) -> list[Array]:
    """Five widths around the mean squared distance of the features, `2 h^2 = 2^k E|x - x'|^2`, k from -2 to 2.

    As in deep adaptation networks (Long et al. 2015); no gradient goes through them.
    """
    both = stop_gradient(jnp.concatenate([source, target]))
    mean_square = 2 * both.var(0).sum()
    return [jnp.sqrt(2.0**k * mean_square / 2) for k in range(-2, 3)]


def discrepancy(logits: Array) -> Array:
    """`mean_k |p_1k - p_2k|` of two classifiers' probabilities (Saito et al. 2018, equation 2), values [N].

    0 where they agree, 2 / K at most, the mean over classes and not their sum.

    Args:
        logits: [N, 2, K] floating.
    """
    p = softmax(logits)
    return jnp.abs(p[:, 0] - p[:, 1]).mean(-1)


def reversal_weight(steps: int, weight: float = 1.0) -> Callable[[Array | int], Array]:
    """`step -> weight (2 / (1 + exp(-10 p)) - 1) = weight tanh(5 p)`, p = step / steps (Ganin et al. 2016, 5.2.2).

    Args:
        steps: in which it rises.
        weight: lambda at its end, all but 1e-4.
    """
    check_range("reversal_weight", 1, whole=True, steps=steps)
    return lambda step: weight * jnp.tanh(5.0 * step / steps)
