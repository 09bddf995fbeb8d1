"""The closed forms beside the update rules, against the rules themselves."""

import numpy as np
import optax
import pytest

from ganjax.dynamics import alternating, simultaneous
from ganjax.dynamics.predictions import (
    alternating_invariant,
    alternating_matrix,
    closing_step,
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
