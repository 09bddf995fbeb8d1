"""Phase diagrams: where a game converges, over step size and regularisation, 40,000 runs in one program.

Claim: the region of convergence has a sharp boundary that a formula gives. Consensus on v(a, b) = ab with weight gamma
converges iff eta < 2 gamma / (1 + gamma^2); the Dirac-GAN with R1 in simultaneous play, while it turns, iff
h < gamma / f'(0)^2, and in alternating play at the rate sqrt(1 - h gamma) per step.
Paper: Mescheder, Nowozin and Geiger, The Numerics of GANs, 2017; Mescheder, Geiger and Nowozin, Which Training Methods
for GANs do actually Converge?, 2018.
Command: python experiments/phase_diagram.py train --workdir runs/phase_diagram
Time: 10 seconds for three diagrams of 200 x 200 runs of 2,000 steps.
Figure: runs/phase_diagram/phase_diagram.png, the measured growth of the distance per step (blue converges, red leaves)
under the predicted boundary (dashed).
Every run starts so near the equilibrium (1e-140) that 2,000 steps stay in float64 and in the linear regime; growth is
log(distance at the end / at the start) / steps. The table counts the runs whose sign is as predicted.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import launch
from ganjax.dynamics import alternating, consensus, simultaneous
from ganjax.dynamics.predictions import consensus_multiplier, damped_limit
from ganjax.errors import ConfigError
from ganjax.games import bilinear, dirac_gan
from ganjax.report import Heat, Series, panels
from ganjax.training import population, simulate

START = 1e-140
SATURATED = 0.14  # |growth| beyond which 2,000 steps leave float64
UNDECIDED = 1e-3  # |growth| below which the phase of the last turn decides the sign
SLOPE = 0.5  # f'(0) of the saturating loss


@dataclass(frozen=True)
class Config:
    """The grid and the length of the runs."""

    size: int = 200
    """Runs per side of a diagram."""
    steps: int = 2000
    """Steps of each run."""
    largest_step: float = 2.0
    """Step sizes go from 0 to here."""
    largest_gamma: float = 3.0
    """Regularisation goes from 0 to here."""

    def __post_init__(self):
        if self.size < 2 or self.steps < 1:
            raise ConfigError(f"--size is {self.size} and --steps {self.steps}, expected at least 2 and 1")
        if not (self.largest_step > 0 and self.largest_gamma > 0):
            raise ConfigError(
                f"--largest-step is {self.largest_step} and --largest-gamma {self.largest_gamma}, expected positive"
            )


class Diagram(NamedTuple):
    """A family of runs and what is predicted of it."""

    title: str
    end: Callable  # (eta, gamma, steps) -> (params, skipped) of one run
    growth: Callable[[np.ndarray, np.ndarray], np.ndarray]  # (eta, gamma) -> predicted log of the factor per step
    boundary: Callable[[np.ndarray], np.ndarray]  # gamma -> the step size beyond which it diverges


def _sgd(eta, *players: str) -> dict:
    return {player: optax.sgd(eta) for player in players}


def _consensus(eta, gamma, steps):
    dynamics = simultaneous(_sgd(eta, "a", "b"), adjust=consensus(gamma))
    state, _ = simulate(bilinear(start=(START, START)), dynamics, steps, keep=None)
    return state.params, state.skipped


def _dirac(rule: Callable) -> Callable:
    def end(eta, gamma, steps):
        game = dirac_gan(penalty="r1", gamma=gamma, start=(START, START))
        state, _ = simulate(game, rule(_sgd(eta, "generator", "discriminator")), steps, keep=None)
        return state.params, state.skipped

    return end


def _r1_simultaneous(h: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """`log max |1 + h lambda|` over the eigenvalues `-gamma / 2 +- sqrt(gamma^2 / 4 - f'^2)` of the flow."""
    root = np.sqrt(gamma**2 / 4 - SLOPE**2 + 0j)
    return np.log(np.maximum(abs(1 + h * (-gamma / 2 + root)), abs(1 + h * (-gamma / 2 - root))))


def _r1_simultaneous_boundary(gamma: np.ndarray) -> np.ndarray:
    """`gamma / f'^2` while the eigenvalues are complex; then the faster of two real ones passes -1."""
    real = gamma > 2 * SLOPE
    fast = gamma / 2 + np.sqrt(np.where(real, gamma**2 / 4 - SLOPE**2, 0))
    return np.where(real, 2 / fast, gamma / SLOPE**2)


def _r1_alternating(h: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Generator first: the matrix `[[1, -h f'], [h f', 1 - h gamma - h^2 f'^2]]`, of determinant `1 - h gamma`."""
    trace, determinant = 2 - h * gamma - (h * SLOPE) ** 2, 1 - h * gamma
    root = np.sqrt(trace**2 / 4 - determinant + 0j)
    return np.log(np.maximum(abs(trace / 2 + root), abs(trace / 2 - root)))


def _r1_alternating_boundary(gamma: np.ndarray) -> np.ndarray:
    """An eigenvalue passes -1 where `1 + trace + determinant = 4 - 2 h gamma - h^2 f'^2 = 0`."""
    return (np.sqrt(gamma**2 + 4 * SLOPE**2) - gamma) / SLOPE**2


DIAGRAMS = {
    "consensus": Diagram(
        "ab with consensus",
        _consensus,
        lambda eta, gamma: np.log(abs(consensus_multiplier(eta, gamma))),
        np.vectorize(damped_limit),
    ),
    "r1_simultaneous": Diagram(
        "Dirac-GAN with R1, simultaneous", _dirac(simultaneous), _r1_simultaneous, _r1_simultaneous_boundary
    ),
    "r1_alternating": Diagram(
        "Dirac-GAN with R1, alternating", _dirac(alternating), _r1_alternating, _r1_alternating_boundary
    ),
}


def compute(config: Config, workdir: Path) -> list[str]:
    """Run the populations, compare the signs, draw."""
    etas = config.largest_step * (np.arange(config.size) + 0.5) / config.size
    gammas = config.largest_gamma * (np.arange(config.size) + 0.5) / config.size
    rows = [f"{'diagram':18} {'as predicted':>13} {'undecided':>10} {'largest error':>14} {'seconds':>8}"]
    parts = []
    for name, diagram in DIAGRAMS.items():
        began = time.perf_counter()
        measured = _measure(diagram, etas, gammas, config.steps)
        seconds = time.perf_counter() - began
        predicted = diagram.growth(etas[:, None], gammas[None, :])
        rows.append(_row(name, measured, predicted, seconds))
        boundary = Series(gammas, diagram.boundary(gammas), "predicted boundary", "predicted")
        parts.append(
            Heat(
                measured, gammas, etas, r"regularisation $\gamma$", r"step size $\eta$", diagram.title,
                "growth per step (log)", limits=(-SATURATED, SATURATED), centre=0.0, boundary=[boundary],
            )
        )  # fmt: skip
    figure = workdir / "phase_diagram.png"
    panels(parts, figure, columns=3, title=f"Growth of the distance to the equilibrium over {config.steps:,} steps")
    runs = len(DIAGRAMS) * config.size**2
    return [*rows, f"{runs:,} runs, {runs * config.steps:,} steps; seconds include compilation", str(figure)]


def _measure(diagram: Diagram, etas: np.ndarray, gammas: np.ndarray, steps: int) -> np.ndarray:
    """The growth per step of every run, [eta, gamma]; a run that left float64 counts the steps it made."""
    with jax.enable_x64(True):
        train = population(lambda eta, gamma: diagram.end(eta, gamma, steps))
        params, skipped = train(eta=etas, gamma=gammas)
        norm = np.asarray(jnp.hypot(*params.values()))
        made = steps - np.asarray(skipped)
    return np.log(np.maximum(norm, np.finfo(float).tiny) / (START * np.sqrt(2))) / np.maximum(made, 1)


def _row(name: str, measured: np.ndarray, predicted: np.ndarray, seconds: float) -> str:
    decided = abs(predicted) > UNDECIDED
    right = (np.sign(measured) == np.sign(predicted))[decided].mean()
    linear = abs(predicted) < SATURATED
    error = abs(measured - predicted)[linear].max()
    return f"{name:18} {right:13.4%} {1 - decided.mean():10.2%} {error:14.1e} {seconds:8.1f}"


SMOKE = {"size": 12}
EXPERIMENT = launch.Experiment("phase_diagram", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
