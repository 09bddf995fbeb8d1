"""How far noise keeps the players from the saddle: the closed forms against the rules, and against Lyapunov's equation.

Seeds are independent, so the standard error of a mean over them is that of independent numbers, whatever the
correlation in time.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.core import Moment
from ganjax.dynamics import (
    alternating,
    competitive,
    consensus,
    extragradient,
    lookahead,
    optimistic,
    past_extragradient,
    proximal_point,
    simultaneous,
    symplectic,
    vector_field,
)
from ganjax.dynamics.predictions import (
    NOISE_FLOORS,
    alternating_noise,
    consensus_floor,
    extragradient_floor,
    extragradient_multiplier,
    lookahead_floor,
    lookahead_floor_limit,
    lookahead_rise,
    noise_rise,
    optimistic_floor,
    optimistic_rise,
    past_extragradient_floor,
    proximal_floor,
    regularised_floor,
    simultaneous_noise,
)
from ganjax.games import bilinear, gradient_noise
from ganjax.training import population, simulate

SEEDS = 256
STD = 0.7


def _sgd(eta):
    return {player: optax.sgd(eta) for player in "ab"}


# Each rule of NOISE_FLOORS, with the settings named there.
RULES = {
    "proximal_point": lambda eta: proximal_point(eta, iterations=1),
    "competitive": competitive,
    "extragradient": lambda eta: extragradient(_sgd(eta)),
    "past_extragradient": lambda eta: past_extragradient(_sgd(eta)),
    "optimistic": lambda eta: optimistic(_sgd(eta)),
    "lookahead": lambda eta: lookahead(simultaneous(_sgd(eta)), k=5, alpha=0.5),
    "regularised": lambda eta: simultaneous(_sgd(eta)),
    "consensus": lambda eta: simultaneous(_sgd(eta), adjust=consensus(0.5)),
    "symplectic": lambda eta: simultaneous(_sgd(eta), adjust=symplectic(0.5)),
}
ETAS = dict.fromkeys(RULES, (0.15, 0.3)) | {"proximal_point": (0.15, 1.5), "extragradient": (0.15, 0.8)}
# What remains of the first value: |lambda|^(2 BURN_IN) is below 1e-7 for all of them.
BURN_IN, STEPS = 800, 2800


def _squares(rule, steps, eta, seed, start=(0.0, 0.0), mu=0.0):
    """The path of (a^2 + b^2, ab), [2, steps + 1]."""
    game = gradient_noise(bilinear(start=start, mu=mu), STD)
    _, path = simulate(game, rule(eta), steps, key=jax.random.key(seed))
    a, b = path["a"], path["b"]
    return jnp.stack([a**2 + b**2, a * b])


def _mean_and_error(samples):
    """Over the first axis, of independent seeds."""
    samples = np.asarray(samples)
    return samples.mean(0), samples.std(0, ddof=1) / np.sqrt(len(samples))


@pytest.mark.parametrize("name", RULES)
def test_the_floor_is_the_time_average_of_many_seeds(name, float64):
    """Within 3 standard errors, which are below 3 % of it."""
    mu = 0.5 if name == "regularised" else 0.0

    def run(seed, eta):
        return _squares(RULES[name], STEPS, eta, seed, mu=mu)[0, BURN_IN + 1 :].mean()

    mean, error = _mean_and_error(population(run)(seed=jnp.arange(SEEDS), eta=np.array(ETAS[name])))
    expected = NOISE_FLOORS[name](np.array(ETAS[name]), STD)
    assert (error < 0.03 * expected).all()
    assert (np.abs(mean - expected) < 3 * error).all(), (mean, expected, error)


def test_all_floors_are_tested():
    assert set(NOISE_FLOORS) == set(RULES)


RISES = {
    "simultaneous": lambda eta, t: simultaneous_noise(eta, t, STD),
    "extragradient": lambda eta, t: noise_rise(extragradient_floor(eta, STD), extragradient_multiplier(eta), t),
    "lookahead": lambda eta, t: lookahead_rise(eta, 5, 0.5, t[-1], STD),
    "optimistic": lambda eta, t: optimistic_rise(eta, t[-1], STD),
}


@pytest.mark.parametrize("name", RISES)
def test_the_rise_from_the_saddle(name, float64):
    """At every step within 4.5 standard errors of 2048 seeds, and 2 in the root mean square: z_0 = 0."""
    eta, steps = 0.3, 40
    rule = RULES.get(name, lambda eta: simultaneous(_sgd(eta)))
    run = lambda seed: _squares(rule, steps, eta, seed)[0]  # noqa: E731
    mean, error = _mean_and_error(population(run)(seed=jnp.arange(2048)))
    expected = RISES[name](eta, np.arange(steps + 1))
    assert mean[0] == expected[0] == 0
    deviation = (mean[1:] - expected[1:]) / error[1:]
    assert np.abs(deviation).max() < 4.5 and np.sqrt((deviation**2).mean()) < 2, deviation


def test_the_players_noises_are_independent():
    """At the saddle the field is the noise alone; the correlation of 4000 draws has the deviation 1/63."""
    game, origin = gradient_noise(bilinear(), 1.0), dict.fromkeys("ab", jnp.zeros(()))
    draw = jax.vmap(lambda key: vector_field(game, origin, Moment({"a": {}, "b": {}}, None, key)).gradients)
    xi = jax.jit(lambda key: draw(jax.random.split(key, 4000)))(jax.random.key(0))
    np.testing.assert_allclose(np.cov(xi["a"], xi["b"]), np.eye(2), atol=0.1)


def test_noise_lets_alternating_play_walk_off_its_ellipse(float64):
    """E (a^2 + b^2 - eta ab) grows by 2 std^2 eta^2 a step, without a floor, from wherever it starts."""
    eta, steps = 0.3, 200
    run = lambda seed: _squares(lambda e: alternating(_sgd(e)), steps, eta, seed, (1.0, -0.5))  # noqa: E731
    squares, products = np.moveaxis(np.asarray(population(run)(seed=jnp.arange(2048))), 1, 0)
    mean, error = _mean_and_error(squares - eta * products)
    times = np.array([1, 10, 50, 200])
    expected = 1.25 + 0.5 * eta + alternating_noise(eta, times, STD)
    assert (np.abs(mean[times] - expected) < 3 * error[times]).all(), (mean[times], expected, error[times])


# -- the formulas against a linear solve ------------------------------------------------------------------------------


def _lyapunov(matrix, noise):
    """E x x^* of `x+ = M x + N xi`, E |xi|^2 = 2: the solution of `P = M P M^* + 2 N N^*`."""
    n = len(matrix)
    p = np.linalg.solve(np.eye(n * n) - np.kron(matrix, matrix.conj()), (2 * noise @ noise.conj().T).ravel())
    return p.reshape(n, n).real


@pytest.mark.parametrize("eta", [0.01, 0.1, 0.3, 0.5])
def test_floors_solve_lyapunovs_equation(eta):
    """The formulas to 1e-9, each with the rule written out as a complex matrix."""

    def one(multiplier, gain):
        return STD**2 * _lyapunov(np.array([[multiplier]]), np.array([[eta * gain]]))[0, 0]

    proximal = 1 / (1 - 1j * eta)
    assert proximal_floor(eta, STD) == pytest.approx(one(proximal, proximal), rel=1e-9)
    assert extragradient_floor(eta, STD) == pytest.approx(one(1 - eta**2 + 1j * eta, 1 + 1j * eta), rel=1e-9)
    assert regularised_floor(eta, 0.5, STD) == pytest.approx(one(1 - 0.5 * eta + 1j * eta, 1), rel=1e-9)
    assert consensus_floor(eta, 0.5, STD) == pytest.approx(one(1 - 0.5 * eta + 1j * eta, 1 + 0.5j), rel=1e-9)
    # Optimistic: (z, g_-) with g = i z + xi; z+ = z + 2 eta g - eta g_-.
    optimist = np.array([[1 + 2j * eta, -eta], [1j, 0]]), np.array([[2 * eta], [1]], complex)
    assert optimistic_floor(eta, STD) == pytest.approx(STD**2 * _lyapunov(*optimist)[0, 0], rel=1e-9)
    # Popov: (z, g_-) with w = z + eta g_-, g = i w + xi, z+ = z + eta g.
    popov = np.array([[1 + 1j * eta, 1j * eta**2], [1j, 1j * eta]]), np.array([[eta], [1]], complex)
    assert past_extragradient_floor(eta, STD) == pytest.approx(STD**2 * _lyapunov(*popov)[0, 0], rel=1e-9)


@pytest.mark.parametrize(("k", "alpha"), [(2, 0.3), (5, 0.5), (10, 0.8)])
def test_lookahead_floor_phase_by_phase(k, alpha):
    eta = 0.1
    mode = 1 + 1j * eta
    noise = alpha * eta * mode ** np.arange(k)[None]
    first = _lyapunov(np.array([[1 - alpha + alpha * mode**k]]), noise)[0, 0]
    phases = [first]
    for _ in range(k - 1):
        phases.append((1 + eta**2) * phases[-1] + 2 * eta**2)
    assert lookahead_floor(eta, k, alpha, synchronised=True) == pytest.approx(first, rel=1e-9)
    assert lookahead_floor(eta, k, alpha) == pytest.approx(np.mean(phases), rel=1e-9)
    assert lookahead_floor(1e-4, k, alpha) == pytest.approx(float(lookahead_floor_limit(k, alpha)), rel=1e-4)


def test_rises_end_at_their_floors():
    assert optimistic_rise(0.3, 400)[-1] == pytest.approx(float(optimistic_floor(0.3)), rel=1e-9)
    assert lookahead_rise(0.3, 5, 0.5, 400)[-1] == pytest.approx(float(lookahead_floor(0.3, 5, 0.5, synchronised=True)))
    assert optimistic_rise(0.3, 2) == pytest.approx([0, 0.18, 0.09 * 2 * (4 + abs(2j * 0.3) ** 2)], rel=1e-12)


def test_which_floors_vanish_with_the_step():
    """Looking ahead leaves 2 std^2 however small the step; a pull of the order eta leaves eta / mu std^2."""
    eta = 1e-4
    for name in ("proximal_point", "competitive", "extragradient", "past_extragradient", "optimistic"):
        assert NOISE_FLOORS[name](eta, STD) == pytest.approx(2 * STD**2, rel=1e-6)
    assert NOISE_FLOORS["lookahead"](eta, STD) == pytest.approx(2 / 3 * STD**2, rel=1e-6)
    assert NOISE_FLOORS["regularised"](eta, STD) == pytest.approx(2 * eta * STD**2, rel=1e-3)


def test_no_floor_where_the_rule_diverges():
    floors = [
        extragradient_floor([0.9, 1.1]),
        optimistic_floor([0.5, 0.6]),
        past_extragradient_floor([0.5, 0.6]),
        regularised_floor([0.7, 0.9], 0.5),
        lookahead_floor([0.1, 2.0], 5, 0.5),
    ]
    assert np.isfinite(floors).tolist() == [[True, False]] * len(floors)
    assert lookahead_floor_limit(2, 0.5) == np.inf


def test_values_by_hand():
    """eta = 1/2: EG 2 (5/4) / (3/4) = 10/3; OGDA 2 (7/4) / (1/4) = 14; mu = 1, eta = 1/2: 1 / (2 - 1) = 1."""
    assert extragradient_floor(0.5) == pytest.approx(10 / 3)
    assert optimistic_floor(0.5) == pytest.approx(14)
    assert past_extragradient_floor(0.5) == pytest.approx(6)
    assert regularised_floor(0.5, 1.0) == pytest.approx(1)
    assert simultaneous_noise(1.0, 3, 2.0) == pytest.approx(8 * 7)
