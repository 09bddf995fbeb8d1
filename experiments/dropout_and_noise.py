"""Noise where a GAN lacks it: on the instances, at the generator's output, inside the discriminator.

Claim: where data and fakes lie on thin sets that hardly meet, a discriminator tells them apart ever better and the
minimax generator learns little; noise on both makes the supports overlap, and dropout, kept random while the
generator's gradient is taken, keeps the discriminator from being sure.
Paper: Arjovsky and Bottou, Towards Principled Methods for Training GANs, 2017; Sonderby et al., Amortised MAP
Inference, 2017 (instance noise); Isola et al., Image-to-Image Translation, 2017 (dropout as noise).
Command: python experiments/dropout_and_noise.py train --workdir runs/dropout_and_noise
Time: about 2 minutes on 2 CPU cores.
Figure: runs/dropout_and_noise/samples.png, the first seed of each remedy over the data;
runs/dropout_and_noise/gradients.png, the length of the generator's gradient and the gap of the logits over training.
The data are 8 narrow Gaussians on a ring, five discriminator turns to one make the discriminator strong, and the cost
is minimax, which saturates; the non-saturating cost without noise is there to compare.
Measured with seeds 0 to 2: plain minimax finds 4.3 +- 3.5 modes, its logits drift 44 apart; with instance noise (0.4
apart), falling noise and dropout it finds all 8 in every seed, but only falling noise and dropout let the modes become
narrow. Noise at the generator's output alone does not help (6.3 +- 2.1 modes, logits 278 apart): it widens the fakes,
which are then easier to tell from the data. The gradient falls but does not vanish here (least length 0.06 to 0.6).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array, GameState, Moment
from ganjax.data import Dataset
from ganjax.data.points import ring, ring_centres
from ganjax.dynamics import View, alternating
from ganjax.dynamics.field import dot
from ganjax.errors import ConfigError, did_you_mean
from ganjax.games import Sight, gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.metrics import modes, perfect_modes
from ganjax.models import mlp
from ganjax.report import Panel, Series, panels
from ganjax.training import drawn, init_state, population, train_step


@dataclass(frozen=True)
class Config:
    """The budget that every remedy gets."""

    seeds: int = 3
    """Runs of each remedy, trained together."""
    steps: int = 4000
    """Steps of the generator."""
    turns: int = 5
    """Of the discriminator in each step."""
    width: int = 64
    """Of the two hidden layers of both networks."""
    batch_size: int = 128
    """Examples of each turn."""
    learning_rate: float = 1e-3
    """Of Adam (0.5, 0.999)."""
    sigma: float = 0.02
    """Standard deviation of each of the 8 Gaussians; the ring has radius 2."""
    noise: float = 0.5
    """Standard deviation of instance noise and of noise at the generator's output."""
    dropout: float = 0.3
    """Share of the discriminator's units that is dropped."""
    looks: int = 40
    """How often the gradient is measured."""
    seed: int = 0
    """The first of the seeds."""
    remedies: tuple[str, ...] = ()
    """Which remedies to train with; all by default."""

    def __post_init__(self):
        for name in ("seeds", "steps", "turns", "width", "batch_size", "looks"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "looks", self.looks <= self.steps, "no more than --steps")
        for name in ("learning_rate", "sigma"):
            require(self, name, getattr(self, name) > 0, "a positive number")
        require(self, "noise", self.noise >= 0, "at least 0")
        require(self, "dropout", 0 <= self.dropout < 1, "at least 0 and less than 1")
        for remedy in self.remedies:
            if remedy not in remedies(self):
                raise ConfigError(f'--remedies: "{remedy}" is unknown{did_you_mean(remedy, remedies(self))}')


class Remedy(NamedTuple):
    """What is made random."""

    loss: str = "minimax"
    instance: float = 0.0
    falling: bool = False  # of the instance noise, linearly to 0 at 80 % of training
    output: float = 0.0
    dropout: float = 0.0


def remedies(config: Config) -> dict[str, Remedy]:
    """Those that can be compared."""
    return {
        "minimax": Remedy(),
        "instance noise": Remedy(instance=config.noise),
        "falling noise": Remedy(instance=config.noise, falling=True),
        "output noise": Remedy(output=config.noise),
        "dropout": Remedy(dropout=config.dropout),
        "non-saturating": Remedy("non_saturating"),
    }


def compute(config: Config, workdir: Path) -> list[str]:
    """Train with every remedy, judge, draw."""
    points = ring(100_000, sigma=config.sigma)[0]
    data = Dataset(points)
    perfect = perfect_modes(8, 2500)
    rows = [
        f"seeds {config.seed} to {config.seed + config.seeds - 1}, {config.steps:,} steps; mean +- standard deviation",
        f"{'':16}{'modes':>13}{'within 3 sigma':>18}{'within 0.3':>18}{'reverse KL, 0.3':>18}"
        f"{'least gradient':>16}{'largest gap':>13}{'skipped':>8}",
    ]
    scatters, gradients, gaps = [], [], []
    known = remedies(config)
    for tint, name in enumerate(tqdm(config.remedies or known, unit="remedy")):
        found = _train(config, known[name], data)
        cells = ""
        for key, digits in (("modes", 1), ("quality", 3), ("near", 3), ("reverse_kl", 3)):
            values = found[key]
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            cells += f"{values.mean():9.{digits}f} +- {spread:.{digits}f}"
        least, gap = found["gradient"].min(1).mean(), found["gap"].max(1).mean()
        rows.append(f"{name:16}{cells}{least:16.1e}{gap:13.1f}{int(found['skipped'].sum()):8d}")
        x = found["x"][0][:1000]
        near = [Series(points[:1000, 0], points[:1000, 1], "real", "points", 6)]
        scatters.append(
            Panel([*near, Series(x[:, 0], x[:, 1], "generated", "points", 0)], title=name, xlim=(-3, 3), ylim=(-3, 3),
                  equal=True)
        )  # fmt: skip
        gradients.append(Series(found["step"][0], found["gradient"].mean(0), name, tint=tint))
        gaps.append(Series(found["step"][0], found["gap"].mean(0), name, tint=tint))
    rows.append(f"{'perfect':16}{8:9.1f}{'':7}{perfect.high_quality:9.3f}")
    figures = workdir / "samples.png", workdir / "gradients.png"
    panels(scatters, figures[0], columns=3, size=(2.6, 2.7), title=f"Seed {config.seed} after training")
    parts = [
        Panel(gradients, "step", "length of the generator's gradient", "mean over seeds", "y"),
        Panel(gaps, "step", "mean real logit - mean fake logit", "how sure the discriminator is"),
    ]
    panels(parts, figures[1], columns=2)
    return [*rows, *map(str, figures)]


def _train(config: Config, remedy: Remedy, data: Dataset) -> dict[str, Any]:
    """What all seeds lead to; leading axis [seeds]."""
    hidden = (config.width,) * 2
    generator = mlp.Generator((2,), hidden, output=mlp.identity, initialisation="uniform")
    discriminator = mlp.Discriminator(hidden, dropout=remedy.dropout, initialisation="uniform")
    last = 0.8 * config.steps
    falls = lambda step: remedy.instance * jnp.maximum(1 - step / last, 0)  # noqa: E731
    prior = normal_prior(2)
    game = gan(
        generator, discriminator, LOSSES[remedy.loss], prior=prior,
        sight=Sight(output_noise=remedy.output, instance_noise=falls if remedy.falling else remedy.instance),
    )  # fmt: skip
    adam = optax.adam(config.learning_rate, b1=0.5)
    dynamics = alternating(dict.fromkeys(game.players, adam), turns={"discriminator": config.turns})
    step, draw = train_step(game, dynamics), sampler(generator, prior)
    batch = drawn(data, config.batch_size * dynamics.slices)

    def one(seed: Array) -> dict[str, Array]:
        init_key, step_key, data_key, look_key = jax.random.split(jax.random.key(seed), 4)
        start = init_state(game, dynamics, init_key, batch(data_key))

        def advance(_, state: GameState) -> GameState:
            return step(state, batch(jax.random.fold_in(data_key, state.step)), step_key)[0]

        def look(state: GameState, _):
            state = jax.lax.fori_loop(0, config.steps // config.looks, advance, state)
            key = jax.random.fold_in(look_key, state.step)
            field = View(game, Moment(state.net_state, batch(look_key), key, state.step)).field(state.params)
            slope = field.gradients["generator"]
            gap = field.metrics["discriminator/real_logit"] - field.metrics["discriminator/fake_logit"]
            return state, {"step": state.step, "gradient": jnp.sqrt(dot(slope, slope)), "gap": gap}

        state, seen = jax.lax.scan(look, start, length=config.looks)
        x = draw(state.weights, look_key, jnp.arange(2500))
        narrow, wide = modes(x, jnp.asarray(ring_centres()), config.sigma), modes(x, jnp.asarray(ring_centres()), 0.1)
        return {
            **seen, "x": x, "modes": wide.captured, "quality": narrow.high_quality, "near": wide.high_quality,
            "reverse_kl": wide.reverse_kl, "skipped": state.skipped,
        }  # fmt: skip

    return {k: np.asarray(v) for k, v in population(one)(seed=config.seed + jnp.arange(config.seeds)).items()}


SMOKE = {
    "seeds": 1, "steps": 2, "looks": 2, "width": 8, "batch_size": 16, "turns": 1,
    "remedies": ("falling noise", "dropout"),
}  # fmt: skip
EXPERIMENT = launch.Experiment("dropout_and_noise", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
