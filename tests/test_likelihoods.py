"""Likelihoods of pixels: each sums or integrates to one, and says what SciPy and hand computations say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from ganjax.likelihoods import (
    bernoulli,
    bits_per_dimension,
    continuous_bernoulli,
    discretised_logistic,
    gaussian,
    gaussian_kl,
    log_normaliser,
    normal,
    standard_normal,
)


@pytest.fixture(autouse=True)
def _double(float64):
    """Oracles need it."""


LOGITS = np.array([-9.0, -1.3, -1e-3, 0.0, 1e-5, 9e-3, 1.1e-2, 0.7, 8.0])


def _of_entry(observation, outputs, x):
    """log p of single entries, [N]."""
    x = jnp.asarray(x, float).reshape(-1, 1)
    return np.asarray(observation.log_prob(jnp.broadcast_to(jnp.asarray(outputs, float), (len(x), len(outputs))), x))


@pytest.mark.parametrize("logit", LOGITS)
def test_bernoulli(logit):
    p = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(_of_entry(bernoulli(), [logit], [1.0, -1.0]), np.log([p, 1 - p]), rtol=1e-10)
    np.testing.assert_allclose(bernoulli().mean(jnp.array([logit])), [2 * p - 1], atol=1e-12)


def test_the_cross_entropy_of_grey_pixels_is_not_zero_at_best():
    """Its least is the entropy of the pixels: a report of it as a likelihood has this floor."""
    x = np.array([[-0.5, 0.2, 0.9]])
    p = (x + 1) / 2
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
    best = -bernoulli().log_prob(jnp.log(p / (1 - p)), jnp.asarray(x))[0]
    np.testing.assert_allclose(best, entropy, rtol=1e-10)
    assert entropy > 1


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_is_a_density_with_its_mean(logit):
    density = lambda x: float(np.exp(_of_entry(continuous_bernoulli(), [logit], [x])[0]))  # noqa: E731
    total, _ = integrate.quad(density, -1, 1, epsabs=1e-11)
    mean, _ = integrate.quad(lambda x: x * density(x), -1, 1, epsabs=1e-11)
    np.testing.assert_allclose(total, 1, atol=1e-9)
    np.testing.assert_allclose(continuous_bernoulli().mean(jnp.array([logit])), [mean], atol=1e-7)


def test_the_normaliser_by_hand():
    """C(1/2) = 2, C(.1) = 2.7465307; smooth where the series takes over, in both derivatives."""
    np.testing.assert_allclose(jnp.exp(log_normaliser(jnp.array([0.0, np.log(0.1 / 0.9)]))), [2, 2.7465307], rtol=1e-7)
    slope = jax.vmap(jax.grad(lambda l: log_normaliser(l)))
    near, far = slope(jnp.array([0.00999999])), slope(jnp.array([0.01000001]))
    np.testing.assert_allclose(near, far, rtol=1e-4)
    assert np.isfinite(slope(jnp.array([0.0, 30.0, -30.0]))).all()


def test_gaussian():
    x = np.array([-0.7, 0.1, 0.9])
    expected = stats.norm.logpdf(x, 0.3, 0.25)
    np.testing.assert_allclose(_of_entry(gaussian(0.25), [0.3], x), expected, rtol=1e-10)


@pytest.mark.parametrize("m", [-1.2, -0.3, 0.996, 4.0])
@pytest.mark.parametrize("log_t", [-30.0, -7.0, -3.0, 0.0, 3.0])
def test_discretised_logistic_sums_to_one_and_is_scipys(m, log_t):
    levels = np.arange(256) / 127.5 - 1
    log_p = _of_entry(discretised_logistic(), [m, log_t], levels)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, atol=2e-14 * 256)
    edges = np.concatenate([[-np.inf], levels[:-1] + 1 / 255, [np.inf]])
    cdf = stats.logistic.cdf(edges, m, np.exp(max(log_t, -7.0)))
    np.testing.assert_allclose(np.exp(log_p), np.diff(cdf), atol=1e-13)
    assert np.isfinite(log_p).all()
    slope = jax.grad(lambda o: discretised_logistic().log_prob(o[None], jnp.full((1, 1), 0.1))[0])
    assert np.isfinite(slope(jnp.array([m, log_t]))).all()


def test_normals_and_their_divergence():
    rng = np.random.default_rng(0)
    z, mean, log_std = rng.normal(size=(3, 5, 4))
    expected = stats.norm.logpdf(z, mean, np.exp(log_std)).sum(-1)
    np.testing.assert_allclose(normal(z, mean, log_std), expected, rtol=1e-10)
    np.testing.assert_allclose(standard_normal(z), stats.norm.logpdf(z).sum(-1), rtol=1e-10)
    draws = mean[..., None] + np.exp(log_std)[..., None] * stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    q = stats.norm.logpdf(draws, mean[..., None], np.exp(log_std)[..., None])
    np.testing.assert_allclose(gaussian_kl(mean, log_std), (q - stats.norm.logpdf(draws)).mean(-1), atol=2e-3)
    assert gaussian_kl(jnp.zeros(3), jnp.zeros(3)).sum() == 0


def test_a_last_layer_of_zeros_pays_a_bit_a_pixel():
    """Binary: 543.427 nats on 784 pixels."""
    nats = -bernoulli().log_prob(jnp.zeros((1, 28, 28, 1)), jnp.ones((1, 28, 28, 1)))
    np.testing.assert_allclose(nats, 543.4273895589, rtol=1e-10)
    np.testing.assert_allclose(bits_per_dimension(nats, 784), 1, rtol=1e-12)
