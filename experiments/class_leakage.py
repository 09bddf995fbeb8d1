"""Does a conditional generator keep to its class? Confusion, the way between two classes, and truncation.

Claim: a generator that is told a class sometimes draws another or a mixture (class leakage); one class becomes another
where z stays and the class's embedding moves; a prior that is cut at a threshold trades diversity for fidelity. BigGAN
measures BatchNorm's statistics anew for every threshold. Where z meets BatchNorm through nothing but a linear map
without bias, as in a DCGAN, that undoes the threshold: the norm divides by the deviation that truncation took.
Paper: Brock, Donahue and Simonyan, Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2019 (section
3.1 on truncation, figure 4 d on leakage); Kynkaanniemi, Karras, Laine, Lehtinen and Aila, Improved Precision and Recall
Metric for Assessing Generative Models, 2019.
Command: python experiments/class_leakage.py train --workdir runs/leakage
         python experiments/biggan.py train --workdir runs/small --data fashion_mnist --width 8 --steps 2000
         python experiments/class_leakage.py train --workdir runs/leakage_of_biggan --run runs/small
Figure: runs/leakage/confusion.png, which class a classifier of the training images sees in samples of each class,
beside the same of held-out images, whose confusion is the classifier's; interpolation.png, one z from class to class;
curves.png, what the classifier sees on the way, and precision, recall and Frechet distance over the threshold.
Redrawing |z_j| > tau leaves each coordinate the variance 1 - 2 tau phi(tau) / (2 Phi(tau) - 1), .774 at 2 and .291 at
1; clipping to the threshold is another law, with mass on it.
What we measured: seed 0, all defaults, 156 s of processor time, which took 14 minutes on 2 CPU cores that a dozen
others used. The classifier names 88.7 % of held-out images right and sees 69.3 +- 1.0 % of 2,000 samples as what was
asked for: trousers 98, sandals 92, bags 89, shirts 48. Ankle boots are seen as sneakers (37 % against 3.5 % of held-out
ones), sneakers as ankle boots (31 against 1), shirts as pullovers (34 against 8). Half-way from class to class 58 % are
seen as neither (28 % at the ends), 48 % as what is seen at no end of their way. Under the statistics of training,
precision rises from .70 to .82 at thresholds of .75 and 1 while recall falls from .68 to .26 and .41, and the Frechet
distance from the training images grows from 13 to 60 and 36; at .1 nothing is left (350, recall 0, 27 % seen as asked
for). Under statistics of each threshold precision, recall and distance stay at .68 to .70, .67 to .68 and 13.1 for all
of them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ganjax import launch, recipe
from ganjax.commands.base import OfRun, opened
from ganjax.config import require
from ganjax.core import GameState, Owned, Sampler, Weights
from ganjax.data import Dataset, load, subsample
from ganjax.errors import ConfigError, DataError
from ganjax.evaluation import Extractor, accuracy, extract, trained_classifier
from ganjax.evaluation.evaluate import is_conditional
from ganjax.files import write_atomically
from ganjax.games.adversarial import GENERATOR
from ganjax.metrics import frechet_distance, moments, precision_recall
from ganjax.options import ConvolutionalConfig
from ganjax.report import Panel, Row, Series, panels, rows
from ganjax.report.style import INK, LABEL, SMALL, TITLE, new_figure, save_figure
from ganjax.rundir import read_run
from ganjax.training import Keys, Setup, check, draw, fit, weights_of
from ganjax.training.sampling import classes_of
from ganjax.training.setup import load_state

COLUMNS = 9  # images of a way between two classes
SHOWN = 8  # ways in the picture
NAMES = 20  # classes at most whose names stand at the axes


@dataclass(frozen=True)
class Config:
    """Whose classes are looked at: the generator of a run, or one that is trained here."""

    run: str = ""
    """The directory of a run of biggan, conditional_mnist or sngan --conditional; empty to train a generator as the
    options below say."""
    data: str = "fashion_mnist"
    """Labelled images, some of them held out; of a run, its own are taken."""
    steps: int = 2000
    """Of alternating play of a DCGAN with conditional BatchNorm and projection."""
    width: int = 32
    """Channels next to the image in both networks."""
    batch_size: int = 64
    """Examples of each turn."""
    latent: int = 100
    """Size of z."""
    learning_rate: float = 5e-4
    """Of Adam, for both players."""
    per_class: int = 200
    """Samples of each class that the classifier sees."""
    ways: int = 32
    """Latents that go from each class to the next."""
    thresholds: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
    """Of truncation; the whole prior is always there."""
    standing: int = 16
    """Passes of 64 samples that BatchNorm's statistics are measured in, for each threshold."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self):
        for name in ("steps", "width", "batch_size", "latent", "ways", "standing"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "per_class", self.per_class >= 4, "at least 4")
        require(self, "thresholds", min(self.thresholds, default=0) > 0, "positive numbers")
        require(self, "learning_rate", self.learning_rate > 0, "a positive number")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")


def compute(config: Config, workdir: Path) -> list[str]:
    """Confusion, ways between classes and truncation of one generator."""
    setup, state = of_run(Path(config.run)) if config.run else trained(config)
    draws = setup.sampler()
    data = checked(setup, draws)
    classify, classes = trained_classifier(data, progress=True), classes_of(setup, draws)
    asked = np.repeat(classes, config.per_class)  # type: ignore[arg-type]
    x = draw(setup, state, Keys.of(config.seed).samples, len(asked), asked)
    shares = {"samples": confusion(asked, seen(classify, x), data)}
    shares["held-out images"] = confusion(data.y_test, seen(classify, data.x_test), data)  # type: ignore[arg-type]
    turns = ways(config, setup, state, classify, workdir / "interpolation.png")
    cut = {passes: truncation(config, setup, state, classify, passes) for passes in (config.standing, 0)}
    draw_confusion(data, shares, workdir / "confusion.png")
    draw_curves(turns, cut, workdir / "curves.png")
    kept = {"confusion": {name: one.tolist() for name, one in shares.items()}, "turning": turns.tolist(),
            "truncation": {passes: [one._asdict() for one in found] for passes, found in cut.items()}}  # fmt: skip
    write_atomically(workdir / "results.json", json.dumps(kept) + "\n")
    head = f"{data.name}, {config.run or f'{config.steps:,} steps'}, seed {config.seed}: the classifier names "
    head += f"{accuracy(classify, data.x_test, data.y_test):.1%} of held-out images right"  # type: ignore[arg-type]
    lines = [head, *told_of_confusion(data, shares, len(asked)), *told_of_ways(turns), *table(config, cut)]
    return [*lines, *(str(workdir / f"{name}.png") for name in ("confusion", "interpolation", "curves"))]


def trained(config: Config) -> tuple[Setup, GameState]:
    """A conditional DCGAN, as experiments/conditional_mnist.py has it."""
    own = ConvolutionalConfig(
        conditional=True, discriminator_norm="batch", steps=config.steps, batch_size=config.batch_size,
        width=config.width, latent=config.latent, learning_rate=config.learning_rate,
    )  # fmt: skip
    setup = recipe.convolutional(own, load(config.data), None)
    check(setup)
    checked(setup, setup.sampler())
    return setup, fit(setup, config.seed, config.steps, label="conditional DCGAN", progress=True)


def of_run(workdir: Path) -> tuple[Setup, GameState]:
    """What a run of an experiment with classes has trained, at its newest checkpoint."""
    found = read_run(workdir)
    if found is None:
        raise ConfigError(f"--run {workdir} holds no run; train one first, such as biggan, or leave --run out")
    import biggan  # which lie beside this script, where Python looks first
    import conditional_mnist
    import sngan

    known = {one.EXPERIMENT.name: one.EXPERIMENT for one in (biggan, conditional_mnist, sngan)}
    name = str(found["experiment"])
    if name not in known:
        raise ConfigError(f"--run {workdir} is a run of {name[:80]!r}, expected one of {', '.join(known)}")
    setup, folder, _ = opened(known[name], OfRun(workdir=workdir))
    return setup, load_state(setup, folder)


def checked(setup: Setup, draws: Sampler) -> Dataset:
    """The data that are imitated, if the generator is told their classes and they have what the judges need."""
    data = setup.imitated(draws)
    if not is_conditional(setup, draws) or draws.latent is None or not draws.latent.normal:
        raise ConfigError("--run: its generator is not told the class, with a z of N(0, I); take one that is")
    if data.kind.name != "image" or data.y_test is None:
        raise DataError(f"{data.name} has no held-out images with labels, which samples are compared with")
    return data.in_memory()


def seen(classify: Extractor, x: NDArray) -> NDArray:
    """The classes that the classifier sees, [N]."""
    return extract(classify, x)[1].argmax(1)  # type: ignore[union-attr]


def confusion(asked: NDArray, found: NDArray, data: Dataset) -> NDArray:
    """Shares of what is seen (columns) where a class is asked for (rows), [K, K]; zeros where nobody asked."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(asked, found, labels=np.arange(data.classes or 0), normalize="true")


def between(params: Any, a: Any, b: Any, t: Any) -> Any:
    """Parameters in which class a is `(1 - t) e(a) + t e(b)` in every table of classes."""

    def row(path: tuple, leaf: jax.Array) -> jax.Array:
        return leaf.at[a].set((1 - t) * leaf[a] + t * leaf[b]) if path[-1].key == "embedding" else leaf

    return jax.tree_util.tree_map_with_path(row, params)


def ways(config: Config, setup: Setup, state: GameState, classify: Extractor, out: Path) -> NDArray:
    """[4, COLUMNS] shares seen as a, as b, as the class of neither, and as another than at either end, of all ways.

    Class a is each class in turn, b the next; z stays.
    """
    draws = setup.sampler()
    weights = weights_of(setup, state, draws.players)
    kind, classes = setup.imitated(draws).kind, classes_of(setup, draws)
    z = draws.latents(weights, Keys.of(config.seed).samples, jnp.arange(config.ways))

    @jax.jit
    def images(weights: Weights, z: jax.Array, a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
        params, net_state = weights[GENERATOR]
        moved = {**weights, GENERATOR: Owned(between(params, a, b, t), net_state)}
        return kind.decode(draws.latent.decode(moved, z, jnp.full(len(z), a)))  # type: ignore[union-attr]

    pairs = list(zip(classes, np.roll(classes, -1), strict=True))  # type: ignore[arg-type, type-var]
    times, content, found = np.linspace(0, 1, COLUMNS, dtype=np.float32), [], []
    names = setup.imitated(draws).class_names
    for place, (a, b) in enumerate(pairs):
        x = np.stack([np.asarray(images(weights, z, a, b, t)) for t in times], 1)  # [ways, COLUMNS, H, W, C]
        named = seen(classify, x.reshape(-1, *x.shape[2:])).reshape(x.shape[:2])
        ends = (named == named[:, :1]) | (named == named[:, -1:])
        found.append([(named == a), (named == b), (named != a) & (named != b), ~ends])
        if place < SHOWN:
            content.append(Row(x[place % len(x)], " to ".join(names[k] if names else str(k) for k in (a, b))))
    rows(content, out, title="One z from class to class", heads=[f"{t:.2f}" for t in times])
    return np.mean(found, (0, 2))


class Point(NamedTuple):
    """A threshold of truncation."""

    threshold: float
    deviation: float  # of a coordinate of z
    agreement: float  # share of samples that are seen as what was asked for
    frechet: float  # to the training images, in the classifier's features
    precision: float
    recall: float


def truncation(config: Config, setup: Setup, state: GameState, classify: Extractor, passes: int) -> list[Point]:
    """Fidelity and diversity by threshold, with BatchNorm's statistics of so many passes of it, or of training (0).

    The last point is the whole prior. Samples are as many of each class, the same z for all thresholds.
    """
    from scipy.stats import truncnorm

    data, classes = checked(setup, setup.sampler()), classes_of(setup, setup.sampler())
    asked = np.repeat(classes, config.per_class)  # type: ignore[arg-type]
    features, _ = extract(classify, data.x_train)
    real, near = moments(features), features[subsample(len(features), len(asked))]
    found = []
    for threshold in (*sorted(config.thresholds), np.inf):
        cut = None if np.isinf(threshold) else threshold
        key = Keys.of(config.seed).samples
        x = draw(setup, state, key, len(asked), asked, standing=passes, truncation=cut)
        own, logits = extract(classify, x)
        agreement = float((logits.argmax(1) == asked).mean())  # type: ignore[union-attr]
        frechet, deviation = frechet_distance(moments(own), real), float(truncnorm.std(-threshold, threshold))
        found.append(Point(threshold, deviation, agreement, frechet, *precision_recall(near, own)))
    return found


def told_of_confusion(data: Dataset, shares: Mapping[str, NDArray], count: int) -> list[str]:
    """Agreement, and the pairs of classes that samples confuse more than held-out images do."""
    samples, real = shares.values()
    names = data.class_names or [str(k) for k in range(len(real))]
    present = np.flatnonzero(samples.sum(1))
    right = {name: one.diagonal()[present].mean() for name, one in shares.items()}
    excess = samples - real
    np.fill_diagonal(excess, -1)
    worst = np.argsort(excess, axis=None)[::-1][:3]
    said = [
        f"{names[a]} seen as {names[b]} {samples[a, b]:.1%} against {real[a, b]:.1%}"
        for a, b in zip(*np.unravel_index(worst, excess.shape), strict=True)
    ]
    agreed = ", ".join(f"{share:.1%} of {name}" for name, share in right.items())
    p = right["samples"]
    return [
        f"seen as the class that they have, mean of classes: {agreed} (binomial error of {count:,} samples "
        f"{100 * np.sqrt(p * (1 - p) / count):.1f} points)",
        f"leaks most: {'; '.join(said)}",
    ]


def told_of_ways(turns: NDArray) -> list[str]:
    """What is seen half-way."""
    a, b, neither, other = turns[:, COLUMNS // 2]
    return [
        f"half-way from class to class: {a:.0%} seen as the first, {b:.0%} as the second, {neither:.0%} as neither, "
        f"{other:.0%} as what is seen at no end (at the ends {turns[2, 0]:.0%} and {turns[2, -1]:.0%} as neither)"
    ]


def table(config: Config, cut: Mapping[int, Sequence[Point]]) -> list[str]:
    """A line for each threshold, standing statistics beside running ones."""
    heads = ("agreement", "frechet", "precision", "recall")
    lines = [
        f"{'':22}{f'statistics of {config.standing} passes':^42}{'running statistics':^42}",
        f"{'threshold':>10}{'variance':>12}" + 2 * "".join(f"{head:>10}" for head in heads),
    ]
    for standing, running in zip(*cut.values(), strict=True):
        line = f"{standing.threshold:>10g}{standing.deviation**2:>12.4f}"
        for one in (standing, running):
            line += f"{one.agreement:>10.1%}{one.frechet:>10.2f}{one.precision:>10.3f}{one.recall:>10.3f}"
        lines.append(line)
    return lines


def draw_confusion(data: Dataset, shares: Mapping[str, NDArray], out: Path) -> None:
    """The matrices side by side; darker where more is seen, numbers from one percent on."""
    count = data.classes or 0
    names = data.class_names if data.class_names and count <= NAMES else [str(k) for k in range(count)]
    side = min(9.0, 2.6 + 0.3 * count)
    figure = new_figure(2 * side, side, layout="compressed")
    for axes, (name, one) in zip(figure.subplots(1, len(shares)), shares.items(), strict=True):
        axes.imshow(one, cmap="Blues", vmin=0, vmax=1)
        axes.set_title(name, fontsize=TITLE, color=INK)
        axes.set_xlabel("seen as", fontsize=LABEL, color=INK)
        axes.set_ylabel("asked for" if name == "samples" else "labelled", fontsize=LABEL, color=INK)
        axes.spines[:].set_visible(False)
        if count > NAMES:
            continue
        axes.set_xticks(range(count), names, rotation=60, ha="right", fontsize=SMALL)
        axes.set_yticks(range(count), names, fontsize=SMALL)
        for a, b in zip(*np.nonzero(one >= 0.01), strict=True):
            tint = "white" if one[a, b] > 0.5 else INK
            axes.text(b, a, f"{100 * one[a, b]:.0f}", ha="center", va="center", fontsize=SMALL - 1, color=tint)
    save_figure(figure, out)


def draw_curves(turns: NDArray, cut: Mapping[int, Sequence[Point]], out: Path) -> None:
    """What is seen on the way, and what truncation trades for what, by the deviation of z that it leaves."""
    t = np.linspace(0, 1, COLUMNS)
    kinds = ("the first class", "the second", "neither")
    seen_as = [Series(t, 100 * one, kind) for one, kind in zip(turns[:3], kinds, strict=True)]
    parts = [Panel(seen_as, "place between two classes, same z", "seen as (%)", "From class to class", ylim=(0, 100))]
    named = {("measured anew" if passes else "of training"): found for passes, found in cut.items()}
    z = np.array([one.deviation for one in next(iter(named.values()))])
    x = "standard deviation of truncated z"

    def lines(*of: str) -> list[Series]:
        return [
            Series(z, [getattr(one, what) for one in found], f"{what}, {name}" if len(of) > 1 else name)
            for name, found in named.items() for what in of
        ]  # fmt: skip

    parts.append(Panel(lines("precision", "recall"), x, "share", "Fidelity and diversity", ylim=(0, 1.02)))
    parts.append(Panel(lines("frechet"), x, "Frechet distance", "Distance to the training images", log="y"))
    parts.append(Panel(lines("agreement"), x, "share", "Seen as the class that was asked for", ylim=(0, 1.02)))
    panels(
        parts,
        out,
        columns=2,
        size=(5.2, 3.8),
        title="With BatchNorm's statistics of training, or measured anew",
    )


SMOKE = {"data": "digits", "steps": 2, "width": 4, "batch_size": 16, "latent": 4, "per_class": 4, "ways": 2,
         "thresholds": (1.0,), "standing": 1}  # fmt: skip
EXPERIMENT = launch.Experiment("class_leakage", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
