"""Networks that grow: published counts, and fades whose ends are the smaller and the larger one, bit for bit."""

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from ganjax.errors import DataError
from ganjax.layers.fading import FADE, faded, share
from ganjax.layers.resampling import double, mean_pool
from ganjax.models.progressive import Critic, Synthesis, maps

SIZES = {"base": 32, "most": 5}


def _params(module, *args):
    return flatten_dict(jax.eval_shape(lambda: module.init(jax.random.key(0), *args))["params"])


@pytest.mark.parametrize(
    ("side", "size", "base", "most", "synthesis", "critic"),
    [
        (1024, 512, 16384, 512, 23_079_115, 23_087_249),  # the paper's, as the authors' code prints them
        (128, 512, 16384, 512, 22_933_394, 22_941_313),
        (32, 512, 16384, 512, 20_719_628, 20_726_785),
        (64, 64, 2048, 64, 352_687, 353_633),
    ],
)
def test_parameters_of_all_that_a_run_trains(side, size, base, most, synthesis, critic):
    """The layers of all phases by their names; of every second one, as each has the ends of the one before it."""
    of_synthesis, of_critic = {}, {}
    for height, width in maps((side, side, 3))[::-2]:
        shape = (height, width, 3)
        of_synthesis |= _params(Synthesis(shape, 1, base, most), jnp.zeros((4, size)))
        of_critic |= _params(Critic(1, base, most), jnp.zeros((4, *shape)))
    count = lambda params: sum(math.prod(leaf.shape) for leaf in params.values())  # noqa: E731
    assert (count(of_synthesis), count(of_critic)) == (synthesis, critic)


def test_maps_go_down_to_sides_of_4_to_7():
    assert maps((28, 28, 1)) == [(7, 7), (14, 14), (28, 28)] and maps((8, 8, 1)) == [(4, 4), (8, 8)]
    assert [side for side, _ in maps((64, 64, 3))] == [4, 8, 16, 32, 64] and maps((12, 24, 1)) == [(6, 12), (12, 24)]
    with pytest.raises(DataError, match=r"have shape \(2,\), expected images"):
        maps((2,))


@pytest.mark.fault("gapeng, PyTorch-PG 20: the share of the new layers never moves")
def test_the_share_of_the_new_layers_over_a_schedule():
    assert [float(share(step, 8)) for step in (0, 1, 2, 6, 8, 9, 1000)] == [0, 0.125, 0.25, 0.75, 1, 1, 1]
    old, new = np.random.default_rng(0).normal(size=(2, 999)).astype(np.float32)
    for alpha, expected in ((0.0, old), (1.0, new)):
        np.testing.assert_array_equal(faded(old, new, np.float32(alpha)), expected)
    np.testing.assert_allclose(faded(old, new, 0.25), 0.75 * old + 0.25 * new, rtol=1e-6)


@pytest.fixture(scope="module")
def grown():
    """Variables of all layers of the networks of 8x8 pixels, a batch of z and one of images."""
    rng = np.random.default_rng(1)
    z, x = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((4, 6), (4, 8, 8, 2)))
    return _drawn(Synthesis((8, 8, 2), 4, **SIZES), z), _drawn(Critic(4, **SIZES), x), z, x


def _drawn(module, x):
    """Its variables, parameters from N(0, 1), nothing compiled."""
    rng, shapes = np.random.default_rng(2), jax.eval_shape(lambda: module.init(jax.random.key(0), x))
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes["params"])
    return {**jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes), "params": params}


def _at(variables, step):
    return {"params": variables["params"], FADE: {"step_8": jnp.int32(step)}}


def _without(variables, name):
    """The variables with another value of these layers."""
    changed = jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.asarray(leaf) + np.float32(path[0].key == name), variables["params"]
    )
    return {**variables, "params": changed}


@lru_cache
def _program(module):
    return jax.jit(module.apply)


def _of(variables, module, *args):
    """The module with those of the variables that it has."""
    own = {name: variables["params"][name] for name in {path[0] for path in _params(module, *args)}}
    return _program(module)({"params": own}, *args)


def test_at_first_only_the_smaller_networks_are_heard(grown):
    """Bit for bit: the smaller image enlarged, and what the smaller critic says of the image made small."""
    of_g, of_d, z, x = grown
    small = _of(of_g, Synthesis((4, 4, 2), **SIZES), z)
    g, d = map(_program, (Synthesis((8, 8, 2), 4, **SIZES), Critic(4, **SIZES)))
    np.testing.assert_array_equal(g(_at(of_g, 0), z), double(small))
    np.testing.assert_array_equal(d(_at(of_d, 0), x), _of(of_d, Critic(**SIZES), mean_pool(x)))
    np.testing.assert_array_equal(g(of_g, z), double(small))  # a step that nobody has told is the first


def test_at_last_nothing_of_the_smaller_ends_is_heard(grown):
    """Bit for bit the networks without a way around their new layers, whatever that would have said."""
    of_g, of_d, z, x = grown
    g, d = map(_program, (Synthesis((8, 8, 2), 4, **SIZES), Critic(4, **SIZES)))
    for step in (4, 5000):
        made, said = g(_at(of_g, step), z), d(_at(of_d, step), x)
        np.testing.assert_array_equal(made, _of(of_g, Synthesis((8, 8, 2), **SIZES), z))
        np.testing.assert_array_equal(said, _of(of_d, Critic(**SIZES), x))
        np.testing.assert_array_equal(made, g(_at(_without(of_g, "image_4"), step), z))
        np.testing.assert_array_equal(said, d(_at(_without(of_d, "image_4"), step), x))
    half = g(_at(of_g, 2), z)
    np.testing.assert_allclose(half, (g(_at(of_g, 0), z) + g(_at(of_g, 4), z)) / 2, atol=1e-5)
    assert np.abs(g(_at(_without(of_g, "image_4"), 2), z) - half).max() > 0.1
    assert np.abs(d(_at(_without(of_d, "image_4"), 2), x) - d(_at(of_d, 2), x)).max() > 1e-3


def test_layers_keep_their_scale(grown):
    """Whatever the size of a latent or of a layer's weights, pixels have unit second moment."""
    of_g, _, z, _ = grown
    g, made = _program(Synthesis((8, 8, 2), 4, **SIZES)), _at(of_g, 4)
    still = jax.tree_util.tree_map_with_path(lambda p, w: w * (p[-1].key != "bias"), made["params"])
    loud = jax.tree_util.tree_map_with_path(lambda p, w: w * (1 + 3 * (p[0].key == "conv_4")), still)
    plain = g({**made, "params": still}, z)
    for params, latent in ((still, 7 * z), (loud, z)):
        np.testing.assert_allclose(g({**made, "params": params}, latent), plain, rtol=1e-3, atol=1e-4)
    assert 0.5 < np.std(plain) < 2, "the layer of the image has gain 1"
