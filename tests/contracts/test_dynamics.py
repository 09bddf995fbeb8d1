"""One contract over all update rules and games: a new rule or game is added to a table and tested by it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax.core import Batch
from ganjax.dynamics import alternating, ema, simultaneous, tail_average
from ganjax.games import bilinear, dirac_gan, gan, normal_prior
from ganjax.losses import LOSSES
from ganjax.spectral import spectral_norm
from ganjax.training import Averaged, digest, init_state, train_step


class Net(nn.Module):
    """A small network with BatchNorm, of any output size."""

    out: int

    @nn.compact
    def __call__(self, x, *, train):
        h = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Dense(4, use_bias=False)(x)))
        return nn.Dense(self.out)(h)


def _batch():
    return Batch(jnp.linspace(-1.0, 1.0, 24).reshape(12, 2), None, jnp.arange(12, dtype=jnp.int32))


GAMES = {
    "bilinear": lambda: (bilinear(), None),
    "bilinear_matrix": lambda: (bilinear(np.array([[1.0, 2.0], [0.0, 1.0], [1.0, -1.0]])), None),
    "dirac_gan": lambda: (dirac_gan(), None),
    "dirac_non_saturating": lambda: (dirac_gan(non_saturating=True), None),
    "dirac_wasserstein": lambda: (dirac_gan("wasserstein"), None),
    "networks": lambda: (
        gan(Net(2), Net(1), LOSSES["non_saturating"], prior=normal_prior(3), spectral=spectral_norm()),
        _batch(),
    ),
}
DYNAMICS = {
    "simultaneous": simultaneous,
    "alternating": alternating,
    "alternating_two_turns": lambda opts: alternating(opts, turns={next(iter(opts)): 2}),
    "alternating_reversed": lambda opts: alternating(opts, order=tuple(opts)[::-1]),
}


def _make(game_name, dynamics_name, optimizer=optax.adam):
    game, batch = GAMES[game_name]()
    dynamics = DYNAMICS[dynamics_name]({p: optimizer(0.05) for p in game.players})
    first, last = game.players[0], game.players[-1]
    averages = {"ema": Averaged(last, ema(0.9)), "tail": Averaged(first, tail_average(1))}
    state = jax.jit(lambda key: init_state(game, dynamics, key, batch, averages))(jax.random.key(0))
    return train_step(game, dynamics, averages), state, batch


@pytest.mark.parametrize("game_name", GAMES)
@pytest.mark.parametrize("dynamics_name", DYNAMICS)
def test_contract(game_name, dynamics_name):
    step, state, batch = _make(game_name, dynamics_name)
    key = jax.random.key(3)
    chex.clear_trace_counter()
    jitted = jax.jit(chex.assert_max_traces(step, n=1))
    after, metrics = jitted(state, batch, key)
    second, _ = jitted(after, batch, key)

    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert not any(jax.tree.leaves(jax.tree.map(lambda leaf: leaf.weak_type, after)))
    assert (int(second.step), int(second.skipped)) == (2, 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((second, metrics)))
    assert all(value.shape == () for value in metrics.values())
    for player in state.params:
        assert f"{player}/cost" in metrics
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params[player], second.params[player])
        assert any(jax.tree.leaves(moved)), f"{player} did not move"

    assert digest(jitted(state, batch, key)[0]) == digest(after), "not deterministic"
    restored = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), after)
    assert digest(jitted(restored, batch, key)[0]) == digest(second), "not resumable"


@pytest.mark.parametrize("game_name", ["bilinear", "networks"])
@pytest.mark.parametrize("dynamics_name", DYNAMICS)
def test_population(game_name, dynamics_name):
    """vmap over keys trains a population whose members are what they are alone."""
    # With Adam, a parameter whose gradient is zero but for rounding (a bias before BatchNorm) moves at random.
    step, state, batch = _make(game_name, dynamics_name, optax.sgd)
    keys = jax.random.split(jax.random.key(7), 3)
    together, _ = jax.jit(jax.vmap(lambda key: step(state, batch, key)))(keys)
    alone, _ = jax.jit(step)(state, batch, keys[1])
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[1], together.params), alone.params, rtol=1e-4, atol=1e-5)
