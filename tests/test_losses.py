"""Adversarial losses against hand-computed values and the identities at the optimal discriminator."""

import ast
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, xlogy
from scipy.stats import norm

from ganjax import losses
from ganjax.losses import LOSSES

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


def test_every_loss_has_its_expected_values():
    assert set(LOSSES) == set(AT_ZERO) == set(AT_FORTY) == set(SLOPES)


@pytest.mark.parametrize("name", LOSSES)
def test_values(name):
    loss, zero, high = LOSSES[name], jnp.zeros(()), jnp.full((), 40.0)
    expected = AT_ZERO[name]
    np.testing.assert_allclose(loss.discriminator(zero, zero), expected[0], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(loss.generator(zero), expected[1], rtol=1e-6, atol=1e-12)
    got = (
        loss.discriminator(high, -high),
        loss.discriminator(-high, high),
        loss.generator(high),
        loss.generator(-high),
    )
    np.testing.assert_allclose(got, AT_FORTY[name], rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_generator_slopes(name):
    slope = jax.grad(LOSSES[name].generator)
    np.testing.assert_allclose([slope(t) for t in (0.0, 40.0, -40.0)], SLOPES[name], rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_contract(name, float64):
    """Elementwise on any shape, the dtype kept, derivatives as by finite differences."""
    loss = LOSSES[name]
    real, fake = jnp.linspace(-3.1, 2.9, 12).reshape(2, 3, 2), jnp.linspace(2.3, -3.7, 12).reshape(2, 3, 2)
    values, costs = loss.discriminator(real, fake), loss.generator(fake)
    assert values.shape == costs.shape == real.shape
    np.testing.assert_array_equal(jax.vmap(loss.discriminator)(real, fake), values)
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        assert loss.generator(fake.astype(dtype)).dtype == dtype
    h = 1e-6
    for argument in (0, 1):
        step = (h, 0.0) if argument == 0 else (0.0, h)
        numeric = (
            loss.discriminator(real + step[0], fake + step[1]) - loss.discriminator(real - step[0], fake - step[1])
        ) / (2 * h)
        exact = jax.grad(lambda r, f: loss.discriminator(r, f).sum(), argument)(real, fake)
        np.testing.assert_allclose(exact, numeric, atol=1e-8)
    exact = jax.grad(lambda f: loss.generator(f).sum())(fake)
    np.testing.assert_allclose(exact, (loss.generator(fake + h) - loss.generator(fake - h)) / (2 * h), atol=1e-7)


def test_minimax_is_the_saturating_cost():
    """log(1 - D): the opposite sign and the opposite saturation of the non-saturating cost."""
    logits = jnp.linspace(-8.0, 8.0, 33)
    d = expit(np.asarray(logits, np.float64))
    np.testing.assert_allclose(LOSSES["minimax"].generator(logits), np.log(1 - d), rtol=1e-5)
    np.testing.assert_allclose(LOSSES["non_saturating"].generator(logits), -np.log(d), rtol=1e-5)
    rejected = jax.grad(LOSSES["minimax"].generator)(-10.0)
    assert abs(rejected) < 1e-4 < 0.99 < abs(jax.grad(LOSSES["non_saturating"].generator)(-10.0))


def test_gradient_survives_where_log_of_sigmoid_underflows():
    """log(sigmoid(-1000)) is -inf in float32; softplus is exact."""
    assert LOSSES["non_saturating"].generator(jnp.float32(-1000)) == 1000
    assert jax.grad(LOSSES["non_saturating"].generator)(jnp.float32(-1000)) == -1
    calls = {node.func.attr for node in ast.walk(ast.parse(inspect.getsource(losses))) if _is_attribute_call(node)}
    assert calls == {"exp"}, "only -exp(logit) needs more than softplus and relu"


def _is_attribute_call(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)


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
    slope = jax.grad(LOSSES[name].generator)
    # x = theta + e, so d cost / d theta = E[cost'(logit) d logit / d x], with the discriminator's theta fixed.
    gradient = _expectation(lambda x: float(slope(_optimal_logit(x, theta))) * -theta, theta)
    expected = (divergence(theta + h) - divergence(theta - h)) / (2 * h)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
