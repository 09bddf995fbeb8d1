"""Pictures of what a run draws: `sample` and `latent`."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganjax.commands.base import Experiment, OfRun, opened
from ganjax.config import require
from ganjax.errors import printable

if TYPE_CHECKING:
    from ganjax.training import Setup


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture(OfRun):
    """What every command that draws from a trained generator can be told."""

    out: Path
    """The picture to write, .png; waveforms also as WAV files, in a folder beside it that is called as it is."""
    count: int = 64
    """How many samples."""
    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    sampler: str = ""
    """Which of the experiment's samplers; by default the first."""
    seed: int = 0
    """Seed of the latents."""
    classes: tuple[int, ...] = ()
    """The classes to ask a conditional generator for, in turn; by default all that have training examples."""

    def __post_init__(self):
        require(self, "count", self.count >= 1, "at least 1")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        require(self, "out", self.out.suffix == ".png", "a name that ends in .png")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Picture):
    """Draw from a trained generator and write a picture."""

    given: tuple[str, ...] = ()
    """What to ask for, in turn: classes by number or name, captions, vectors; or the path of a set of images for what
    is made of images, which go through what the run's own went through: grey or RGB, padding, size. By default classes
    in turn, or held-out examples."""
    text: tuple[str, ...] = ()
    """Captions to draw, in turn, each in quotation marks; words that the data do not have are named and left out."""
    truncation: float | None = None
    """Redraw entries of z beyond this threshold (BigGAN), or go this part of the way from the mean style (StyleGAN):
    truer samples, less diverse ones."""
    standing: int = 0
    """Passes of 64 samples that BatchNorm's statistics are taken from anew, as BigGAN does; 0 takes those that were
    averaged in training."""

    def __post_init__(self):
        super().__post_init__()
        check_drawing(self)
        require(self, "given", not (self.given and self.text), "nothing beside --text, which asks for captions too")

    def run(self, experiment: Experiment) -> None:
        run = opened(experiment, self, needs="picture", sampler=self.sampler)
        from ganjax import gallery
        from ganjax.training import Keys, draw, in_turn, load_state
        from ganjax.training.sampling import told, unknown_words

        setup, key = self.of_setup(experiment, run.setup), Keys.of(self.seed).samples
        draws = setup.sampler(self.sampler)
        if self.text and (unknown := unknown_words(setup, draws, self.text)):
            print(f"unknown words, which are left out: {', '.join(unknown)[:200]}", file=sys.stderr)
        if self.given or self.text:
            given = told(setup, draws, self.given or self.text, self.count)
        else:
            given = in_turn(setup, draws, self.count, self.classes)
        state = load_state(setup, run.workdir)
        how: dict[str, Any] = {name: getattr(self, name) for name in ("sampler", "weights", "standing", "truncation")}
        x = draw(setup, state, key, self.count, given.values, **how)
        gallery.picture(setup, x, self.out, self.sampler, given)
        for line in gallery.written(x, setup.imitated(draws)):
            print(printable(line))
        print(self.out)
        if setup.imitated(draws).kind.name == "clip":
            print(gallery.animation_of(self.out))

    def of_setup(self, experiment: Experiment, setup: "Setup") -> "Setup":
        """What is drawn from; an experiment's own command may change its samplers."""
        del experiment
        return setup


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latent(Picture):
    """Look into the latent space of a trained generator: write a picture, print its numbers."""

    what: Literal["interpolation", "arithmetic", "truncation", "projection"]
    """interpolation: paths between two latents, a straight one above one along the sphere, which keeps the length of z.
    arithmetic: class a - class b + class c, on the mean latents of the samples that a classifier sees in each class.
    truncation: latents redrawn beyond a threshold, with their diversity and their distance to the training images.
    projection: held-out images above the nearest ones that the generator makes, and training images as a control."""
    count: int = 8
    """How many: pairs of latents, sums, samples of each threshold, or images to project."""

    def run(self, experiment: Experiment) -> None:
        run = opened(experiment, self)
        from ganjax.explore import explore
        from ganjax.training import load_state

        state = load_state(run.setup, run.workdir)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        how: dict[str, Any] = {name: getattr(self, name) for name in ("count", "weights", "seed", "classes", "sampler")}
        print("\n".join(explore(self.what, run.setup, state, self.out, **how)))


def check_drawing(command: Any) -> None:
    require(command, "truncation", command.truncation is None or command.truncation > 0, "a positive number")
    require(command, "standing", 0 <= command.standing <= 10_000, "0 to 10000")
