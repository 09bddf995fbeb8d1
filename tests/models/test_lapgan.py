"""The networks of LAPGAN: the counts of the authors' code, and what they make and see of the small image."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers.pyramid import KERNELS
from ganjax.models.lapgan import Judge, OfClasses, Refiner

SMALL = jax.random.normal(jax.random.key(1), (3, 4, 4, 2))
Z = jax.random.normal(jax.random.key(2), (3, 8, 8, 1))


def _count(module, *args, **how):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *args, **how))["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def test_parameters_of_the_level_from_16_to_32():
    small, large = jnp.zeros((2, 16, 16, 3)), jnp.zeros((2, 32, 32, 3))
    assert _count(Refiner(), large[..., :1], small) == 218_179
    assert _count(Judge(), large, small, train=True) == 116_545


def test_parameters_of_the_class_conditional_level():
    """Those of the authors' code, and the maps of ten classes, which are made outside of its networks."""
    given = {"small": jnp.zeros((2, 16, 16, 3)), "class": jnp.zeros(2, jnp.int32)}
    large, maps = jnp.zeros((2, 32, 32, 3)), 10 * 32 * 32
    assert _count(OfClasses(Refiner, 10), large[..., :1], given, train=True) - maps == 221_315
    assert _count(OfClasses(Judge, 10), large, given, train=True) - maps == 118_145


@pytest.mark.parametrize("module, x", [(OfClasses(partial(Refiner, 3, 3), 4), Z), (OfClasses(partial(Judge, 4), 4), Z)])
def test_a_network_of_classes_hears_the_class_of_each_example(module, x):
    """And nothing else of the class: two classes with one map say the same."""
    small = SMALL[..., :1]
    variables = jax.jit(partial(module.init, train=True))(
        jax.random.key(0), x, {"small": small, "class": jnp.zeros(3, jnp.int32)}
    )
    table = variables["params"]["classes"]["embedding"].at[3].set(variables["params"]["classes"]["embedding"][1])
    variables = {"params": {**variables["params"], "classes": {"embedding": table}}}
    say = jax.jit(partial(module.apply, train=False))
    one, other, same = (say(variables, x, {"small": small, "class": jnp.array([k, 0, 2])}) for k in (1, 2, 3))
    assert (np.abs(one - other).reshape(3, -1).max(1) > 0).tolist() == [True, False, False]
    np.testing.assert_array_equal(one, same)


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
