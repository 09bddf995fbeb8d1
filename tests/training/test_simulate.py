"""Whole runs as functions, and populations of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.core import Game, Outcome
from ganjax.dynamics import alternating, consensus, ema, simultaneous
from ganjax.games import bilinear, gradient_noise
from ganjax.training import Averaged, Keys, init_state, population, rejected, simulate, states_at, train_step


def _play(seed, eta, gamma=0.1, steps=30):
    game = gradient_noise(bilinear(), 0.1)
    dynamics = alternating({p: optax.sgd(eta) for p in "ab"}, adjust=consensus(gamma))
    return simulate(game, dynamics, steps, key=jax.random.key(seed))[1]


def test_a_population_is_its_members(float64):
    seeds, etas = jnp.arange(3), jnp.array([0.05, 0.2])
    together = population(_play)(seed=seeds, eta=etas)
    assert together["a"].shape == (3, 2, 31)
    for i, seed in enumerate(seeds):
        for j, eta in enumerate(etas):
            alone = jax.jit(_play)(seed, eta)
            np.testing.assert_allclose(together["b"][i, j], alone["b"], rtol=1e-12)
    assert len(np.unique(np.asarray(together["a"][..., -1]))) == 6, "members differ"


def test_axes_follow_the_order_of_the_arguments_and_trees_are_one_axis():
    def train(scale, shift):
        return scale * shift["x"] + shift["y"]

    shift = {"x": jnp.arange(3.0), "y": 100 * jnp.arange(3.0)}
    first = population(train)(scale=jnp.arange(2.0), shift=shift)
    second = population(train)(shift=shift, scale=jnp.arange(2.0))
    np.testing.assert_array_equal(first, [[0, 100, 200], [0, 101, 202]])
    np.testing.assert_array_equal(second, first.T)


def test_a_population_is_traced_once():
    traced = []

    def train(x):
        traced.append(1)
        return x

    run = population(train)
    run(x=jnp.arange(3.0))
    run(x=jnp.arange(3.0) + 1)
    assert len(traced) == 1


def test_the_run_is_the_loop_over_the_train_step(float64):
    """Noise and all: the key of step t is folded from the second of the run's three keys."""
    game = gradient_noise(bilinear(start=(1.0, -2.0)), 0.1)
    dynamics = simultaneous({p: optax.adam(0.1) for p in "ab"})
    state, path = simulate(game, dynamics, 10, key=jax.random.key(3))
    init_key, step_key, _ = jax.random.split(jax.random.key(3), 3)
    loop, step = init_state(game, dynamics, init_key, None), jax.jit(train_step(game, dynamics))
    for t in range(10):
        np.testing.assert_allclose(path["a"][t], loop.params["a"], rtol=1e-12)
        loop, _ = step(loop, None, step_key)
    np.testing.assert_allclose(state.params["b"], loop.params["b"], rtol=1e-12)
    assert int(state.step) == 10 and path["a"].shape == (11,)


def test_what_is_kept():
    dynamics = simultaneous({p: optax.sgd(0.1) for p in "ab"})
    assert simulate(bilinear(), dynamics, 3, keep=None)[1] is None
    steps = simulate(bilinear(), dynamics, 3, keep=lambda state: state.step)[1]
    assert steps.tolist() == [0, 1, 2, 3]


def test_a_drawn_batch_is_fresh_each_step_and_the_same_each_run():
    """Each player descends the batch's value: the path is its cumulative sum."""

    def cost(params, moment):
        return params["a"] * moment.batch, Outcome({}, {})

    game = Game(lambda key, batch: ({"a": jnp.zeros(())}, {"a": {}}), {"a": cost})

    def play(seed):
        dynamics = simultaneous({"a": optax.sgd(1.0)})
        return simulate(game, dynamics, 20, key=jax.random.key(seed), sample=jax.random.normal)[1]["a"]

    path = np.asarray(play(0))
    assert len(np.unique(np.diff(path).round(6))) == 20
    np.testing.assert_array_equal(path, play(0))
    assert (path[1:] != np.asarray(play(1))[1:]).all()


def test_a_run_that_overflows_says_so():
    """The guard keeps the last finite state and counts what it refused: after 2 steps ab is 1e40, too much."""
    dynamics = simultaneous({p: optax.sgd(1e10) for p in "ab"})
    with pytest.warns(RuntimeWarning, match=r"8 of 10 steps were not finite and were rejected, from step 3 on") as said:
        state, path = simulate(bilinear(), dynamics, 10)
    assert len(said) == 1 and said[0].filename == __file__
    assert int(state.skipped) == 8 and np.isfinite(state.params["a"])
    assert (path["a"][2:] == path["a"][2]).all() and path["a"][1] != path["a"][2]


def test_a_step_rejected_now_and_then_says_since_when():
    """Wherever the batch is below -1/2."""

    def cost(params, moment):
        return params["a"] * jnp.where(moment.batch < -0.5, jnp.nan, -1.0), Outcome({}, {})

    game = Game(lambda key, batch: ({"a": jnp.zeros(())}, {"a": {}}), {"a": cost})
    dynamics = simultaneous({"a": optax.sgd(1.0)})
    play = lambda: simulate(game, dynamics, 12, sample=jax.random.normal, key=jax.random.key(2))  # noqa: E731
    state, path = jax.jit(play)()  # where nothing is said
    stood = np.flatnonzero(np.diff(path["a"]) == 0) + 1
    assert len(stood) == int(state.skipped) > 0
    assert rejected(state.skipped, 12).startswith(f"{len(stood)} of 12 steps were not finite and were rejected, so")
    assert rejected(0, 12) == ""
    with pytest.warns(RuntimeWarning, match=rf"{len(stood)} of 12 steps .* from step {stood[0]} on"):
        play()


@pytest.mark.parametrize("steps", [0, 1])
def test_short_runs(steps):
    state, path = simulate(bilinear(), simultaneous({p: optax.sgd(0.1) for p in "ab"}), steps)
    assert path["a"].shape == (steps + 1,) and int(state.step) == steps


def test_states_at_stops_are_those_of_the_loop(float64):
    """Batches from the key of their step, averages, and several runs at once, each of which is the run of its keys."""
    game = gradient_noise(bilinear(start=(1.0, -2.0)), 0.1)
    seen = game.costs["a"]

    def pulled(params, moment):
        value, outcome = seen(params, moment)
        return value + moment.batch.mean() * params["a"], outcome

    game = game._replace(costs={**game.costs, "a": pulled})
    dynamics, averages = alternating({p: optax.sgd(0.1) for p in "ab"}), {"mean": Averaged("a", ema(0.5))}
    step, keys, sample = (
        train_step(game, dynamics, averages),
        [Keys.of(seed) for seed in (3, 4)],
        lambda key: jax.random.normal(key, (2,)),
    )

    @jax.jit
    def one(state, own):
        return step(state, sample(jax.random.fold_in(own.samples, state.step)), own.steps)[0]

    expected = []
    for own in keys:
        states = [init_state(game, dynamics, own.init, sample(own.samples), averages)]
        for _ in range(5):
            states.append(one(states[-1], own))
        expected.append([states[k] for k in (0, 2, 2, 5)])
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *keys)
    found = list(states_at([0, 2, 2, 5], game, dynamics, together, sample, averages))
    alone = list(states_at([0, 2, 2, 5], game, dynamics, keys[0], sample, averages))
    for number, state in enumerate(found):
        members = [jax.tree.map(lambda leaf, i=i: leaf[i], state) for i in range(2)]
        for got, wanted in ((members[0], 0), (members[1], 1), (alone[number], 0)):
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), got, expected[wanted][number]
            )
    assert expected[0][-1].params["a"] != expected[1][-1].params["a"]


def test_stops_that_fall_are_refused():
    game = bilinear()
    dynamics = simultaneous({p: optax.sgd(0.1) for p in "ab"})
    with pytest.raises(ValueError, match=r"the stops are \[3, 2\], expected numbers from 0 on"):
        next(states_at([3, 2], game, dynamics, Keys.of(0), lambda key: None))
