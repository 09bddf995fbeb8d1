"""Five years of generators on one data set at equal time: perceptrons, convolutions, pyramids, growth, scale, styles.

Claim: the row of faces from 2014 to 2018 that opens every lecture compares papers of unequal data, sizes and budgets.
Here each idea gets the same images and the same seconds on the same machine, at a size that fits them; what then comes
out says which idea pays early, not which is best in the end.
Paper: Goodfellow et al. 2014 (perceptrons); Denton et al. 2015 (LAPGAN); Radford et al. 2016 (DCGAN); Karras et al.
2018 (growing) and 2019 (styles); Brock et al. 2019 (BigGAN). The recipes are those of the experiments vanilla_gan,
lapgan, dcgan, progressive, stylegan and biggan, at the sizes that they have for a CPU, with averages of about the last
hundred steps.
Command: python experiments/early_faces.py train --workdir runs/early
         python experiments/early_faces.py train --workdir runs/early_faces --data faces.npz --seconds 900
Time: the seconds of each model, by default 60 each, and as much again for compiling and scores.
Figure: runs/early/row.png, real images, and what each model draws, a model a row.
Seconds are those of training alone: the first --chunk steps, which compile, count as long as later ones take. A model
of stages shares its seconds out equally among them. --clock processor counts what the cores spent, which is fairer on a
machine that others use. The Frechet distance is in the features of a classifier of the data, or of pixels where there
are no labels; its floor is what real images score in the place of samples.
What we measured: --seconds 60 --clock processor, all else by default, seed 0, 8 minutes of 2 CPU cores that others used
too, where a step costs more than it does alone. Frechet distances (floor 1.6, held-out images 1.2) and steps: DCGAN
23.7 (1,230), perceptrons 28.3 (2,520), LAPGAN 45.1 (8,210, of which 7,500 of 7x7 pixels), BigGAN of 8 channels 152
(110, of four turns each), styles 196 (340), growing 233 (710, of which 60 at full size). With half the time, in four
runs: 58.7, 68.1, 67.6, 131, 218 and 324. So a minute says how cheap a step is and little else: what is small is ahead,
whatever its year, and BigGAN has got worse meanwhile.
Drawn faces of 64x64 (--data faces.npz --seconds 240 --clock processor, all else by default, seed 0, 44 minutes of
processor time, on cores that other work shared). Frechet distances in pixels, for faces have no one class (floor 28,
held-out images 91), and steps: DCGAN 502 (510), LAPGAN 575 (30,540, most of them of small images), BigGAN of 8
channels 782 (130), perceptrons 826 (1,020), growing 1,129 (5,710, 20 of them at full size), styles 1,254 (260, 8,320
images). In the row of pictures the DCGAN's are faces, LAPGAN's and the perceptrons' are faces under noise, the others
none yet. At four minutes 2016 is ahead of 2018. It is one seed; more time has not been tried.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from ganjax import launch
from ganjax.commands.base import stages_of
from ganjax.config import require
from ganjax.core import GameState
from ganjax.data import Dataset, load, subsample
from ganjax.errors import DataError
from ganjax.evaluation import Score, chosen_extractor, evaluate
from ganjax.files import write_atomically
from ganjax.report import Row, rows
from ganjax.training import Keys, Setup, beginning, check, draw, fit

Name = Literal["perceptrons", "lapgan", "dcgan", "growing", "styles", "biggan"]
YEARS: Mapping[Name, int] = {
    "perceptrons": 2014, "lapgan": 2015, "dcgan": 2016, "growing": 2018, "styles": 2018, "biggan": 2018,
}  # fmt: skip
DECAY = 0.99  # of the averages


@dataclass(frozen=True)
class Config:
    """The images, the models and the time of each."""

    data: str = "fashion_mnist"
    """Images whose sides can be halved to 4 to 7: fashion_mnist, fluent_emoji, an .npz of faces."""
    models: tuple[Name, ...] = tuple(YEARS)
    """Which, in their order."""
    seconds: float = 60.0
    """Of training, of each model."""
    clock: Literal["wall", "processor"] = "wall"
    """Seconds of the clock on the wall, or of all cores together."""
    most_steps: int = 100_000
    """Where a model ends in any case, or one of its stages."""
    chunk: int = 10
    """Steps between two looks at the clock."""
    fade: int = 25
    """Steps in which the new layers of growing fade in; a stage that ends before draws enlarged smaller images."""
    count: int = 2000
    """Samples of each score."""
    columns: int = 12
    """Images in a row of the picture."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self):
        require(self, "seconds", self.seconds > 0, "a positive number")
        for name in ("most_steps", "chunk", "columns", "fade"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "count", self.count >= 20, "at least 20")
        require(self, "models", len(self.models) > 0, f"some of {', '.join(YEARS)}")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")


class Found(NamedTuple):
    """What a model came to."""

    year: int
    steps: int  # of all stages
    images: int  # that its players were shown
    seconds: float
    parameters: dict[str, int]  # keyed by player; of the last stage
    frechet: Score
    samples: NDArray  # uint8 [columns, H, W, C]


def compute(config: Config, workdir: Path) -> list[str]:
    """Model by model: train for so long, draw, score."""
    data = load(config.data)
    if data.kind.name != "image":
        raise DataError(f"{data.name} has {data.kind.plural}, expected images, which these networks are made for")
    plans = {name: stages_of(plan(name, data, config.fade)) for name in config.models}
    for stages in plans.values():
        for setup in stages.values():
            check(setup)
    extractor = chosen_extractor("classifier" if labelled(data) else "pixels", data, progress=True)
    found: dict[str, Found] = {}
    for name, stages in plans.items():
        setup, state, steps, images, seconds = trained(config, name, stages)
        score = next(
            iter(evaluate(setup, state, extractor, metrics=("frechet",), count=config.count, seed=config.seed).values())
        )
        x = draw(setup, state, Keys.of(config.seed).samples, config.columns)
        found[name] = Found(YEARS[name], steps, images, seconds, sizes(state), score, x)
        keep(found, workdir / "results.json")
    out = workdir / "row.png"
    picture(config, data, found, out)
    return [*table(config, data, extractor.name, found), str(out)]


def labelled(data: Dataset) -> bool:
    """Whether a classifier can learn from it, and a generator be told classes."""
    return data.y_train is not None and len(np.unique(data.y_train)) > 1


def plan(name: Name, data: Dataset, fade: int) -> Any:
    """The recipe of a model, at a size for a CPU: a `Setup`, or stages of them."""
    module, told = recipe(name, data, fade)
    return module.build(replace(module.CONFIG, ema_decay=DECAY, **told), lambda _: data, None)


def recipe(name: Name, data: Dataset, fade: int) -> tuple[ModuleType, dict[str, Any]]:
    """The experiment whose networks they are, and what it is told but its own defaults."""
    small = max(data.shape[:2]) <= 32
    if name == "perceptrons":
        import vanilla_gan  # these lie beside this script, where Python looks first

        return vanilla_gan, {}
    if name == "lapgan":
        import lapgan

        return lapgan, {"control": False, "levels": halvings(data) + 1}
    if name == "dcgan":
        import dcgan

        return dcgan, {}
    if name == "growing":
        import progressive

        return progressive, {"fade_steps": fade} | ({} if small else {"base": 2048})
    if name == "styles":
        import stylegan

        return stylegan, {"preset": "smaller"} if small else {}
    import biggan

    return biggan, {"width": 8, "conditional": labelled(data)}


def halvings(data: Dataset) -> int:
    """How often the images can be halved to a side of 7 or less, as LAPGAN's pyramid is."""
    side, found = min(data.shape[:2]), 0
    while side > 7 and side % 2 == 0:
        side, found = side // 2, found + 1
    return found


def trained(config: Config, name: str, stages: Mapping[str, Setup]) -> tuple[Setup, GameState, int, int, float]:
    """The last stage and its state; steps, examples and seconds of all."""
    earlier: dict[str, tuple[Setup, GameState]] = {}
    steps, images, seconds = 0, 0, 0.0
    for stage, setup in stages.items():
        watch = Clock(config.seconds / len(stages), CLOCKS[config.clock])
        begun = beginning(setup, earlier)
        state = fit(
            begun, config.seed, config.most_steps, label=f"{name} {stage}".strip(), progress=True, chunk=config.chunk,
            watch=watch,
        )  # fmt: skip
        earlier[stage] = setup, state
        steps, images, seconds = steps + watch.steps, images + watch.steps * setup.examples, seconds + watch.spent
    return setup, state, steps, images, seconds


CLOCKS: Mapping[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


class Clock:
    """Says stop after so many seconds of training: a `watch` of `fit`.

    It is started by the end of the first chunk, which compiles; that chunk counts as long as later ones take.
    """

    def __init__(self, seconds: float, now: Callable[[], float]):
        self.seconds, self.now = seconds, now
        self.steps, self.spent, self._first = 0, 0.0, (0, 0.0)

    def __call__(self, step: int, state: GameState) -> bool:
        del state
        first, start = self._first
        self.steps = step
        if not first:
            self._first = step, self.now()
            return False
        self.spent = (self.now() - start) * step / (step - first)
        return self.spent >= self.seconds


def sizes(state: GameState) -> dict[str, int]:
    """Parameters of each player."""
    return {player: sum(leaf.size for leaf in jax.tree.leaves(own)) for player, own in state.params.items()}


def keep(found: Mapping[str, Found], path: Path) -> None:
    """What there is, should the rest fail."""
    kept = {
        name: one._replace(samples=None, frechet=one.frechet.value)._asdict() | {"floor": one.frechet.floor}  # type: ignore[arg-type]
        for name, one in found.items()
    }
    write_atomically(path, json.dumps(kept) + "\n")


def table(config: Config, data: Dataset, judge: str, found: Mapping[str, Found]) -> list[str]:
    """A line for each model, and for real images."""
    lines = [
        f"{data.name}, {data.shape}, seed {config.seed}: {config.seconds:g} seconds ({config.clock} clock) of each; "
        f"Frechet distance of {config.count:,} samples as {judge} sees them",
        f"{'model':14}{'year':>6}{'steps':>9}{'images':>11}{'seconds':>9}{'parameters':>12}{'Frechet':>10}{'floor':>8}"
        f"{'held out':>10}",
    ]
    for name, one in found.items():
        held_out = "" if one.frechet.held_out is None else f"{one.frechet.held_out:.2f}"
        lines.append(
            f"{name:14}{one.year:>6}{one.steps:>9,}{one.images:>11,}{one.seconds:>9.0f}"
            f"{sum(one.parameters.values()):>12,}{one.frechet.value:>10.2f}{one.frechet.floor or 0:>8.2f}{held_out:>10}"
        )
    best = min(found, key=lambda name: found[name].frechet.value)
    return [*lines, f"nearest to the data: {best}; parameters are of all players, of stages those of the last"]


def picture(config: Config, data: Dataset, found: Mapping[str, Found], out: Path) -> None:
    """Real images, then a model a row, with its distance."""
    real = data.x_train if data.x_test is None else data.x_test
    shown = np.stack([real[k] for k in np.resize(subsample(len(real), config.columns), config.columns)])
    content = [Row(shown, "real", "")]
    content += [
        Row(one.samples, f"{name}\n{one.year}", f"{one.frechet.value:.1f}\n{one.steps:,} steps")
        for name, one in found.items()
    ]
    rows(content, out, title=f"{config.seconds:g} seconds of each")


SMOKE = {"data": "digits", "models": ("perceptrons",), "seconds": 0.01, "most_steps": 4, "chunk": 2, "count": 20,
         "columns": 4}  # fmt: skip
EXPERIMENT = launch.Experiment("early_faces", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
