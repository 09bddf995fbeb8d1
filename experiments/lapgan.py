"""LAPGAN: an image drawn from coarse to fine, by a generator and a discriminator of their own for each size.

Claim: small games in a row, each of which adds what an enlarged image lacks, draw better images than one game of as
many parameters in the same time; a level is trained on true small images and used on drawn ones, and that costs.
Paper: Denton, Chintala, Szlam and Fergus, Deep Generative Image Models using a Laplacian Pyramid of Adversarial
Networks, 2015 (sections 3.1 and 3.2).
Command: python experiments/lapgan.py train --workdir runs/lapgan
         python experiments/lapgan.py chain --workdir runs/lapgan --out runs/lapgan/chain.png
Figure: chain.png, the same chains at every size, and with other noise at one level alone; `chain` prints Frechet
distances of the largest images from chains that begin at noise and at true images of each smaller size, beside the
control, one DCGAN of the largest images (--no-control leaves it out). runs/lapgan/level_2/made.png, held-out images and
what is drawn of them once they were made small.
Networks are those of the authors' code for 32x32 at --width 64 --side 7 --discriminator-width 64, and the discriminator
sees the sum of enlarged image and residual, as there, or both (--pair). Residuals are projected on those that data can
have, with zero mean in each block of 2x2, which is not in the paper (--no-projected); with --kernels smooth there is no
such law. Adam takes the place of stochastic gradients. --conditional tells all of them the class, beyond the smallest
level and the control by a map as one more channel of noise and image, as the authors' class-conditional model; `chain`
then scores chains from noise alone.
What we measured on the default garments, seed 0 (the first two commands), one CPU core beside other programs: Frechet
distances, as a classifier of the data sees 2,000 images, of 18.1 for chains from noise, 12.8 from true images of 7x7,
4.2 from true images of 14x14, as the last level is trained, and 9.9 for the control; real images have 1.6. So a chain
is 1.4 times as far off as one that begins at a true image of the smallest size, and what one level adds is near to the
truth, but errors of three add up, and one game of as many parameters is better: the claim does not hold in so little
time. Levels took 343 s (26, 137 and 180), the control 317 s. Residuals are noisy on black; other noise at one level
changes grain and not shape. Other settings that were run: 3,000, 600 and 600 steps of the levels, in 122 s: 37.2, 23.2
and 4.7, the control in as long 14.0; 64,800, 5,400 and 450 (seed 100): 29.5, 13.8 and 5.7, so the smallest game gets
worse when it is played for too long. One game of perceptrons, as the smallest level plays it and as the paper compares
with, of as many parameters (--levels 1 --hidden 130 --no-control --steps 110000 --chunk 200) comes to 72.9 after 60,000
steps, 187 s, and to 114.5 after all, 339 s: the pyramid is far better than that. Default levels of seed 100: 18.1, 12.2
and 3.8. Smooth kernels and MNIST have not been tried.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganjax import launch
from ganjax.commands.base import OfRun, opened
from ganjax.config import require
from ganjax.options import Adam, Averaging, Conditional, Latent, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from optax import GradientTransformation

    from ganjax.core import GameState
    from ganjax.data import Dataset
    from ganjax.games.lapgan import Level
    from ganjax.report.rows import Row
    from ganjax.training import Setup

CONTROL = "single"  # the stage that is a game of its own


@dataclass(frozen=True, kw_only=True)
class Config(Conditional, Averaging, Adam, Latent, TrainConfig):
    """The pyramid, the networks of its levels, and the control."""

    levels: int = 3
    """Sizes of image, each twice the one before it: 7, 14 and 28."""
    kernels: Literal["box", "smooth"] = "box"
    """How images are halved and enlarged: means over 2x2 pixels and copies of a pixel, or weights of 1, 3, 3, 1."""
    projected: bool = True
    """Take from a drawn residual what no true one has, its means over 2x2 pixels; of the box alone."""
    pair: bool = False
    """Show discriminators the enlarged image beside the sum."""
    hidden: int = 256
    """Units of the two hidden layers of both networks of the smallest level; --latent is its noise."""
    ratio: int = 4
    """Steps of a level over those of the next larger one, of which each costs four times as much; --steps are of the
    largest."""
    width: int = 16
    """Channels of the two hidden maps of a generator; 64 in the authors' code."""
    side: int = 5
    """Of their kernels; 7 in the authors' code."""
    discriminator_width: int = 32
    """Channels of the two maps of a discriminator; 64 in the authors' code."""
    dropout: float = 0.5
    """Share of its last map that is dropped in training."""
    control: bool = True
    """Train one DCGAN of the largest images as well, before all levels."""
    control_width: int = 30
    """Channels of its networks next to the image; with 30 it has as many parameters as all levels together."""
    control_steps: int = 7000
    """Its steps, in about the time of all levels."""

    def __post_init__(self):
        super().__post_init__()
        sizes = ("levels", "hidden", "ratio", "width", "side", "discriminator_width")
        for name in (*sizes, "control_width", "control_steps"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "dropout", 0 <= self.dropout < 1, "at least 0 and less than 1")
        lawful = self.kernels == "box" or not self.projected
        require(self, "projected", lawful, "left out with --kernels smooth: its residuals have means (--no-projected)")


CONFIG = Config(
    steps=900,  # of the largest level; 3,600 and 14,400 of those below
    latent=64,
    learning_rate=5e-4,  # that of the DCGAN, which is the control
    ema_decay=0.99,  # the last hundred steps of so few
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "dict[str, Setup]":
    """The control, and a stage for each level, the smallest first."""
    sets = sizes(config, load(config.data))
    stages = {CONTROL: control(config, sets[-1], axis_name)} if config.control else {}
    drawn = levels(config, [data.shape for data in sets], classes_of(config, sets[-1]))
    return stages | {f"level_{k}": level(config, sets[k], drawn[: k + 1], axis_name) for k in range(config.levels)}


def sizes(config: Config, dataset: "Dataset") -> "list[Dataset]":
    """The data in every size, the smallest first and the largest as they are."""
    from ganjax.data import halved
    from ganjax.errors import DataError
    from ganjax.layers.pyramid import KERNELS, check_halves

    if dataset.kind.name == "image":
        try:
            check_halves(dataset.shape, config.levels)
        except ValueError as error:
            raise DataError(f"--levels {config.levels} of the data set {dataset.name}: {error}") from error
    sets = [dataset]
    while len(sets) < config.levels:
        sets.insert(0, halved(sets[0], KERNELS[config.kernels].down))
    return sets


def classes_of(config: Config, dataset: "Dataset") -> int:
    """How many classes the networks know."""
    return (dataset.classes or 0) if config.conditional else 0


def levels(config: Config, shapes: "Sequence[tuple[int, ...]]", classes: int) -> "list[Level]":
    """The generators: perceptrons of the smallest images, and what refines them."""
    from functools import partial

    from ganjax.games import normal_prior
    from ganjax.games.lapgan import Level, noise_map
    from ganjax.models import mlp
    from ganjax.models.lapgan import OfClasses, Refiner

    first = Level(mlp.Generator(shapes[0], (config.hidden,) * 2, num_classes=classes), normal_prior(config.latent))
    make = partial(Refiner, config.width, config.side, config.kernels, config.projected)
    refiner = OfClasses(make, classes) if config.conditional else make()
    return [first, *(Level(refiner, noise_map(*shape[:2])) for shape in shapes[1:])]


def level(config: Config, dataset: "Dataset", drawn: "list[Level]", axis_name: str | None) -> "Setup":
    """The game of one size, above the generators of all smaller ones."""
    from functools import partial

    from ganjax import recipe
    from ganjax.dynamics import alternating
    from ganjax.games import gan, lapgan, sampler
    from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
    from ganjax.layers.pyramid import KERNELS
    from ganjax.losses import LOSSES
    from ganjax.models import mlp
    from ganjax.models.lapgan import Judge, OfClasses
    from ganjax.training import Averaged, From, Setup, Stream

    kernels, last, own = KERNELS[config.kernels], len(drawn) - 1, drawn[-1]
    classes, y = classes_of(config, dataset), "class" if config.conditional else None
    judge: Any = mlp.Discriminator((config.hidden,) * 2, num_classes=classes)
    if last:
        make = partial(Judge, config.discriminator_width, config.pair, config.kernels, config.dropout, axis_name)
        judge = OfClasses(make, classes, by_example=not config.dropout) if config.conditional else make()
    game = gan(own.generator, judge, LOSSES["non_saturating"], prior=own.prior, axis_name=axis_name)
    kept, largest = recipe.averages(config), last == config.levels - 1
    steps = config.steps * config.ratio ** (config.levels - 1 - last)
    ended = "raw" if kept is None else config.average
    return Setup(
        game=lapgan.above(game, drawn),
        dynamics=alternating(dict.fromkeys((DISCRIMINATOR, GENERATOR), adam(config, steps)), axis_name=axis_name),
        streams={"data": Stream(dataset, config.batch_size, y, lapgan.halving(kernels.down) if last else None)},
        averages={} if kept is None else {config.average: Averaged(GENERATOR, kept)},
        samplers=lapgan.samplers(drawn, kernels, dataset.shape[0], conditional=config.conditional)
        if last
        else {"prior": sampler(own.generator, own.prior, given=("data", y) if y else None)},
        start={lapgan.owner(k, last): From(f"level_{k}", GENERATOR, ended) for k in range(last)},
        steps=None if largest else steps,
    )


def control(config: Config, dataset: "Dataset", axis_name: str | None) -> "Setup":
    """One game of the largest images, that of the experiment `dcgan`."""
    from ganjax import recipe
    from ganjax.dynamics import alternating
    from ganjax.games import gan, normal_prior, sampler
    from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
    from ganjax.losses import LOSSES
    from ganjax.models import dcgan
    from ganjax.training import Averaged, Setup, Stream

    dcgan.check_image_shape(dataset.shape)
    known: dict[str, Any] = {"num_classes": classes_of(config, dataset), "axis_name": axis_name}
    generator = dcgan.Generator(dataset.shape, config.control_width, **known)
    discriminator = dcgan.Discriminator(config.control_width, **known)
    y = "class" if config.conditional else None
    prior, kept = normal_prior(config.latent), recipe.averages(config)
    return Setup(
        game=gan(generator, discriminator, LOSSES["non_saturating"], prior=prior, axis_name=axis_name),
        dynamics=alternating(
            dict.fromkeys((DISCRIMINATOR, GENERATOR), adam(config, config.control_steps)), axis_name=axis_name
        ),
        streams={"data": Stream(dataset, config.batch_size, y)},
        averages={} if kept is None else {config.average: Averaged(GENERATOR, kept)},
        samplers={"prior": sampler(generator, prior, given=("data", y) if y else None)},
        steps=config.control_steps,
    )


def adam(config: Config, steps: int) -> "GradientTransformation":
    """Of both players of a stage of so many steps, over which the rate falls if it is to fall."""
    from ganjax.recipe import adam_of

    return adam_of(dataclasses.replace(config, steps=steps, decay_steps=steps if config.decay_steps else 0))


@dataclass(frozen=True, kw_only=True)
class Chain(OfRun):
    """Score chains from noise and from true small images, and the control, and draw chains level by level."""

    out: Path
    """The picture to write, .png."""
    count: int = 2000
    """Samples of each score."""
    columns: int = 8
    """Chains in the picture."""
    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one; of the largest level."""
    seed: int = 0
    """Seed of the noise."""

    def __post_init__(self):
        require(self, "count", self.count >= 20, "at least 20")
        require(self, "columns", 1 <= self.columns <= 32, "1 to 32")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        require(self, "out", self.out.suffix == ".png", "a name that ends in .png")
        require(self, "stage", self.stage != CONTROL, "a level: the control is scored beside the last one")

    def run(self, experiment: launch.Experiment) -> None:
        from ganjax.commands.base import config_of
        from ganjax.errors import ConfigError
        from ganjax.rundir import latest_step

        config, _ = config_of(experiment, self.workdir)
        begun = [k for k in range(config.levels) if latest_step(self.workdir / f"level_{k}") is not None]
        if not begun:
            raise ConfigError(f"{self.workdir} holds no checkpoint of a level; train on with the command train")
        run = opened(experiment, self._of(self.stage or f"level_{begun[-1]}"))
        from ganjax import evaluation
        from ganjax.report.rows import rows
        from ganjax.training import load_state

        data, state = run.setup.imitated(run.setup.sampler()), load_state(run.setup, run.workdir)
        extractor = evaluation.chosen_extractor(None, data, progress=True)
        found = {name: self._frechet(run.setup, state, extractor, name) for name in run.setup.samplers}
        if latest_step(self.workdir / CONTROL) is not None and run.workdir.name == f"level_{config.levels - 1}":
            single = opened(experiment, self._of(CONTROL))
            own = load_state(single.setup, single.workdir)
            found[CONTROL] = self._frechet(single.setup, own, extractor)
        print(f"Frechet distance of {self.count} images of {data.shape}, as {extractor.name} sees them, to as many")
        print("training images, by where the chain begins")
        print("\n".join(evaluation.table(found)))
        self.out.parent.mkdir(parents=True, exist_ok=True)
        rows(strips(config, run.setup, state, self.columns, self.weights, self.seed), self.out)
        print(self.out)

    def _of(self, stage: str) -> OfRun:
        """The run as any command is told of it, at this stage."""
        told = {field.name: getattr(self, field.name) for field in dataclasses.fields(OfRun)}
        return OfRun(**told | {"stage": stage})

    def _frechet(self, setup: "Setup", state: "GameState", extractor: Any, sampler: str = "") -> Any:
        from ganjax import evaluation

        how: Any = {"count": self.count, "seed": self.seed, "weights": self.weights, "sampler": sampler}
        return next(iter(evaluation.evaluate(setup, state, extractor, metrics=("frechet",), **how).values()))


def strips(
    config: Config, setup: "Setup", state: "GameState", columns: int, weights: str = "default", seed: int = 0
) -> "list[Row]":
    """The rows of the picture: chains at every size, and their ends with other noise at one level alone."""
    import jax
    import numpy as np

    from ganjax.games import lapgan
    from ganjax.kinds import to_bytes
    from ganjax.report.images import to_rgb
    from ganjax.report.rows import Row
    from ganjax.training import Keys, in_turn, weights_of

    draws = setup.sampler()
    data, label = setup.imitated(draws), in_turn(setup, draws, columns).values
    shape = data.shape
    last = sum(player.startswith(lapgan.GENERATOR) for player in state.params) - 1
    sides = [(shape[0] // 2**k, shape[1] // 2**k, shape[2]) for k in reversed(range(last + 1))]
    drawn = levels(config, sides, classes_of(config, data))
    chosen = weights_of(setup, state, draws.players, weights)
    run = jax.jit(lambda keys: lapgan.chain(drawn, chosen, keys, jax.numpy.arange(columns), label=label))
    own, other = (lapgan.level_keys(Keys.of(one).samples, last + 1) for one in (seed, (seed + 1) % 2**32))
    found = {f"{side[0]}x{side[1]}": x for side, x in zip(sides, run(own), strict=True)}
    found |= {
        f"other noise\nat {sides[k][0]}x{sides[k][1]}": run([*own[:k], other[k], *own[k + 1 :]])[-1]
        for k in range(last + 1)
    }

    def enlarged(x: Any) -> np.ndarray:
        times = shape[0] // x.shape[1]
        return to_rgb(to_bytes(np.asarray(x)).repeat(times, 1).repeat(times, 2))

    return [Row(enlarged(x), caption) for caption, x in found.items()]


SMOKE = {
    "steps": 4,
    "data": "digits",
    "levels": 2,
    "hidden": 8,
    "ratio": 1,
    "width": 2,
    "side": 3,
    "discriminator_width": 2,
    "control_width": 2,
    "control_steps": 4,
    "latent": 4,
    "batch_size": 8,
    "sample_every": 2,
    "checkpoint_every": 2,
    "chunk": 2,
}
EXPERIMENT = launch.Experiment("lapgan", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT, more={"chain": Chain})
