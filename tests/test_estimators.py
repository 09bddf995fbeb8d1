"""Estimators of gradients: closed forms against quadrature and enumeration."""

import numpy as np
import pytest

from ganjax.estimators import (
    bernoulli_gradient,
    bernoulli_score_variance,
    bilevel_gradients,
    concrete_deviation,
    concrete_deviation_limit,
    concrete_gradient,
    gaussian_path_variance,
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
    for d in (1, 6):
        best = gaussian_score_variance(THETA, THETA**2 + d + 2, d)
        for away in (-0.1, 0.1):
            assert (gaussian_score_variance(THETA, THETA**2 + d + 2 + away, d) > best).all()


def test_a_score_grows_with_the_dimensions_and_a_path_does_not():
    """By quadrature in three of them, and by draws of paths, whose variance is known within 4.5 standard errors."""
    x, w = np.polynomial.hermite_e.hermegauss(6)
    ones = np.stack(np.meshgrid(x, x, x), -1).reshape(-1, 3)
    shares = np.prod(np.stack(np.meshgrid(w, w, w), -1).reshape(-1, 3), 1) / w.sum() ** 3
    for theta in THETA:
        for b in (0.0, 2.5):
            estimate = (((ones + theta * np.eye(3)[0]) ** 2).sum(1) - b) * ones[:, 0]
            mean = estimate @ shares
            np.testing.assert_allclose(mean, 2 * theta, atol=1e-11)
            np.testing.assert_allclose(estimate**2 @ shares - mean**2, gaussian_score_variance(theta, b, 3), rtol=1e-10)
    d = np.arange(1, 9)
    np.testing.assert_allclose(gaussian_score_variance(0.0, 0.0, d), (d + 2) * (d + 4))
    np.testing.assert_allclose(gaussian_score_variance(0.0, d + 2, d), 2 * d + 4)
    drawn = 2 * (THETA[:, None, None] + np.random.default_rng(0).normal(size=(4, 20_000, 3)))
    expected = np.stack(3 * [gaussian_path_variance(THETA)], 1)
    np.testing.assert_allclose(drawn.var(1), expected, atol=4.5 * 4 * np.sqrt(2 / 20_000))


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


def test_the_noise_of_a_concrete_variable_has_no_limit():
    """By draws, and where it goes as the temperature falls: .085 over its root, of this example."""
    rng, p, t = np.random.default_rng(0), 0.3, 0.45
    y = 1 / (1 + np.exp(-(np.log(p / (1 - p)) + rng.logistic(size=100_000)) / 0.5))
    drawn = 2 * (y - t) * y * (1 - y) / 0.5
    np.testing.assert_allclose(concrete_deviation(p, t, 0.5), drawn.std(), rtol=0.01)
    np.testing.assert_allclose(concrete_gradient(p, t, 0.5), drawn.mean(), atol=4.5 * drawn.std() / np.sqrt(100_000))
    for tau in (0.02, 0.005):
        np.testing.assert_allclose(concrete_deviation(p, t, tau), concrete_deviation_limit(p, t, tau), rtol=0.01)
    np.testing.assert_allclose(concrete_deviation_limit(p, t, np.array([1.0, 0.01])), [0.085, 0.85], rtol=0.01)


def test_an_actor_who_holds_its_critic_ends_elsewhere():
    """Against the total derivative of F at the critic's best answer."""
    x = np.array([-1.0, 0.3, 0.25])
    whole, held = bilevel_gradients(x)
    total = lambda x: (2 * x - 1) ** 2 / 2 + x * 2 * x  # noqa: E731
    np.testing.assert_allclose(whole, (total(x + 1e-6) - total(x - 1e-6)) / 2e-6, atol=1e-8)
    np.testing.assert_allclose(whole, 8 * x - 2, rtol=1e-12)
    np.testing.assert_allclose(held, 2 * x)
    np.testing.assert_allclose([whole[1], held[1]], [0.4, 0.6], rtol=1e-12)
