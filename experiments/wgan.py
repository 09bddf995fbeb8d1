"""Four ways to bound a critic's slope, side by side on one budget.

Claim: a Wasserstein critic needs a bounded slope. Weight clipping pushes the weights to their bounds and leaves a
critic that is far from the slope 1; a gradient penalty keeps the slope near 1 between data and fakes.
Paper: Arjovsky et al., Wasserstein GAN, 2017; Gulrajani et al., Improved Training of Wasserstein GANs, 2017 (figure
1); Petzka et al., On the regularization of Wasserstein GANs, 2018; Miyato et al., Spectral Normalization, 2018.
Command: python experiments/wgan.py train --workdir runs/wgan
Time: about 90 seconds on 2 CPU cores.
Figure: runs/wgan/samples.png, samples of the first seed over the ring; runs/wgan/critics.png, the critic's weights and
the lengths of its gradient between data and fakes.
W1 is exact on a sample of 500 points, by linear assignment; "says" is the critic's own estimate on the same points,
divided by the steepest slope that was found, since a critic of slope k estimates k W1.
Measured with seeds 0 to 2: under clipping 32 % of the weights lie at their bounds, the slope is 0.4 and 27 % of the
samples are of high quality; GP and LP have a slope of 1.4 (their weight is small) and 73 % and 74 %, spectral
normalisation a slope of 0.16 and 59 %. All find the 8 modes. On this easy ring the critic without any bound does as
well as GP (74 %), at a slope of 1,700. No critic's normalised estimate comes near W1: its steepest slope is not where
mass has to move.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array
from ganjax.data import Dataset
from ganjax.data.points import ring, ring_centres
from ganjax.dynamics import alternating, clipped
from ganjax.errors import ConfigError, did_you_mean
from ganjax.games import Term, gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.metrics import modes, perfect_modes
from ganjax.models import mlp
from ganjax.penalties import gradient_penalty
from ganjax.report import Panel, Series, panels
from ganjax.spectral import spectral_norm
from ganjax.training import drawn, population, simulate


class Constraint(NamedTuple):
    """How the critic's slope is bounded."""

    terms: Mapping[str, Term] = {}  # of the critic
    clip: float | None = None
    spectral: bool = False


def constraints(config: "Config") -> dict[str, Constraint]:
    """Those that can be compared."""
    return {
        "none": Constraint(),
        "clipping": Constraint(clip=config.clip),
        "GP": Constraint(terms={"gp": Term(gradient_penalty(), config.penalty)}),
        "LP": Constraint(terms={"lp": Term(gradient_penalty(one_sided=True), config.penalty)}),
        "spectral": Constraint(spectral=True),
    }


@dataclass(frozen=True)
class Config:
    """The budget that every constraint gets."""

    seeds: int = 3
    """Runs of each constraint, trained together."""
    steps: int = 3000
    """Steps of the generator."""
    turns: int = 5
    """Of the critic in each step."""
    width: int = 64
    """Of the two hidden layers of both networks."""
    batch_size: int = 256
    """Examples of each turn."""
    learning_rate: float = 1e-3
    """Of Adam (0.5, 0.9)."""
    sigma: float = 0.1
    """Standard deviation of each of the 8 Gaussians; the ring has radius 2."""
    clip: float = 0.1
    """Bound of every weight under clipping (0.01 in the paper, for much wider networks)."""
    penalty: float = 0.1
    """Weight of the gradient penalties, as in the toy experiments of the WGAN-GP paper."""
    seed: int = 0
    """The first of the seeds."""
    constraints: tuple[str, ...] = ()
    """Which constraints to train under; all by default."""

    def __post_init__(self):
        for name in ("seeds", "steps", "turns", "width", "batch_size"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "sigma", "clip", "penalty"):
            require(self, name, getattr(self, name) > 0, "a positive number")
        for name in self.constraints:
            if name not in constraints(self):
                raise ConfigError(f'--constraints: "{name}" is unknown{did_you_mean(name, constraints(self))}')


POINTS = 500


def compute(config: Config, workdir: Path) -> list[str]:
    """Train under every constraint, judge, draw."""
    data = Dataset(ring(100_000, sigma=config.sigma)[0])
    real = ring(POINTS, sigma=config.sigma, seed=1)[0]
    perfect = perfect_modes(8, 2500)
    rows = [
        f"seeds {config.seed} to {config.seed + config.seeds - 1}, {config.steps:,} steps of {config.turns} critic "
        "turns; mean +- standard deviation",
        f"{'constraint':12}{'modes':>14}{'quality':>16}{'reverse KL':>16}{'W1 exact':>16}{'critic says':>16}"
        f"{'slope between':>16}{'at the bound':>13}{'skipped':>8}",
    ]
    scatters, weights, slopes = [], [], []
    known = constraints(config)
    for tint, name in enumerate(tqdm(config.constraints or known, unit="constraint")):
        constraint = known[name]
        found = _train(config, constraint, data, real)
        exact = np.array([_assignment(real, x[:POINTS]) for x in found["x"]])
        said = found["estimate"] / np.maximum(found["slopes"].max(1), 1e-9)
        cells = [found["modes"], found["quality"], found["reverse_kl"], exact, said, found["slopes"].mean(1)]
        spread = lambda v: v.std(ddof=1) if len(v) > 1 else 0.0  # noqa: E731
        bound = f"{(found['weights'][0] >= 0.99 * config.clip).mean():13.0%}" if constraint.clip else f"{'':13}"
        rows.append(
            f"{name:12}{cells[0].mean():8.1f} +- {spread(cells[0]):.1f}"
            + "".join(f"{v.mean():9.3f} +- {spread(v):.3f}" for v in cells[1:])
            + bound + f"{int(found['skipped'].sum()):8d}"
        )  # fmt: skip
        near = [Series(real[:, 0], real[:, 1], "real", "points", 6)]
        near.append(Series(found["x"][0][:1000, 0], found["x"][0][:1000, 1], "generated", "points", 0))
        scatters.append(Panel(near, title=name, xlim=(-3, 3), ylim=(-3, 3), equal=True))
        weights.append(_histogram(np.log10(np.maximum(found["weights"][0], 1e-4)), (-4, 1.5), name, tint))
        slopes.append(_histogram(np.log10(np.maximum(found["slopes"][0], 1e-4)), (-3, 3), name, tint))
    rows.append(
        f"{'perfect':12}{8:8.1f}{'':6}{perfect.high_quality:9.3f}{'':9}{perfect.reverse_kl:7.3f}{'':9}"
        f"{_assignment(real, ring(POINTS, sigma=config.sigma, seed=2)[0]):7.3f}"
    )
    figures = workdir / "samples.png", workdir / "critics.png"
    panels(scatters, figures[0], columns=5, size=(2.3, 2.5), title=f"Seed {config.seed} after training")
    parts = [
        Panel(weights, "log10 |weight| of the critic", "density", "weights"),
        Panel(slopes, "log10 |grad D| between data and fakes", "density", "slopes; 0 is the slope 1"),
    ]
    panels(parts, figures[1], columns=2)
    return [*rows, *map(str, figures)]


def _train(config: Config, constraint: Constraint, data: Dataset, real: np.ndarray) -> dict[str, Any]:
    """What all seeds lead to; leading axis [seeds]."""
    generator = mlp.Generator((2,), (config.width,) * 2, output=mlp.identity, initialisation="uniform")
    critic = mlp.Discriminator((config.width,) * 2, initialisation="uniform")
    prior, norm = normal_prior(2), spectral_norm() if constraint.spectral else None
    game = gan(
        generator, critic, LOSSES["wasserstein"], prior=prior, terms={"discriminator": constraint.terms},
        spectral={} if norm is None else {"discriminator": norm},
    )  # fmt: skip
    adam = optax.adam(config.learning_rate, b1=0.5, b2=0.9)
    own = clipped(adam, constraint.clip) if constraint.clip else adam
    dynamics = alternating({"discriminator": own, "generator": adam}, turns={"discriminator": config.turns})
    batch, draw = drawn(data, config.batch_size * dynamics.slices), sampler(generator, prior)

    def one(seed: Array) -> dict[str, Array]:
        key = jax.random.key(seed)
        state, _ = simulate(game, dynamics, config.steps, key=key, sample=batch, keep=None)
        x = draw(state.weights, key, jnp.arange(2500))
        params = state.params["discriminator"]
        if norm is not None:
            params = norm.normalise(params, state.net_state["discriminator"]["spectral"])

        def judge(x: Array) -> Any:
            return critic.apply({"params": params}, x, train=True)

        e = jax.random.uniform(key, (POINTS, 1))
        between = e * real + (1 - e) * x[:POINTS]
        found = modes(x, jnp.asarray(ring_centres()), config.sigma)
        return {
            "x": x,
            "modes": found.captured,
            "quality": found.high_quality,
            "reverse_kl": found.reverse_kl,
            "slopes": jnp.linalg.norm(jax.grad(lambda x: judge(x).sum())(between), axis=-1),
            "weights": jnp.abs(jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])),
            "estimate": judge(jnp.asarray(real)).mean() - judge(x[:POINTS]).mean(),
            "skipped": state.skipped,
        }

    return {k: np.asarray(v) for k, v in population(one)(seed=config.seed + jnp.arange(config.seeds)).items()}


def _assignment(x: np.ndarray, y: np.ndarray) -> float:
    """W1 of two equal samples."""
    cost = np.linalg.norm(x[:, None] - np.asarray(y)[None], axis=-1)
    return float(cost[linear_sum_assignment(cost)].mean())


def _histogram(values: np.ndarray, reach: tuple[float, float], name: str, tint: int) -> Series:
    density, edges = np.histogram(np.clip(values, *reach), bins=56, range=reach, density=True)
    return Series((edges[1:] + edges[:-1]) / 2, density, name, tint=tint)


SMOKE = {"seeds": 1, "steps": 2, "width": 8, "batch_size": 16, "turns": 1, "constraints": ("clipping", "spectral")}
EXPERIMENT = launch.Experiment("wgan", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
