"""Constraints on a player's parameters, as optax transformations."""

from collections.abc import Callable

import jax
import optax

from ganjax.checks import check_range
from ganjax.core import PyTree


def projected(
    optimizer: optax.GradientTransformation, projection: Callable[[PyTree], PyTree]
) -> optax.GradientTransformation:
    """The optimiser's step followed by a projection of the parameters: projected gradient descent.

    `optax.projections` has the common sets: the simplex of mixed strategies, boxes (the weight clipping of Arjovsky et
    al. 2017 is `clipped`), balls.

    Args:
        optimizer: makes the step.
        projection: parameters -> the nearest allowed ones.
    """

    def update(gradient: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        moved, state = optimizer.update(gradient, state, params)
        allowed = projection(optax.apply_updates(params, moved))
        return jax.tree.map(lambda new, old: new - old, allowed, params), state

    return optax.GradientTransformation(optimizer.init, update)


def clipped(optimizer: optax.GradientTransformation, c: float) -> optax.GradientTransformation:
    """The optimiser's step, then every weight clipped to `[-c, c]` (WGAN, Arjovsky et al. 2017, algorithm 1)."""
    check_range("clipped", 0, above=True, c=c)
    return projected(optimizer, lambda params: optax.tree.clip(params, -c, c))
