"""The step: keys, the guard, the fingerprint, and the loop's arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.core import Game, Outcome
from ganjax.dynamics import alternating, ema, simultaneous
from ganjax.training import Averaged, Keys, digest, init_state, train_step


def _noisy_game(nan_at=None, player="a"):
    """Each player descends `own * draw`, where the draw comes from the step's key; NaN at one key if asked."""

    def cost(own):
        def value(params, moment):
            draw = jax.random.normal(moment.key)
            if nan_at is not None and own == player:
                draw = jnp.where((jax.random.key_data(moment.key) == jax.random.key_data(nan_at)).all(), jnp.nan, draw)
            return params[own] * draw, Outcome({"seen": moment.net_state[own]["seen"] + 1}, {"draw": draw})

        return value

    def init(key, batch):
        zero = jnp.zeros(())
        return {"a": zero, "b": zero}, {"a": {"seen": zero}, "b": {"seen": zero}}

    return Game(init, {"a": cost("a"), "b": cost("b")})


def _setup(dynamics, **kwargs):
    game = _noisy_game(**kwargs)
    dynamics = dynamics({p: optax.adam(0.1) for p in "ab"})
    averages = {"ema": Averaged("a", ema(0.9))}
    return jax.jit(train_step(game, dynamics, averages)), init_state(game, dynamics, jax.random.key(0), None, averages)


def test_the_key_of_step_k_is_folded_from_the_base_key():
    step, state = _setup(simultaneous)
    base = jax.random.key(42)
    for k in range(4):
        state, metrics = step(state, None, base)
        expected = jax.random.normal(jax.random.fold_in(base, k))
        assert metrics["a/draw"] == metrics["b/draw"] == expected


def test_the_streams_of_two_seeds_are_six_keys():
    keys = [jax.random.key_data(key).tobytes() for seed in (0, 1) for key in Keys.of(seed)]
    assert len(set(keys)) == 6


@pytest.mark.parametrize("player", ["a", "b"])
@pytest.mark.parametrize("dynamics", [simultaneous, alternating])
def test_a_step_with_nan_is_rejected_whole(dynamics, player):
    base = jax.random.key(1)
    step, state = _setup(dynamics, nan_at=jax.random.fold_in(base, 2), player=player)
    for k in range(5):
        before, (state, metrics) = state, step(state, None, base)
        if k == 2:
            assert metrics["finite"] == 0
            kept = before.replace(step=state.step, skipped=state.skipped)
            assert digest(state) == digest(kept), "part of the state moved"
        else:
            assert metrics["finite"] == 1 and digest(before.params) != digest(state.params)
    assert (int(state.step), int(state.skipped)) == (5, 1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (1, 7), (2, 3, 3, 5)])
def test_all_finite_sees_one_bad_element_anywhere(shape, dtype):
    """Largest and least finite numbers pass, one NaN or infinity at any place does not."""
    from ganjax.training.step import all_finite

    check = jax.jit(all_finite)
    limits = jnp.finfo(dtype)
    for value in (limits.max, -limits.max, limits.smallest_subnormal, 0):
        assert check({"x": jnp.full(shape, value, dtype), "n": jnp.arange(3)})
    rng = np.random.default_rng(0)
    for value in (np.nan, np.inf, -np.inf):
        x = rng.normal(size=shape).astype(np.float32).reshape(-1)
        x[rng.integers(x.size)] = value
        assert not check({"x": jnp.asarray(x.reshape(shape), dtype), "y": jnp.ones(3)})


def test_digest_sees_every_bit_and_where_it_is():
    tree = {"a": np.zeros(3, np.float32), "b": np.ones((1, 3), np.float32)}
    same = {"b": np.ones((1, 3), np.float32), "a": np.zeros(3, np.float32)}
    assert digest(tree) == digest(same)
    different = [
        {**tree, "a": np.array([0, 0, -0.0], np.float32)},
        {**tree, "a": np.nextafter(np.zeros(3, np.float32), 1)},
        {**tree, "a": np.zeros(3, np.int32)},
        {**tree, "b": np.ones((3, 1), np.float32)},
        {"a": tree["a"], "c": tree["b"]},
    ]
    assert len({digest(tree), *map(digest, different)}) == 6
