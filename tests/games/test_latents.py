"""Paths, truncation and means against their closed forms; projection of a linear generator against ridge regression."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln
from scipy.stats import chi, kstest, norm, truncnorm

from ganjax.games import latents
from ganjax.games.latents import arithmetic, group_means, project, truncated

KEY = jax.random.key
linear, spherical = (jax.jit(path, static_argnums=2) for path in (latents.linear, latents.spherical))


def _pairs(count=6, size=5):
    return tuple(jax.random.normal(KEY(seed), (count, size)) for seed in (1, 2))


def _length(z):
    return np.linalg.norm(np.asarray(z), axis=-1)


def _angle(a, b):
    """By the half-angle formula, which is exact for parallel and for opposite vectors too."""
    a, b = (np.asarray(z) / _length(z)[..., None] for z in (a, b))
    return 2 * np.arctan2(_length(a - b), _length(a + b))


# -- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [linear, spherical])
def test_the_ends_of_a_path_are_exact(path):
    z_0, z_1 = _pairs()
    z = path(z_0, 3 * z_1, 4)
    assert z.shape == (6, 4, 5)
    np.testing.assert_array_equal(z[:, 0], z_0)
    np.testing.assert_array_equal(z[:, -1], 3 * z_1)
    np.testing.assert_allclose(z[2], path(z_0[2], 3 * z_1[2], 4), rtol=1e-5, atol=1e-6)


def test_linear_paths_are_straight():
    z = linear(jnp.array([0.0, 4.0]), jnp.array([2.0, 0.0]), 5)
    np.testing.assert_allclose(z, [[0, 4], [0.5, 3], [1, 2], [1.5, 1], [2, 0]])


def test_the_middle_of_a_straight_path_is_shorter_than_its_ends_by_the_root_of_two():
    """z_0 + z_1 is N(0, 2 I): the length of the middle is in law that of an end over sqrt(2), whatever d is.

    Its mean is `Gamma((d + 1) / 2) / Gamma(d / 2)`, of 20,000 paths within five standard errors: .7057 sqrt(d) at 128.
    """
    z_0, z_1 = np.random.default_rng(0).standard_normal((2, 20_000, 128), np.float32)
    middle = _length(linear(z_0, z_1, 3)[:, 1]).astype(np.float64)
    mean = np.exp(gammaln(129 / 2) - gammaln(128 / 2))
    assert mean / np.sqrt(128) == pytest.approx(0.7057, abs=5e-5)
    assert abs(middle.mean() - mean) < 5 * np.sqrt((64 - mean**2) / 20_000)
    assert middle.mean() / _length(z_0).mean() == pytest.approx(0.7071, abs=1e-3)
    assert kstest(np.sqrt(2) * middle, chi(128).cdf).pvalue > 1e-4


def test_a_quarter_turn_by_hand():
    z = spherical(jnp.array([2.0, 0.0]), jnp.array([0.0, 2.0]), 3)
    np.testing.assert_allclose(z[1], [np.sqrt(2), np.sqrt(2)], rtol=1e-6)


def test_spherical_paths_turn_at_constant_speed_while_their_length_changes_evenly(float64):
    z_0, z_1 = _pairs()
    z, t = spherical(z_0, z_1, 7), np.linspace(0, 1, 7)
    np.testing.assert_allclose(_length(z), np.outer(_length(z_0), 1 - t) + np.outer(_length(z_1), t), rtol=1e-12)
    np.testing.assert_allclose(_angle(z[:, :1], z), _angle(z_0, z_1)[:, None] * t, atol=1e-9)
    np.testing.assert_allclose(_angle(z, z[:, -1:]), _angle(z_0, z_1)[:, None] * (1 - t), atol=1e-9)


def test_ends_of_equal_length_give_the_published_formula(float64):
    z_0, z_1 = (3 * z / jnp.linalg.norm(z, axis=-1, keepdims=True) for z in _pairs())
    theta = np.arccos((np.asarray(z_0) * z_1).sum(-1) / 9)[:, None]
    for k, t in enumerate(np.linspace(0, 1, 6)):
        published = (np.sin((1 - t) * theta) * z_0 + np.sin(t * theta) * z_1) / np.sin(theta)
        np.testing.assert_allclose(spherical(z_0, z_1, 6)[:, k], published, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [3.0, 1.0])
def test_spherical_paths_between_parallel_ends_are_straight(scale):
    z = _pairs(size=100)[0]
    np.testing.assert_allclose(spherical(z, scale * z, 5), linear(z, scale * z, 5), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [-1.0, -2.5])
def test_spherical_paths_between_opposite_ends_go_half_around(scale):
    z_0 = _pairs(size=100)[0]
    z, t = spherical(z_0, scale * z_0, 5), np.linspace(0, 1, 5)
    np.testing.assert_allclose(_length(z), np.outer(_length(z_0), 1 - t - scale * t), rtol=1e-5)
    np.testing.assert_allclose(_angle(z[:, :1], z), np.pi * np.tile(t, (6, 1)), atol=2e-3)


def test_spherical_paths_from_and_to_zero_are_rays():
    z, zero = _pairs()[0], jnp.zeros((6, 5))
    np.testing.assert_allclose(spherical(zero, z, 5), linear(zero, z, 5), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(spherical(z, zero, 5), linear(z, zero, 5), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(spherical(zero, zero, 3), 0)
    assert np.isfinite(spherical(jnp.ones(1), -jnp.ones(1), 3)).all(), "the line has nowhere to turn"


def test_paths_refuse_what_has_no_ends():
    for z_0, z_1, count in (
        (jnp.ones(3), jnp.ones(2), 5),
        (jnp.ones(3), jnp.ones(3), 1),
        (jnp.ones(()), jnp.ones(()), 3),
    ):
        with pytest.raises(ValueError, match="at least 2 points"):
            spherical(z_0, z_1, count)


# -- truncation, means ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.25, 1.0, 2.0])
def test_truncated_values_have_the_moments_of_the_truncated_normal(threshold):
    """100,000 values: five standard errors of the mean and of the variance, and the whole distribution."""
    z = np.asarray(truncated(KEY(0), (500, 200), threshold), np.float64).ravel()
    assert np.abs(z).max() <= threshold
    oracle = truncnorm(-threshold, threshold)
    variance, fourth = oracle.var(), oracle.moment(4)
    assert abs(z.mean()) < 5 * np.sqrt(variance / z.size)
    assert abs((z**2).mean() - variance) < 5 * np.sqrt((fourth - variance**2) / z.size)
    assert kstest(z, oracle.cdf).pvalue > 1e-4


def test_latents_shrink_together_with_the_threshold():
    z = [np.asarray(truncated(KEY(3), (2000,), threshold)) for threshold in (0.5, 1.0, 2.0, np.inf)]
    np.testing.assert_array_equal(z[-1], jax.random.normal(KEY(3), (2000,)))
    for smaller, larger in pairwise(z):
        assert (np.sign(smaller) == np.sign(larger)).all() and (np.abs(smaller) < np.abs(larger)).all()


@pytest.mark.parametrize("threshold", [0.0, -1.0, np.nan])
def test_a_threshold_is_positive(threshold):
    with pytest.raises(ValueError, match="expected a positive number"):
        truncated(KEY(0), (3,), threshold)


def test_group_means_by_hand():
    z = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0], [7.0, 1.0]])
    means = group_means(z, jnp.array([2, 0, 2, 2]), groups=4)
    np.testing.assert_allclose(means, [[3, 4], [np.nan] * 2, [13 / 3, 4], [np.nan] * 2], rtol=1e-6)
    np.testing.assert_allclose(arithmetic(*z[:3]), [3.0, 7.0])
    with pytest.raises(ValueError, match=r"\(4, 2\) and group \(3,\)"):
        group_means(z, jnp.array([0, 1, 2]), groups=3)


# -- projection -------------------------------------------------------------------------------------------------------

A = np.random.default_rng(0).normal(size=(12, 3))
X = np.random.default_rng(1).normal(size=(5, 12))


def _ridge(a, x, weight):
    return np.linalg.solve(a.T @ a / len(a) + weight * np.eye(a.shape[1]), a.T @ x.T / len(a)).T


def _inverted(x, decode=lambda z: z @ A.T, size=3, **options):
    return jax.jit(partial(project, decode, size=size, **options))(jnp.asarray(x), KEY(0))


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_a_linear_generator_is_inverted_by_ridge_regression(weight, float64):
    found, z = _inverted(X, starts=2, steps=600, prior_weight=weight), _ridge(A, X, weight)
    np.testing.assert_allclose(found.z, z, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.x_hat, z @ A.T, rtol=1e-6, atol=1e-8)
    assert found.losses.shape == (601, 5)
    best = np.square(z @ A.T - X).mean(1) + weight * np.square(z).sum(1)
    np.testing.assert_allclose(found.losses[-1], best, rtol=1e-9)
    assert (found.losses[0] > found.losses[-1]).all()


def test_features_are_compared_instead_of_the_images(float64):
    found = _inverted(X, starts=2, steps=600, prior_weight=0.1, feature=lambda x: x[:, :6])
    np.testing.assert_allclose(found.z, _ridge(A[:6], X[:, :6], 0.1), rtol=1e-6, atol=1e-8)


def test_images_are_projected_by_themselves(float64):
    few = partial(_inverted, starts=3, steps=5)
    np.testing.assert_allclose(few(X).losses[:, :2], few(X[:2]).losses, rtol=1e-12)
    assert np.ptp(few(X[[0, 0]]).losses[0]) > 0, "every image has its own starts"


def test_the_best_of_several_starts_is_kept():
    """`(z^2 - 1)^2 + (z - 1)^2 / 4` has its minimum 0 at z = 1 and a lesser one near z = -0.84, of 0.93."""
    well = lambda z: jnp.concatenate([z**2 - 1, (z - 1) / 2], axis=1)  # noqa: E731
    run = partial(_inverted, decode=well, size=1, steps=200, prior_weight=0.0)
    alone, together = run(jnp.zeros((20, 2)), starts=1), run(jnp.zeros((200, 2)), starts=12)
    stuck = np.asarray(alone.losses[-1]) > 0.4
    assert 4 <= stuck.sum() <= 16 and (np.asarray(alone.z)[stuck] < 0).all()
    np.testing.assert_allclose(together.z, 1.0, atol=1e-3)
    np.testing.assert_allclose(together.losses[-1], 0.0, atol=1e-6)
    # Starts above the maximum between the two, at z = (sqrt(8) - 4) / 8, reach the better one.
    odds, found = norm.sf((np.sqrt(8) - 4) / 8), np.asarray(together.ends) < 0.4
    assert found.shape == (12, 200) and abs(found.mean() - odds) < 3 * np.sqrt(odds * (1 - odds) / found.size)


def test_an_mlp_is_inverted_up_to_a_thousandth_and_says_how_many_starts_succeed():
    """z* of x = G(z*) of 16 images, from 8 starts each, of which some end elsewhere."""
    rng = np.random.default_rng(3)
    first, second, third = (rng.normal(0, a**-0.5, (a, b)).astype(np.float32) for a, b in ((4, 32), (32, 32), (32, 24)))
    mlp = lambda z: jnp.tanh(1.5 * jnp.tanh(1.5 * z @ first) @ second) @ third  # noqa: E731
    truth = jax.random.normal(KEY(5), (16, 4))
    found = _inverted(mlp(truth), mlp, size=4, starts=8, steps=600, prior_weight=0.0)
    np.testing.assert_allclose(found.z, truth, atol=1e-3)
    np.testing.assert_array_equal(found.ends.min(0), found.losses[-1])
    assert 0.7 < (np.asarray(found.ends) < 1e-5).mean() < 0.97


def test_projection_refuses_bytes_and_empty_searches():
    with pytest.raises(TypeError, match="x is uint8, expected floating"):
        project(lambda z: z, jnp.zeros((2, 3), jnp.uint8), KEY(0), size=3)
    with pytest.raises(ValueError, match="starts=0"):
        project(lambda z: z, jnp.zeros((2, 3)), KEY(0), size=3, starts=0)
