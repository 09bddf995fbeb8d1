"""The Dirac-GAN: the smallest adversarial network, two numbers, in every variant of the literature."""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax.nn import softplus

from ganjax.checks import check_name, check_range
from ganjax.core import Array, Game, Key, Moment, Outcome, PerPlayer, PyTree

# f(t) of the value f(D(fake)) + f(-D(real)), for a discriminator that ascends it.
DIRAC_VALUES: dict[str, Callable[[Array], Array]] = {
    "gan": lambda t: -softplus(-t),
    "wasserstein": lambda t: t,
}

# What the discriminator pays for its slope psi, the gradient of D(x) = psi x at every x.
DIRAC_PENALTIES: dict[str, Callable[[Array, float | Array], Array]] = {
    "r1": lambda slope, target: slope**2 / 2,
    "r2": lambda slope, target: slope**2 / 2,
    "gp": lambda slope, target: (jnp.abs(slope) - target) ** 2 / 2,
    "lp": lambda slope, target: jnp.maximum(jnp.abs(slope) - target, 0) ** 2 / 2,
    "dragan": lambda slope, target: (jnp.abs(slope) - target) ** 2 / 2,
}
_NODES = 64  # of the Gauss-Hermite rule: exact to rounding for instance noise up to sigma |psi| of about 5


def dirac_gan(
    f: Literal["gan", "wasserstein"] = "gan",
    *,
    non_saturating: bool = False,
    relativistic: bool = False,
    penalty: str | None = None,
    gamma: float | Array = 1.0,
    target: float | Array = 1.0,
    instance_noise: float | Array | None = None,
    start: tuple = (1.0, 1.0),
) -> Game:
    """The Dirac-GAN (Mescheder et al. 2018, definition 2.1): real data at 0, one fake at theta, `D(x) = psi x`.

    The discriminator ascends `L(theta, psi) = f(D(theta)) + f(-D(0))`; the generator descends it, or, non saturating,
    descends `-f(-D(theta))`. The only equilibrium is the origin; there the plain game has the eigenvalues
    `+-i f'(0)`. Weight clipping is the optimiser `clipped(optax.sgd(h), c)` of the discriminator, consensus
    an adjustment of the dynamics.

    Args:
        f: "gan" for `f(t) = -log(1 + exp(-t))`, or "wasserstein" for `f(t) = t`.
        non_saturating: give the generator the non-saturating cost.
        relativistic: the value is `f(D(theta) - D(0))` (Jolicoeur-Martineau 2019, paired), which is here the same game.
        penalty: of the discriminator's slope psi, times gamma: "r1" and "r2" `psi^2 / 2` (at the real or at the
            fake point, equal here), "gp" and "dragan" `(|psi| - target)^2 / 2`, "lp" `max(0, |psi| - target)^2 / 2`.
        gamma: the weight of the penalty.
        target: the slope that the penalty asks for.
        instance_noise: standard deviation of the noise that the discriminator sees added to real and fake; the
            expectation over it is taken exactly (Gauss-Hermite quadrature). None is no noise.
        start: `(theta, psi)` at step 0.
    """
    check_name("dirac_gan", "f", f, DIRAC_VALUES)
    if penalty is not None:
        check_name("dirac_gan", "penalty", penalty, DIRAC_PENALTIES)
    check_range("dirac_gan", 0, gamma=gamma, target=target, instance_noise=instance_noise)
    function = DIRAC_VALUES[f]

    def expected(values: Callable[[Array], Array], x: Array) -> Array:
        """`E values(x + sigma xi)` over the instance noise."""
        if instance_noise is None:
            return values(x)
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        return jnp.asarray(weights / weights.sum(), x.dtype) @ values(x + instance_noise * jnp.asarray(nodes, x.dtype))

    def value(theta: Array, psi: Array) -> Array:
        if relativistic:
            return expected(lambda x: function(psi * x - psi * 0), theta)
        return expected(lambda x: function(psi * x), theta) + expected(
            lambda x: function(-psi * x), jnp.zeros_like(theta)
        )

    def generator(params: PerPlayer, moment: Moment):
        del moment
        theta, psi = params["generator"], params["discriminator"]
        if non_saturating:
            return -expected(lambda x: function(-psi * x), theta), Outcome({}, {})
        return value(theta, psi), Outcome({}, {})

    def discriminator(params: PerPlayer, moment: Moment):
        del moment
        theta, psi = params["generator"], params["discriminator"]
        paid = 0.0 if penalty is None else gamma * DIRAC_PENALTIES[penalty](psi, target)
        return paid - value(theta, psi), Outcome({}, {})

    def init(key: Key, batch: PyTree) -> tuple[dict, dict]:
        del key, batch
        theta, psi = (jnp.asarray(x, float) for x in start)
        return {"generator": theta, "discriminator": psi}, {"generator": {}, "discriminator": {}}

    return Game(init, {"generator": generator, "discriminator": discriminator})
