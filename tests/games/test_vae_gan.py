"""The VAE-GAN: each player's field is that of its own terms, and the blocks that the paper stops are zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.core import Batch, Critique, Moment
from ganjax.games.vae_gan import DECODER, DISCRIMINATOR, ENCODER, vae_gan
from ganjax.likelihoods import gaussian_kl

L, X = 2, 3


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2 * L)(x).reshape(len(x), 2, L)


class Discriminator(nn.Module):
    bare: bool = False

    @nn.compact
    def __call__(self, x):
        features = nn.tanh(nn.Dense(4)(x))
        logits = nn.Dense(1)(features)[:, 0]
        return logits if self.bare else Critique(logits, features, {})


NETWORKS = {ENCODER: Encoder(), DECODER: nn.Dense(X), DISCRIMINATOR: Discriminator()}


@pytest.fixture(autouse=True)
def _double(float64):
    """Oracles need it."""


def _batch():
    return Batch(jnp.asarray(np.random.default_rng(0).normal(size=(6, X))), None, jnp.arange(6))


def _parts(params, batch, key):
    """Divergence, error in features, and both sides of the game, written out."""
    on = lambda player, x: NETWORKS[player].apply({"params": params[player]}, x)  # noqa: E731
    xi = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (2, L), batch.x.dtype))(batch.position)
    posterior = on(ENCODER, batch.x)
    copy = on(DECODER, posterior[:, 0] + jnp.exp(posterior[:, 1]) * xi[:, 0])
    said = [on(DISCRIMINATOR, x) for x in (batch.x, copy, on(DECODER, xi[:, 1]))]
    sigma = [jax.nn.sigmoid(one.logits) for one in said]
    return {
        "kl": gaussian_kl(posterior[:, 0], posterior[:, 1]).sum(1).mean(),
        "feature": ((said[0].features - said[1].features) ** 2).sum(1).mean() / 2,
        "judge": (-jnp.log(sigma[0]) - (jnp.log(1 - sigma[1]) + jnp.log(1 - sigma[2])) / 2).mean(),
        "fool": -(jnp.log(sigma[1]) + jnp.log(sigma[2])).mean() / 2,
    }


def test_each_player_pays_its_own_terms_and_the_stopped_blocks_are_zero():
    """Encoder: KL + L. Decoder: gamma L + fooling. Discriminator: judging alone, so L does not move it."""
    batch, key = _batch(), jax.random.key(1)
    game = vae_gan(NETWORKS[ENCODER], NETWORKS[DECODER], NETWORKS[DISCRIMINATOR], size=L, beta=0.7, gamma=0.3)
    params, state = jax.jit(game.init)(jax.random.key(0), batch)
    moment = Moment(state, batch, key)
    slopes = jax.device_get(jax.jit(jax.jacrev(lambda params: _parts(params, batch, key)))(params))
    weights = {ENCODER: {"kl": 0.7, "feature": 1}, DECODER: {"feature": 0.3, "fool": 1}, DISCRIMINATOR: {"judge": 1}}
    assert list(game.costs) == [DISCRIMINATOR, DECODER, ENCODER]
    for player, own in weights.items():
        got = jax.jit(jax.grad(lambda p, c=game.costs[player]: c(p, moment)[0]))(params)[player]
        expected = jax.tree.map(
            lambda *leaves, own=own: sum(w * leaf for w, leaf in zip(own.values(), leaves, strict=True)),
            *(slopes[name][player] for name in own),
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, expected)
        for name in {"feature", "fool", "judge"} - set(own):
            moved = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slopes[name][player]))
            assert moved > 1e-6, f"the {player} could feel {name}, and a zero block says something"


def test_what_does_not_fit_is_refused():
    batch, own = _batch(), {"size": L}
    with pytest.raises(TypeError, match=r"give it heads="):
        jax.eval_shape(
            vae_gan(NETWORKS[ENCODER], NETWORKS[DECODER], Discriminator(bare=True), **own).init,
            jax.random.key(0),
            batch,
        )
    with pytest.raises(ValueError, match=r"the decoder makes \(5,\), expected \(3,\)"):
        jax.eval_shape(
            vae_gan(NETWORKS[ENCODER], nn.Dense(5), NETWORKS[DISCRIMINATOR], **own).init, jax.random.key(0), batch
        )
