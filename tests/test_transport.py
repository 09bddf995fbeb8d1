"""Optimal transport: primal against dual, against SciPy, and against closed forms."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm, wasserstein_distance, wasserstein_distance_nd

from ganjax.transport import (
    entropic,
    kantorovich,
    kantorovich_dual,
    kantorovich_rubinstein,
    sliced_wasserstein,
    wasserstein_1d,
    wasserstein_gaussians_1d,
)


def _distances(x, y):
    return np.linalg.norm(x[:, None] - y[None], axis=-1)


def test_w1_on_the_line_is_that_of_scipy(float64):
    rng = np.random.default_rng(0)
    x, y, a, b = rng.normal(size=7), rng.normal(size=11) + 1, rng.uniform(size=7), rng.uniform(size=11)
    distance = jax.jit(lambda x, y, **w: wasserstein_1d(x, y, **w))
    np.testing.assert_allclose(distance(x, y), wasserstein_distance(x, y), rtol=1e-12)
    weighted = distance(x, y, x_weights=a, y_weights=b)
    np.testing.assert_allclose(weighted, wasserstein_distance(x, y, a, b), rtol=1e-12)
    np.testing.assert_allclose(distance(x, x + 2.5), 2.5, rtol=1e-12)
    np.testing.assert_allclose(distance(x, x), 0, atol=1e-15)
    slopes = jax.grad(wasserstein_1d, argnums=(0, 1))(jnp.asarray(x), jnp.asarray(y))
    for i, slope in enumerate(slopes):
        for k in range(len(slope)):
            step = [np.zeros(7), np.zeros(11)]
            step[i][k] = 1e-6
            ends = [wasserstein_distance(x + s * step[0], y + s * step[1]) for s in (1, -1)]
            np.testing.assert_allclose(slope[k], (ends[0] - ends[1]) / 2e-6, atol=1e-8)


@pytest.mark.parametrize("parameters", [(0, 1, 0, 2), (0, 1, 3, 1), (1, 0.5, -1, 2), (0, 2, 0.3, 1.9)])
def test_w1_of_gaussians_against_quadrature(parameters, float64):
    m1, s1, m2, s2 = map(float, parameters)
    exact = quad(lambda t: abs(norm.cdf(t, m1, s1) - norm.cdf(t, m2, s2)), -30, 30, limit=400, epsabs=1e-12)[0]
    np.testing.assert_allclose(wasserstein_gaussians_1d(m1, s1, m2, s2), exact, rtol=1e-8)
    swapped = wasserstein_gaussians_1d(m2, s2, m1, s1)
    np.testing.assert_allclose(swapped, exact, rtol=1e-8)


def test_w1_of_gaussians_by_hand(float64):
    """sqrt(2 / pi) for N(0, 1) and N(0, 4); its slopes are finite where the deviations are equal."""
    np.testing.assert_allclose(wasserstein_gaussians_1d(0.0, 1.0, 0.0, 2.0), 0.7978845608, rtol=1e-9)
    slopes = jax.grad(wasserstein_gaussians_1d, argnums=(0, 1, 2, 3))(0.0, 1.0, 3.0, 1.0)
    assert np.isfinite(slopes).all() and slopes[0] == -1 and slopes[2] == 1


@pytest.mark.parametrize("seed", range(5))
def test_primal_equals_dual(seed):
    """To 1e-8, with complementary slackness: f(x) + g(y) = |x - y| wherever mass moves."""
    rng = np.random.default_rng(seed)
    x, y, a, b = rng.normal(size=(8, 2)), rng.normal(size=(13, 2)), rng.uniform(size=8), rng.uniform(size=13)
    a, b, cost = a / a.sum(), b / b.sum(), _distances(x, y)
    plan, dual = kantorovich(a, b, cost), kantorovich_dual(a, b, cost)
    assert abs(plan.value - dual.value) < 1e-8
    np.testing.assert_allclose(plan.value, wasserstein_distance_nd(x, y, a, b), rtol=1e-8)
    np.testing.assert_allclose(plan.plan.sum(1), a, atol=1e-10)
    np.testing.assert_allclose(plan.plan.sum(0), b, atol=1e-10)
    np.testing.assert_allclose((plan.plan * cost).sum(), plan.value, rtol=1e-10)
    slack = cost - dual.f[:, None] - dual.g[None]
    assert slack.min() > -1e-8
    assert slack[plan.plan > 1e-9].max() < 1e-8
    np.testing.assert_allclose(a @ dual.f + b @ dual.g, dual.value, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_one_lipschitz_potential_on_the_points_of_both(seed):
    """Kantorovich-Rubinstein: the value is W1, all slopes are at most 1, and 1 wherever an optimal plan moves mass.

    Two points are common to both samples, the others carry the mass of one alone.
    """
    rng = np.random.default_rng(seed)
    points, a, b = rng.normal(size=(17, 2)), np.zeros(17), np.zeros(17)
    a[:8], b[6:] = rng.uniform(size=8), rng.uniform(size=11)
    a, b, distance = a / a.sum(), b / b.sum(), _distances(points, points)
    critic, plan = kantorovich_rubinstein(points, a, b), kantorovich(a, b, distance)
    rises = critic.f[:, None] - critic.f[None]
    assert abs(critic.value - plan.value) < 1e-8
    np.testing.assert_allclose((a - b) @ critic.f, critic.value, atol=1e-10)
    assert critic.f[0] == 0
    assert (rises <= distance + 1e-8).all()
    np.testing.assert_allclose(rises[plan.plan > 1e-9], distance[plan.plan > 1e-9], atol=1e-8)


@pytest.mark.parametrize("theta", [-1.5, 0.0, 0.3])
def test_parallel_lines(theta):
    """W1 of (0, U) and (theta, U) is |theta| (Arjovsky et al. 2017, example 1)."""
    u = np.linspace(0, 1, 20)
    x, y = np.stack([0 * u, u], 1), np.stack([theta + 0 * u, u], 1)
    np.testing.assert_allclose(
        kantorovich(np.full(20, 0.05), np.full(20, 0.05), _distances(x, y)).value, abs(theta), atol=1e-9
    )


@pytest.mark.parametrize("solve", [kantorovich, kantorovich_dual])
def test_wrong_problems(solve):
    half, cost = [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]]
    with pytest.raises(ValueError, match="sum to 1 and 2"):
        solve(half, [1.0, 1.0], cost)
    with pytest.raises(ValueError, match=r"the least is -0\.5"):
        solve(half, [1.5, -0.5], cost)
    with pytest.raises(ValueError, match=r"cost \(2, 2\), expected \[N\], \[M\] and \[N, M\]"):
        solve(half, [1.0], cost)
    with pytest.raises(ValueError, match="sum to 0 and 0"):
        solve([0.0, 0.0], [0.0, 0.0], cost)
    with pytest.raises(ValueError, match=r"a has shape \(0,\)"):
        solve([], [], np.zeros((0, 0)))


def test_wrong_points():
    with pytest.raises(ValueError, match=r"points have shape \(2,\), expected \[N, D\]"):
        kantorovich_rubinstein([0.0, 1.0], [0.5, 0.5], [0.5, 0.5])
    with pytest.raises(ValueError, match="kantorovich_rubinstein: the masses sum to 1 and 2"):
        kantorovich_rubinstein([[0.0], [1.0]], [0.5, 0.5], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"entropic: x has shape \(2, 1\) and y \(2, 2\)"):
        entropic(np.zeros((2, 1)), np.zeros((2, 2)), epsilon=0.1)
    with pytest.raises(ValueError, match="epsilon is 0, expected a positive number"):
        entropic(np.zeros((2, 1)), np.zeros((2, 1)), epsilon=0)
    with pytest.raises(ValueError, match=r"entropic: a has shape \(3,\)"):
        entropic(np.zeros((2, 1)), np.zeros((2, 1)), epsilon=0.1, x_weights=np.ones(3))
    with pytest.raises(ValueError, match="the masses sum to -1 and 1"):
        entropic(np.zeros((2, 1)), np.zeros((2, 1)), epsilon=0.1, x_weights=-np.ones(2))
    with pytest.raises(ValueError, match=r"expected \[N\] and \[M\]"):
        wasserstein_1d(jnp.zeros((2, 2)), jnp.zeros(2))
    with pytest.raises(ValueError, match=r"y_weights has shape \(3,\)"):
        wasserstein_1d(jnp.zeros(2), jnp.zeros(2), y_weights=jnp.ones(3))


def test_entropic_transport_tends_to_the_linear_programme(float64):
    pytest.importorskip("ott")
    rng = np.random.default_rng(0)
    x, y, a, b = rng.normal(size=(12, 2)), rng.normal(size=(15, 2)) + 1, rng.uniform(size=12), rng.uniform(size=15)
    exact = kantorovich(a / a.sum(), b / b.sum(), _distances(x, y)).value
    found = [entropic(x, y, epsilon=epsilon, x_weights=a, y_weights=b) for epsilon in (1.0, 0.1, 0.01)]
    gaps = [plan.value - exact for plan in found]
    assert gaps[0] > gaps[1] > gaps[2] > 0 and gaps[2] < 0.02
    for plan in found:
        np.testing.assert_allclose(plan.plan.sum(1), a / a.sum(), atol=1e-5)
        np.testing.assert_allclose(plan.plan.sum(0), b / b.sum(), atol=1e-5)


def test_the_entropic_plan_is_the_one_of_its_epsilon(float64):
    """Against Sinkhorn's algorithm in NumPy, with equal weights by default."""
    pytest.importorskip("ott")
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(4, 2)), rng.normal(size=(6, 2))
    kernel, v = np.exp(-_distances(x, y) / 0.3), np.ones(6)
    for _ in range(2000):
        u = 1 / 4 / (kernel @ v)
        v = 1 / 6 / (kernel.T @ u)
    expected = u[:, None] * kernel * v
    found = entropic(x, y, epsilon=0.3)
    np.testing.assert_allclose(found.plan, expected, atol=1e-6)
    np.testing.assert_allclose(found.value, (expected * _distances(x, y)).sum(), atol=1e-6)


def test_entropic_transport_is_optional_and_quiet(monkeypatch):
    """Without ott-jax the error names the command that installs it; with it, its imports do not warn."""
    ours = [name for name in sys.modules if name.partition(".")[0] == "ott"]
    with monkeypatch.context() as without:
        for name in ours:
            without.delitem(sys.modules, name)
        without.setitem(sys.modules, "ott", None)
        with pytest.raises(ImportError, match=r"pip install 'ganjax\[transport\]'"):
            entropic([[0.0]], [[1.0]], epsilon=1.0)
    if importlib.util.find_spec("ott") is None:
        pytest.skip("ott-jax is not installed")
    assert float(entropic([[0]], [[1]], epsilon=1.0).value) == pytest.approx(1)  # a warning is an error here


def test_each_slice_is_the_distance_of_scipy(float64):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 3))
    key = jax.random.key(1)
    directions = np.array(jax.random.normal(key, (3, 7)))
    directions /= np.linalg.norm(directions, axis=0)
    expected = np.mean([wasserstein_distance(x @ u, y @ u) for u in directions.T])
    np.testing.assert_allclose(sliced_wasserstein(jnp.asarray(x), jnp.asarray(y), key, projections=7), expected)


def test_a_translation_of_the_plane(float64):
    """`E |<u, d>| = 2 |d| / pi` for directions of the plane; the variance of `|cos|` is `1/2 - 4 / pi^2`."""
    x = jax.random.normal(jax.random.key(0), (40, 2))
    projections = 20_000
    distance = jax.jit(lambda key: sliced_wasserstein(x, x + jnp.array([[3.0, 4.0]]), key, projections=projections))
    error = 5 * np.sqrt((0.5 - 4 / np.pi**2) / projections)
    assert abs(float(distance(jax.random.key(1))) - 10 / np.pi) < 3 * error


def test_images_are_flattened_and_seeds_are_mapped():
    x, y = jax.random.normal(jax.random.key(0), (2, 3, 20, 4, 4, 1))
    key = jax.random.key(1)
    together = jax.vmap(lambda a, b: sliced_wasserstein(a, b, key))(x, y)
    alone = [sliced_wasserstein(a.reshape(20, 16), b.reshape(20, 16), key) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    keys = jax.random.split(key, 3)
    by_key = jax.vmap(lambda k: sliced_wasserstein(x[0], y[0], k))(keys)
    assert len(set(by_key.tolist())) == 3, "the key has no effect"
    np.testing.assert_allclose(by_key, [sliced_wasserstein(x[0], y[0], k) for k in keys], rtol=1e-5)


def test_no_projection_is_an_error():
    with pytest.raises(ValueError, match="projections is 0, expected at least 1"):
        sliced_wasserstein(jnp.zeros((3, 2)), jnp.ones((3, 2)), jax.random.key(0), projections=0)


def test_unequal_counts_are_an_error():
    with pytest.raises(ValueError, match="draw as many"):
        sliced_wasserstein(jnp.zeros((3, 2)), jnp.zeros((4, 2)), jax.random.key(0))
