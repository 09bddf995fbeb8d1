"""Noise in networks that depends neither on how many devices share a batch nor, of numbered examples, on the batch."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.checks import check_range
from ganjax.core import Array, global_index, noise

SHARED = "shared"  # the stream of random numbers whose key all devices share; Flax's "dropout" has one for each device


class Dropout(nn.Module):
    """`x m / (1 - rate)` with `m ~ Bernoulli(1 - rate)` for every entry (Srivastava et al. 2014).

    Example i of the global batch gets the mask of its own key, `fold_in(key, i)`. Flax's `Dropout` draws one mask for
    a device's examples together, so that its masks change with the number of devices.
    """

    rate: float  # share of the entries that is dropped
    axis_name: str | None = None  # of the devices that share the batch

    @nn.compact
    def __call__(self, x: Array, index: Array | None = None, *, deterministic: bool) -> Array:
        """[B, ...] to [B, ...]; `deterministic` gives x itself, and so does the initialisation.

        Args:
            x: [B, ...].
            index: [B] integers, by which the examples draw: then whatever else is in the batch changes nothing, as
                samples want it. By default their places in the global batch.
            deterministic: drop nothing.
        """
        check_range("Dropout", 0, 1, below=True, rate=self.rate)
        if deterministic or self.rate == 0 or self.is_initializing():
            return x
        index = global_index(len(x), self.axis_name) if index is None else index
        keep = noise(lambda k: jax.random.bernoulli(k, 1 - self.rate, x.shape[1:]), self.make_rng(SHARED), index)
        return jnp.where(keep, x / (1 - self.rate), 0)


class GaussianNoise(nn.Module):
    """`x + std n` with `n ~ N(0, I)`, drawn for an example as `Dropout` draws its mask.

    The initialisation has the noise too: layers that begin as their data say (`layers.weight_norm`) are to begin so in
    training.
    """

    std: float
    axis_name: str | None = None  # of the devices that share the batch

    @nn.compact
    def __call__(self, x: Array, *, deterministic: bool) -> Array:
        """[B, ...] to [B, ...]; `deterministic` gives x itself."""
        check_range("GaussianNoise", 0, std=self.std)
        if deterministic or self.std == 0:
            return x
        index = global_index(len(x), self.axis_name)
        return x + self.std * noise(lambda k: jax.random.normal(k, x.shape[1:], x.dtype), self.make_rng(SHARED), index)
