"""What the generator minimises: four costs, their gradients, and the divergences that they descend.

Claim: the minimax cost saturates where the discriminator rejects, the non-saturating one where it accepts; at the
optimal discriminator the four costs have the gradients of 2 JSD, KL(q, p) - 2 JSD, KL(p, q) and KL(q, p).
Paper: Goodfellow et al., Generative Adversarial Nets, 2014; Goodfellow, NIPS Tutorial, 2016 (figure 16); Arjovsky and
Bottou, Towards Principled Methods for Training GANs, 2017 (theorem 2.5).
Command: python experiments/generator_costs.py train --workdir runs/generator_costs
Time: about 10 seconds on 2 CPU cores.
Figure: runs/generator_costs/costs.png: the costs and their gradients in the logit against D(G(z)); the gradient of each
expected cost at D*, held fixed, against the distance of two Gaussians, on top of its divergence's.
The minimax gradient is largest at a distance of 1.6 and has fallen to a third of that at 4; the other three grow with
the distance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array
from ganjax.divergences import DIVERGENCES, by_quadrature, nodes
from ganjax.losses import likelihood, negative_logit, non_saturating, saturating
from ganjax.report import Panel, Series, panels

COSTS: dict[str, Callable[[Array], Array]] = {
    "minimax": saturating,
    "non-saturating": non_saturating,
    "maximum likelihood": likelihood,
    "minus logit": negative_logit,
}
# The divergence D(p, q_theta) whose gradient each cost has: multiples of the rows of the f-GAN table.
DESCENDED = {
    "minimax": ("2 JSD", {"jensen_shannon": 1.0}),
    "non-saturating": ("KL(q, p) - 2 JSD", {"reverse_kl": 1.0, "jensen_shannon": -1.0}),
    "maximum likelihood": ("KL(p, q)", {"kl": 1.0}),
    "minus logit": ("KL(q, p)", {"reverse_kl": 1.0}),
}


@dataclass(frozen=True)
class Config:
    """The range of the curves."""

    farthest: float = 4.0
    """Largest distance between the means of p = N(0, 1) and q = N(theta, 1)."""
    points: int = 41
    """Distances."""
    seed: int = 0
    """Nothing here is random."""

    def __post_init__(self):
        require(self, "farthest", 0 < self.farthest <= 6, "positive and at most 6")
        require(self, "points", self.points >= 2, "at least 2")


def _log_gaussian(mean: Array | float) -> Callable[[Array], Array]:
    return lambda x: -((x - mean) ** 2) / 2 - jnp.log(2 * jnp.pi) / 2


def gradient(cost: Callable[[Array], Array], theta: Array, reach: float) -> Array:
    """`d/d theta E_(x ~ N(theta, 1)) cost(logit D*(x))` with D* held at the present theta."""
    x, w = nodes(-reach, reach)
    fixed = jax.lax.stop_gradient(theta)
    logit = _log_gaussian(0.0)(x) - _log_gaussian(fixed)(x)
    return jax.grad(lambda t: (w * jnp.exp(_log_gaussian(t)(x)) * cost(logit)).sum())(theta)


def descended(parts: dict[str, float], theta: Array, reach: float) -> Array:
    """The divergence of p = N(0, 1) and q = N(theta, 1), by quadrature."""
    p, q = _log_gaussian(0.0), _log_gaussian(theta)
    return sum((k * by_quadrature(DIVERGENCES[name], p, q, -reach, reach) for name, k in parts.items()), jnp.zeros(()))


def compute(config: Config, workdir: Path) -> list[str]:
    """Tables at three values of D and at four distances, and the figure."""
    with jax.enable_x64(True):
        return _compute(config, workdir)


def _compute(config: Config, workdir: Path) -> list[str]:
    d = np.linspace(0.005, 0.995, 199)
    logits, reach = jnp.log(d) - jnp.log1p(-d), config.farthest + 12
    thetas = jnp.linspace(0.05, config.farthest, config.points)
    marks = (0.01, 0.5, 0.99)
    rows = [f"{'cost':20}" + "".join(f"{f'at D = {m:g}':>14}{'slope':>12}" for m in marks)]
    values, slopes, measured, exact = {}, {}, {}, {}
    for name, cost in COSTS.items():
        paid = jax.jit(lambda v, cost=cost: (cost(v), jax.vmap(jax.grad(cost))(v)))
        values[name], slopes[name] = paid(logits)
        pairs = zip(*map(np.asarray, paid(np.array([np.log(m / (1 - m)) for m in marks]))), strict=True)
        rows.append(f"{name:20}" + "".join(f"{v:14.5f}{s:12.5f}" for v, s in pairs))
        measured[name] = jax.jit(jax.vmap(lambda t, cost=cost: gradient(cost, t, reach)))(thetas)
        parts = DESCENDED[name][1]
        exact[name] = jax.jit(jax.vmap(jax.grad(lambda t, parts=parts: descended(parts, t, reach))))(thetas)
    rows.append(f"{'cost':20}{'descends':20}{'largest difference of gradients':>34}")
    for name, (label, _) in DESCENDED.items():
        rows.append(f"{name:20}{label:20}{np.abs(measured[name] - exact[name]).max():34.1e}")
    figure = workdir / "costs.png"
    curves = [
        Panel([Series(d, values[n], n) for n in COSTS], "D(G(z))", "cost", "the generator's cost", ylim=(-20, 5)),
        Panel([Series(d, slopes[n], n) for n in COSTS], "D(G(z))", "d cost / d logit", "its slope", ylim=(-5, 0.2)),
    ]
    at_optimum = [
        Panel(
            [Series(thetas, measured[n], "at D*"), Series(thetas, exact[n], "divergence", "predicted")],
            r"$\theta$", r"gradient in $\theta$", f"{n}: {label}",
        )
        for n, (label, _) in DESCENDED.items()
    ]  # fmt: skip
    panels([*curves, *at_optimum], figure, columns=2, size=(4.4, 3.0))
    return [*rows, str(figure)]


SMOKE = {"points": 3}
EXPERIMENT = launch.Experiment("generator_costs", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
