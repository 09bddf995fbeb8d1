"""Self-attention against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equations import equations

from ganjax.errors import ConfigError
from ganjax.layers.attention import SelfAttention

B, H, W, C = 2, 4, 6, 16


def variables_and_input(gamma=0.7):
    x = jax.random.normal(jax.random.key(1), (B, H, W, C))
    variables = jax.jit(SelfAttention().init)(jax.random.key(0), x)
    return {"params": {**variables["params"], "gamma": jnp.asarray(gamma)}}, x


def oracle(params, x):
    """Position by position."""
    x = np.asarray(x, np.float64)
    q, k, v, o = (np.asarray(params[name]["kernel"], np.float64)[0, 0] for name in ("query", "key", "value", "output"))
    y = x.copy()
    for b in range(B):
        blocks = [x[b, i : i + 2, j : j + 2].reshape(4, C) for i in range(0, H, 2) for j in range(0, W, 2)]
        keys, values = np.array([(p @ k).max(0) for p in blocks]), np.array([(p @ v).max(0) for p in blocks])
        for i in range(H):
            for j in range(W):
                weights = np.exp(keys @ (x[b, i, j] @ q))
                y[b, i, j] += float(params["gamma"]) * (weights / weights.sum()) @ values @ o
    return y


def test_attention_is_that_of_the_paper():
    variables, x = variables_and_input()
    np.testing.assert_allclose(jax.jit(SelfAttention().apply)(variables, x), oracle(variables["params"], x), atol=1e-5)


def test_it_begins_as_the_identity_and_learns_gamma():
    variables, x = variables_and_input(gamma=0.0)
    np.testing.assert_array_equal(jax.jit(SelfAttention().apply)(variables, x), x)
    fresh = jax.jit(SelfAttention().init)(jax.random.key(0), x)
    assert fresh["params"]["gamma"] == 0
    slopes = jax.jit(jax.grad(lambda p: (SelfAttention().apply({"params": p}, x) ** 2).sum()))(fresh["params"])
    assert slopes["gamma"] != 0 and not np.any(slopes["query"]["kernel"])


def test_parameters_by_hand():
    """Queries and keys an eighth of the channels, values a half, no bias, and gamma."""
    variables, _ = variables_and_input()
    shapes = jax.tree.map(jnp.shape, variables["params"])
    assert {name: s["kernel"] for name, s in shapes.items() if name != "gamma"} == {
        "query": (1, 1, 16, 2),
        "key": (1, 1, 16, 2),
        "value": (1, 1, 16, 8),
        "output": (1, 1, 8, 16),
    }
    assert shapes["gamma"] == () and all(set(s) == {"kernel"} for n, s in shapes.items() if n != "gamma")


def test_second_derivatives_exist():
    variables, x = variables_and_input()
    f = lambda x: SelfAttention().apply(variables, x).sum()  # noqa: E731
    penalty = jax.jit(jax.grad(lambda x: (jax.grad(f)(x) ** 2).sum()))(x)
    assert np.isfinite(penalty).all() and np.abs(penalty).max() > 0


def test_the_softmax_is_in_full_precision():
    """In bfloat16 the logits near 100 would be rounded by up to 1/4, and the weights wrong by as many parts."""
    variables, x = variables_and_input()
    half = SelfAttention(dtype=jnp.bfloat16)
    y = jax.jit(half.apply)(variables, x.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), oracle(variables["params"], x), atol=0.1)
    logits = jax.make_jaxpr(lambda x: half.apply(variables, x))(x.astype(jnp.bfloat16))
    assert any(e.primitive.name == "exp" and e.outvars[0].aval.dtype == jnp.float32 for e in equations(logits))


@pytest.mark.parametrize("shape", [(1, 3, 4, 16), (1, 4, 5, 16), (1, 4, 4, 7)])
def test_what_cannot_be_pooled_or_divided_is_an_error(shape):
    with pytest.raises(ConfigError, match=r"SelfAttention: x has shape .*even sides and at least 8 channels"):
        jax.eval_shape(SelfAttention().init, jax.random.key(0), jnp.ones(shape))
