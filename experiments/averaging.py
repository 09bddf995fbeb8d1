"""Averages of the players on v(a, b) = ab: which of them finds the saddle that the players circle.

Claim: an exponential moving average of alternating play runs on the players' own ellipse, smaller by
H = (1 - beta) / sqrt(1 - 2 beta cos phi + beta^2) with phi = 2 arcsin(eta / 2), so it never arrives. The uniform
average of alternating play arrives as 1/T, and exactly after each turn if the orbit closes; that of simultaneous play
diverges, as it is -i (z_T - z_0) / (eta T). With steps c / sqrt(t) simultaneous play still diverges, but its uniform
average falls as T^((c^2 - 1) / 2) if c < 1.
Paper: Yazici et al., The Unusual Effectiveness of Averaging in GAN Training, ICLR 2019 (exponential averages); Gidel
et al., A Variational Inequality Perspective on GANs, ICLR 2019 (uniform averages); the closed forms are derived in
ganjax/dynamics/predictions/averages.py.
Command: python experiments/averaging.py train --workdir runs/averaging
Time: 10 seconds.
Figure: runs/averaging/averaging.png: the orbit and its averages on the predicted ellipses; the size of the average
against its memory over H; the uniform average against T; the same with falling steps. Closed forms are dashed.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import launch
from ganjax.core import Dynamics
from ganjax.dynamics import Average, alternating, ema, simultaneous, tail_average
from ganjax.dynamics.predictions import (
    alternating_invariant,
    alternating_matrix,
    alternating_mean,
    closing_step,
    decaying_step_exponents,
    decaying_step_mean,
    ema_attenuation,
    ema_spiral_ratio,
    simultaneous_mean,
    simultaneous_multiplier,
)
from ganjax.errors import ConfigError
from ganjax.games import bilinear
from ganjax.report import Panel, Series, panels
from ganjax.training import population, rejected, simulate

SPIRAL = 1000  # steps of simultaneous play, whose norm grows by sqrt(1 + eta^2) in each


@dataclass(frozen=True)
class Config:
    """The game, its averages and how long they see it."""

    eta: float = 0.2
    """Step size of the orbits that exponential averages see."""
    start: tuple[float, float] = (1.0, 1.0)
    """Where (a, b) begins."""
    decays: tuple[float, ...] = (0.8, 0.9, 0.97)
    """Decays of the exponential averages that are drawn in the plane."""
    memories: int = 10
    """Decays beta at which the size of the average is measured, 1 / (1 - beta) from 2 to 300."""
    steps: int = 12_000
    """Steps of those runs, many times the longest memory."""
    closes_after: int = 60
    """Steps n of a closed orbit, played with eta = 2 sin(pi / n), for the uniform average."""
    turns: int = 20
    """Turns of that orbit that the uniform average sees."""
    c: tuple[float, ...] = (0.5, 0.9, 1.2)
    """Falling steps c / sqrt(t)."""
    falling_steps: int = 100_000
    """How many of them."""

    def __post_init__(self):
        if not 0 < self.eta < 2:
            raise ConfigError(f"--eta is {self.eta}, expected 0 < eta < 2, where alternating play is bounded")
        if not self.decays or not all(0 <= decay < 1 for decay in self.decays):
            raise ConfigError(f"--decays is {self.decays}, expected at least one number with 0 <= decay < 1")
        if not self.c or not all(0 < c <= 10 for c in self.c):  # steps above 2 grow: the first c^2 / 4 of them
            raise ConfigError(f"--c is {self.c}, expected at least one number with 0 < c <= 10")
        if not 1e-6 <= math.hypot(*self.start) <= 1000:  # play is linear: the picture is that of any other distance
            raise ConfigError(f"--start is {self.start}, expected a point between 1e-6 and 1000 from the saddle")
        if self.steps < 100 or self.falling_steps < 100:
            raise ConfigError(
                f"--steps is {self.steps} and --falling-steps {self.falling_steps}, expected at least 100"
            )
        if self.closes_after < 3 or self.turns < 1 or self.memories < 1:
            raise ConfigError(
                f"--closes-after is {self.closes_after}, --turns {self.turns} and --memories {self.memories}, "
                "expected at least 3, 1 and 1"
            )


def compute(config: Config, workdir: Path) -> list[str]:
    """Play, average, compare with the closed forms, draw."""
    memories = 1 - 1 / np.geomspace(2, 300, config.memories)
    decays = [float(decay) for decay in (*config.decays, *memories)]
    etas = [0.05, config.eta, 1.0]
    with jax.enable_x64(True):
        averages = [*(ema(decay) for decay in decays), tail_average()]
        circling = {eta: _play(config, alternating, eta, config.steps, *averages) for eta in etas}
        spiral, cut = _play(config, simultaneous, config.eta, SPIRAL, *(ema(decay) for decay in config.decays))
        closing, turning = closing_step(config.closes_after), config.closes_after * config.turns
        closed = {r: _play(config, r, closing, turning, tail_average()) for r in (simultaneous, alternating)}
        z, mean, skipped = _falling(config)
    said = {
        **{f"alternating, eta {eta:g}": sentence for eta, (_, sentence) in circling.items()},
        f"simultaneous, eta {config.eta:g}": cut,
        **{f"{rule.__name__}, closed orbit": sentence for rule, (_, sentence) in closed.items()},
        **{f"steps {c:g} / sqrt(t)": rejected(n, config.falling_steps) for c, n in zip(config.c, skipped, strict=True)},
    }
    orbits = {eta: paths for eta, (paths, _) in circling.items()}
    uniform = {rule: paths for rule, (paths, _) in closed.items()}
    out = workdir / "averaging.png"
    parts = [
        _plane(config, orbits[config.eta]),
        _sizes(config, memories, orbits),
        _uniform(config, uniform),
        _decay(config, mean),
    ]
    panels(parts, out, title="Averages of play on v(a, b) = ab")
    notes = [f"{name}: {sentence}" for name, sentence in said.items() if sentence]
    return [*_table(config, orbits[config.eta], spiral, uniform, (z, mean)), *notes, str(out)]


def _play(config: Config, rule, eta: float, steps: int, *averages: Average) -> tuple[np.ndarray, str]:
    """The path of the players and of each average, complex [1 + averages, steps + 1], and what its end is not worth."""
    dynamics = rule({player: optax.sgd(eta) for player in ("a", "b")})
    *paths, skipped = jax.jit(lambda: _paths(config, dynamics, steps, *averages))()
    return np.stack(paths), rejected(skipped, steps)


def _paths(config: Config, dynamics: Dynamics, steps: int, *averages: Average) -> tuple:
    """The paths of the players and of each average, complex [steps + 1] each, and how many steps were rejected."""

    def see(states, tree):
        states = tuple(a.update(tree, s) for a, s in zip(averages, states, strict=True))
        return states, tuple(a.value(s) for a, s in zip(averages, states, strict=True))

    state, path = simulate(bilinear(start=config.start), dynamics, steps)
    begin = tuple(a.init(jax.tree.map(lambda leaf: leaf[0], path)) for a in averages)
    _, means = jax.lax.scan(see, begin, path)
    return (*(tree["a"] + 1j * tree["b"] for tree in (path, *means)), state.skipped)


def _falling(config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The paths of the players and of their uniform average, complex [c, steps + 1] each, and rejected steps, [c]."""

    def run(c):
        sgd = optax.sgd(lambda count: c / jnp.sqrt(count + 1.0))
        return _paths(config, simultaneous({"a": sgd, "b": sgd}), config.falling_steps, tail_average())

    z, mean, skipped = population(run)(c=np.array(config.c))
    return np.asarray(z), np.asarray(mean), np.asarray(skipped)


def _size(z: np.ndarray, eta: float) -> np.ndarray:
    """The square root of `a^2 + b^2 - eta ab`, by which ellipses of alternating play differ."""
    return np.sqrt(alternating_invariant(z.real, z.imag, eta))


# -- figures ----------------------------------------------------------------------------------------------------------


def _plane(config: Config, paths: np.ndarray) -> Panel:
    """Two turns of the orbit and of the exponential averages once they have settled; the uniform average from 0 on."""
    eta, decays = config.eta, config.decays
    phi = 2 * np.arcsin(eta / 2)
    turns = 1 + int(np.ceil(4 * np.pi / phi))
    radius = _size(paths[0, :1], eta)
    angle = np.linspace(0, 2 * np.pi, 241)
    u, w = np.cos(angle) / np.sqrt(2 - eta), np.sin(angle) / np.sqrt(2 + eta)
    series = [Series(paths[0, :turns].real, paths[0, :turns].imag, "players", "points", 0)]
    for i, (decay, m) in enumerate(zip(decays, paths[1:], strict=False), start=1):
        series.append(Series(m[-turns:].real, m[-turns:].imag, f"EMA {decay:g}", "points", i))
    mean = paths[-1, : 3 * turns]
    series.append(Series(mean.real, mean.imag, "uniform mean", "line", len(decays) + 1))
    for i, size in enumerate([1.0, *ema_attenuation(np.array(decays), phi)]):
        series.append(Series(radius * size * (u - w), radius * size * (u + w), "", "predicted", i))
    series += [Series([config.start[0]], [config.start[1]], "start", "mark"), Series([0], [0], "", "star")]
    return Panel(series, x="$a$", y="$b$", title=rf"alternating play, $\eta$ = {eta:g}", equal=True)


def _sizes(config: Config, memories: np.ndarray, orbits: dict[float, np.ndarray]) -> Panel:
    fine = 1 - 1 / np.geomspace(1.5, 400, 200)
    first = 1 + len(config.decays)
    series = []
    for i, (eta, paths) in enumerate(orbits.items()):
        measured = _size(paths[first:-1, -1], eta) / _size(paths[0, -1], eta)
        series.append(Series(1 / (1 - memories), measured, rf"$\eta$ = {eta:g}", "points", i))
        predicted = ema_attenuation(fine, 2 * np.arcsin(eta / 2))
        series.append(Series(1 / (1 - fine), predicted, "", "predicted", i))
    return Panel(
        series,
        x=r"memory $1/(1-\beta)$, steps",
        y="size, EMA over players",
        title=r"exponential averages over $H(\beta)$",
        log="xy",
    )


def _uniform(config: Config, uniform: dict) -> Panel:
    eta, series = closing_step(config.closes_after), []
    seen = np.arange(1, config.closes_after * config.turns + 1)
    predicted = _predicted_means(config, seen)
    for i, (rule, (_, mean)) in enumerate(uniform.items()):
        series.append(Series(seen, np.abs(mean[:-1]), rule.__name__, "line", i))
        series.append(Series(seen, np.abs(predicted[rule]), "", "predicted", i))
    return Panel(
        series,
        x="steps averaged",
        y=r"$|$uniform mean $-$ saddle$|$",
        title=rf"constant steps, closed orbit: $\eta$ = 2 sin($\pi$/{config.closes_after})",
        log="y",
        ylim=(eta / seen[-1], 10.0),
    )


@np.errstate(invalid="ignore")  # a spiral ends where numbers do
def _predicted_means(config: Config, seen: np.ndarray) -> dict:
    """The uniform mean after each number of steps, from closed forms alone."""
    eta, z0 = closing_step(config.closes_after), complex(*config.start)
    spiral = z0 * simultaneous_multiplier(eta) ** seen
    values, vectors = np.linalg.eig(alternating_matrix(eta))
    ellipse = ((values ** seen[:, None] * np.linalg.solve(vectors, config.start)) @ vectors.T).real @ [1, 1j]
    return {
        simultaneous: simultaneous_mean(eta, z0, spiral, seen),
        alternating: alternating_mean(eta, z0, ellipse, seen),
    }


def _decay(config: Config, mean: np.ndarray) -> Panel:
    seen = np.unique(np.geomspace(1, config.falling_steps, 60).astype(int))
    z0, series = abs(complex(*config.start)), []
    for i, (c, m) in enumerate(zip(config.c, mean, strict=True)):
        exponent = decaying_step_exponents(c)[1]
        series.append(Series(seen, np.abs(m[seen - 1]), f"$c$ = {c:g}: $T^{{{exponent:.3g}}}$", "points", i))
        late = seen[seen >= 10]  # the prediction is of large T
        series.append(Series(late, z0 * decaying_step_mean(c, late), "", "predicted", i))
    return Panel(
        series,
        x="steps averaged, $T$",
        y=r"$|$uniform mean $-$ saddle$|$",
        title=r"simultaneous play, steps $c/\sqrt{t}$",
        log="xy",
    )


# -- table ------------------------------------------------------------------------------------------------------------


def _table(config: Config, paths: np.ndarray, spiral: np.ndarray, uniform: dict, falling: tuple) -> list[str]:
    eta, n = config.eta, config.closes_after
    phi, last = 2 * np.arcsin(eta / 2), n * config.turns
    rows = []
    for i, decay in enumerate(config.decays, start=1):
        ratio = _size(paths[i, -1], eta) / _size(paths[0, -1], eta)
        rows.append((f"alternating: |EMA {decay:g}| / |players|", ratio, ema_attenuation(decay, phi)))
    for i, decay in enumerate(config.decays, start=1):
        ratio = abs(spiral[i, -1] / spiral[0, -1])
        rows.append((f"simultaneous: |EMA {decay:g}| / |players|, t = {SPIRAL}", ratio, ema_spiral_ratio(decay, eta)))
    predicted = _predicted_means(config, np.array([last - n // 3, last]))
    for rule, (_, mean) in uniform.items():
        for place, seen in enumerate((last - n // 3, last)):
            found = abs(mean[seen - 1])
            rows.append((f"{rule.__name__}: |uniform mean|, T = {seen}", found, abs(predicted[rule][place])))
    late = np.unique(np.geomspace(config.falling_steps / 50, config.falling_steps, 100).astype(int))
    for c, z, mean in zip(config.c, *falling, strict=True):
        exponents = decaying_step_exponents(c)
        for what, path, expected in zip(("norm", "uniform mean"), (z[late], mean[late - 1]), exponents, strict=True):
            slope = np.polyfit(np.log(late), np.log(np.abs(path)), 1)[0]
            rows.append((f"steps {c:g} / sqrt(t): exponent of the {what}", slope, expected))
    header = f"{'quantity':50} {'measured':>15} {'predicted':>15} {'difference':>11}"
    return [header, *(f"{name:50} {m:15.9f} {p:15.9f} {abs(m - p):11.1e}" for name, m, p in rows)]


SMOKE = {"steps": 2000, "memories": 3, "turns": 3, "falling_steps": 2000}
EXPERIMENT = launch.Experiment("averaging", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
