"""The generative adversarial network of 2014 on small images: two multilayer perceptrons.

Claim: two perceptrons that play the non-saturating game learn to draw recognisable images, without a likelihood.
Paper: Goodfellow et al., Generative Adversarial Nets, 2014 (section 5, table 1: MNIST with perceptrons).
Command: python experiments/vanilla_gan.py train --workdir runs/vanilla_gan
Time: about 1 minute on 2 CPU cores.
Figure: runs/vanilla_gan/panel.png, the same latents drawn by the generator over training. The discriminator's cost
starts at 2 log 2 = 1.386, the value where it cannot tell real from fake.
Points work as well: --data ring shows which of eight modes the generator finds.
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import optax

from ganjax import launch
from ganjax.config import TrainConfig
from ganjax.data import Dataset
from ganjax.dynamics import alternating, ema, simultaneous
from ganjax.games.adversarial import gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.models import mlp
from ganjax.training import Averaged, Setup


@dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """The networks, the game and how it is played."""

    steps: int = 6000
    """Train until this step; a larger number continues a finished run."""
    latent: int = 100
    """Size of z ~ N(0, I)."""
    generator_hidden: tuple[int, ...] = (256, 512, 1024)
    """Widths of the generator's hidden layers."""
    discriminator_hidden: tuple[int, ...] = (512, 256)
    """Widths of the discriminator's hidden layers."""
    loss: Literal["minimax", "non_saturating", "maximum_likelihood", "least_squares", "hinge", "wasserstein"] = (
        "non_saturating"
    )
    """What the two players minimise."""
    play: Literal["alternating", "simultaneous"] = "alternating"
    """Whether the generator answers the discriminator's move, or moves at the same time."""
    discriminator_turns: int = 1
    """Discriminator steps per generator step, in alternating play."""
    learning_rate: float = 2e-4
    """Of Adam, for both players."""
    beta1: float = 0.5
    """Adam's momentum (Radford et al. 2016)."""
    ema_decay: float = 0.999
    """Of the averaged generator that draws the samples."""


def build(config: Config, dataset: Dataset, axis_name: str | None) -> Setup:
    """Two perceptrons, one loss, one update rule."""
    output = mlp.identity if len(dataset.shape) == 1 else jnp.tanh
    generator = mlp.Generator(dataset.shape, config.generator_hidden, output=output, axis_name=axis_name)
    discriminator = mlp.Discriminator(config.discriminator_hidden)
    prior = normal_prior(config.latent)
    adam = optax.adam(config.learning_rate, b1=config.beta1)
    optimizers = {"discriminator": adam, "generator": adam}
    if config.play == "alternating":
        turns = {"discriminator": config.discriminator_turns}
        dynamics = alternating(optimizers, turns=turns, axis_name=axis_name)
    else:
        dynamics = simultaneous(optimizers, axis_name=axis_name)
    return Setup(
        game=gan(generator, discriminator, LOSSES[config.loss], prior=prior),
        dynamics=dynamics,
        dataset=dataset,
        batch_size=config.batch_size,
        averages={"ema": Averaged("generator", ema(config.ema_decay, warmup=True))},
        sample=sampler(generator, prior),
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
