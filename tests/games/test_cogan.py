"""Coupled GANs: what is shared is one, its gradient the sum of two, and classes come from the source alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.core import Batch, Critique, Moment, Owned, noise
from ganjax.games import cogan
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR

K, X, Z, B = 3, 4, 2, 6


class Generators(nn.Module):
    @nn.compact
    def __call__(self, z):
        h = nn.tanh(nn.Dense(5, name="shared")(z))
        return nn.Dense(X, name="a")(h), nn.Dense(X, name="b")(h)


class Discriminators(nn.Module):
    @nn.compact
    def __call__(self, x_a, x_b):
        shared, logit, head = nn.Dense(5, name="shared"), nn.Dense(1, name="logit"), nn.Dense(K, name="class")

        def one(name, x):
            f = nn.tanh(shared(nn.tanh(nn.Dense(4, name=name)(x))))
            return Critique(logit(f)[:, 0], f, {"class": head(f)})

        return one("a", x_a), one("b", x_b)


@pytest.fixture(scope="module")
def played():
    game = cogan.cogan(Generators(), Discriminators(), size=Z, class_weight=2.0, coupling=0.5)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, B, X)), jnp.float32)
    batch = {"source": Batch(x[0], jnp.arange(B) % K, jnp.arange(B)), "target": Batch(x[1], None, B + jnp.arange(B))}
    params, net_state = jax.jit(game.init)(jax.random.key(0), batch)
    return game, params, Moment(net_state, batch, jax.random.key(1))


def _parts(params, moment):
    """Every part of both costs, written out, by domain."""
    z = noise(lambda k: jax.random.normal(k, (Z,)), moment.key, moment.batch["source"].position)
    fakes = Generators().apply({"params": params[GENERATOR]}, z)
    see = lambda *x: Discriminators().apply({"params": params[DISCRIMINATOR]}, *x)  # noqa: E731
    real, fake = see(moment.batch["source"].x, moment.batch["target"].x), see(*fakes)
    log_p = jax.nn.log_softmax(real[0].heads["class"])
    parts = {"class": -log_p[jnp.arange(B), moment.batch["source"].y].mean()}
    parts["coupling"] = jnp.mean((fake[0].features - fake[1].features) ** 2)
    for name, r, f in zip("ab", real, fake, strict=True):
        parts[f"judge {name}"] = jnp.mean(jnp.log1p(jnp.exp(-r.logits)) + jnp.log1p(jnp.exp(f.logits)))
        parts[f"fool {name}"] = jnp.mean(jnp.log1p(jnp.exp(-f.logits)))
    return parts


def test_what_is_shared_hears_both_domains(played):
    """Each player's field is the sum of its parts; a shared layer has slopes of both domains, an own one of one."""
    game, params, moment = played
    slopes = jax.device_get(jax.jit(jax.jacrev(lambda p: _parts(p, moment)))(params))
    paid = {
        DISCRIMINATOR: {"judge a": 1, "judge b": 1, "class": 2, "coupling": 0.5},
        GENERATOR: {"fool a": 1, "fool b": 1},
    }
    for player, own in paid.items():
        got = jax.jit(jax.grad(lambda p, c=game.costs[player]: c(p, moment)[0]))(params)[player]
        parts = [jax.tree.map(lambda leaf, w=w: w * leaf, slopes[name][player]) for name, w in own.items()]
        expected = jax.tree.map(lambda *leaves: sum(leaves), *parts)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, expected)
    of_a = slopes["fool a"][GENERATOR]
    assert np.abs(of_a["b"]["kernel"]).max() == 0 < np.abs(of_a["shared"]["kernel"]).max()
    assert np.abs(slopes["class"][DISCRIMINATOR]["b"]["kernel"]).max() == 0, "classes are the source's alone"


def test_equal_heads_make_equal_images_of_every_latent(played):
    _, params, _ = played
    tied = {**params[GENERATOR], "b": params[GENERATOR]["a"]}
    z = jax.random.normal(jax.random.key(2), (7, Z))
    np.testing.assert_array_equal(*jax.jit(Generators().apply)({"params": tied}, z))
    weights, index = {GENERATOR: Owned(params[GENERATOR], {})}, jnp.arange(7)
    draws = cogan.samplers(Generators(), size=Z)
    assert list(draws) == ["target", "source"] and [one.stream for one in draws.values()] == ["target", "source"]
    z = draws["source"].latents(weights, jax.random.key(3), index)
    a, b = Generators().apply({"params": params[GENERATOR]}, z)
    np.testing.assert_array_equal(draws["source"](weights, jax.random.key(3), index), a)
    np.testing.assert_array_equal(draws["target"](weights, jax.random.key(3), index), b)


def test_a_domain_is_judged_through_its_own_layer(played):
    _, params, moment = played
    x = moment.batch["target"].x
    said = cogan.judge(Discriminators()).said
    a, b = Discriminators().apply({"params": params[DISCRIMINATOR]}, x, x)
    for domain, own in (("source", a), ("target", b)):
        features, logits = said({DISCRIMINATOR: Owned(params[DISCRIMINATOR], {})}, x, domain)
        np.testing.assert_allclose(features, own.features, rtol=1e-6)
        np.testing.assert_allclose(logits, own.heads["class"], rtol=1e-6)


def test_what_does_not_fit_is_refused(played):
    _, _, moment = played
    game = cogan.cogan(Generators(), Discriminators(), size=Z)
    few = {**moment.batch, "target": jax.tree.map(lambda leaf: leaf[:3], moment.batch["target"])}
    with pytest.raises(ValueError, match=r"the source is \(6, 4\) and the target \(3, 4\), expected equal shapes"):
        jax.eval_shape(game.init, jax.random.key(0), few)
    wide = jax.tree.map(lambda leaf: leaf, moment.batch)
    wide = {name: b._replace(x=jnp.zeros((B, X + 1))) for name, b in wide.items()}
    with pytest.raises(ValueError, match=r"the generator makes \(4,\), expected \(5,\)"):
        jax.eval_shape(game.init, jax.random.key(0), wide)
    with pytest.raises(ValueError, match="class_weight is -1"):
        cogan.cogan(Generators(), Discriminators(), size=Z, class_weight=-1.0)
