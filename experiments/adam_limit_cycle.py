"""Adam on v(a, b) = ab neither finds the saddle nor runs away: it ends up on a circle, and the radius is known.

Claim: simultaneous Adam is attracted, from inside and outside, to the radius
R = lr sqrt(8 (1 + beta1) / ((1 - beta1)(1 - beta2))), alternating Adam to
R = lr sqrt(16 beta1 / ((1 - beta1)(1 - beta2))), if the second moment is slow: 1 - beta2 well below the turn per step.
A fast one changes the circle, and where beta2 = beta1 > 0 there is none: the radius grows on and on, as sqrt(t).
Paper: Kingma and Ba, Adam, 2015 (the optimiser); the radius is derived in ganjax/dynamics/predictions/adam.py.
Command: python experiments/adam_limit_cycle.py train --workdir runs/adam_limit_cycle
Time: 10 seconds.
Figure: runs/adam_limit_cycle/cycle.png, trajectories onto the predicted circle and their radius over the steps;
runs/adam_limit_cycle/radii.png, the radius against lr, and measured over predicted against 1 - beta2: one where the
theory holds; where beta2 is too fast for it, lines leave the frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import launch
from ganjax.dynamics import alternating, simultaneous
from ganjax.dynamics.predictions import (
    adam_angle,
    adam_radius,
    adam_slowness,
    alternating_adam_angle,
    alternating_adam_radius,
)
from ganjax.errors import ConfigError
from ganjax.games import bilinear
from ganjax.report import Panel, Series, panels
from ganjax.training import population, rejected, simulate

RADII: dict[Callable, Callable] = {simultaneous: adam_radius, alternating: alternating_adam_radius}
ANGLES: dict[Callable, Callable] = {simultaneous: adam_angle, alternating: alternating_adam_angle}
GREY = 6  # of the palette
EPS = 1e-30  # as good as none: with eps the gradient has a scale, and the radius is no multiple of lr


@dataclass(frozen=True)
class Config:
    """Adam's settings and how long it plays."""

    lr: float = 0.01
    """Adam's step size, wherever it is not varied."""
    b1: float = 0.5
    """beta1 of the trajectories; of alternating play it must not be 0, where the circle shrinks to a point."""
    b2: float = 0.99
    """beta2 of the trajectories and of the radius against lr."""
    plane_steps: int = 900
    """Steps of the trajectories in the plane, from 0.2 and 2 times the predicted radius."""
    all_b1: tuple[float, ...] = (-0.5, 0.0, 0.5, 0.9)
    """beta1 at which radii are measured; alternating play takes the positive ones."""
    all_b2: tuple[float, ...] = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
    """beta2 at which radii are measured."""
    all_lr: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    """Step sizes at which radii are measured."""
    steps: int = 60_000
    """Steps before a radius is measured: several times 4 / (1 - beta2), in which the radius settles."""
    measured: int = 20_000
    """The last steps, whose mean radius it is: several turns."""

    def __post_init__(self):
        if not (0 < self.b1 < 1 and 0 < self.b2 < 1):
            raise ConfigError(f"--b1 is {self.b1} and --b2 {self.b2}, expected both between 0 and 1")
        if not all(-1 < b1 < 1 for b1 in self.all_b1) or not any(b1 > 0 for b1 in self.all_b1):
            raise ConfigError(f"--all-b1 is {self.all_b1}, expected numbers between -1 and 1, one of them positive")
        if not self.all_b2 or not all(0 < b2 < 1 for b2 in self.all_b2):
            raise ConfigError(f"--all-b2 is {self.all_b2}, expected at least one number, all between 0 and 1")
        if not self.all_lr or not all(lr > 0 for lr in (self.lr, *self.all_lr)):
            raise ConfigError(f"--lr is {self.lr} and --all-lr {self.all_lr}, expected positive numbers")
        if not 0 < self.measured <= self.steps or self.plane_steps < 1:
            raise ConfigError(
                f"--measured is {self.measured}, --steps {self.steps} and --plane-steps {self.plane_steps}, "
                "expected 0 < measured <= steps and at least one step in the plane"
            )


def compute(config: Config, workdir: Path) -> list[str]:
    """Play from inside and outside, measure radii, draw."""
    with jax.enable_x64(True):
        found = {rule: [play(config, rule) for play in (_trajectories, _radii, _radii_by_lr)] for rule in RADII}
    paths, radii, by_lr = ({rule: parts[i][0] for rule, parts in found.items()} for i in range(3))
    cycle, radius = workdir / "cycle.png", workdir / "radii.png"
    panels(
        [*(_plane(config, rule, paths[rule][:2]) for rule in RADII), _approach(config, paths)],
        cycle,
        columns=3,
        title=rf"Adam on v(a, b) = ab, lr {config.lr:g}, $\beta_1$ = {config.b1:g}, $\beta_2$ = {config.b2:g}",
    )
    panels(
        [_lr_panel(config, by_lr), *(_ratio_panel(config, rule, radii[rule]) for rule in RADII)],
        radius,
        columns=3,
        title="Radius of Adam's limit cycle on v(a, b) = ab",
    )
    kinds = ("trajectories", "radii over beta", "radii over lr")
    said = ((rule, kind, part[1]) for rule, parts in found.items() for kind, part in zip(kinds, parts, strict=True))
    notes = [f"{rule.__name__}, {kind}: {sentence}" for rule, kind, sentence in said if sentence]
    return [*_table(config, radii), "", *_lr_table(config, by_lr), *notes, str(cycle), str(radius)]


def _play(rule: Callable, steps: int, lr, b1, b2, radius) -> tuple[jax.Array, jax.Array]:
    """Complex `z_0 ... z_T` from (radius, 0), and how many steps were rejected."""
    adam = optax.adam(lr, b1=b1, b2=b2, eps=EPS)
    state, path = simulate(bilinear(start=(radius, 0.0)), rule({"a": adam, "b": adam}), steps)
    return path["a"] + 1j * path["b"], state.skipped


def _radius(config: Config, rule: Callable, *setting) -> tuple[jax.Array, jax.Array]:
    """The mean of the last steps."""
    path, skipped = _play(rule, config.steps, *setting)
    return jnp.abs(path[-config.measured :]).mean(), skipped


def _trajectories(config: Config, rule: Callable) -> tuple[np.ndarray, str]:
    """From 0.2, 2 and 30 times the predicted radius, [3, steps + 1] complex, and what to say of them."""
    radius = RADII[rule](config.lr, config.b1, config.b2)
    steps = max(config.plane_steps, 40 * round(1 / (1 - config.b2)))
    run = lambda factor: _play(rule, steps, config.lr, config.b1, config.b2, factor * radius)  # noqa: E731
    path, skipped = population(run)(factor=np.array([0.2, 2.0, 30.0]))
    return np.asarray(path), rejected(skipped, steps)


def _b1(config: Config, rule: Callable) -> np.ndarray:
    return np.array([b1 for b1 in config.all_b1 if b1 > 0 or rule is simultaneous])


def _radii(config: Config, rule: Callable) -> tuple[np.ndarray, str]:
    """The radius from 0.3 and 3 times the predicted one, [2, b1, b2], and what to say of it."""

    b1, b2 = np.meshgrid(_b1(config, rule), config.all_b2, indexing="ij")

    def run(factor, setting):
        b1, b2, radius = setting
        return _radius(config, rule, config.lr, b1, b2, factor * radius)

    settings = [x.ravel() for x in (b1, b2, RADII[rule](config.lr, b1, b2))]
    radii, skipped = population(run)(factor=np.array([0.3, 3.0]), setting=settings)
    return np.asarray(radii).reshape(2, *b1.shape), rejected(skipped, config.steps)


def _radii_by_lr(config: Config, rule: Callable) -> tuple[np.ndarray, str]:
    """The radius from the same start for every lr, that of `config.lr`: [lr], and what to say of it."""
    start = RADII[rule](config.lr, config.b1, config.b2)

    def run(lr):
        return _radius(config, rule, lr, config.b1, config.b2, start)

    radii, skipped = population(run)(lr=np.array(config.all_lr))
    return np.asarray(radii), rejected(skipped, config.steps)


# -- figures ----------------------------------------------------------------------------------------------------------


def _plane(config: Config, rule: Callable, paths: np.ndarray) -> Panel:
    shown = paths[:, : config.plane_steps + 1]
    series = [
        Series(z.real, z.imag, name, "line", i)
        for i, (name, z) in enumerate(zip(("from 0.2 R", "from 2 R"), shown, strict=True))
    ]
    series += [Series(shown[:, 0].real, shown[:, 0].imag, "start", "mark"), Series([0], [0], "", "star")]
    radius = float(RADII[rule](config.lr, config.b1, config.b2))
    angle = np.linspace(0, 2 * np.pi, 241)
    circle = radius * np.cos(angle), radius * np.sin(angle)
    series.append(Series(*circle, f"predicted R = {radius:.3g}", "predicted", GREY))
    return Panel(series, x="$a$", y="$b$", title=f"{rule.__name__}, {config.plane_steps} steps", equal=True)


def _approach(config: Config, paths: dict[Callable, np.ndarray]) -> Panel:
    series = []
    for i, rule in enumerate(RADII):
        radius = RADII[rule](config.lr, config.b1, config.b2)
        for z in paths[rule]:
            steps = np.arange(len(z))
            series.append(Series(steps, np.abs(z) / radius, rule.__name__, "line", i))
    return Panel(
        series, x="step", y="radius over predicted", title="from 0.2, 2 and 30 R", log="y", lines={"predicted": 1.0}
    )


def _lr_panel(config: Config, by_lr: dict[Callable, np.ndarray]) -> Panel:
    lr, series = np.array(config.all_lr), []
    for i, rule in enumerate(RADII):
        series.append(Series(lr, by_lr[rule], rule.__name__, "points", i))
        series.append(Series(lr, RADII[rule](lr, config.b1, config.b2), "", "predicted", i))
    title = rf"$\beta_1$ = {config.b1:g}, $\beta_2$ = {config.b2:g}"
    return Panel(series, x="step size lr", y="radius", title=title, log="xy")


def _ratio_panel(config: Config, rule: Callable, radii: np.ndarray) -> Panel:
    b2, series = np.array(config.all_b2), []
    for b1, measured in zip(_b1(config, rule), radii[1], strict=True):
        ratio = measured / RADII[rule](config.lr, b1, b2)
        tint = config.all_b1.index(float(b1))
        series.append(Series(1 - b2, ratio, "", "line", tint))
        series.append(Series(1 - b2, ratio, rf"$\beta_1$ = {b1:g}", "points", tint))
    return Panel(
        series,
        x=r"$1 - \beta_2$",
        y="radius, measured over predicted",
        title=f"{rule.__name__} play",
        log="x",
        ylim=(0.97, 1.12),
        lines={"predicted": 1.0},
    )


# -- tables -----------------------------------------------------------------------------------------------------------


def _table(config: Config, radii: dict[Callable, np.ndarray]) -> list[str]:
    """Radii in units of lr; `slowness` says how far the setting is from the limit in which the prediction is exact."""
    rows = [
        f"{'radius / lr':13} {'beta1':>6} {'beta2':>6} {'from 0.3 R':>11} {'from 3 R':>11} {'predicted':>11} "
        f"{'difference':>11} {'slowness':>9}"
    ]
    for rule, measured in radii.items():
        for i, b1 in enumerate(_b1(config, rule)):
            for j, b2 in enumerate(config.all_b2):
                inside, outside = measured[:, i, j] / config.lr
                predicted = RADII[rule](1.0, b1, b2)
                slow = adam_slowness(ANGLES[rule](b1, b2), b1, b2)
                rows.append(
                    f"{rule.__name__:13} {b1:6g} {b2:6g} {inside:11.3f} {outside:11.3f} {predicted:11.3f} "
                    f"{outside / predicted - 1:+11.3%} {slow:9.3f}"
                )
    return rows


def _lr_table(config: Config, by_lr: dict[Callable, np.ndarray]) -> list[str]:
    rows = [f"{'radius':13} {'lr':>8} {'measured':>12} {'predicted':>12} {'difference':>11}"]
    for rule, measured in by_lr.items():
        for lr, radius in zip(config.all_lr, measured, strict=True):
            predicted = RADII[rule](lr, config.b1, config.b2)
            rows.append(f"{rule.__name__:13} {lr:8g} {radius:12.6f} {predicted:12.6f} {radius / predicted - 1:+11.3%}")
    return rows


SMOKE = {"plane_steps": 200, "all_b1": (0.0, 0.5), "all_b2": (0.9, 0.99), "steps": 4000, "measured": 1000}
EXPERIMENT = launch.Experiment("adam_limit_cycle", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
