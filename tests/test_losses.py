"""Adversarial losses against hand-computed values and the identities at the optimal discriminator."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, xlogy
from scipy.stats import norm

from ganjax import losses
from ganjax.losses import LOSSES
from ganjax.options import Loss, PenaltyName
from ganjax.penalties import PENALTIES

LOG2 = np.log(2.0)

# name: (discriminator at real, fake; generator at fake), by hand from the papers' formulas.
AT_ZERO = {
    "minimax": (2 * LOG2, -LOG2),
    "non_saturating": (2 * LOG2, LOG2),
    "maximum_likelihood": (2 * LOG2, -1.0),
    "least_squares": (0.5, 0.5),
    "hinge": (2.0, 0.0),
    "wasserstein": (0.0, 0.0),
}
# discriminator at (real, fake) = (40, -40) and (-40, 40); generator at +40 and -40. log(1 + e^40) = 40 to 1e-17.
AT_FORTY = {
    "minimax": (8.4967e-18, 80.0, -40.0, -4.2484e-18),
    "non_saturating": (8.4967e-18, 80.0, 4.2484e-18, 40.0),
    "maximum_likelihood": (8.4967e-18, 80.0, -2.35385e17, -4.2484e-18),
    "least_squares": (0.5 * 39**2 + 0.5 * 40**2, 0.5 * 41**2 + 0.5 * 40**2, 0.5 * 39**2, 0.5 * 41**2),
    "hinge": (0.0, 82.0, -40.0, 40.0),
    "wasserstein": (-80.0, 80.0, -40.0, 40.0),
}
# d generator / d logit at 0, +40 and -40.
SLOPES = {
    "minimax": (-0.5, -1.0, -4.2484e-18),
    "non_saturating": (-0.5, -4.2484e-18, -1.0),
    "maximum_likelihood": (-1.0, -2.35385e17, -4.2484e-18),
    "least_squares": (-1.0, 39.0, -41.0),
    "hinge": (-1.0, -1.0, -1.0),
    "wasserstein": (-1.0, -1.0, -1.0),
}


@pytest.mark.parametrize("name", AT_ZERO)
def test_values(name):
    loss, zero, high = LOSSES[name], jnp.zeros(()), jnp.full((), 40.0)
    expected = AT_ZERO[name]
    np.testing.assert_allclose(loss.discriminator(zero, zero), expected[0], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(loss.generator(zero, zero), expected[1], rtol=1e-6, atol=1e-12)
    got = (
        loss.discriminator(high, -high),
        loss.discriminator(-high, high),
        loss.generator(zero, high),
        loss.generator(zero, -high),
    )
    np.testing.assert_allclose(got, AT_FORTY[name], rtol=1e-4)


@pytest.mark.parametrize("name", SLOPES)
def test_generator_slopes(name):
    slope = jax.grad(LOSSES[name].generator, argnums=1)
    np.testing.assert_allclose([slope(0.0, t) for t in (0.0, 40.0, -40.0)], SLOPES[name], rtol=1e-4)


@pytest.mark.fault("mimicry: minimax_loss_gen is the non-saturating cost")
def test_minimax_is_the_saturating_cost():
    """log(1 - D): the opposite sign and the opposite saturation of the non-saturating cost."""
    logits = jnp.linspace(-8.0, 8.0, 33)
    d = expit(np.asarray(logits, np.float64))
    np.testing.assert_allclose(losses.saturating(logits), np.log(1 - d), rtol=1e-5)
    np.testing.assert_allclose(losses.non_saturating(logits), -np.log(d), rtol=1e-5)
    rejected = jax.grad(losses.saturating)(-10.0)
    assert abs(rejected) < 1e-4 < 0.99 < abs(jax.grad(losses.non_saturating)(-10.0))


@pytest.mark.fault("mimicry: log(sigmoid(x) + 1e-8) has no gradient below -18")
def test_gradient_survives_where_log_of_sigmoid_underflows():
    """log(sigmoid(-1000)) is -inf in float32; softplus is exact."""
    assert losses.non_saturating(jnp.float32(-1000)) == 1000
    assert jax.grad(losses.non_saturating)(jnp.float32(-1000)) == -1


# --- identities at the optimal discriminator, p = N(0, 1), q = N(theta, 1) ---------------------------------------


def _optimal_logit(x, theta):
    """log p(x) / q(x), linear in x."""
    return theta**2 / 2 - theta * x


def _expectation(f, mean):
    return quad(lambda x: f(x) * norm.pdf(x, mean), mean - 12, mean + 12, epsabs=1e-12)[0]


@pytest.mark.parametrize(("theta", "value"), [(1.0, -1.1634513968), (2.0, -0.7126327204), (3.0, -0.3327397481)])
def test_value_at_the_optimum_is_twice_the_jensen_shannon_divergence(theta, value, float64):
    """V(G, D*) = -log 4 + 2 JSD for Gaussians at distance theta."""
    cost = LOSSES["minimax"].discriminator
    real = _expectation(lambda x: float(cost(_optimal_logit(x, theta), -jnp.inf)), 0.0)
    fake = _expectation(lambda x: float(cost(jnp.inf, _optimal_logit(x, theta))), theta)
    np.testing.assert_allclose(-(real + fake), value, atol=1e-8)


def _kl(theta):
    return theta**2 / 2


def _jsd(theta):
    def integrand(x):
        p, q = norm.pdf(x), norm.pdf(x, theta)
        m = (p + q) / 2
        return 0.5 * (xlogy(p, p / m) + xlogy(q, q / m))

    return quad(integrand, -12, 12 + theta, epsabs=1e-13)[0]


@pytest.mark.parametrize(
    ("name", "divergence"),
    [
        ("minimax", lambda t: 2 * _jsd(t)),
        ("non_saturating", lambda t: _kl(t) - 2 * _jsd(t)),
        ("maximum_likelihood", _kl),
        ("hinge", _kl),
    ],
)
def test_generator_gradient_is_that_of_its_divergence(name, divergence, float64):
    """With D* held fixed, d/d theta of the mean cost is the derivative of the divergence named in the docstring."""
    theta, h = 1.3, 1e-4
    slope = jax.jit(jax.grad(LOSSES[name].generator, argnums=1))
    # x = theta + e, so d cost / d theta = E[cost'(logit) d logit / d x], with the discriminator's theta fixed.
    gradient = _expectation(lambda x: float(slope(0.0, _optimal_logit(x, theta))) * -theta, theta)
    expected = (divergence(theta + h) - divergence(theta - h)) / (2 * h)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


# --- the members that see more than one logit ----------------------------------------------------------------------


def test_one_sided_smoothing_scales_the_optimal_discriminator(float64):
    """D* = (a p + b q) / (p + q): the cost's slope in the logit is zero there."""
    p, q, a, b = 0.7, 0.2, 0.9, 0.0
    d = (a * p + b * q) / (p + q)
    cost = losses.smoothed(a, b).discriminator
    slopes = jax.grad(cost, argnums=(0, 1))(jnp.log(d / (1 - d)), jnp.log(d / (1 - d)))
    np.testing.assert_allclose(p * slopes[0] + q * slopes[1], 0, atol=1e-12)
    np.testing.assert_allclose(losses.smoothed(1.0).discriminator(1.3, 0.4), losses.binary_cross_entropy(1.3, 0.4))
    with pytest.raises(ValueError, match=r"real 0\.2 and fake 0\.5, expected"):
        losses.smoothed(0.2, 0.5)


def test_relativistic_paired_by_hand():
    loss = LOSSES["relativistic_paired"]
    np.testing.assert_allclose(
        loss.discriminator(jnp.array([2.0, 0.0]), jnp.array([2.0, 3.0])), [LOG2, 3.048587], rtol=1e-5
    )
    np.testing.assert_allclose(loss.generator(jnp.array([0.0]), jnp.array([3.0])), [0.048587], rtol=1e-4)


def test_relativistic_average_by_hand():
    """RaSGAN and RaHinge on logits 1, 3 and 0, -2, whose means are 2 and -1."""
    real, fake = jnp.array([1.0, 3.0]), jnp.array([0.0, -2.0])
    sigma = lambda t: 1 / (1 + np.exp(-t))  # noqa: E731
    expected = -np.log(sigma(np.array([2.0, 4.0]))) - np.log(1 - sigma(np.array([-2.0, -4.0])))
    loss = LOSSES["relativistic_average"]
    np.testing.assert_allclose(loss.discriminator(real, fake), expected, rtol=1e-5)
    expected = -np.log(1 - sigma(np.array([2.0, 4.0]))) - np.log(sigma(np.array([-2.0, -4.0])))
    np.testing.assert_allclose(loss.generator(real, fake), expected, rtol=1e-5)
    hinge = losses.relativistic_average(losses.hinge_discriminator)
    np.testing.assert_allclose(hinge.generator(real, fake), [3.0 + 3.0, 5.0 + 5.0])
    np.testing.assert_allclose(hinge.discriminator(real, fake), [0.0, 0.0])


def test_relativistic_average_over_devices():
    """Two shards with an axis name have the values and the gradients of the whole batch."""
    real, fake = jnp.linspace(-1.0, 2.0, 6), jnp.linspace(3.0, -2.0, 6) ** 2 / 4
    shared = losses.relativistic_average(axis_name="devices")
    for side in ("discriminator", "generator"):
        whole, parts = getattr(LOSSES["relativistic_average"], side), getattr(shared, side)
        split = jax.vmap(parts, axis_name="devices")(real.reshape(2, 3), fake.reshape(2, 3))
        np.testing.assert_allclose(split.ravel(), whole(real, fake), rtol=1e-6)

        def mean(r, f, parts=parts):
            return jax.lax.pmean(parts(r, f).mean(), "devices")

        slopes = jax.vmap(jax.grad(mean, argnums=1), axis_name="devices")(real.reshape(2, 3), fake.reshape(2, 3))
        expected = jax.grad(lambda f, whole=whole: whole(real, f).mean())(fake)
        np.testing.assert_allclose(slopes.ravel() / 2, expected, rtol=1e-5)


def test_the_config_knows_every_loss_and_every_penalty():
    assert set(get_args(Loss)) == set(LOSSES)
    assert set(get_args(PenaltyName)) == {"none", *PENALTIES}
