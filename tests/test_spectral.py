"""Spectral normalisation against the singular value decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.spectral import power_iteration, spectral_norm


def _svd(kernel):
    return np.linalg.svd(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]), compute_uv=False)


def _params(key):
    a, b, c = jax.random.split(key, 3)
    return {
        "Conv_0": {"kernel": jax.random.normal(a, (3, 3, 5, 7)), "bias": jnp.ones(7)},
        "Dense_0": {"kernel": jax.random.normal(b, (11, 4))},
        "Embed_0": {"embedding": jax.random.normal(c, (10, 6))},
        "BatchNorm_0": {"scale": jnp.ones(7), "bias": jnp.zeros(7)},
    }


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 3, 5, 7), (1, 9), (9, 1)])
def test_converged_sigma_is_the_largest_singular_value(shape, float64):
    kernel = jax.random.normal(jax.random.key(0), shape, jnp.float64)
    u, sigma = power_iteration(kernel, jnp.ones(shape[-1], jnp.float64), 400)
    np.testing.assert_allclose(sigma, _svd(kernel)[0], rtol=1e-12)
    np.testing.assert_allclose(jnp.linalg.norm(u), 1, rtol=1e-12)
    _, again = power_iteration(kernel, u, 0)
    np.testing.assert_allclose(again, sigma, rtol=1e-12)


def test_sigma_is_a_lower_bound_that_rises(float64):
    kernel = jax.random.normal(jax.random.key(1), (20, 12), jnp.float64)
    u, sigmas = jax.random.normal(jax.random.key(2), (12,), jnp.float64), []
    for _ in range(30):
        u, sigma = power_iteration(kernel, u, 1)
        sigmas.append(float(sigma))
    assert np.all(np.diff(sigmas) >= -1e-12) and sigmas[-1] <= _svd(kernel)[0] * (1 + 1e-12)


def test_one_step_by_hand(float64):
    """W = [[3, 0], [0, 1]], u = (1, 1)/sqrt 2: v ~ (3, 1), u ~ (9, 1), then sigma = |W u| for u = (9, 1)/sqrt 82."""
    u, sigma = power_iteration(jnp.diag(jnp.array([3.0, 1.0])), jnp.ones(2), 1)
    np.testing.assert_allclose(u, np.array([9, 1]) / np.sqrt(82), rtol=1e-14)
    np.testing.assert_allclose(sigma, np.sqrt(27**2 + 1) / np.sqrt(82), rtol=1e-14)


def test_gradient_of_sigma_is_the_outer_product(float64):
    """d sigma / d W = v u^T, because u and v are constants of the derivative."""
    kernel = jax.random.normal(jax.random.key(3), (5, 4), jnp.float64)
    u, _ = power_iteration(kernel, jnp.ones(4), 3)
    v = kernel @ u / jnp.linalg.norm(kernel @ u)
    gradient = jax.grad(lambda w: power_iteration(w, u, 0)[1])(kernel)
    np.testing.assert_allclose(gradient, jnp.outer(v, u), atol=1e-14)


def test_zero_kernel_stays_finite():
    zero, u = jnp.zeros((4, 3)), jnp.ones(3) / jnp.sqrt(3.0)
    moved, sigma = power_iteration(zero, u, 5)
    np.testing.assert_allclose(moved, u, rtol=1e-6)
    assert sigma == 0
    norm = spectral_norm()
    params = {"Dense_0": {"kernel": zero}}
    state = {"Dense_0": {"kernel": u}}
    total = lambda p: norm.normalise(p, norm.update(p, state))["Dense_0"]["kernel"].sum()  # noqa: E731
    assert total(params) == 0
    np.testing.assert_array_equal(jax.grad(total)(params)["Dense_0"]["kernel"], 1)  # left as it is, not divided by 0


def test_only_kernels_are_normalised_and_none_is_rewritten():
    params, norm = _params(jax.random.key(4)), spectral_norm(steps=100)
    before = jax.tree.map(np.array, params)
    u = norm.init(jax.random.key(5), params)
    assert jax.tree.map(jnp.shape, u) == {
        "Conv_0": {"kernel": (7,)},
        "Dense_0": {"kernel": (4,)},
        "Embed_0": {"embedding": (6,)},
    }
    weights = norm.normalise(params, norm.update(params, u))
    for path in (("Conv_0", "kernel"), ("Dense_0", "kernel"), ("Embed_0", "embedding")):
        np.testing.assert_allclose(_svd(weights[path[0]][path[1]])[0], 1, rtol=1e-3)
    for path in (("Conv_0", "bias"), ("BatchNorm_0", "scale"), ("BatchNorm_0", "bias")):
        np.testing.assert_array_equal(weights[path[0]][path[1]], before[path[0]][path[1]])
    jax.tree.map(np.testing.assert_array_equal, params, before)


@pytest.mark.fault("flax SpectralNorm: evaluation iterates, and the kernel is rewritten at the start")
def test_reading_does_not_move_u():
    params, norm = _params(jax.random.key(6)), spectral_norm()
    u = norm.init(jax.random.key(7), params)
    before = jax.tree.map(np.array, u)
    norm.normalise(params, u)
    jax.tree.map(np.testing.assert_array_equal, u, before)
    moved = norm.update(params, u)
    assert not np.allclose(moved["Dense_0"]["kernel"], u["Dense_0"]["kernel"])


def test_weights_are_divided_by_the_sigma_of_the_given_u():
    """W = diag(3, 1) and u = (1, 1) / sqrt 2: sigma = |W u| = sqrt 5, which one iteration more would change."""
    params, u = {"Dense_0": {"kernel": jnp.diag(jnp.array([3.0, 1.0]))}}, {"Dense_0": {"kernel": jnp.ones(2) / 2**0.5}}
    weights = spectral_norm().normalise(params, u)["Dense_0"]["kernel"]
    np.testing.assert_allclose(weights, np.diag([3, 1]) / np.sqrt(5), rtol=1e-6)


def test_nothing_to_normalise_is_an_error():
    with pytest.raises(ValueError, match="no leaf"):
        spectral_norm().init(jax.random.key(0), {"BatchNorm_0": {"scale": jnp.ones(3)}})
