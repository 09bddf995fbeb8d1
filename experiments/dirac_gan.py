"""The Dirac-GAN: two numbers on which most ways to train a GAN either circle or converge.

Claim: plain, non-saturating and Wasserstein GANs don't converge in simultaneous play, nor do weight clipping and the
gradient penalties about a target, WGAN-GP, WGAN-LP and DRAGAN; they end on cycles of predicted size. R1, R2, instance
noise, consensus optimisation and the penalty of Nagarajan and Kolter converge at the predicted rate.
Paper: Mescheder, Geiger and Nowozin, Which Training Methods for GANs do actually Converge?, 2018, figures 1 to 3.
Command: python experiments/dirac_gan.py train --workdir runs/dirac_gan
Time: about fifteen seconds.
Figure: runs/dirac_gan/phase_planes.png, every variant in both plays over its vector field; eigenvalues.png, what
regularisation does to the eigenvalues of the flow; limit_cycles.png, the cycles of WGAN-GP, of clipping and of the
non-saturating GAN. Closed forms are dashed. The table compares the size of the orbit in its last third and the
spectral radius of a step at the origin with what is predicted, in float64.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import launch
from ganjax.core import Dynamics, Game, Moment
from ganjax.dynamics import (
    Adjustment,
    View,
    alternating,
    clipped,
    consensus,
    field_jacobian,
    gradient_norm,
    simultaneous,
    spectral_radius,
    update_jacobian,
)
from ganjax.dynamics.adjustments import adjusted
from ganjax.dynamics.predictions import (
    CURVATURE,
    SLOPE,
    alternating_multipliers,
    clipping_band,
    consensus_dirac_eigenvalues,
    critical_gamma,
    critical_noise,
    dirac_eigenvalues,
    gradient_norm_eigenvalues,
    gradient_penalty_amplitude,
    gradient_penalty_cycle,
    instance_noise_eigenvalues,
    non_saturating_flow,
    non_saturating_radius,
    penalty_eigenvalues,
    simultaneous_growth,
    simultaneous_multipliers,
)
from ganjax.errors import ConfigError
from ganjax.games import dirac_gan
from ganjax.report import Panel, Series, panels
from ganjax.training import init_state, rejected, simulate

Play = Literal["simultaneous", "alternating"]
PLAYS: dict[Play, Callable[..., Dynamics]] = {"simultaneous": simultaneous, "alternating": alternating}
TINTS: dict[Play, int] = {"simultaneous": 1, "alternating": 0}
GAN, WASSERSTEIN, CURVED = SLOPE["gan"], SLOPE["wasserstein"], CURVATURE["gan"]


@dataclass(frozen=True)
class Config:
    """The variants and how they are played; nothing is random."""

    h: float = 0.2
    """Step size of both players."""
    steps: int = 500
    """How many steps to play."""
    start: tuple[float, float] = (1.0, 1.0)
    """Where (theta, psi) begins."""
    gamma: float = 0.3
    """Weight of R1 and R2; R1 is also played with its critical weight."""
    clip: float = 1.0
    """The bound c of the clipped WGAN's psi."""
    gp_gamma: float = 0.7
    """Weight of the penalties about a target: WGAN-GP, WGAN-LP, DRAGAN."""
    target: float = 1.0
    """The slope g0 that these ask for."""
    noise: float = 0.7
    """Standard deviation sigma of the instance noise."""
    consensus: float = 1.0
    """Weight of consensus optimisation."""
    gradient_norm: float = 1.0
    """Weight of Nagarajan and Kolter's gradient norm."""
    cycle_steps: int = 60_000
    """How many steps to play for the sizes of cycles against h."""

    def __post_init__(self):
        if self.steps < 3 or self.cycle_steps < 3:
            raise ConfigError(f"--steps is {self.steps} and --cycle-steps {self.cycle_steps}, expected at least 3")
        if not 0 < self.h < self.gp_gamma < 2 - self.h:
            raise ConfigError(
                f"--h is {self.h} and --gp-gamma {self.gp_gamma}, expected 0 < h < gp-gamma < 2 - h, where WGAN-GP has "
                "its limit cycle"
            )
        for name in ("gamma", "clip", "target", "noise", "consensus", "gradient_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected a positive number")
        if not 0 < np.hypot(*self.start) < 100:
            raise ConfigError(f"--start is {self.start}, expected a point within 100 of the origin, and not the origin")


# -- the variants and what is predicted of them -----------------------------------------------------------------------


class Size(NamedTuple):
    """What the orbit of one play is held against."""

    what: str
    measured: Callable[[np.ndarray], float]  # of the orbit, [T, 2]
    predicted: Callable[[np.ndarray], float] | None  # of the orbit where the law needs it


class Variant(NamedTuple):
    """A game, how its players move, and its closed forms."""

    name: str
    game: Game
    eigenvalues: np.ndarray | None  # [2] of the flow at the origin; None where it has no derivative there
    sizes: Sequence[Size]  # [2] in simultaneous and in alternating play
    slope: float = GAN
    pulls: tuple[float, float] = (0.0, 0.0)  # of generator and discriminator on themselves, of the linear flow
    adjust: tuple[Adjustment, ...] = ()
    clip: float | None = None
    orbit: np.ndarray | None = None  # [n, 2] where the flow stays or ends, but for the origin


def _last(path: np.ndarray) -> np.ndarray:
    """The last third of an orbit, [T, 2] to [T / 3, 2]."""
    return path[-(len(path) // 3) :]


def _final(path: np.ndarray) -> float:
    return float(_radius(path)[-1])


def _widest(path: np.ndarray) -> float:
    return float(_radius(_last(path)).max())


def _mean(path: np.ndarray) -> float:
    return float(_radius(_last(path)).mean())


def _swing(path: np.ndarray) -> float:
    return float(np.abs(_last(path)[:, 0]).max())


BOUNDED = Size("bounded: largest radius", _widest, None)
ARRIVES = (Size("converges: final radius", _final, lambda path: 0.0),) * 2


def variants(config: Config) -> list[Variant]:
    """All of them, in the order of the figure."""
    return [*_unregularised(config), *_about_a_target(config), *_about_zero(config), *_of_the_field(config)]


def _unregularised(config: Config) -> list[Variant]:
    """Plain, non-saturating and Wasserstein games, the last with and without clipping."""
    h, start, c = config.h, config.start, config.clip
    r0 = float(np.hypot(*start))

    def grown(path: np.ndarray) -> float:
        return r0 * float(np.sqrt(simultaneous_growth(path[:-1, 0], path[:-1, 1], h).prod()))

    def flowing(path: np.ndarray) -> float:
        return float(_last(non_saturating_flow(h * np.arange(len(path)), r0)).mean())

    def wall(play: Play) -> Size:
        predicted = clipping_band(c, h, play)[1]
        return Size("cycle: largest radius", _widest, lambda path: predicted)

    saturating = Size("grows: final radius", _final, grown)
    spiral = Size("grows: final radius", _final, lambda path: r0 * (1 + h**2) ** ((len(path) - 1) / 2))
    slow = (
        Size("cycle: mean radius", _mean, lambda path: float(non_saturating_radius(h))),
        Size("converges slowly: mean radius", _mean, flowing),
    )
    neutral, slower = dirac_eigenvalues(GAN), dirac_eigenvalues(WASSERSTEIN)
    plain, critic = dirac_gan(start=start), dirac_gan("wasserstein", start=start)
    non_saturating = dirac_gan(start=start, non_saturating=True)
    return [
        Variant("GAN", plain, neutral, (saturating, BOUNDED), orbit=_circle(r0)),
        Variant("NS-GAN", non_saturating, neutral, slow, orbit=_circle(np.sqrt(2 * h))),
        Variant("WGAN", critic, slower, (spiral, BOUNDED), WASSERSTEIN, orbit=_circle(r0)),
        Variant(
            f"WGAN, clipped to {c:g}", critic, slower, [wall(play) for play in PLAYS], WASSERSTEIN,
            clip=c, orbit=_circle(c),
        ),
    ]  # fmt: skip


def _about_a_target(config: Config) -> list[Variant]:
    """Penalties that ask for a slope: WGAN-GP, WGAN-LP, DRAGAN."""
    h, gamma, target = config.h, config.gp_gamma, config.target

    def game(penalty: str) -> Game:
        return dirac_gan("wasserstein", start=config.start, penalty=penalty, gamma=gamma, target=target)

    def amplitude(play: Play) -> Size:
        predicted = gradient_penalty_amplitude(gamma, target, h, play)
        return Size("cycle: largest |theta|", _swing, lambda path: predicted)

    cycles = [amplitude(play) for play in PLAYS]
    one_sided = (
        Size("cycle: largest radius", _widest, None),
        Size("cycle: largest radius", _widest, lambda path: clipping_band(target, h, "alternating")[1]),
    )
    orbit = gradient_penalty_cycle(gamma, target)
    return [
        Variant("WGAN-GP", game("gp"), None, cycles, WASSERSTEIN, orbit=orbit),
        Variant(
            "WGAN-LP", game("lp"), dirac_eigenvalues(WASSERSTEIN), one_sided, WASSERSTEIN, orbit=_circle(target)
        ),
        Variant("DRAGAN", game("dragan"), None, cycles, WASSERSTEIN, orbit=orbit),
    ]  # fmt: skip


def _about_zero(config: Config) -> list[Variant]:
    """R1 and R2."""

    def variant(name: str, weight: float, **options: Any) -> Variant:
        game = dirac_gan(start=config.start, gamma=weight, **options)
        eigenvalues = penalty_eigenvalues(weight, GAN)
        return Variant(f"{name}, gamma {weight:g}", game, eigenvalues, ARRIVES, pulls=(0.0, -weight))

    return [
        variant("R1", config.gamma, penalty="r1"),
        variant("R1", critical_gamma(GAN), penalty="r1"),
        variant("R2", config.gamma, penalty="r2"),
        variant("NS-GAN + R1", config.gamma, penalty="r1", non_saturating=True),
    ]


def _of_the_field(config: Config) -> list[Variant]:
    """Noise on the examples, and adjustments of the field."""
    noise, gamma, norm = config.noise, config.consensus, config.gradient_norm
    plain = dirac_gan(start=config.start)
    return [
        Variant(
            f"instance noise {noise:g}", dirac_gan(start=config.start, instance_noise=noise),
            instance_noise_eigenvalues(noise, GAN, CURVED), ARRIVES, pulls=(0.0, 2 * CURVED * noise**2),
        ),
        Variant(
            f"consensus {gamma:g}", plain, consensus_dirac_eigenvalues(gamma, GAN), ARRIVES,
            pulls=(-gamma * GAN**2,) * 2, adjust=(consensus(gamma),),
        ),
        Variant(
            f"Nagarajan-Kolter {norm:g}", plain, gradient_norm_eigenvalues(norm, GAN), ARRIVES,
            pulls=(-norm * GAN**2, 0.0), adjust=(gradient_norm(norm, players=("generator",)),),
        ),
    ]  # fmt: skip


def predicted_rate(variant: Variant, eigenvalues: np.ndarray, play: Play, h: float) -> float:
    """The spectral radius of a step at the origin."""
    if play == "simultaneous":
        return float(np.abs(simultaneous_multipliers(eigenvalues, h)).max())
    return float(np.abs(alternating_multipliers(h, variant.slope, *variant.pulls)).max())


# -- playing ----------------------------------------------------------------------------------------------------------


def compute(config: Config, workdir: Path) -> list[str]:
    """Play, compare with the closed forms, draw."""
    with jax.enable_x64(True):
        found = variants(config)
        orbits, steps, notes = {}, {}, []
        for one, played in zip(found, _play(found, config), strict=True):
            orbits[one.name], steps[one.name], skipped = played
            said = {play: rejected(count, config.steps) for play, count in skipped.items()}
            notes += [f"{one.name}, {play}: {sentence}" for play, sentence in said.items() if sentence]
        figures = [
            _phase_planes(found, orbits, config, workdir / "phase_planes.png"),
            _eigenvalues(workdir / "eigenvalues.png"),
            _limit_cycles(orbits, config, workdir / "limit_cycles.png"),
        ]
        rows = [
            _row(one, play, size, orbits[one.name][play], steps[one.name][play], config.h)
            for one in found
            for play, size in zip(PLAYS, one.sizes, strict=True)
        ]
    header = (
        f"{'variant':24} {'play':12} {'orbit':29} {'measured':>10} {'predicted':>10} {'difference':>10}"
        f" {'rate':>12} {'predicted':>12} {'difference':>10}"
    )
    return [header, *rows, *notes, *map(str, figures)]


def _play(found: Sequence[Variant], config: Config) -> list[tuple[dict[str, np.ndarray], ...]]:
    """Orbits, [steps + 1, 2], Jacobians of a step at the origin, and rejected steps, of both plays of each variant."""

    def both(variant: Variant):
        orbits, jacobians, skipped = {}, {}, {}
        for play in PLAYS:
            dynamics = _dynamics(play, config.h, variant)
            orbits[play], skipped[play] = _path(variant.game, dynamics, config.steps)
            state = init_state(variant.game, dynamics, jax.random.key(0), None)
            origin = replace(state, params=jax.tree.map(jnp.zeros_like, state.params))
            jacobians[play] = update_jacobian(variant.game, dynamics, origin, None, jax.random.key(0))
        return orbits, jacobians, skipped

    return jax.tree.map(np.asarray, jax.jit(lambda: [both(one) for one in found])())


def _dynamics(play: Play, h: float | jax.Array, variant: Variant | None = None) -> Dynamics:
    discriminator = optax.sgd(h)
    if variant is not None and variant.clip is not None:
        discriminator = clipped(discriminator, variant.clip)
    adjust = () if variant is None else variant.adjust
    return PLAYS[play]({"generator": optax.sgd(h), "discriminator": discriminator}, adjust=adjust)


def _path(game: Game, dynamics: Dynamics, steps: int) -> tuple[jax.Array, jax.Array]:
    """The orbit, [steps + 1, 2], and how many of its steps were rejected."""
    state, path = simulate(game, dynamics, steps)
    return jnp.stack([path["generator"], path["discriminator"]], axis=-1), state.skipped


def _view(game: Game) -> View:
    return View(game, Moment({"generator": {}, "discriminator": {}}, None, jax.random.key(0)))


def _row(variant: Variant, play: Play, size: Size, orbit: np.ndarray, step: np.ndarray, h: float) -> str:
    measured = size.measured(orbit)
    text = f"{variant.name:24} {play:12} {size.what:29} {measured:10.6g}"
    if size.predicted is None:
        text += f" {'':>10} {'':>10}"
    else:
        predicted = size.predicted(orbit)
        text += f" {predicted:10.6g} {abs(measured - predicted):10.1e}"
    if variant.eigenvalues is None:
        return text
    rate, expected = spectral_radius(jnp.asarray(step)), predicted_rate(variant, variant.eigenvalues, play, h)
    return text + f" {rate:12.9f} {expected:12.9f} {abs(rate - expected):10.1e}"


# -- figures ----------------------------------------------------------------------------------------------------------


def _phase_planes(found: Sequence[Variant], orbits: dict, config: Config, out: Path) -> Path:
    """Arrows have the square root of the flow's length, so that slow flows show too."""
    half = 1.15 * max(2.0, *np.abs(config.start))
    nowhere = np.full((1, 2), np.nan)

    def at(one: Variant, theta, psi):
        params = {"generator": theta, "discriminator": psi}
        memories = tuple(a.init(params) for a in one.adjust)
        v = adjusted(_view(one.game), params, one.adjust, memories).gradients
        length = jnp.hypot(v["generator"], v["discriminator"])
        shorter = -1 / jnp.sqrt(jnp.maximum(length, 1e-9))
        return shorter * v["generator"], shorter * v["discriminator"]

    every = jax.jit(lambda a, b: [jax.vmap(jax.vmap(partial(at, one)))(a, b) for one in found])
    fields: list[Any] = []  # of all variants on the lattice, which is the same in every panel

    def field(place: int, a: np.ndarray, b: np.ndarray) -> Any:
        fields[:] = fields or every(a, b)
        return fields[place]

    def panel(place: int, one: Variant) -> Panel:
        series = [_line(orbits[one.name][play], play) for play in PLAYS]
        orbit = nowhere if one.orbit is None else one.orbit
        return Panel(
            [
                *series,
                Series(orbit[:, 0], orbit[:, 1], "predicted orbit or cycle", kind="predicted", tint=6),
                Series([config.start[0]], [config.start[1]], "start", kind="mark"),
                Series([0.0], [0.0], "equilibrium", kind="star"),
            ],
            x="theta", y="psi", title=one.name, xlim=(-half, half), ylim=(-half, half), equal=True,
            field=partial(field, place),
        )  # fmt: skip

    title = f"The Dirac-GAN, {config.steps} steps of {config.h:g}"
    panels([panel(*one) for one in enumerate(found)], out, columns=5, size=(2.6, 2.75), title=title)
    return out


def _eigenvalues(out: Path) -> Path:
    """What each regularisation does to the eigenvalues, up to three times its critical weight where it has one."""
    critical, sigma = critical_gamma(GAN), critical_noise(GAN, CURVED)
    norm = 2 / GAN
    sweeps: list[tuple[str, float, float | None, Callable, Callable]] = [
        ("R1, gamma 0 to 3", 3 * critical, critical, lambda g: penalty_eigenvalues(g, GAN),
         lambda g: (dirac_gan(penalty="r1", gamma=g), ())),
        ("consensus, gamma 0 to 3", 3 * critical, None, lambda g: consensus_dirac_eigenvalues(g, GAN),
         lambda g: (dirac_gan(), (consensus(g),))),
        (f"Nagarajan-Kolter, gamma 0 to {3 * norm:g}", 3 * norm, norm, lambda g: gradient_norm_eigenvalues(g, GAN),
         lambda g: (dirac_gan(), (gradient_norm(g, players=("generator",)),))),
        ("instance noise, sigma 0 to 2.45", np.sqrt(3) * sigma, sigma,
         lambda s: instance_noise_eigenvalues(s, GAN, CURVED), lambda s: (dirac_gan(instance_noise=s), ())),
    ]  # fmt: skip

    def jacobian(build: Callable, value: jax.Array) -> jax.Array:
        game, adjust = build(value)
        origin = {"generator": jnp.zeros(()), "discriminator": jnp.zeros(())}
        return -field_jacobian(_view(game), origin, adjust)

    values = [jnp.asarray(np.linspace(0, largest, 25)) for _, largest, *_ in sweeps]
    flows = [jax.vmap(partial(jacobian, build)) for *_, build in sweeps]
    matrices = jax.jit(lambda values: [flow(own) for flow, own in zip(flows, values, strict=True)])(values)
    parts = []
    for (title, largest, special, predict, _), matrix in zip(sweeps, matrices, strict=True):
        found = np.linalg.eigvals(np.asarray(matrix)).ravel()
        upper, lower = predict(np.linspace(0, largest, 601)).T
        plain = predict(0.0)
        turned = np.full(1, np.nan) if special is None else predict(special)[:1]
        parts.append(
            Panel(
                [
                    Series(found.real, found.imag, "measured", kind="points", tint=0),
                    Series(upper.real, upper.imag, "predicted", kind="predicted", tint=0),
                    Series(lower.real, lower.imag, kind="predicted", tint=0),
                    Series(plain.real, plain.imag, "no regularisation", kind="mark"),
                    Series(turned.real, turned.imag, "critical: nothing turns beyond", kind="star"),
                ],
                x="real part", y="imaginary part", title=title,
            )
        )  # fmt: skip
    panels(parts, out, columns=2, title="Eigenvalues of the flow at the origin of the Dirac-GAN")
    return out


def _limit_cycles(orbits: dict, config: Config, out: Path) -> Path:
    penalised, wall = orbits["WGAN-GP"], orbits[f"WGAN, clipped to {config.clip:g}"]

    def cycle(title: str, paths: dict[str, np.ndarray], orbit: np.ndarray) -> Panel:
        ends = [_line(paths[play][-config.steps // 2 :], play) for play in PLAYS]
        predicted = Series(orbit[:, 0], orbit[:, 1], "predicted, small steps", kind="predicted", tint=6)
        return Panel([*ends, predicted], x="theta", y="psi", title=title, equal=True)

    largest = min(0.7 * config.gp_gamma, 0.9 * (2 - config.gp_gamma))  # both plays have a cycle
    steps = np.geomspace(largest / 50, largest, 9)
    fine = np.geomspace(steps[0], steps[-1], 200)
    gp = dirac_gan("wasserstein", penalty="gp", gamma=config.gp_gamma, target=config.target, start=config.start)
    amplitudes = []
    for play, tint in TINTS.items():
        measured = np.abs(_ends(gp, play, steps, config.cycle_steps)[..., 0]).max(1)
        law = [gradient_penalty_amplitude(config.gp_gamma, config.target, h, play) for h in fine]
        amplitudes += [
            Series(steps, measured, play, kind="points", tint=tint),
            Series(fine, law, "predicted", kind="predicted", tint=tint),
        ]
    flow = gradient_penalty_amplitude(config.gp_gamma, config.target)

    steps = np.geomspace(0.03, 0.5, 9)
    radius = _radius(
        _ends(dirac_gan(non_saturating=True, start=config.start), "simultaneous", steps, config.cycle_steps)
    )
    panels(
        [
            cycle(f"WGAN-GP, gamma {config.gp_gamma:g}, h {config.h:g}", penalised, gradient_penalty_cycle(
                config.gp_gamma, config.target)),
            cycle(f"WGAN clipped to {config.clip:g}, h {config.h:g}", wall, _circle(config.clip)),
            Panel(amplitudes, x="step h", y="largest |theta| on the cycle", title="WGAN-GP", log="x",
                  lines={f"flow, {flow:.4f}": flow}),
            Panel(
                [
                    Series(steps, radius.mean(1), "simultaneous", kind="points", tint=1),
                    Series(steps, non_saturating_radius(steps), "predicted, sqrt(2h)", kind="predicted", tint=1),
                ],
                x="step h", y="radius of the cycle", title="NS-GAN", log="xy", xlim=(0.01, 1.0),
            ),
        ],
        out, columns=2, title="Limit cycles of the Dirac-GAN",
    )  # fmt: skip
    return out


def _line(path: np.ndarray, play: Play) -> Series:
    return Series(path[:, 0], path[:, 1], play, tint=TINTS[play])


def _ends(game: Game, play: Play, steps: np.ndarray, count: int) -> np.ndarray:
    """The last 1000 points of an orbit for each step size, [H, 1000, 2]."""
    run = jax.jit(jax.vmap(lambda h: _path(game, _dynamics(play, h), count)[0][-1000:]))
    return np.asarray(run(jnp.asarray(steps)))


def _radius(path: np.ndarray) -> np.ndarray:
    return np.hypot(path[..., 0], path[..., 1])


def _circle(radius: float, points: int = 361) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


SMOKE = {"steps": 30, "cycle_steps": 300}
EXPERIMENT = launch.Experiment("dirac_gan", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
