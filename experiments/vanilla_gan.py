"""The generative adversarial network of 2014 on small images: two multilayer perceptrons.

Claim: two perceptrons that play the non-saturating game learn to draw recognisable images, without a likelihood.
Paper: Goodfellow et al., Generative Adversarial Nets, 2014 (section 5, table 1: MNIST with perceptrons).
Command: python experiments/vanilla_gan.py train --workdir runs/vanilla_gan
Time: about 2 minutes on 2 CPU cores (50 steps per second).
Figure: runs/vanilla_gan/panel.png, the same latents drawn by the generator over training. The discriminator's cost
starts at 2 log 2 = 1.386, the value where it cannot tell real from fake.
Points work as well: --data ring shows which of eight modes the generator finds.
"""

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Literal

from ganjax import launch
from ganjax.config import require
from ganjax.options import GanConfig, ImageConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(GanConfig):
    """The networks, the game and how it is played."""

    generator_hidden: tuple[int, ...] = (256, 512, 1024)
    """Widths of the generator's hidden layers."""
    discriminator_hidden: tuple[int, ...] = (512, 256)
    """Widths of the discriminator's hidden layers."""
    play: Literal["alternating", "simultaneous"] = "alternating"
    """Whether the generator answers the discriminator's move, or moves at the same time."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("generator_hidden", "discriminator_hidden"):
            require(self, name, min(getattr(self, name), default=1) >= 1, "widths of at least 1")
        if self.play == "simultaneous":
            require(self, "discriminator_turns", self.discriminator_turns == 1, "1 in simultaneous play")


CONFIG = Config(
    steps=6000,  # two minutes on a CPU
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """Two perceptrons, one loss, one update rule."""
    import jax.numpy as jnp

    from ganjax import recipe
    from ganjax.models import mlp

    dataset = load(config.data)
    output = mlp.identity if dataset.kind.name == "point" else jnp.tanh
    told = {field.name: getattr(config, field.name) for field in fields(GanConfig)}
    return recipe.build(
        ImageConfig(**told, dynamics=config.play),  # the options of every GAN are told, those of images as usual
        dataset,
        axis_name,
        generator=partial(mlp.Generator, dataset.shape, config.generator_hidden, output=output),
        discriminator=partial(mlp.Discriminator, config.discriminator_hidden),
    )


SMOKE = {
    "steps": 60,
    "data": "digits",
    "generator_hidden": (64,),
    "discriminator_hidden": (64,),
    "sample_every": 20,
    "checkpoint_every": 30,
    "chunk": 10,
}
EXPERIMENT = launch.Experiment("vanilla_gan", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
