"""Noise in the gradients of v(a, b) = ab: how far from the saddle each rule stays, however small its step.

Claim: with noise of standard deviation s in each gradient and a constant step, E|z|^2 of simultaneous play grows to
2 s^2 ((1 + eta^2)^T - 1). Rules that look ahead converge to a floor that does not vanish with the step: proximal point
2 s^2, extragradient 2 s^2 (1 + eta^2) / (1 - eta^2), optimistic 2 s^2 (1 + 3 eta^2) / (1 - 3 eta^2). Lookahead's is a
multiple of s^2 that its k and alpha choose; those of regularised play and of consensus do vanish, in proportion to eta.
Paper: Chavdarova et al., Taming GANs with Lookahead-Minmax, ICLR 2021, and Reducing Noise in GAN Training with Variance
Reduced Extragradient, NeurIPS 2019 (the effect); the formulas are derived in ganjax/dynamics/predictions/noise.py.
Command: python experiments/noise_floor.py train --workdir runs/noise_floor
Time: 30 seconds.
Figure: runs/noise_floor/noise_floor.png, E|z|^2 against the step size (points, bands of two standard errors) over the
closed forms (dashed), and E|z|^2 against the steps from the saddle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import launch
from ganjax.config import require
from ganjax.core import Dynamics
from ganjax.dynamics import (
    alternating,
    consensus,
    extragradient,
    lookahead,
    optimistic,
    past_extragradient,
    proximal_point,
    simultaneous,
)
from ganjax.dynamics.predictions import (
    NOISE_FLOORS,
    alternating_noise,
    consensus_multiplier,
    extragradient_multiplier,
    lookahead_rise,
    noise_rise,
    optimistic_rise,
    proximal_multiplier,
    simultaneous_noise,
)
from ganjax.errors import ConfigError
from ganjax.games import bilinear, gradient_noise
from ganjax.report import Panel, Series, panels
from ganjax.training import population, rejected, simulate


def _sgd(eta) -> dict:
    return {player: optax.sgd(eta) for player in ("a", "b")}


PULL = 0.5  # mu of the regularised game and gamma of consensus
K, ALPHA = 5, 0.5  # of lookahead
# Each rule at step size eta, with the settings for which ganjax.dynamics.predictions.NOISE_FLOORS predicts the floor.
RULES: dict[str, Callable[..., Dynamics]] = {
    "proximal_point": lambda eta: proximal_point(eta, iterations=1),
    "extragradient": lambda eta: extragradient(_sgd(eta)),
    "past_extragradient": lambda eta: past_extragradient(_sgd(eta)),
    "optimistic": lambda eta: optimistic(_sgd(eta)),
    "lookahead": lambda eta: lookahead(simultaneous(_sgd(eta)), k=K, alpha=ALPHA),
    "regularised": lambda eta: simultaneous(_sgd(eta)),
    "consensus": lambda eta: simultaneous(_sgd(eta), adjust=consensus(PULL)),
}
WALKS: dict[str, Callable[..., Dynamics]] = {  # without a floor
    "simultaneous": lambda eta: simultaneous(_sgd(eta)),
    "alternating": lambda eta: alternating(_sgd(eta)),
}
LOOKING_AHEAD = ("optimistic", "extragradient", "past_extragradient", "proximal_point", "lookahead")
RISING = ("simultaneous", "optimistic", "extragradient", "proximal_point", "lookahead", "regularised")
TINTS = {name: i for i, name in enumerate((*LOOKING_AHEAD, "regularised", "simultaneous"))} | {"consensus": 1}


@dataclass(frozen=True)
class Config:
    """The noise, the step sizes, and how much is averaged."""

    std: float = 1.0
    """Standard deviation s of the noise in each gradient."""
    etas: tuple[float, ...] = (0.1, 0.13, 0.17, 0.22, 0.28, 0.34, 0.4, 0.45, 0.5)
    """Step sizes; the optimistic rule diverges from 0.577 on."""
    seeds: int = 400
    """Independent runs for each step size; every rule and step size has noise of its own."""
    burn_in: int = 1000
    """Steps before the average begins, ten times 1 / eta^2 for the smallest step."""
    steps: int = 1500
    """Steps that are averaged."""
    rise_eta: float = 0.2
    """Step size of the way from the saddle to the floor."""
    rise_steps: int = 120
    """Its steps."""
    seed: int = 0
    """Of all noise."""

    def __post_init__(self):
        require(self, "std", self.std > 0, "a positive number")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        if not self.etas or not all(0 < eta < 0.57 for eta in (*self.etas, self.rise_eta)):
            raise ConfigError(
                f"--etas is {self.etas} and --rise-eta {self.rise_eta}, expected step sizes between 0 and 0.57, "
                "where all rules but simultaneous and alternating converge"
            )
        require(self, "seeds", self.seeds >= 2, "at least 2, for a standard error")
        if self.burn_in < 0 or self.steps < 1 or not 1 <= self.rise_steps <= self.burn_in + self.steps:
            raise ConfigError(
                f"--burn-in is {self.burn_in}, --steps {self.steps} and --rise-steps {self.rise_steps}, expected at "
                "least 0, 1 and 1, and the rise no longer than the run"
            )


def compute(config: Config, workdir: Path) -> list[str]:
    """Play many seeds, compare their means with the closed forms, draw."""
    played = _play(config)
    walks = {name: _walk(config, name) for name in WALKS}
    floors = {name: floor for name, (floor, *_) in played.items()}
    rises = {name: rise for name, (*_, rise, _) in (walks | played).items()}
    notes = [f"{name}: {sentence}" for name, (*_, sentence) in (walks | played).items() if sentence]
    out = workdir / "noise_floor.png"
    parts = [
        _floor_panel(config, floors, LOOKING_AHEAD, "looking ahead: a floor for every step"),
        _floor_panel(config, floors, ("regularised", "consensus"), "pulled: a floor that vanishes"),
        _rise_panel(config, rises),
    ]
    panels(parts, out, columns=3, title=f"Gradient noise of standard deviation {config.std:g} on v(a, b) = ab")
    return [*_floor_table(config, floors), "", *_rise_table(config, rises), *notes, str(out)]


def _squares(config: Config, name: str, steps: int, seed, eta, stream) -> tuple[jax.Array, jax.Array]:
    """|z|^2 at each step from the saddle, [steps + 1]; of alternating play a^2 + b^2 - eta ab. And rejected steps."""
    rules = WALKS | RULES
    game = gradient_noise(bilinear(start=(0.0, 0.0), mu=PULL if name == "regularised" else 0.0), config.std)
    key = jax.random.key(config.seed)
    for part in (list(rules).index(name), stream, seed):
        key = jax.random.fold_in(key, part)
    state, path = simulate(game, rules[name](eta), steps, key=key)
    a, b = path["a"], path["b"]
    return a**2 + b**2 - (eta * a * b if name == "alternating" else 0.0), state.skipped


@np.errstate(invalid="ignore")  # of squares that are beyond a float32
def _mean_and_error(samples: jax.Array | np.ndarray) -> np.ndarray:
    """Over the first axis, of independent seeds: [2, ...]."""
    values = np.asarray(samples, np.float64)
    return np.stack([values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))])


def _play(config: Config) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """One program: each rule's time averages at each step size [2, etas] and rise [2, rise_steps + 1], with errors."""
    etas, steps = jnp.array([*config.etas, config.rise_eta]), config.burn_in + config.steps

    def run(seed, eta):
        found = {}
        for name in RULES:
            squares, skipped = _squares(config, name, steps, seed, *eta)
            found[name] = squares[config.burn_in + 1 :].mean(), squares[: config.rise_steps + 1], skipped
        return found

    played = population(run)(seed=jnp.arange(config.seeds), eta=(etas, jnp.arange(len(etas))))
    ends = {}
    for name in RULES:
        floors, rises, skipped = map(np.asarray, played[name])
        ends[name] = _mean_and_error(floors[:, :-1]), _mean_and_error(rises[:, -1]), rejected(skipped, steps)
    return ends


def _walk(config: Config, name: str) -> tuple[np.ndarray, str]:
    """The rise of a rule that has no floor, [2, rise_steps + 1], and what to say of its end."""
    run = lambda seed: _squares(config, name, config.rise_steps, seed, config.rise_eta, 0)  # noqa: E731
    squares, skipped = population(run)(seed=jnp.arange(config.seeds))
    return _mean_and_error(squares), rejected(skipped, config.rise_steps)


def _predicted_rises(config: Config) -> dict[str, np.ndarray]:
    """E|z|^2 at each step from the saddle, [rise_steps + 1], of the rules with a formula for it."""
    eta, steps, std = config.rise_eta, config.rise_steps, config.std
    times = np.arange(steps + 1)
    multipliers = {
        "proximal_point": proximal_multiplier(eta),
        "extragradient": extragradient_multiplier(eta),
        "regularised": consensus_multiplier(eta, PULL),
        "consensus": consensus_multiplier(eta, PULL),
    }
    return {
        "simultaneous": simultaneous_noise(eta, times, std),
        "alternating": alternating_noise(eta, times, std),
        "lookahead": lookahead_rise(eta, K, ALPHA, steps, std),
        "optimistic": optimistic_rise(eta, steps, std),
    } | {name: noise_rise(NOISE_FLOORS[name](eta, std), value, times) for name, value in multipliers.items()}


# -- figure -----------------------------------------------------------------------------------------------------------


def _floor_panel(config: Config, floors: dict, names: tuple[str, ...], title: str) -> Panel:
    etas, series = np.array(config.etas), []
    fine = np.geomspace(etas.min() / 1.2, etas.max(), 200)
    for name in names:
        (mean, error), i = floors[name], TINTS[name]
        series.append(Series(etas, mean - 2 * error, "", "band", i, mean + 2 * error))
        series.append(Series(etas, mean, name.replace("_", " "), "points", i))
        series.append(Series(fine, NOISE_FLOORS[name](fine, config.std), "", "predicted", i))
    return Panel(series, x=r"step size $\eta$", y=r"$E\,|z|^2$", title=title, log="xy")


def _rise_panel(config: Config, rises: dict) -> Panel:
    times, series = np.arange(1, config.rise_steps + 1), []
    predicted = _predicted_rises(config)
    for name in RISING:
        (mean, error), i = rises[name][:, 1:], TINTS[name]
        series.append(Series(times, mean - 2 * error, "", "band", i, mean + 2 * error))
        series.append(Series(times, mean, name.replace("_", " "), "line", i))
        series.append(Series(times, predicted[name][1:], "", "predicted", i))
    title = rf"from the saddle, $\eta$ = {config.rise_eta:g}"
    return Panel(series, x="step", y=r"$E\,|z|^2$", title=title, log="y")


# -- tables -----------------------------------------------------------------------------------------------------------


@np.errstate(invalid="ignore")
def _line(name: str, where: str, mean: float, error: float, predicted: float) -> str:
    off = (mean - predicted) / error
    return f"{name:20} {where:>9} {mean:12.5f} {error:11.5f} {predicted:12.5f} {mean - predicted:+12.5f} {off:+10.2f}"


def _header(what: str, where: str) -> str:
    return (
        f"{what:20} {where:>9} {'measured':>12} {'std error':>11} {'predicted':>12} {'difference':>12} {'/ error':>10}"
    )


def _floor_table(config: Config, floors: dict[str, np.ndarray]) -> list[str]:
    rows = [_header("floor of E|z|^2", "eta")]
    for name, values in floors.items():
        predicted = NOISE_FLOORS[name](np.array(config.etas), config.std)
        for eta, mean, error, expected in zip(config.etas, *values, predicted, strict=True):
            rows.append(_line(name, f"{eta:g}", mean, error, expected))
    return rows


def _rise_table(config: Config, rises: dict[str, np.ndarray]) -> list[str]:
    """After a sixth of the steps and after all of them."""
    rows = [_header("E|z_T|^2 from 0", "T")]
    for name, predicted in _predicted_rises(config).items():
        mean, error = rises[name]
        for t in sorted({max(1, config.rise_steps // 6), config.rise_steps}):
            rows.append(_line(name, str(t), mean[t], error[t], predicted[t]))
    return [*rows, "of alternating play a^2 + b^2 - eta ab, which it conserves without noise"]


SMOKE = {"etas": (0.2, 0.4), "seeds": 16, "burn_in": 100, "steps": 200, "rise_steps": 20}
EXPERIMENT = launch.Experiment("noise_floor", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
