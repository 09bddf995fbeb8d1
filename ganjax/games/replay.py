"""Pools of earlier fakes, from which a discriminator sees half of its own (Shrivastava et al. 2017).

A pool is `net_state` of the player that looks into it, the same on all devices.
"""

from typing import NamedTuple

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
        raise ValueError(f"earlier fakes: pool or fakes_kept is {len(pool)}, expected at least the batch size, {size}")
    order_key, swap_key = jax.random.split(substream(key, Draw.REPLAY))
    slots = jax.random.permutation(order_key, len(pool))[position % len(pool)]
    swap = noise(jax.random.bernoulli, swap_key, position).reshape(-1, *[1] * (x_fake.ndim - 1))
    change = jnp.zeros_like(pool).at[slots].add(jnp.where(swap, x_fake - pool[slots], 0))
    change = change if axis_name is None else jax.lax.psum(change, axis_name)
    return pool + change, jnp.where(swap, pool[slots], x_fake)


class Pool(NamedTuple):
    """A pool that begins empty."""

    kept: Array  # [N, ...]
    filled: Array  # scalar int32, how many of them are fakes


def init(size: int, shape: tuple[int, ...]) -> Pool:
    """An empty pool of so many examples of this shape."""
    return Pool(jnp.zeros((size, *shape)), jnp.zeros((), jnp.int32))


def show(pool: Pool, x_fake: Array, position: Array, key: Key, axis_name: str | None) -> tuple[Pool, Array]:
    """What the discriminator sees: the fakes themselves while they fill the pool, then as of `swap`.

    Further arguments as of `swap`; a batch that does not fit into what is left of the pool fills it up.

    Returns:
        The pool after it, and what the discriminator sees, [B, ...].
    """
    everybody = len(x_fake) * (1 if axis_name is None else jax.lax.axis_size(axis_name))

    def fill() -> tuple[Array, Array]:
        first = position.min() if axis_name is None else jax.lax.pmin(position.min(), axis_name)
        slots = pool.filled + position - first
        change = jnp.zeros_like(pool.kept).at[slots].add(x_fake, mode="drop")
        return pool.kept + (change if axis_name is None else jax.lax.psum(change, axis_name)), x_fake

    full = pool.filled >= len(pool.kept)
    kept, shown = jax.lax.cond(full, lambda: swap(pool.kept, x_fake, position, key, axis_name), fill)
    return Pool(kept, jnp.minimum(pool.filled + everybody, len(pool.kept))), shown
