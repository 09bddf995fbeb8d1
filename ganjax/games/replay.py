"""A pool of earlier fakes, from which a discriminator sees half of its own (Shrivastava et al. 2017)."""

import jax
import jax.numpy as jnp

from ganjax.core import Array, Draw, Key, noise, substream


def swap(pool: Array, x_fake: Array, position: Array, key: Key, axis_name: str | None) -> tuple[Array, Array]:
    """Half of the fakes change places with kept ones, chosen at random; every device keeps the same pool.

    Args:
        pool: [N, ...], the fakes that are kept.
        x_fake: [B, ...], those of this turn.
        position: [B], of each in the global batch.
        key: of the step.
        axis_name: the mapped axis that shares the batch, if any.

    Returns:
        The pool after it, and what the discriminator sees, [B, ...].

    Raises:
        ValueError: the pool is smaller than the batch of all devices.
    """
    size = len(x_fake) * (1 if axis_name is None else jax.lax.axis_size(axis_name))
    if size > len(pool):
        raise ValueError(f"gan: fakes_kept is {len(pool)}, expected at least the batch size, {size}")
    order_key, swap_key = jax.random.split(substream(key, Draw.REPLAY))
    slots = jax.random.permutation(order_key, len(pool))[position % len(pool)]
    swap = noise(jax.random.bernoulli, swap_key, position).reshape(-1, *[1] * (x_fake.ndim - 1))
    change = jnp.zeros_like(pool).at[slots].add(jnp.where(swap, x_fake - pool[slots], 0))
    change = change if axis_name is None else jax.lax.psum(change, axis_name)
    return pool + change, jnp.where(swap, pool[slots], x_fake)
