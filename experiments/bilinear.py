"""The bilinear game v(a, b) = ab: gradient descent-ascent circles, and never arrives; other rules do.

Claim: when both players move at once, the norm grows by sqrt(1 + eta^2) each step; when they take turns, the orbit
stays on the ellipse a^2 + b^2 - eta ab = const, and its average is the saddle that the players circle. Rules
that look ahead, damp or regularise contract, each at a rate that a formula gives.
Paper: Goodfellow, NIPS 2016 Tutorial: Generative Adversarial Networks, section 8.2; Mescheder, Geiger and Nowozin,
Which Training Methods for GANs do actually Converge?, 2018; Bailey and Piliouras 2018 (alternating play); for the
other rules see ganjax/dynamics.
Command: python experiments/bilinear.py train --workdir runs/bilinear
Time: 25 seconds.
Figure: runs/bilinear/phase_plane.png, orbits over the vector field and their norms over the closed form (dashed);
runs/bilinear/rates.png, the factor per step of every rule against the step size, measured (points) over predicted.
The first table has a line for each rule: the measured factor is the spectral radius of the rule's own update, and
the orbit's error is the largest |z - closed form| over the run; all in float64.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import launch
from ganjax.core import Dynamics
from ganjax.dynamics import (
    alternating,
    competitive,
    consensus,
    extragradient,
    lola,
    lookahead,
    opponent_lookahead,
    optimistic,
    past_extragradient,
    proximal_point,
    runge_kutta,
    simultaneous,
    symplectic,
    unrolled,
    update_jacobian,
)
from ganjax.dynamics.predictions import (
    BEST_STEP,
    RATES,
    STABLE_UNTIL,
    alternating_invariant,
    alternating_matrix,
    closing_step,
    consensus_multiplier,
    extragradient_multiplier,
    lola_multiplier,
    opponent_lookahead_multiplier,
    optimistic_orbit,
    proximal_multiplier,
    runge_kutta_multiplier,
    simultaneous_multiplier,
)
from ganjax.errors import ConfigError
from ganjax.games import bilinear
from ganjax.report import Panel, Series, panels, phase_plane
from ganjax.training import init_state, rejected, simulate


def _sgd(eta, **options) -> dict:
    return {player: optax.sgd(eta, **options) for player in ("a", "b")}


# Each rule at step size eta, with the settings for which ganjax.dynamics.predictions.RATES predicts the factor.
RULES: dict[str, Callable[..., Dynamics]] = {
    "simultaneous": lambda eta: simultaneous(_sgd(eta)),
    "alternating": lambda eta: alternating(_sgd(eta)),
    "heavy_ball": lambda eta: simultaneous(_sgd(eta, momentum=0.5)),
    "negative_momentum": lambda eta: alternating(_sgd(eta, momentum=-0.5)),
    "proximal_point": lambda eta: proximal_point(eta, iterations=2),
    "competitive": lambda eta: competitive(eta),
    "extragradient": lambda eta: extragradient(_sgd(eta)),
    "past_extragradient": lambda eta: past_extragradient(_sgd(eta)),
    "optimistic": lambda eta: optimistic(_sgd(eta)),
    "consensus": lambda eta: simultaneous(_sgd(eta), adjust=consensus(1.0)),
    "symplectic": lambda eta: simultaneous(_sgd(eta), adjust=symplectic(1.0)),
    "opponent_lookahead": lambda eta: opponent_lookahead(simultaneous(_sgd(eta)), step=eta),
    "lola": lambda eta: lola(simultaneous(_sgd(eta)), step=eta),
    "unrolled": lambda eta: unrolled(simultaneous(_sgd(eta)), player="a", steps=1, step=eta),
    "runge_kutta_2": lambda eta: runge_kutta(_sgd(eta), step=eta, order=2),
    "runge_kutta_4": lambda eta: runge_kutta(_sgd(eta), step=eta, order=4),
    "lookahead": lambda eta: lookahead(simultaneous(_sgd(eta)), k=5, alpha=0.5),
}
MULTIPLIERS: dict[str, Callable[..., np.ndarray]] = {  # z is multiplied by this each step
    "simultaneous": simultaneous_multiplier,
    "proximal_point": proximal_multiplier,
    "competitive": proximal_multiplier,
    "extragradient": extragradient_multiplier,
    "consensus": lambda eta: consensus_multiplier(eta, 1.0),
    "symplectic": lambda eta: consensus_multiplier(eta, 1.0),
    "opponent_lookahead": lambda eta: opponent_lookahead_multiplier(eta, eta),
    "lola": lambda eta: lola_multiplier(eta, eta),
    "runge_kutta_2": lambda eta: runge_kutta_multiplier(eta, 2),
    "runge_kutta_4": lambda eta: runge_kutta_multiplier(eta, 4),
}
IN_THE_PLANE = ("simultaneous", "alternating", "extragradient", "lola", "consensus")
# Rules that share a factor share an axes: explicit, looking ahead, damped or anticipating.
PANELS = {
    "explicit": ("simultaneous", "alternating", "heavy_ball", "runge_kutta_2", "runge_kutta_4"),
    "looking ahead": ("extragradient", "optimistic", "past_extragradient", "lookahead", "proximal_point"),
    "momentum and adjustments": ("negative_momentum", "consensus", "symplectic"),
    "anticipating the opponent": ("opponent_lookahead", "lola", "unrolled", "competitive"),
}


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
    rate_points: int = 24
    """Step sizes between 0.05 and 1.2 at which each rule's factor is measured."""

    def __post_init__(self):
        if self.steps < 1 or self.closes_after < 3 or self.rate_points < 1:
            raise ConfigError(
                f"--steps is {self.steps}, --closes-after {self.closes_after} and --rate-points {self.rate_points}, "
                "expected at least 1, 3 and 1"
            )
        if not 0 < self.eta < 2:
            raise ConfigError(f"--eta is {self.eta}, expected 0 < eta < 2, where alternating play is bounded")


def compute(config: Config, workdir: Path) -> list[str]:
    """Play, compare with the closed forms, draw."""
    if config.random_start:
        start = np.array(config.saddle) + np.random.default_rng(config.seed).normal(size=2)
        config = replace(config, start=(float(start[0]), float(start[1])))
    etas = np.linspace(0.05, 1.2, config.rate_points)
    with jax.enable_x64(True):
        plays = [(rule(config.eta), config.steps) for rule in RULES.values()]
        closing = alternating(_sgd(closing_step(config.closes_after))), config.closes_after
        *played, (closed, _) = _play(config, [*plays, closing])
        factors = _factors(np.append(etas, config.eta))
    paths = {name: path for name, (path, _) in zip(RULES, played, strict=True)}
    skipped = {name: count for name, (_, count) in zip(RULES, played, strict=True)}
    said = {name: rejected(count, config.steps) for name, count in skipped.items()}
    orbits = {name: np.array(config.saddle) + orbit for name in RULES if (orbit := _orbit(name, config)) is not None}
    saddle = np.array(config.saddle)
    plane, rates = workdir / "phase_plane.png", workdir / "rates.png"
    phase_plane(
        {name: paths[name] for name in IN_THE_PLANE},
        plane,
        field=lambda a, b: (-(b - saddle[1]), a - saddle[0]),
        equilibrium=config.saddle,
        predicted={name: orbits[name] for name in IN_THE_PLANE},
        title=f"Update rules on v(a, b) = ab, step {config.eta:g}",
    )
    panels(_rate_panels(etas, factors), rates, title="Factor of the norm per step on v(a, b) = ab")
    return [
        *_rule_table(config, paths, skipped, orbits, {name: values[-1] for name, values in factors.items()}),
        "",
        *_orbit_table(config, paths, closed),
        *(f"{name}: {sentence}" for name, sentence in said.items() if sentence),
        str(plane),
        str(rates),
    ]


def _play(config: Config, plays: Sequence[tuple[Dynamics, int]]) -> list[tuple[np.ndarray, int]]:
    """Of each rule and number of steps the orbit, [steps + 1, 2] float64, and how many of its steps were rejected."""
    game = bilinear(saddle=config.saddle, start=config.start)
    ends = jax.jit(lambda: [simulate(game, dynamics, steps) for dynamics, steps in plays])()
    return [(np.stack([path["a"], path["b"]], axis=1), int(state.skipped)) for state, path in ends]


def _factors(etas: np.ndarray) -> dict[str, np.ndarray]:
    """The spectral radius of each rule's update at each step size, per step: [len(etas)].

    Over five steps, since lookahead synchronises every fifth; the update is linear, so any state will do.
    """
    game, key, steps = bilinear(), jax.random.key(0), 5

    def jacobian(rule, eta):
        dynamics = rule(eta)
        state = init_state(game, dynamics, key, None)
        state, _ = dynamics.step(game, state, None, key)  # the first step of the optimistic rule is special

        def advance(state, _):
            return dynamics.step(game, state, None, key)[0], update_jacobian(game, dynamics, state, None, key)

        return reduce(jnp.matmul, jax.lax.scan(advance, state, length=steps)[1][::-1])

    matrices = jax.jit(lambda etas: {name: jax.vmap(partial(jacobian, rule))(etas) for name, rule in RULES.items()})
    found = matrices(jnp.asarray(etas))
    return {name: np.abs(np.linalg.eigvals(np.asarray(found[name]))).max(-1) ** (1 / steps) for name in RULES}


@np.errstate(invalid="ignore")
def _orbit(name: str, config: Config) -> np.ndarray | None:
    """The closed-form orbit about the saddle, [steps + 1, 2]; None where only the factor is predicted.

    What is beyond a double is not finite, as in the figure of the norms, where it ends.
    """
    start, times = np.subtract(config.start, config.saddle), np.arange(config.steps + 1)
    z0 = complex(*start)
    if name == "alternating":
        values, vectors = np.linalg.eig(alternating_matrix(config.eta))
        return ((values ** times[:, None] * np.linalg.solve(vectors, start)) @ vectors.T).real
    if name == "optimistic":
        z: np.ndarray = optimistic_orbit(config.eta, z0, config.steps)
    elif name in MULTIPLIERS:
        z = z0 * MULTIPLIERS[name](config.eta) ** times
    else:
        return None
    return np.stack([z.real, z.imag], axis=1)


def _rate_panels(etas: np.ndarray, factors: dict[str, np.ndarray]) -> list[Panel]:
    fine = np.linspace(0.001, etas[-1], 400)

    def series(names: tuple[str, ...]) -> list[Series]:
        points = [Series(etas, factors[n][:-1], n.replace("_", " "), "points", i) for i, n in enumerate(names)]
        lines = [Series(fine, RATES[n](fine), "", "predicted", i) for i, n in enumerate(names)]
        return points + lines

    return [
        Panel(series(names), x=r"step size $\eta$", y="factor per step", title=title, ylim=(0.6, 1.4), lines={"": 1.0})
        for title, names in PANELS.items()
    ]


def _rule_table(config: Config, paths: dict, skipped: dict, orbits: dict, factors: dict) -> list[str]:
    rows = [
        f"{'rule':20} {'factor per step':>16} {'predicted':>16} {'difference':>11} {'orbit error':>12} "
        f"{'stable until':>13} {'best step: factor':>18}"
    ]
    for name in RULES:
        predicted = float(RATES[name](config.eta))
        taken = config.steps + 1 - skipped[name]  # the path stands still afterwards
        error = f"{np.abs(paths[name] - orbits[name])[:taken].max():.1e}" if name in orbits else ""
        limit = f"{STABLE_UNTIL[name]:.4f}" if name in STABLE_UNTIL else ""
        best = "{:.4f}: {:.4f}".format(*BEST_STEP[name]) if name in BEST_STEP else ""
        rows.append(
            f"{name:20} {factors[name]:16.12f} {predicted:16.12f} {abs(factors[name] - predicted):11.1e} {error:>12} "
            f"{limit:>13} {best:>18}"
        )
    return rows


@np.errstate(invalid="ignore")  # of infinite norms
def _orbit_table(config: Config, paths: dict, closed: np.ndarray) -> list[str]:
    eta, saddle = config.eta, np.array(config.saddle)
    spiral, ellipse = paths["simultaneous"] - saddle, paths["alternating"] - saddle
    invariant = alternating_invariant(ellipse[:, 0], ellipse[:, 1], eta)
    norm = np.linalg.norm(spiral, axis=1)
    rows = [
        ("simultaneous: final norm", norm[-1], norm[0] * abs(simultaneous_multiplier(eta)) ** config.steps, None),
        ("simultaneous: |mean of the path - saddle|", np.linalg.norm(spiral[:-1].mean(0)),
         np.linalg.norm(spiral[-1] - spiral[0]) / (eta * config.steps), None),
        ("alternating: a^2 + b^2 - eta ab", invariant.mean(), invariant[0], np.ptp(invariant)),
        (f"alternating, closed orbit: |mean of {config.closes_after} steps - saddle|",
         np.abs(closed[:-1].mean(0) - saddle).max(), 0, None),
    ]  # fmt: skip
    header = f"{'quantity':58} {'measured':>16} {'predicted':>16} {'difference':>11} {'spread':>9}"
    return [header, *(_row(*row) for row in rows)]


def _row(quantity: str, measured: float, predicted: float, spread: float | None) -> str:
    spread_text = "" if spread is None else f"{spread:9.1e}"
    return f"{quantity:58} {measured:16.12f} {predicted:16.12f} {abs(measured - predicted):11.1e} {spread_text:>9}"


SMOKE = {"steps": 40, "closes_after": 12, "rate_points": 4}
EXPERIMENT = launch.Experiment("bilinear", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
