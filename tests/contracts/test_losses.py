"""One contract for every adversarial loss: shapes, dtypes, extreme logits, derivatives."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.losses import LOSSES

SIDES = ("discriminator", "generator")
# Values of an example that depend on the rest of the batch.
COUPLED = {"relativistic_average"}
# Costs that grow exponentially with a logit: infinite at 1e4 in float32, which is their value.
EXPONENTIAL = {"maximum_likelihood"} | {name for name in LOSSES if name.startswith("f_")}


def _logits(dtype=jnp.float32):
    real, fake = np.linspace(-3.1, 2.9, 12).reshape(2, 3, 2), np.linspace(2.3, -3.7, 12).reshape(2, 3, 2)
    return jnp.asarray(real, dtype), jnp.asarray(fake, dtype)


@cache
def _cost(name, side):
    return jax.jit(getattr(LOSSES[name], side))


@cache
def _with_slopes(f):
    return jax.jit(jax.value_and_grad(f, argnums=(0, 1)))


@pytest.fixture(params=[(name, side) for name in LOSSES for side in SIDES], ids=lambda p: f"{p[0]}-{p[1]}")
def cost(request):
    return request.param[0], _cost(*request.param)


def test_values_have_the_shape_of_the_logits(cost):
    """[B], [B, ...] as of patches, and scalars."""
    _, f = cost
    for shape in ((12,), (2, 3, 2), (12, 1), ()):
        logits = jax.ShapeDtypeStruct(shape, jnp.float32)
        assert jax.eval_shape(f, logits, logits).shape == shape


def test_each_example_is_by_itself(cost):
    name, f = cost
    real, fake = _logits()
    if name in COUPLED:
        pytest.skip("a mean over the batch is what it is about")
    each, together = jax.jit(lambda *logits: (jax.vmap(f)(*logits), f(*logits)))(real.ravel(), fake.ravel())
    np.testing.assert_allclose(each, together, rtol=1e-5)


def test_narrow_logits_keep_their_dtype_and_value(cost):
    _, f = cost
    narrow = {"float16": _logits(jnp.float16), "bfloat16": _logits(jnp.bfloat16)}
    wide = {dtype: tuple(x.astype(np.float32) for x in logits) for dtype, logits in narrow.items()}
    values, expected = jax.jit(lambda *sets: [{dtype: f(*x) for dtype, x in one.items()} for one in sets])(narrow, wide)
    for dtype, rtol in (("float16", 0.02), ("bfloat16", 0.1)):
        assert values[dtype].dtype == dtype
        np.testing.assert_allclose(np.float32(values[dtype]), expected[dtype], rtol=rtol, atol=rtol)


def test_derivatives_are_those_of_finite_differences(cost, float64):
    _, f = cost
    real, fake = _logits(jnp.float64)
    h = 1e-6
    total = lambda real, fake: f(real, fake).sum()  # noqa: E731
    costs, slopes = jax.jit(lambda *sets: ([total(*x) for x in sets], jax.grad(total, (0, 1))(real, fake)))(
        *((real + sign * dr, fake + sign * df) for dr, df in ((h, 0.0), (0.0, h)) for sign in (1, -1))
    )
    for argument in range(2):
        along = (costs[2 * argument] - costs[2 * argument + 1]) / (2 * h)
        np.testing.assert_allclose(np.sum(slopes[argument]), along, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("size", [50.0, 1e4])
def test_extreme_logits(size, cost):
    """Never NaN, neither value nor slope; finite unless the cost itself is exponential."""
    name, f = cost
    for real, fake in ((size, 0.0), (-size, 0.0), (0.0, size), (0.0, -size)):
        value, slopes = _with_slopes(f)(np.float32(real), np.float32(fake))
        everything = np.array([value, *slopes])
        assert not np.isnan(everything).any(), (real, fake, everything)
        if name not in EXPONENTIAL:
            assert np.isfinite(everything).all(), (real, fake, everything)


@pytest.mark.parametrize("name", LOSSES)
def test_the_generator_wants_its_logits_up(name):
    """A large logit means "real" in every member, the f-GANs included."""
    slope = jax.grad(LOSSES[name].generator, argnums=1)(jnp.float32(0.3), jnp.float32(-0.2))
    assert slope < 0


@pytest.mark.parametrize("name", LOSSES)
def test_the_discriminator_wants_real_logits_above_fake_ones(name):
    """From a tie, both kinds of logits at 0.5, it is better to part them in the right direction."""
    cost = LOSSES[name].discriminator
    tie, right, wrong = (cost(jnp.float32(0.5 + d), jnp.float32(0.5 - d)) for d in (0.0, 0.05, -0.05))
    assert right < tie < wrong
