"""Adversarial losses on logits, value by value: every function maps arrays to an array of the same shape.

`logit = log(D / (1 - D))`; a large logit means "real". The caller takes the mean. Everything is written with
`softplus(t) = log(1 + exp(t))`, which stays exact and keeps its gradient where `log(sigmoid(t))` underflows.

What looks at more than logits takes the scene of a GAN, a `ganjax.games.Scene`, and stands in its terms.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.nn import relu, softplus

from ganjax.checks import check_name, check_range
from ganjax.core import Array, Critique
from ganjax.divergences import DIVERGENCES, FDivergence


class AdversarialLoss(NamedTuple):
    """What the two players of a GAN minimise, for each pair of a real and a generated example.

    A generator's cost may look at real logits, as relativistic ones do; one that does not costs no pass over them in
    a compiled program.
    """

    discriminator: Callable[[Array, Array], Array]  # (real_logits, fake_logits) -> values
    generator: Callable[[Array, Array], Array]  # (real_logits, fake_logits) -> values


def of_fakes(cost: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    """A generator's cost of fake logits alone, as `AdversarialLoss` takes it."""
    return lambda real_logits, fake_logits: cost(fake_logits)


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


def smoothed(real: float = 0.9, fake: float = 0.0) -> AdversarialLoss:
    """Binary cross-entropy with soft targets (Salimans et al. 2016, section 3.4), beside the non-saturating generator.

    `-a log D(x) - (1 - a) log(1 - D(x)) - b log D(G(z)) - (1 - b) log(1 - D(G(z)))`, whose optimum is
    `D* = (a p + b q) / (p + q)`. One-sided, b = 0: with b > 0 the discriminator would reward fakes where there are
    no data.

    Args:
        real: a, the target of real examples.
        fake: b, of generated ones.
    """
    if not 0 <= fake < real <= 1:
        raise ValueError(f"smoothed: the targets are real {real} and fake {fake}, expected 0 <= fake < real <= 1")

    def towards(target: float, logits: Array) -> Array:
        return target * softplus(-logits) + (1 - target) * softplus(logits)

    return AdversarialLoss(lambda r, f: towards(real, r) + towards(fake, f), of_fakes(non_saturating))


def relativistic_paired(real_logits: Array, fake_logits: Array) -> Array:
    """`-log sigmoid(C(x) - C(G(z)))`: is this real example more real than this fake (Jolicoeur-Martineau 2019)?

    The generator minimises the same with the roles exchanged. Where p = q both are log 2.
    """
    return softplus(fake_logits - real_logits)


def relativistic_average(
    cost: Callable[[Array, Array], Array] = binary_cross_entropy, *, axis_name: str | None = None
) -> AdversarialLoss:
    """Are real examples more real than fakes are on average, and fakes less (Jolicoeur-Martineau 2019, RaGAN)?

    The discriminator minimises `cost(C(x) - mean C(G(z)), C(G(z)) - mean C(x))`, the generator the same with real and
    fake exchanged. Values of one batch depend on each other through the means.

    Args:
        cost: a discriminator's cost of (real, fake) logits, such as binary cross-entropy (RaSGAN) or hinge.
        axis_name: the mapped axis that shares the batch, if any.
    """

    def mean(logits: Array) -> Array:
        average = logits.mean()
        return average if axis_name is None else jax.lax.pmean(average, axis_name)

    def relative(first: Array, second: Array) -> Array:
        return cost(first - mean(second), second - mean(first))

    return AdversarialLoss(relative, lambda real_logits, fake_logits: relative(fake_logits, real_logits))


def f_gan(divergence: FDivergence, *, non_saturating: bool = False) -> AdversarialLoss:
    """The variational game of an f-divergence (Nowozin et al. 2016, eq. 4), with `T = g_f(logit)`.

    The discriminator maximises `T(x) - f*(T(G(z)))`, whose mean is at most `D_f(p, q)` and reaches it at
    `T* = f'(p / q)`. The generator minimises `-f*(T(G(z)))`, or, non saturating, `-T(G(z))` (section 3.2).
    """
    activation, conjugate = divergence.activation, divergence.conjugate_of_activation
    generator = (lambda v: -activation(v)) if non_saturating else (lambda v: -conjugate(v))
    return AdversarialLoss(lambda real, fake: conjugate(fake) - activation(real), of_fakes(generator))


LOSSES = {
    "minimax": AdversarialLoss(binary_cross_entropy, of_fakes(saturating)),
    "non_saturating": AdversarialLoss(binary_cross_entropy, of_fakes(non_saturating)),
    "maximum_likelihood": AdversarialLoss(binary_cross_entropy, of_fakes(likelihood)),
    "least_squares": AdversarialLoss(least_squares_discriminator, of_fakes(least_squares_generator)),
    "hinge": AdversarialLoss(hinge_discriminator, of_fakes(negative_logit)),
    "wasserstein": AdversarialLoss(wasserstein_discriminator, of_fakes(negative_logit)),
    "smoothed": smoothed(),
    "relativistic_paired": AdversarialLoss(relativistic_paired, lambda real, fake: relativistic_paired(fake, real)),
    "relativistic_average": relativistic_average(),
} | {f"f_{name}": f_gan(divergence) for name, divergence in DIVERGENCES.items()}


def named(name: str, axis_name: str | None = None) -> AdversarialLoss:
    """The loss of that name in `LOSSES`, of a batch that the devices of a mapped axis share."""
    check_name("losses.named", "name", name, LOSSES)
    return relativistic_average(axis_name=axis_name) if name == "relativistic_average" else LOSSES[name]


def auxiliary_classifier(*sides: str, head: str = "class") -> Callable[[Any], Array]:
    """Cross-entropy of the labels under a head of the discriminator (Odena et al. 2017, eq. 3): a term of both players.

    `auxiliary_classifier("real", "fake")` lets the discriminator learn the classes of real and of generated examples,
    `-log P(y | x) - log P(y | G(z, y))`; `auxiliary_classifier("fake")` the generator draw what is recognised,
    `-log P(y | G(z, y))`.

    Args:
        sides: "real", "fake" or both.
        head: the discriminator's head of logits of classes.

    Returns:
        `scene -> values [B]`, of a scene that holds `real`, `fake` and labels `y`.
    """
    check_range("auxiliary_classifier", 1, **{"the number of sides": len(sides)})  # type: ignore[arg-type]
    for side in sides:
        check_name("auxiliary_classifier", "the side", side, ("real", "fake"))
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels

    def values(scene: Any) -> Array:
        if scene.y is None:
            raise ValueError("auxiliary_classifier: the batch has no labels; use data with classes, conditional")
        return reduce(jnp.add, [entropy(_head(getattr(scene, side), head), scene.y) for side in sides])

    return values


def information(categories: int, continuous: int = 0, *, head: str = "code") -> Callable[[Any], Array]:
    """Minus the variational bound of the information between the code in z and the sample (InfoGAN, Chen et al. 2016).

    `-E log Q(c | G(z, c))`, up to the constant entropy of c, a term that both players minimise. z begins with the code
    as `games.code_prior` draws it: a one-hot category, then continuous values, of which Q is Gaussian with variance 1.

    Args:
        categories: values of the categorical code; 0 for none.
        continuous: how many continuous codes.
        head: the discriminator's head Q, of size `categories + continuous`.

    Returns:
        `scene -> values [B]`, of a scene that holds `fake` and `z`.
    """
    check_range("information", 0, whole=True, categories=categories, continuous=continuous)

    def values(scene: Any) -> Array:
        q, z, size = _head(scene.fake, head), scene.z, categories + continuous
        if q.shape[-1] != size:
            raise ValueError(f"information: the head {head!r} has size {q.shape[-1]}, expected {size}")
        category = optax.losses.softmax_cross_entropy(q[:, :categories], z[:, :categories]) if categories else 0.0
        return category + 0.5 * ((q[:, categories:] - z[:, categories:size]) ** 2).sum(-1)

    return values


def feature_matching(*, absolute: bool = False, axis_name: str | None = None) -> Callable[[Any], Array]:
    """`|mean h(x) - mean h(G(z))|^2`, a generator's term, h the discriminator's features (Salimans et al. 2016, 3.1).

    The paper lets the generator minimise this alone: `LOSSES[name]._replace(generator=of_fakes(jnp.zeros_like))`.

    Args:
        absolute: the mean over the features of `|mean h_j(x) - mean h_j(G(z))|` instead, as the authors' code has it
            for CIFAR-10.
        axis_name: the mapped axis that shares the batch, if any.

    Returns:
        `scene -> scalar`, of a scene that holds `real` and `fake`.
    """

    def values(scene: Any) -> Array:
        real, fake = scene.real.features, scene.fake.features
        if real is None or fake is None:
            raise ValueError("feature_matching: the discriminator returns logits alone; give it heads={}")
        gap = real.mean(0) - fake.mean(0)
        gap = gap if axis_name is None else jax.lax.pmean(gap, axis_name)
        if absolute:
            return jnp.abs(gap).mean()
        return (gap**2).sum()

    return values


def _head(critique: Critique, name: str) -> Array:
    if name not in critique.heads:
        raise ValueError(f"the discriminator has the heads {sorted(critique.heads)}, expected {name!r} among them")
    return critique.heads[name]
