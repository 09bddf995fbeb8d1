"""Parzen windows against densities written out."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from ganjax.metrics import parzen_cross_validated, parzen_log_likelihood


def test_one_sample_is_one_gaussian():
    """log N(x; s, sigma^2 I) = -|x - s|^2 / 2 sigma^2 - D / 2 log(2 pi sigma^2)."""
    test = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    found = parzen_log_likelihood(np.zeros((2, 3)), test, 2.0)  # twice the same kernel
    expected = -np.array([5.0, 9.0]) / 8 - 1.5 * np.log(2 * np.pi * 4)
    np.testing.assert_allclose(found, (expected.mean(), expected.std(ddof=1) / np.sqrt(2), 2.0), rtol=1e-12)


def test_a_mixture_against_scipy():
    rng = np.random.default_rng(0)
    samples, test = rng.normal(size=(30, 4)), rng.normal(size=(17, 4))
    density = np.mean([multivariate_normal(s, 0.3**2 * np.eye(4)).pdf(test) for s in samples], axis=0)
    np.testing.assert_allclose(parzen_log_likelihood(samples, test, 0.3).mean, np.log(density).mean(), rtol=1e-10)


def test_far_points_do_not_underflow():
    """exp(-10^6 / 2) is 0 in double precision, its logarithm is not."""
    found = parzen_log_likelihood(np.zeros((3, 1)), np.array([[1e3], [-1e3]]), 1.0)
    np.testing.assert_allclose(found.mean, -5e5 - 0.5 * np.log(2 * np.pi), rtol=1e-12)
    assert found.error == 0


def test_the_true_density_is_approached():
    """In one dimension: samples of N(0, 1) under windows of sigma have density N(0, 1 + sigma^2)."""
    rng = np.random.default_rng(0)
    samples, test = rng.normal(size=(20_000, 1)), np.linspace(-2, 2, 9)[:, None]
    found = parzen_log_likelihood(samples, test, 0.3).mean
    np.testing.assert_allclose(found, norm(0, np.sqrt(1.09)).logpdf(test).mean(), atol=0.01)


def test_sigma_is_chosen_on_validation_data():
    """For one point mass and validation data at +-2 the likelihood is greatest at sigma = 2, whatever the test data."""
    zero, validation, test = np.zeros((2, 1)), np.array([[2.0], [-2.0]]), np.array([[0.5], [-0.5]])
    found = parzen_cross_validated(zero, validation, test, sigmas=[0.5, 1.0, 2.0, 4.0])
    assert found.sigma == 2.0
    np.testing.assert_allclose(found, parzen_log_likelihood(zero, test, 2.0))
    assert 0.1 <= parzen_cross_validated(zero, validation, test).sigma <= 1


def test_wrong_sigma():
    for sigma in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="expected positive numbers"):
            parzen_log_likelihood(np.eye(3), np.eye(3), sigma)
    with pytest.raises(ValueError, match=r"sigma is \[\]"):
        parzen_cross_validated(np.eye(3), np.eye(3), np.eye(3), sigmas=[])
