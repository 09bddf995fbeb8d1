"""Five seeds of the DCGAN in one program: how far apart they end, and what one program costs.

Claim: runs of the same GAN differ, so that a score without its spread over seeds says little, and the best of several
runs says something else. Here nothing differs but the seed: initialisation, order of the data and noise.
Paper: Lucic, Kurach, Michalski, Gelly and Bousquet, Are GANs Created Equal? A Large-Scale Study, 2018 (sections 4 and
5, the distribution over runs in the place of the best one).
Command: python experiments/seeds.py train --workdir runs/seeds
Time: 6 minutes of training on 2 CPU cores that others were using (4 steps of all five a second), 2 more for the rest.
Figure: runs/seeds/seeds.png, a row of samples for each seed, with its Frechet distance in the features of a classifier
of the data. The same numbers lie in results.json.
Measured: 29.0, 30.4, 35.6, 31.9 and 29.5, that is 31.3 +- 2.6, where real images have 1.6: of two such runs, one can be
6.5 better than the other for no reason. After 1,500 small steps none of them is good.
One program is for a device that one run does not fill. A CPU is full: a step of all seeds took 248 ms in one program
(184 to 295) and 186 ms one after another (142 to 258), in turns on the same busy machine. `ganjax.layers.convolution`
runs convolutions of mapped kernels member by member there, since XLA's grouped ones take three times as long.
"""

import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from ganjax import launch
from ganjax.config import require
from ganjax.core import GameState
from ganjax.data import Dataset, load
from ganjax.dynamics import alternating, ema
from ganjax.evaluation import chosen_extractor
from ganjax.evaluation.evaluate import Real, real_examples, score
from ganjax.evaluation.extractor import Extractor
from ganjax.evaluation.measures import Comparison, Examples
from ganjax.evaluation.receipt import Score
from ganjax.games import gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.models import dcgan
from ganjax.report import Row, rows
from ganjax.training import Averaged, Keys, Setup, Stream, draw, fit
from ganjax.training.fit import stretch
from ganjax.training.setup import arrays, check, initial_state, order

COLUMNS = 16  # samples of each seed in the picture
TURNS = 5  # of each contender in the race
RACE = 10  # steps of a turn


@dataclass(frozen=True)
class Config:
    """The networks, their training and how they are judged."""

    data: str = "fashion_mnist"
    """Labelled images: fashion_mnist, digits, or whatever train takes as --data."""
    seeds: int = 5
    """How many runs, trained together."""
    seed: int = 0
    """The first of the seeds."""
    steps: int = 1500
    """Of alternating play."""
    width: int = 16
    """Channels of the discriminator's first layer."""
    batch_size: int = 32
    """Examples of each turn of each seed."""
    latent: int = 64
    """Size of z."""
    learning_rate: float = 5e-4
    """Of Adam, for both players."""
    count: int = 2000
    """Samples of each seed that are judged."""
    chunk: int = 25
    """Steps of one call."""
    race: bool = True
    """Time one program against one run after another."""

    def __post_init__(self):
        for name in ("seeds", "steps", "width", "batch_size", "latent", "count", "chunk"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "seed", 0 <= self.seed < 2**32 - self.seeds, "0 to 4294967295, the last of the seeds included")
        require(self, "learning_rate", self.learning_rate > 0, "a positive number")


def compute(config: Config, workdir: Path) -> list[str]:
    """Train all, draw, judge each."""
    data = load(config.data)
    setup, seeds = build(config, data), config.seed + np.arange(config.seeds)
    check(setup)
    extractor = chosen_extractor(None, data, progress=True)
    began = time.perf_counter()
    states = fit(setup, seeds, config.steps, chunk=config.chunk, label=f"{config.seeds} seeds", progress=True)
    seconds = time.perf_counter() - began
    real = real_examples(data, extractor, config.count, min(config.count, len(data.x_train)))
    found: list[Score] = []
    pictures = []
    for member, seed in enumerate(tqdm(seeds, desc="judging", unit="seed", dynamic_ncols=True)):
        state = jax.tree.map(lambda leaf, m=member: leaf[m], states)
        x = draw(setup, state, Keys.of(int(seed)).samples, config.count)
        found.append(_judged(x, real, data, extractor))
        pictures.append(Row(x[:COLUMNS], f"seed {seed}", f"{found[-1].value:.1f}"))
    floor = f"a row for each seed with its Frechet distance; real images have {found[0].floor:.1f}"
    rows(pictures, workdir / "seeds.png", title=floor)
    (workdir / "results.json").write_text(
        json.dumps({"seeds": seeds.tolist(), "frechet": [one.value for one in found], "floor": found[0].floor}) + "\n"
    )
    race = _raced(setup, seeds) if config.race else []
    lines = _table(config, data, extractor, seeds, found, states)
    return [*lines, f"training took {seconds:.0f} s, compilation included", *race, str(workdir / "seeds.png")]


def build(config: Config, data: Dataset) -> Setup:
    """Two convolutional networks in alternating play."""
    dcgan.check_image_shape(data.shape)
    generator, discriminator = dcgan.Generator(data.shape, width=config.width), dcgan.Discriminator(width=config.width)
    prior, adam = normal_prior(config.latent), optax.adam(config.learning_rate, b1=0.5)
    game = gan(generator, discriminator, LOSSES["non_saturating"], prior=prior)
    averages = {"ema": Averaged("generator", ema(0.999, warmup=True))}
    dynamics = alternating(dict.fromkeys(game.players, adam))
    streams, samplers = {"data": Stream(data, config.batch_size)}, {"prior": sampler(generator, prior)}
    return Setup(game, dynamics, streams, averages, samplers)


def _stacked(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _raced(setup: Setup, seeds: np.ndarray) -> list[str]:
    """Both ways in turn on the same steps: one program of all seeds, and the program of one, seed after seed."""
    data, keys = jax.device_put(arrays(setup)), [Keys.of(int(seed)) for seed in seeds]
    rows = [order(setup, int(seed))(0, RACE) for seed in seeds]
    starts, base = [initial_state(setup, int(seed)) for seed in seeds], jnp.stack([one.steps for one in keys])
    one, many = jax.jit(stretch(setup)), jax.jit(jax.vmap(stretch(setup), in_axes=(0, None, 0, 0)))
    contenders = {
        "one program": lambda: many(_stacked(starts), data, _stacked(rows), base),
        "one after another": lambda: [one(s, data, r, k.steps) for s, r, k in zip(starts, rows, keys, strict=True)],
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(TURNS + 1):  # the first compiles
        for name, play in contenders.items():
            began = time.perf_counter()
            jax.block_until_ready(play())
            if turn:
                taken[name].append((time.perf_counter() - began) / RACE * 1000)
    return [
        f"{name}: {np.median(ms):.0f} ms for a step of all {len(seeds)} seeds ({min(ms):.0f} to {max(ms):.0f})"
        for name, ms in taken.items()
    ]


def _judged(x: np.ndarray, real: Real, data: Dataset, extractor: Extractor) -> Score:
    (found,) = score(Comparison(Examples(x, extractor), *real, data, extractor), ("frechet",)).values()
    return found


def _table(
    config: Config, data: Dataset, extractor: Extractor, seeds: np.ndarray, found: list[Score], states: GameState
) -> list[str]:
    values = np.array([one.value for one in found])
    spread = values.std(ddof=1) if len(values) > 1 else np.nan
    shown = partial("{:>8}{:>10}{:>9}".format)
    return [
        f"{data.name}: {config.steps:,} steps, {config.count:,} samples (EMA), Frechet distance in the features of "
        f"{extractor.name}",
        shown("seed", "frechet", "skipped"),
        *(shown(s, f"{v:.2f}", int(k)) for s, v, k in zip(seeds, values, states.skipped, strict=True)),
        f"mean {values.mean():.2f} +- {spread:.2f} (standard deviation over {len(seeds)} seeds), worst minus best "
        f"{np.ptp(values):.2f}, floor {found[0].floor:.2f}",
    ]


SMOKE = {"data": "digits", "seeds": 2, "steps": 4, "width": 4, "batch_size": 16, "count": 40, "chunk": 2, "race": False}
EXPERIMENT = launch.Experiment("seeds", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
