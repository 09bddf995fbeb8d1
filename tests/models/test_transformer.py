"""The transformer of codes: who sees whom by gradients and by changed codes, and sums of probabilities."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.likelihoods import categorical, scaled
from ganjax.models.transformer import Blocks, CausalAttention, Transformer

K = 3


@pytest.fixture(autouse=True)
def _double(float64):
    """Zeros must be zero, and links of 1e-9 none."""


def drawn(module, *inputs, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return jax.tree.map(
        lambda s: jnp.asarray(rng.normal(size=s.shape) / np.sqrt(max(1, np.prod(s.shape[:-1])))), shapes
    )


def test_attention_by_hand():
    """One head: softmax of q k / sqrt(d) over what came before, in NumPy; the first position sees itself alone."""
    module, h = CausalAttention(1), np.random.default_rng(0).normal(size=(1, 3, 2))
    params = drawn(module, h)
    of = {name: jax.tree.map(np.asarray, leaf) for name, leaf in params.items()}
    q, k, v = np.split(h[0] @ of["Dense_0"]["kernel"] + of["Dense_0"]["bias"], 3, -1)
    w = np.exp(q @ k.T / np.sqrt(2)) * np.tri(3)
    mixed = w / w.sum(1, keepdims=True) @ v
    expected = mixed @ of["Dense_1"]["kernel"] + of["Dense_1"]["bias"]
    np.testing.assert_allclose(module.apply({"params": params}, h)[0], expected, rtol=1e-9)


def test_each_position_sees_earlier_ones_and_its_own():
    """By the support of the gradient: a lower triangle without a hole."""
    module, h = Blocks(K, 2, 2), jnp.asarray(np.random.default_rng(1).normal(size=(1, 5, 4)))
    params = drawn(module, h)
    weights = jnp.asarray(np.random.default_rng(2).normal(size=K))
    found = jax.jit(jax.jacrev(lambda h: module.apply({"params": params}, h)[0] @ weights))(h)[:, 0]
    np.testing.assert_array_equal((np.asarray(found) != 0).all(-1), np.tri(5, dtype=bool))
    np.testing.assert_array_equal((np.asarray(found) != 0).any(-1), np.tri(5, dtype=bool))


def _maps(rows, columns):
    return np.array(list(itertools.product(range(K), repeat=rows * columns))).reshape(-1, rows, columns, 1)


def test_what_it_says_of_a_code_is_of_codes_before_it_and_sums_to_one():
    """All 81 maps of 2x2 of three codes, of each of two classes, which differ."""
    module, maps = Transformer(K, 4, 1, 2, 2), _maps(2, 2)
    x = jnp.asarray(scaled(maps, K))
    params = drawn(module, x[:1], jnp.zeros(1, int))
    said = jax.jit(lambda x, y: module.apply({"params": params}, x, y))
    both = [said(x, jnp.full(len(x), y)) for y in (0, 1)]
    for outputs in both:
        p = np.exp(categorical(K).log_prob(outputs, x))
        np.testing.assert_allclose(p.sum(), 1, rtol=1e-9)
        assert p.std() > 1e-3
    assert np.abs(both[0] - both[1]).max() > 0.01
    flat, outputs = maps.reshape(-1, 4), np.asarray(both[0]).reshape(-1, 4, K)
    for i in range(4):
        same = (flat[:, None, :i] == flat[None, :, :i]).all(-1)
        gap = np.abs(outputs[:, None, i] - outputs[None, :, i]).max(-1)
        assert gap[same].max() < 1e-12
        assert i == 0 or gap[~same].min() > 1e-9, "every code before it is heard"


def test_what_does_not_fit_is_refused():
    for shape, width in (((1, 2, 2, 3), 4), ((1, 2, 2, 1), 5)):
        with pytest.raises(ValueError, match=r"expected maps .* and a multiple of the 2 heads"):
            jax.eval_shape(Transformer(K, width, 1, 0, 2).init, jax.random.key(0), jnp.zeros(shape))
