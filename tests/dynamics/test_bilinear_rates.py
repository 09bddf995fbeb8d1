"""Every row of the table of closed forms on v(a, b) = ab, against the rules themselves.

The step of a rule is linear in its parameters and its floating memory, so `update_jacobian` is its exact transition
matrix: its eigenvalues are compared with the predicted multipliers, and a long run with the predicted path. Rates are
compared relative to themselves and paths relative to where they are, never to zero: a gradient of zero passes nowhere.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from ganjax.core import Dynamics, Game, Moment, Outcome
from ganjax.dynamics import (
    alternating,
    competitive,
    consensus,
    extragradient,
    gradient_norm,
    lola,
    lookahead,
    opponent_lookahead,
    optimistic,
    past_extragradient,
    proximal_point,
    runge_kutta,
    simultaneous,
    symplectic,
    unrolled,
)
from ganjax.dynamics.field import View
from ganjax.dynamics.predictions import bilinear as theory
from ganjax.dynamics.rule import rule, settle
from ganjax.dynamics.spectrum import field_jacobian, update_jacobian
from ganjax.games import bilinear, dirac_gan
from ganjax.training import init_state, simulate

START = (0.8, -1.1)
ETAS = np.array([0.05, 0.3, 0.9])


def _sgd(eta, eta_b=None, **kwargs):
    return {"a": optax.sgd(eta, **kwargs), "b": optax.sgd(eta if eta_b is None else eta_b, **kwargs)}


def _momentum(eta, beta_a, beta_b):
    return {"a": optax.sgd(eta, momentum=beta_a), "b": optax.sgd(eta, momentum=beta_b)}


def _often(dynamics, k):
    """k steps of a dynamics as one."""

    def step(game, state, batch, key):
        return jax.lax.scan(lambda s, _: dynamics.step(game, s, batch, key), state, length=k)

    return Dynamics(dynamics.init, step)


def _eigenvalues(matrix):
    """Function of eta -> its eigenvalues."""
    return lambda eta: np.linalg.eigvals(matrix(eta))


# name -> (eta -> dynamics, eta -> predicted roots, up to conjugation)
RULES = {
    "simultaneous": (lambda eta: simultaneous(_sgd(eta)), theory.simultaneous_multiplier),
    "two_time_scales": (
        lambda eta: simultaneous(_sgd(eta, 3 * eta)),
        lambda eta: theory.two_time_scale_multiplier(eta, 3 * eta),
    ),
    "alternating": (lambda eta: alternating(_sgd(eta)), _eigenvalues(theory.alternating_matrix)),
    "alternating_b_first": (
        lambda eta: alternating(_sgd(eta), order=("b", "a")),
        _eigenvalues(theory.alternating_matrix),
    ),
    "alternating_two_time_scales": (
        lambda eta: alternating(_sgd(eta, 3 * eta)),
        _eigenvalues(lambda eta: theory.alternating_matrix(eta, 3 * eta)),
    ),
    "alternating_turns": (
        lambda eta: alternating(_sgd(eta), turns={"b": 4}),
        _eigenvalues(lambda eta: theory.turns_matrix(eta, 4)),
    ),
    "proximal_point": (lambda eta: proximal_point(eta, iterations=1), theory.proximal_multiplier),
    "competitive": (competitive, theory.competitive_multiplier),
    "extragradient": (lambda eta: extragradient(_sgd(eta)), theory.extragradient_multiplier),
    "extragradient_other_extrapolation": (
        lambda eta: extragradient(_sgd(eta), extrapolation=_sgd(0.7)),
        lambda eta: theory.extragradient_multiplier(eta, 0.7),
    ),
    "past_extragradient": (lambda eta: past_extragradient(_sgd(eta)), theory.optimistic_roots),
    "optimistic": (lambda eta: optimistic(_sgd(eta)), theory.optimistic_roots),
    "consensus": (
        lambda eta: simultaneous(_sgd(eta), adjust=consensus(1.0)),
        lambda eta: theory.consensus_multiplier(eta, 1.0),
    ),
    "consensus_weak": (
        lambda eta: simultaneous(_sgd(eta), adjust=consensus(0.4)),
        lambda eta: theory.consensus_multiplier(eta, 0.4),
    ),
    "symplectic": (
        lambda eta: simultaneous(_sgd(eta), adjust=symplectic(1.0)),
        lambda eta: theory.consensus_multiplier(eta, 1.0),
    ),
    "gradient_norm": (
        lambda eta: simultaneous(_sgd(eta), adjust=gradient_norm(0.4)),
        lambda eta: theory.consensus_multiplier(eta, 0.4),
    ),
    "opponent_lookahead": (
        lambda eta: opponent_lookahead(simultaneous(_sgd(eta)), step=eta),
        lambda eta: theory.opponent_lookahead_multiplier(eta, eta),
    ),
    "opponent_lookahead_other_step": (
        lambda eta: opponent_lookahead(simultaneous(_sgd(eta)), step=0.7),
        lambda eta: theory.opponent_lookahead_multiplier(eta, 0.7),
    ),
    "lola": (lambda eta: lola(simultaneous(_sgd(eta)), step=eta), lambda eta: theory.lola_multiplier(eta, eta)),
    "lola_other_step": (
        lambda eta: lola(simultaneous(_sgd(eta)), step=0.2),
        lambda eta: theory.lola_multiplier(eta, 0.2),
    ),
    "unrolled": (
        lambda eta: unrolled(simultaneous(_sgd(eta)), player="a", steps=1, step=eta),
        _eigenvalues(lambda eta: theory.unrolled_matrix(eta, 1, eta)),
    ),
    "unrolled_three": (
        lambda eta: unrolled(simultaneous(_sgd(eta)), player="a", steps=3, step=0.2),
        _eigenvalues(lambda eta: theory.unrolled_matrix(eta, 3, 0.2)),
    ),
    "unrolled_stopped": (
        lambda eta: unrolled(simultaneous(_sgd(eta)), player="a", steps=3, step=0.2, backpropagate=False),
        _eigenvalues(lambda eta: theory.unrolled_matrix(eta, 3, 0.2, backpropagate=False)),
    ),
    "heavy_ball": (
        lambda eta: simultaneous(_momentum(eta, 0.5, 0.5)),
        lambda eta: theory.heavy_ball_roots(eta, 0.5),
    ),
    "negative_momentum": (
        lambda eta: alternating(_momentum(eta, -0.5, -0.5)),
        lambda eta: theory.alternating_momentum_roots(eta, -0.5, -0.5),
    ),
    "negative_momentum_of_a": (
        lambda eta: alternating(_momentum(eta, -0.5, 0.0)),
        lambda eta: theory.alternating_momentum_roots(eta, -0.5, 0.0),
    ),
    "alternating_momentum_b_first": (
        lambda eta: alternating(_momentum(eta, -0.3, 0.2), order=("b", "a")),
        lambda eta: theory.alternating_momentum_roots(eta, -0.3, 0.2),
    ),
    **{
        f"runge_kutta_{order}": (
            lambda eta, order=order: runge_kutta(_sgd(eta), step=eta, order=order),
            lambda eta, order=order: theory.runge_kutta_multiplier(eta, order),
        )
        for order in (1, 2, 3, 4)
    },
    # Five steps at once. The slow weights forget what they were: a superfluous eigenvalue 0 of each player.
    "lookahead": (
        lambda eta: _often(lookahead(simultaneous(_sgd(eta)), k=5, alpha=0.5), 5),
        lambda eta: theory.lookahead_multiplier(theory.simultaneous_multiplier(eta), 5, 0.5),
    ),
    "lookahead_extragradient": (
        lambda eta: _often(lookahead(extragradient(_sgd(eta)), k=3, alpha=0.4), 3),
        lambda eta: theory.lookahead_multiplier(theory.extragradient_multiplier(eta), 3, 0.4),
    ),
}
STEPS_AT_ONCE = {"lookahead": 5, "lookahead_extragradient": 3}
SUPERFLUOUS_ZEROS = {"lookahead": 2, "lookahead_extragradient": 2}


def _batch(name):
    """Something to cut into turns."""
    return jnp.zeros(5) if name == "alternating_turns" else None


def _transition(dynamics, game=None, batch=None, warm=3):
    """The transition matrix of one step after `warm` steps from START, and the state there."""
    game = bilinear(start=START) if game is None else game
    state, _ = simulate(game, dynamics, warm, batch=batch, keep=None)
    return update_jacobian(game, dynamics, state, batch, jax.random.key(1)), state.params


@cache
def _compiled(name, what):
    """A function of four step sizes for a rule of the table."""
    return jax.jit(jax.vmap(lambda eta: what(RULES[name][0](eta), batch=_batch(name))))


def _of_sizes(name, etas, what=None):
    """The transition matrices and where they are taken, or else the paths, at up to four step sizes."""
    four = np.resize(np.asarray(etas, float), 4)
    found = _compiled(name, what or _transition)(four)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(etas)], found)


def _long(dynamics, batch):
    return _path(dynamics, 1000, batch=batch)


def _path(dynamics, steps, game=None, batch=None):
    """z = a + ib at every step, [T + 1]."""
    _, path = simulate(bilinear(start=START) if game is None else game, dynamics, steps, batch=batch)
    return path["a"] + 1j * path["b"]


def _check_eigenvalues(matrix, roots, zeros=0):
    """Each root and its conjugate is an eigenvalue, the others are `zeros` zeros, and the radii agree."""
    values = np.linalg.eigvals(np.asarray(matrix))
    roots = np.ravel(roots)
    roots = np.concatenate([roots, roots.conj()])
    gaps = np.abs(values[:, None] - roots[None, :])
    assert gaps.min(0).max() < 1e-9, f"predicted {roots}, got {values}"
    unexplained = np.abs(values[gaps.min(1) > 1e-9])
    assert unexplained.size == zeros and np.all(unexplained < 1e-9), f"predicted {roots}, got {values}"
    np.testing.assert_allclose(np.abs(values).max(), np.abs(roots).max(), rtol=1e-9)


def _alive(z):
    """Before z is among the denormal numbers, or ab overflows and the steps are rejected."""
    size = np.abs(z)
    alive = np.cumprod((size > 1e-250) & (size < 1e150)).astype(bool)
    assert alive.sum() > 100
    return alive


def _check_path(z, roots):
    """z_t is what its first values and the recursion with these roots make of it, to 1e-9 of its size at each time."""
    polynomial = np.poly(np.ravel(roots))  # l^n + c_1 l^(n-1) + ...: z_t = -c_1 z_(t-1) - ...
    memory = len(polynomial) - 1
    assert np.all(np.abs(np.diff(z[:10])) > 1e-3 * np.abs(z[:9])), "it does not move"
    expected = list(z[:memory])
    for _ in range(len(z) - memory):
        expected.append(-np.dot(polynomial[1:], expected[: -memory - 1 : -1]))
    alive = _alive(z)
    assert np.max(np.abs(z - expected)[alive] / np.abs(z)[alive]) < 1e-9


@pytest.mark.parametrize("name", RULES)
def test_the_step_has_the_predicted_eigenvalues(name, float64):
    _, roots = RULES[name]
    if name in theory.RATES:
        assert theory.RATES[name](ETAS).shape == (3,)
    matrices, where = _of_sizes(name, ETAS)
    assert np.all(np.abs(np.asarray(where["a"]) - START[0]) > 1e-2), "it does not move"
    for eta, matrix in zip(ETAS, matrices, strict=True):
        _check_eigenvalues(matrix, roots(eta), SUPERFLUOUS_ZEROS.get(name, 0))
        if name in theory.RATES:
            measured = np.abs(np.linalg.eigvals(matrix)).max() ** (1 / STEPS_AT_ONCE.get(name, 1))
            np.testing.assert_allclose(theory.RATES[name](eta), measured, rtol=1e-9)


def test_every_rate_of_the_figure_is_tested():
    assert set(theory.RATES) <= set(RULES)
    assert set(theory.STABLE_UNTIL) <= set(theory.RATES) and set(theory.BEST_STEP) <= set(theory.RATES)


# Rules whose matrix commutes with rotations, so that z is a sum of powers of its roots.
EQUIVARIANT = [
    name for name in RULES if not any(part in name for part in ("time_scale", "alternating", "unrolled", "negative"))
]


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_a_long_run_follows_the_powers_of_the_multiplier(name, float64):
    _, roots = RULES[name]
    for eta, z in zip(ETAS, _of_sizes(name, ETAS, _long), strict=True):
        assert z[0] == complex(*START)
        _check_path(z, roots(eta))
        if np.size(roots(eta)) == 1:  # a multiple of a rotation: the norm changes by the same factor in every step
            norms = np.abs(z[_alive(z)])
            np.testing.assert_allclose(norms[1:] / norms[:-1], np.abs(roots(eta)), rtol=1e-9)
        else:  # from rest: the first step is the one of plain play
            np.testing.assert_allclose(z[1], (1 + 1j * eta) * z[0], rtol=1e-12)


@pytest.mark.parametrize(
    "name, matrix",
    [
        ("alternating", theory.alternating_matrix),
        ("alternating_two_time_scales", lambda eta: theory.alternating_matrix(eta, 3 * eta)),
        ("alternating_turns", lambda eta: theory.turns_matrix(eta, 4)),
        ("unrolled", lambda eta: theory.unrolled_matrix(eta, 1, eta)),
        ("unrolled_three", lambda eta: theory.unrolled_matrix(eta, 3, 0.2)),
        ("unrolled_stopped", lambda eta: theory.unrolled_matrix(eta, 3, 0.2, backpropagate=False)),
    ],
)
def test_rules_that_treat_the_players_differently_have_this_matrix(name, matrix, float64):
    for eta, measured in zip(ETAS, _of_sizes(name, ETAS)[0], strict=True):
        np.testing.assert_allclose(measured, matrix(eta), rtol=1e-10)
    etas = ETAS[:2] / 2
    for eta, z in zip(etas, _of_sizes(name, etas, _long), strict=True):
        point, step = np.array(START), matrix(eta)
        for got in z:
            assert abs(got - complex(*point)) < 1e-9 * np.hypot(*point)
            point = step @ point


# -- invariants -------------------------------------------------------------------------------------------------------


def test_invariants_are_conserved_over_a_hundred_thousand_steps(float64):
    """a^2 + b^2 -+ eta a b of the two orders; eta_b a^2 + eta_a b^2 - eta_a eta_b a b of two time scales."""

    def runs(eta_a, eta_b):
        return (
            _path(alternating(_sgd(eta_a)), 100_000),
            _path(alternating(_sgd(eta_a), order=("b", "a")), 100_000),
            _path(alternating(_sgd(eta_a, eta_b)), 100_000),
        )

    pairs = np.array([[0.05, 0.2], [0.3, 1.1], [0.9, 2.5]])
    for (eta_a, eta_b), *paths in zip(pairs, *jax.jit(jax.vmap(runs))(*pairs.T), strict=True):
        first, second, scales = (np.asarray(z) for z in paths)
        a_first = theory.alternating_invariant(first.real, first.imag, eta_a)
        b_first = theory.alternating_invariant(second.real, second.imag, eta_a, a_first=False)
        two = theory.two_time_scale_invariant(scales.real, scales.imag, eta_a, eta_b)
        for values in (a_first, b_first, two):
            np.testing.assert_allclose(values, values[0], rtol=1e-10)
        # What is conserved is not the norm, nor the other order's form, by far more than the tolerance.
        assert np.ptp(np.abs(first)) > 0.01 and np.ptp(np.abs(scales)) > 0.01
        wrong = theory.alternating_invariant(first.real, first.imag, eta_a, a_first=False)
        assert np.ptp(wrong) > eta_a


def test_two_time_scales_multiply_their_energy(float64):
    """eta_b a^2 + eta_a b^2 grows by exactly 1 + eta_a eta_b: no ratio of step sizes makes this game converge."""
    z = np.asarray(jax.jit(lambda: _path(simultaneous(_sgd(0.05, 0.6)), 1000))())
    energy = theory.weighted_energy(z.real, z.imag, 0.05, 0.6)
    np.testing.assert_allclose(energy[1:] / energy[:-1], 1.03, rtol=1e-12)


def test_alternating_play_beyond_its_bound(float64):
    """eta > 2: ((eta^2 - 2) + eta sqrt(eta^2 - 4)) / 2; two time scales are bounded iff eta_a eta_b < 4."""
    np.testing.assert_allclose(theory.RATES["alternating"](2.5), (4.25 + 2.5 * 1.5) / 2, rtol=1e-12)
    etas = np.array([[0.5, 7.9], [0.5, 8.1]])
    matrices = jax.jit(jax.vmap(lambda a, b: _transition(alternating(_sgd(a, b)))[0]))(*etas.T)
    inside, outside = np.abs(np.linalg.eigvals(matrices)).max(-1)
    np.testing.assert_allclose(inside, 1, rtol=1e-9)
    assert outside > 1.1


# -- limits, best steps, small steps ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", theory.STABLE_UNTIL)
def test_the_rule_is_stable_just_below_its_limit_and_not_above(name, float64):
    limit = theory.STABLE_UNTIL[name]
    if np.isinf(limit):
        etas, stable = np.array([0.01, 1.0, 100.0]), [True] * 3
    elif limit == 0:
        etas, stable = np.array([0.01, 0.1, 1.0]), [False] * 3
    else:
        etas, stable = limit * np.array([0.02, 0.5, 0.999, 1.001]), [True] * 3 + [False]
    radii = np.abs(np.linalg.eigvals(_of_sizes(name, etas)[0])).max(-1)
    if name == "alternating":
        np.testing.assert_allclose(radii, 1, rtol=1e-9)
        return
    assert list(radii < 1) == stable
    np.testing.assert_array_less(1e-10, np.abs(radii - 1), err_msg="by more than rounding")
    if 0 < limit < np.inf:
        assert np.all(theory.RATES[name](limit * np.linspace(0.02, 0.999, 200)) < 1), "without a gap below"


@cache
def _damped():
    """Function of step sizes and of as many gammas -> the transition matrices of each damped rule."""

    def matrices(eta, gamma):
        game, plain = bilinear(start=START), simultaneous(_sgd(eta))
        rules = [
            (simultaneous(_sgd(eta), adjust=consensus(gamma)), game),
            (simultaneous(_sgd(eta), adjust=symplectic(gamma)), game),
            (extragradient(_sgd(eta), extrapolation=_sgd(gamma)), game),
            (lola(plain, step=gamma / 2), game),
            (opponent_lookahead(plain, step=gamma), game),
            (plain, bilinear(start=START, mu=gamma)),
        ]
        return [_transition(rule, game)[0] for rule, game in rules]

    return jax.jit(jax.vmap(matrices))


@pytest.mark.parametrize("gamma", [0.1, 0.7, 2.0])
def test_the_limit_and_the_best_step_of_damped_rules(gamma, float64):
    """|1 - eta gamma + i eta| < 1 iff eta < 2 gamma / (1 + gamma^2); half of it gives 1 / sqrt(1 + gamma^2)."""
    etas = theory.damped_limit(gamma) * np.array([0.5, 0.999, 1.001])
    for matrices in _damped()(etas, np.full(3, gamma)):
        best, below, above = np.abs(np.linalg.eigvals(matrices)).max(-1)
        np.testing.assert_allclose(best, 1 / np.sqrt(1 + gamma**2), rtol=1e-9)
        assert below < 1 - 1e-6 and above > 1 + 1e-6


@pytest.mark.parametrize("name", theory.BEST_STEP)
def test_the_best_step(name, float64):
    """Rate of the rule at the best step, and no better one on a fine grid of the closed form."""
    eta, rate = theory.BEST_STEP[name]
    measured = np.abs(np.linalg.eigvals(_of_sizes(name, [eta])[0])).max()
    # Where roots meet (all but the normal ones do at their best) rounding enters by its square root.
    np.testing.assert_allclose(measured, rate, rtol=1e-6, atol=3e-6 if rate == 0 else 0)
    grid = theory.RATES[name](eta * np.linspace(0.01, 3, 3000))
    assert grid.min() > rate - 1e-7
    np.testing.assert_allclose(grid.min(), rate, atol=0.06 if rate == 0 else 0.02)


def test_published_moduli_agree_with_the_multipliers():
    """The real forms of the table, for every eta at once."""
    eta = np.linspace(0.001, 3, 500)
    rate, s = theory.RATES, np.sqrt
    np.testing.assert_allclose(rate["simultaneous"](eta), s(1 + eta**2), rtol=1e-12)
    np.testing.assert_allclose(rate["proximal_point"](eta), 1 / s(1 + eta**2), rtol=1e-12)
    np.testing.assert_allclose(rate["extragradient"](eta), s(1 - eta**2 + eta**4), rtol=1e-12)
    np.testing.assert_allclose(rate["lola"](eta), s(1 - 3 * eta**2 + 4 * eta**4), rtol=1e-12)
    np.testing.assert_allclose(rate["runge_kutta_2"](eta), s(1 + eta**4 / 4), rtol=1e-12)
    np.testing.assert_allclose(rate["runge_kutta_3"](eta), s(1 - eta**4 / 12 + eta**6 / 36), rtol=1e-12)
    np.testing.assert_allclose(rate["runge_kutta_4"](eta), s(1 - eta**6 / 72 + eta**8 / 576), rtol=1e-12)
    small = eta <= 0.5
    root = np.where(small, 0, s(np.abs(4 * eta**2 - 1)))
    optimistic_form = np.where(small, s((1 + s(np.maximum(0, 1 - 4 * eta**2))) / 2), s(1 / 4 + (eta + root / 2) ** 2))
    np.testing.assert_allclose(rate["optimistic"](eta), optimistic_form, rtol=1e-12)
    grows = np.maximum(eta, 2)
    expected = ((grows**2 - 2) + grows * s(grows**2 - 4)) / 2
    np.testing.assert_allclose(rate["alternating"](eta), expected, rtol=1e-7)  # a double root at 2
    # Unrolled, complex case: the determinant.
    for k in (1, 2, 5):
        e = 0.9 / k
        for through, pull in ((True, 2 * k - 1), (False, k - 1)):
            roots = np.linalg.eigvals(theory.unrolled_matrix(e, k, e, backpropagate=through))
            np.testing.assert_allclose(np.abs(roots), s(1 - pull * e**2), rtol=1e-12)
    # In continuous time the unrolled field has the eigenvalues -K u +- sqrt(K^2 u^2 - 1).
    field = (theory.unrolled_matrix(1e-6, 3, 0.5) - np.eye(2)) / 1e-6
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(field)), -1.5 + s(1.25) * np.array([-1, 1]), rtol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_limit_of_unrolling(k, float64):
    """u = eta, backpropagation: a root passes -1 at eta = 2 / sqrt(4 K - 1), beyond the 1 / K where roots turn real."""
    etas = jnp.asarray(2 / np.sqrt(4 * k - 1) * np.array([0.5, 0.999, 1.001]))

    def matrix(eta):
        return _transition(unrolled(simultaneous(_sgd(eta)), player="a", steps=k, step=eta))[0]

    radii = np.abs(np.linalg.eigvals(jax.jit(jax.vmap(matrix))(etas))).max(-1)
    assert list(radii < 1) == [True, True, False]


def test_simultaneous_heavy_ball_never_converges(float64):
    etas, betas = np.geomspace(1e-3, 3, 25), np.linspace(-0.98, 0.98, 41)
    predicted = np.abs(theory.heavy_ball_roots(etas[:, None], betas[None, :])).max(-1)
    assert predicted.min() > 1 + 1e-9

    def matrix(eta, beta):
        return _transition(simultaneous(_momentum(eta, beta, beta)))[0]

    grid = jax.jit(jax.vmap(jax.vmap(matrix, (None, 0)), (0, None)))(jnp.asarray(etas), jnp.asarray(betas))
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(grid)).max(-1), predicted, rtol=1e-9)


def test_alternating_momentum_converges_iff_the_sum_is_below_twice_the_product(float64):
    """Small step: `beta_a + beta_b < 2 beta_a beta_b`, and then `1 - rho = eta^2 (2 p - s) / (2 p^2)`."""
    eta, betas = 0.01, np.linspace(-0.85, 0.85, 18)  # no pair lies on the border, (0, 0) is not among them
    beta_a, beta_b = np.meshgrid(betas, betas, indexing="ij")

    def matrix(a, b):
        return _transition(alternating(_momentum(eta, a, b)))[0]

    grid = jax.jit(jax.vmap(jax.vmap(matrix)))(jnp.asarray(beta_a), jnp.asarray(beta_b))
    radii = np.abs(np.linalg.eigvals(grid)).max(-1)
    margin = 2 * beta_a * beta_b - beta_a - beta_b
    clear = np.abs(margin) > 0.02
    converges = theory.alternating_momentum_converges(beta_a, beta_b)
    assert clear.sum() > 300 and 50 < converges[clear].sum() < 274
    np.testing.assert_array_equal((radii < 1)[clear], converges[clear])
    p, s = (1 - beta_a) * (1 - beta_b), 2 - beta_a - beta_b
    slow = clear & (p > 0.3)  # where eta^2 / p^2 is small
    np.testing.assert_allclose(((1 - radii) / eta**2)[slow], ((2 * p - s) / (2 * p**2))[slow], rtol=0.02, atol=2e-3)


@pytest.mark.parametrize(
    "betas, curvature, flip", [((-0.5, 0.0), 1 / 9, np.sqrt(2)), ((-0.5, -0.5), 4 / 27, 1.0), ((0.0, 0.0), 0.0, 2.0)]
)
def test_known_pairs_of_momenta(betas, curvature, flip, float64):
    np.testing.assert_allclose(theory.alternating_momentum_flip(*betas), flip, rtol=1e-12)
    etas = jnp.asarray([0.01, flip])
    matrices = jax.jit(jax.vmap(lambda eta: _transition(alternating(_momentum(eta, *betas)))[0]))(etas)
    radius = np.abs(np.linalg.eigvals(matrices[0])).max()
    np.testing.assert_allclose((1 - radius) / 1e-4, curvature, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(np.linalg.eigvals(matrices[1]).real.min(), -1, rtol=1e-6)


def test_the_best_step_of_one_momentum_is_exact():
    """The table's .7939 at 1.225 is 2^(-1/3) at sqrt(3/2), as far as a grid sees it.

    With (-1/2, 0) one root is 0 and the others solve `l^3 + (eta^2 - 3/2) l^2 + 1/2`; at `eta^2 = 3/2` it is
    `l^3 = -1/2`, and since the product of the three has the modulus 1/2, no largest one can be smaller.
    """
    roots = np.sort(np.abs(theory.alternating_momentum_roots(np.sqrt(1.5), -0.5, 0.0)))
    np.testing.assert_allclose(roots, [0, *[2 ** (-1 / 3)] * 3], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(theory.RATES["negative_momentum_of_a"](1.225), 0.7939, atol=2e-4)


def test_lookahead_contracts_iff_alpha_is_below_one_minus_one_over_k(float64):
    eta, ks, alphas = 0.02, (2, 3, 5, 10), np.linspace(0.05, 0.95, 10)
    for k in ks:

        def matrix(alpha, k=k):
            return _transition(_often(lookahead(simultaneous(_sgd(eta)), k=k, alpha=alpha), k))[0]

        radii = np.abs(np.linalg.eigvals(jax.jit(jax.vmap(matrix))(jnp.asarray(alphas)))).max(-1)
        predicted = np.abs(theory.lookahead_multiplier(1 + 1j * eta, k, alphas))
        np.testing.assert_allclose(radii, predicted, rtol=1e-9)
        off = np.abs(alphas - (1 - 1 / k)) > 0.03
        np.testing.assert_array_equal((radii < 1)[off], (alphas < 1 - 1 / k)[off])
        curvature = alphas * k * (k - 1 - alphas * k) / 2
        np.testing.assert_allclose((1 - radii) / eta**2, curvature, atol=0.02 * k**2)


def test_lookahead_of_two_with_one_half_expands(float64):
    """|lambda|^2 = 1 + eta^4 / 4 in two steps: on the border alpha = 1 - 1/k the fourth order decides."""
    dynamics = _often(lookahead(simultaneous(_sgd(0.3)), k=2, alpha=0.5), 2)
    radius = np.abs(np.linalg.eigvals(jax.jit(lambda: _transition(dynamics)[0])())).max()
    np.testing.assert_allclose(radius**2, 1 + 0.3**4 / 4, rtol=1e-9)


# -- flows ------------------------------------------------------------------------------------------------------------


def test_the_flows_that_the_rules_follow():
    from scipy.linalg import expm

    eta = np.array([0.01, 0.3, 1.2])
    drift = theory.simultaneous_drift(eta)
    np.testing.assert_allclose(np.exp(eta * drift), theory.simultaneous_multiplier(eta), rtol=1e-12)
    np.testing.assert_allclose(drift.real, np.log(1 + eta**2) / (2 * eta), rtol=1e-12)
    np.testing.assert_allclose(drift.imag, np.arctan(eta) / eta, rtol=1e-12)
    np.testing.assert_allclose(drift[0].real, 0.01 / 2, rtol=1e-4)
    for e in (0.1, 1.0, 1.9):
        generator = theory.alternating_generator(e)
        np.testing.assert_allclose(expm(e * generator), theory.alternating_matrix(e), rtol=1e-11, atol=1e-12)
        assert np.trace(generator) == 0


# -- matrix games and equal rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["simultaneous", "alternating", "extragradient", "optimistic", "competitive", "lola"])
def test_a_matrix_game_has_the_rate_of_its_worst_singular_value(name, float64):
    rng = np.random.default_rng(0)
    turn_a, turn_b = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in "ab")
    sigmas, eta = np.array([2.2, 0.7, 0.1]), 0.25
    make, roots = RULES[name]
    # LOLA's 1 - 2 eta alpha sigma^2 + i eta sigma is that of alpha = eta with both steps multiplied by sigma.
    game = bilinear(turn_a @ np.diag(sigmas) @ turn_b.T, start=START)
    matrix = jax.jit(lambda: _transition(make(eta), game)[0])()
    expected = np.concatenate([np.ravel(roots(eta * sigma)) for sigma in sigmas])
    _check_eigenvalues(matrix, expected)
    np.testing.assert_allclose(
        np.abs(np.linalg.eigvals(matrix)).max(), theory.RATES[name](eta * sigmas).max(), rtol=1e-9
    )


def test_a_rectangular_matrix_leaves_its_null_directions_alone(float64):
    """3 x 2: two turning planes and one direction of a that b cannot reach, with the multiplier 1."""
    game = bilinear(np.array([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]]), start=START)
    matrix = jax.jit(lambda: _transition(extragradient(_sgd(0.4)), game)[0])()
    _check_eigenvalues(matrix, [*theory.extragradient_multiplier([0.8, 0.2]), 1])


def test_rules_that_are_the_same_here(float64):
    """PP = CGD; opponent look-ahead = EG; the linearised CGD = EG; Popov's path = OGDA's.

    Popov: `w_t = 2 theta_t - theta_(t-1)` since `theta_t - theta_(t-1) = i eta w_(t-1)`, hence
    `theta_(t+1) = theta_t + i eta (2 theta_t - theta_(t-1))`, OGDA; both begin with `theta_1 = (1 + i eta) theta_0`.
    """

    def path(name):
        return _of_sizes(name, [0.4], _long)[0, :201]

    for left, right in [
        ("proximal_point", "competitive"),
        ("opponent_lookahead", "extragradient"),
        ("past_extragradient", "optimistic"),
    ]:
        one, other = path(left), path(right)
        assert np.abs(one[1] - one[0]) > 0.1
        assert np.max(np.abs(one - other) / np.abs(one)) < 1e-9, (left, right)
    # The linearised CGD, theta - eta v + eta^2 A v: (I - eta A) in the place of (I + eta A)^-1.
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # A of ab
    lcgd = np.eye(2) - 0.4 * (np.eye(2) - 0.4 * turn) @ turn
    _check_eigenvalues(lcgd, theory.extragradient_multiplier(0.4))


def test_conjugate_gradients_solve_the_competitive_step(float64):
    """To the tolerance, on a random matrix game and on a game that is not zero-sum; and loosely if it is loose."""
    rng = np.random.default_rng(1)
    starts = tuple(rng.normal(size=n) for n in (4, 3))
    games = [
        (bilinear(rng.normal(size=(4, 3)), start=starts), {"a": 0.7, "b": 0.4}),
        (dirac_gan(non_saturating=True, start=(0.8, -1.3)), 0.9),
    ]
    for game, eta in games:

        def moved(tolerance, game=game, eta=eta):
            dynamics = competitive(eta, tolerance=tolerance, iterations=50)

            @jax.jit
            def step():
                start = init_state(game, dynamics, jax.random.key(0), None)
                state, metrics = dynamics.step(game, start, None, jax.random.key(0))
                return ravel_pytree(jax.tree.map(jnp.subtract, state.params, start.params))[0], metrics["residual"]

            return map(np.asarray, step())

        exact, residual = moved(None)
        assert np.linalg.norm(exact) > 0.1 and residual < 1e-14
        close, residual = moved(1e-10)
        assert residual < 1e-9
        np.testing.assert_allclose(close, exact, rtol=0, atol=1e-9 * np.linalg.norm(exact))
        np.testing.assert_allclose(exact, _competitive_by_definition(game, eta), rtol=1e-10, atol=1e-13)


def _competitive_by_definition(game, eta):
    """d of (I + eta A) d = -eta v, A the Jacobian of v without its diagonal blocks; players sorted by name."""
    params, net_state = game.init(jax.random.key(0), None)
    view = View(game, Moment(net_state, None, jax.random.key(0)))
    owner, rates = (
        np.concatenate([np.full(x.size, value(p, i), float) for i, (p, x) in enumerate(sorted(params.items()))])
        for value in (lambda p, i: i, lambda p, i: eta[p] if isinstance(eta, dict) else eta)
    )
    v, jacobian = jax.jit(lambda p: (ravel_pytree(view.field(p).gradients)[0], field_jacobian(view, p)))(params)
    mixed = np.where(owner[:, None] == owner[None, :], 0, jacobian)
    return -np.linalg.solve(np.eye(v.size) + rates[:, None] * mixed, rates * np.asarray(v))


# -- faults of public code, which these checks find -------------------------------------------------------------------


@pytest.mark.fault("Variational-Inequality-GAN: OMD keeps its last gradient by reference")
def test_an_optimistic_step_that_is_simultaneous_play_in_disguise_is_found(float64):
    """A public OMD keeps the last gradient by reference: zeroed in place and filled again, "last" is the present one.

    `2 g - g = g`: at eta = .3 its rate is 1.04403, and not .94868.
    """

    def by_reference():
        def update(gradient, state, params=None):
            last = gradient  # the reference sees what is written into it
            return jax.tree.map(lambda g, h: -0.3 * (2 * g - h), gradient, last), gradient

        return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)

    wrong = simultaneous({"a": by_reference(), "b": by_reference()})
    right = optimistic(_sgd(0.3))
    rules = {"w": wrong, "r": right}
    matrices = {name: np.asarray(jax.jit(lambda d=d: _transition(d)[0])()) for name, d in rules.items()}
    radii = {name: np.abs(np.linalg.eigvals(matrix)).max() for name, matrix in matrices.items()}
    assert (round(radii["w"], 5), round(radii["r"], 5)) == (1.04403, 0.94868)
    _check_eigenvalues(matrices["r"], theory.optimistic_roots(0.3))
    with pytest.raises(AssertionError, match="predicted"):
        _check_eigenvalues(matrices["w"], theory.optimistic_roots(0.3))
    with pytest.raises(AssertionError):
        _check_path(np.asarray(_path(wrong, 300)), theory.optimistic_roots(0.3))


@pytest.mark.fault("Runge-Kutta with the other player frozen is Euler's method")
def test_a_runge_kutta_of_each_player_alone_is_found(float64):
    """With the other frozen the field of ab is constant in the own parameter: every order is Euler's method.

    Its rate is sqrt(1 + eta^2) instead of sqrt(1 + eta^4 / 4).
    """

    def move(look, state):
        here, params = look(state.params), {}
        for player, theta in state.params.items():
            middle = {**state.params, player: theta - 0.3 * here.gradients[player]}
            slope = (here.gradients[player] + look(middle).gradients[player]) / 2
            params[player] = theta - 0.3 * slope
        return settle(state, params, here), here.metrics

    matrix = np.asarray(jax.jit(lambda: _transition(rule(None, move))[0])())
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(matrix)).max(), np.sqrt(1 + 0.09), rtol=1e-9)
    with pytest.raises(AssertionError, match="predicted"):
        _check_eigenvalues(matrix, theory.runge_kutta_multiplier(0.3, 2))
    joint = jax.jit(lambda: _transition(runge_kutta(_sgd(0.3), step=0.3, order=2))[0])()
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(joint)).max(), np.sqrt(1 + 0.3**4 / 4), rtol=1e-9)


@pytest.mark.fault("discretisation_drift: half of the assertions pass with a gradient of zero")
def test_a_gradient_of_zero_is_found(float64):
    """A public test of such a game passes for half of its assertions with a gradient of zero; ours for none."""
    still = Game(
        bilinear(start=START).init,
        {p: lambda params, moment: (jnp.zeros(()), Outcome({}, {})) for p in ("a", "b")},
    )
    dynamics = simultaneous(_sgd(0.3))
    matrix, _ = jax.jit(lambda: _transition(dynamics, still))()
    with pytest.raises(AssertionError, match="predicted"):
        _check_eigenvalues(matrix, theory.simultaneous_multiplier(0.3))
    z = np.asarray(_path(dynamics, 300, still))
    with pytest.raises(AssertionError, match="does not move"):
        _check_path(z, theory.simultaneous_multiplier(0.3))
    with pytest.raises(AssertionError, match="does not move"):
        _check_path(z, 1.0)  # not even if the prediction were "nothing happens"
