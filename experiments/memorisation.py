"""Does a GAN learn its training set by heart? Copies, and who notices them.

Claim: fewer training images make a discriminator that knows them from held-out ones, and in the end a generator that
copies them; a Frechet distance to the training set does not tell copies from good samples, the audit against held-out
data does.
Paper: Meehan, Chaudhuri and Dasgupta, A Non-Parametric Test to Detect Data-Copying in Generative Models, 2020;
Webster et al., Detecting Overfitting of Deep Generative Networks via Latent Recovery, 2019.
Command: python experiments/memorisation.py train --workdir runs/memorisation
Time: about 3 minutes on 2 CPU cores.
Figure: runs/memorisation/distances.png, how far held-out images and samples are from the nearest training image;
runs/memorisation/neighbours-<size>.png, samples beside those images.
Measured with seed 0: of 149 held-out digits ever more are replaced by training ones: the Frechet distance is 6.3 at
first, 7.9 with a fifth of copies and 4.8 with nothing else, while the share of images nearer than 1 % of held-out ones
follows the share of copies, and z falls from -1.1 to -16. A GAN on 64 images: 5 % of its samples are that near, and D
takes 95 % of its training images for real and 3 % of held-out ones (AUC 0.99). On 256 images nothing is copied, though
D still knows them (78 and 15 %); on 1,300 D accepts 63 and 47 %. The Frechet distances to all training images are 49,
8.6 and 3.2.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array, GameState, PyTree
from ganjax.data import Dataset, load, subsample
from ganjax.dynamics import alternating, ema
from ganjax.errors import DataError
from ganjax.evaluation import Extractor, chosen_extractor, extract_moments
from ganjax.games import gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.metrics import (
    Membership,
    Memorisation,
    Moments,
    frechet_distance,
    membership,
    memorisation,
)
from ganjax.models import dcgan
from ganjax.report import Panel, Series, nearest_neighbours, panels
from ganjax.training import Averaged, Keys, Schedule, Setup, Stream, draw, train


@dataclass(frozen=True)
class Config:
    """The data, the sizes of the training set and the training that each gets."""

    data: str = "digits"
    """Labelled images: digits, fashion_mnist, or whatever train takes as --data."""
    sizes: tuple[int, ...] = (64, 256, 1300)
    """Training images that a GAN sees."""
    shares: tuple[float, ...] = (0.0, 0.05, 0.2, 0.5, 1.0)
    """Shares of copies among otherwise held-out images."""
    steps: int = 10_000
    """Of alternating play."""
    count: int = 1000
    """Samples that are judged."""
    width: int = 16
    """Channels of the discriminator's first layer."""
    batch_size: int = 32
    """Examples of each turn."""
    learning_rate: float = 5e-4
    """Of Adam, for both players."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self):
        for name in ("steps", "count", "width", "batch_size"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        least = 2 * self.batch_size
        require(self, "sizes", min(self.sizes, default=0) >= least, f"at least {least}, the examples of one step")
        require(self, "shares", all(0 <= share <= 1 for share in self.shares), "from 0 to 1")
        require(self, "learning_rate", self.learning_rate > 0, "a positive number")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")


class Found(NamedTuple):
    """What the judges say of a set of samples."""

    frechet: float  # to the training set
    audit: Memorisation
    membership: Membership | None  # of the discriminator, where there is one


def compute(config: Config, workdir: Path) -> list[str]:
    """A copier that is known, then GANs on ever more images."""
    data = load(config.data)
    if data.x_test is None:
        raise DataError(f"the data set {data.name} has no held-out images, which the audit compares with")
    extractor = chosen_extractor(None, data, progress=True)
    truth = extract_moments(extractor, data.x_train)
    rng, held_out = np.random.default_rng(config.seed), data.x_test[subsample(len(data.x_test), len(data.x_test))]
    control, honest = np.split(held_out, [len(held_out) // 2])
    copiers = {}
    for share in config.shares:
        fake, copied = honest.copy(), round(share * len(honest))
        fake[:copied] = data.x_train[rng.permutation(len(data.x_train))[:copied]]
        copiers[f"{share:.0%} copies"] = _judge(fake, data.x_train, control, truth, extractor)
    trained, figures = {}, []
    for size in config.sizes:
        part = Dataset(
            data.x_train[subsample(len(data.x_train), size)], x_test=held_out, name=f"{data.name}, {size} images"
        )
        setup, discriminator = _setup(part, config)
        schedule = Schedule(config.steps, sample_every=config.steps, checkpoint_every=config.steps)
        state, _ = train(setup, workdir / str(size), seed=config.seed, schedule=schedule)
        x = draw(setup, state, Keys.of(config.seed).samples, config.count)
        gap = _gap(discriminator, state, part.x_train, held_out)
        trained[f"GAN on {size} images"] = _judge(x, part.x_train, held_out, truth, extractor)._replace(membership=gap)
        figures.append(workdir / f"neighbours-{size}.png")
        nearest_neighbours(x[:64], part.x_train, figures[-1], held_out=held_out[:64])
    figures.append(workdir / "distances.png")
    _draw(trained, figures[-1])
    return [*_table(copiers | trained, config, data), *map(str, figures)]


def _setup(data: Dataset, config: Config) -> tuple[Setup, dcgan.Discriminator]:
    generator = dcgan.Generator(data.shape, width=config.width)
    discriminator = dcgan.Discriminator(width=config.width, batch_norm=False)
    prior, adam = normal_prior(32), optax.adam(config.learning_rate, b1=0.5)
    game = gan(generator, discriminator, LOSSES["non_saturating"], prior=prior)
    averages = {"ema": Averaged("generator", ema(0.999, warmup=True))}
    dynamics = alternating(dict.fromkeys(game.players, adam))
    streams, samplers = {"data": Stream(data, config.batch_size)}, {"prior": sampler(generator, prior)}
    return Setup(game, dynamics, streams, averages, samplers), discriminator


def _judge(fake: np.ndarray, train: np.ndarray, control: np.ndarray, truth: Moments, extractor: Extractor) -> Found:
    return Found(frechet_distance(extract_moments(extractor, fake), truth), memorisation(fake, train, control), None)


def _gap(discriminator: dcgan.Discriminator, state: GameState, train: np.ndarray, held_out: np.ndarray) -> Membership:
    """The raw discriminator on the images that it was trained on and on held-out ones."""

    @jax.jit
    def logits(params: PyTree, x: Array) -> Array:
        return discriminator.apply({"params": params}, x.astype(jnp.float32) / 127.5 - 1, train=False)  # type: ignore[return-value]

    own = state.params["discriminator"]
    return membership(np.asarray(logits(own, train)), np.asarray(logits(own, held_out)))


def _table(found: dict[str, Found], config: Config, data: Dataset) -> list[str]:
    lines = [
        f"{data.name}: {config.steps:,} steps, {config.count} samples, seed {config.seed}",
        f"{'':22}{'frechet':>9}{'nearest':>9}{'held out':>10}{'closer':>8}{'AUC':>7}{'z':>8}"
        f"{'D: train':>10}{'held out':>10}{'AUC':>7}",
    ]
    for name, one in found.items():
        audit, gap = one.audit, one.membership
        line = f"{name:22}{one.frechet:9.3f}{audit.median:9.2f}{audit.held_out_median:10.2f}{audit.closer:8.1%}"
        line += f"{audit.auc:7.2f}{audit.z:8.1f}"
        lines.append(line + (f"{gap.train:10.1%}{gap.held_out:10.1%}{gap.auc:7.2f}" if gap else ""))
    return [
        *lines,
        "frechet: to all training images; nearest: median distance to the nearest image that the generator was trained "
        "on; closer: samples nearer than 1 % of held-out images are; AUC and z: below 1/2 and 0 if samples are copied; "
        "D: how many real images it takes for real",
    ]


def _draw(found: dict[str, Found], out: Path) -> None:
    """Cumulative distances to the nearest training image."""
    parts = []
    for name, one in found.items():
        series = [
            Series(np.sort(distances), np.linspace(0, 1, len(distances)), label, tint=tint)
            for tint, (label, distances) in enumerate(
                [("held-out images", one.audit.held_out_distances), ("samples", one.audit.distances)]
            )
        ]
        parts.append(Panel(series, "distance to the nearest training image", "share of images", name, ylim=(0, 1)))
    panels(parts, out, columns=len(parts), size=(3.4, 3.0), title="Copies lie left of held-out images")


SMOKE = {"sizes": (40,), "shares": (0.0, 1.0), "steps": 4, "count": 32, "width": 4, "batch_size": 16}
EXPERIMENT = launch.Experiment("memorisation", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
