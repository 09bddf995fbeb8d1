"""Conditional BatchNorm against NumPy, class by class."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers.normalisation import BatchNorm, ConditionalBatchNorm

B, C, K = 12, 5, 3
LABELS = jnp.arange(B) % K


def maps(seed=0):
    return 2 + 3 * jax.random.normal(jax.random.key(seed), (B, 4, 4, C))


def drawn(module, condition):
    """Variables with tables or kernels that are not zero."""
    variables = jax.jit(partial(module.init, train=True))(jax.random.key(0), maps(), condition)
    params = jax.tree.map(lambda p: 0.3 * jax.random.normal(jax.random.key(p.size), p.shape), variables["params"])
    params = {**params, "offset": jax.tree.map(lambda p: p + 1, params["offset"])}
    return {**variables, "params": params}


def normalised(x):
    x = np.asarray(x, np.float64)
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)


def test_a_class_has_its_own_scale_and_offset():
    module = ConditionalBatchNorm(K)
    variables = drawn(module, LABELS)
    scale, offset = (np.asarray(variables["params"][name]["embedding"]) for name in ("scale", "offset"))
    y, _ = module.apply(variables, maps(), LABELS, train=True, mutable=["batch_stats"])
    for i in range(B):  # statistics are those of all classes together
        expected = (1 + scale[i % K]) * normalised(maps())[i] + offset[i % K]
        np.testing.assert_allclose(y[i], expected, atol=1e-5)


def test_a_vector_is_mapped_linearly():
    module, condition = ConditionalBatchNorm(), jax.random.normal(jax.random.key(3), (B, 7))
    variables = drawn(module, condition)
    scale, offset = (np.asarray(condition @ variables["params"][name]["kernel"]) for name in ("scale", "offset"))
    assert jax.tree.map(jnp.shape, variables["params"]) == {"scale": {"kernel": (7, C)}, "offset": {"kernel": (7, C)}}
    y, _ = module.apply(variables, maps(), condition, train=True, mutable=["batch_stats"])
    expected = (1 + scale)[:, None, None] * normalised(maps()) + offset[:, None, None]
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_it_begins_as_plain_batch_norm():
    y, variables = ConditionalBatchNorm(K).init_with_output(jax.random.key(0), maps(), LABELS, train=True)
    np.testing.assert_allclose(y, normalised(maps()), atol=1e-5)
    assert variables["params"]["scale"]["embedding"].shape == (K, C)


def test_evaluation_uses_what_training_gathered():
    module = ConditionalBatchNorm(K)
    variables = drawn(module, LABELS)
    _, new = module.apply(variables, maps(), LABELS, train=True, mutable=["batch_stats"])
    stats = new["batch_stats"]["BatchNorm_0"]
    x = np.asarray(maps(), np.float64)
    np.testing.assert_allclose(stats["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)  # from 0, with momentum 0.9
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-5)
    one = lambda i: module.apply({**variables, **new}, maps()[i : i + 1], LABELS[i : i + 1], train=False)  # noqa: E731
    whole = module.apply({**variables, **new}, maps(), LABELS, train=False)
    np.testing.assert_allclose(one(4), whole[4:5], atol=1e-6)


def test_statistics_are_of_the_global_batch():
    module = ConditionalBatchNorm(K, axis_name="data")
    alone = ConditionalBatchNorm(K)
    variables = drawn(alone, LABELS)

    def apply(m, x, y):
        out, new = m.apply(variables, x, y, train=True, mutable=["batch_stats"])
        return out, new["batch_stats"]

    whole, stats = apply(alone, maps(), LABELS)
    parts, split = jax.vmap(lambda x, y: apply(module, x, y), axis_name="data")(
        maps().reshape(4, 3, 4, 4, C), LABELS.reshape(4, 3)
    )
    np.testing.assert_allclose(parts.reshape(whole.shape), whole, atol=5e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-5, atol=1e-6), split, stats)


@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_the_variance_survives_a_large_mean(mean):
    """E[x^2] - E[x]^2 of numbers near 1000 with deviation 3 has two digits left."""
    x = mean + 3 * jax.random.normal(jax.random.key(0), (4096, 1))
    y, _ = BatchNorm(use_running_average=False).init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y.std(), 1, rtol=1e-4)


def test_statistics_are_in_full_precision_whatever_the_dtype():
    module = ConditionalBatchNorm(K, dtype=jnp.bfloat16)
    y, variables = module.init_with_output(jax.random.key(0), maps().astype(jnp.bfloat16), LABELS, train=True)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
