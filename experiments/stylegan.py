"""StyleGAN2: a style for every layer, and a generator whose paths in latent space are evenly long.

Claim: modulated convolutions, noise maps of one channel and a penalty on the lengths of paths draw images whose coarse
and fine traits can be told apart, and mixed.
Paper: Karras, Laine and Aila, A Style-Based Generator Architecture for Generative Adversarial Networks, 2019; Karras et
al., Analyzing and Improving the Image Quality of StyleGAN, 2020; Karras et al., Training Generative Adversarial Nets
with Limited Data, 2020 (the networks as built here, and adaptive augmentation: --augment ada).
Command: python experiments/stylegan.py train --workdir runs/stylegan
         python experiments/stylegan.py sample --workdir runs/stylegan --truncation 0.7 --out truncated.png
Figure: runs/stylegan/panel.png, the same styles over training.
Published sizes: --base 32768 --most 512 --mapping 8 --latent 512 --style 512 is configuration F (30.4 million numbers
in the generator at 1024 pixels), --base 16384 that for 256 pixels; the default is of a size for a CPU, 350,520.
What we measured: MEASURED
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ganjax import launch
from ganjax.config import require
from ganjax.options import Adam, Averaging, Latent, Precision, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(Precision, Averaging, Adam, Latent, TrainConfig):
    """The networks and the penalties."""

    style: int = 64
    """Numbers of w, and units of each layer of the mapping network."""
    mapping: int = 2
    """Layers of the mapping network."""
    base: int = 2048
    """A map of side s has base / s channels, at most --most."""
    most: int = 64
    """Channels of a map at most."""
    group: int = 4
    """Examples whose deviation the discriminator sees; a divisor of the batch of each device."""
    mixing: float = 0.9
    """Share of generated images whose later layers have the style of another latent."""
    r1: float = 0.0
    """Gamma of R1, whose weight is half of it; 0 takes the authors' rule, 0.0002 pixels / batch."""
    r1_every: int = 16
    """Steps between two evaluations of R1, which then weighs as many times as much."""
    path_weight: float = 2.0
    """Of the penalty on lengths of paths; 0 for none."""
    path_every: int = 4
    """Steps between two evaluations of that penalty."""
    augment: Literal["none", "diffaugment", "ada"] = "diffaugment"
    """What real and generated images go through before the discriminator."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("style", "mapping", "most", "group", "r1_every", "path_every"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "base", self.base >= 8, "at least 8")
        require(self, "mixing", 0 <= self.mixing <= 1, "0 to 1")
        for name in ("r1", "path_weight"):
            require(self, name, 0 <= getattr(self, name) < math.inf, "a number that is not negative")
        require(self, "batch_size", self.batch_size % self.group == 0, f"a multiple of --group {self.group}")


CONFIG = Config(
    steps=5000,  # 80,000 images
    data="fluent_emoji",  # colour, 64x64
    batch_size=16,
    latent=64,
    learning_rate=2.5e-3,  # the authors'
    beta1=0.0,
    beta2=0.99,
    ema_decay=0.998,  # half of it is the last 5,500 images
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """Two networks in turns, lazily regularised, Adam slowed by as much (appendix B of the 2020 paper)."""
    import optax

    from ganjax import recipe
    from ganjax.augment import AUGMENTATIONS
    from ganjax.dynamics import alternating
    from ganjax.games import Sight, Term, gan, styles
    from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
    from ganjax.losses import LOSSES
    from ganjax.models import stylegan
    from ganjax.penalties import r1
    from ganjax.training import Averaged, Setup, Stream

    dataset = load(config.data)
    side = stylegan.sides(dataset.shape)[-1]
    dtype = recipe.dtype_of(config)
    sizes = {"base": config.base, "most": config.most, "dtype": dtype}
    g = stylegan.Generator(dataset.shape, config.style, config.mapping, **sizes)
    d = stylegan.Discriminator(group=config.group, **sizes)
    prior = styles.style_prior(config.latent, stylegan.Synthesis(dataset.shape).layers, mixing=config.mixing)
    gamma = config.r1 or 0.0002 * side**2 / config.batch_size
    game = gan(
        g,
        d,
        LOSSES["non_saturating"],
        prior=prior,
        terms={DISCRIMINATOR: {"r1": Term(r1(), gamma / 2, config.r1_every)}},
        sight=Sight(augment=None if config.augment == "none" else AUGMENTATIONS[config.augment]),
        axis_name=axis_name,
    )
    if config.path_weight:
        game = styles.with_path_length(
            game, g, prior, weight=config.path_weight, every=config.path_every, axis_name=axis_name
        )

    def adam(every: int) -> optax.GradientTransformation:
        """A lazy penalty is a step in `every` + 1, as the authors count."""
        share = every / (every + 1)
        return optax.adam(config.learning_rate * share, b1=config.beta1**share, b2=config.beta2**share)

    optimizers = {DISCRIMINATOR: adam(config.r1_every), GENERATOR: adam(config.path_every)}
    kept = recipe.averages(config)
    return Setup(
        game=game,
        dynamics=alternating(optimizers, axis_name=axis_name),
        streams={"data": Stream(dataset, config.batch_size)},
        averages={} if kept is None else {config.average: Averaged(GENERATOR, kept)},
        samplers=styles.samplers(g, size=config.latent),
    )


SMOKE = {
    "steps": 8,
    "data": "digits",
    "style": 8,
    "base": 64,
    "most": 8,
    "latent": 8,
    "batch_size": 8,
    "r1_every": 2,
    "path_every": 2,
    "sample_every": 4,
    "checkpoint_every": 4,
    "chunk": 4,
}
EXPERIMENT = launch.Experiment("stylegan", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
