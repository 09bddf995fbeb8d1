"""SNGAN: residual networks with a spectrally normalised discriminator.

Claim: a discriminator whose kernels have spectral norm 1 trains residual networks stably, without any penalty.
Paper: Miyato, Kataoka, Koyama and Yoshida, Spectral Normalization for Generative Adversarial Networks, 2018 (appendix
B.4, the networks); Miyato and Koyama, cGANs with Projection Discriminator, 2018 (--conditional); Zhang, Goodfellow,
Metaxas and Odena, Self-Attention Generative Adversarial Networks, 2019 (--attention 16 --spectral-norm both).
Command: python experiments/sngan.py train --workdir runs/sngan                 (CIFAR-10 by TFDS, mimicry's settings)
         python experiments/sngan.py train --workdir runs/small --data fashion_mnist --width 32 \\
           --discriminator-width 32 --discriminator-turns 2 --decay-steps 0 --steps 1200        (a CPU's size)
Settings: hinge, 5 discriminator steps, batch 64, Adam 2e-4 (0, .9) falling to zero over 100,000 generator steps, as
mimicry (Lee and Town 2020), whose parameter counts these networks have at 32, 48, 64 and 128 pixels. Doubling is by
nearest neighbours as in the paper; mimicry interpolates.
Expected: FID 16.77 +- .04 and IS 7.97 (mimicry, unconditional, 50,000 samples against 50,000 training images); 10.84
and 8.25 with projection; 21.7 in the paper, 10,000 samples against 5,000.
Time: on 2 CPU cores 18 s a step, three weeks in all (measured over some steps in benchmarks/README.md). On one H100 24
minutes at best, by the model of docs/scaling.md; no accelerator was at hand to hold that against.
What we measured: the small command, seed 0, last step, 8.7 minutes of processor time: Frechet distance 40.3 in features
of a classifier of garments (floor 1.6, held-out images 1.2), precision .54 and recall .43, all ten classes; outlines of
garments with ragged edges. The demo of the README, a DCGAN of a minute, has 3: so few steps of so wide networks are no
match for many of narrow ones. The command for CIFAR-10 has not been run.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from ganjax import launch
from ganjax.config import require
from ganjax.options import ImageConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    """The networks, the game and how it is played."""

    network: Literal["resnet", "sndcgan"] = "resnet"
    """Residual networks, or the plain ones of the paper's table 3 with 64 channels at first."""
    width: int = 0
    """Channels of the generator's last block; 0 for the published number: 256 of resnet at 32 pixels, else 64."""
    discriminator_width: int = 0
    """Channels of the discriminator's first block; 0 for the published number: 128 of resnet at 32 pixels, else 64."""
    attention: int = 0
    """Side of the map behind which self-attention is, in both residual networks (16 in SAGAN at 32 pixels); or 0."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("width", "discriminator_width", "attention"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "attention", self.network == "resnet" or not self.attention, "0 with --network sndcgan")
        require(self, "remat", self.network == "resnet" or not self.remat, "left out with --network sndcgan")


CONFIG = Config(
    steps=100_000,  # of the generator; the numbers are mimicry's
    data="tfds:cifar10",
    latent=128,  # as in the paper's tables
    loss="hinge",
    spectral_norm="discriminator",  # the claim; both in SAGAN
    discriminator_turns=5,  # as WGAN-GP
    beta1=0.0,  # no momentum
    beta2=0.9,  # as WGAN-GP
    decay_steps=100_000,  # all steps
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """Two residual networks, or two plain ones."""
    from ganjax import recipe
    from ganjax.models import resnet, sndcgan

    dataset = load(config.data)
    if config.network == "sndcgan":
        sndcgan.check_image_shape(dataset.shape)
        width = config.width or 64
        return recipe.build(
            config,
            dataset,
            axis_name,
            generator=partial(sndcgan.Generator, dataset.shape, width=width, axis_name=axis_name),
            discriminator=partial(sndcgan.Discriminator, width=config.discriminator_width or 64),
        )
    sides = resnet.layout(dataset.shape).attention_sides(dataset.shape[0])
    require(config, "attention", config.attention in (0, *sides), f"0 or one of {sides} for these images")
    widths = resnet.WIDTHS.get(max(dataset.shape[:2]), (64, 64))
    return recipe.build(
        config,
        dataset,
        axis_name,
        generator=partial(
            resnet.Generator,
            dataset.shape,
            width=config.width or widths[0],
            attention=config.attention,
            remat=config.remat,
            axis_name=axis_name,
        ),
        discriminator=partial(
            resnet.Discriminator,
            width=config.discriminator_width or widths[1],
            attention=config.attention,
            remat=config.remat,
        ),
    )


SMOKE = {
    "steps": 12,
    "data": "digits",
    "width": 8,
    "discriminator_width": 8,
    "discriminator_turns": 2,
    "batch_size": 32,
    "sample_every": 6,
    "checkpoint_every": 6,
    "chunk": 6,
}
EXPERIMENT = launch.Experiment("sngan", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
