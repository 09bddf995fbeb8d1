"""The bilinear game v(a, b) = ab: gradient descent-ascent circles, and never arrives.

Claim: when both players move at once, the norm grows by sqrt(1 + eta^2) each step; when they take turns, the orbit
stays on the ellipse a^2 + b^2 - eta ab = const. Averaging the orbit finds the saddle that the players circle.
Paper: Goodfellow, NIPS 2016 Tutorial: Generative Adversarial Networks, section 8.2; Mescheder, Geiger and Nowozin,
Which Training Methods for GANs do actually Converge?, 2018; Bailey and Piliouras 2018 (alternating play).
Command: python experiments/bilinear.py train --workdir runs/bilinear
Time: a few seconds.
Figure: runs/bilinear/phase_plane.png, the orbits over the vector field and their norms over the closed form (dashed).
The table holds, for each rule, the largest difference between what was measured and what is predicted, in float64.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import optax

from ganjax import launch
from ganjax.core import Dynamics
from ganjax.dynamics import alternating, simultaneous
from ganjax.dynamics.predictions import (
    alternating_invariant,
    alternating_matrix,
    closing_step,
    simultaneous_multiplier,
)
from ganjax.errors import ConfigError
from ganjax.games import bilinear
from ganjax.report import phase_plane
from ganjax.training import simulate


@dataclass(frozen=True)
class Config:
    """The game and how it is played."""

    eta: float = 0.1
    """Step size of both players."""
    steps: int = 200
    """How many steps to play."""
    start: tuple[float, float] = (1.0, 1.0)
    """Where (a, b) begins."""
    random_start: bool = False
    """Begin at a point of N(0, I) about the saddle instead, drawn with the seed."""
    seed: int = 0
    """Of the random start; nothing else is random."""
    saddle: tuple[float, float] = (0.0, 0.0)
    """(a0, b0) of v(a, b) = (a - a0)(b - b0)."""
    closes_after: int = 60
    """Steps n of the closed orbit, played with eta = 2 sin(pi / n)."""

    def __post_init__(self):
        if self.steps < 1 or self.closes_after < 3:
            raise ConfigError(
                f"--steps is {self.steps} and --closes-after {self.closes_after}, expected at least 1 and 3"
            )
        if not 0 < self.eta < 2:
            raise ConfigError(f"--eta is {self.eta}, expected 0 < eta < 2, where alternating play is bounded")


def compute(config: Config, workdir: Path) -> list[str]:
    """Play, compare with the closed forms, draw."""
    eta, saddle = config.eta, np.array(config.saddle)
    if config.random_start:
        start = saddle + np.random.default_rng(config.seed).normal(size=2)
        config = replace(config, start=(float(start[0]), float(start[1])))
    with jax.enable_x64(True):
        paths = {
            "simultaneous": _play(config, simultaneous, eta, config.steps),
            "alternating": _play(config, alternating, eta, config.steps),
        }
        closed = _play(config, alternating, closing_step(config.closes_after), config.closes_after)
    predicted = {name: saddle + _predict(name, config) for name in paths}
    figure = workdir / "phase_plane.png"
    phase_plane(
        paths,
        figure,
        field=lambda a, b: (-(b - saddle[1]), a - saddle[0]),
        equilibrium=config.saddle,
        predicted=predicted,
        title=f"Gradient descent-ascent on v(a, b) = ab, step {eta:g}",
    )

    z = {name: path - saddle for name, path in paths.items()}
    norm = np.linalg.norm(z["simultaneous"], axis=1)
    growth = norm[1:] / norm[:-1]
    invariant = alternating_invariant(z["alternating"][:, 0], z["alternating"][:, 1], eta)
    rows = [
        ("simultaneous: growth per step", growth.mean(), abs(simultaneous_multiplier(eta)), np.ptp(growth)),
        ("simultaneous: final norm", norm[-1], norm[0] * abs(simultaneous_multiplier(eta)) ** config.steps, None),
        ("alternating: a^2 + b^2 - eta ab", invariant.mean(), invariant[0], np.ptp(invariant)),
        *((f"{name}: path, largest |z - closed form|", np.abs(path - predicted[name]).max(), 0, None)
          for name, path in paths.items()),
        (f"alternating, closed orbit: |mean of {config.closes_after} steps - saddle|",
         np.abs(closed[:-1].mean(0) - saddle).max(), 0, None),
        ("simultaneous: |mean of the path - saddle|", np.linalg.norm(z["simultaneous"][:-1].mean(0)),
         np.linalg.norm(z["simultaneous"][-1] - z["simultaneous"][0]) / (eta * config.steps), None),
    ]  # fmt: skip
    header = f"{'quantity':58} {'measured':>16} {'predicted':>16} {'difference':>11} {'spread':>9}"
    return [header, *(_row(*row) for row in rows), str(figure)]


def _play(config: Config, rule, eta: float, steps: int) -> np.ndarray:
    """The orbit, [steps + 1, 2] float64."""
    dynamics: Dynamics = rule({"a": optax.sgd(eta), "b": optax.sgd(eta)})
    _, path = simulate(bilinear(saddle=config.saddle, start=config.start), dynamics, steps)
    return np.stack([path["a"], path["b"]], axis=1)


def _predict(name: str, config: Config) -> np.ndarray:
    """The closed-form orbit about the saddle, [steps + 1, 2]."""
    start, times = np.subtract(config.start, config.saddle), np.arange(config.steps + 1)
    if name == "simultaneous":
        z = complex(*start) * simultaneous_multiplier(config.eta) ** times
        return np.stack([z.real, z.imag], axis=1)
    values, vectors = np.linalg.eig(alternating_matrix(config.eta))
    return ((values ** times[:, None] * np.linalg.solve(vectors, start)) @ vectors.T).real


def _row(quantity: str, measured: float, predicted: float, spread: float | None) -> str:
    spread_text = "" if spread is None else f"{spread:9.1e}"
    return f"{quantity:58} {measured:16.12f} {predicted:16.12f} {abs(measured - predicted):11.1e} {spread_text:>9}"


SMOKE = {"steps": 40, "closes_after": 12}
EXPERIMENT = launch.Experiment("bilinear", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
