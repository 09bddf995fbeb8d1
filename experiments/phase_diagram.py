"""Phase diagrams: where a game converges, over step size and regularisation, 80,000 runs in one program.

Claim: the region of convergence has a sharp boundary that a formula gives. Consensus on v(a, b) = ab with weight gamma
converges iff eta < 2 gamma / (1 + gamma^2); the Dirac-GAN with R1 in simultaneous play, while it turns, iff
h < gamma / f'(0)^2, and in alternating play at the rate sqrt(1 - h gamma) per step; lookahead of k steps of
simultaneous play iff alpha < 2 (1 - Re w) / |1 - w|^2 with w = (1 + i eta)^k, which is 1 - 1/k for small steps.
Paper: Mescheder, Nowozin and Geiger, The Numerics of GANs, 2017; Mescheder, Geiger and Nowozin, Which Training Methods
for GANs do actually Converge?, 2018; Chavdarova et al., Taming GANs with Lookahead-Minmax, 2021.
Command: python experiments/phase_diagram.py train --workdir runs/phase_diagram
Time: 25 seconds for four diagrams of 200 x 200 points, two runs of 2,000 steps at each.
Figure: runs/phase_diagram/phase_diagram.png, the measured growth of the distance per step (blue converges, red leaves)
under the predicted boundary (dashed).
The runs begin on either axis, so near the equilibrium (1e-140) that 2,000 steps stay in float64 and in the linear
regime: their ends are the columns of the matrix of all steps together, and the growth per step is the log of its
spectral radius over the steps. A run with a step that was not finite counts as diverged. The table gives the share of
points whose sign is as predicted, and the largest error where neither end of float64 was met.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
from tqdm import tqdm

from ganjax import launch
from ganjax.core import Array, Dynamics, Game
from ganjax.dynamics import alternating, consensus, lookahead, simultaneous
from ganjax.dynamics.predictions import (
    SLOPE,
    alternating_multipliers,
    consensus_multiplier,
    damped_limit,
    lookahead_multiplier,
    penalty_eigenvalues,
    penalty_step_limit,
    simultaneous_multiplier,
    simultaneous_multipliers,
)
from ganjax.errors import ConfigError
from ganjax.games import bilinear, dirac_gan
from ganjax.report import Heat, Series, panels
from ganjax.training import population, simulate

START = 1e-140
UNDECIDED = 1e-6  # |predicted growth| below which a sign is not asked for
COLOURS = 0.14  # growth per step at the ends of the colour bar
GAN = SLOPE["gan"]  # f'(0) of the saturating loss


@dataclass(frozen=True)
class Config:
    """The grid and the length of the runs."""

    size: int = 200
    """Points per side of a diagram."""
    steps: int = 2000
    """Steps of each run, a multiple of k."""
    largest_step: float = 2.0
    """Step sizes go from 0 to here."""
    largest_gamma: float = 3.0
    """Regularisation goes from 0 to here."""
    k: int = 5
    """Fast steps between two synchronisations of lookahead."""

    def __post_init__(self):
        if self.size < 2 or self.k < 1 or self.steps < 1 or self.steps % self.k:
            raise ConfigError(
                f"--size is {self.size}, --steps {self.steps} and --k {self.k}, expected at least 2 points and a "
                "positive number of steps that is a multiple of k"
            )
        if not (self.largest_step > 0 and self.largest_gamma > 0):
            raise ConfigError(
                f"--largest-step is {self.largest_step} and --largest-gamma {self.largest_gamma}, expected positive"
            )


class Diagram(NamedTuple):
    """A family of runs over step size eta and a second number x, and what is predicted of it."""

    title: str
    label: str  # of x
    reach: float  # x goes from 0 to here
    play: Callable[..., tuple[Game, Dynamics]]  # (start, eta, x) -> what a run plays
    growth: Callable[[np.ndarray, np.ndarray], np.ndarray]  # (eta, x) -> predicted log of the factor per step
    boundary: Callable[[np.ndarray, np.ndarray], tuple]  # (etas, xs) -> a curve (xs, etas) between the regions


def diagrams(config: Config) -> dict[str, Diagram]:
    """What is drawn, keyed by name."""
    gamma = (r"regularisation $\gamma$", config.largest_gamma)
    return {
        "consensus": Diagram(
            "ab with consensus", *gamma,
            lambda start, eta, x: (bilinear(start=start), simultaneous(_sgd(eta, "a", "b"), adjust=consensus(x))),
            lambda eta, x: np.log(abs(consensus_multiplier(eta, x))),
            lambda etas, xs: (xs, [damped_limit(x) for x in xs]),
        ),
        "r1_simultaneous": Diagram(
            "Dirac-GAN with R1, simultaneous", *gamma,
            lambda start, eta, x: _dirac(simultaneous, start, eta, x),
            lambda eta, x: _log_radius(simultaneous_multipliers(penalty_eigenvalues(x, GAN), eta[..., None])),
            lambda etas, xs: (xs, [penalty_step_limit(x, GAN) for x in xs]),
        ),
        "r1_alternating": Diagram(
            "Dirac-GAN with R1, alternating", *gamma,
            lambda start, eta, x: _dirac(alternating, start, eta, x),
            lambda eta, x: _log_radius(alternating_multipliers(eta, GAN, discriminator=-x)),
            lambda etas, xs: (xs, [penalty_step_limit(x, GAN, "alternating") for x in xs]),
        ),
        "lookahead": Diagram(
            f"ab with lookahead, k = {config.k}", r"share of the fast weights $\alpha$", 1.0,
            lambda start, eta, x: (
                bilinear(start=start), lookahead(simultaneous(_sgd(eta, "a", "b")), k=config.k, alpha=x),
            ),
            lambda eta, x: np.log(abs(lookahead_multiplier(simultaneous_multiplier(eta), config.k, x))) / config.k,
            lambda etas, xs: (_lookahead_limit(etas, config.k), etas),
        ),
    }  # fmt: skip


def compute(config: Config, workdir: Path) -> list[str]:
    """Run the populations, compare the signs, draw."""
    rows = [
        f"{'diagram':16} {'as predicted':>12} {'undecided':>9} {'converging':>10} {'largest error':>13} "
        f"{'first call s':>12} {'run s':>6} {'steps/s':>8}"
    ]
    parts: list[Heat] = []
    bar = tqdm(diagrams(config).items(), unit="diagram")
    for name, diagram in bar:
        bar.set_description(f"{name}, {2 * config.size**2:,} runs of {config.steps:,} steps in one program")
        etas, xs = (reach * (np.arange(config.size) + 0.5) / config.size for reach in _reaches(config, diagram))
        measured, first, second = _measure(diagram, etas, xs, config.steps)
        rows.append(_row(name, measured, diagram.growth(etas[:, None], xs[None, :]), config, first, second))
        x, y = diagram.boundary(*(np.linspace(1e-4, reach, 500) for reach in _reaches(config, diagram)))
        parts.append(
            Heat(
                measured, xs, etas, diagram.label, r"step size $\eta$", diagram.title, "growth per step (log)",
                limits=(-COLOURS, COLOURS), centre=0.0, boundary=[Series(x, y, "predicted boundary", "predicted")],
            )
        )  # fmt: skip
    figure = workdir / "phase_diagram.png"
    panels(parts, figure, title=f"Growth of the distance to the equilibrium over {config.steps:,} steps")
    note = (
        f"as predicted: the sign of the growth, where |predicted| > {UNDECIDED:g}; largest error: of the growth per "
        f"step, where |predicted| < {_linear(config.steps):.3f}; the first call compiles, or loads what was compiled"
    )
    return [*rows, note, str(figure)]


def _reaches(config: Config, diagram: Diagram) -> tuple[float, float]:
    return config.largest_step, diagram.reach


def _measure(diagram: Diagram, etas: np.ndarray, xs: np.ndarray, steps: int) -> tuple[np.ndarray, float, float]:
    """The growth per step at every point, [eta, x], and the seconds of a first and a second call."""

    @population
    def train(start, eta, x):
        game, dynamics = diagram.play(tuple(start), eta, x)
        state, _ = simulate(game, dynamics, steps, keep=None)
        return [state.params[player] for player in game.players], state.skipped

    seconds = []
    with jax.enable_x64(True):
        for _ in range(2):
            began = time.perf_counter()
            ends, skipped = jax.block_until_ready(train(start=START * np.eye(2), eta=etas, x=xs))
            seconds.append(time.perf_counter() - began)
    return _growth(np.stack(ends), np.asarray(skipped), steps), seconds[0], seconds[1]


def _growth(ends: np.ndarray, skipped: np.ndarray, steps: int) -> np.ndarray:
    """The log of the factor per step from where two runs end, [player, start, ...], and the steps they refused.

    In the linear regime the ends are the columns of a matrix, whose spectral radius is exact where one norm would
    depend on the phase of the last turn. A run that left the regime grew, as fast as it did until it was stopped.
    """
    norms = np.maximum(np.hypot(*ends), np.finfo(float).tiny)  # [start, ...]
    made = np.maximum(steps - skipped, 1)
    left = ((skipped > 0) | (norms > 1)).any(axis=0)
    scale = norms.max(axis=0)
    matrices = np.moveaxis(np.where(left, 0, ends / scale), (0, 1), (-2, -1))
    radius = np.maximum(abs(np.linalg.eigvals(matrices)).max(axis=-1), np.finfo(float).tiny)
    return np.where(left, (np.log(norms / START) / made).max(axis=0), (np.log(scale / START) + np.log(radius)) / steps)


def _row(name: str, measured: np.ndarray, predicted: np.ndarray, config: Config, first: float, second: float) -> str:
    decided = abs(predicted) > UNDECIDED
    right = (np.sign(measured) == np.sign(predicted))[decided].mean()
    error = abs(measured - predicted)[abs(predicted) < _linear(config.steps)].max(initial=0)
    return (
        f"{name:16} {right:12.4%} {1 - decided.mean():9.2%} {(measured < 0).mean():10.2%} {error:13.1e} "
        f"{first:12.2f} {second:6.2f} {2 * config.size**2 * config.steps / second:8.1e}"
    )


def _linear(steps: int) -> float:
    """The growth per step, up or down, that stays in float64 and in the linear regime for all steps."""
    return -0.9 * float(np.log(START)) / steps


def _sgd(eta, *players: str) -> dict:
    return {player: optax.sgd(eta) for player in players}


def _dirac(rule: Callable[..., Dynamics], start: tuple, eta: Array, gamma: Array) -> tuple[Game, Dynamics]:
    return dirac_gan(penalty="r1", gamma=gamma, start=start), rule(_sgd(eta, "generator", "discriminator"))


def _log_radius(multipliers: np.ndarray) -> np.ndarray:
    return np.log(abs(multipliers).max(axis=-1))


def _lookahead_limit(eta: np.ndarray, k: int) -> np.ndarray:
    """The alpha below which `|1 - alpha + alpha w| < 1`, `w = (1 + i eta)^k`; negative where none is small enough."""
    w = simultaneous_multiplier(eta) ** k
    return 2 * (1 - w.real) / abs(1 - w) ** 2


SMOKE = {"size": 12, "steps": 200}
EXPERIMENT = launch.Experiment("phase_diagram", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
