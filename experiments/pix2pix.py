"""pix2pix: from a drawing to the picture that it was drawn of, by a network that is told what is wrong with its own.

Claim: a U-Net that minimises the distance to the truth paints the median of what a drawing may mean, which is pale; a
discriminator that sees drawing and picture together has it choose, at little cost in that distance.
Paper: Isola, Zhu, Zhou and Efros, Image-to-Image Translation with Conditional Adversarial Networks, 2017 (section 3;
tables 1 and 2: the distance, the game, and both).
Command: python experiments/pix2pix.py train --workdir runs/pix2pix
         python experiments/pix2pix.py evaluate --workdir runs/pix2pix --count 228
         python experiments/pix2pix.py panel --workdir runs/pix2pix --out panel.png
Figure: panel.png, held-out drawings, what the distance alone makes of them, what the game does, the truth, and the same
drawings with other masks of dropout, which is all the noise that there is.
Two generators learn side by side from one initialisation and the same examples: the second, "control", never hears of
the discriminator (--no-control leaves it out; --game 0 leaves the game out, and not a step of it is computed).
`evaluate` measures both, with the dropout of training and "undropped", beside predictors that learn nothing: the
drawing itself (l1_drawing), the picture of the most similar drawing (l1_neighbour), the mean and the median picture
(l1_mean, l1_median), and what is dark of the drawing on the latter (l1_outlined).
Data of your own are an .npz file with x_train, x_test, the pictures, and drawing_train, drawing_test, uint8
[N, H, W, C] of the same size. Of OpenMoji without its flags, whose drawings say nothing of their colours, with
keep = group != 5: np.savez("openmoji.npz", x_train=colour[keep], drawing_train=outline[keep], y_train=group[keep], ...)
What we measured on that file (1,966 pairs, and 229 to test on), seed 0, --width 16 --discriminator-width 16 --ema-decay
.999, the average's last step, 9 minutes on 2 CPU cores beside many other programs: l1 .163 with the game and .144
without, colourfulness 1.11 and .78 of the truth's; without dropout .160 and .143, 1.08 and .78. The drawing itself has
.146, the neighbour .225, the median .318: after so few steps the distance alone has learned little more than to copy
the drawing and paints pale yellow what the game paints orange. The raw weights have .166 and .144, 1.20 and .79. Of the
embedded emoji (228 to test on), --width 16 --discriminator-width 16 --steps 1000 --decay-steps 1000, 4 minutes: .296
and .290, colourfulness .62 and .51, where the drawing has .557, the neighbour .295, the median .349: pale pink is the
median of faces, and the game decides for yellow. Masks change speckles and no colour, as in the paper.
Four times as many steps (--steps 6000 --decay-steps 6000, 24 minutes beside much else) of OpenMoji, seed 0: l1 .137
with the game and .123 without, 1.11 times as much, undropped .136 and .123, colourfulness 1.08 and 1.07 of the truth's:
the distance alone paints ochre by now what the game paints yellow. After --steps 9000 --decay-steps 9000, 13 minutes of
one core, seed 0: l1 .1365 and .1197, 1.14 times as much, undropped .136 and .119, where the drawing has .146, what is
dark of it on the median .176; a Frechet distance of 70.0 with the game and 104.7 without (floor 55.9, held-out images
63.4; --sampler control_translation), colourfulness 1.09 and 1.00: the distance alone is no longer pale, but faces are
ochre still. No run was made at full width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganjax import launch
from ganjax.commands.base import OfRun, opened
from ganjax.config import require
from ganjax.options import Adam, Averaging, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.core import GameState, Measure
    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(Averaging, Adam, TrainConfig):
    """The networks, what each player pays, and what examples look like."""

    given: str = "drawing"
    """The companion of the data that pictures are made of: images of their size."""
    width: int = 32
    """Channels of the U-Net's first map; 64 in the paper."""
    downs: int = 5
    """How often it halves, by which the sides must be divisible; 8 in the paper, for 256x256."""
    norm: Literal["batch", "instance"] = "batch"
    """In both networks."""
    dropout: float = 0.5
    """Share of what is dropped of three maps of the decoder."""
    discriminator_width: int = 32
    """Channels of its first map."""
    discriminator_layers: int = 2
    """Its layers of stride 2: patches of 7, 16, 34, 70, 142 or 286 pixels are judged with 0 to 5."""
    game: float = 1.0
    """Weight of the game in the generator's cost; 0 leaves the discriminator out."""
    distance: float = 100.0
    """Weight of the mean absolute difference from the truth, of pixels from -1 to 1."""
    jitter: int = 4
    """Pixels by which a pair is shifted at most, before it is flipped or not."""
    control: bool = True
    """Train a second generator by the distance alone."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("width", "downs", "discriminator_width"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("discriminator_layers", "jitter"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("game", "distance"):
            require(self, name, 0 <= getattr(self, name) < float("inf"), "a number that is not negative")
        require(self, "dropout", 0 <= self.dropout < 1, "at least 0 and less than 1")
        require(self, "distance", self.distance > 0 or self.game > 0, "a positive number with --game 0")
        require(self, "distance", self.distance > 0 or not self.control, "a positive number, or --no-control")

    def unused(self) -> dict[str, str]:
        alone = () if self.game else ("discriminator_width", "discriminator_layers")
        return super().unused() | dict.fromkeys(alone, "--game 0 leaves the discriminator out")


CONFIG = Config(
    steps=1500,
    data="fluent_emoji",
    batch_size=8,  # 1 to 10 in the paper
    decay_steps=1500,
    learning_rate=4e-4,  # 2e-4 in the paper, which takes fifty times as many steps
    ema_decay=0.99,  # the last hundred steps of so few
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """U-Net and PatchGAN, the discriminator first, and both see the same batch."""
    from ganjax import recipe
    from ganjax.augment import jitter
    from ganjax.dynamics import alternating
    from ganjax.errors import DataError
    from ganjax.games import pix2pix
    from ganjax.models.patchgan import PatchDiscriminator
    from ganjax.models.unet import UNet
    from ganjax.training import Averaged, Setup, Stream

    dataset = load(config.data)
    drawn = dataset.y(config.given)
    if dataset.y_kind(config.given).name != "image" or drawn is None or drawn.shape[1:3] != dataset.shape[:2]:
        raise DataError(
            f"--given {config.given}: it is {dataset.y_kind(config.given).plural} in the data set {dataset.name}, "
            f"expected images of {dataset.shape[:2]} pixels as its examples; name another companion"
        )
    generator = UNet(dataset.shape[-1], config.width, config.downs, config.norm, config.dropout, axis_name)
    players = (pix2pix.GENERATOR, *([pix2pix.CONTROL] if config.control else []))
    discriminator = PatchDiscriminator(
        config.discriminator_width, config.discriminator_layers, config.norm, axis_name=axis_name
    )
    adam, kept = recipe.adam_of(config), recipe.averages(config)
    first = [pix2pix.DISCRIMINATOR] if config.game else []
    shown: dict[str, Any] = {"given": config.given, "control": config.control, "dropout": config.dropout > 0}
    return Setup(
        game=pix2pix.pix2pix(
            generator,
            discriminator if config.game else None,
            weight=config.game,
            distance_weight=config.distance,
            control=config.control,
        ),
        dynamics=alternating(
            dict.fromkeys([*first, *players], adam), order=[*first, players], fresh=False, axis_name=axis_name
        ),
        streams={"data": Stream(dataset, config.batch_size, y=config.given, prepare=jitter(config.jitter))},
        averages={} if kept is None else {config.average: Averaged(players, kept)},
        samplers=pix2pix.samplers(generator, **shown),
        measures={**pix2pix.measures(generator, **shown), **trivial(dataset, config.given)},
    )


def trivial(dataset: "Dataset", given: str) -> "dict[str, Measure]":
    """The mean absolute error of predictors that learn nothing, of the same held-out pairs."""
    import numpy as np

    from ganjax.core import Measure
    from ganjax.games.pix2pix import GENERATOR
    from ganjax.kinds import from_bytes

    def error(of):
        return lambda pairs: float(np.mean(np.abs(pairs[0] - of(pairs[1]))))

    def grey(drawings):
        return np.broadcast_to(drawings.mean(-1, keepdims=True), (*drawings.shape[:-1], dataset.shape[-1]))

    def neighbour(drawings):
        known, asked = (
            from_bytes(dataset.y(given)).reshape(len(dataset.x_train), -1),  # type: ignore[arg-type]
            drawings.reshape(len(drawings), -1),
        )
        away = np.square(known).sum(1)[None] - 2 * asked @ known.T  # beside |asked|^2, which decides nothing
        return from_bytes(dataset.x_train[away.argmin(1)])

    def mean(drawings):
        return from_bytes(dataset.x_train.mean(0))[None]

    def median(drawings):
        return from_bytes(np.median(dataset.x_train, axis=0))[None]

    def outlined(drawings):
        return np.where(grey(drawings) < 0, grey(drawings), median(drawings))

    predictors = {
        "l1_drawing": grey, "l1_neighbour": neighbour, "l1_mean": mean, "l1_median": median, "l1_outlined": outlined,
    }  # fmt: skip
    return {
        name: Measure(lambda w, batch, key: (batch.x, batch.y), (GENERATOR,), "data", "lower", given, error(of))
        for name, of in predictors.items()
    }


@dataclass(frozen=True, kw_only=True)
class Panel(OfRun):
    """Held-out drawings, what each generator makes of them, the truth, and the same drawings with other masks."""

    out: Path
    """The picture to write, .png."""
    count: int = 8
    """How many drawings."""
    draws: int = 4
    """How many times the generator paints each of them in all."""
    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    seed: int = 0
    """Seed of the masks."""

    def __post_init__(self):
        for name in ("count", "draws"):
            require(self, name, 1 <= getattr(self, name) <= 32, "1 to 32")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        require(self, "out", self.out.suffix == ".png", "a name that ends in .png")

    def run(self, experiment: launch.Experiment) -> None:
        run = opened(experiment, self)
        from ganjax.report.rows import rows
        from ganjax.training import load_state

        self.out.parent.mkdir(parents=True, exist_ok=True)
        state = load_state(run.setup, run.workdir)
        rows(strips(run.setup, state, self.count, self.draws, self.weights, self.seed), self.out)
        print(self.out)


def strips(setup: "Setup", state: "GameState", count: int, draws: int, weights: str = "default", seed: int = 0) -> list:
    """The rows of the panel, as `report.rows` takes them."""
    import numpy as np

    from ganjax.report.images import to_rgb
    from ganjax.report.rows import Row
    from ganjax.training import Keys, draw, in_turn
    from ganjax.training.sampling import of_split

    sampler, key = setup.sampler("translation"), Keys.of(seed).samples
    given = in_turn(setup, sampler, count)
    size = count * draws  # sample i is the drawing i % count, painted with masks of its own
    made = draw(setup, state, key, size, np.resize(given.values, (size, *given.values.shape[1:])), weights=weights)
    found = {"given": given.values}
    if "control_translation" in setup.samplers:
        alone = draw(setup, state, key, count, given.values, sampler="control_translation", weights=weights)
        found["distance\nalone"] = alone
    found |= {"with\nthe game": made[:count], "truth": of_split(setup.imitated(sampler), "x", given.split, given.rows)}
    found |= {f"masks {k + 1}": made[k * count : (k + 1) * count] for k in range(1, draws)}
    return [Row(to_rgb(images), caption) for caption, images in found.items()]


SMOKE = {
    "steps": 4,
    "width": 2,
    "downs": 3,
    "discriminator_width": 2,
    "discriminator_layers": 1,
    "batch_size": 4,
    "sample_every": 2,
    "checkpoint_every": 2,
    "chunk": 2,
    "decay_steps": 0,
}
EXPERIMENT = launch.Experiment("pix2pix", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT, more={"panel": Panel})
