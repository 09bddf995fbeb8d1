"""What latents are drawn from, one example at a time."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ganjax.checks import check_range
from ganjax.core import Array, Key, PyTree

Prior = Callable[[Key], PyTree]  # key -> the latent z of one example, mostly an array


@dataclasses.dataclass(frozen=True)
class Normal:
    """`z ~ N(0, I)`, shape [size]; whoever needs a normal latent can see that it is one."""

    size: int

    def __call__(self, key: Key) -> Array:
        return jax.random.normal(key, (self.size,))


def normal_prior(size: int) -> Prior:
    """`z ~ N(0, I)`, shape [size]."""
    check_range("normal_prior", 1, whole=True, size=size)
    return Normal(size)


def uniform_prior(size: int) -> Prior:
    """`z ~ U(-1, 1)^size`, shape [size]."""
    check_range("uniform_prior", 1, whole=True, size=size)
    return lambda key: jax.random.uniform(key, (size,), minval=-1.0, maxval=1.0)


def code_prior(categories: int, continuous: int, size: int) -> Prior:
    """The latent of InfoGAN (Chen et al. 2016), shape [categories + continuous + size].

    A one-hot category, each equally likely; continuous codes from U(-1, 1); noise from N(0, I).
    """
    check_range("code_prior", 0, whole=True, categories=categories, continuous=continuous, size=size)

    def draw(key: Key) -> Array:
        keys = jax.random.split(key, 3)
        category = jax.nn.one_hot(jax.random.randint(keys[0], (), 0, max(categories, 1)), categories)
        code = jax.random.uniform(keys[1], (continuous,), minval=-1.0, maxval=1.0)
        return jnp.concatenate([category, code, jax.random.normal(keys[2], (size,))])

    return draw
