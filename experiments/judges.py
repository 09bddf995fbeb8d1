"""Which judge sees what: real images with one fault at a time, before every metric.

Claim: no single number judges a generator. Distances of distributions see nearly every fault but not copies of the
training set, which only an audit against held-out data sees; precision and density are blind to lost modes, recall to
small damage of images; coverage sees both.
Paper: Borji, Pros and Cons of GAN Evaluation Measures, 2019; Xu et al., An empirical study on evaluation metrics of
generative adversarial networks, 2018; Naeem et al., Reliable Fidelity and Diversity Metrics, 2020.
Command: python experiments/judges.py train --workdir runs/judges
Time: about 3 minutes on 2 CPU cores.
Figure: runs/judges/responses.png, every metric over the strength of each fault; runs/judges/faults.png, the images.
Measured with seed 0 on 2,000 held-out garments (floor in brackets): the Frechet distance in the classifier's features
is 1.1 unaltered (1.6), 77 for blur, 45 for noise, 63 for holes, 358 for one class alone, 85 for 20 different images,
and 0.8 for copies of the training set, below its floor. Precision is 1.0 for the 20 images and 0.89 for one class
alone (0.87), density even 1.6 for the 20 images (0.99); recall rises to 0.94 under holes of half strength (0.88).
Coverage falls for every fault but the copies. Only the audit sees those: 100 % of them are nearer to the training set
than 1 % of held-out images are. Blurred images count as duplicates, 80 % of them: they are alike. One class alone hits
6 modes, by mistakes of the classifier: the divergence of the modes, 1.7 nats, sees what their count does not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from ganjax import launch
from ganjax.config import require
from ganjax.data import Dataset, load
from ganjax.errors import DataError
from ganjax.evaluation import METRICS, chosen_extractor
from ganjax.evaluation.evaluate import real_examples, score
from ganjax.evaluation.measures import Comparison, Examples
from ganjax.report import Panel, Series, panels, save_image
from ganjax.report import grid as image_grid


@dataclass(frozen=True)
class Config:
    """The data, and how strong the faults get."""

    data: str = "fashion_mnist"
    """Labelled images: fashion_mnist, digits, or whatever train takes as --data."""
    count: int = 2000
    """Images that are judged, and training images that they are compared with; at most what is held out."""
    levels: int = 4
    """Strengths of each fault, evenly spaced up to the full one."""
    seed: int = 0
    """Of the choice of held-out images and of the noise; reference and floor are those of every evaluation."""

    def __post_init__(self):
        require(self, "count", self.count >= 20, "at least 20")
        require(self, "levels", self.levels >= 1, "at least 1")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")


# A fault makes real images worse: (held-out images, their labels, training images, strength 0 to 1, rng) -> images
Fault = Callable[[np.ndarray, np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]


def blur(x, y, train, strength, rng):
    """A Gaussian of up to a twentieth of the image's side."""
    del y, train, rng
    sides = np.array(x.shape[1:3]) / 20 * strength
    return gaussian_filter(x, (0, *sides, 0)) if strength else x


def noise(x, y, train, strength, rng):
    """White noise of a deviation of up to a quarter of the range."""
    del y, train
    return np.clip(np.rint(x + 64 * strength * rng.normal(size=x.shape)), 0, 255).astype(np.uint8)


def missing_classes(x, y, train, strength, rng):
    """Up to all classes but one are left out, and the others drawn more often."""
    del train
    classes = np.unique(y)
    kept = classes[: max(1, round(len(classes) * (1 - strength)))] if strength else classes
    return x[rng.choice(np.flatnonzero(np.isin(y, kept)), len(x))] if len(kept) < len(classes) else x


def duplicates(x, y, train, strength, rng):
    """Down to 20 different images, each again and again."""
    del y, train
    different = round(len(x) * (20 / len(x)) ** strength)
    return x[rng.permutation(len(x))[np.arange(len(x)) % different]]


def copies(x, y, train, strength, rng):
    """Up to all are training images instead of held-out ones."""
    del y
    copied = rng.permutation(len(x))[: round(strength * len(x))]
    fake = x.copy()
    fake[copied] = train[rng.permutation(len(train))[: len(copied)]]
    return fake


def holes(x, y, train, strength, rng):
    """A black square of up to half the side somewhere in each image."""
    del y, train
    fake, (height, width) = x.copy(), x.shape[1:3]
    h, w = round(height * strength / 2), round(width * strength / 2)
    for image, top, left in zip(
        fake, rng.integers(height - h + 1, size=len(x)), rng.integers(width - w + 1, size=len(x)), strict=True
    ):
        image[top : top + h, left : left + w] = 0
    return fake


FAULTS: Mapping[str, Fault] = {
    "blur": blur,
    "noise": noise,
    "holes": holes,
    "missing classes": missing_classes,
    "duplicates": duplicates,
    "training copies": copies,
}


def compute(config: Config, workdir: Path) -> list[str]:
    """Judge every fault at every strength; print the full ones beside the floor, draw all."""
    data = load(config.data)
    x, y = _held_out(data, config)
    extractor = chosen_extractor(None, data, progress=True)
    real = real_examples(data, extractor, len(x), len(x))
    metrics = [name for name, metric in METRICS.items() if not metric.lacks(data, data.classes)]
    strengths = np.linspace(0, 1, config.levels + 1)
    found, shown = {}, []

    def judged(fake: np.ndarray) -> dict:
        return score(Comparison(Examples(fake, extractor), *real, data, extractor), metrics)

    unaltered = judged(x)
    with tqdm(total=len(FAULTS) * len(strengths), unit="set", dynamic_ncols=True) as bar:
        for name, fault in FAULTS.items():
            bar.set_description(name)
            sets = [fault(x, y, data.x_train, s, np.random.default_rng(config.seed)) for s in strengths]
            found[name] = [unaltered if np.array_equal(fake, x) else judged(fake) for fake in sets]
            shown.append(np.concatenate([fake[:4] for fake in sets]))
            bar.update(len(strengths))
    pictures = workdir / "faults.png", workdir / "responses.png"
    columns = 4 * len(strengths)
    save_image(pictures[0], image_grid(np.concatenate(shown), columns=columns))
    _draw(found, strengths, pictures[1])
    return [*_table(found, config, data), *map(str, pictures)]


def _held_out(data: Dataset, config: Config) -> tuple[np.ndarray, np.ndarray]:
    if data.x_test is None or data.y_test is None:
        raise DataError(f"the data set {data.name} has no labelled held-out images, which this experiment alters")
    order = np.random.default_rng(config.seed).permutation(len(data.x_test))[: config.count]
    return data.x_test[order], data.y_test[order]


def _table(found: Mapping, config: Config, data: Dataset) -> list[str]:
    """A row for each metric: held-out images as they are, then each fault at its full strength."""
    metrics = next(iter(found.values()))[0]
    lines = [
        f"{data.name}: {config.count} images, at most all held-out ones, against as many of the training split; "
        f"seed {config.seed}",
        f"{'':28}{'floor':>10}{'unaltered':>11}" + "".join(f"{name:>17}" for name in found),
    ]
    for metric, first in metrics.items():
        cells = "".join(f"{_number(levels[-1][metric].value):>17}" for levels in found.values())
        arrow = "low" if first.better == "lower" else "high"
        lines.append(f"{metric + ', ' + arrow:28}{_number(first.floor):>10}{_number(first.value):>11}{cells}")
    lines.append("low, high: which is better; floor: other real images in the place of samples")
    return lines


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _draw(found: Mapping, strengths: np.ndarray, out: Path) -> None:
    """One axes for each metric, a line for each fault."""
    metrics = next(iter(found.values()))[0]
    parts = []
    for metric, first in metrics.items():
        series = [
            Series(strengths, [level[metric].value for level in levels], name, tint=tint)
            for tint, (name, levels) in enumerate(found.items())
        ]
        lines = {} if first.floor is None else {"floor": first.floor}
        parts.append(Panel(series, "strength of the fault", f"{metric} ({first.better} is better)", lines=lines))
    panels(parts, out, columns=4, size=(3.2, 2.8), title="Held-out images with one fault at a time, before each judge")


SMOKE = {"data": "digits", "count": 64, "levels": 1}
EXPERIMENT = launch.Experiment("judges", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
