"""Where generative and discriminative classifiers end: closed forms of an experiment, against scikit-learn."""

import importlib.util
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binom
from sklearn.naive_bayes import BernoulliNB


@cache
def _experiment():
    path = Path(__file__).parent.parent / "experiments" / "generative_discriminative.py"
    spec = importlib.util.spec_from_file_location("generative_discriminative", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_errors_with_all_data():
    """Bayes' .186092 of 20 bits; naive Bayes counts the first four of them six times and ends at .251211."""
    votes = _experiment().votes
    np.testing.assert_allclose(votes(np.ones(20)), 0.186092, atol=5e-7)
    np.testing.assert_allclose(votes(np.array([6] * 4 + [1] * 16)), 0.251211, atol=5e-7)
    np.testing.assert_allclose(votes(np.ones(20)), binom.cdf(9, 20, 0.6) + binom.pmf(10, 20, 0.6) / 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("distance", "expected"),
    [(0.5, 1.0), (1, 0.995), (1.5, 0.968), (2, 0.899), (2.5, 0.786), (3, 0.641), (3.5, 0.486), (4, 0.343)],
)
def test_efrons_efficiency(distance, expected):
    np.testing.assert_allclose(_experiment().efficiency(distance), expected, atol=5.1e-4)


def test_the_samples_are_what_the_closed_forms_speak_of():
    """Naive Bayes is linear, w_j = logit theta_1j - logit theta_0j; with all data it weighs each copy the same."""
    module, rng = _experiment(), np.random.default_rng(0)
    x, y = module.bits(5)(rng, 20_000)
    assert x.shape == (20_000, 40) and (x[:, :4] == x[:, 36:]).all()
    found = BernoulliNB().fit(x, y)
    theta = np.stack([(x[y == k].sum(0) + 1) / ((y == k).sum() + 2) for k in (0, 1)])
    w = logit(theta[1]) - logit(theta[0])
    b = logit(y.mean()) + (np.log1p(-theta[1]) - np.log1p(-theta[0])).sum()
    np.testing.assert_allclose(expit(x @ w + b), found.predict_proba(x)[:, 1], atol=1e-12)
    np.testing.assert_allclose(w, 2 * logit(0.6), atol=0.2)
    assert abs((found.predict(x) != y).mean() - 0.251211) < 4 * np.sqrt(0.19 / 20_000)
    x, y = module.normals(3, 2.0)(rng, 20_000)
    np.testing.assert_allclose([x[y == k].mean(0) for k in (0, 1)], [[-1, 0, 0], [1, 0, 0]], atol=0.05)


def test_every_leaf_names_experiments_that_there_are():
    """But for those of the tree's relatives that are not part of this list yet."""
    module = _experiment()
    named = {name for leaf in module.LEAVES for name in leaf.experiments.replace(", ...", "").split(", ")}
    there = {path.stem for path in Path(module.__file__).parent.glob("*.py")}
    assert named - there <= {"pixelcnn", "pixelrnn", "flow", "vqvae", "autoencoder"}
