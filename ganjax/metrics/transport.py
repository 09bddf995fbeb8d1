"""Distances between samples by optimal transport."""

import jax
import jax.numpy as jnp

from ganjax.core import Array, Key


def sliced_wasserstein(x: Array, y: Array, key: Key, *, projections: int = 128) -> Array:
    """`E_u W1(<u, x>, <u, y>)` over random unit directions u (Rabin et al. 2011; Bonneel et al. 2015).

    In one dimension W1 of two samples of equal size is the mean distance of their sorted values. Between two samples of
    one distribution it is not zero: print that floor beside it.

    Args:
        x: [N, ...] floating; further axes are flattened.
        y: the same shape.
        key: of the directions; distances are comparable under one key.
        projections: how many directions.

    Returns:
        A scalar in the units of x.

    Raises:
        ValueError: the shapes differ or have no axis beside N, or projections is not positive.
    """
    if x.shape != y.shape or x.ndim < 2:
        raise ValueError(
            f"sliced_wasserstein: x has shape {x.shape} and y {y.shape}, expected two equal shapes [N, ...]; "
            "draw as many samples of each"
        )
    if projections < 1:
        raise ValueError(f"sliced_wasserstein: projections is {projections}, expected at least 1")
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    directions = jax.random.normal(key, (x.shape[1], projections), x.dtype)
    directions /= jnp.linalg.norm(directions, axis=0, keepdims=True)
    return jnp.abs(jnp.sort(x @ directions, axis=0) - jnp.sort(y @ directions, axis=0)).mean()
