"""DCGAN on CIFAR-10: a plain pair of convolutional networks, and how far it gets by the last step.

Claim: a DCGAN without tricks keeps improving for 50,000 steps if its discriminator has no BatchNorm; published tables
show the best step of runs that had collapsed by their last.
Paper: Radford, Metz and Chintala 2016, with the protocol of Sandlund's paired-discriminator runs (2025), which state
the last step of one seed: generator 256-128-64 with BatchNorm, discriminator 64-128-256 without a norm, z of 128,
batch 128, Adam 2e-4 (.5, .999), one turn each, no average.
Command: python experiments/dcgan_cifar.py train --workdir runs/cifar             (CIFAR-10 by TFDS)
         python experiments/dcgan_cifar.py evaluate --workdir runs/cifar --weights raw
         python experiments/dcgan_cifar.py train --workdir runs/small --data cifar10.npz --steps 600   (a CPU's length)
Expected: FID 97.1 after 10,000 steps and 49.99 after 50,000, 10,000 samples against 10,000 images; with conditional
BatchNorm and projection (--conditional) 41.29. Real images score 5.20 there. StudioGAN's DCGAN: 49.0 at step 42,000 and
137.4 at step 200,000.
Time: about 7 hours on 2 CPU cores, by 45 GFLOP a step and the rate of the DCGANs in benchmarks/README.md. On one H100
half a minute at best, by the model of docs/scaling.md; no accelerator was at hand to hold that against.
What we measured: the last command (50,000 training images, 1,000 held out; --judge-every 200), seed 0, 6.2 minutes of
one core: Frechet distance 45.2 in features of a classifier of CIFAR-10 (floor .6, held-out images 1.1), raw weights,
last step; with averaged ones 84, 68 and 58 after 200, 400 and 600 steps, so the last is the best. Skies and grounds
behind a lattice, recall .006: 600 steps are too few for more. The full setting has not been run.
"""

from typing import TYPE_CHECKING

from ganjax import launch
from ganjax.options import ConvolutionalConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.data import Dataset
    from ganjax.training import Setup

CONFIG = ConvolutionalConfig(
    steps=50_000,  # whose last the protocol scores
    data="tfds:cifar10",
    latent=128,  # the protocol's; 100 in Radford et al.
    batch_size=128,  # as in both papers
)


def build(config: ConvolutionalConfig, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """Two convolutional networks."""
    from ganjax import recipe

    return recipe.convolutional(config, load(config.data), axis_name)


SMOKE = {
    "steps": 20,
    "data": "digits",
    "width": 8,
    "batch_size": 32,
    "sample_every": 10,
    "checkpoint_every": 10,
    "chunk": 10,
}
EXPERIMENT = launch.Experiment("dcgan_cifar", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
