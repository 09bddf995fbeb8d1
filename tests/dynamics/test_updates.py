"""Simultaneous and alternating play against their closed forms on v(a, b) = ab."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.core import Game, Moment, Outcome, plain
from ganjax.dynamics import alternating, consensus, optimistic, simultaneous, vector_field
from ganjax.games import bilinear, dirac_gan
from ganjax.training import init_state, simulate


def _sgd(eta, players=("a", "b")):
    return {player: optax.sgd(eta) for player in players}


def _play(game, dynamics, steps):
    _, path = simulate(game, dynamics, steps)
    return np.stack([np.asarray(path["a"]), np.asarray(path["b"])], axis=-1)


@pytest.mark.fault("ADDA: both updates run in one call without an order, neither simultaneous nor in turns")
def test_simultaneous_play_grows_by_the_closed_form(float64):
    z = _play(bilinear(), simultaneous(_sgd(0.1)), 1000)
    norms = np.linalg.norm(z, axis=-1)
    np.testing.assert_allclose(norms[1:] / norms[:-1], np.sqrt(1 + 0.01), rtol=1e-12)
    np.testing.assert_allclose(norms[-1], np.sqrt(2) * (1 + 0.01) ** 500, rtol=1e-9)
    angle = np.unwrap(np.arctan2(z[:, 1], z[:, 0]))
    np.testing.assert_allclose(np.diff(angle), np.arctan(0.1), rtol=1e-9)


def test_alternating_play_conserves_its_invariant(float64):
    a, b = _play(bilinear(), alternating(_sgd(0.1)), 100_000).T
    np.testing.assert_allclose(a**2 + b**2 - 0.1 * a * b, 1.9, atol=1e-9)


def test_the_other_order_conserves_the_other_sign(float64):
    a, b = _play(bilinear(), alternating(_sgd(0.1), order=("b", "a")), 1000).T
    np.testing.assert_allclose(a**2 + b**2 + 0.1 * a * b, 2.1, atol=1e-12)


def test_two_time_scales_of_simultaneous_play(float64):
    """eta_b a^2 + eta_a b^2 is multiplied by 1 + eta_a eta_b."""
    a, b = _play(bilinear(), simultaneous({"a": optax.sgd(0.1), "b": optax.sgd(0.3)}), 100).T
    energy = 0.3 * a**2 + 0.1 * b**2
    np.testing.assert_allclose(energy[1:] / energy[:-1], 1.03, rtol=1e-12)


def test_turns_are_a_larger_step_of_the_bilinear_game(float64):
    """n ascent steps at fixed a add up: b + n eta a."""
    many = _play(bilinear(), alternating(_sgd(0.1), turns={"b": 5}), 50)
    one = _play(bilinear(), alternating({"a": optax.sgd(0.1), "b": optax.sgd(0.5)}), 50)
    np.testing.assert_allclose(many, one, rtol=1e-12)


def test_shifted_and_matrix_games_turn_about_their_saddle(float64):
    shifted = _play(bilinear(saddle=(2.0, -3.0), start=(3.0, -2.0)), simultaneous(_sgd(0.1)), 20)
    centred = _play(bilinear(), simultaneous(_sgd(0.1)), 20)
    np.testing.assert_allclose(shifted - np.array([2.0, -3.0]), centred, atol=1e-12)
    matrix = np.diag([2.0, 0.5])
    z = _play(bilinear(matrix), simultaneous(_sgd(0.1)), 20)  # [T, singular value, player]
    energy = (z**2).sum(-1)
    np.testing.assert_allclose(energy[1:] / energy[:-1] - 1, np.broadcast_to([0.04, 0.0025], (20, 2)), rtol=1e-9)


def test_simultaneous_play_of_the_dirac_gan_grows_by_the_exact_factor(float64):
    """r^2 is multiplied by 1 + h^2 f'(psi theta)^2 with f'(t) = 1 / (1 + e^t)."""
    h = 0.2
    _, path = simulate(dirac_gan(), simultaneous(_sgd(h, ("generator", "discriminator"))), 200)
    theta, psi = np.asarray(path["generator"]), np.asarray(path["discriminator"])
    r2 = theta**2 + psi**2
    slope = 1 / (1 + np.exp(theta * psi))
    np.testing.assert_allclose(r2[1:] / r2[:-1], 1 + h**2 * slope[:-1] ** 2, rtol=1e-12)


@pytest.mark.parametrize("h", [0.05, 0.2])
def test_non_saturating_dirac_gan_ends_on_its_limit_cycle(h, float64):
    """Simultaneous play is drawn to a circle of radius sqrt(2 h)."""
    game = dirac_gan(non_saturating=True)
    state, _ = simulate(game, simultaneous(_sgd(h, ("generator", "discriminator"))), 20_000)
    radius = np.hypot(float(state.params["generator"]), float(state.params["discriminator"]))
    np.testing.assert_allclose(radius, np.sqrt(2 * h), rtol=5e-3)


def test_a_gradient_is_of_the_own_cost_in_the_own_parameters(float64):
    """c_a = a^2 b, c_b = a b^3: nothing of c_a moves b, nothing of c_b moves a."""
    costs = {
        "a": lambda p: p["a"] ** 2 * p["b"],
        "b": lambda p: p["a"] * p["b"] ** 3,
    }
    params = {"a": jnp.array(2.0), "b": jnp.array(3.0)}
    game = plain(params, costs)
    field = vector_field(game, params, Moment({"a": {}, "b": {}}, None, jax.random.key(0)))
    assert (field.gradients["a"], field.gradients["b"]) == (12.0, 54.0)
    assert (field.metrics["a/cost"], field.metrics["b/cost"]) == (12.0, 54.0)


def test_each_turn_has_its_own_slice_of_the_batch(float64):
    """Costs that are linear in the own parameter move it by the sum of what was seen."""

    def cost(player):
        def of(params, moment):
            return params[player] * moment.batch.sum(), Outcome({}, {"seen": moment.batch.sum()})

        return of

    game = Game(
        lambda key, batch: ({"a": jnp.zeros(()), "b": jnp.zeros(())}, {"a": {}, "b": {}}),
        {"a": cost("a"), "b": cost("b")},
    )
    dynamics = alternating(_sgd(1.0), turns={"a": 2}, order=("b", "a"))
    assert dynamics.slices == 3
    batch = jnp.array([1.0, 2.0, 10.0, 20.0, 100.0, 200.0])
    state, metrics = dynamics.step(game, init_state(game, dynamics, jax.random.key(0), batch), batch, jax.random.key(0))
    assert (state.params["b"], state.params["a"]) == (-3.0, -330.0)
    assert (metrics["b/seen"], metrics["a/seen"]) == (3.0, 300.0)
    with pytest.raises(ValueError, match="batch of 5 cannot be cut into 3 equal turns"):
        dynamics.step(game, state, batch[:5], jax.random.key(0))


def test_optimistic_adam_extrapolates_the_update(float64):
    """Twice Adam's update minus the one before it, not Adam's update for an extrapolated gradient."""
    adam, steps = optax.adam(0.1), 6
    z = _play(bilinear(), optimistic(dict.fromkeys("ab", adam)), steps)
    expected, memory, before = jnp.ones(2), adam.init(jnp.ones(2)), jnp.zeros(2)
    for t in range(steps):
        update, memory = adam.update(jnp.array([expected[1], -expected[0]]), memory)
        expected += 2 * update - before if t else update
        before = update
        np.testing.assert_allclose(z[t + 1], expected, rtol=1e-9)


# The three steps of maximum classifier discrepancy (Saito et al. 2018), in two numbers.
DISCREPANCY = {
    "features": lambda p: (p["features"] - 1) ** 2 + p["classifiers"] * p["features"],
    "classifiers": lambda p: (p["classifiers"] - p["features"]) ** 2,
    "apart": lambda p: -3 * p["classifiers"] * p["features"],
    "together": lambda p: p["classifiers"] * p["features"] ** 2,
}


def test_a_player_moves_by_each_of_its_costs_in_its_turn(float64):
    """Two players with two costs each; the tuple moves from one point, momentum goes through all costs of a player."""
    game = plain({"features": 0.5, "classifiers": 0.25}, DISCREPANCY)
    game = game._replace(movers={"apart": "classifiers", "together": "features"})
    assert game.players == ("features", "classifiers")
    order = [("features", "classifiers"), "apart", *["together"] * 3]
    momentum = dict.fromkeys(game.players, optax.sgd(0.1, momentum=0.5))
    state, _ = simulate(game, alternating(momentum, order=order, fresh=False), 4)
    f, c, trace = 0.5, 0.25, {"f": 0.0, "c": 0.0}
    for _ in range(4):
        slopes = 2 * (f - 1) + c, 2 * (c - f)
        for player, slope in zip("fc", slopes, strict=True):
            trace[player] = slope + 0.5 * trace[player]
        f, c = f - 0.1 * trace["f"], c - 0.1 * trace["c"]
        trace["c"] = -3 * f + 0.5 * trace["c"]
        c -= 0.1 * trace["c"]
        for _ in range(3):
            trace["f"] = 2 * c * f + 0.5 * trace["f"]
            f -= 0.1 * trace["f"]
    np.testing.assert_allclose([state.params["features"], state.params["classifiers"]], [f, c], rtol=1e-12)
    for rule in (simultaneous(momentum), alternating(momentum, order=order, adjust=consensus(0.1))):
        with pytest.raises(ValueError, match=r"'\w+' owns the costs \['\w+', '\w+'\] and cannot move by all"):
            simulate(game, rule, 1)


def test_players_of_a_tuple_move_at_once_and_see_who_moved_before(float64):
    pair = lambda p: p["a"] * p["b"]  # noqa: E731
    game = plain({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": pair, "b": pair, "c": lambda p: p["c"] * p["a"] * p["b"]})
    state, _ = simulate(game, alternating(_sgd(0.1, "abc"), order=[("a", "b"), "c"], turns={"c": 1}), 1)
    found = [float(state.params[player]) for player in "abc"]
    np.testing.assert_allclose(found, [1 - 0.2, 2 - 0.1, 3 - 0.1 * 0.8 * 1.9], rtol=1e-12)


def test_turns_on_one_batch_have_noise_of_their_own():
    """The first turn of each cost has the step's noise, as published; a cost's further turns have other noise."""

    def cost(player):
        def of(params, moment):
            drawn = moment.net_state[player]["drawn"]
            drawn = jnp.roll(drawn, 1).at[0].set(jax.random.normal(moment.key))
            return params[player] * 0, Outcome({"drawn": drawn}, {"time": jnp.asarray(moment.step)})

        return of

    state = {player: {"drawn": jnp.zeros(3)} for player in "ab"}
    game = Game(lambda key, batch: (dict.fromkeys("ab", jnp.ones(())), state), {"a": cost("a"), "b": cost("b")})
    dynamics = alternating(_sgd(0.1), turns={"a": 3}, fresh=False)
    assert dynamics.slices == 1
    start = init_state(game, dynamics, jax.random.key(0), None).replace(step=jnp.int32(7))
    key = jax.random.key(5)
    end, metrics = dynamics.step(game, start, None, key)
    a, b = (np.asarray(end.net_state[player]["drawn"]) for player in "ab")
    first = float(jax.random.normal(key))
    assert a[2] == b[0] == first and len({*a}) == 3, "newest first"
    assert metrics["a/time"] == metrics["b/time"] == 7


def test_wrong_players_are_an_error():
    with pytest.raises(ValueError, match=r"players \['a'\], but those who have a cost are \['a', 'b'\]"):
        simulate(bilinear(), simultaneous({"a": optax.sgd(0.1)}), 1)
    with pytest.raises(ValueError, match=r"alternating: the player 'c' is not in the game, which has \['a', 'b'\]"):
        alternating(_sgd(0.1), turns={"c": 2})
    with pytest.raises(ValueError, match=r"must name each of the costs, and lacks \['b'\]"):
        simulate(bilinear(), alternating(_sgd(0.1), order=("a",)), 1)
    with pytest.raises(ValueError, match="a cost of the order of play is 'c', expected one of"):
        simulate(bilinear(), alternating(_sgd(0.1), order=("a", "c", "b")), 1)
    with pytest.raises(ValueError, match="turns of a is 0, expected at least 1"):
        alternating(_sgd(0.1), turns={"a": 0})
