"""Gradient accumulation: a game of k parts takes the step of the undivided batch in the memory of a k-th of it."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax.core import Batch, Game, Moment, Outcome
from ganjax.dynamics import View, alternating, consensus, simultaneous, unrolled
from ganjax.errors import ConfigError
from ganjax.games import Sight, Term, gan, normal_prior
from ganjax.layers.convolution import ConvTranspose
from ganjax.layers.minibatch import MinibatchDiscrimination
from ganjax.losses import LOSSES
from ganjax.models import dcgan
from ganjax.options import GanConfig
from ganjax.penalties import orthogonal, r1
from ganjax.recipe import options
from ganjax.spectral import spectral_norm
from ganjax.training import init_state, parallel, train_step

PRIOR = normal_prior(3)
SGD = {"discriminator": optax.sgd(0.1), "generator": optax.sgd(0.1)}


class Generator(nn.Module):
    norm: bool = False

    @nn.compact
    def __call__(self, z, labels=None, *, train):
        h = nn.Dense(5)(z)
        return nn.Dense(2)(nn.BatchNorm(use_running_average=not train, momentum=0.5)(h) if self.norm else nn.tanh(h))


class Discriminator(nn.Module):
    minibatch: bool = False

    @nn.compact
    def __call__(self, x, labels=None):
        h = nn.tanh(nn.Dense(6)(x))
        return nn.Dense(1)(MinibatchDiscrimination(4, 2, group=2)(h) if self.minibatch else h)[:, 0]


class Layer(nn.Module):
    """The least network, for what compiles much."""

    out: int

    @nn.compact
    def __call__(self, x, labels=None):
        return nn.Dense(self.out)(nn.tanh(x))


class Images(nn.Module):
    """DCGAN's generator without BatchNorm, [B, 3] -> [B, 8, 8, 1]."""

    @nn.compact
    def __call__(self, z, labels=None):
        h = nn.relu(ConvTranspose(8, (4, 4), padding="VALID")(z[:, None, None]))
        return jnp.tanh(ConvTranspose(1, (4, 4), (2, 2))(h))


def _batch(size=24, shape=(2,)):
    return Batch(jax.random.normal(jax.random.key(9), (size, *shape)), None, jnp.arange(size, dtype=jnp.int32))


def _networks(generator, discriminator, **how):
    return gan(generator, discriminator, LOSSES["non_saturating"], prior=PRIOR, **how)


def _start(game, dynamics, batch):
    return jax.jit(lambda key: init_state(game, dynamics, key, batch))(jax.random.key(1))


def _stepped(game, dynamics, batch, state, steps=3):
    step = jax.jit(train_step(game, dynamics))
    for _ in range(steps):
        state, metrics = step(state, batch, jax.random.key(2))
    return state, metrics


def _norm(tree):
    return np.linalg.norm(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]))


GAMES = {
    "perceptrons": (lambda: _networks(Generator(), Discriminator()), (2,), simultaneous(SGD)),
    "turns": (lambda: _networks(Layer(2), Layer(1)), (2,), alternating(SGD, turns={"discriminator": 2})),
    "convolutions": (
        lambda: _networks(Images(), dcgan.Discriminator(4, batch_norm=False)),
        (8, 8, 1),
        alternating(SGD),
    ),
    "packs": (
        lambda: _networks(Layer(2), Discriminator(), sight=Sight(packing=2)),
        (2,),
        simultaneous(SGD, adjust=consensus(0.1)),
    ),
    "groups": (lambda: _networks(Generator(), Discriminator(minibatch=True)), (2,), simultaneous(SGD)),
    "all else": (
        lambda: _networks(
            Layer(2),
            Discriminator(),
            spectral={"discriminator": spectral_norm()},
            terms={
                "discriminator": {"r1": Term(r1(), every=2)},
                "generator": {"orthogonal": Term(orthogonal("generator"), 1e-2)},
            },
            sight=Sight(instance_noise=lambda step: 0.1 / (1 + step), output_noise=0.1),
        ),
        (2,),
        simultaneous(SGD),
    ),
}


@pytest.mark.parametrize("name", GAMES)
def test_micro_batches_take_the_step_of_the_whole_batch(name):
    make, shape, dynamics = GAMES[name]
    game, batch = make(), _batch(36, shape)
    start = _start(game, dynamics, batch)
    whole, metrics = _stepped(game, dynamics, batch, start)
    parts, micro_metrics = _stepped(game._replace(parts=3), dynamics, batch, start)
    chex.assert_trees_all_close(parts, whole, rtol=2e-5, atol=2e-6)
    chex.assert_trees_all_close(micro_metrics, metrics, rtol=2e-5, atol=2e-6)
    moved = jax.tree.map(np.subtract, whole.params, start.params)
    assert _norm(moved) > 2e-3


def _view(game, batch, **how):
    params, net_state = jax.jit(game.init)(jax.random.key(1), batch)
    return View(game, Moment(net_state, batch, jax.random.key(3)), **how), params


@pytest.mark.parametrize("product", ["jacobian_product", "transposed_product"])
@pytest.mark.parametrize("interaction", [False, True])
def test_jacobian_products_are_those_of_the_whole_batch(product, interaction):
    view, params = _view(_networks(Layer(2), Layer(1)), _batch())
    parts = view._replace(game=view.game._replace(parts=4))
    rng = np.random.default_rng(0)
    w = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)
    both = jax.jit(lambda p, w: [getattr(v, product)(p, w, interaction=interaction) for v in (view, parts)])
    expected, got = both(params, w)
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-6)
    assert _norm(expected) > 1e-2


def test_states_of_others_do_not_move_by_rounding():
    """The mean of three thirds of a number is not the number; a player who is not asked keeps every bit."""
    state = {player: {"kept": jnp.linspace(0.1, 0.9, 17)} for player in "ab"}
    params = {player: jnp.ones(()) for player in "ab"}
    cost = lambda p, moment: (p["a"] * moment.batch.mean(), Outcome(moment.net_state["a"], {}))  # noqa: E731
    game = Game(lambda key, batch: (params, state), {"a": cost, "b": cost}, parts=3)
    field = View(game, Moment(state, jnp.ones(6), jax.random.key(0))).field(params, ("a",))
    assert (field.net_state["b"]["kept"] == state["b"]["kept"]).all()
    assert (field.net_state["a"]["kept"] != state["a"]["kept"]).any(), "nothing is rounded, nothing is tested"


def test_batch_norm_sees_each_micro_batch_and_moves_once():
    """Field and statistics are the mean of those of the micro-batches, each looked at from the same state."""
    game, batch = _networks(Generator(norm=True), Discriminator()), _batch()
    view, params = _view(game, batch)
    dealt = [jax.tree.map(lambda leaf, j=j: leaf[j::3], jax.device_get(batch)) for j in range(3)]
    field = jax.jit(lambda part, params: view._replace(moment=view.moment._replace(batch=part)).field(params))
    each = jax.device_get([field(part, params) for part in dealt])
    expected = jax.tree.map(lambda *leaves: sum(leaves) / 3, *each)
    got = jax.jit(view._replace(game=game._replace(parts=3)).field)(params)
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-6)
    mean = got.net_state["generator"]["batch_stats"]["BatchNorm_0"]["mean"]
    draw = jax.vmap(lambda i: PRIOR(jax.random.fold_in(view.moment.key, i)))
    layer = jax.device_get(params["generator"]["Dense_0"])
    h = np.asarray(jax.jit(draw)(batch.position)) @ layer["kernel"] + layer["bias"]
    np.testing.assert_allclose(mean, h.mean(0) / 2, rtol=1e-4, atol=1e-6)  # momentum 1/2, from zero


def test_devices_with_micro_batches_take_the_step_of_one():
    game, batch = _networks(Generator(), Discriminator(), sight=Sight(packing=2)), _batch()
    view, params = _view(game, batch)
    expected = jax.jit(view.field)(params)
    x, position = jax.device_get((batch.x, batch.position))
    shares = Batch(x.reshape(12, 2, 2).swapaxes(0, 1), None, position.reshape(12, 2).T)
    shared = view._replace(game=game._replace(parts=3), axis_name="devices")
    mapped = jax.vmap(
        lambda part: shared._replace(moment=shared.moment._replace(batch=part)).field(params),
        axis_name="devices",
        in_axes=(Batch(0, None, 0),),
    )
    both = jax.device_get(jax.jit(mapped)(shares))
    for device in range(2):
        got = jax.tree.map(lambda leaf, d=device: leaf[d], both)
        chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-6)


def test_memory_is_that_of_a_micro_batch():
    game, batch = _networks(Generator(), Discriminator()), _batch(8192)
    view, params = _view(game, batch)

    def temporaries(parts):
        look = view._replace(game=game._replace(parts=parts))
        return jax.jit(lambda p: look.field(p).gradients).lower(params).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(8) < temporaries(1) / 4


def test_an_opponent_that_looks_ahead_sees_the_micro_batch():
    """Its inner steps do not divide the micro-batch again."""
    game = _networks(Layer(2), Layer(1))._replace(parts=4)
    dynamics = unrolled(simultaneous(SGD), player="generator", steps=2, step=0.1)
    batch = _batch(12)
    state, metrics = _stepped(game, dynamics, batch, _start(game, dynamics, batch), steps=1)
    assert np.isfinite(metrics["generator/cost"]) and int(state.step) == 1


def test_what_does_not_divide_is_an_error(monkeypatch):
    view, params = _view(_networks(Generator(), Discriminator())._replace(parts=5), _batch())
    with pytest.raises(ValueError, match=r"24 examples .on one device. cannot be divided into 5 equal micro-batches"):
        view.field(params)
    view, params = _view(_networks(Generator(), Discriminator(), sight=Sight(packing=2), accumulate=8), _batch())
    with pytest.raises(ValueError, match="a batch of 3 cannot be packed by 2"):
        view.field(params)
    view, params = _view(_networks(Generator(), Discriminator(minibatch=True), accumulate=8), _batch())
    with pytest.raises(ValueError, match="a batch of 3 has no groups of 2"):
        view.field(params)
    with pytest.raises(ValueError, match="fakes_kept moves with the whole batch; expected accumulate of 1"):
        _networks(Generator(), Discriminator(), sight=Sight(fakes_kept=20), accumulate=2)
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    parallel.check_batch(64, 8)
    with pytest.raises(
        ConfigError, match="the 16 examples of a device cannot be divided into 3 micro-batches; use a m"
    ):
        parallel.check_batch(64, 3)


def test_the_option_reaches_the_game():
    config = GanConfig(batch_size=24, packing=2, accumulate=3)
    assert _networks(Generator(), Discriminator(), **options(config)).parts == 3
    with pytest.raises(
        ConfigError, match="--batch-size is 24, expected a multiple of --packing 2 times --accumulate 5"
    ):
        replace(config, accumulate=5)
    with pytest.raises(ConfigError, match="--accumulate is 0, expected at least 1"):
        replace(config, accumulate=0)
