"""Adam on the bilinear game: a limit cycle whose radius is predicted, and what the prediction leaves out.

`eps` is 1e-30 in these tests, as good as zero: Adam's update is `m / (sqrt(v) + eps)`, and only without eps does it
forget the scale of the gradient.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.dynamics import alternating, simultaneous
from ganjax.dynamics.predictions import (
    adam_angle,
    adam_radius,
    adam_slowness,
    alternating_adam_angle,
    alternating_adam_radius,
)
from ganjax.games import bilinear
from ganjax.training import population, simulate

RADII = {simultaneous: adam_radius, alternating: alternating_adam_radius}
ANGLES = {simultaneous: adam_angle, alternating: alternating_adam_angle}
# (beta1, beta2), slow enough for the theory to hold within 1 %; then fast ones with the radius over the prediction.
SLOW = {
    simultaneous: [(0.0, 0.999), (0.5, 0.999), (0.9, 0.999), (0.0, 0.9), (-0.5, 0.999), (0.0, 0.99), (0.5, 0.99)],
    alternating: [(0.5, 0.999), (0.9, 0.999), (0.5, 0.99)],
}
FAST = {simultaneous: {(0.5, 0.9): 1.0531}, alternating: {(0.5, 0.9): 1.0350}}
BOTH = pytest.mark.parametrize("rule", [simultaneous, alternating])


def _play(rule, steps, lr, b1, b2, start):
    """`z_0 ... z_T`, complex."""
    adam = optax.adam(lr, b1=b1, b2=b2, eps=1e-30)
    _, path = simulate(bilinear(start=start), rule({"a": adam, "b": adam}), steps)
    return path["a"] + 1j * path["b"]


def _cycles(rule, settings, factors, steps, last, lr=1.0):
    """The orbits' last points, [factors, settings, last], from that many times the predicted radius."""
    b1, b2 = np.array(settings).T
    radii = RADII[rule](lr, b1, b2)

    def run(factor, setting):
        b1, b2, radius = setting
        return _play(rule, steps, lr, b1, b2, (factor * radius, 0.0))[-last:]

    return np.asarray(population(run)(factor=np.array(factors), setting=(b1, b2, radii))), radii


@BOTH
def test_the_limit_cycle_attracts_from_inside_and_outside(rule, float64):
    """The mean radius over many turns, from 0.3 and 30 times the prediction: within 1 %, and 0.1 slowness^2."""
    orbits, radii = _cycles(rule, SLOW[rule], [0.3, 30.0], 120_000, 20_000)
    ratio = np.abs(orbits).mean(-1) / radii
    np.testing.assert_allclose(ratio, 1, atol=0.01)
    b1, b2 = np.array(SLOW[rule]).T
    assert (abs(ratio - 1) < 0.1 * adam_slowness(ANGLES[rule](b1, b2), b1, b2) ** 2 + 3e-5).all(), ratio
    np.testing.assert_allclose(ratio[0], ratio[1], atol=3e-4, err_msg="one cycle, whatever the start")
    assert (np.abs(orbits).std(-1) / radii < 0.02).all(), "a circle"


@BOTH
def test_the_angle_per_step_on_the_limit_cycle(rule, float64):
    orbits, _ = _cycles(rule, SLOW[rule], [1.0], 60_000, 20_000)
    angle = np.diff(np.unwrap(np.angle(orbits[0])), axis=-1).mean(-1)
    np.testing.assert_allclose(angle, ANGLES[rule](*np.array(SLOW[rule]).T), rtol=0.02)


@BOTH
def test_a_fast_second_moment_is_beyond_the_theory(rule, float64):
    """At beta1 = 0.5, beta2 = 0.9 the orbit turns by 0.1 in a step, and v forgets 0.1 in a step: neither is slow.

    The radius is 5.3 % (simultaneous) and 3.5 % (alternating) above the prediction, as measured here.
    """
    orbits, radii = _cycles(rule, list(FAST[rule]), [0.3, 30.0], 40_000, 20_000)
    ratio = np.abs(orbits).mean(-1) / radii
    np.testing.assert_allclose(ratio[:, 0], FAST[rule][0.5, 0.9], atol=1e-3)
    assert adam_slowness(ANGLES[rule](0.5, 0.9), 0.5, 0.9) > 0.8


@BOTH
@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_equal_moments_leave_no_limit_cycle(rule, beta, float64):
    """Where beta2 = beta1 the radius grows as the square root of the steps: four times the steps, twice the radius."""
    z = np.asarray(jax.jit(lambda: _play(rule, 80_000, 1.0, beta, beta, (30.0, 0.0)))())
    early, late = (np.abs(z[n - n // 10 : n]).mean() for n in (20_000, 80_000))
    assert late / early == pytest.approx(2, rel=0.05)
    assert late > 10 * RADII[rule](1.0, beta, beta)


def test_alternating_adam_without_first_moment_falls_to_its_step_size(float64):
    """Nothing pushes outwards when beta1 is 0: the radius is that of a few steps, whatever beta2."""
    b2 = np.array([0.9, 0.99, 0.999])
    run = lambda b2: jnp.abs(_play(alternating, 120_000, 0.01, 0.0, b2, (0.4, 0.1)))[-1000:]  # noqa: E731
    radius = np.asarray(population(run)(b2=b2)).mean(-1)
    assert ((radius > 0.5 * 0.01) & (radius < 2.5 * 0.01)).all(), radius
    assert alternating_adam_radius(0.01, 0.0, 0.99) == 0


@BOTH
def test_scaling_the_step_and_the_start_scales_the_trajectory(rule, float64):
    """(lr, z_0) -> (c lr, c z_0) multiplies z_t by c: m by c, sqrt(v) by c, so their ratio stays.

    The game is linear, so gradients scale with z. By a power of two nothing is even rounded differently.
    """
    run = jax.jit(lambda c: _play(rule, 3000, c * 0.01, 0.9, 0.99, (c * 0.7, c * 0.2)))
    reference = np.asarray(run(1.0))
    np.testing.assert_array_equal(run(64.0), 64 * reference)
    np.testing.assert_allclose(run(3.0), 3 * reference, rtol=1e-9)


def test_eps_is_a_scale(float64):
    """With optax's eps of 1e-8 a game of that size is no scaled copy: its steps get short."""

    def final(c):
        adam = optax.adam(c * 0.1, b1=0.5, b2=0.99)
        state, _ = simulate(bilinear(start=(c, 0.0)), simultaneous({"a": adam, "b": adam}), 200, keep=None)
        return jnp.stack([state.params["a"], state.params["b"]]) / c

    unit, small = np.asarray(population(final)(c=np.array([1.0, 1e-8])))
    assert np.abs(small - unit).max() > 0.1 * np.abs(unit).max()


def test_radii_by_hand():
    """lr 1, beta2 0.99: sqrt(8 / 0.01) = 28.28; beta1 0.5: sqrt(8 3 100) = 48.99, alternating sqrt(16 100) = 40."""
    np.testing.assert_allclose(adam_radius(1.0, [0.0, 0.5], 0.99), [np.sqrt(800), np.sqrt(2400)], rtol=1e-12)
    np.testing.assert_allclose(alternating_adam_radius(2.0, 0.5, 0.99), 80, rtol=1e-12)
    assert adam_slowness(0.2, 0.5, 0.9) == pytest.approx(0.5)
