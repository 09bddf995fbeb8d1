"""The gradients' lengths: a closed form, on as many examples as a device takes."""

import jax
import numpy as np
import optax

from ganjax.core import Batch, Game, Outcome, plain
from ganjax.data import Dataset
from ganjax.dynamics import alternating, simultaneous
from ganjax.training import Setup, Stream, init_state, parallel
from ganjax.training.telemetry import telemetry


def test_lengths_of_the_gradients(monkeypatch):
    """Costs `w . mean(x)` and `3 |w|^2 / 2`: their gradients are mean(x) of the first examples, and 3 w."""

    def first(params, moment):
        return (params["a"] * moment.batch.x.mean(0)).sum(), Outcome({}, {})

    def second(params, moment):
        return 1.5 * (params["b"] ** 2).sum(), Outcome({}, {})

    def init(key, batch):
        return {"a": batch.x[0], "b": 2 + batch.x[0]}, {"a": {}, "b": {}}

    x = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    game, dynamics = Game(init, {"a": first, "b": second}), simultaneous(dict.fromkeys("ab", optax.sgd(0.1)))
    setup = Setup(
        game, dynamics, {"data": Stream(Dataset(x), 4)}, telemetry=lambda state: {"own": state.params["a"][0]}
    )
    state = init_state(game, dynamics, jax.random.key(0), Batch(x, None, np.arange(9)))
    expected = {
        "a/gradient": np.linalg.norm(x[:4].mean(0)),
        "b/gradient": 3 * np.linalg.norm(2 + x[0]),
        "own": x[0, 0],
    }
    found = telemetry(setup)(state)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)
    monkeypatch.setattr(parallel, "axis_name", lambda: "data")
    monkeypatch.setattr(jax, "device_count", lambda: 2)  # each of which takes two examples
    expected["a/gradient"] = np.linalg.norm(x[:2].mean(0))
    for name, value in telemetry(setup)(state).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5)


def test_a_player_of_two_costs_has_two_lengths():
    """Costs `3 w` and `5 w` of one player."""
    game = plain({"one": 1.0}, {"first": lambda p: 3 * p["one"], "second": lambda p: 5 * p["one"]})
    game = game._replace(movers={"first": "one", "second": "one"})
    dynamics = alternating({"one": optax.sgd(0.1)}, order=["first", "second"])
    setup = Setup(game, dynamics, {"data": Stream(Dataset(np.eye(4, dtype=np.float32)), 2)})
    found = telemetry(setup)(init_state(game, dynamics, jax.random.key(0), None))
    assert {name: float(value) for name, value in found.items()} == {"first/gradient": 3.0, "second/gradient": 5.0}
