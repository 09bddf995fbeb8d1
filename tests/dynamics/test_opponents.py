"""Rules about the opponent: anticipated gradients, histories, growth laws, fictitious play and constraints."""

from collections import deque
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import linprog

from ganjax.core import plain
from ganjax.dynamics import (
    against_average,
    alternating,
    clipped,
    corner,
    ema,
    extragradient,
    fictitious_play,
    history_of_opponents,
    lola,
    opponent_lookahead,
    projected,
    simultaneous,
    unrolled,
    vertex,
)
from ganjax.dynamics.predictions import average_opponent_flow, ema_opponent_exponents
from ganjax.dynamics.spectrum import update_jacobian
from ganjax.games import bilinear, dirac_gan, duality_gap, matrix_game
from ganjax.training import init_state, simulate

KEY = jax.random.key(0)
START = {"a": np.array([0.7, -0.4]), "b": np.array([1.1])}
OTHER = {"a": "b", "b": "a"}

# A nonlinear game of three parameters that is not zero-sum, and its gradients by hand, by whom they move.
COSTS = {
    "a": lambda a, b: jnp.sin(a[0] * b[0]) + 0.3 * a[1] * b[0] ** 2 + 0.5 * a[0] * a[1],
    "b": lambda a, b: jnp.cos(a[1] * b[0]) - a[0] * b[0] + 0.2 * a[0] * b[0] ** 3,
}
GRADIENTS = {
    "a": lambda a, b: np.array(
        [b[0] * np.cos(a[0] * b[0]) + 0.5 * a[1], 0.3 * b[0] ** 2 + 0.5 * a[0]],
    ),
    "b": lambda a, b: np.array([-a[1] * np.sin(a[1] * b[0]) - a[0] + 0.6 * a[0] * b[0] ** 2]),
}


def _game():
    start = {p: jnp.asarray(x) for p, x in START.items()}
    return plain(start, {p: lambda params, p=p: COSTS[p](params["a"], params["b"]) for p in "ab"})


def _sgd(eta, players=("a", "b")):
    return {player: optax.sgd(eta) for player in players}


def _run(game, dynamics, steps, keep=lambda state: state.params):
    return jax.jit(lambda: simulate(game, dynamics, steps, keep=keep))()[1]


def _moves(dynamics, game=None):
    """What a step of size 1 subtracts at the start: the gradients that the players descend."""
    path = _run(_game() if game is None else game, dynamics, 1)
    return {p: np.asarray(x[0] - x[1]) for p, x in path.items()}


def _anticipated(player, theta, own, steps, u, opponent=None):
    """The player's cost at `own` after its opponent's steps; from its place `theta`, or facing `opponent` as given."""
    if opponent is None:
        opponent = theta[OTHER[player]]
        for _ in range(steps):
            opponent = opponent - u * GRADIENTS[OTHER[player]](**{player: own, OTHER[player]: opponent})
    return float(COSTS[player](**{player: own, OTHER[player]: opponent}))


def _expected(player, steps, u, through):
    """Central differences of the anticipated cost; with the opponent's end held fixed unless `through`."""
    own, fixed, h = START[player], None, 1e-5
    if not through:
        fixed = START[OTHER[player]]
        for _ in range(steps):
            fixed = fixed - u * GRADIENTS[OTHER[player]](**{player: own, OTHER[player]: fixed})

    def cost(at):
        return _anticipated(player, START, at, steps, u, fixed)

    return np.array([(cost(own + h * e) - cost(own - h * e)) / (2 * h) for e in np.eye(own.size)])


def test_the_gradients_by_hand_are_the_gradients(float64):
    for player, moved in _moves(simultaneous(_sgd(1.0))).items():
        np.testing.assert_allclose(moved, GRADIENTS[player](**START), rtol=1e-12)


@pytest.mark.parametrize("through", [True, False])
def test_one_step_of_the_opponents_on_a_nonlinear_game(through, float64):
    rule = lola if through else opponent_lookahead
    steps = {"a": 0.7, "b": 0.3}  # keyed by the opponent that steps
    for player, moved in _moves(rule(simultaneous(_sgd(1.0)), step=steps)).items():
        expected = _expected(player, 1, steps[OTHER[player]], through)
        np.testing.assert_allclose(moved, expected, rtol=1e-7)
        assert np.abs(expected - GRADIENTS[player](**START)).max() > 0.02, "the anticipation matters"
        assert np.abs(expected - _expected(player, 1, steps[OTHER[player]], not through)).max() > 0.01


@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("player", ["a", "b"])
def test_unrolling_a_nonlinear_game(player, through, float64):
    dynamics = unrolled(simultaneous(_sgd(1.0)), player=player, steps=3, step=0.2, backpropagate=through)
    moved = _moves(dynamics)
    np.testing.assert_allclose(moved[player], _expected(player, 3, 0.2, through), rtol=1e-7)
    np.testing.assert_allclose(moved[OTHER[player]], GRADIENTS[OTHER[player]](**START), rtol=1e-12)
    assert np.abs(_expected(player, 3, 0.2, True) - _expected(player, 3, 0.2, False)).max() > 0.02


def test_anticipation_on_the_bilinear_game_by_hand(float64):
    """a faces b + alpha a, b faces a - beta b; the derivative of the opponent's step doubles the own part."""
    game, (a, b) = bilinear(start=(0.8, -1.1)), (0.8, -1.1)
    alpha, beta = 0.3, 0.7  # b's step and a's, as their opponents see them
    step = {"a": beta, "b": alpha}
    cases = [
        (lola, {"a": b + 2 * alpha * a, "b": -a + 2 * beta * b}),
        (opponent_lookahead, {"a": b + alpha * a, "b": -a + beta * b}),
    ]
    for rule, expected in cases:
        moved = _moves(rule(simultaneous(_sgd(1.0)), step=step), game)
        np.testing.assert_allclose([moved["a"], moved["b"]], [expected["a"], expected["b"]], rtol=1e-12)
    for through, factor in ((True, 2), (False, 1)):
        dynamics = unrolled(simultaneous(_sgd(1.0)), player="a", steps=5, step=alpha, backpropagate=through)
        moved = _moves(dynamics, game)
        np.testing.assert_allclose([moved["a"], moved["b"]], [b + factor * 5 * alpha * a, -a], rtol=1e-12)


def test_unrolling_needs_a_player_and_a_step():
    with pytest.raises(ValueError, match="steps is 0"):
        unrolled(simultaneous(_sgd(1.0)), player="a", steps=0, step=0.1)
    with pytest.raises(ValueError, match="'c' is not in the game"):
        simulate(_game(), unrolled(simultaneous(_sgd(1.0)), player="c", steps=1, step=0.1), 1)


# -- the past of the opponents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("players", [("a", "b"), ("b",)])
@pytest.mark.parametrize("size, every", [(1, 1), (3, 1), (2, 3)])
def test_history_of_opponents_is_a_mean_over_snapshots(size, every, players, float64):
    path = _run(_game(), history_of_opponents(simultaneous(_sgd(0.1)), size=size, every=every, players=players), 12)
    theta, past = START, deque([START] * size, maxlen=size)
    for t in range(13):
        for p, x in theta.items():
            np.testing.assert_allclose(path[p][t], x, rtol=1e-9)
        gradients = {}
        for p in theta:
            seen = [theta, *past] if p in players else [theta]
            gradients[p] = np.mean([GRADIENTS[p](**{p: theta[p], OTHER[p]: s[OTHER[p]]}) for s in seen], axis=0)
        if t % every == 0:
            past.append(theta)
        theta = {p: theta[p] - 0.1 * gradients[p] for p in theta}
    assert np.abs(_plain()["b"] - path["b"]).max() > 1e-2, "the past matters"


@cache
def _plain():
    return _run(_game(), simultaneous(_sgd(0.1)), 12)


@pytest.mark.parametrize("players", [("a", "b"), ("a",)])
@pytest.mark.parametrize("decay", [None, 0.7])
def test_against_average_is_play_against_the_mean_of_the_past(decay, players, float64):
    average = None if decay is None else ema(decay)
    path = _run(_game(), against_average(simultaneous(_sgd(0.1)), average=average, players=players), 12)
    theta, past = START, []
    for t in range(13):
        for p, x in theta.items():
            np.testing.assert_allclose(path[p][t], x, rtol=1e-9)
        past.append(theta)
        weights = np.ones(t + 1) if decay is None else decay ** np.arange(t + 1)[::-1]
        mean = {p: np.average([s[p] for s in past], axis=0, weights=weights) for p in theta}
        faced = {p: (mean if p in players else theta)[OTHER[p]] for p in theta}
        theta = {p: theta[p] - 0.1 * GRADIENTS[p](**{p: theta[p], OTHER[p]: faced[p]}) for p in theta}


def test_a_history_of_everything_is_the_average_where_costs_are_linear(float64):
    """On ab, with the start counted as often as it fills the slots."""
    size, steps = 8, 8
    z = _run(bilinear(), history_of_opponents(simultaneous(_sgd(0.1)), size=size), steps)
    a, b = [1.0], [1.0]
    for _ in range(steps):
        filled = [1.0] * (size - len(a) + 1)  # slots not yet written
        mean_a, mean_b = ((sum(x) + sum(filled[: size + 1 - len(x)])) / (size + 1) for x in (a, b))
        a, b = [*a, a[-1] - 0.1 * mean_b], [*b, b[-1] + 0.1 * mean_a]
    np.testing.assert_allclose(np.stack([z["a"], z["b"]]), [a, b], rtol=1e-12)


@pytest.mark.parametrize("both", [True, False])
def test_gradient_play_against_the_average_follows_its_flow(both, float64):
    """Steps of eta follow the exact flow to first order in eta: the extrapolation 2 z(eta/2) - z(eta) to second."""
    end, eta = 40.0, 0.02

    def path(eta, stride):
        steps = round(end / eta)
        dynamics = against_average(simultaneous(_sgd(eta)), players=("a", "b") if both else ("a",))
        z = _run(bilinear(start=(1.0, 0.5)), dynamics, steps)
        return (np.asarray(z["a"]) + 1j * np.asarray(z["b"]))[::stride]

    coarse, fine = path(eta, 1), path(eta / 2, 2)
    times = np.arange(len(coarse)) * eta
    exact = average_opponent_flow(times, (1.0, 0.5), both=both)
    size = np.maximum.accumulate(np.abs(exact))
    first = np.max(np.abs(fine - exact) / size)
    assert 1e-3 < first < 0.2
    np.testing.assert_allclose(np.max(np.abs(coarse - exact) / size) / first, 2, rtol=0.1)
    assert np.max(np.abs(2 * fine - coarse - exact) / size) < 0.1 * first
    assert size[-1] > 20 * size[0], "it spirals out"


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("tau", [0.3, 1.0, 5.0])
def test_an_exponential_average_of_the_opponent_is_unstable(tau, both, float64):
    """`(l - 1)^2 (l - d) + eta^2 (1 - d) l` for one player, `(l - 1)(l - d) = +-i eta (1 - d) l` for both.

    With `d = 1 - eta / tau` and `l = 1 + eta s` they go to `tau s^3 + s^2 + 1` and `tau s^2 + s = +-i`.
    """

    def roots(eta):
        d = 1 - eta / tau
        dynamics = against_average(simultaneous(_sgd(eta)), average=ema(d), players=("a", "b") if both else ("a",))
        game = bilinear(start=(1.0, 0.5))
        state = init_state(game, dynamics, KEY, None)
        memory, inner = state.dynamics_state
        late = (memory._replace(weight=jnp.ones(())), inner)  # as after a long time
        jacobian = jax.jit(lambda s: update_jacobian(game, dynamics, s, None, KEY))(state.replace(dynamics_state=late))
        if both:
            exact = np.concatenate([np.roots([1, -1 - d - s * 1j * eta * (1 - d), d]) for s in (1, -1)])
        else:
            exact = np.roots(np.polyadd(np.poly([1, 1, d]), [eta**2 * (1 - d), 0]))
        values = np.linalg.eigvals(jacobian)
        nearest = np.abs(values[:, None] - exact[None, :]).min(0)
        assert nearest.max() < 1e-9, f"expected {exact}, got {values}"
        assert np.abs(values).max() > 1
        return (exact - 1) / eta

    flow = ema_opponent_exponents(tau, both=both)
    assert flow.real.max() > 0.01
    gaps = [np.abs(roots(eta)[:, None] - flow[None, :]).min(1).max() for eta in (1e-2, 1e-3)]
    assert gaps[1] < 0.01 * max(1, 1 / tau**2)
    np.testing.assert_allclose(gaps[0] / gaps[1], 10, rtol=0.25)


def test_settings_of_the_past_are_checked():
    with pytest.raises(ValueError, match="size is 0"):
        history_of_opponents(simultaneous(_sgd(0.1)), size=0)
    with pytest.raises(ValueError, match="every is 0"):
        history_of_opponents(simultaneous(_sgd(0.1)), size=1, every=0)


# -- fictitious play --------------------------------------------------------------------------------------------------


def test_fictitious_play_on_the_box_against_a_loop(float64):
    for simultaneously in (True, False):
        z = _run(bilinear(start=(0.3, 0.2)), fictitious_play(corner(1.0), simultaneous=simultaneously), 300)
        a, b = 0.3, 0.2
        for t in range(301):
            np.testing.assert_allclose([z["a"][t], z["b"][t]], [a, b], rtol=1e-9, atol=1e-12)
            n = t + 2  # plays with the next one; the start is the first
            new_a = a + (-np.sign(b) - a) / n
            b = b + (np.sign(a if simultaneously else new_a) - b) / n
            a = new_a


def test_fictitious_play_on_the_box_closes_the_gap(float64):
    """Gap |a| + |b|: simultaneous about sqrt(2 / t), alternating about C / t, with C = 1.5 from (.3, .2)."""
    steps = 100_000
    t = np.arange(1, steps + 2)

    def gap(simultaneously):
        z = _run(bilinear(start=(0.3, 0.2)), fictitious_play(corner(1.0), simultaneous=simultaneously), steps)
        return np.abs(np.asarray(z["a"])) + np.abs(np.asarray(z["b"]))

    slow, fast = gap(True), gap(False)
    late = t > 1000  # plays, the start being the first
    scaled = (slow * np.sqrt(t))[late]
    np.testing.assert_allclose(scaled.mean(), np.sqrt(2), rtol=2e-3)
    np.testing.assert_allclose([scaled.min(), scaled.max()], np.sqrt(2), rtol=0.03)
    # Alternating, C is the largest value; the product runs through all between .5 and 1.5, on average 1.
    scaled = (fast * t)[late]
    np.testing.assert_allclose([scaled.min(), scaled.max(), scaled.mean()], [0.5, 1.5, 1.0], rtol=1e-3)


ROCK_PAPER_SCISSORS = np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])


def _solve(payoff):
    """The minimiser's strategy, the maximiser's and the value, by linear programming."""

    def minimise(m):  # min v with m^T x <= v
        rows, columns = m.shape
        solution = linprog(
            np.r_[np.zeros(rows), 1],
            A_ub=np.c_[m.T, -np.ones(columns)],
            b_ub=np.zeros(columns),
            A_eq=np.r_[np.ones(rows), 0][None],
            b_eq=[1],
            bounds=[(0, None)] * rows + [(None, None)],
        )
        return solution.x[:-1], solution.fun

    x, value = minimise(payoff)
    y, negative = minimise(-payoff.T)
    np.testing.assert_allclose(value, -negative, atol=1e-9)
    return x, y, value


@pytest.mark.parametrize("simultaneously", [True, False])
@pytest.mark.parametrize("name", ["rock_paper_scissors", "random"])
def test_fictitious_play_solves_matrix_games(name, simultaneously, float64):
    payoff = ROCK_PAPER_SCISSORS if name == "rock_paper_scissors" else np.random.default_rng(0).normal(size=(4, 3))
    x_star, y_star, value = _solve(payoff)
    m, n = payoff.shape
    start = (np.eye(m)[0], np.eye(n)[-1])
    game, steps = matrix_game(payoff, start=start), 50_000
    z = _run(game, fictitious_play(vertex, simultaneous=simultaneously), steps)
    x, y = np.asarray(z["x"]), np.asarray(z["y"])
    np.testing.assert_allclose(x.sum(1), 1, rtol=1e-9)
    assert x.min() >= 0 and y.min() >= 0
    gaps = np.asarray(jax.vmap(lambda x, y: duality_gap(jnp.asarray(payoff), x, y))(z["x"], z["y"]))
    by_hand = (x @ payoff).max(1) - (y @ payoff.T).min(1)
    np.testing.assert_allclose(gaps, by_hand, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(duality_gap(jnp.asarray(payoff), x_star, y_star), 0, atol=1e-9)
    # The gap goes to zero (Robinson 1951), here at the rate t^(-1/2) of Karlin's conjecture or faster.
    t = np.arange(1, steps + 2)
    assert gaps[0] > 1 and np.all((gaps * np.sqrt(t))[100:] < 2.5) and gaps[-1] < 0.01
    # Each guarantees itself the value but for the gap, and these equilibria are unique.
    assert np.all((x @ payoff).max(1) >= value - 1e-12) and np.all((y @ payoff.T).min(1) <= value + 1e-12)
    np.testing.assert_allclose(x[-1] @ payoff @ y[-1], value, atol=gaps[-1])
    np.testing.assert_allclose(x[-1], x_star, atol=5e-3)
    np.testing.assert_allclose(y[-1], y_star, atol=5e-3)


def test_vertex_and_corner_are_best_responses():
    gradient = {"w": jnp.array([0.3, -0.2, -0.2, 1.0])}
    np.testing.assert_array_equal(vertex(gradient)["w"], [0, 1, 0, 0])
    np.testing.assert_array_equal(corner(2.0)(gradient)["w"], [-2, 2, 2, -2])


# -- constraints ------------------------------------------------------------------------------------------------------


def _onto_simplex(y):
    """The nearest point of the simplex, by sorting (Held, Wolfe and Crowder 1974)."""
    u = np.sort(y)[::-1]
    shift = (1 - np.cumsum(u)) / np.arange(1, len(y) + 1)
    return np.maximum(y + shift[np.flatnonzero(u + shift > 0)[-1]], 0)


def test_projected_descent_stays_on_the_simplex(float64):
    start = (np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.1, 0.8]))
    game = matrix_game(ROCK_PAPER_SCISSORS, start=start)
    optimizers = {p: projected(optax.sgd(0.1), optax.projections.projection_simplex) for p in "xy"}
    z = _run(game, simultaneous(optimizers), 60)
    x, y = start
    for t in range(61):
        np.testing.assert_allclose(z["x"][t], x, atol=1e-12)
        np.testing.assert_allclose(z["y"][t], y, atol=1e-12)
        x, y = _onto_simplex(x - 0.1 * ROCK_PAPER_SCISSORS @ y), _onto_simplex(y + 0.1 * ROCK_PAPER_SCISSORS.T @ x)
    assert min(np.asarray(z["x"]).min(), np.asarray(z["y"]).min()) < 1e-12, "it meets the border"
    plain = _run(game, simultaneous(_sgd(0.1, "xy")), 60)
    assert np.asarray(plain["x"]).min() < -0.01, "which plain descent crosses"
    solved = _run(game, extragradient(optimizers), 3000)
    np.testing.assert_allclose(solved["x"][-1], 1 / 3, atol=1e-6)


@pytest.mark.parametrize("rule", [simultaneous, alternating])
def test_clipped_weights(rule, float64):
    """Against a loop on the Wasserstein Dirac-GAN: psi is clipped after each of its steps, theta is not."""
    c, h = 0.7, 0.05
    optimizers = {"generator": optax.sgd(h), "discriminator": clipped(optax.sgd(h), c)}
    z = _run(dirac_gan("wasserstein", start=(1.0, 0.2)), rule(optimizers), 400)
    theta, psi = 1.0, 0.2
    for t in range(401):
        np.testing.assert_allclose([z["generator"][t], z["discriminator"][t]], [theta, psi], atol=1e-12)
        moved = theta - h * psi
        psi = np.clip(psi + h * (theta if rule is simultaneous else moved), -c, c)
        theta = moved
    psi = np.asarray(z["discriminator"])
    assert np.abs(psi).max() <= c * (1 + 1e-15) and (np.abs(psi) > 0.999 * c).sum() > 10
