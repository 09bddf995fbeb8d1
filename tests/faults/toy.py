"""A small GAN with everything that a state can hold: BatchNorm, spectral norm, Adam, an average; trained in-process."""

from functools import cache

import jax
import numpy as np
import optax
from flax import linen as nn

from ganjax.data import Dataset
from ganjax.dynamics import alternating, ema
from ganjax.games import gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.spectral import spectral_norm
from ganjax.training import Averaged, Schedule, Setup, Stream, train


class Generator(nn.Module):
    width: int = 8

    @nn.compact
    def __call__(self, z, labels=None, *, train):
        h = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Dense(self.width)(z)))
        return nn.tanh(nn.Dense(16)(h)).reshape(-1, 4, 4, 1)


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, x, labels=None, *, train):
        h = nn.leaky_relu(nn.Dense(8)(x.reshape(len(x), -1)))
        return nn.Dense(1)(nn.BatchNorm(use_running_average=not train)(h))[:, 0]


def dataset(count=40):
    x = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 1), dtype=np.uint8)
    return Dataset(x)


def setup(*, wrap=lambda game: game, data=None, width=8):
    """`wrap` changes the game, as a fault in a cost does."""
    prior, adam, generator = normal_prior(5), optax.adam(1e-2), Generator(width)
    game = gan(generator, Discriminator(), LOSSES["hinge"], prior=prior, spectral={"discriminator": spectral_norm()})
    return Setup(
        game=wrap(game),
        dynamics=alternating({"discriminator": adam, "generator": adam}),
        streams={"data": Stream(dataset() if data is None else data, 4)},
        averages={"ema": Averaged("generator", ema(0.9))},
        samplers={"prior": sampler(generator, prior)},
    )


plain = cache(setup)  # one object, which is compiled once


def run(workdir, steps, *, seed=0, every=5, of=None, **options):
    schedule = Schedule(steps, log_every=1, sample_every=10**6, checkpoint_every=every, chunk=5)
    return train(of or plain(), workdir, seed=seed, schedule=schedule, progress=False, **options)


def not_finite(state):
    """Paths of the leaves of a host state that hold NaN or an infinity."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [jax.tree_util.keystr(path) for path, leaf in leaves if not np.isfinite(leaf).all()]
