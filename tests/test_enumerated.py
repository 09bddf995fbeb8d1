"""One contract for all models of sixteen pixels: their probabilities sum to 1. And rounds of boosting."""

import importlib.util
import sys
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import linen as nn
from scipy.special import logsumexp

from ganjax.data.binary import bars_and_stripes, index, states
from ganjax.enumerated import annealed_log_z, boosted, log_probabilities, rbm_log_z, said
from ganjax.errors import ConfigError
from ganjax.models import binary, vae

# What says log p itself; two more pixels cost the grid of latents too much.
NORMALISED = {
    "factorial": (binary.Factorial(), 4),
    "autoregression": (binary.Autoregression(), 4),
    "mixture": (binary.Mixture(3), 4),
    "decoder on a grid": (binary.Gridded(vae.Decoder((3, 3, 1), hidden=(4,))), 3),
}
ENERGIES = {"pairwise": binary.Pairwise(), "RBM": binary.RBM(16, 3), "perceptron": binary.Perceptron((4,))}


def _drawn(module, side):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), states(side, side)[:2]))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)


@pytest.mark.parametrize("name", NORMALISED)
def test_probabilities_sum_to_one(name):
    """Nothing normalises them here; a network that sees its own pixel, or a later one, does not."""
    module, side = NORMALISED[name]
    assert abs(logsumexp(said(module, _drawn(module, side), states(side, side)))) < 1e-12


@pytest.mark.parametrize("name", ENERGIES)
def test_energies_are_normalised_by_counting(name):
    module = ENERGIES[name]
    params = _drawn(module, 4)
    log_p = log_probabilities(module, params)
    assert log_p.shape == (65_536,) and abs(logsumexp(log_p)) < 1e-12
    f = said(module, params, states()[[7, 60_000]])
    np.testing.assert_allclose(np.diff(f), np.diff(log_p[[7, 60_000]]), rtol=1e-9)


def test_every_model_is_in_the_table():
    modules = {v for v in vars(binary).values() if isinstance(v, type) and issubclass(v, nn.Module)}
    tested = {type(module) for module, _ in NORMALISED.values()} | {type(module) for module in ENERGIES.values()}
    assert modules - tested == {binary.Unit, binary.Drawn}  # a feature, and a generator with tests of their own


def test_rounds_of_boosting_never_lose_and_grow_an_rbm():
    """On exact negatives; the gains add up, and softplus units are hidden units of one machine."""
    x, start = bars_and_stripes(), np.full(65_536, -16 * np.log(2))
    options = {"key": jax.random.key(1), "steps": 40, "rate": 0.2, "criterion": "likelihood"}
    rounds = list(islice(boosted(binary.Unit(), x, start, search=0.0, **options), 2))
    likelihood = [start[index(x)].mean(), *(one.log_p[index(x)].mean() for one in rounds)]
    assert likelihood[0] < likelihood[1] < likelihood[2] and all(one.alpha == 1 for one in rounds)
    np.testing.assert_allclose(np.diff(likelihood), [one.gained for one in rounds], atol=1e-12)
    assert abs(logsumexp(rounds[-1].log_p)) < 1e-12


def test_a_factorial_law_and_units_are_an_rbm():
    rng = np.random.default_rng(1)
    b, c, w = rng.normal(size=16), rng.normal(size=2), rng.normal(size=(16, 2))
    log_p = log_probabilities(binary.Factorial(), {"bias": b})
    for j in range(2):
        log_p = log_p + said(binary.Unit(), {"Dense_0": {"kernel": w[:, j : j + 1], "bias": c[j : j + 1]}}, states())
    rbm = log_probabilities(binary.RBM(16, 2), {"visible_bias": b, "hidden_bias": c, "kernel": w})
    np.testing.assert_allclose(log_p - logsumexp(log_p), rbm, atol=1e-12)


@pytest.mark.fault("ermongroup/bgm: an estimate of log Z that is too small makes likelihoods too large")
def test_annealed_importance_sampling_finds_the_normaliser():
    """Within .1 of counting for 16 hidden units; with few temperatures it is too small. Counting: from both sides."""
    rng = np.random.default_rng(2)
    params = {
        "visible_bias": rng.normal(size=16),
        "hidden_bias": rng.normal(size=16),
        "kernel": rng.normal(size=(16, 16)) / 2,
    }
    log_z = logsumexp(said(binary.RBM(16, 16), params, states()))
    np.testing.assert_allclose(rbm_log_z(params), log_z, rtol=1e-12)
    single = jax.tree.map(np.float32, params)
    for base in (np.zeros(16), params["visible_bias"]):
        found = annealed_log_z(single, base, key=jax.random.key(0), chains=100, steps=300)
        assert abs(found - log_z) < 0.1
    rough = [annealed_log_z(single, np.zeros(16), key=jax.random.key(k), chains=1, steps=1) for k in range(10)]
    assert np.mean(rough) < log_z - 0.5


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("sixteen_pixels", {"models": ("GAN, ratios",)}, '--models: "GAN, ratios" is unknown: did you mean'),
        ("sixteen_pixels", {"data": ()}, "--data is .., expected one set at least"),
        ("sixteen_pixels", {"effort": 0.0}, "--effort is 0.0, expected positive and at most 100"),
        ("boosting", {"parts": ("round",)}, '--parts: "round" is unknown: did you mean "rounds"'),
        ("generative_discriminative", {"parts": ("curve",)}, '--parts: "curve" is unknown: did you mean "curves"'),
    ],
)
def test_what_is_asked_for_is_there(name, option, said):
    path = Path(__file__).parent.parent / "experiments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ConfigError, match=said):
        module.Config(**option)
