"""A one-dimensional GAN beside its theory: D against D* = p / (p + q), and a live lower bound of the divergence.

Claim: for a fixed generator the best discriminator is p / (p + q), and then its cost is log 4 - 2 JSD; so at any time
(log 4 - cost) / 2 is a lower bound of the Jensen-Shannon divergence, the closer the better the discriminator.
Paper: Goodfellow et al., Generative Adversarial Nets, 2014 (proposition 1, theorem 1, figure 1).
Command: python experiments/optimal_discriminator.py train --workdir runs/optimal_discriminator
Time: about 20 seconds on 2 CPU cores.
Figure: runs/optimal_discriminator/densities.png, p, q, D and D* at six moments of training;
runs/optimal_discriminator/bound.png, the bound under the divergence over training, and how far D is from D*.
The generator is a perceptron of one number; q is a histogram of a million of its samples, with cells of 0.05, and the
divergence and D* are those of the histograms, p exact. The bound is the cost on the histogram's own cells, so it holds
for every D whatever the cells lose. Measured with seed 0: the divergence falls from 0.64 to 0.001; the bound holds at
all looks, rises from 0.02 to 0.32 as D learns, and is within 0.02 of the divergence from step 57 on.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn import sigmoid, softplus
from jax.scipy.stats import norm
from tqdm import tqdm

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array, Batch, GameState, Key
from ganjax.divergences import jensen_shannon_divergence
from ganjax.dynamics import alternating
from ganjax.games import gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.models import mlp
from ganjax.report import Panel, Series, panels
from ganjax.training import Keys, init_state, train_step

EDGES = np.linspace(-8, 8, 321)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2


@dataclass(frozen=True)
class Config:
    """The density, the networks and the training."""

    distance: float = 4.0
    """Between the two Gaussians of the data, of deviation 1 and equal weight."""
    steps: int = 6000
    """Of alternating play with the non-saturating loss."""
    looks: int = 60
    """How often density and discriminator are compared."""
    turns: int = 5
    """Of the discriminator in each step."""
    width: int = 32
    """Of the two hidden layers of both networks."""
    batch_size: int = 512
    """Examples of each turn."""
    learning_rate: float = 5e-4
    """Of Adam (0.5, 0.999)."""
    samples: int = 1_000_000
    """Of the generator at each look."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self):
        for name in ("steps", "looks", "turns", "width", "batch_size", "samples"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "looks", self.looks <= self.steps, "no more than --steps")
        require(self, "learning_rate", self.learning_rate > 0, "a positive number")
        require(self, "distance", 0 <= self.distance <= 8, "0 to 8")


class Looks(NamedTuple):
    """What was seen of training, look after look."""

    stops: np.ndarray  # [L] integers, steps before each look
    p: Array  # [cells], the data's mass
    q: list[Array]  # [cells], the generator's
    logits: list[Array]  # [cells], of D at the centres of the cells

    @property
    def divergence(self) -> np.ndarray:
        """[L]."""
        return np.array([_divergence(self.p, q) for q in self.q])

    @property
    def bound(self) -> np.ndarray:
        """(log 4 - cost) / 2 on the cells, [L]."""
        return (np.log(4) - np.array([_cost(self.p, q, v) for q, v in zip(self.q, self.logits, strict=True)])) / 2

    @property
    def off(self) -> np.ndarray:
        """The mean of |D - D*|, [L]."""
        return np.array([_off(self.p, q, v) for q, v in zip(self.q, self.logits, strict=True)])


_divergence = jax.jit(jensen_shannon_divergence)


@jax.jit
def _cost(p: Array, q: Array, v: Array) -> Array:
    return (p * softplus(-v)).sum() + (q * softplus(v)).sum()


@jax.jit
def _off(p: Array, q: Array, v: Array) -> Array:
    return (jnp.abs(sigmoid(v) - p / (p + q + 1e-12)) * (p + q) / 2).sum()


def compute(config: Config, workdir: Path) -> list[str]:
    """Train, compare at every look, draw."""
    looks = _trained(config)
    stops, divergence, bound, off = looks.stops, looks.divergence, looks.bound, looks.off
    moments = np.unique(np.linspace(0, len(stops) - 1, 6).round().astype(int))
    rows = [f"{'step':>7}{'JSD':>9}{'bound':>9}{'gap':>9}{'mean |D - D*|':>15}"]
    rows += [
        f"{stops[i]:7d}{divergence[i]:9.4f}{bound[i]:9.4f}{divergence[i] - bound[i]:9.4f}{off[i]:15.4f}"
        for i in moments
    ]
    rows.append(
        f"the bound held at {int((bound <= divergence + 1e-5).sum())} of {len(stops)} looks; smallest gap "
        f"{(divergence - bound).min():.1e}"
    )
    figures = workdir / "densities.png", workdir / "bound.png"
    _draw_densities(looks, moments, figures[0])
    curves = [
        Panel(
            [
                Series(stops + 1, divergence, "JSD(p, q)", tint=1),
                Series(stops + 1, bound, "(log 4 - cost) / 2", tint=0),
            ],
            "step + 1", "nats", "a live lower bound", "x", ylim=(-0.05, 0.75), lines={"log 2": float(np.log(2))},
        ),
        Panel([Series(stops + 1, off, "", tint=0)], "step + 1", "mean |D - D*|", "how far D is from D*", "x"),
    ]  # fmt: skip
    panels(curves, figures[1], columns=2)
    return [*rows, *map(str, figures)]


def _trained(config: Config) -> Looks:
    """Training, seen at times of which most lie at its start."""
    shift = config.distance / 2
    mass = np.diff(norm.cdf(EDGES, -shift) + norm.cdf(EDGES, shift)) / 2
    generator = mlp.Generator((1,), (config.width,) * 2, output=mlp.identity, initialisation="uniform")
    discriminator = mlp.Discriminator((config.width,) * 2, initialisation="uniform")
    prior = normal_prior(1)
    game = gan(generator, discriminator, LOSSES["non_saturating"], prior=prior)
    adam = optax.adam(config.learning_rate, b1=0.5)
    dynamics = alternating(dict.fromkeys(game.players, adam), turns={"discriminator": config.turns})
    step, keys, size = train_step(game, dynamics), Keys.of(config.seed), config.batch_size * dynamics.slices
    draw, index = sampler(generator, prior), jnp.arange(size, dtype=jnp.int32)

    def batch(key: Key) -> Batch:
        side, rest = jax.random.split(key)
        x = shift * jax.random.rademacher(side, (size, 1), jnp.float32) + jax.random.normal(rest, (size, 1))
        return Batch(x, None, index)

    @partial(jax.jit, donate_argnums=0)
    def advance(state: GameState, count: Array) -> GameState:
        def one(_, s: GameState) -> GameState:
            return step(s, batch(jax.random.fold_in(keys.samples, s.step)), keys.steps)[0]

        return jax.lax.fori_loop(0, count, one, state)

    @jax.jit
    def look(state: GameState) -> tuple[Array, Any]:
        params = state.params
        x = draw(state.weights, keys.init, jnp.arange(config.samples))[:, 0]
        logits = discriminator.apply({"params": params["discriminator"]}, jnp.asarray(CENTRES)[:, None], train=True)
        inside = jnp.clip(x, EDGES[0] + 1e-3, EDGES[-1] - 1e-3)
        return jnp.histogram(inside, bins=jnp.asarray(EDGES))[0] / config.samples, logits

    state = jax.jit(lambda: init_state(game, dynamics, keys.init, batch(keys.samples)))()
    stops = np.unique(np.geomspace(1, config.steps + 1, config.looks + 1).round().astype(int)) - 1
    found = [look(state)]
    for count in tqdm(np.diff(stops), unit="look"):
        state = advance(state, count)
        found.append(look(state))
    return Looks(stops, jnp.asarray(mass / mass.sum()), [q for q, _ in found], [v for _, v in found])


def _draw_densities(looks: Looks, moments: np.ndarray, out: Path) -> None:
    """p, q, D and D* at some of the looks."""
    wide, p, parts = np.diff(EDGES), looks.p, []
    for i in moments:
        q, v = looks.q[i], looks.logits[i]
        series = [
            Series(CENTRES, p / wide, "data p", "band", 6, 0 * CENTRES),
            Series(CENTRES, q / wide, "generator q", tint=1),
            Series(CENTRES, sigmoid(v), "D", tint=0),
            Series(CENTRES, p / (p + q + 1e-9), "D* = p / (p + q)", "predicted"),
        ]
        parts.append(Panel(series, "x", "", f"step {looks.stops[i]:,}", xlim=(-6, 6), ylim=(0, 1)))
    panels(parts, out, columns=3, size=(3.4, 2.6))


SMOKE = {"steps": 2, "looks": 1, "samples": 1000, "batch_size": 16, "turns": 1}
EXPERIMENT = launch.Experiment("optimal_discriminator", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
