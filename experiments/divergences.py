"""One Gaussian fitted to two: what each f-divergence gives up.

Claim: of a density with two modes, KL(p, q) covers both, KL(q, p) takes the larger one and leaves the other; the
others lie between or beside.
Paper: Minka, Divergence measures and message passing, 2005; Nowozin et al., f-GAN, 2016 (section 2.4, table 3);
Goodfellow, NIPS Tutorial, 2016 (figure 14).
Command: python experiments/divergences.py train --workdir runs/divergences
Time: about 20 seconds on 2 CPU cores.
Figure: runs/divergences/fits.png, the best Gaussian under each divergence over the density; runs/divergences/table.png,
f, its conjugate and its activation for each row of the f-GAN table.
Every divergence is an integral, minimised in mean and log standard deviation from several starts; where starts end in
different minima the best is drawn and their number is told. With the modes at +-2 and 60 % in the right one, KL gives
the mixture's own mean and deviation, 0.4 and 2.08; KL(q, p) and Neyman give the right mode, 1.99 and 0.72, 0.71; total
variation lies between; the others cover both modes.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import norm

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array
from ganjax.divergences import DIVERGENCES, nodes
from ganjax.report import Panel, Series, panels

REACH = 9.0  # of the quadrature; the tails of q beyond are the same for all


@dataclass(frozen=True)
class Config:
    """The density and the search."""

    distance: float = 4.0
    """Between the two modes, which lie at +- half of it."""
    share: float = 0.6
    """Of the right mode."""
    sigma: float = 0.7
    """Standard deviation of both."""
    steps: int = 1500
    """Of Adam from every start."""
    learning_rate: float = 0.02
    """Of Adam, in mean and log standard deviation."""
    seed: int = 0
    """Nothing here is random."""

    def __post_init__(self):
        require(self, "share", 0 < self.share < 1, "between 0 and 1")
        require(self, "steps", self.steps >= 1, "at least 1")
        require(self, "distance", 0 <= self.distance <= 8, "0 to 8")
        for name in ("sigma", "learning_rate"):
            require(self, name, 0 < getattr(self, name) <= 2, "positive and at most 2")


STARTS = np.array([[m, s] for m in (-2.5, 0.0, 2.5) for s in (-0.7, 0.7)])  # mean and log standard deviation


def log_target(config: Config, x: Array) -> Array:
    """log p, the mixture of two Gaussians."""
    shares = jnp.log(jnp.array([1 - config.share, config.share]))
    means = jnp.array([-config.distance / 2, config.distance / 2])
    parts = shares - ((x[..., None] - means) / config.sigma) ** 2 / 2 - jnp.log(config.sigma * jnp.sqrt(2 * jnp.pi))
    return jax.nn.logsumexp(parts, axis=-1)


def log_fit(theta: Array, x: Array) -> Array:
    """log q, the Gaussian of mean `theta[0]` and standard deviation `exp(theta[1])`."""
    return -(((x - theta[0]) * jnp.exp(-theta[1])) ** 2) / 2 - theta[1] - jnp.log(2 * jnp.pi) / 2


def fit(config: Config) -> tuple[Array, Array]:
    """The minima that the starts lead to, [divergences, starts, 2], and their values [divergences, starts]."""
    # The logarithms are bounded: a ratio of 1e40 in a far tail says as much as infinity and has a gradient.
    x, w = nodes(-REACH, REACH, 64)
    log_p = jax.jit(lambda x: jnp.maximum(log_target(config, x), -80.0))(x)

    def values(thetas: Array) -> Array:
        """Sums of `q f(p / q)` over the nodes, [divergences, 2] to [divergences]."""
        log_q = jnp.maximum(jax.vmap(log_fit, (0, None))(thetas, x), -80.0)
        parts = zip(DIVERGENCES.values(), jnp.exp(log_p - log_q), strict=True)
        return (w * jnp.exp(log_q) * jnp.stack([divergence.f(u) for divergence, u in parts])).sum(-1)

    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    adam = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def descend(start: Array) -> tuple[Array, Array]:
        def step(_, carry):
            thetas, state = carry
            slopes = jax.grad(lambda thetas: values(thetas).sum())(thetas)  # each has a theta of its own
            updates, state = jax.vmap(adam.update)(slopes, state)
            return optax.apply_updates(thetas, updates), state

        thetas = jnp.tile(start, (len(DIVERGENCES), 1))
        thetas, _ = jax.lax.fori_loop(0, config.steps, step, (thetas, jax.vmap(adam.init)(thetas)))
        return thetas, values(thetas)

    return jax.jit(jax.vmap(descend, out_axes=1))(jnp.asarray(STARTS))


def compute(config: Config, workdir: Path) -> list[str]:
    """Fit under every divergence; table and figures."""
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        return _compute(config, workdir)


def _compute(config: Config, workdir: Path) -> list[str]:
    x = np.linspace(-6, 6, 401)
    thetas, values = map(np.asarray, fit(config))
    best = thetas[np.arange(len(thetas)), np.nanargmin(values, 1)]
    at = jnp.asarray(x)
    p, fits = jax.jit(lambda: (jnp.exp(log_target(config, at)), jnp.exp(jax.vmap(log_fit, (0, None))(best, at))))()
    rows = [f"{'divergence':20}{'mean':>10}{'deviation':>11}{'value':>11}{'starts there':>14}{'mass x > 0':>12}"]
    parts = []
    for name, (mean, log_std), found, q in zip(DIVERGENCES, best, values, fits, strict=True):
        std, least = np.exp(log_std), np.nanmin(found)
        there, right = int((np.abs(found - least) < 1e-4).sum()), norm.cdf(mean / std)
        rows.append(f"{name:20}{mean:10.4f}{std:11.4f}{least:11.5f}{there:8d} of {len(STARTS)}{right:12.3f}")
        series = [Series(x, p, "density p", "band", 6, 0 * p), Series(x, q, "best Gaussian q", tint=0)]
        parts.append(Panel(series, "x", "density", name.replace("_", " "), ylim=(0, 0.75)))
    u, v = np.linspace(0.02, 4, 200), np.linspace(-3, 3, 200)

    @jax.jit
    def table() -> list[tuple[Array, Array, Array]]:
        own = [(row, jnp.asarray(u), row.activation(jnp.asarray(v))) for row in DIVERGENCES.values()]
        return [(row.f(u), t, row.conjugate(t)) for row, u, t in own]

    figures = workdir / "fits.png", workdir / "table.png"
    panels(parts, figures[0], columns=4, size=(2.7, 2.2), title="The best Gaussian under each divergence")
    curves = []
    for name, (f, t, conjugate) in zip(DIVERGENCES, table(), strict=True):
        series = [
            Series(u, f, "f(u)"),
            Series(v, t, "T = g(v)"),
            Series(v, conjugate, "f*(g(v))"),
        ]
        curves.append(Panel(series, "u, or the logit v", "", name.replace("_", " "), ylim=(-3, 4)))
    panels(curves, figures[1], columns=4, size=(2.7, 2.2), title="The rows of the f-GAN table")
    return [*rows, *map(str, figures)]


SMOKE = {"steps": 2}
EXPERIMENT = launch.Experiment("divergences", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
