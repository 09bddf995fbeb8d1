"""The networks of LAPGAN: the counts of the authors' code, and what they make and see of the small image."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers.pyramid import KERNELS
from ganjax.models.lapgan import Judge, Refiner

SMALL = jax.random.normal(jax.random.key(1), (3, 4, 4, 2))
Z = jax.random.normal(jax.random.key(2), (3, 8, 8, 1))


def _count(module, *args, **how):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *args, **how))["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def test_parameters_of_the_level_from_16_to_32():
    small, large = jnp.zeros((2, 16, 16, 3)), jnp.zeros((2, 32, 32, 3))
    assert _count(Refiner(), large[..., :1], small) == 218_179
    assert _count(Judge(), large, small, train=True) == 116_545


@pytest.mark.parametrize("kernels, projected", [("box", True), ("box", False), ("smooth", False)])
def test_a_projected_residual_leaves_the_small_image(kernels, projected):
    """And none of them is bounded, as neither those of data are by what bounds images."""
    module = Refiner(3, 3, kernels, projected)
    variables = jax.jit(module.init)(jax.random.key(0), Z, SMALL)
    loud, paint = jax.tree.map(lambda leaf: 5 * np.asarray(leaf), variables), jax.jit(module.apply)
    x = paint(loud, Z, SMALL)
    h = x - KERNELS[kernels].up(SMALL)
    assert x.shape == (3, 8, 8, 2) and np.abs(h).max() > 3
    same = np.abs(KERNELS[kernels].down(x) - SMALL).max()
    assert (same < 1e-4) == projected
    other = paint(loud, Z[::-1], SMALL)
    assert np.abs(other - x).max() > 0.1, "noise is heard"


@pytest.mark.parametrize("pair", [False, True])
def test_a_judge_sees_the_sum_or_the_pair(pair):
    module, x = Judge(4, pair), Z
    small = SMALL[..., :1]
    variables = jax.jit(partial(module.init, train=True))(jax.random.key(0), x, small)
    said = lambda x, small: module.apply(variables, x, small, train=False).sum()  # noqa: E731
    of_x, of_small = jax.jit(jax.grad(said, (0, 1)))(x, small)
    assert np.abs(of_x).max() > 0 and (np.abs(of_small).max() > 0) == pair
    assert not module.by_example and module.clone(dropout=0.0).by_example
