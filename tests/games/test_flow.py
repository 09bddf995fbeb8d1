"""Flows against truth: the inverse, the dense Jacobian, the integral of the density, and what each objective moves."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import integrate, special

from ganjax.core import Batch, Moment, Owned
from ganjax.games.flow import dequantised, flow, log_prob, measures, samplers
from ganjax.likelihoods import dequantise, quantise, standard_normal
from ganjax.models import mlp
from ganjax.models.realnvp import RealNVP


@pytest.fixture(autouse=True)
def _double(float64):
    """Oracles need it."""


POINTS = RealNVP((2,), 2, (8,))
IMAGES = RealNVP((2, 2, 1), 4, (8,), alpha=0.05)


@lru_cache
def weights(module):
    """Weights of which none is zero, so that nothing is the identity."""
    size = int(np.prod(module.shape))
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, size)))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf + rng.normal(scale=0.4, size=leaf.shape)), params)


def _batch(module, count=6):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(count, 2)) if not module.alpha else rng.uniform(-0.99, 0.99, (count, *module.shape))
    return Batch(jnp.asarray(x), None, jnp.arange(count))


@lru_cache
def program(module, method):
    return jax.jit(lambda params, x: module.apply({"params": params}, x, method=method))


def _encode(module, x):
    return program(module, "encode")(weights(module), x)


@pytest.mark.parametrize("module", [POINTS, IMAGES], ids=["points", "images"])
def test_the_inverse_is_exact_and_the_determinant_that_of_the_dense_jacobian(module):
    x = _batch(module).x
    z, log_det = _encode(module, x)
    back, other = program(module, "decode")(weights(module), z)
    assert float(jnp.abs(z - x.reshape(z.shape)).max()) > 0.1, "not the identity"
    np.testing.assert_allclose(back, x, atol=1e-13)
    np.testing.assert_allclose(other, -log_det, atol=1e-12)
    dense = jax.jit(jax.vmap(jax.jacfwd(lambda one: _encode(module, one[None])[0][0])))(x)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(dense.reshape(len(x), *[z.shape[1]] * 2))[1], atol=1e-12)


def test_the_density_integrates_to_one():
    """On a grid over the plane; a wrong sign or a forgotten determinant does not."""
    axis = np.linspace(-12, 12, 601)
    x = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2))
    z, log_det = _encode(POINTS, x)
    p = np.exp(standard_normal(z) + log_det).reshape(601, 601)
    np.testing.assert_allclose(integrate.simpson(integrate.simpson(p, x=axis), x=axis), 1, atol=1e-5)


def test_a_flow_begins_as_the_identity():
    """The last layers are zero: log p is that of the base, of pixels that of the logit."""
    begin = lambda module, size: jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, size)))["params"]  # noqa: E731
    points, images = begin(POINTS, 2), begin(IMAGES, 4)
    x = _batch(POINTS).x
    np.testing.assert_array_equal(log_prob(POINTS, points, x), standard_normal(x))
    x = _batch(IMAGES).x
    y = 0.05 + 0.9 * (np.asarray(x).reshape(len(x), -1) + 1) / 2
    expected = standard_normal(special.logit(y)) + np.log(0.9 / 2 / (y * (1 - y))).sum(1)
    np.testing.assert_allclose(log_prob(IMAGES, images, x), expected, rtol=1e-12)


def test_one_coupling_leaves_half_and_any_two_entries_are_apart_once():
    x = _batch(POINTS).x
    one = RealNVP((2,), 1, (8,))
    z, _ = _encode(one, x)
    assert ((z == x).all(0) == one.masks[0, 0].astype(bool)).all() and one.masks.sum() == 1
    for size in (2, 3, 64):
        masks = RealNVP((size,), 2 * (size - 1).bit_length()).masks[:, 0]
        np.testing.assert_array_equal(masks[::2], 1 - masks[1::2])
        assert len(np.unique(masks.T, axis=0)) == size


def _moment(batch, players=("generator",)):
    return Moment({player: {} for player in players}, batch, jax.random.key(0))


def test_three_objectives_of_one_generator():
    """The hybrid's field is that of the game plus lambda times that of the likelihood; log p is logged by all."""
    batch, params = _batch(POINTS), {"generator": weights(POINTS)}
    critic = mlp.Discriminator((4,))
    params["discriminator"] = jax.jit(partial(critic.init, train=True))(jax.random.key(1), batch.x)["params"]

    def generator(likelihood, facing):
        cost = flow(POINTS, facing, size=2, likelihood=likelihood).costs["generator"]
        moment = _moment(batch, params if facing else ("generator",))
        own = lambda g: cost({**params, "generator": g} if facing else {"generator": g}, moment)  # noqa: E731
        return jax.jit(jax.grad(own, has_aux=True))(params["generator"])

    (alone, seen), (game, quiet), (both, loud) = (generator(*told) for told in ((1, None), (0, critic), (0.3, critic)))
    jax.tree.map(
        lambda a, g, b: np.testing.assert_allclose(b, g + 0.3 * a, rtol=1e-9, atol=1e-12), alone, game, both
    )  # fmt: skip
    expected = -log_prob(POINTS, weights(POINTS), batch.x).mean()
    for outcome in (seen, quiet, loud):
        np.testing.assert_allclose(outcome.metrics["nats"], expected, rtol=1e-12)
    assert any(bool((leaf != 0).any()) for leaf in jax.tree.leaves(game)), "the critic moves it"


def test_a_generator_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"makes \(2,\) and the data are \(3,\)"):
        jax.eval_shape(flow(POINTS, size=2).init, jax.random.key(0), Batch(jnp.zeros((4, 3)), None, jnp.arange(4)))


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_levels_lie_in_cells_of_their_own(levels):
    v = np.arange(levels)
    x = jnp.asarray(2 * v / (levels - 1) - 1)
    for u in (0.001, 0.5, 0.999):
        cell = dequantise(x, jnp.full(levels, u), levels)
        np.testing.assert_allclose(cell, 2 * (v + u) / levels - 1, rtol=1e-12)
        np.testing.assert_allclose(quantise(cell, levels), x, atol=1e-12)
    np.testing.assert_allclose(quantise(jnp.array([-1.1, 1.0, 1.2]), levels), [-1, 1, 1])


class Uniform(nn.Module):
    """log p = -D log 2 on [-1, 1]^D, in the place of a flow: `log_prob` without its Gaussian."""

    @nn.compact
    def __call__(self, x):
        return x

    def encode(self, x):
        z = x.reshape(len(x), -1)
        return z, -z.shape[1] * jnp.log(2.0) - standard_normal(z)


@pytest.mark.fault("rosinality/glow-pytorch 17, openai/glow 51: the constant of the number of levels")
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_uniform_density_costs_the_bits_of_the_levels(levels):
    """log2(256) = 8 bits a pixel, whatever the scale of x: +7 for x from -1 to 1."""
    x = jnp.asarray(np.random.default_rng(0).integers(0, levels, (5, 4, 4, 1)) * 2.0 / (levels - 1) - 1)
    bits = measures(Uniform(), levels=levels)["bits_per_dimension"]
    got = bits.values({"generator": Owned({}, {})}, Batch(x, None, jnp.arange(5)), jax.random.key(0))
    np.testing.assert_allclose(got, np.log2(levels), rtol=1e-12)


@pytest.mark.fault("IB-INN 3: dequantisation twice, or in training alone")
def test_training_and_measuring_dequantise_once_and_alike():
    """The measure's x is what the stream would make of it, whatever else is in the batch."""
    x = jnp.asarray(np.random.default_rng(0).integers(0, 17, (3, 2, 2, 1)) / 8.0 - 1)
    own = {"generator": Owned(weights(IMAGES), {})}
    bits = measures(IMAGES, levels=17)["bits_per_dimension"].values
    bits = jax.jit(bits)
    whole, turned = (
        bits(own, Batch(x[at], None, at), jax.random.key(0)) for at in (jnp.arange(3), jnp.arange(3)[::-1])
    )
    np.testing.assert_allclose(turned[::-1], whole)
    one = dequantised(17)(jax.random.key(0), Batch(x[0], None, jnp.array(0)))
    assert one.x.shape == x[0].shape and (one.x != x[0]).all()
    np.testing.assert_allclose(quantise(one.x, 17), x[0], atol=1e-12)


def test_samples_of_images_are_levels():
    draws = samplers(IMAGES, size=4, levels=17)["prior"]
    x = draws({"generator": Owned(weights(IMAGES), {})}, jax.random.key(0), jnp.arange(50))
    v = (np.asarray(x) + 1) * 8
    np.testing.assert_allclose(v, np.round(v), atol=1e-6)
    assert x.shape == (50, 2, 2, 1) and len(np.unique(np.round(v))) > 3
