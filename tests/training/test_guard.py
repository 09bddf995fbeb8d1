"""The guard of a chunk: steps are taken together and tested once, and what comes of it is what guarded steps give.

One game has a player for each kind of memory. A plan in the state says into which leaf which steps write values that
are not finite, so that few programs serve all cases. They are compiled as users compile them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.core import Batch, Game, GameState, Outcome
from ganjax.dynamics import clipped, ema, historical_averaging, lookahead, simultaneous, tail_average
from ganjax.training import Averaged, init_state
from ganjax.training.absorbing import absorbing
from ganjax.training.chunk import compile_chunk
from ganjax.training.state import by_path
from ganjax.training.step import guarded, unguarded_step

pytestmark = pytest.mark.usefixtures("as_users")

LENGTH = 6
STEPS = 3 * LENGTH


class Last(NamedTuple):
    """The memory of `forgetful`, of a type that nobody knows."""

    gradient: jax.Array


def forgetful():
    """Gradient descent that remembers the last gradient, acts on it at once, and never minds a NaN in it."""

    def update(gradient, state, params=None):
        healthy = lambda g: jnp.clip(jnp.nan_to_num(g), -1, 1)  # noqa: E731
        return jax.tree.map(lambda g, m: -0.01 * healthy(g + m), gradient, state.gradient), Last(gradient)

    return optax.GradientTransformation(lambda params: Last(jax.tree.map(jnp.zeros_like, params)), update)


SCALE = optax.scale(-0.01)
OPTIMIZERS = {  # many memories in a row of each player: small programs
    "moments": optax.chain(
        optax.scale_by_adam(),
        optax.scale_by_adam(b1=0.0),
        optax.scale_by_adam(b2=0.0, mu_dtype=jnp.bfloat16),
        optax.scale_by_amsgrad(),
        SCALE,
    ),
    "traces": optax.chain(
        optax.trace(0.9, nesterov=True),
        optax.trace(0.0),
        optax.scale_by_rms(),
        optax.scale_by_rms(decay=0.0),
        optax.scale_by_optimistic_gradient(),
        optax.scale_by_schedule(optax.linear_schedule(1.0, 0.0, 100)),
        SCALE,
    ),
    "wgan": clipped(optax.rmsprop(0.01), 0.5),
    "injected": optax.inject_hyperparams(optax.sgd)(optax.constant_schedule(0.01)),
    "forgetful": forgetful(),
}
# Where a later step can hide a value: these leaves, and no others, are tested in every step.
HEALED = {
    "dynamics_state.inner.optimizers.moments.3.nu_max",
    "dynamics_state.inner.optimizers.traces.4.previous_gradient",
    "dynamics_state.inner.optimizers.injected.hyperparams.learning_rate",
    "dynamics_state.inner.optimizers.forgetful.gradient",
    "net_state.moments.last",
}
AVERAGES = {
    "ema": Averaged("moments", ema(0.9)),
    "ema_decay_0": Averaged("moments", ema(0.0)),
    "tail": Averaged("wgan", tail_average(3)),  # r = 1 at first
}


def _game():
    """Every player descends a quadratic that the batch shifts; the first has statistics, and the plan."""

    def cost(player):
        def of(params, moment):
            w, own = params[player], moment.net_state[player]
            if player == "moments":
                own = own | {"mean": 0.9 * own["mean"] + 0.1 * moment.batch.x.mean(0), "last": w - 1}
            return jnp.square(w - moment.batch.x.mean(0)).sum(), Outcome(own, {})

        return of

    def init(key, batch):
        zeros = jnp.zeros((2, 3))
        plan = {"leaf": jnp.array(-1), "first": jnp.array(0), "steps": jnp.zeros(STEPS, bool)}
        net_state = {player: {} for player in OPTIMIZERS} | {"moments": {"plan": plan, "mean": zeros, "last": zeros}}
        return dict.fromkeys(OPTIMIZERS, zeros + 0.25), net_state

    return Game(init, {player: cost(player) for player in OPTIMIZERS})


def _spoiled(move):
    """The step that does what the plan in its state says: a matrix gets each value twice, a scalar the first."""

    def step(state, batch, key):
        new, metrics = move(state, batch, key)
        plan = state.net_state["moments"]["plan"]
        values = jnp.roll(jnp.array([np.nan, np.inf, -np.inf]), -plan["first"])

        def spoil(i, leaf):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            hit = (plan["leaf"] == i) & plan["steps"][state.step]
            return leaf + jnp.where(hit, jnp.resize(values, leaf.shape), 0.0).astype(leaf.dtype)

        leaves, tree = jax.tree.flatten(new)
        return jax.tree.unflatten(tree, [spoil(i, leaf) for i, leaf in enumerate(leaves)]), metrics

    return step


class Programs(NamedTuple):
    start: GameState
    keeps: list[bool]  # what `absorbing` says of each leaf
    together: Callable  # (state, count) -> the state after so many unguarded steps
    chunk: Callable[..., Any]  # (state, at, count) -> (state, flags), guarded, from step `at` of the run on
    guarded: Callable[..., Any]  # (state, at) -> (state, flag), one guarded step


def _collate(data, rows, key):
    return Batch(data["data"]["x"][rows["data"]], None, jnp.arange(len(rows["data"]), dtype=jnp.int32))


@cache
def programs():
    game = _game()
    dynamics = lookahead(simultaneous(OPTIMIZERS, adjust=historical_averaging(0.1, ema(0.5))), k=2, alpha=1.0)
    x = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32)
    data, key = {"data": {"x": jnp.asarray(x), "y": None}}, jax.random.key(1)
    rows = jnp.arange(2 * (STEPS + LENGTH), dtype=jnp.int32).reshape(-1, 2) % 8
    start = init_state(game, dynamics, jax.random.key(0), None, AVERAGES)
    move = _spoiled(unguarded_step(game, dynamics, AVERAGES))

    def batch(i):
        return _collate(data, {"data": rows[i]}, key)

    @jax.jit
    def together(state, count):
        turn = lambda i, state: replace(move(state, batch(i), key)[0], step=state.step + 1)  # noqa: E731
        return jax.lax.fori_loop(0, count, turn, state)

    chunk = compile_chunk(move, _collate, scan=True, length=LENGTH)

    def some(state, at, count):
        state, metrics = chunk(jax.device_get(state), data, {"data": rows[at : at + LENGTH]}, key, count)
        return state, np.asarray(metrics["finite"])[:count].tolist()

    keeps = absorbing(move, start, Batch(data["data"]["x"][:2], None, jnp.arange(2)), key)
    return Programs(start, keeps, together, some, jax.jit(lambda state, i: guarded(move)(state, batch(i), key)))


def _planned(leaf, steps, first=0):
    """The start of a run in which these steps spoil the leaf of this number."""
    state = programs().start
    plan = {"leaf": jnp.array(leaf), "first": jnp.array(first), "steps": jnp.asarray(np.isin(range(STEPS), steps))}
    return replace(state, net_state=state.net_state | {"moments": state.net_state["moments"] | {"plan": plan}})


def _in_chunks(state, counts):
    """The state and all flags after chunks of these lengths."""
    flags, at = [], 0
    for count in counts:
        state, found = programs().chunk(state, at, count)
        flags, at = flags + found, at + count
    return state, flags


def _floating():
    """(number, path, leaf) of every floating leaf at the start."""
    leaves = enumerate(by_path(programs().start).items())
    return [(i, path, leaf) for i, (path, leaf) in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _bits(state):
    """Every leaf but the plan."""
    return {path: np.asarray(leaf).tobytes() for path, leaf in by_path(state).items() if ".plan." not in path}


def test_what_is_tested_in_every_step():
    """What no step can heal is left to the end: parameters, moments, traces, averages, memories of adjustments."""
    keeps = programs().keeps
    assert {path for i, path, _ in _floating() if not keeps[i]} == HEALED


def test_what_is_left_to_the_end_is_found_there():
    """NaN and both infinities, written in step 1, are still in their places when the compiled loop ends."""
    found = programs()
    for i, path, leaf in _floating():
        for first in range(1 if leaf.ndim else 3) if found.keeps[i] else ():
            end = found.together(_planned(i, [1], first), LENGTH)
            assert not np.isfinite(np.asarray(by_path(end)[path], np.float32)).any(), path


def test_a_value_in_any_leaf_rejects_its_step():
    """The leaves that are healed included: the plan's steps and no others, and the run is what it is without them."""
    steps = [0, 2, 3]
    flags = [float(k not in steps) for k in range(LENGTH + 1)]
    expected = None
    for i, path, _ in _floating():
        state, found = _in_chunks(_planned(i, steps, i), [LENGTH, 1])  # so that the next begins together
        assert (found, int(state.step), int(state.skipped)) == (flags, LENGTH + 1, len(steps)), path
        expected = expected or _bits(state)
        assert _bits(state) == expected, path
    alone = _planned(i, steps)
    jax.config.update("jax_disable_most_optimizations", True)  # compiled quickly; `as_users` takes it back
    for k in range(LENGTH + 1):
        alone, metrics = programs().guarded(alone, k)
        assert metrics["finite"] == flags[k]
    for path, leaf in by_path(alone).items():  # another program: its last bits are its own
        if ".plan." not in path:
            np.testing.assert_allclose(np.asarray(by_path(state)[path], float), np.asarray(leaf, float), 1e-5, 1e-7)


def test_nothing_depends_on_where_chunks_begin():
    """Whether steps are taken together or, after a rejection, one by one."""
    i = next(i for i, path, _ in _floating() if path.endswith("optimizers.moments.0.nu"))
    state, _ = _in_chunks(_planned(i, [2, 9, 10]), [6, 6, 6])
    assert (int(state.step), int(state.skipped)) == (18, 3)
    for counts in ([1] * 18, [4, 2, 5, 6, 1]):
        other, flags = _in_chunks(_planned(i, [2, 9, 10]), counts)
        assert flags == [float(k not in (2, 9, 10)) for k in range(18)]
        assert _bits(other) == _bits(state)


def test_a_run_that_rejects_often_takes_its_steps_once():
    """A chunk that follows one with a rejection begins one by one, and others only if they have to."""
    taken = []

    def move(state, batch, key):
        jax.debug.callback(lambda: taken.append(1))
        bad = jnp.where(batch.x[0] == 2, jnp.nan, 1.0)
        return replace(state, params={"one": state.params["one"] + bad}), {}

    step, skipped, one = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), jnp.zeros(())
    state, chunk = (
        GameState(step, {"one": one}, {}, (), {}, skipped),
        compile_chunk(move, _collate, scan=True, length=4),
    )
    counts = []
    for at in range(0, 20, 4):  # the steps in which x is 2 are those of the chunks 0, 1 and 3
        rows = jnp.arange(4, dtype=jnp.int32)[:, None] * jnp.int32(at in (0, 4, 12))
        state, metrics = chunk(state, {"data": {"x": jnp.arange(4.0)}}, {"data": rows}, jax.random.key(0), 4)
        assert np.asarray(metrics["finite"]).tolist() == [1, 1, float(at not in (0, 4, 12)), 1]
        jax.effects_barrier()
        counts.append(len(taken))
        taken.clear()
    assert counts == [8, 4, 4, 8, 4] and (int(state.params["one"]), int(state.skipped)) == (17, 3)


def test_absorbing_by_hand():
    """Of one leaf, by what makes the next: kept in its place whatever the other operand is, or not."""
    other, flag = jnp.ones(3), jnp.array([True, False, True])
    keeps = {
        "sum": lambda m: m + other,
        "difference": lambda m: other - m,
        "product with zero": lambda m: 0.0 * m,
        "numerator": lambda m: m / other,
        "narrowed": lambda m: (m + other).astype(jnp.bfloat16),
        "chosen of two that keep": lambda m: jnp.where(flag, m, -m),
        "a loop": lambda m: jax.lax.fori_loop(0, 5, lambda _, m: m + other, m),
        "a scan": lambda m: jax.lax.scan(lambda m, x: (m * x, x), m, other)[0],
        "branches that keep": lambda m: jax.lax.cond(other[0] > 0, lambda: m, lambda: m + 1),
    }
    heals = {
        "denominator": lambda m: other / m,
        "bounded": lambda m: jnp.clip(m, -1, 1),
        "chosen of one that keeps": lambda m: jnp.where(flag, m, other),
        "elsewhere": lambda m: jnp.where(flag, m, m[::-1]),
        "another": lambda m: other,
        "a loop that ends elsewhere": lambda m: jax.lax.fori_loop(0, 5, lambda _, c: (c[1], other), (m, m))[0],
        "a scan's last": lambda m: jax.lax.scan(lambda c, x: (x + 0 * c, c), 0.0, m)[1],
        "a branch that heals": lambda m: jax.lax.cond(other[0] > 0, lambda: m, lambda: other),
        "a format without infinities": lambda m: m.astype(jnp.float8_e4m3fn),
        "an integer": lambda m: m.astype(int),
    }
    assert {
        name for name, step in keeps.items() if absorbing(lambda m, step=step: (step(m),), other) != [True]
    } == set()
    assert {
        name for name, step in heals.items() if absorbing(lambda m, step=step: (step(m),), other) != [False]
    } == set()
