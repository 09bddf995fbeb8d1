"""The generative adversarial network of 2014 on small images: two multilayer perceptrons.

Claim: two perceptrons that play the non-saturating game learn to draw recognisable images, without a likelihood.
Paper: Goodfellow et al., Generative Adversarial Nets, 2014 (section 5, table 1: MNIST with perceptrons).
Command: python experiments/vanilla_gan.py train --workdir runs/vanilla_gan
Time: about 2 minutes on 2 CPU cores (50 steps per second).
Figure: runs/vanilla_gan/panel.png, the same latents drawn by the generator over training. The discriminator's cost
starts at 2 log 2 = 1.386, the value where it cannot tell real from fake.
Points work as well: --data ring shows which of eight modes the generator finds.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ganjax import launch
from ganjax.config import GanConfig, require

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(GanConfig):
    """The networks, the game and how it is played."""

    steps: int = 6000
    """Train until this step; a larger number continues a finished run."""
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


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """Two perceptrons, one loss, one update rule."""
    import jax.numpy as jnp
    import optax

    from ganjax.dynamics import alternating, ema, simultaneous
    from ganjax.games import gan, normal_prior, sampler
    from ganjax.losses import named
    from ganjax.models import mlp
    from ganjax.recipe import options
    from ganjax.training import Averaged, Setup, Stream

    dataset = load(config.data)
    output = mlp.identity if dataset.kind.name == "point" else jnp.tanh
    classes = (dataset.classes or 0) if config.conditional else 0
    generator = mlp.Generator(dataset.shape, config.generator_hidden, output=output, num_classes=classes)
    discriminator = mlp.Discriminator(config.discriminator_hidden, num_classes=classes)
    prior = normal_prior(config.latent)
    adam = optax.adam(config.learning_rate, b1=config.beta1)
    optimizers = {"discriminator": adam, "generator": adam}
    if config.play == "alternating":
        turns = {"discriminator": config.discriminator_turns}
        dynamics = alternating(optimizers, turns=turns, axis_name=axis_name)
    else:
        dynamics = simultaneous(optimizers, axis_name=axis_name)
    return Setup(
        game=gan(
            generator,
            discriminator,
            named(config.loss, axis_name),
            prior=prior,
            one_pass=config.play == "alternating",
            axis_name=axis_name,
            **options(config),
        ),
        dynamics=dynamics,
        streams={"data": Stream(dataset, config.batch_size, y="class" if config.conditional else None)},
        averages={"ema": Averaged("generator", ema(config.ema_decay, warmup=True))},
        samplers={"prior": sampler(generator, prior, given=("data", "class") if config.conditional else None)},
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
EXPERIMENT = launch.Experiment("vanilla_gan", __doc__, Config(), SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
