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
from tqdm import tqdm

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array
from ganjax.divergences import DIVERGENCES, FDivergence, by_quadrature
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


def fit(config: Config, divergence: FDivergence) -> tuple[Array, Array]:
    """The minima that the starts lead to, [starts, 2], and their values [starts]."""

    def value(theta: Array) -> Array:
        p, q = (lambda x: log_target(config, x)), (lambda x: log_fit(theta, x))
        # The logarithms are bounded: a ratio of 1e40 in a far tail says as much as infinity and has a gradient.
        floor = lambda f: lambda x: jnp.maximum(f(x), -80.0)  # noqa: E731
        return by_quadrature(divergence, floor(p), floor(q), -REACH, REACH, panels=64)

    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    adam = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def descend(start: Array) -> tuple[Array, Array]:
        def step(_, carry):
            theta, state = carry
            updates, state = adam.update(jax.grad(value)(theta), state)
            return optax.apply_updates(theta, updates), state

        theta, _ = jax.lax.fori_loop(0, config.steps, step, (start, adam.init(start)))
        return theta, value(theta)

    return jax.jit(jax.vmap(descend))(jnp.asarray(STARTS))


def compute(config: Config, workdir: Path) -> list[str]:
    """Fit under every divergence; table and figures."""
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        return _compute(config, workdir)


def _compute(config: Config, workdir: Path) -> list[str]:
    x = np.linspace(-6, 6, 401)
    p = np.exp(log_target(config, jnp.asarray(x)))
    rows = [f"{'divergence':20}{'mean':>10}{'deviation':>11}{'value':>11}{'starts there':>14}{'mass x > 0':>12}"]
    parts, table = [], []
    for name, divergence in tqdm(DIVERGENCES.items(), unit="divergence"):
        thetas, values = fit(config, divergence)
        best = int(np.nanargmin(values))
        mean, std = float(thetas[best, 0]), float(np.exp(thetas[best, 1]))
        there = int((np.abs(np.asarray(values) - values[best]) < 1e-4).sum())
        right = float(jax.scipy.stats.norm.cdf(mean / std))
        rows.append(f"{name:20}{mean:10.4f}{std:11.4f}{values[best]:11.5f}{there:8d} of {len(STARTS)}{right:12.3f}")
        q = np.exp(log_fit(thetas[best], jnp.asarray(x)))
        series = [Series(x, p, "density p", "band", 6, 0 * p), Series(x, q, "best Gaussian q", tint=0)]
        parts.append(Panel(series, "x", "density", name.replace("_", " "), ylim=(0, 0.75)))
    u, v = jnp.linspace(0.02, 4, 200), jnp.linspace(-3, 3, 200)
    for name, row in DIVERGENCES.items():
        t = row.activation(v)
        table.append((name.replace("_", " "), row.f(u), t, row.conjugate(t)))
    figures = workdir / "fits.png", workdir / "table.png"
    panels(parts, figures[0], columns=4, size=(2.7, 2.2), title="The best Gaussian under each divergence")
    curves = []
    for name, f, t, conjugate in table:
        series = [
            Series(u, f, "f(u)"),
            Series(v, t, "T = g(v)"),
            Series(v, conjugate, "f*(g(v))"),
        ]
        curves.append(Panel(series, "u, or the logit v", "", name, ylim=(-3, 4)))
    panels(curves, figures[1], columns=4, size=(2.7, 2.2), title="The rows of the f-GAN table")
    return [*rows, *map(str, figures)]


SMOKE = {"steps": 2}
EXPERIMENT = launch.Experiment("divergences", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
