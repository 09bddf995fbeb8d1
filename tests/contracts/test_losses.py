"""One contract for every adversarial loss: shapes, dtypes, extreme logits, derivatives."""

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


@pytest.fixture(params=[(name, side) for name in LOSSES for side in SIDES], ids=lambda p: f"{p[0]}-{p[1]}")
def cost(request):
    name, side = request.param
    return name, jax.jit(getattr(LOSSES[name], side))


def test_values_have_the_shape_of_the_logits(cost):
    """[B], [B, ...] as of patches, and scalars."""
    _, f = cost
    real, fake = _logits()
    for shape in ((12,), (2, 3, 2), (12, 1)):
        assert f(real.reshape(shape), fake.reshape(shape)).shape == shape
    assert f(real[0, 0, 0], fake[0, 0, 0]).shape == ()


def test_each_example_is_by_itself(cost):
    name, f = cost
    real, fake = _logits()
    if name in COUPLED:
        pytest.skip("a mean over the batch is what it is about")
    np.testing.assert_allclose(jax.vmap(f)(real.ravel(), fake.ravel()), f(real.ravel(), fake.ravel()), rtol=1e-5)


def test_narrow_logits_keep_their_dtype_and_value(cost):
    _, f = cost
    for dtype, rtol in ((jnp.float16, 0.02), (jnp.bfloat16, 0.1)):
        real, fake = _logits(dtype)
        values = f(real, fake)
        assert values.dtype == dtype
        wide = f(real.astype(jnp.float32), fake.astype(jnp.float32))
        np.testing.assert_allclose(values.astype(jnp.float32), wide, rtol=rtol, atol=rtol)


def test_derivatives_are_those_of_finite_differences(cost, float64):
    _, f = cost
    real, fake = _logits(jnp.float64)
    h = 1e-6
    for argument, (dr, df) in enumerate(((h, 0.0), (0.0, h))):
        along = (f(real + dr, fake + df).sum() - f(real - dr, fake - df).sum()) / (2 * h)
        exact = jax.grad(lambda r, g: f(r, g).sum(), argument)(real, fake).sum()
        np.testing.assert_allclose(exact, along, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("size", [50.0, 1e4])
def test_extreme_logits(size, cost):
    """Never NaN, neither value nor slope; finite unless the cost itself is exponential."""
    name, f = cost
    for real, fake in ((size, 0.0), (-size, 0.0), (0.0, size), (0.0, -size)):
        value, slopes = jax.value_and_grad(f, argnums=(0, 1))(jnp.float32(real), jnp.float32(fake))
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
