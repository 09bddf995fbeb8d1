"""Gaussians against SciPy, scikit-learn and numerical integration."""

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ganjax.gaussians import Gaussian, completed, fit, log_density, posterior

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 4))
LAW = Gaussian(RNG.normal(size=4), A @ A.T + np.eye(4))
X = RNG.multivariate_normal(LAW.mean, LAW.covariance, 50)


def test_the_maximum_of_the_likelihood():
    law = fit(X)
    np.testing.assert_allclose(law.covariance, (X - X.mean(0)).T @ (X - X.mean(0)) / 50, rtol=1e-12)
    at = log_density(law, X)
    np.testing.assert_allclose(at, stats.multivariate_normal(*law).logpdf(X), rtol=1e-10)
    _, log_det = np.linalg.slogdet(law.covariance)
    np.testing.assert_allclose(at.mean(), -(4 * np.log(2 * np.pi) + log_det + 4) / 2, rtol=1e-10)
    for other in (law._replace(mean=law.mean + 0.01), law._replace(covariance=law.covariance * 50 / 49)):
        assert log_density(other, X).mean() < at.mean()
    draws = RNG.normal(size=(2000, 5, 1))
    np.testing.assert_allclose(np.mean([fit(x).covariance for x in draws]), 4 / 5, atol=0.06)


@pytest.mark.parametrize(("x", "rank"), [(X[:4], 3), (np.c_[X, np.ones(50)], 4)])
def test_where_the_likelihood_is_unbounded(x, rank):
    with pytest.raises(ValueError, match=f"has the rank {rank}, expected {x.shape[1]}: the likelihood is unbounded"):
        fit(x)
    assert np.isfinite(log_density(fit(x, floor=0.1), x)).all()
    with pytest.raises(ValueError, match="missing or not finite"):
        fit([[np.nan]])


def test_missing_features_are_integrated_out():
    x = X[:3].copy()
    x[0, [1, 3]], x[1, 0], x[2] = np.nan, np.nan, np.nan
    own = stats.multivariate_normal(LAW.mean[[0, 2]], LAW.covariance[np.ix_([0, 2], [0, 2])]).logpdf(x[0, [0, 2]])
    joint = stats.multivariate_normal(*LAW)
    whole = integrate.quad(lambda t: joint.pdf([t, *x[1, 1:]]), -np.inf, np.inf, epsabs=1e-14)[0]
    np.testing.assert_allclose(log_density(LAW, x), [own, np.log(whole), 0], rtol=1e-9, atol=1e-12)
    mean = integrate.quad(lambda t: t * joint.pdf([t, *x[1, 1:]]), -np.inf, np.inf, epsabs=1e-14)[0] / whole
    filled = completed(LAW, x)
    np.testing.assert_allclose(filled[1], [mean, *x[1, 1:]], rtol=1e-7)
    np.testing.assert_allclose(filled[2], LAW.mean)
    np.testing.assert_array_equal(completed(LAW, X), X)


def test_bayes_rule_from_the_joint():
    """With all features scikit-learn's; with missing ones the ratio of integrals, which the filled-in mean is not."""
    y = (X[:, 0] + RNG.normal(size=50) > LAW.mean[0]).astype(int)
    pi = np.bincount(y) / 50
    laws = [fit(X[y == k]) for k in (0, 1)]
    pooled = sum(p * law.covariance for p, law in zip(pi, laws, strict=True))
    shared = [law._replace(covariance=pooled) for law in laws]
    lda = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    np.testing.assert_allclose(posterior(pi, shared, X), lda.predict_proba(X), atol=1e-10)
    slope = np.linalg.solve(pooled, laws[1].mean - laws[0].mean)
    offset = -(laws[0].mean + laws[1].mean) @ slope / 2 + np.log(pi[1] / pi[0])
    np.testing.assert_allclose(posterior(pi, shared, X)[:, 1], 1 / (1 + np.exp(-X @ slope - offset)), atol=1e-12)
    x = X[:1].copy()
    x[0, 0] = np.nan
    joints = [
        p * integrate.quad(lambda t, l=l: stats.multivariate_normal(*l).pdf([t, *x[0, 1:]]), -40, 40, epsabs=1e-14)[0]
        for p, l in zip(pi, laws, strict=True)
    ]
    found = posterior(pi, laws, x)[0]
    np.testing.assert_allclose(found, np.array(joints) / sum(joints), rtol=1e-9)
    filled = np.where(np.isnan(x), X.mean(0), x)
    assert np.abs(posterior(pi, laws, filled)[0] - found).max() > 1e-3
    with pytest.raises(ValueError, match="expected 2 probabilities that sum to 1"):
        posterior([0.5, 0.6], laws, X)
