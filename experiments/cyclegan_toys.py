"""CycleGAN on a few numbers: why the way back says nothing of colours, and what the identity loss does about it.

Claim: cycle consistency damps the product of both translators and nothing else; the inversion is an equilibrium with a
basin of its own, which the identity loss moves and removes only beyond a threshold that grows with the weight of the
cycle; between Gaussians every rotation of a solution is one, and what is paid beside the cycle picks which.
Paper: Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, 2017; Moriakov,
Adler and Teuwen, Kernel of CycleGAN as a Principal Homogeneous Space, 2020.
Command: python experiments/cyclegan_toys.py train --workdir runs/cyclegan_toys
Time: about 10 seconds.
Figure: runs/cyclegan_toys/spectrum.png, eigenvalues at the solution over the weight of the cycle, closed forms dashed;
basins.png, where translators w and v that begin anywhere end, red at +1 and blue at -1, under a growing identity loss;
rotations.png, what a displacement and what the identity loss ask of the maps between two Gaussians, over their
rotation, and where training ends.
The games are exact: G(a) = w a, F(b) = v b with critics psi x^2, and G(a) = W a, F(b) = V b with critics x^T Psi x.
What we measured, with cycle weight 1 and penalty 0.5: half of all starts end at the inversion without an identity loss,
0.36, 0.25 and 0.07 of them with one of 0.33, 0.50 and 0.60 of the threshold, and none with 0.65, though the inverted
root is there until 1 and stable until 0.92: critics that begin at 0 lead past it. Between Gaussians whose covariances
do not commute a displacement loss ends at 0.79 of E|Wa - a|^2, the optimal transport, the identity loss at 0.97, and
nothing beside the cycle at 1.01, near where it began.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import launch
from ganjax.config import require
from ganjax.core import Moment
from ganjax.dynamics import View, extragradient, field_jacobian, predictions, simultaneous
from ganjax.games import four_scalars, linear_gaussian
from ganjax.games.translation import D_A, D_B, F, G
from ganjax.games.unpaired import inverted, transport_map
from ganjax.report import Heat, Panel, Series, panels
from ganjax.training import population, simulate

PLAYERS = (G, F, D_A, D_B)
EQUAL, ASKEW = "covariances that commute", "covariances that do not"


@dataclass(frozen=True)
class Config:
    """The games and how they are played; nothing is random."""

    cycle: float = 1.0
    """lambda of the basins."""
    penalty: float = 0.5
    """gamma, of the critics' weights, in the basins."""
    grid: int = 41
    """Values of w and of v at the start."""
    h: float = 0.02
    """Step size of all players, who move at once; between Gaussians they look ahead."""
    steps: int = 3000
    """For the basins."""
    gaussian_steps: int = 10_000
    """For the maps between Gaussians."""
    seed: int = 0
    """Nothing here is random."""

    def __post_init__(self):
        for name in ("steps", "gaussian_steps"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "grid", self.grid >= 2, "at least 2")
        for name in ("cycle", "penalty"):
            require(self, name, 0 < getattr(self, name) <= 100, "positive and at most 100")
        require(self, "h", 0 < self.h <= 0.1, "positive and at most 0.1")


def compute(config: Config, workdir: Path) -> list[str]:
    """All three parts, as lines and figures."""
    with jax.enable_x64(True):
        return [*spectrum(workdir), *basins(config, workdir), *rotations(config, workdir)]


def spectrum(workdir: Path) -> list[str]:
    """Eigenvalues of the flow at (1, 1) over lambda, beside their closed forms."""

    def jacobian(cycle, identity):
        game = four_scalars(cycle=cycle, identity=identity)
        params, state = game.init(jax.random.key(0), None)
        return -field_jacobian(View(game, Moment(state, None, jax.random.key(0))), params)

    weights, dense = np.linspace(0, 3, 31), np.linspace(0, 3, 601)
    found = {
        mu: np.linalg.eigvals(population(jacobian)(cycle=weights, identity=np.array([mu]))[:, 0]) for mu in (0, 0.5)
    }
    pairs = zip(found[0], predictions.four_scalars_eigenvalues(weights), strict=True)
    away = max(np.abs(ordered(e) - ordered(x)).max() for e, x in pairs)

    def panel(part, name: str) -> Panel:
        measured = [
            Series(np.repeat(weights, 4), part(values).ravel(), f"identity {mu:g}", "points", tint)
            for tint, (mu, values) in enumerate(found.items())
        ]
        closed = [
            Series(dense, part(column), "closed form" if i == 0 else "", "predicted", 0)
            for i, column in enumerate(predictions.four_scalars_eigenvalues(dense).T)
        ]
        return Panel([*measured, *closed], r"cycle weight $\lambda$", f"{name} part", f"{name} parts at (1, 1)")

    figure = workdir / "spectrum.png"
    panels([panel(np.real, "real"), panel(np.imag, "imaginary")], figure, title="The way back damps one of two modes")
    return [
        f"largest |eigenvalue - closed form| over {len(weights)} cycle weights: {away:.1e}",
        f"slowest decay with the identity loss 0.5, at any of them: {-found[0.5].real.max():.3f} a unit of time",
        str(figure),
    ]


def ordered(values: np.ndarray) -> np.ndarray:
    """Complex numbers by their real, then by their imaginary parts, of which rounding errors say nothing."""
    return values[np.lexsort((values.imag.round(5), values.real.round(5)))]


def basins(config: Config, workdir: Path) -> list[str]:
    """Where (w, v) that begin anywhere end, without critics' help at first, over the weight of the identity loss."""
    threshold = (config.cycle + 1 / config.penalty) / 2
    shares = np.array([0.0, 1 / 3, 0.5, 0.6, 0.65, 0.7])
    axis = np.linspace(-1.5, 1.5, config.grid)

    def end(identity, w, v):
        start = (w, v, 0.0, 0.0)
        game = four_scalars(cycle=config.cycle, penalty=config.penalty, identity=identity, start=start)
        rule = simultaneous(dict.fromkeys(PLAYERS, optax.sgd(config.h)))
        state, _ = simulate(game, rule, config.steps, keep=None)
        return jnp.stack([state.params[G], state.params[F]])

    ends = np.asarray(population(end)(identity=shares * threshold, w=axis, v=axis))  # [M, W, V, 2]
    lines = [f"{'identity':>9}{'of threshold':>14}{'inverted root':>15}{'found at':>10}{'of all starts':>15}"]
    parts = []
    for share, found in zip(shares, ends, strict=True):
        both = (found < 0).all(-1)
        root = inverted(config.cycle, config.penalty, share * threshold)
        where = f"{np.median(found[both]):10.4f}" if both.any() else f"{'none':>10}"
        lines.append(f"{share * threshold:9.3f}{share:14.2f}{root:15.4f}{where}{both.mean():15.2f}")
        title = f"identity loss {share * threshold:.2f}, {share:.2f} of K / 2"
        parts.append(
            Heat(
                found.mean(-1).T, axis, axis, "w", "v", title, "mean of w and v at the end", limits=(-1, 1), centre=0.0
            )
        )
    figure = workdir / "basins.png"
    panels(parts, figure, columns=3, title="Colour inversion is a basin")
    return [*lines, str(figure)]


def covariances() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(A, B) of two pairs of Gaussians on the plane."""

    def turned(angle: float, values: tuple[float, float]) -> np.ndarray:
        q = rotation(angle)
        return q @ np.diag(values) @ q.T

    return {EQUAL: (np.diag([2.0, 0.5]), np.diag([0.5, 1.5])), ASKEW: (np.diag([2.0, 0.5]), turned(0.9, (1.8, 0.2)))}


def rotation(angle: float) -> np.ndarray:
    """[2, 2]."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def paid(w: np.ndarray, covariance: np.ndarray) -> float:
    """`E|W x - x|^2` of x ~ N(0, covariance)."""
    away = w - np.eye(len(w))
    return float(np.trace(away @ covariance @ away.T))


def rotations(config: Config, workdir: Path) -> list[str]:
    """Which of all maps with `W A W^T = B` training ends at."""
    pairs = covariances()
    weights = {"nothing": (0.0, 0.0), "identity": (0.05, 0.0), "displacement": (0.0, 0.05)}

    def train(pair, weight):
        game = linear_gaussian(pair[0], pair[1], identity=weight[0], displacement=weight[1])
        rule = extragradient(dict.fromkeys(PLAYERS, optax.sgd(config.h)))
        return simulate(game, rule, config.gaussian_steps, keep=None)[0].params[G]

    stacked = np.stack([np.stack(pair) for pair in pairs.values()])
    maps = np.asarray(population(train)(pair=stacked, weight=np.array(list(weights.values()))))
    lines = [
        f"{'pair':26}{'paid beside':14}{'|W A W^T - B|':>14}{'E|Wa - a|^2':>13}{'E|Wb - b|^2':>13}{'off transport':>15}"
    ]
    parts = []
    for (name, (a, b)), found in zip(pairs.items(), maps, strict=True):
        best = transport_map(a, b)
        for label, w in zip(weights, found, strict=True):
            error, apart = np.abs(w @ a @ w.T - b).max(), np.abs(w - best).max()
            lines.append(f"{name:26}{label:14}{error:14.4f}{paid(w, a):13.4f}{paid(w, b):13.4f}{apart:15.4f}")
        parts.append(_orbit(name, a, b, dict(zip(weights, found, strict=True))))
    figure = workdir / "rotations.png"
    panels(parts, figure, title="What picks one of all maps with the right covariance")
    return [*lines, str(figure)]


def _orbit(name: str, a: np.ndarray, b: np.ndarray, found: dict[str, np.ndarray]) -> Panel:
    """Both terms over the angle of Q in `W = transport map turned`, and where training ended."""
    angles = np.linspace(-np.pi, np.pi, 361)
    root = np.linalg.cholesky(b)
    base = np.linalg.solve(root, transport_map(a, b))  # W = root Q base, and Q = 1 is the transport
    orbit = [root @ rotation(angle) @ base for angle in angles]
    series = []
    for tint, (label, covariance) in enumerate((("displacement", a), ("identity", b))):
        q = np.linalg.solve(root, found[label]) @ np.linalg.inv(base)
        at = np.arctan2(q[1, 0], q[0, 0])
        series.append(Series(angles, [paid(w, covariance) for w in orbit], f"{label} loss", "line", tint))
        series.append(
            Series([at], [paid(found[label], covariance)], f"trained by {label}", "star" if tint else "mark", tint)
        )
    return Panel(series, "angle from the optimal transport", "paid", name)


SMOKE = {"grid": 3, "steps": 5, "gaussian_steps": 5}
EXPERIMENT = launch.Experiment("cyclegan_toys", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
