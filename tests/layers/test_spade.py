"""SPADE against what it reduces to: conditional BatchNorm, an affine norm, FiLM and AdaIN, but for its border."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers.normalisation import ConditionalBatchNorm, InstanceNorm
from ganjax.layers.spade import Spade, nearest, one_hot

B, SIDE, C, K, HIDDEN = 4, 8, 3, 2, 5
LABELS = jnp.arange(B) % K
CONSTANT = one_hot(jnp.broadcast_to(LABELS[:, None, None], (B, SIDE, SIDE)), K)
VECTOR = jax.random.normal(jax.random.key(7), (B, K))


def features():
    return 2 + 3 * jax.random.normal(jax.random.key(1), (B, SIDE, SIDE, C))


@lru_cache
def program(kernel=3, padding="zero", norm="batch"):
    """(drawn params, y of x, a map and params in training)."""
    module = Spade(HIDDEN, norm, kernel, padding)
    start = jax.eval_shape(lambda: module.init(jax.random.key(0), features(), CONSTANT, train=True))["params"]
    params = jax.tree.map(lambda p: 0.3 * jax.random.normal(jax.random.key(p.size), p.shape), start)

    def apply(params, x, m):
        stats = {"BatchNorm_0": {"mean": jnp.zeros(C), "var": jnp.ones(C)}} if norm == "batch" else {}
        return module.apply({"params": params, "batch_stats": stats}, x, m, train=True, mutable=["batch_stats"])[0]

    return params, jax.jit(apply)


def perceptron(params, m):
    """gamma and beta of vectors [B, L], in float64: the kernels summed over their places."""
    weights = {n: (np.float64(p["kernel"]).sum((0, 1)), np.float64(p["bias"])) for n, p in params.items()}
    h = np.maximum(np.float64(m) @ weights["shared"][0] + weights["shared"][1], 0)
    return np.split(h @ weights["modulation"][0] + weights["modulation"][1], 2, -1)


@pytest.mark.parametrize("kernel, padding", [(1, "zero"), (3, "edge"), (3, "zero")])
def test_of_a_constant_map_it_is_conditional_batch_norm_but_for_two_pixels(kernel, padding):
    params, apply = program(kernel, padding)
    gamma, beta = perceptron(params, np.eye(K))
    module = ConditionalBatchNorm(K)
    tables = {"scale": {"embedding": jnp.float32(gamma)}, "offset": {"embedding": jnp.float32(beta)}}
    stats = {"BatchNorm_0": {"mean": jnp.zeros(C), "var": jnp.ones(C)}}
    variables = {"params": tables, "batch_stats": stats}
    expected, _ = module.apply(variables, features(), LABELS, train=True, mutable=["batch_stats"])
    off = np.abs(apply(params, features(), CONSTANT) - expected)
    inner = slice(2, -2) if (kernel, padding) == (3, "zero") else slice(None)
    assert off[:, inner, inner].max() < 2e-5
    if inner != slice(None):
        assert min(off[:, 0].max(), off[:, 1].max(), off[:, :, -1].max(), off[:, :, -2].max()) > 1e-2


def test_where_the_map_says_nothing_it_is_an_affine_norm():
    params, apply = program()
    bias = params["modulation"]["bias"]
    silent = {**params, "modulation": {"kernel": 0 * params["modulation"]["kernel"], "bias": bias}}
    x = np.float64(features())
    normal = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    gamma, beta = np.split(np.float64(bias), 2)
    np.testing.assert_allclose(apply(silent, features(), CONSTANT), normal * (1 + gamma) + beta, atol=2e-5)


@pytest.mark.parametrize("norm, axes", [("batch", (0, 1, 2)), ("instance", (1, 2))])
def test_of_a_vector_it_is_film_and_with_instance_norm_adain(norm, axes):
    """Scale and offset of each example by a perceptron of its vector; AdaIN sets mean and deviation of each map."""
    params, apply = program(1, "zero", norm)
    m = jnp.broadcast_to(VECTOR[:, None, None], (B, SIDE, SIDE, K))
    gamma, beta = (leaf[:, None, None] for leaf in perceptron(params, VECTOR))
    x, y = np.float64(features()), apply(params, features(), m)
    normal = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, normal * (1 + gamma) + beta, atol=2e-5)
    if norm == "instance":
        np.testing.assert_allclose(y.mean((1, 2)), beta[:, 0, 0], atol=1e-5)
        np.testing.assert_allclose(y.std((1, 2)), np.abs(1 + gamma[:, 0, 0]), rtol=1e-4)


@pytest.mark.fault("networks of labels with InstanceNorm: a constant map, whatever its label, becomes zero")
def test_instance_norm_washes_constant_maps_away_and_spade_does_not():
    norm = InstanceNorm()
    np.testing.assert_array_equal(norm.apply({}, 5 * CONSTANT + 2), 0)
    params, apply = program(norm="instance")
    y = apply(params, 0 * features(), CONSTANT)
    assert np.abs(y[0] - y[1]).max() > 0.1, "two labels"
    np.testing.assert_allclose(y[0], y[2], atol=1e-6, err_msg="one label")


@pytest.mark.parametrize("c, labels", [(64, 184), (16, 6), (1, 1)])
def test_parameters(c, labels):
    shape = lambda n: jax.ShapeDtypeStruct((1, 4, 4, n), jnp.float32)  # noqa: E731
    found = jax.eval_shape(lambda x, m: Spade().init(jax.random.key(0), x, m, train=True), shape(c), shape(labels))
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(found["params"]))
    assert count == 9 * 128 * (labels + 2 * c) + 128 + 2 * c


def test_a_map_at_another_size_is_still_one_label_a_pixel():
    labels = jax.random.randint(jax.random.key(0), (2, 12, 8), 0, 5)
    m = one_hot(labels, 5)
    for size in ((3, 2), (5, 7), (24, 16), (12, 8)):
        small = np.asarray(nearest(m, size))
        assert set(np.unique(small)) == {0, 1} and (small.sum(-1) == 1).all()
        rows, columns = ([int(i * n / k) for i in range(k)] for k, n in zip(size, (12, 8), strict=True))
        np.testing.assert_array_equal(small.argmax(-1), np.asarray(labels)[:, rows][:, :, columns])


@pytest.mark.fault("SPADE #68: a label above label_nc fails inside scatter, or is a plane of nothing")
def test_a_label_that_there_is_not_is_refused_or_stops_training():
    for wrong in (-1, 3):
        labels = jnp.array([[[0, 2], [1, wrong]]])
        with pytest.raises(ValueError, match="expected at least 0, at most 2"):
            one_hot(labels, 3)
        planes = np.asarray(jax.jit(one_hot, static_argnums=1)(labels, 3))
        assert np.isnan(planes[0, 1, 1]).all() and np.isfinite(planes[0, 0]).all()
