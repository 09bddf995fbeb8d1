"""In whose parameters each player's cost of a game of several has a gradient, and in whose it is exactly zero.

What moves a player is the gradient in its own parameters alone; this is about conditions, frozen players and controls,
through which one could act upon another who should not hear of it.
"""

import jax
import numpy as np
import pytest
from flax import linen as nn
from setups import Dense

from ganjax.core import Batch, Critique, Moment
from ganjax.games import adaptation
from ganjax.games.cogan import cogan
from ganjax.games.cyclegan import cyclegan
from ganjax.games.pix2pix import pix2pix
from ganjax.losses import LOSSES

B, SIDE, K = 4, 4, 3
E, C, U = Dense((5,)), Dense((K,)), Dense(())  # an encoder, a classifier, a critic


class Net(nn.Module):
    """Images to images pixel by pixel, with maps of two layers."""

    @nn.compact
    def maps(self, x, *, train=True):
        h = nn.tanh(nn.Dense(3)(x))
        return h, nn.Dense(1)(h)

    def __call__(self, x, index=None, *, train=True):
        return self.maps(x)[-1]


class Pair(nn.Module):
    """Latents to two images."""

    @nn.compact
    def __call__(self, z):
        h = nn.tanh(nn.Dense(5)(z))
        return Dense((SIDE, SIDE, 1))(h), Dense((SIDE, SIDE, 1))(h)


class Judges(nn.Module):
    @nn.compact
    def __call__(self, *both):
        said, shared = [], nn.Dense(5)
        for x in both:
            h = nn.tanh(shared(nn.tanh(Dense((5,))(x))))
            said.append((h, nn.tanh(h)))
        logit, named = nn.Dense(1), nn.Dense(K)
        return tuple(Critique(logit(h)[:, 0], f, {"class": named(f)}) for h, f in said)


# game -> what it is, its streams or what an image is paired with, and for each cost the players that it depends on
HEARD = {
    "cyclegan": (
        lambda: cyclegan(Net(), Net(), U, pool=0), "ab",
        {"g": "g f d_b", "f": "f g d_a", "d_a": "d_a f", "d_b": "d_b g"},
    ),
    "pix2pix": (
        lambda: pix2pix(Net(), Net(), control=True), "image",
        {"discriminator": "discriminator generator", "generator": "generator discriminator", "control": "control"},
    ),
    "spade": (
        lambda: pix2pix(Net(), Net(), loss=LOSSES["hinge"], distance_weight=0.0, features=10.0, labels=K), "map",
        {"discriminator": "discriminator generator", "generator": "generator discriminator"},
    ),
    "cogan": (
        lambda: cogan(Pair(), Judges(), size=2), adaptation.DOMAINS,
        {"discriminator": "discriminator generator", "generator": "generator discriminator"},
    ),
    "reversal": (
        lambda: adaptation.aligned(E, C, "reversal", critic=U), adaptation.DOMAINS,
        {"critic": "critic encoder", "encoder": "encoder classifier critic", "classifier": "classifier encoder"},
    ),
    "adda": (
        lambda: adaptation.adda(E, C, U), adaptation.DOMAINS,
        {"critic": "critic source target", "target": "target critic"},
    ),
    "adda on logits": (
        lambda: adaptation.adda(E, C, U, sees="logits"), adaptation.DOMAINS,
        {"critic": "critic source classifier target target_classifier",
         "target": "target target_classifier critic", "target_classifier": "target_classifier target critic"},
    ),
    "mcd": (
        lambda: adaptation.mcd(E, Dense((2, K))), adaptation.DOMAINS,
        dict.fromkeys(("encoder", "classifiers", "apart", "together"), "encoder classifiers"),
    ),
}  # fmt: skip


def _batch(kind, draw):
    x, y = draw((2, B, SIDE, SIDE, 1))
    at = np.arange(B)
    if kind in ("image", "map"):
        return Batch(x, y if kind == "image" else np.int32(y[..., 0] > 0), at)
    first, second = kind
    return {first: Batch(x, at % K, at), second: Batch(y, None, B + at)}


@pytest.mark.parametrize("name", HEARD)
def test_a_cost_has_a_gradient_in_these_players_alone(name):
    make, kind, heard = HEARD[name]
    rng = np.random.default_rng(0)
    draw = lambda shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    game, batch, key = make(), _batch(kind, draw), jax.random.key(0)
    params, state = jax.eval_shape(game.init, key, batch)
    assert not jax.tree.leaves(state)
    params, moment = jax.tree.map(lambda leaf: draw(leaf.shape), params), Moment(state, batch, key, 1)
    slopes = jax.jit(lambda p: {n: jax.grad(lambda p, c=cost: c(p, moment)[0])(p) for n, cost in game.costs.items()})
    found = {
        cost: {player for player, own in of.items() if any(np.any(leaf) for leaf in jax.tree.leaves(own))}
        for cost, of in jax.device_get(slopes(params)).items()
    }
    assert found == {cost: set(players.split()) for cost, players in heard.items()}
