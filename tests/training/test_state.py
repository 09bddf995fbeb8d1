"""How a state begins: what may be a parameter, a cost, a metric, and whose averages are kept."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.core import Game, Outcome, plain
from ganjax.dynamics import alternating, ema, extragradient, simultaneous
from ganjax.training import Averaged, init_state, simulate

SGD = {"one": optax.sgd(0.25)}


def _game(start, cost=lambda z: jnp.square(z - 3), metrics=None, net_state=None):
    """One player, whose parameter is to be 3."""

    def of(params, moment):
        return cost(params["one"]["z"]), Outcome(moment.net_state["one"], {} if metrics is None else metrics)

    return Game(
        lambda key, batch: ({"one": {"z": start}}, {"one": {} if net_state is None else net_state}), {"one": of}
    )


@pytest.mark.parametrize("play", [simultaneous, alternating, extragradient])
def test_a_complex_parameter_is_refused_by_its_path(play):
    game = _game(jnp.zeros((2,), jnp.complex64), lambda z: (jnp.abs(z - (1 + 2j)) ** 2).sum())
    with pytest.raises(TypeError, match=r"parameter one\.z is complex64\[2\], expected real .* its real and imaginary"):
        simulate(game, play(SGD), 1)


@pytest.mark.parametrize("start", [1j, np.arange(3), jnp.zeros((), bool)], ids=["python", "integers", "booleans"])
def test_so_is_every_other_dtype_that_no_gradient_moves(start):
    with pytest.raises(TypeError, match=r"the parameter one\.z is (complex64\[\]|int\d+\[3\]|bool\[\]), expected real"):
        init_state(_game(start), simultaneous(SGD), jax.random.key(0), None)


@pytest.mark.parametrize("play", [simultaneous, partial(alternating, turns={"one": 2})])
def test_python_numbers_are_parameters_metrics_statistics_and_costs(play):
    """A start of 1, the integer, moves as 1.0 does; a constant cost moves nothing."""
    game = _game(1, metrics={"half": 0.5, "two": 2}, net_state={"seen": 7})
    state, path = simulate(game, play(SGD), 2, batch=None)
    np.testing.assert_allclose(path["one"]["z"], [1, 2, 2.5] if play is simultaneous else [1, 2.5, 2.875])
    assert state.params["one"]["z"].dtype == jnp.float32 and int(state.net_state["one"]["seen"]) == 7
    constant, _ = simulate(_game(1.0, lambda z: 5.0), play(SGD), 2)
    assert float(constant.params["one"]["z"]) == 1 and int(constant.skipped) == 0


def test_a_cost_that_is_no_scalar_with_an_outcome():
    for cost, error, sentence in (
        (
            lambda *_: (jnp.zeros(3), Outcome({}, {})),
            ValueError,
            r"the cost 'one' has shape \(3,\).*its mean",
        ),
        (lambda *_: jnp.zeros(()), TypeError, r"the cost 'one' returns a .*, expected \(scalar, Outcome"),
    ):
        game = Game(lambda key, batch: ({"one": 1.0}, {"one": {}}), {"one": cost})
        with pytest.raises(error, match=sentence):
            simulate(game, simultaneous(SGD), 1)


def test_an_average_of_a_player_that_there_is_not():
    averages = {"ema": Averaged("on", ema(0.9))}
    with pytest.raises(ValueError, match=r"average 'ema': the player 'on' is not in the game.*did you mean \"one\"\?"):
        init_state(_game(1.0), simultaneous(SGD), jax.random.key(0), None, averages)


def test_a_cost_of_nobody_is_refused():
    square = lambda p: jnp.square(p["one"])  # noqa: E731
    game = plain({"one": 1.0}, {"one": square, "two": square})
    with pytest.raises(
        ValueError, match=r"the cost 'two' moves the player 'two', but init gives .* \['one'\] alone; say"
    ):
        init_state(game, simultaneous(SGD), jax.random.key(0), None)
    with pytest.raises(ValueError, match=r"Game.movers: a cost is 'tow', expected one of \['one', 'two'\].* \"two\""):
        init_state(game._replace(movers={"tow": "one"}), simultaneous(SGD), jax.random.key(0), None)
