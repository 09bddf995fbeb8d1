"""Resampling folded into a convolution is the pair of them, in values and derivatives, and NumPy agrees."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from matrix import cases

from ganjax.layers.resampling import Conv3x3, conv, conv_then_pool, double, double_then_conv, mean_pool

PAIRS = {
    "down": (conv_then_pool, lambda x, w: mean_pool(conv(x, w))),
    "up": (double_then_conv, lambda x, w: conv(double(x), w)),
}


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


BACKENDS = ["cpu", "cpu, wide", "elsewhere"]


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    """All forms that the layers choose from."""
    if request.param == "cpu, wide":
        monkeypatch.setattr("ganjax.layers.convolution._WIDE", 1)
    if request.param == "elsewhere":
        monkeypatch.setattr("ganjax.layers.convolution.use_trio", lambda: False)


def test_pooling_and_doubling_by_hand():
    x = jnp.arange(8.0).reshape(1, 2, 4, 1)
    np.testing.assert_array_equal(mean_pool(x)[0, :, :, 0], [[2.5, 4.5]])  # (0 + 1 + 4 + 5) / 4, (2 + 3 + 6 + 7) / 4
    np.testing.assert_array_equal(double(x)[0, :2, :4, 0], [[0, 0, 1, 1]] * 2)
    np.testing.assert_array_equal(double(x)[0, 2:, 4:, 0], [[6, 6, 7, 7]] * 2)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    "backend, name, size", cases(product(BACKENDS, PAIRS, [(4, 4), (2, 6), (8, 4)])), indirect=["backend"]
)
def test_folded_is_plain_in_values_and_two_derivatives(name, size):
    with jax.enable_x64(True):
        folded, plain = PAIRS[name]
        x, w, v = draw(2, *size, 3), draw(3, 3, 3, 5, seed=1), draw(2, *size, 3, seed=2)

        def slope(f, x, w):
            """The derivative of a nonlinear function of the output along v, as a gradient penalty has it."""
            return (jax.grad(lambda x: jnp.tanh(f(x, w)).sum())(x) * v).sum()

        @partial(jax.jit, static_argnums=0)
        def all_of(f, x, w):
            first = jax.grad(lambda x, w: jnp.tanh(f(x, w)).sum(), (0, 1))
            return f(x, w), first(x, w), jax.grad(lambda x, w: slope(f, x, w), (0, 1))(x, w)

        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10),
            all_of(folded, x, w),
            all_of(plain, x, w),
        )


@pytest.mark.usefixtures("backend")
def test_the_edges_are_those_of_zero_padding():
    """A kernel of ones counts the pixels that it sees: 4 at a corner, 6 along an edge, 9 inside."""
    ones = jnp.ones((3, 3, 1, 1))
    np.testing.assert_allclose(
        conv_then_pool(jnp.ones((1, 4, 4, 1)), ones)[0, :, :, 0], [[(4 + 6 + 6 + 9) / 4] * 2] * 2
    )
    up = double_then_conv(jnp.ones((1, 2, 2, 1)), ones)[0, :, :, 0]
    np.testing.assert_allclose(up, [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]])


@pytest.mark.parametrize("shape", [(1, 3, 4, 2), (1, 4, 5, 2)])
def test_an_odd_side_cannot_be_halved(shape):
    with pytest.raises(ValueError, match=r"mean_pool: x has shape .*expected an even height and width"):
        mean_pool(jnp.ones(shape))


@pytest.mark.parametrize("resample", ["none", "up", "down"])
def test_the_layer_has_the_parameters_of_a_convolution(resample):
    x = draw(2, 4, 4, 3).astype(jnp.float32)
    layer = Conv3x3(5, resample)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    stock = nn.Conv(5, (3, 3))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
        jnp.shape, jax.eval_shape(stock.init, jax.random.key(0), x)
    )
    variables = {"params": {**variables["params"], "bias": jnp.arange(5.0)}}
    expected = stock.apply(variables, double(x) if resample == "up" else x)
    expected = mean_pool(expected) if resample == "down" else expected
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-5)


def test_the_layers_dtype_is_that_of_the_computation():
    layer = Conv3x3(5, "down", dtype=jnp.bfloat16)
    y, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), jnp.ones((1, 4, 4, 3)))
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}


def test_wide_folded_kernels_take_nine_products(monkeypatch):
    """And are the same functions; narrow ones are direct."""
    x, kernel = draw(2, 8, 8, 5), draw(3, 3, 5, 5, seed=1)
    found = {}
    for wide in (False, True):
        if wide:
            monkeypatch.setattr("ganjax.layers.few_products.LEAST", (5, 5))
        for f in (conv_then_pool, double_then_conv):
            text = jax.jit(lambda x, kernel, f=f: f(x, kernel)).lower(x, kernel).as_text()
            assert text.count("stablehlo.dot_general") == 9 * wide
            found[wide, f] = f(x, kernel)
    for f in (conv_then_pool, double_then_conv):
        np.testing.assert_allclose(found[True, f], found[False, f], atol=1e-5)
