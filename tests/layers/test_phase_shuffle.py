"""Phase shuffle against NumPy's reflection, and what it promises of draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.layers.dropout import SHARED
from ganjax.layers.phase_shuffle import PhaseShuffle, shifted

T = 9


def reflected(x, k):
    """`x[t - k]` of one example, by the triangle wave that reflection is."""
    t = np.arange(len(x)) - k
    return x[len(x) - 1 - np.abs(len(x) - 1 - np.abs(t))]


def shuffle(x, n=2, key=0, **how):
    return jax.jit(lambda x: PhaseShuffle(n).apply({}, x, rngs={SHARED: jax.random.key(key)}, **how))(x)


@pytest.mark.fault("wavegan: one shift for all examples of a batch")
def test_each_example_is_its_own_shifted_reflection():
    x = np.random.default_rng(0).normal(size=(600, T, 2)).astype(np.float32)
    y = np.asarray(shuffle(x, deterministic=False))
    tried = np.stack([[reflected(one, k) for k in range(-2, 3)] for one in x])  # [B, 5, T, 2]
    match = (tried == y[:, None]).all((2, 3))
    assert match.any(1).all()
    shares = match.mean(0)
    np.testing.assert_allclose(shares, 1 / 5, atol=0.06)  # 3.7 standard errors
    np.testing.assert_array_equal(y, shuffle(x, deterministic=False))
    assert (y != shuffle(x, key=1, deterministic=False)).any()


def test_zero_and_evaluation_are_the_identity():
    x = np.random.default_rng(0).normal(size=(4, T)).astype(np.float32)
    np.testing.assert_array_equal(PhaseShuffle(0).apply({}, x, deterministic=False), x)
    np.testing.assert_array_equal(PhaseShuffle(2).apply({}, x, deterministic=True), x)
    np.testing.assert_array_equal(shifted(jnp.asarray(x), jnp.zeros(4, jnp.int32), 0), x)


def test_a_shift_is_later_in_time_and_its_gradient_lands_where_values_came_from():
    x, k = np.arange(2.0 * T, dtype=np.float32).reshape(2, T), np.array([2, -1])
    one = np.zeros((2, T), np.float32)
    one[:, 4] = 1  # in the interior a shift moves it, and so the gradient of what it moved to
    y, back = jax.jit(jax.value_and_grad(lambda x: (shifted(x, jnp.asarray(k), 2) * one).sum()))(x)
    np.testing.assert_array_equal(back.argmax(1), 4 - k)
    assert y == x[0, 2] + x[1, 5]


def test_a_tone_keeps_its_spectrum_in_the_interior():
    """All phases of a tone look alike to what sees magnitudes: a shift changes phases alone."""
    t = np.arange(44)
    x = np.stack([np.cos(2 * np.pi * cycles * t / 40 + 0.4) for cycles in range(1, 6)]).astype(np.float32)
    y = np.asarray(shifted(jnp.asarray(x), jnp.arange(-2, 3), 2))
    before, after = (np.abs(np.fft.rfft(one[:, 2:42])) for one in (x, y))
    np.testing.assert_allclose(after, before, atol=1e-4)
    assert y.shape == x.shape and np.abs(y - x)[[0, 1, 3, 4]].max(1).min() > 0.1


@pytest.mark.parametrize(("shape", "n"), [((2, 3), 3), ((2, 3), -1), ((2,), 0)])
def test_what_cannot_be_shifted(shape, n):
    with pytest.raises(ValueError, match="shifted: "):
        shifted(jnp.zeros(shape), jnp.zeros(2, jnp.int32), n)
