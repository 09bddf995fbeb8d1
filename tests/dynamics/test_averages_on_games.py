"""What averages do to orbits of the bilinear game: the closed forms against ganjax's own averages and rules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.dynamics import alternating, ema, simultaneous, tail_average
from ganjax.dynamics.predictions import (
    alternating_invariant,
    alternating_mean,
    closing_step,
    decaying_step_exponents,
    decaying_step_mean,
    decaying_step_norm,
    ema_attenuation,
    ema_flow_attenuation,
    ema_gain,
    ema_lag,
    ema_mean,
    ema_spiral_ratio,
    simultaneous_mean,
    simultaneous_multiplier,
    tail_mean,
    uniform_mean,
)
from ganjax.games import bilinear
from ganjax.training import population, simulate

START = (1.0, -0.5)
Z0 = complex(*START)


def _averaged(path, *averages):
    """The path of each average over a path of trees."""

    def see(states, tree):
        states = tuple(a.update(tree, s) for a, s in zip(averages, states, strict=True))
        return states, tuple(a.value(s) for a, s in zip(averages, states, strict=True))

    start = tuple(a.init(jax.tree.map(lambda leaf: leaf[0], path)) for a in averages)
    return jax.lax.scan(see, start, path)[1]


def _play(rule, eta, steps, *averages):
    """Complex paths `z_0 ... z_T` of the players and of each average, [1 + averages, steps + 1]."""

    @jax.jit
    def run():
        _, path = simulate(bilinear(start=START), rule({p: optax.sgd(eta) for p in "ab"}), steps)
        return path, *_averaged(path, *averages)

    return np.stack([np.asarray(path["a"]) + 1j * np.asarray(path["b"]) for path in run()])


def _ellipse(z, eta):
    return np.sqrt(alternating_invariant(z.real, z.imag, eta))


def _turned(z, eta):
    """The phase of alternating play on its ellipse, as an angle that grows by `2 arcsin(eta / 2)` a step.

    `a^2 + b^2 - eta a b = (1 - eta / 2)(a + b)^2 / 2 + (1 + eta / 2)(a - b)^2 / 2`: the two squared terms are the
    coordinates in which the orbit is a circle.
    """
    u, w = np.sqrt(1 - eta / 2) * (z.real + z.imag), np.sqrt(1 + eta / 2) * (z.imag - z.real)
    return np.unwrap(np.arctan2(w, u))


# -- exponential ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.05, 0.2, 1.0])
def test_ema_runs_behind_on_the_same_ellipse(eta, float64):
    """Attenuation H(phi) and lag at phi = 2 arcsin(eta / 2), for four memories at once."""
    decays = [0.0, 0.5, 0.9, 0.99]
    z, *means = _play(alternating, eta, 4000, *(ema(decay) for decay in decays))
    phi = 2 * np.arcsin(eta / 2)
    for decay, m in zip(decays, means, strict=True):
        ratio = _ellipse(m[3000:], eta) / _ellipse(z[3000:], eta)
        np.testing.assert_allclose(ratio, ema_attenuation(decay, phi), rtol=1e-9)
        lag = (_turned(z, eta) - _turned(m, eta))[3000:]
        np.testing.assert_allclose(np.exp(1j * lag), np.exp(1j * ema_lag(decay, phi)), rtol=1e-9)


def test_ema_of_the_spiral_grows_with_it(float64):
    eta = 0.1
    decays = [0.5, 0.9, 0.99]
    z, *means = _play(simultaneous, eta, 3000, *(ema(decay) for decay in decays))
    for decay, m in zip(decays, means, strict=True):
        np.testing.assert_allclose(np.abs(m / z)[2500:], ema_spiral_ratio(decay, eta), rtol=1e-9)
        np.testing.assert_allclose((m / z)[2500:], ema_gain(decay, simultaneous_multiplier(eta)), rtol=1e-9)


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_debiased_ema_of_a_mode_is_exact_from_the_first_step(decay, float64):
    z, m = _play(simultaneous, 0.1, 200, ema(decay))
    expected = Z0 * ema_mean(decay, simultaneous_multiplier(0.1), np.arange(1, 202))
    np.testing.assert_allclose(m, expected, rtol=1e-10)
    np.testing.assert_allclose(m[0], z[0], rtol=1e-12)


def test_gain_by_hand():
    """beta = 1/2, a quarter turn: (1/2) i / (i - 1/2) = (2 - i) / 5, of modulus 1 / sqrt(5), behind by arctan(1/2)."""
    np.testing.assert_allclose(ema_gain(0.5, 1j), (2 - 1j) / 5, rtol=1e-14)
    np.testing.assert_allclose(ema_attenuation(0.5, np.pi / 2), 1 / np.sqrt(5), rtol=1e-14)
    np.testing.assert_allclose(ema_lag(0.5, np.pi / 2), np.arctan(0.5), rtol=1e-14)
    np.testing.assert_allclose(ema_mean(0.5, 1j, 2), (0.5 * 1 + 1 * 1j) / 1.5, rtol=1e-14)


def test_the_flow_is_the_limit_of_small_steps():
    """beta = 1 - eta / tau: the error of the limit is of the order eta."""
    tau, speed = 3.0, 0.7
    errors = [ema_attenuation(1 - h / tau, speed * h) - ema_flow_attenuation(tau, speed) for h in (1e-3, 5e-4)]
    assert abs(errors[0]) < 1e-3
    np.testing.assert_allclose(errors[0] / errors[1], 2, rtol=1e-2)


# -- uniform ----------------------------------------------------------------------------------------------------------


def test_uniform_and_tail_means_of_the_spiral(float64):
    """z is a mode, so its means are geometric sums; and the mean is -i (z_T - z_0) / (eta T), which diverges."""
    eta, steps, start = 0.1, 400, 37
    z, uniform, tail = _play(simultaneous, eta, steps, tail_average(), tail_average(start))
    mode, seen = simultaneous_multiplier(eta), np.arange(1, steps + 1)
    np.testing.assert_allclose(uniform[:-1], Z0 * uniform_mean(mode, seen), rtol=1e-10)
    np.testing.assert_allclose(uniform[:-1], simultaneous_mean(eta, z[0], z[1:], seen), rtol=1e-10)
    np.testing.assert_allclose(tail[start:-1], Z0 * tail_mean(mode, start, seen[start:]), rtol=1e-10)
    assert abs(uniform[-1]) > 0.1 * abs(z[-1]) / (eta * steps) > 0.01
    with pytest.raises(ValueError, match="expected more than start, 3"):
        tail_mean(mode, 3, 3)


def test_uniform_mean_of_alternating_play_is_of_order_one_over_t(float64):
    eta = 0.3
    z, mean = _play(alternating, eta, 3000, tail_average())
    seen = np.arange(1, 3001)
    np.testing.assert_allclose(mean[:-1], alternating_mean(eta, z[0], z[1:], seen), rtol=1e-8, atol=1e-12)
    bounds = [np.abs(seen * mean[:-1])[part].max() for part in (slice(100, 1500), slice(1500, 3000))]
    np.testing.assert_allclose(bounds[0], bounds[1], rtol=1e-3, err_msg="T times the mean neither grows nor falls")


@pytest.mark.parametrize("n", [3, 10, 101])
def test_the_mean_of_a_closed_orbit_is_the_saddle(n, float64):
    """It is zero again after every turn, and in between of the order 1/T."""
    z, mean = _play(alternating, closing_step(n), 3 * n, tail_average())
    np.testing.assert_allclose(z[n::n], Z0, rtol=1e-10)
    np.testing.assert_allclose(np.abs(mean[n - 1 :: n]), 0, atol=1e-12)
    assert np.abs(mean[n : 2 * n - 2]).max() > 0.1 / n


# -- falling steps ----------------------------------------------------------------------------------------------------


def test_falling_steps_grow_and_average_at_the_predicted_exponents(float64):
    """Steps c / sqrt(t): |z| as T^(c^2 / 2), the mean as T^((c^2 - 1) / 2), which falls if and only if c < 1.

    Also `sum eta_t z_t = -i (z_T - z_0)` exactly, and the constants: of the norm exactly, of the mean for large T.
    """
    c, steps = jnp.array([0.5, 0.9, 1.2]), 100_000

    def run(c):
        sgd = optax.sgd(lambda count: c / jnp.sqrt(count + 1.0))
        _, path = simulate(bilinear(start=START), simultaneous({"a": sgd, "b": sgd}), steps)
        (mean,) = _averaged(path, tail_average())
        return tuple(tree["a"] + 1j * tree["b"] for tree in (path, mean))

    z, mean = (np.asarray(x) for x in population(run)(c=c))
    c, times = np.asarray(c)[:, None], np.arange(1, steps + 1)
    np.testing.assert_allclose(np.abs(z[:, 1:] / Z0), decaying_step_norm(c, times), rtol=1e-9)
    weighted = (c / np.sqrt(times) * z[:, :-1]).sum(1)
    np.testing.assert_allclose(weighted, -1j * (z[:, -1] - Z0), rtol=1e-9)

    late = np.unique(np.geomspace(2000, steps, 100).astype(int))
    measured = np.abs(mean[:, late - 1] / Z0)
    np.testing.assert_allclose(measured, decaying_step_mean(c, late), rtol=0.02)
    np.testing.assert_allclose(measured[:, -1], decaying_step_mean(c[:, 0], steps), rtol=2e-3)
    norm, average = decaying_step_exponents(c[:, 0])
    for i in range(3):
        assert np.polyfit(np.log(late), np.log(np.abs(z[i, late])), 1)[0] == pytest.approx(norm[i], abs=2e-3)
        assert np.polyfit(np.log(late), np.log(measured[i]), 1)[0] == pytest.approx(average[i], abs=2e-3)
    assert (average < 0).tolist() == [True, True, False]


def test_falling_steps_by_hand():
    """c = 1: the product of (1 + 1/t) up to T is T + 1."""
    np.testing.assert_allclose(decaying_step_norm(1.0, [1, 8]), [np.sqrt(2), 3], rtol=1e-12)
    np.testing.assert_allclose(decaying_step_mean(1.0, 8), 3 / np.sqrt(8), rtol=1e-12)
