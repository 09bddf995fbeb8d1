"""Averages against their closed forms, alone and on the orbits of the bilinear game."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.dynamics import alternating, ema, simultaneous, tail_average
from ganjax.games import bilinear
from ganjax.training import Averaged, init_state, simulate, train_step


def _run(average, values):
    def see(state, value):
        state = average.update(value, state)
        return state, average.value(state)

    return np.asarray(jax.lax.scan(see, average.init(values[0]), values)[1])


def _orbit(dynamics, eta, steps):
    _, path = simulate(bilinear(), dynamics({p: optax.sgd(eta) for p in "ab"}), steps)
    return np.asarray(path["a"]) + 1j * np.asarray(path["b"])


def test_debiased_ema_is_the_normalised_weighted_mean(float64):
    x = np.random.default_rng(0).normal(size=(20, 3))
    got = _run(ema(0.9), jnp.asarray(x))
    for t in range(20):
        weights = 0.1 * 0.9 ** np.arange(t, -1, -1)
        np.testing.assert_allclose(got[t], weights @ x[: t + 1] / weights.sum(), rtol=1e-12)


def test_warm_up_starts_with_short_memory(float64):
    """Decay (1 + t) / (10 + t): 1/10, 2/11, 3/12, ... until it reaches the given one."""
    x = np.array([1.0, 5.0, -2.0])
    d1, d2, d3 = 0.1, 2 / 11, 0.2  # the last one is capped: min(0.2, 3/12)
    weights = np.array([(1 - d1) * d2 * d3, (1 - d2) * d3, 1 - d3])
    got = _run(ema(0.2, warmup=True), jnp.asarray(x))[-1]
    np.testing.assert_allclose(got, weights @ x / weights.sum(), rtol=1e-12)


def test_tail_average_is_the_mean_after_its_start(float64):
    x = np.random.default_rng(1).normal(size=10)
    got = _run(tail_average(4), jnp.asarray(x))
    np.testing.assert_allclose(got[:5], x[:5])
    np.testing.assert_allclose(got[-1], x[4:].mean(), rtol=1e-14)


def test_closed_orbit_averages_to_zero(float64):
    """With step 2 sin(pi / n), alternating play is back after n steps: the mean of one turn is the saddle."""
    n = 50
    z = _orbit(alternating, 2 * np.sin(np.pi / n), n)
    np.testing.assert_allclose(z[-1], z[0], atol=1e-12)
    mean = _run(tail_average(), jnp.asarray(z[:n].view(float).reshape(n, 2)))[-1]
    np.testing.assert_allclose(mean, 0, atol=1e-12)


def test_uniform_average_of_simultaneous_play_diverges(float64):
    """The mean of T steps is exactly -i (z_T - z_0) / (eta T)."""
    z = _orbit(simultaneous, 0.1, 400)
    mean = _run(tail_average(), jnp.asarray(z[:400].view(float).reshape(400, 2)))[-1]
    expected = -1j * (z[400] - z[0]) / (0.1 * 400)
    np.testing.assert_allclose(mean[0] + 1j * mean[1], expected, rtol=1e-10)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99])
def test_ema_shrinks_the_orbit_by_its_transfer_function(decay, float64):
    eta = 0.2
    z = _orbit(alternating, eta, 4000)
    m = _run(ema(decay), jnp.asarray(z.view(float).reshape(-1, 2)))
    phi = 2 * np.arcsin(eta / 2)
    gain = (1 - decay) / np.sqrt(1 - 2 * decay * np.cos(phi) + decay**2)

    def size(path):
        a, b = path.T
        return np.sqrt(a**2 + b**2 - eta * a * b)

    np.testing.assert_allclose(size(m)[-500:] / size(z.view(float).reshape(-1, 2))[-500:], gain, rtol=1e-9)


def test_any_number_of_averages_of_any_player(float64):
    game, dynamics = bilinear(), alternating({p: optax.sgd(0.1) for p in "ab"})
    kept = {
        "slow": Averaged("a", ema(0.99)),
        "fast": Averaged("a", ema(0.5)),
        "tail": Averaged("b", tail_average(3)),
    }
    step = jax.jit(train_step(game, dynamics, kept))
    state = init_state(game, dynamics, jax.random.key(0), None, kept)
    path = {"a": [], "b": []}
    for _ in range(10):
        state, _ = step(state, None, jax.random.key(0))
        path["a"].append(float(state.params["a"]))
        path["b"].append(float(state.params["b"]))
    np.testing.assert_allclose(
        kept["tail"].average.value(state.averages["tail"])[0], np.mean(path["b"][3:]), rtol=1e-12
    )
    for name in ("slow", "fast"):
        expected = _run(kept[name].average, jnp.asarray(path["a"]))[-1]
        np.testing.assert_allclose(kept[name].average.value(state.averages[name])[0], expected, rtol=1e-12)


def test_contract():
    """The state keeps its type; leaves that are not floating point keep their latest value; dtypes stay."""
    tree = {"w": jnp.ones((2, 3), jnp.bfloat16), "n": jnp.array(7, jnp.int32)}
    for average in (ema(0.9), ema(0.9, warmup=True), tail_average(2)):
        state = average.init(tree)
        after = jax.jit(average.update)(tree, state)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), after)
        value = average.value(after)
        assert value["n"] == 7 and value["w"].dtype == jnp.bfloat16
        np.testing.assert_allclose(value["w"].astype(jnp.float32), 1, rtol=1e-2)


@pytest.mark.parametrize("make", [lambda: ema(1.0), lambda: ema(-0.1), lambda: tail_average(-1)])
def test_out_of_range_is_an_error(make):
    with pytest.raises(ValueError, match="expected"):
        make()
