"""Samples of a GAN as further training images of a classifier: does it learn more than the labelled images hold?

Claim: a conditional GAN of few labelled images has seen nothing that they do not say, so that its samples should help a
classifier no more than moves of the images do, and perhaps harm: the labels of samples are not always right.
Paper: Antoniou, Storkey and Edwards, Data Augmentation Generative Adversarial Networks, 2017; Ravuri and Vinyals,
Classification Accuracy Score for Conditional Generative Models, 2019 (a classifier of samples alone).
Command: python experiments/augmentation_by_gan.py train --workdir runs/augmentation
         python experiments/augmentation_by_gan.py train --workdir runs/shifts --rotation 0
         python experiments/augmentation_by_gan.py train --workdir runs/garments --data fashion_mnist --shift 2 \\
             --flip --per-class 10 50 100 500 --gan-steps 4000
Figure: runs/augmentation/accuracy.png, accuracy on held-out images over labels of each class, a line for each way to
learn, and the differences of the same runs from learning the images alone; samples.png, what the GANs drew.
The protocol: the GAN sees the labelled images and no other; all classifiers take equally many steps of equal batches;
each choice of images, with the initialisation and the order that go with it, is learned from in all ways, so that
differences are paired; their intervals are Student's over the choices. The share of samples is set in advance, nothing
is chosen by a result. "moves" are shifts and rotations, and flips where these are legal (--flip). "duplicates" shows
the same images as often as they are shown beside samples, and is there to show that it changes nothing. The labels of
samples are those that were asked for; how many are right, says a classifier of all training images, which nobody else
has.
What we measured: moves that are shifts alone (--rotation 0, the second command; rotations have not been run), seeds 0
to 4, 122 s of processor time, which took 18 minutes on 2 CPU cores that a dozen others used; gains on images alone in
points, of 297 held-out digits. With 10 images of each class 88.96 % for images alone, duplicates +0.1 +- 0.2, shifts
+0.3 +- 3.1, samples -1.7 +- 2.9, samples and shifts -2.4 +- 2.6, samples only -14.6 +- 4.6; with 50 of each 96.30 %,
duplicates -0.2 +- 0.2, shifts -2.8 +- 0.8, samples -2.0 +- 0.8, samples and shifts -6.0 +- 2.7, samples only -17.6 +-
3.2. The strong classifier, right on 99.3 % of held-out images, sees 90.8 and 89.7 % of the samples as what was asked
for. So no gain of samples is seen, and harm where there are 50 images of each class; but a shift by one of eight pixels
is no help for digits either, which lie where they should. No other setting was tried, and garments were not run.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray
from tqdm import tqdm

from ganjax import launch, recipe
from ganjax.augment import jitter, warp
from ganjax.config import require
from ganjax.core import Array, Batch, Key, Measure, Weights
from ganjax.data import Dataset, load
from ganjax.data.scarce import with_labels
from ganjax.dynamics import simultaneous
from ganjax.errors import ConfigError, DataError, did_you_mean
from ganjax.evaluation import accuracy, measured, trained_classifier
from ganjax.files import write_atomically
from ganjax.games import classification
from ganjax.models.classifier import classifier
from ganjax.options import ConvolutionalConfig
from ganjax.report import Panel, Row, Series, panels, rows
from ganjax.training import Keys, Setup, Stream, check, draw, fit

ALONE = "images alone"
# How a classifier learns: from which images, and whether they are moved.
ARMS: Mapping[str, tuple[str, bool]] = {
    ALONE: ("images", False),
    "duplicates": ("duplicates", False),
    "moves": ("images", True),
    "samples": ("mixed", False),
    "samples and moves": ("mixed", True),
    "samples only": ("samples", False),
}


@dataclass(frozen=True)
class Config:
    """The labelled images, the GAN that sees them, and the classifiers that learn from both."""

    data: str = "digits"
    """Labelled images, some of them held out: digits, fashion_mnist, glyphs, whatever train takes."""
    per_class: tuple[int, ...] = (10, 50)
    """Labelled images of each class."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Ways to learn, "images alone" always among them."""
    seeds: int = 5
    """Choices of them, each with a GAN and classifiers of its own."""
    share: float = 0.5
    """Of samples among what a classifier sees beside the images."""
    pool: int = 2000
    """Samples that are drawn, at least."""
    shift: int = 1
    """Pixels by which moved images are shifted at most, each time anew."""
    rotation: float = 10.0
    """Degrees by which they are turned at most, to either side."""
    flip: bool = False
    """Whether they are mirrored half of the time; legal for garments, not for digits."""
    steps: int = 400
    """Of each classifier."""
    batch_size: int = 64
    """Examples of a step, of classifiers and GANs."""
    width: int = 16
    """Channels of a classifier's first convolution, and next to the image in the GAN's networks."""
    gan_steps: int = 1500
    """Of each GAN, a conditional DCGAN."""
    augment: Literal["none", "diffaugment", "ada"] = "diffaugment"
    """Augmentation of what its discriminator sees, without which few images are learned by heart."""
    latent: int = 32
    """Size of its z."""
    learning_rate: float = 5e-4
    """Of Adam, for its players; classifiers begin with 1e-3, which falls to zero along a cosine."""
    seed: int = 0
    """The first of the seeds."""

    def __post_init__(self):
        for name in ("seeds", "pool", "shift", "steps", "batch_size", "width", "gan_steps", "latent"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "per_class", min(self.per_class, default=0) >= 1, "numbers of at least 1")
        for name in self.arms:
            if name not in ARMS:
                raise ConfigError(f'--arms: "{name}" is unknown{did_you_mean(name, ARMS)}')
        require(self, "rotation", 0 <= self.rotation <= 180, "0 to 180")
        require(self, "share", 0 < self.share < 1, "more than 0 and less than 1")
        require(self, "learning_rate", self.learning_rate > 0, "a positive number")
        require(self, "seed", 0 <= self.seed < 2**32 - self.seeds, "0 to 4294967295, the last of the seeds included")


class Found(NamedTuple):
    """What came of one choice of images."""

    accuracy: dict[str, float]  # of each arm, on held-out images
    labels: float  # share of samples that are of the class that was asked for, as the strong classifier sees it
    samples: NDArray  # one of each class, uint8
    images: NDArray  # likewise, of the labelled images


def compute(config: Config, workdir: Path) -> list[str]:
    """Every number of labels, every choice, every arm."""
    data = load(config.data)
    check_labels(data, config)
    strong = trained_classifier(data, progress=True)
    found: dict[int, list[Found]] = {}
    with tqdm(total=len(config.per_class) * config.seeds, desc="choices of images", dynamic_ncols=True) as bar:
        for count in config.per_class:
            found[count] = []
            for seed in range(config.seed, config.seed + config.seeds):
                part = with_labels(data, count * (data.classes or 0), seed)
                x, y = samples_of(config, part, seed)
                images = np.stack([part.x_train[part.y_train == k][0] for k in range(data.classes or 0)])
                values = {arm: learned(config, arm, part, (x, y), seed) for arm in arms_of(config)}
                found[count].append(Found(values, accuracy(strong, x, y), x[: data.classes], images))
                bar.update()
                keep(found, workdir / "results.json")
    out = [workdir / "accuracy.png", workdir / "samples.png"]
    draw_lines(config, found, out[0])
    draw_samples(config, found, data, out[1])
    head = f"{data.name}: {config.steps} steps of each classifier, {config.gan_steps:,} of each GAN, seeds from "
    right = accuracy(strong, data.x_test, data.y_test)  # type: ignore[arg-type]
    head += f"{config.seed} on; the strong classifier names {right:.1%} of held-out images right"
    return [head, *table(config, data, found), *map(str, out)]


def check_labels(data: Dataset, config: Config) -> None:
    """Raise `DataError` unless there are enough labels, and images to test on."""
    if data.y_train is None or data.y_test is None or data.kind.name != "image":
        raise DataError(f"{data.name}: expected images with labels, of training and of held-out ones; take another set")
    fewest = int(np.bincount(data.y_train, minlength=data.classes or 0).min())
    require(config, "per_class", max(config.per_class) <= fewest, f"at most {fewest}, the images of the rarest class")


def gan_of(config: Config, part: Dataset) -> Setup:
    """The conditional GAN, whose only data are the labelled images."""
    own = ConvolutionalConfig(
        conditional=True, discriminator_norm="none", steps=config.gan_steps, batch_size=config.batch_size,
        width=config.width, latent=config.latent, learning_rate=config.learning_rate, augment=config.augment,
    )  # fmt: skip
    return recipe.convolutional(own, part, None)


def samples_of(config: Config, part: Dataset, seed: int) -> tuple[NDArray, NDArray]:
    """Samples of a GAN of these images, class after class in turn, and the classes that were asked for."""
    setup = gan_of(config, part)
    check(setup)
    state = fit(setup, seed, config.gan_steps, label=f"GAN of {len(part.x_train)} images", progress=True)
    _, drawn = sizes(config, len(part.x_train))
    y = np.resize(np.arange(part.classes or 0, dtype=np.int32), drawn)
    x = draw(setup, state, Keys.of(seed).samples, drawn, y)
    if x.min() == x.max():
        raise DataError(f"the GAN of {len(part.x_train)} images draws nothing; let it take more --gan-steps")
    return x, y


def sizes(config: Config, images: int) -> tuple[int, int]:
    """How often each image is shown beside samples, and how many samples: so many of each that the share is right."""
    copies = max(1, round(config.pool * (1 - config.share) / config.share / images))
    return copies, max(1, round(copies * images * config.share / (1 - config.share)))


def training_set(config: Config, kind: str, part: Dataset, samples: tuple[NDArray, NDArray]) -> Dataset:
    """What a classifier learns from: "images", as many "duplicates" as "mixed" has examples, or "samples" alone."""
    (x, y), count = samples, len(part.x_train)
    copies, drawn = sizes(config, count)
    if kind == "samples":
        return replace(part, x_train=x, y_train=y)
    rows = np.arange({"images": count, "duplicates": copies * count + drawn, "mixed": copies * count}[kind]) % count
    real_x, real_y = part.x_train[rows], part.y_train[rows]  # type: ignore[index]
    if kind == "mixed":
        real_x, real_y = np.concatenate([real_x, x]), np.concatenate([real_y, y])
    return replace(part, x_train=real_x, y_train=real_y)


def moves(config: Config) -> Callable[[Key, Batch], Batch]:
    """Classical augmentation: a rotation, then a flip and a shift."""
    shift, most = jitter(config.shift, flip=config.flip), math.radians(config.rotation)

    def turned(key: Key, one: Batch) -> Batch:
        angle = jax.random.uniform(jax.random.fold_in(key, 2), (), minval=-most, maxval=most)  # 0 and 1 are jitter's
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return shift(key, one._replace(x=warp(one.x, jnp.array([[cos, -sin, 0.0], [sin, cos, 0.0]]))))

    return turned if config.rotation else shift


def classifier_of(config: Config, arm: str, part: Dataset, samples: tuple[NDArray, NDArray]) -> Setup:
    """A small convolutional network; steps, batch and rate are those of every arm."""
    kind, moved = ARMS[arm]
    model = classifier(part.shape, part.classes or 0, width=config.width)

    def right(weights: Weights, batch: Batch, key: Key) -> Array:
        del key
        return model.apply({"params": weights["classifier"].params}, batch.x).argmax(-1) == batch.y  # type: ignore[union-attr]

    adam = optax.adam(optax.cosine_decay_schedule(1e-3, config.steps))
    stream = Stream(
        training_set(config, kind, part, samples), config.batch_size, "class", moves(config) if moved else None
    )
    measure = Measure(right, ("classifier",), "data", y="class", better="higher")
    return Setup(
        classification(model), simultaneous({"classifier": adam}), {"data": stream}, measures={"accuracy": measure}
    )


def learned(config: Config, arm: str, part: Dataset, samples: tuple[NDArray, NDArray], seed: int) -> float:
    """The accuracy on held-out images after the last step."""
    setup = classifier_of(config, arm, part, samples)
    return measured(setup, "accuracy")(fit(setup, seed, config.steps))


def arms_of(config: Config) -> list[str]:
    """In the order of ARMS."""
    return [arm for arm in ARMS if arm == ALONE or arm in config.arms]


def of_arm(found: Mapping[int, list[Found]], arm: str) -> NDArray:
    """[numbers of labels, choices]"""
    return np.array([[one.accuracy[arm] for one in own] for own in found.values()])


def interval(differences: NDArray) -> tuple[float, float]:
    """The mean of paired differences [S], and half of Student's interval of 95 %; NaN of a single one."""
    from scipy.stats import t

    count = len(differences)
    if count < 2:
        return float(differences.mean()), float("nan")
    return float(differences.mean()), float(t.ppf(0.975, count - 1) * differences.std(ddof=1) / np.sqrt(count))


def table(config: Config, data: Dataset, found: Mapping[int, list[Found]]) -> list[str]:
    """For each number of labels the accuracies, and the differences from images alone with their intervals."""
    tested = len(data.x_test)  # type: ignore[arg-type]
    lines = [f"{tested:,} held-out images, {config.seeds} choices; accuracy in percent, and what is gained on {ALONE}"]
    lines.append(f"{'':22}" + "".join(f"{f'{count} a class':>28}" for count in found))
    for arm in arms_of(config):
        line, values = f"{arm:22}", of_arm(found, arm)
        for own, base in zip(values, of_arm(found, ALONE), strict=True):
            gain, half = interval(100 * (own - base))
            said = "" if arm == ALONE else f" ({gain:+.2f} ± {half:.2f})"
            line += f"{f'{100 * own.mean():.2f}{said}':>28}"
        lines.append(line)
    right = "".join(f"{f'{100 * np.mean([one.labels for one in own]):.1f}':>28}" for own in found.values())
    return [
        *lines,
        f"{'right samples':22}{right}",
        "±: 95 % by Student's t over the choices; right samples: seen as what was asked for by the strong classifier",
    ]


def keep(found: Mapping[int, list[Found]], path: Path) -> None:
    """What there is, should the rest fail."""
    kept: dict[str, Any] = {
        str(count): [{"accuracy": one.accuracy, "labels": one.labels} for one in own] for count, own in found.items()
    }
    write_atomically(path, json.dumps(kept) + "\n")


def draw_lines(config: Config, found: Mapping[int, list[Found]], out: Path) -> None:
    """Means of all arms over the number of labels; beside them the paired differences, a point for each choice."""
    counts = np.array(list(found))
    means = [Series(counts, 100 * of_arm(found, arm).mean(1), arm) for arm in arms_of(config)]
    gains = []
    for tint, arm in enumerate(arms_of(config)):
        gain = 100 * (of_arm(found, arm) - of_arm(found, ALONE))
        gains.append(Series(counts, gain.mean(1), arm, tint=tint))
        gains.append(Series(np.repeat(counts, gain.shape[1]), gain.ravel(), kind="points", tint=tint))
    x, log = "labelled images of each class", "x" if counts.max() >= 10 * counts.min() else ""
    parts = [Panel(means, x, "held-out accuracy (%)", config.data, log=log),
             Panel(gains, x, "points more than images alone", "The same choices, paired", log=log)]  # fmt: skip
    panels(parts, out, columns=2, size=(5.4, 4.2))


def draw_samples(config: Config, found: Mapping[int, list[Found]], data: Dataset, out: Path) -> None:
    """One image and one sample of each class, of the first two choices."""
    content = []
    for count, own in found.items():
        for one in own[:2]:
            content.append(Row(one.images, f"{count} a class"))
            content.append(Row(one.samples, "its GAN", f"{one.labels:.0%} right"))
    names = data.class_names or tuple(str(k) for k in range(data.classes or 0))
    rows(
        content,
        out,
        title="Labelled images, and what a GAN of them draws",
        heads=[name[:11] for name in names],
        group=2,
    )


SMOKE = {"arms": ("samples",), "per_class": (2,), "seeds": 1, "pool": 20, "steps": 2, "batch_size": 8,
         "width": 4, "gan_steps": 2, "augment": "none", "latent": 4, "learning_rate": 0.1}  # fmt: skip
EXPERIMENT = launch.Experiment("augmentation_by_gan", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
