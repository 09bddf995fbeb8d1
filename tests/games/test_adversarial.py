"""The game of two networks: what each cost sees, moves and leaves alone."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax.core import Batch, Critique, Moment, noise
from ganjax.dynamics import alternating, simultaneous, vector_field
from ganjax.games import gan, normal_prior, sampler, uniform_prior
from ganjax.losses import LOSSES
from ganjax.models import mlp
from ganjax.spectral import spectral_norm
from ganjax.training import init_state


class Generator(nn.Module):
    """z, [B, 3] -> [B, 2], with BatchNorm."""

    @nn.compact
    def __call__(self, z, labels=None, *, train):
        z = z if labels is None else z + nn.Embed(4, z.shape[-1])(labels)
        return nn.Dense(2)(nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(5)(z)))


class Discriminator(nn.Module):
    """x, [B, 2] -> logits [B], with BatchNorm."""

    @nn.compact
    def __call__(self, x, labels=None, *, train):
        h = nn.tanh(nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(6)(x)))
        h = h if labels is None else h + nn.Embed(4, 6)(labels)
        return nn.Dense(1)(h)[:, 0]


PRIOR = normal_prior(3)


def _batch(size=8, labelled=False):
    x = jax.random.normal(jax.random.key(9), (size, 2)) + 1
    label = jnp.arange(size, dtype=jnp.int32) % 4 if labelled else None
    return Batch(x, label, jnp.arange(size, dtype=jnp.int32))


@cache
def _plain():
    """The game of the two networks and how it starts, whatever its loss."""
    game = gan(Generator(), Discriminator(), LOSSES["hinge"], prior=PRIOR)
    return game, _start(game, _batch())[1]


def _start(game, batch, dynamics=None):
    dynamics = dynamics or simultaneous({p: optax.sgd(0.1) for p in game.players})
    return dynamics, jax.jit(lambda key, batch: init_state(game, dynamics, key, batch))(jax.random.key(1), batch)


def _same(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_costs_are_the_losses_of_the_two_networks():
    """By hand, with stock Flax calls on the same variables and noise."""
    game, batch, key = (
        gan(Generator(), Discriminator(), LOSSES["non_saturating"], prior=PRIOR),
        _batch(),
        jax.random.key(5),
    )
    _, state = _plain()
    g = {"params": state.params["generator"], **state.net_state["generator"]}
    d = {"params": state.params["discriminator"], **state.net_state["discriminator"]}

    @jax.jit
    def by_hand(g, d):
        z = jnp.stack([jax.random.normal(jax.random.fold_in(key, i), (3,)) for i in range(8)])
        fake, g_new = Generator().apply(g, z, train=True, mutable="batch_stats")
        real_logits, d_new = Discriminator().apply(d, batch.x, train=True, mutable="batch_stats")
        fake_logits, d_new = Discriminator().apply(d | d_new, fake, train=True, mutable="batch_stats")
        return real_logits, fake_logits, g_new, d_new

    real_logits, fake_logits, g_new, d_new = jax.tree.map(np.asarray, by_hand(g, d))
    softplus = lambda t: np.logaddexp(0, t)  # noqa: E731
    cost, outcome = jax.jit(game.costs["discriminator"])(state.params, Moment(state.net_state, batch, key))
    np.testing.assert_allclose(cost, (softplus(-real_logits) + softplus(fake_logits)).mean(), rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), outcome.net_state, d_new)
    cost, outcome = jax.jit(game.costs["generator"])(state.params, Moment(state.net_state, batch, key))
    np.testing.assert_allclose(cost, softplus(-fake_logits).mean(), rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), outcome.net_state, g_new)


def test_a_turn_moves_its_own_player_alone():
    game, batch = (
        gan(Generator(), Discriminator(), LOSSES["hinge"], prior=PRIOR, spectral={"discriminator": spectral_norm()}),
        _batch(),
    )
    _, state = _start(game, batch)
    for player, other in (("discriminator", "generator"), ("generator", "discriminator")):
        field = jax.jit(
            lambda state, player=player: vector_field(
                game, state.params, Moment(state.net_state, batch, jax.random.key(2)), costs=(player,)
            )
        )(state)
        assert set(field.gradients) == {player}
        assert not _same(field.net_state[player]["batch_stats"], state.net_state[player]["batch_stats"])
        assert _same(field.net_state[other], state.net_state[other])


@pytest.mark.fault("pytorch 13350: u moves at every forward pass")
def test_u_moves_once_per_discriminator_step():
    """One update, shared by the real and the fake pass; the generator's step and sampling read it only."""
    norm = spectral_norm()
    game = gan(Generator(), Discriminator(), LOSSES["hinge"], prior=PRIOR, spectral={"discriminator": norm})
    batch, turns = _batch(24), 2
    dynamics, state = _start(
        game, batch, alternating({p: optax.sgd(0.0) for p in game.players}, turns={"discriminator": turns})
    )
    before = state.net_state["discriminator"]["spectral"]
    step = jax.jit(lambda state: dynamics.step(game, state, batch, jax.random.key(3))[0])
    after = step(state).net_state["discriminator"]["spectral"]
    update, expected = jax.jit(norm.update), before
    for _ in range(turns):  # the learning rate is 0, so the kernels stay
        expected = update(state.params["discriminator"], expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after, expected)
    assert not _same(after, update(state.params["discriminator"], before))


def test_spectral_norm_is_in_the_forward_pass_and_leaves_kernels_alone():
    """Scaling a normalised kernel changes nothing; a step of size 0 rewrites nothing."""
    norm = spectral_norm(steps=50)
    game = gan(Generator(), Discriminator(), LOSSES["hinge"], prior=PRIOR, spectral={"discriminator": norm})
    batch, key = _batch(), jax.random.key(3)
    _, state = _start(game, batch)
    # Outside of jit: fifty steps written out take long to compile.
    cost = game.costs["discriminator"](state.params, Moment(state.net_state, batch, key))[0]
    params = dict(state.params)
    params["discriminator"] = jax.tree.map(lambda w: 7 * w if w.ndim == 2 else w, params["discriminator"])
    np.testing.assert_allclose(
        game.costs["discriminator"](params, Moment(state.net_state, batch, key))[0], cost, rtol=1e-4
    )
    plain, _ = _plain()
    stats = {p: {"batch_stats": s["batch_stats"]} for p, s in state.net_state.items()}
    assert abs(jax.jit(plain.costs["discriminator"])(state.params, Moment(stats, batch, key))[0] - cost) > 1e-3


def test_labels_reach_both_networks():
    game, batch, key = (
        gan(Generator(), Discriminator(), LOSSES["hinge"], prior=PRIOR),
        _batch(labelled=True),
        jax.random.key(4),
    )
    _, state = _start(game, batch)
    assert "Embed_0" in state.params["generator"] and "Embed_0" in state.params["discriminator"]
    other = batch._replace(y=(batch.y + 1) % 4)
    for player in game.players:
        cost = jax.jit(game.costs[player])
        costs = [cost(state.params, Moment(state.net_state, b, key))[0] for b in (batch, other)]
        assert abs(costs[0] - costs[1]) > 1e-6


@pytest.mark.parametrize("one_pass", [True, False])
def test_a_condition_may_be_a_vector(one_pass):
    """A projection discriminator weighs it, of real and of fake examples alike; a step is finite."""
    generator, discriminator = mlp.Generator((2,), (5,), output=mlp.identity), mlp.Discriminator((6,))
    game = gan(generator, discriminator, LOSSES["hinge"], prior=PRIOR, one_pass=one_pass)
    batch = _batch()._replace(y=jax.random.normal(jax.random.key(11), (8, 5)))
    _, state = _start(game, batch)
    kernel = state.params["discriminator"]["Dense_2"]["kernel"]
    assert kernel.shape == (5, 6)
    cost = jax.jit(
        jax.grad(
            lambda y, player: game.costs[player](
                state.params, Moment(state.net_state, batch._replace(y=y), jax.random.key(4))
            )[0]
        ),
        static_argnums=1,
    )
    for player in game.players:
        slopes = cost(batch.y, player)
        assert np.isfinite(slopes).all() and (jnp.abs(slopes).max(-1) > 0).any()


@pytest.mark.parametrize("prior", [normal_prior(3), uniform_prior(3), lambda key: jax.random.laplace(key, (3,))])
def test_noise_depends_on_the_global_position_alone(prior):
    key, index = jax.random.key(6), jnp.arange(12)
    whole, part, one = jax.jit(
        lambda: (noise(prior, key, index), noise(prior, key, index[5:9]), prior(jax.random.fold_in(key, 7)))
    )()
    np.testing.assert_array_equal(whole[5:9], part)
    np.testing.assert_array_equal(whole[7], one)
    assert len(np.unique(whole[:, 0])) == 12


def test_simultaneous_play_shares_the_generators_forward_pass():
    """Both costs see the same fakes, so the compiled step draws the noise once, not twice."""
    (game, state), batch, key = _plain(), _batch(), jax.random.key(4)

    def dots(players):
        field = jax.jit(lambda p, s: vector_field(game, p, Moment(s, batch, key), costs=players).gradients)
        return field.lower(state.params, state.net_state).compile().cost_analysis()["flops"]

    both, apart = dots(None), dots(("discriminator",)) + dots(("generator",))
    assert both < 0.9 * apart


def test_sampling_is_in_evaluation_mode_and_draws_each_sample_by_itself():
    _, state = _plain()
    key, weights = jax.random.key(7), state.weights
    sample = jax.jit(lambda index: sampler(Generator(), PRIOR)(weights, key, index))
    g, s = weights["generator"]
    whole = sample(np.arange(10))
    np.testing.assert_allclose(sample(np.arange(3, 6)), whole[3:6], rtol=1e-5)
    apply = jax.jit(lambda i: Generator().apply({"params": g, **s}, noise(PRIOR, key, i), train=False))
    np.testing.assert_allclose(whole, apply(np.arange(10)), rtol=1e-6)


def test_sampling_leaves_u_of_the_generator_as_it_is():
    norm, batch, key = spectral_norm(), _batch(), jax.random.key(7)
    game = gan(Generator(), Discriminator(), LOSSES["hinge"], prior=PRIOR, spectral={"generator": norm})
    _, state = _start(game, batch)
    g, s = state.params["generator"], state.net_state["generator"]

    @jax.jit
    def both(index):
        variables = {"params": norm.normalise(g, s["spectral"]), "batch_stats": s["batch_stats"]}
        expected = Generator().apply(variables, noise(PRIOR, key, index), train=False)
        return sampler(Generator(), PRIOR, spectral=norm)(state.weights, key, index), expected

    found, expected = both(np.arange(6))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_sampler_is_its_two_parts_under_jit_too():
    (_, state), key = _plain(), jax.random.key(7)
    sample, index, labels = sampler(Generator(), PRIOR), jnp.arange(2, 12), None
    weights = state.weights
    z = sample.latents(weights, key, index)
    np.testing.assert_array_equal(z[3], jax.random.normal(jax.random.fold_in(key, 5), (3,)))
    np.testing.assert_array_equal(sample.latent.decode(weights, z, labels), sample(weights, key, index, labels))
    jitted = jax.jit(lambda *told: sample(*told))
    np.testing.assert_allclose(jitted(weights, key, index, labels), sample(weights, key, index), rtol=1e-5)
    assert sample.latent.normal == 3


def test_a_module_without_train_works():
    class Line(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(x)

    game, batch = gan(Line(), Line(), LOSSES["wasserstein"], prior=PRIOR), _batch()
    dynamics, state = _start(game, batch)
    step = jax.jit(lambda state: dynamics.step(game, state, batch, jax.random.key(0))[1])
    assert np.isfinite(step(state)["generator/cost"])


def test_wrong_generator_shape_is_an_error():
    game = gan(Generator(), Discriminator(), LOSSES["hinge"], prior=PRIOR)
    batch = Batch(jnp.zeros((4, 3)), None, jnp.arange(4))
    with pytest.raises(ValueError, match=r"generator makes \(2,\) and the data are \(3,\)"):
        jax.eval_shape(game.init, jax.random.key(0), batch)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, bool])
def test_a_batch_of_integers_is_refused_where_it_enters(dtype):
    """At the start, and in every cost that is evaluated without one."""
    batch = _batch()
    pixels = batch._replace(x=batch.x.astype(dtype))
    game = gan(Generator(), Discriminator(), LOSSES["hinge"], prior=PRIOR)
    sentence = rf"examples are {np.dtype(dtype)}, expected floating .* x\.astype\(jnp\.float32\) / 127\.5 - 1"
    with pytest.raises(TypeError, match=sentence):
        _start(game, pixels)
    params, net_state = jax.eval_shape(game.init, jax.random.key(0), batch)
    for player in game.players:
        with pytest.raises(TypeError, match=sentence):
            jax.eval_shape(game.costs[player], params, Moment(net_state, pixels, jax.random.key(0)))
    labelled = _batch(labelled=True)
    for y in (labelled.y.astype(jnp.float32), labelled.y[:, None] > 0):
        with pytest.raises(
            TypeError, match=rf"labels are {y.dtype}, expected integers, .* or floating vectors \[B, E\]"
        ):
            _start(game, labelled._replace(y=y))


class Several(nn.Module):
    """A network whose output is wrapped."""

    wrap: str

    @nn.compact
    def __call__(self, x):
        h = nn.Dense(2)(x)
        return {"tuple": (h, h), "dict": {"logits": h}, "Critique": Critique({"logits": h}, None, {})}[self.wrap]


@pytest.mark.parametrize("wrap", ["tuple", "dict", "Critique"])
def test_networks_that_return_several_things_are_refused_at_the_start(wrap):
    with pytest.raises(TypeError, match=rf"discriminator returns a {wrap}, expected logits \[B, \.\.\.\] or a ganjax"):
        _start(gan(Generator(), Several(wrap), LOSSES["hinge"], prior=PRIOR), _batch())
    with pytest.raises(TypeError, match=rf"generator returns a {wrap}, expected one array of examples"):
        _start(gan(Several(wrap), Discriminator(), LOSSES["hinge"], prior=PRIOR), _batch())
