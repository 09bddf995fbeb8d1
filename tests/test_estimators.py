"""Estimators of gradients: closed forms against quadrature and enumeration."""

import numpy as np
import pytest

from ganjax.estimators import (
    bernoulli_gradient,
    bernoulli_score_variance,
    bilevel_gradients,
    concrete_gradient,
    gaussian_score_variance,
    straight_through_gradient,
)

THETA = np.array([-1.5, 0.0, 0.4, 2.0])
P = np.array([0.1, 0.3, 0.5, 0.9])


def test_the_score_of_a_gaussian():
    x, w = np.polynomial.hermite_e.hermegauss(30)
    w = w / w.sum()
    for b in (0.0, 1.3, -2.0):
        estimate = ((THETA[:, None] + x) ** 2 - b) * x
        mean = estimate @ w
        np.testing.assert_allclose(mean, 2 * THETA, atol=1e-12)
        np.testing.assert_allclose(estimate**2 @ w - mean**2, gaussian_score_variance(THETA, b), rtol=1e-10)
    np.testing.assert_allclose(gaussian_score_variance(THETA), THETA**4 + 14 * THETA**2 + 15)
    np.testing.assert_allclose(gaussian_score_variance(THETA, THETA**2 + 3), 8 * THETA**2 + 6)
    np.testing.assert_allclose(gaussian_score_variance(THETA, THETA**2 + 1), 8 * THETA**2 + 10)


def test_no_baseline_beats_the_best():
    best = gaussian_score_variance(THETA, THETA**2 + 3)
    for away in (-0.1, 0.1):
        assert (gaussian_score_variance(THETA, THETA**2 + 3 + away) > best).all()


@pytest.mark.fault("many: the mean reward is taken for the baseline of least variance")
def test_the_score_of_a_bernoulli():
    f = np.array([1.0, 2.5])
    for b in (0.0, (1 - P) * f[0] + P * f[1], (1 - P) * f[1] + P * f[0]):
        on, off = (f[1] - b) * (1 - P), (f[0] - b) * -P
        mean = P * on + (1 - P) * off
        np.testing.assert_allclose(mean, P * (1 - P) * (f[1] - f[0]), rtol=1e-12)
        variance = P * on**2 + (1 - P) * off**2 - mean**2
        np.testing.assert_allclose(bernoulli_score_variance(P, tuple(f), b), variance, atol=1e-14)
    assert np.abs(bernoulli_score_variance(P, tuple(f), (1 - P) * f[1] + P * f[0])).max() < 1e-30
    mean_reward = bernoulli_score_variance(P, tuple(f), (1 - P) * f[0] + P * f[1])
    np.testing.assert_allclose(mean_reward, P * (1 - P) * ((f[1] - f[0]) * (1 - 2 * P)) ** 2, atol=1e-14)


@pytest.mark.fault("many: straight-through is taken for unbiased; its sign can be wrong")
def test_relaxed_gradients_are_of_another_objective():
    true, through = bernoulli_gradient(0.3, 0.45), straight_through_gradient(0.3, 0.45)
    np.testing.assert_allclose([true, through], [0.021, -0.063], rtol=1e-12)
    np.testing.assert_allclose(
        straight_through_gradient(P, 0.2) - bernoulli_gradient(P, 0.2), P * (1 - P) * (2 * P - 1), rtol=1e-12
    )
    found = [concrete_gradient(0.3, 0.45, tau) for tau in (1, 0.5, 0.2, 0.1, 0.05)]
    np.testing.assert_allclose(found, [-0.0104, -0.0077, 0.0053, 0.0127, 0.0168], atol=5e-5)


def test_an_actor_who_holds_its_critic_ends_elsewhere():
    """Against the total derivative of F at the critic's best answer."""
    x = np.array([-1.0, 0.3, 0.25])
    whole, held = bilevel_gradients(x)
    total = lambda x: (2 * x - 1) ** 2 / 2 + x * 2 * x  # noqa: E731
    np.testing.assert_allclose(whole, (total(x + 1e-6) - total(x - 1e-6)) / 2e-6, atol=1e-8)
    np.testing.assert_allclose(whole, 8 * x - 2, rtol=1e-12)
    np.testing.assert_allclose(held, 2 * x)
    np.testing.assert_allclose([whole[1], held[1]], [0.4, 0.6], rtol=1e-12)
