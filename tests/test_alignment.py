"""What aligns two domains, against tables, closed forms and sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm

from ganjax.alignment import (
    coral,
    discrepancy,
    domain_confusion,
    domain_entropy,
    inverted_labels,
    mmd,
    reversal_weight,
    widths,
)

# The slope of an encoder's cost in u of one target example, at u = -8, -2, 0 and 2.
SLOPES = {
    "reversal": (lambda s, t: -domain_entropy(s, t), (-0.00034, -0.11920, -0.5, -0.88080)),
    "confusion": (domain_confusion, (-0.49966, -0.38080, 0.0, 0.38080)),
    "inverted": (inverted_labels, (-0.99966, -0.88080, -0.5, -0.11920)),
}


@pytest.fixture(autouse=True)
def _double(float64):
    """Oracles need it."""


@pytest.mark.parametrize("name", SLOPES)
def test_how_a_target_feature_is_pulled(name):
    """Where the critic is sure, reversal stops, inverted labels pull hardest, and confusion goes half as fast."""
    cost, expected = SLOPES[name]
    found = [float(jax.grad(lambda u: cost(jnp.zeros(1), u))(jnp.full(1, u))[0]) for u in (-8.0, -2.0, 0.0, 2.0)]
    np.testing.assert_allclose(found, expected, atol=6e-6)


def test_a_critic_that_knows_nothing_pays_two_bits_and_confusion_is_least_there():
    zero, u = jnp.zeros(3), jnp.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(domain_entropy(zero, zero), 2 * np.log(2), rtol=1e-12)
    assert domain_entropy(u, u) > 2 * np.log(2), "of equal features nothing better is to be had"
    np.testing.assert_allclose(domain_confusion(zero, zero), 2 * np.log(2), rtol=1e-12)
    np.testing.assert_allclose(domain_confusion(u, -u), 2 * (np.log1p(np.exp(u)) - u / 2).mean(), rtol=1e-12)


def test_the_weight_of_reversal():
    """2 / (1 + exp(-10 p)) - 1 at p = 0, .1, .25, .5 and 1."""
    weight = reversal_weight(200)
    found = [float(weight(step)) for step in (0, 20, 50, 100, 200)]
    np.testing.assert_allclose(found, [0, 0.46212, 0.84828, 0.98661, 0.99991], atol=5e-6)
    np.testing.assert_allclose(reversal_weight(200, 3.0)(50), 3 * (2 / (1 + np.exp(-2.5)) - 1), rtol=1e-12)


def test_coral_is_zero_where_features_are_whitened_and_coloured():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3)) + 1, rng.normal(size=(50, 3))
    c_x, c_y = (np.cov(z, rowvar=False) for z in (x, y))
    np.testing.assert_allclose(coral(x, y), np.sum((c_x - c_y) ** 2) / 36, rtol=1e-12)
    moved = x @ np.linalg.inv(sqrtm(c_x)).real @ sqrtm(c_y).real
    assert coral(moved, y) < 1e-14 < coral(x, y)


def _expected_kernel(m_1, s_1, m_2, s_2, h):
    """E exp(-|x - y|^2 / (2 h^2)) of two Gaussians."""
    total, gap = s_1 + s_2 + h**2 * np.eye(len(m_1)), m_1 - m_2
    return h ** len(m_1) / np.sqrt(np.linalg.det(total)) * np.exp(-gap @ np.linalg.solve(total, gap) / 2)


def test_the_kernel_mean_of_gaussians_and_the_estimate_is_unbiased():
    """Of 300 pairs of samples the mean lies within three standard errors, where leaving the diagonal in adds 1/10."""
    m, s = np.array([0.5, -0.2]), np.array([[1.2, 0.3], [0.3, 0.7]])
    laws, h, n = ((np.zeros(2), np.eye(2)), (m, s)), 1.3, 20
    (a, b), (c, d) = ([_expected_kernel(*p, *q, h) for q in laws] for p in laws)
    exact = a + d - b - c
    rng = np.random.default_rng(0)
    samples = [jnp.asarray(rng.multivariate_normal(*law, size=(300, n))) for law in laws]
    found = np.asarray(jax.jit(jax.vmap(lambda x, y: mmd(x, y, [h])))(*samples))
    assert abs(found.mean() - exact) < 3 * found.std() / np.sqrt(300) < 0.02
    assert found.min() < 0, "an unbiased estimate may be negative"


def test_mmd_by_hand_and_its_widths():
    x, y = np.array([[0.0], [1.0]]), np.array([[3.0], [5.0]])
    k = lambda t: (np.exp(-(t**2) / 2) + np.exp(-(t**2) / 8)) / 2  # noqa: E731
    expected = k(1) + k(2) - 2 * (k(3) + k(5) + k(2) + k(4)) / 4
    np.testing.assert_allclose(mmd(x, y, [1.0, 2.0]), expected, rtol=1e-12)
    both = np.concatenate([x, y])
    mean_square = np.mean((both - both.T) ** 2)
    np.testing.assert_allclose(2 * np.square(widths(x, y)), mean_square * 2.0 ** np.arange(-2, 3), rtol=1e-12)
    assert jnp.abs(jax.grad(lambda x: widths(x, y)[0])(jnp.asarray(x))).max() == 0


def test_a_discrepancy_is_a_mean_over_classes():
    """0 where both agree, 2 / K where they are sure of different classes."""
    agree, sure = jnp.ones((1, 2, 4)), 50 * jnp.eye(4)[None, :2]
    found = discrepancy(jnp.concatenate([agree, sure]))
    np.testing.assert_allclose(found, [0, 0.5], atol=1e-12)
