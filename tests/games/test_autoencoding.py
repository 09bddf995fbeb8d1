"""Autoencoders against truth: the linear one in closed form, the denoiser's score, dense Jacobians."""

from functools import lru_cache
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import integrate, stats
from sklearn.decomposition import PCA

from ganjax.core import Batch, Moment, Owned
from ganjax.games.autoencoding import AUTOENCODER, MOMENTS, autoencoder, measures, moments, samplers, score
from ganjax.metrics.frechet import Moments, frechet_distance
from ganjax.models.autoencoder import Autoencoder


@pytest.fixture(autouse=True)
def _double(float64):
    """Oracles need it."""


EIGENVALUES, K = np.array([4.0, 2.0, 1.0, 0.5]), 2
ROTATION = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0]  # columns are the eigenvectors


@lru_cache
def data(count=64):
    """Points whose covariance has these eigenvalues exactly."""
    x = np.random.default_rng(0).normal(size=(count, 4))
    u, _, vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
    return np.sqrt(count * EIGENVALUES) * (u @ vt) @ ROTATION.T


def module(tied=False):
    return Autoencoder((4,), K, tied=tied, bias=False)


def cost(params, key=0, tied=False, x=None, **options):
    x = jnp.asarray(data()) if x is None else x
    game = autoencoder(module(tied), **options)
    moment = Moment({AUTOENCODER: {MOMENTS: moments(jnp.zeros((2, K)))}}, Batch(x, None, jnp.arange(len(x))),
                    jax.random.key(key))  # fmt: skip
    return game.costs[AUTOENCODER]({AUTOENCODER: params}, moment)


def at(directions, singular=1.0, turn=0.0):
    """W1 = s O^T U^T transposed, W2 = W1^T, of these eigenvectors; the rotation O of the codes is free."""
    o = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])[: len(directions)]
    w = np.zeros((4, K))
    w[:] = (ROTATION[:, list(directions)] * singular) @ o if directions else 0
    return {"down_0": jnp.asarray(w), "up_0": jnp.asarray(w.T)}


@lru_cache
def slopes(tied=False, **options):
    return jax.jit(jax.value_and_grad(lambda p: cost(p, tied=tied, **options)[0]))


def _flat(tree):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


def test_the_linear_autoencoder_is_principal_component_analysis():
    """At every subset of eigenvectors the slope is zero and the loss the sum of the others; Hessians tell the saddles.

    Negative eigenvalues: #{(i in S, j not in S): lambda_j > lambda_i} + (k - |S|)(d - |S|); k^2 zero ones at rank k.
    """
    hessian = jax.jit(
        jax.hessian(lambda flat: cost({"down_0": flat[:8].reshape(4, 2), "up_0": flat[8:].reshape(2, 4)})[0])
    )
    index = {}
    for size in (0, 1, 2):
        for kept in combinations(range(4), size):
            params = at(kept, turn=0.7)
            value, slope = slopes()(params)
            np.testing.assert_allclose(value, np.delete(EIGENVALUES, list(kept)).sum(), rtol=1e-10)
            assert np.abs(_flat(slope)).max() < 1e-10
            curvature = np.linalg.eigvalsh(hessian(jnp.asarray(_flat(params))))
            index[kept] = int((curvature < -1e-8).sum())
            if size == K:
                assert (np.abs(curvature) < 1e-8).sum() == K**2
    pairs = {(0, 1): 0, (0, 2): 1, (0, 3): 2, (1, 2): 2, (1, 3): 3, (2, 3): 4}
    assert {s: n for s, n in index.items() if len(s) == K} == pairs
    assert (index[(0,)], index[(1,)], index[()]) == (3, 4, 8)


def test_the_best_linear_copy_of_digits_is_scikit_learns():
    from ganjax.data import load

    x = load("digits").x_train[:300].reshape(300, -1) / 127.5 - 1
    pca = PCA(8).fit(x)
    w = jnp.asarray(pca.components_)
    params = {"down_0": w.T, "up_0": w, "down_bias_0": -w @ pca.mean_, "up_bias_0": jnp.asarray(pca.mean_)}
    error = measures(Autoencoder((64,), 8))["error"].values
    got = error({AUTOENCODER: Owned(params, {})}, Batch(jnp.asarray(x), None, jnp.arange(300)), None)
    discarded = np.linalg.eigvalsh(np.cov(x.T, bias=True))[:-8].sum()
    np.testing.assert_allclose(got.mean(), discarded, rtol=1e-8)


@pytest.mark.parametrize("mu", [0.2, 0.45])
def test_decay_fixes_the_axes(mu):
    """W1 = W2^T with squared singular values 1 - mu / lambda; the minimum is sum 2 mu - mu^2 / lambda, and the rest."""
    kept = EIGENVALUES[:K]
    value, slope = slopes(decay=mu)(at((0, 1), np.sqrt(1 - mu / kept), turn=0.4))
    assert np.abs(_flat(slope)).max() < 1e-10
    np.testing.assert_allclose(value, EIGENVALUES[K:].sum() + (2 * mu - mu**2 / kept).sum(), rtol=1e-10)
    _, slope = slopes(decay=mu)(at((0, 1), 1.0))
    assert np.abs(_flat(slope)).max() > 0.1


def test_the_contraction_of_tied_weights_shrinks_them_and_of_untied_does_nothing():
    """Squared singular values t = max(0, 1 - c / 2 lambda), the minimum sum lambda (1 - t)^2 + c t; else PCA's."""
    c, kept = 2.4, EIGENVALUES[:K]
    t = np.maximum(0, 1 - c / (2 * kept))
    value, slope = slopes(tied=True, contraction=c)({"down_0": at((0, 1), np.sqrt(t), turn=0.4)["down_0"]})
    assert np.abs(_flat(slope)).max() < 1e-10
    np.testing.assert_allclose(value, EIGENVALUES[K:].sum() + (kept * (1 - t) ** 2 + c * t).sum(), rtol=1e-10)
    apart = at((0, 1))
    apart = {"down_0": apart["down_0"] / 1e6, "up_0": apart["up_0"] * 1e6}
    value, _ = slopes(contraction=c)(apart)
    np.testing.assert_allclose(value, EIGENVALUES[K:].sum(), rtol=1e-10)


def test_the_contraction_is_that_of_the_dense_jacobian():
    deep = Autoencoder((4,), 3, (5,), activation=jnp.tanh)
    x = jnp.asarray(data()[:7])
    game = autoencoder(deep, contraction=1.0)
    params, state = jax.jit(game.init)(jax.random.key(0), Batch(x, None, jnp.arange(7)))
    _, outcome = jax.jit(game.costs[AUTOENCODER])(
        params, Moment(state, Batch(x, None, jnp.arange(7)), jax.random.key(0))
    )
    dense = jax.jit(
        jax.vmap(jax.jacfwd(lambda one: deep.apply({"params": params[AUTOENCODER]}, one[None], method="encode")[0]))
    )
    np.testing.assert_allclose(outcome.metrics["contraction"], (dense(x) ** 2).sum((1, 2)).mean(), rtol=1e-9)


def test_the_denoiser_of_gaussian_data_is_wieners_and_its_score_exact():
    """r = S (S + s^2)^-1, minimum sum lambda s^2 / (lambda + s^2); with a bottleneck the rest is lost whole."""
    sigma, kept = 0.8, EIGENVALUES[:K]
    gain = kept / (kept + sigma**2)
    params = at((0, 1), np.sqrt(gain))
    game = jax.jit(jax.vmap(lambda key: cost(params, key, corruption=sigma)[0]))
    found = np.asarray(game(jnp.arange(400)))
    expected = (kept * sigma**2 / (kept + sigma**2)).sum() + EIGENVALUES[K:].sum()
    assert abs(found.mean() - expected) < 4 * found.std() / 20, "the target stays clean"
    full = Autoencoder((4,), 4, bias=False)
    root = (ROTATION * np.sqrt(EIGENVALUES / (EIGENVALUES + sigma**2))) @ ROTATION.T
    x = jnp.asarray(data()[:5])
    got = score(full, {AUTOENCODER: Owned({"down_0": root, "up_0": root}, {})}, x, sigma)
    covariance = (ROTATION * (EIGENVALUES + sigma**2)) @ ROTATION.T
    np.testing.assert_allclose(got, -np.linalg.solve(covariance, x.T).T, rtol=1e-9, atol=1e-12)


class Tweedie(nn.Module):
    """The best denoiser of two Gaussians on the line, at +-1 of deviation .3: the mean of the clean given x."""

    sigma: float = 0.5

    def __call__(self, x):
        total = 0.3**2 + self.sigma**2
        right = jax.nn.sigmoid(2 * x / total)
        centre = 2 * right - 1
        return centre + (x - centre) * 0.3**2 / total


def test_the_score_of_a_mixture_is_exact_for_any_noise():
    """And the minimum of the loss is d s^2 - s^4 J, J the Fisher information of the noisy density."""
    sigma, x = 0.5, np.linspace(-6, 6, 4001)
    spread = np.sqrt(0.3**2 + sigma**2)
    p = (stats.norm.pdf(x, -1, spread) + stats.norm.pdf(x, 1, spread)) / 2
    slope = (-(x + 1) * stats.norm.pdf(x, -1, spread) - (x - 1) * stats.norm.pdf(x, 1, spread)) / (2 * spread**2 * p)
    found = np.asarray(score(Tweedie(), {AUTOENCODER: Owned({}, {})}, jnp.asarray(x)[:, None], sigma))[:, 0]
    np.testing.assert_allclose(found, slope, rtol=1e-9, atol=1e-10)
    r = x + sigma**2 * found  # E (r - clean)^2 given the noisy: the posterior's variance
    right = 1 / (1 + np.exp(-2 * x / spread**2))
    own = 0.3**2 * sigma**2 / spread**2
    means = [c + (x - c) * 0.3**2 / spread**2 for c in (-1, 1)]
    variance = own + (1 - right) * (means[0] - r) ** 2 + right * (means[1] - r) ** 2
    fisher = integrate.simpson(p * slope**2, x=x)
    np.testing.assert_allclose(integrate.simpson(p * variance, x=x), sigma**2 - sigma**4 * fisher, rtol=1e-10)


def test_what_is_decoded_of_the_codes_gaussian_is_as_far_as_the_loss():
    """Squared Frechet distance of N(0, U_k Lambda_k U_k^T) to the data: exactly the discarded eigenvalues."""
    params, x = at((0, 1), turn=0.3), jnp.asarray(data())
    state = {MOMENTS: moments(x @ params["down_0"])}
    weights = {AUTOENCODER: Owned(params, state)}
    draws = samplers(module(), size=K)["gaussian"]
    h = draws.latents(weights, jax.random.key(0), jnp.arange(4000))
    np.testing.assert_allclose(np.cov(h.T), state[MOMENTS]["second"], atol=0.25)
    made = np.asarray(params["up_0"]).T @ np.asarray(state[MOMENTS]["second"]) @ np.asarray(params["up_0"])
    zero = np.zeros(4)
    far = frechet_distance(Moments(2, zero, made), Moments(2, zero, np.cov(x.T, bias=True)))
    np.testing.assert_allclose(far, EIGENVALUES[K:].sum(), rtol=1e-6)
    x_new = np.asarray(draws(weights, jax.random.key(0), jnp.arange(4000)))
    np.testing.assert_allclose(np.cov(x_new.T), made, atol=0.3)


def test_the_running_moments_are_those_of_the_codes():
    """From the first batch on, with the memory that is told; they change no cost."""
    params = at((0, 1))
    x, (value, outcome) = jnp.asarray(data()), cost(at((0, 1)), memory=0.9)
    codes = np.asarray(x @ params["down_0"])
    np.testing.assert_allclose(outcome.net_state[MOMENTS]["second"], 0.1 * codes.T @ codes / len(codes), atol=1e-14)
    begun = jax.jit(autoencoder(module()).init)(jax.random.key(0), Batch(x, None, jnp.arange(64)))
    h = x @ begun[0][AUTOENCODER]["down_0"]
    np.testing.assert_allclose(begun[1][AUTOENCODER][MOMENTS]["second"], h.T @ h / 64, atol=1e-12)
    np.testing.assert_allclose(value, EIGENVALUES[K:].sum())


def test_a_copy_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"the copy is \(4,\), expected \(3,\)"):
        jax.eval_shape(autoencoder(Wrong()).init, jax.random.key(0), Batch(jnp.ones((2, 3)), None, jnp.arange(2)))


class Wrong(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(x)
