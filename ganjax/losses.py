"""Adversarial losses on logits, value by value: every function maps arrays to an array of the same shape.

`logit = log(D / (1 - D))`; a large logit means "real". The caller takes the mean. Everything is written with
`softplus(t) = log(1 + exp(t))`, which stays exact and keeps its gradient where `log(sigmoid(t))` underflows.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.nn import relu, softplus

from ganjax.core import Array


class AdversarialLoss(NamedTuple):
    """What the two players of a GAN minimise, for each example."""

    discriminator: Callable[[Array, Array], Array]  # (real_logits, fake_logits) -> values
    generator: Callable[[Array], Array]  # fake_logits -> values


def binary_cross_entropy(real_logits: Array, fake_logits: Array) -> Array:
    """`-log D(x) - log(1 - D(G(z)))` (Goodfellow et al. 2014, eq. 1), the discriminator's cost.

    At the optimum `D* = p / (p + q)` its mean is `log 4 - 2 JSD(p, q)`; it is `2 log 2` when `p = q`.

    Args:
        real_logits: logits of real examples, any shape, floating point.
        fake_logits: logits of generated examples, the same shape.

    Returns:
        The cost of each pair, the shape of the arguments.
    """
    return softplus(-real_logits) + softplus(fake_logits)


def saturating(fake_logits: Array) -> Array:
    """`log(1 - D(G(z)))`, the generator's side of the minimax game (Goodfellow et al. 2014, eq. 1).

    Its gradient vanishes where the discriminator rejects confidently. At `D*` its mean has the gradient of
    `2 JSD(p, q)`.
    """
    return -softplus(fake_logits)


def non_saturating(fake_logits: Array) -> Array:
    """`-log D(G(z))` (Goodfellow et al. 2014, section 3).

    At `D*` its mean has the gradient of `KL(q, p) - 2 JSD(p, q)` (Arjovsky and Bottou 2017, theorem 2.5).
    """
    return softplus(-fake_logits)


def likelihood(fake_logits: Array) -> Array:
    """`-exp(logit) = -D / (1 - D)`, the maximum-likelihood cost (Goodfellow 2016, section 3.2.4).

    At `D*` its mean has the gradient of `KL(p, q)`.
    """
    return -jnp.exp(fake_logits)


def least_squares_discriminator(real_logits: Array, fake_logits: Array) -> Array:
    """`(D(x) - 1)^2 / 2 + D(G(z))^2 / 2` on the raw output (Mao et al. 2017, eq. 9: a = 0, b = c = 1)."""
    return 0.5 * (real_logits - 1) ** 2 + 0.5 * fake_logits**2


def least_squares_generator(fake_logits: Array) -> Array:
    """`(D(G(z)) - 1)^2 / 2` on the raw output (Mao et al. 2017, eq. 9)."""
    return 0.5 * (fake_logits - 1) ** 2


def hinge_discriminator(real_logits: Array, fake_logits: Array) -> Array:
    """`max(0, 1 - D(x)) + max(0, 1 + D(G(z)))` (Lim and Ye 2017; Miyato et al. 2018, eq. 16)."""
    return relu(1 - real_logits) + relu(1 + fake_logits)


def wasserstein_discriminator(real_logits: Array, fake_logits: Array) -> Array:
    """`D(G(z)) - D(x)`: minus the critic's estimate of W1 (Arjovsky et al. 2017, eq. 2)."""
    return fake_logits - real_logits


def negative_logit(fake_logits: Array) -> Array:
    """`-D(G(z))`, the generator's cost beside the Wasserstein and hinge discriminators.

    With a logit discriminator at `D*` its mean has the gradient of `KL(q, p)`.
    """
    return -fake_logits


LOSSES = {
    "minimax": AdversarialLoss(binary_cross_entropy, saturating),
    "non_saturating": AdversarialLoss(binary_cross_entropy, non_saturating),
    "maximum_likelihood": AdversarialLoss(binary_cross_entropy, likelihood),
    "least_squares": AdversarialLoss(least_squares_discriminator, least_squares_generator),
    "hinge": AdversarialLoss(hinge_discriminator, negative_logit),
    "wasserstein": AdversarialLoss(wasserstein_discriminator, negative_logit),
}
