"""Spectra against dense matrices and closed forms."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree

from ganjax.core import Batch, Moment
from ganjax.dynamics import (
    View,
    consensus,
    field_jacobian,
    leading_eigenvalues,
    path_angle,
    rotation,
    simultaneous,
    spectral_radius,
    symplectic,
    update_jacobian,
)
from ganjax.games import bilinear, gan, linear_gan, normal_prior, quadratic, zero_sum
from ganjax.layers.convolution import ConvTranspose
from ganjax.losses import LOSSES
from ganjax.models import dcgan
from ganjax.training import init_state

KEY = jax.random.key(0)


def _view(game, batch=None):
    params, net_state = jax.jit(game.init)(KEY, batch)
    return View(game, Moment(net_state, batch, KEY)), params


def _sorted(values):
    values = np.asarray(values)
    return values[np.lexsort((values.imag.round(9), values.real.round(9)))]


class Net(nn.Module):
    out: int
    hidden: int = 5

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.out)(nn.tanh(nn.Dense(self.hidden)(x) if self.hidden else x))


class Images(nn.Module):
    """[B, 3] -> [B, 8, 8, 1], by transposed convolutions."""

    @nn.compact
    def __call__(self, z):
        h = nn.relu(ConvTranspose(2, (4, 4), padding="VALID")(z[:, None, None]))
        return jnp.tanh(ConvTranspose(1, (4, 4), (2, 2))(h))


@cache
def _small_gan():
    batch = Batch(jax.random.normal(jax.random.key(1), (16, 2)), None, jnp.arange(16))
    game = gan(Net(2, hidden=0), Net(1), LOSSES["non_saturating"], prior=normal_prior(2))
    view, params = _view(game, batch)
    params = jax.tree.map(lambda leaf: jnp.asarray(2 * np.asarray(leaf, np.float64)), params)
    return view, params, _dense(view, params)


@pytest.fixture
def small_gan(float64):
    """Its field at a point, the point, and the dense Jacobian there; computed once."""
    return _small_gan()


def _dense(view, params, adjustments=()):
    return np.asarray(jax.jit(lambda p: field_jacobian(view, p, adjustments))(params))


def _rotation(view, params, **how):
    return jax.jit(lambda p: rotation(view, p, KEY, **how))(params)


def _update_jacobian(game, dynamics):
    return np.asarray(
        jax.jit(lambda: update_jacobian(game, dynamics, init_state(game, dynamics, KEY, None), None, KEY))()
    )


def _path_angle(view, start, end, alphas):
    return jax.jit(lambda s, e: path_angle(view, s, e, alphas))(start, end)


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_a_quadratic_game_has_the_given_spectrum(seed, float64):
    given = np.array([0.1 + 1j, 0.5, 2j, -0.2 + 0.3j])
    view, params = _view(quadratic(given, rotation_seed=seed))
    matrix = _dense(view, params)
    values = np.linalg.eigvals(matrix)
    np.testing.assert_allclose(_sorted(values), _sorted(np.concatenate([given, given.conj()])), atol=1e-10)
    if seed is not None:
        assert np.abs(matrix).min() > 1e-6, "the planes lie askew"


def test_the_linear_gan_turns_about_its_equilibrium(float64):
    """At AA^T = Sigma, m = mu, critic zero the field vanishes and its Jacobian is antisymmetric: pure rotation."""
    sigma = np.array([[2.0, 0.5], [0.5, 1.0]])
    mu = np.array([1.0, -1.0])
    view, params = _view(linear_gan(mu, sigma, start=(np.linalg.cholesky(sigma), mu)))
    gradients = jax.jit(lambda p: view.field(p).gradients)(params)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients)) < 1e-12
    matrix = _dense(view, params)
    np.testing.assert_allclose(matrix, -matrix.T, atol=1e-12)
    assert np.abs(matrix).max() > 1
    np.testing.assert_allclose(_rotation(view, params), 1.0, rtol=1e-12)


def test_the_jacobian_of_the_linear_gan_against_differences_of_its_field(float64):
    """Off the equilibrium, where it is not antisymmetric."""
    view, params = _view(linear_gan(np.array([1.0, -1.0]), np.array([[2.0, 0.5], [0.5, 1.0]])))
    flat, unravel = ravel_pytree(params)
    flat = flat + jnp.asarray(np.random.default_rng(0).normal(size=flat.size))
    field = jax.jit(lambda z: ravel_pytree(view.field(unravel(z)).gradients)[0])
    h = 1e-5
    flat = np.asarray(flat)
    columns = [np.subtract(field(flat + h * e), field(flat - h * e)) / (2 * h) for e in np.eye(flat.size)]
    matrix = np.asarray(jax.jit(lambda z: field_jacobian(view, unravel(z)))(flat))
    np.testing.assert_allclose(matrix, np.stack(columns, axis=1), atol=1e-8)
    assert np.abs(matrix + matrix.T).max() > 0.1


def test_the_jacobian_of_an_adjusted_field(float64):
    """On a linear field: `J + gamma J^T J` with consensus, `J + lam (J^T - J) J / 2` with symplectic gradients."""
    view, params = _view(quadratic([0.1 + 1j, 0.5 + 0.2j], rotation_seed=2))
    matrix = _dense(view, params)
    with_consensus = _dense(view, params, (consensus(0.3),))
    np.testing.assert_allclose(with_consensus, matrix + 0.3 * matrix.T @ matrix, atol=1e-12)
    both = _dense(view, params, (consensus(0.3), symplectic(0.7, align=False)))
    np.testing.assert_allclose(both - with_consensus, 0.35 * (matrix.T - matrix) @ matrix, atol=1e-12)


@pytest.mark.parametrize("eta", [0.1, 0.7])
def test_the_step_of_simultaneous_descent_is_one_minus_eta_j(eta, float64):
    game = quadratic([0.1 + 1j, 0.5, -0.2 + 0.3j], rotation_seed=1)
    view, params = _view(game)
    dynamics = simultaneous({p: optax.sgd(eta) for p in "ab"})
    matrix = _update_jacobian(game, dynamics)
    np.testing.assert_allclose(matrix, np.eye(6) - eta * _dense(view, params), atol=1e-11)


def test_the_jacobian_of_a_field_and_of_its_step(float64):
    """J of ab is [[0, 1], [-1, 0]]; consensus adds gamma; a step of SGD is I - eta J."""
    view, params = _view(bilinear())
    np.testing.assert_allclose(_dense(view, params), [[0, 1], [-1, 0]], atol=1e-12)
    np.testing.assert_allclose(_dense(view, params, (consensus(0.3),)), [[0.3, 1], [-1, 0.3]], atol=1e-12)
    dynamics = simultaneous({p: optax.sgd(0.1) for p in "ab"}, adjust=consensus(0.3))
    matrix = _update_jacobian(view.game, dynamics)
    np.testing.assert_allclose(matrix, np.eye(2) - 0.1 * np.array([[0.3, 1], [-1, 0.3]]), atol=1e-11)
    np.testing.assert_allclose(spectral_radius(matrix), abs(1 - 0.03 + 0.1j), rtol=1e-11)


def test_products_equal_the_dense_jacobian(small_gan):
    view, params, matrix = small_gan
    flat, unravel = ravel_pytree(params)
    w = np.random.default_rng(0).normal(size=flat.size)
    forward = ravel_pytree(jax.jit(view.jacobian_product)(params, unravel(jnp.asarray(w))))[0]
    back = ravel_pytree(jax.jit(view.transposed_product)(params, unravel(jnp.asarray(w))))[0]
    np.testing.assert_allclose(forward, matrix @ w, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(back, matrix.T @ w, rtol=1e-9, atol=1e-10)
    split = sum(leaf.size for leaf in jax.tree.leaves(params["discriminator"]))
    off = matrix.copy()
    off[:split, :split] = off[split:, split:] = 0
    mixed = jax.jit(lambda p, w: view.jacobian_product(p, w, interaction=True))(params, unravel(jnp.asarray(w)))
    np.testing.assert_allclose(ravel_pytree(mixed)[0], off @ w, rtol=1e-9, atol=1e-10)
    mixed = jax.jit(lambda p, w: view.transposed_product(p, w, interaction=True))(params, unravel(jnp.asarray(w)))
    np.testing.assert_allclose(ravel_pytree(mixed)[0], off.T @ w, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "which, rank", [("LM", np.abs), ("LR", np.real), ("SR", lambda v: -np.real(v)), ("LI", lambda v: np.abs(v.imag))]
)
def test_leading_eigenvalues_of_a_network(small_gan, which, rank):
    view, params, matrix = small_gan
    every = np.linalg.eigvals(matrix)
    found = leading_eigenvalues(view, params, 6, which=which, tolerance=1e-10)
    np.testing.assert_allclose(np.sort(rank(found))[1:], np.sort(rank(every))[-5:], rtol=1e-6)
    for value in found:
        assert np.abs(every - value).min() < 1e-6
    with pytest.raises(ValueError, match="count is 1000, expected 1 to"):
        leading_eigenvalues(view, params, 1000)
    with pytest.raises(ValueError, match="count is 0, expected 1 to"):
        leading_eigenvalues(view, params, 0)


def test_complex_eigenvalues_come_in_conjugate_pairs(small_gan):
    view, params, _ = small_gan
    found = leading_eigenvalues(view, params, 6, which="LI", tolerance=1e-10)
    assert np.abs(found.imag).max() > 0.01, "the network's field rotates"
    np.testing.assert_allclose(_sorted(found), _sorted(found.conj()), atol=1e-8)


@pytest.mark.parametrize("adjustment", [consensus(0.2), symplectic(0.5, align=False)], ids=["consensus", "symplectic"])
def test_leading_eigenvalues_of_an_adjusted_field(adjustment, small_gan):
    """The curvature of the field enters too: `J + gamma J^T J` alone would be wrong off an equilibrium."""
    view, params, plain = small_gan
    matrix = _dense(view, params, (adjustment,))
    every = np.linalg.eigvals(matrix)
    found = leading_eigenvalues(view, params, 6, adjustments=(adjustment,), tolerance=1e-10)
    np.testing.assert_allclose(np.abs(found)[:5], np.sort(np.abs(every))[::-1][:5], rtol=1e-6)
    assert max(np.abs(every - value).min() for value in found) < 1e-6
    assert abs(np.abs(found).max() - np.abs(np.linalg.eigvals(plain)).max()) > 1e-3


def test_products_through_convolutions(float64):
    """Reverse over reverse: the convolutions know no forward mode. Against a difference of fields."""
    batch = Batch(jax.random.normal(jax.random.key(1), (4, 8, 8, 1)), None, jnp.arange(4))
    networks = Images(), dcgan.Discriminator(width=2, batch_norm=False)
    view, params = _view(gan(*networks, LOSSES["hinge"], prior=normal_prior(3)), batch)
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params))
    w = jnp.asarray(np.random.default_rng(0).normal(size=flat.size))
    field = jax.jit(lambda z: ravel_pytree(view.field(unravel(z)).gradients)[0])
    product = jax.jit(lambda w: ravel_pytree(view.jacobian_product(unravel(flat), unravel(w)))[0])(w)
    h = 1e-6
    difference = (field(flat + h * w) - field(flat - h * w)) / (2 * h)
    np.testing.assert_allclose(product, difference, rtol=1e-3, atol=1e-4 * float(jnp.abs(product).max()))
    assert float(jnp.abs(product).max()) > 1e-2


def test_rotation(small_gan):
    """0 for a potential, 1 for ab, q^2 / (p^2 + q^2) for the eigenvalues p +- iq, Frobenius norms for networks."""
    view, params = _view(quadratic([0.3 + 0.4j, 0.3 + 0.4j], rotation_seed=1))
    np.testing.assert_allclose(_rotation(view, params, probes=400), 0.64, rtol=0.1)
    view, params = _view(quadratic([0.3 + 0.4j]))
    np.testing.assert_allclose(_rotation(view, params), 0.64, rtol=1e-9)
    both_descend = zero_sum(lambda p, batch, key: p["a"] * p["b"] + p["b"] ** 3, "a", "b", None)
    costs = {"a": both_descend.costs["a"], "b": lambda *args: both_descend.costs["a"](*args)}
    potential = View(both_descend._replace(costs=costs), Moment({"a": {}, "b": {}}, None, KEY))
    point = {"a": jnp.array(1.0), "b": jnp.array(2.0)}
    np.testing.assert_allclose(_rotation(potential, point), 0, atol=1e-12)
    view, params, matrix = small_gan
    odd, even = (np.linalg.norm(m) ** 2 for m in (matrix - matrix.T, matrix + matrix.T))
    estimates = jax.jit(jax.vmap(lambda k: rotation(view, params, k, probes=50)))(jax.random.split(KEY, 20))
    error = np.std(estimates) / np.sqrt(20)
    assert error < 0.05 and abs(float(estimates.mean()) - odd / (odd + even)) < 4 * error + 1e-3


def test_path_angle_of_a_sink_and_of_a_centre(float64):
    """To a stable point the cosine is 1 on the way and -1 behind it; a centre crosses the way at a right angle."""
    alphas = np.array([-0.1, 0.5, 0.9, 1.1])
    start, end = ({p: jnp.full((1,), x) for p in "ab"} for x in (1.0, 0.0))
    sink, _ = _view(quadratic([0.5]))
    found = _path_angle(sink, start, end, alphas)
    np.testing.assert_allclose(found.cosine, [1, 1, 1, -1], atol=1e-12)
    np.testing.assert_allclose(found.norm, 0.5 * np.sqrt(2) * np.abs(1 - alphas), rtol=1e-12)
    centre, _ = _view(quadratic([1j]))
    np.testing.assert_allclose(_path_angle(centre, start, end, alphas).cosine, 0, atol=1e-12)


def test_path_angle_of_a_focus(float64):
    """To `p +- iq` the cosine is `p / sqrt(p^2 + q^2)`, and changes its sign at the end."""
    alphas = np.array([-0.1, 0.5, 0.9, 1.1])
    start, end = ({p: jnp.full((1,), x) for p in "ab"} for x in (1.0, 0.0))
    view, _ = _view(quadratic([0.3 + 0.4j]))
    found = _path_angle(view, start, end, alphas)
    np.testing.assert_allclose(found.cosine, 0.6 * np.sign(1 - alphas), atol=1e-12)
    np.testing.assert_allclose(found.norm, 0.5 * np.sqrt(2) * np.abs(1 - alphas), rtol=1e-12)


def test_path_angle_past_a_centre_is_a_bump(float64):
    """From (1, r) to (0, r) about a centre at 0: `r / sqrt(r^2 + (1 - alpha)^2)`, without a change of sign."""
    alphas, r = np.linspace(-0.1, 1.1, 13), 0.2
    start, end = ({"a": jnp.array([x]), "b": jnp.array([r])} for x in (1.0, 0.0))
    view, _ = _view(quadratic([1j]))
    found = _path_angle(view, start, end, alphas)
    np.testing.assert_allclose(found.cosine, r / np.hypot(r, 1 - alphas), rtol=1e-12)
    np.testing.assert_allclose(found.norm, np.hypot(r, 1 - alphas), rtol=1e-12)
    np.testing.assert_allclose(found.alpha, alphas)
