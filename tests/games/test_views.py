"""One generator against several discriminators: what each pays, what it sees, and what moves in whose turn."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.core import Batch, Moment
from ganjax.errors import ConfigError
from ganjax.games import Term, gan, normal_prior
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.views import Judge, some_frames, views
from ganjax.layers.normalisation import BatchNorm
from ganjax.losses import LOSSES

B, T = 3, 5
CLIPS = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (B, T, 4)), jnp.float32)
BATCH = Batch(CLIPS, None, jnp.arange(B, dtype=jnp.int32))
LOSS = LOSSES["non_saturating"]


class Clips(nn.Module):
    """T frames of 4 numbers, with statistics that training moves."""

    frames: int = T
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z, *, train):
        return self.both(z, train=train)[0]

    @nn.compact
    def both(self, z, *, train):
        h = nn.Dense(4 * self.frames, name="up")(
            BatchNorm(use_running_average=not train, axis_name=self.axis_name, name="norm")(z)
        )
        return h.reshape(len(z), self.frames, 4), {"mask": nn.sigmoid(h)}


class Linear(nn.Module):
    """A logit of all that is seen."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


JUDGES = {"frame": Judge(Linear(), some_frames(1), 0.5), "clip": Judge(Linear(), weight=2.0)}


def test_a_lazy_term_of_the_generator_is_logged_where_it_is_due():
    terms = {name: Term(lambda scene: scene.aside, every=every) for name, every in {"rare": 3, "always": 1}.items()}
    assert views(Clips(), JUDGES, LOSS, prior=normal_prior(3), terms=terms).taken_every == {"generator/rare": 3}


@lru_cache
def played():
    """(params, {cost: (value, outcome)}, {cost: gradients}) of a step."""
    terms = {"mask": Term(lambda scene: scene.aside["mask"], 0.1)}
    game = views(Clips(), JUDGES, LOSS, prior=normal_prior(3), terms=terms, aside="both")

    @jax.jit
    def step(key):
        params, state = game.init(key, BATCH)
        moment = Moment(state, BATCH, key)
        looks = {n: jax.value_and_grad(cost, has_aux=True)(params, moment) for n, cost in game.costs.items()}
        return params, state, looks

    params, state, looks = jax.device_get(step(jax.random.key(0)))
    return game, params, state, looks


def test_who_plays_and_what_is_paid():
    game, params, state, looks = played()
    assert game.players == ("frame", "clip", GENERATOR)
    (value, outcome), _ = looks[GENERATOR]
    seen = outcome.metrics
    np.testing.assert_allclose(value, 0.5 * seen["frame"] + 2 * seen["clip"] + 0.1 * seen["mask"], rtol=1e-6)
    assert 0 < seen["mask"] < 1
    w, b = params["clip"]["Dense_0"]["kernel"][:, 0], params["clip"]["Dense_0"]["bias"]
    real = np.asarray(CLIPS).reshape(B, -1) @ w + b
    np.testing.assert_allclose(looks["clip"][0][1].metrics["real_logit"], real.mean(), rtol=1e-5)
    before, after = state[GENERATOR]["batch_stats"], outcome.net_state["batch_stats"]
    assert np.abs(before["norm"]["mean"] - after["norm"]["mean"]).max() > 0
    assert set(looks["clip"][0][1].metrics) == {"real_logit", "fake_logit", "adversarial"}


def test_no_discriminator_pays_for_another():
    """Each sees itself and the fakes; the generator's cost sees all."""
    _, _, _, looks = played()
    for name, other in (("frame", "clip"), ("clip", "frame")):
        gradient = looks[name][1]
        assert all(not leaf.any() for leaf in jax.tree.leaves(gradient[other]))
        assert any(leaf.any() for leaf in jax.tree.leaves(gradient[name]))
        assert any(leaf.any() for leaf in jax.tree.leaves(looks[GENERATOR][1][name]))


def test_with_one_discriminator_of_all_it_is_the_game_of_two_networks():
    """The same noise, the same values and gradients as `gan`, which is tested by itself."""
    one = views(Clips(), {"clip": Judge(Linear())}, LOSS, prior=normal_prior(3))
    two = gan(Clips(), Linear(), LOSS, prior=normal_prior(3))

    @jax.jit
    def both(key):
        params, state = one.init(key, BATCH)
        renamed = [{DISCRIMINATOR: tree["clip"], GENERATOR: tree[GENERATOR]} for tree in (params, state)]
        found = []
        for game, own, name in ((one, (params, state), "clip"), (two, renamed, DISCRIMINATOR)):
            for cost in (name, GENERATOR):
                value, slope = jax.value_and_grad(
                    lambda p, c=game.costs[cost], s=own[1]: c(p, Moment(s, BATCH, key))[0]
                )(own[0])
                found.append((value, slope[cost]))
        return found

    d_one, g_one, d_two, g_two = jax.device_get(both(jax.random.key(1)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), (d_one, g_one), (d_two, g_two))


def test_two_devices_pay_what_one_does():
    """Frames and noise belong to places in the whole batch, which is dealt like cards."""
    x = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (4, T, 4)), jnp.float32)
    whole = Batch(x, None, jnp.arange(4, dtype=jnp.int32))
    dealt = jax.tree.map(lambda leaf: jnp.stack([leaf[::2], leaf[1::2]]), whole)
    alone, shared = (
        views(Clips(axis_name=axis), JUDGES, LOSS, prior=normal_prior(3), axis_name=axis) for axis in (None, "devices")
    )

    @jax.jit
    def both(key):
        params, state = alone.init(key, whole)

        def look(game, batch):
            return {
                name: jax.value_and_grad(lambda p, cost=cost: cost(p, Moment(state, batch, key))[0])(params)
                for name, cost in game.costs.items()
            }

        return look(alone, whole), jax.vmap(partial(look, shared), axis_name="devices")(dealt)

    one, two = jax.device_get(both(jax.random.key(2)))
    for name, (value, gradient) in one.items():
        np.testing.assert_allclose(two[name][0].mean(), value, rtol=1e-5)
        if name != GENERATOR:  # whose gradient passes through the statistics that devices share
            for a, b in zip(jax.tree.leaves(two[name][1][name]), jax.tree.leaves(gradient[name]), strict=True):
                np.testing.assert_allclose(a.mean(0), b, rtol=1e-4, atol=1e-6)


@pytest.mark.fault("MoCoGAN: the first two indices show one frame, and none shows the last")
def test_every_frame_is_as_likely_and_none_is_seen_twice():
    clip = jnp.arange(T)
    keys = jax.random.split(jax.random.key(0), 4000)
    one, three = jax.jit(
        lambda k: (jax.vmap(some_frames(1), (0, None))(k, clip), jax.vmap(some_frames(3), (0, None))(k, clip))
    )(keys)
    shares = np.bincount(np.asarray(one)[:, 0], minlength=T) / 4000
    assert np.abs(shares - 1 / T).max() < 0.03 and one.shape == (4000, 1)
    assert (np.diff(np.sort(np.asarray(three), 1), axis=1) > 0).all()


def test_fakes_and_real_clips_are_looked_at_by_keys_of_their_own():
    """A judge that is told which frame it sees: real and fake frames are not always the same."""

    class Told(nn.Module):
        @nn.compact
        def __call__(self, z, *, train):
            return jnp.broadcast_to(
                self.param("at", lambda key: jnp.arange(T, dtype=jnp.float32))[:, None], (len(z), T, 4)
            )

    class Seen(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.param("none", lambda key: jnp.zeros(()))
            return x[:, 0, 0]

    game = views(Told(), {"frame": Judge(Seen(), some_frames(1))}, LOSS, prior=normal_prior(1))
    batch = Batch(jnp.broadcast_to(jnp.arange(T, dtype=jnp.float32)[:, None], (B, T, 4)), None, BATCH.position)

    @jax.jit
    def seen(key):
        params, state = game.init(key, batch)
        return jax.vmap(lambda k: game.costs["frame"](params, Moment(state, batch, k))[1].metrics)(
            jax.random.split(key, 20)
        )

    metrics = jax.device_get(seen(jax.random.key(0)))
    assert (metrics["real_logit"] != metrics["fake_logit"]).any() and metrics["real_logit"].std() > 0


@pytest.mark.fault("MoCoGAN: real clips always have 16 frames, whatever length is asked for")
def test_another_length_than_that_of_the_data_is_refused():
    game = views(Clips(T + 1), JUDGES, LOSS, prior=normal_prior(3))
    with pytest.raises(ValueError, match=r"the generator makes \(6, 4\) and the data are \(5, 4\)"):
        jax.eval_shape(game.init, jax.random.key(0), BATCH)
    with pytest.raises(ConfigError, match="judges are \\[\\], expected one at least"):
        views(Clips(), {}, LOSS, prior=normal_prior(3))
    with pytest.raises(ValueError, match="weight of clip is -1"):
        views(Clips(), {"clip": Judge(Linear(), weight=-1.0)}, LOSS, prior=normal_prior(3))
