"""Progressive growing: networks that begin with small images and grow, each new layer faded in.

Claim: a critic and a generator that have learned 7x7 pixels learn 14x14 and 28x28 without unlearning; no sample jumps
when a layer is added, as its share begins at nothing.
Paper: Karras, Aila, Laine and Lehtinen, Progressive Growing of GANs for Improved Quality, Stability, and Variation,
2018 (section 2 and figure 2; equalised rates and pixel norm in section 4, deviation over the batch in section 3).
Command: python experiments/progressive.py train --workdir runs/progressive
         python experiments/progressive.py film --workdir runs/progressive --out runs/progressive/film.png
         python experiments/progressive.py sample --workdir runs/progressive --stage side_14 --out small.png
Figure: film.png, the same latents at the end of every phase, and through the last fade; in runs/progressive/side_28
panel.png, the same latents over its phase.
Each side is a stage of its own, of --steps, of which the first --fade-steps fade; players begin with the weights of the
stage before it, new layers fresh, and Adam anew, as in the authors' code. Averages begin anew with each stage.
Sizes: any image that can be halved to sides of 4 to 7. The default is for 28 and 32 pixels; --data fluent_emoji --base
2048 has 352,687 and 353,633 numbers at 64 pixels; --base 16384 --most 512 --latent 512 is the paper's, 23,079,115 and
23,087,249 at 1024 pixels with the layers next to the image of all sides.
What we measured: that a phase begins with the images of the last one, bit for bit, and that both ends of a fade are the
smaller and the larger network (tests). The only run, on the garments, seed 0, had --steps 150 --fade-steps 75 and was
stopped before the end of 28x28: 62 s for 7x7 and 158 s for 14x14, on 2 CPU cores that many others used, after which the
film shows grey blots that get finer smoothly, and no garments. The default has not been run, and no distance taken.
"""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganjax import launch
from ganjax.commands.base import OfRun, opened
from ganjax.config import require
from ganjax.options import Adam, Averaging, Latent, Precision, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.core import GameState
    from ganjax.data import Dataset
    from ganjax.training import From, Setup


@dataclass(frozen=True, kw_only=True)
class Config(Precision, Averaging, Adam, Latent, TrainConfig):
    """The networks, and how they grow; --steps are of each side."""

    base: int = 512
    """A map of height s has base / s channels, at most --most."""
    most: int = 64
    """Channels of a map at most."""
    group: int = 4
    """Examples whose deviation the critic sees; a divisor of the batch of each device."""
    fade_steps: int = 400
    """Steps in which the layers of a new side fade in."""
    penalty: float = 10.0
    """Weight of the gradient penalty."""
    drift: float = 1e-3
    """Weight of the squared output on real images, which keeps it near 0."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("most", "group", "fade_steps"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "base", self.base >= 8, "at least 8")
        for name in ("penalty", "drift"):
            require(self, name, 0 <= getattr(self, name) < math.inf, "a number that is not negative")
        require(self, "batch_size", self.batch_size % self.group == 0, f"a multiple of --group {self.group}")
        require(self, "remat", not self.remat, "left out: these networks have no blocks to compute again")


CONFIG = Config(
    steps=1000,
    batch_size=32,
    latent=64,
    learning_rate=1e-3,  # this and the decays are the authors'
    beta1=0.0,
    beta2=0.99,
    ema_decay=0.99,  # the last hundred steps of so few; .999 in the paper
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "dict[str, Setup]":
    """A stage for each side, which begins with the players of the one before it."""
    from ganjax.data import halved
    from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
    from ganjax.layers.resampling import mean_pool
    from ganjax.models.progressive import maps
    from ganjax.training import From

    sets = [load(config.data)]
    for _ in maps(sets[0].shape)[1:]:
        sets.insert(0, halved(sets[0], mean_pool))
    stages: dict[str, Setup] = {}
    for data in sets:
        before = list(stages)[-1:]
        start = {p: From(before[0], p, grown=True) for p in (DISCRIMINATOR, GENERATOR)} if before else {}
        stages[f"side_{data.shape[0]}"] = phase(config, data, start, axis_name)
    return stages


def phase(config: Config, dataset: "Dataset", start: "dict[str, From]", axis_name: str | None) -> "Setup":
    """WGAN-GP of images of one side, in turns; new layers fade where there are older ones to begin with."""
    from ganjax import recipe
    from ganjax.dynamics import alternating
    from ganjax.games import Term, gan, normal_prior, sampler
    from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
    from ganjax.games.progressive import fading
    from ganjax.losses import LOSSES
    from ganjax.models.progressive import Critic, Synthesis
    from ganjax.penalties import gradient_penalty
    from ganjax.training import Averaged, Setup, Stream

    fade = config.fade_steps if start else 0
    sizes: dict[str, Any] = {"base": config.base, "most": config.most, "dtype": recipe.dtype_of(config)}
    generator, prior = Synthesis(dataset.shape, fade, **sizes), normal_prior(config.latent)
    paid = {
        "penalty": Term(gradient_penalty(), config.penalty),
        "drift": Term(lambda scene: scene.real.logits**2, config.drift),
    }
    game = gan(
        generator,
        Critic(fade, group=config.group, **sizes),
        LOSSES["wasserstein"],
        prior=prior,
        terms={DISCRIMINATOR: paid},
        axis_name=axis_name,
    )
    kept = recipe.averages(config)
    return Setup(
        game=fading(game, fade) if fade else game,
        dynamics=alternating(dict.fromkeys((DISCRIMINATOR, GENERATOR), recipe.adam_of(config)), axis_name=axis_name),
        streams={"data": Stream(dataset, config.batch_size)},
        averages={} if kept is None else {config.average: Averaged(GENERATOR, kept)},
        samplers={"prior": sampler(generator, prior)},
        start=start,
    )


@dataclass(frozen=True, kw_only=True)
class Film(OfRun):
    """Draw the same latents at the end of every phase, and the last ones at shares of the new layers from 0 to 1."""

    out: Path
    """The picture to write, .png."""
    columns: int = 10
    """How many latents."""
    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    seed: int = 0
    """Seed of the latents."""

    def __post_init__(self):
        require(self, "columns", 1 <= self.columns <= 32, "1 to 32")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        require(self, "out", self.out.suffix == ".png", "a name that ends in .png")
        require(self, "stage", not self.stage, "left out: the film is of all stages")

    def run(self, experiment: launch.Experiment) -> None:
        from ganjax.commands.base import config_of

        config, _ = config_of(experiment, self.workdir)
        last = opened(experiment, self)
        from ganjax.report.rows import Row, rows
        from ganjax.training import load_state

        state = load_state(last.setup, last.workdir)
        names, told = last.found["stages"], {field.name: getattr(self, field.name) for field in fields(OfRun)}
        found: dict[str, Any] = {}
        for name in names[: names.index(last.workdir.name)]:
            run = opened(experiment, OfRun(**told | {"stage": name}))
            before = load_state(run.setup, run.workdir)
            found[f"{name.removeprefix('side_')} pixels"] = self.drawn(run.setup, before)
        for alpha in (0, 0.25, 0.5, 0.75, 1) if last.setup.start else (1,):
            caption = f"{last.workdir.name.removeprefix('side_')} pixels" + ("" if alpha == 1 else f"\nalpha = {alpha}")
            found[caption] = self.drawn(last.setup, at_share(state, alpha, config.fade_steps))
        side = max(x.shape[1] for x in found.values())
        self.out.parent.mkdir(parents=True, exist_ok=True)
        rows([Row(enlarged(x, side), caption) for caption, x in found.items()], self.out)
        print(self.out)

    def drawn(self, setup: "Setup", state: "GameState") -> Any:
        from ganjax.training import Keys, draw

        return draw(setup, state, Keys.of(self.seed).samples, self.columns, weights=self.weights)


def at_share(state: "GameState", alpha: float, steps: int) -> "GameState":
    """The state whose networks, averaged ones too, hear this much of their new layers."""
    import jax
    import numpy as np

    from ganjax.layers.fading import FADE

    def told(path: Any, leaf: Any) -> Any:
        named = any(getattr(entry, "key", None) == FADE for entry in path)
        return np.asarray(round(alpha * steps), leaf.dtype) if named else leaf

    return jax.tree_util.tree_map_with_path(told, state)


def enlarged(x: Any, side: int) -> Any:
    """uint8 [N, H, W, C] to RGB of this height."""
    from ganjax.report.images import to_rgb

    times = side // x.shape[1]
    return to_rgb(x.repeat(times, 1).repeat(times, 2))


SMOKE = {
    "steps": 4,
    "data": "digits",
    "base": 32,
    "most": 4,
    "latent": 4,
    "batch_size": 8,
    "fade_steps": 2,
    "sample_every": 2,
    "checkpoint_every": 2,
    "chunk": 2,
}
EXPERIMENT = launch.Experiment("progressive", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT, more={"film": Film})
