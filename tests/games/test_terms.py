"""Costs from terms: sums by hand, schedules, laziness, who keeps what, and a GAN written in terms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax.core import Batch, Game, Moment, everyone, noise
from ganjax.dynamics import alternating, vector_field
from ganjax.games import Term, gan, normal_prior, of_terms, weighed
from ganjax.games.network import network
from ganjax.losses import LOSSES
from ganjax.penalties import r1
from ganjax.training import init_state, train_step

KEY = jax.random.key(3)


def test_a_sum_by_hand():
    """Values are averaged, weights multiply or count steps, a weight of 0 is logged, a lazy one is due every third."""
    terms = {
        "values": Term(lambda s: s["x"], 2.0),
        "scalar": Term(lambda s: s["x"].sum(), lambda step: 0.5 * step),
        "seen": Term(lambda s: jnp.float32(7.0), 0.0),
        "lazy": Term(lambda s: s["x"] ** 2, 10.0, every=3),
    }
    scene = {"x": jnp.array([1.0, 3.0])}
    for step in range(4):
        cost, metrics = jax.jit(lambda step: weighed(terms, scene, step))(step)
        lazy = 5.0 if step % 3 == 0 else 0.0
        assert {k: float(v) for k, v in metrics.items()} == {"values": 2.0, "scalar": 4.0, "seen": 7.0, "lazy": lazy}
        np.testing.assert_allclose(cost, 2 * 2 + 0.5 * step * 4 + 3 * 10 * lazy, rtol=1e-6)


def test_what_is_not_paid_may_have_no_gradient():
    """The root of zero has an infinite slope, which a weight of 0 would turn into NaN."""
    terms = {"root": Term(lambda s: jnp.sqrt(s), 0.0), "line": Term(lambda s: s)}
    assert jax.grad(lambda x: weighed(terms, x, 0)[0])(0.0) == 1.0


class Net(nn.Module):
    out: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.out)(nn.tanh(nn.Dense(5)(x)))


def _in_terms(prior, gamma, every):
    """The hinge GAN with lazy R1 of `gan`, in its own parametrisation."""
    reference = gan(
        Net(2), Net(1), LOSSES["hinge"], prior=prior, terms={"discriminator": {"r1": Term(r1(), gamma, every)}}
    )
    g, d = network(Net(2)), network(Net(1))

    def look(params, moment):
        x = moment.batch.x
        z = noise(prior, moment.key, moment.batch.position)
        critic = lambda x: d.apply(params["discriminator"], {}, x, train=True)[0]  # noqa: E731
        return (x, g.apply(params["generator"], {}, z, train=True)[0], critic), moment.net_state

    def slope(scene):
        x, _, critic = scene
        return (jax.grad(lambda x: critic(x).sum())(x) ** 2).sum(-1) / 2

    terms = {
        "discriminator": {
            "adversarial": Term(lambda s: jax.nn.relu(1 - s[2](s[0])) + jax.nn.relu(1 + s[2](s[1]))),
            "r1": Term(slope, gamma, every=every),
        },
        "generator": {"adversarial": Term(lambda s: -s[2](s[1]))},
    }
    return reference, Game(reference.init, of_terms(look, terms))


def test_a_gan_in_terms_is_the_gan():
    reference, game = _in_terms(normal_prior(3), 0.7, 2)
    batch = Batch(jnp.linspace(-1, 1, 12).reshape(6, 2), None, jnp.arange(6))
    dynamics = alternating(dict.fromkeys(game.players, optax.sgd(0.1)))
    ends = []
    for one in (reference, game):
        state, step = init_state(one, dynamics, KEY, batch), jax.jit(train_step(one, dynamics))
        for _ in range(3):
            state, metrics = step(state, batch, KEY)
        ends.append((state.params, metrics))
    (expected, theirs), (found, ours) = ends
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours["discriminator/cost"], theirs["discriminator/cost"], rtol=1e-5)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, err_msg=name)
    assert set(theirs) == {*ours, "discriminator/real_logit", "discriminator/fake_logit", "generator/fake_logit"}
    assert set(ours) == {
        *(f"discriminator/{name}" for name in ("cost", "adversarial", "r1")),
        *(f"generator/{name}" for name in ("cost", "adversarial")),
        "finite",
    }


def test_a_cost_keeps_the_state_of_whose_it_is():
    """Two costs of one player keep that player's state; no gradient goes through it."""

    def look(params, moment):
        seen = {"one": {"sum": moment.net_state["one"]["sum"] + params["one"]}, "two": {"sum": jnp.zeros(())}}
        return params["one"] * params["two"], seen

    parts = {"first": {"product": Term(lambda s: s)}, "two": {"product": Term(lambda s: -s)}}
    movers = {"first": "one"}
    params = {"one": jnp.array(2.0), "two": jnp.array(3.0)}
    state = {"one": {"sum": jnp.array(5.0)}, "two": {"sum": jnp.array(1.0)}}
    game = Game(lambda key, batch: (params, state), of_terms(look, parts, movers), movers=movers)
    field = vector_field(game, params, Moment(state, None, KEY))
    assert (field.gradients["one"], field.gradients["two"]) == (3.0, -2.0)
    assert (field.net_state["one"]["sum"], field.net_state["two"]["sum"]) == (7.0, 0.0)
    assert set(field.metrics) == {"first/cost", "first/product", "two/cost", "two/product"}


def test_terms_out_of_range_are_named():
    look = lambda params, moment: (None, {})  # noqa: E731
    with pytest.raises(ValueError, match="of_terms: every of vae/kl is 0, expected at least 1"):
        of_terms(look, {"vae": {"kl": Term(lambda s: s, every=0)}})
    with pytest.raises(ValueError, match="of_terms: the weight of vae/kl is nan, expected a finite number"):
        of_terms(look, {"vae": {"kl": Term(lambda s: s, float("nan"))}})
    with pytest.raises(TypeError, match=r"of_terms: vae/kl is .*, expected ganjax\.games\.terms\.Term"):
        of_terms(look, {"vae": {"kl": lambda s: s}})


def test_the_examples_of_all_devices_in_their_order():
    """Devices hold every n-th example, like cards; each sees all in the order of the whole batch."""
    x = jnp.arange(12.0).reshape(6, 2)
    dealt = jnp.stack([x[0::3], x[1::3], x[2::3]])
    found = jax.vmap(lambda mine: everyone("devices", mine), axis_name="devices")(dealt)
    for mine in found:
        np.testing.assert_array_equal(mine, x)
    np.testing.assert_array_equal(everyone(None, x), x)
