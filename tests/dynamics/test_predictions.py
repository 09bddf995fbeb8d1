"""The closed forms beside the update rules, against the rules themselves."""

import numpy as np
import optax
import pytest

from ganjax.dynamics import alternating, predictions, simultaneous
from ganjax.dynamics.predictions import (
    BEST_STEP,
    RATES,
    STABLE_UNTIL,
    alternating_invariant,
    alternating_matrix,
    average_opponent_flow,
    closing_step,
    ema_opponent_exponents,
    runge_kutta_multiplier,
    simultaneous_multiplier,
)
from ganjax.games import bilinear
from ganjax.training import simulate

START = (1.0, -0.5)


def _play(rule, eta, steps):
    _, path = simulate(bilinear(start=START), rule({"a": optax.sgd(eta), "b": optax.sgd(eta)}), steps)
    return np.stack([path["a"], path["b"]], axis=1)


@pytest.mark.parametrize("eta", [0.05, 0.3, 1.2])
def test_predicted_paths_are_the_paths(eta, float64):
    z = complex(*START) * simultaneous_multiplier(eta) ** np.arange(21)
    np.testing.assert_allclose(_play(simultaneous, eta, 20), np.stack([z.real, z.imag], axis=1), rtol=1e-9, atol=1e-12)
    path = _play(alternating, eta, 20)
    expected = [np.linalg.matrix_power(alternating_matrix(eta), t) @ START for t in range(21)]
    np.testing.assert_allclose(path, expected, atol=1e-12)
    np.testing.assert_allclose(alternating_invariant(*path.T, eta), 1.25 + 0.5 * eta, rtol=1e-12)


@pytest.mark.parametrize("n", [3, 7, 60])
def test_the_closing_step_closes(n, float64):
    path = _play(alternating, closing_step(n), n)
    np.testing.assert_allclose(path[-1], START, atol=1e-12)
    assert np.abs(path[1:-1] - START).max(axis=1).min() > 1e-2, "not before"
    with pytest.raises(ValueError, match="n is 2, expected at least 3"):
        closing_step(2)


def test_rates_keep_the_shape_of_their_steps():
    """One number, a grid, and a grid of grids; the same values."""
    grid = np.linspace(0.1, 1.2, 6).reshape(2, 3)
    for name, rate in RATES.items():
        values = rate(grid)
        assert values.shape == (2, 3) and values.dtype == np.float64, name
        assert np.shape(rate(0.4)) == () and np.all(values > 0), name
        np.testing.assert_allclose([[rate(e) for e in row] for row in grid], values, rtol=1e-12, err_msg=name)


def test_tables_agree_with_each_other():
    for name, (eta, rate) in BEST_STEP.items():
        assert 0 <= rate < 1 and eta < STABLE_UNTIL[name]
        # The rate has a kink where roots meet, at most a square root of rounding away.
        np.testing.assert_allclose(RATES[name](eta), rate, rtol=1e-6, atol=1e-6)
    never = [name for name, limit in STABLE_UNTIL.items() if limit == 0]
    assert never == ["simultaneous", "alternating", "heavy_ball", "runge_kutta_2"]


def test_order_of_runge_kutta_is_checked():
    with pytest.raises(ValueError, match="order is 5, expected 1 to 4"):
        runge_kutta_multiplier(0.1, 5)


def test_flow_against_the_average_solves_its_equation():
    """`z' = i Z` with `Z = (1/t) int z` for both, `a' = -B`, `b' = a` for one, by the residual on a fine grid."""
    t = np.linspace(0, 30, 30_001)
    h = t[1]

    def mean(x):
        integral = np.concatenate([[0], np.cumsum((x[1:] + x[:-1]) / 2)]) * h
        return np.divide(integral, t, out=x.copy(), where=t > 0)

    for both in (True, False):
        z = average_opponent_flow(t, (1.0, 0.5), both=both)
        np.testing.assert_allclose(z[0], 1 + 0.5j, rtol=1e-12)
        slope = np.gradient(z, h)[1:-1]
        seen_by_b, seen_by_a = mean(z.real) if both else z.real, mean(z.imag)
        residual = slope - (-seen_by_a + 1j * seen_by_b)[1:-1]
        assert np.max(np.abs(residual) / np.maximum(1, np.abs(z[1:-1]))) < 1e-5


def test_growth_laws_against_the_average():
    """exp(sqrt(2 t)) t^(-1/4) if both face it, exp(3/4 t^(2/3)) if one does: no exponential, but no convergence."""
    t = np.array([400.0, 900.0, 1600.0])
    growth = np.log(np.abs(average_opponent_flow(t))) + np.log(t) / 4
    np.testing.assert_allclose(np.diff(growth) / np.diff(np.sqrt(2 * t)), 1, rtol=1e-3)
    t = np.linspace(20, 100, 8001)
    b = np.abs(average_opponent_flow(t, both=False).imag)
    peaks = np.flatnonzero((b[1:-1] > b[:-2]) & (b[1:-1] > b[2:])) + 1
    assert len(peaks) >= 3
    law = 0.75 * t[peaks] ** (2 / 3)
    np.testing.assert_allclose(np.diff(np.log(b[peaks])) / np.diff(law), 1, rtol=0.02)


def test_exponents_against_the_exponential_average():
    """Unstable for every tau; a short memory is the present (+-i and one fast root -1/tau)."""
    for tau in np.geomspace(1e-3, 1e3, 25):
        one, both = ema_opponent_exponents(tau), ema_opponent_exponents(tau, both=True)
        np.testing.assert_allclose(tau * one**3 + one**2 + 1, 0, atol=1e-8 * (1 + tau**-2))
        np.testing.assert_allclose(np.abs(tau * both**2 + both), 1, rtol=1e-8)
        assert one.real.max() > 0 and both.real.max() > 0
    short = ema_opponent_exponents(1e-3)
    np.testing.assert_allclose(short[np.argsort(short.real)][0], -1e3, rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.sort(short.imag)[[0, 2]]), 1, rtol=1e-3)


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.5, 0.9])
def test_optimistic_play_at_its_best_step(eta):
    """At 1/2 its two roots are one, where the quotients of differences were 0 / 0."""
    z = [1 + 2j, (1 + 2j) * (1 + 1j * eta)]
    for _ in range(8):
        z.append((1 + 2j * eta) * z[-1] - 1j * eta * z[-2])
    np.testing.assert_allclose(predictions.optimistic_orbit(eta, 1 + 2j, 9), z, rtol=1e-12)
    beside = predictions.optimistic_rise(eta + 1e-6, 8)
    np.testing.assert_allclose(predictions.optimistic_rise(eta, 8), beside, rtol=1e-4, atol=1e-10)
