"""Coupled GANs: pairs of images of two domains from one latent, learned without pairs (Liu and Tuzel 2016)."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.checks import check_range
from ganjax.core import Array, Batch, Critique, Game, Key, Latent, Moment, PerPlayer, Sampler, Weights, noise
from ganjax.games import latents
from ganjax.games.adaptation import DOMAINS, SOURCE, TARGET, Judge, cross_entropy
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.network import network, owned
from ganjax.games.terms import Term, of_terms
from ganjax.losses import LOSSES, AdversarialLoss

Pair = tuple[Critique, Critique]


class Coupled(NamedTuple):
    """What one look shows, each a pair (source, target)."""

    real: Pair
    fake: Pair
    y: Array  # [B] int32, of the source


def cogan(
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    size: int,
    class_weight: float = 10.0,
    coupling: float = 0.01,
    loss: AdversarialLoss = LOSSES["non_saturating"],
) -> Game:
    """Two GANs whose generators share their first layers and whose discriminators share their last.

    - discriminator: the cost of its two games, `class_weight` times the cross-entropy of the source's classes under its
      head "class", and `coupling` times the mean square of the difference of its features on both images of a pair;
    - generator: the cost of its two games.

    The shared layers are one set of parameters, whose gradient is the sum of what both domains ask of them; so targets
    are classified by features that they share with the source. The numbers are those of the authors' code.

    Args:
        generator: module, `z [B, size] -> (x_source, x_target)`.
        discriminator: module, `(x_source, x_target) -> (Critique, Critique)` with features and a head "class".
        size: of z ~ N(0, I).
        class_weight: of the classes.
        coupling: of the features of pairs.
        loss: of both games.

    Returns:
        A game of the players "discriminator" and "generator", whose batch is {"source": Batch, "target": Batch} of
        equal sizes; y of the source alone is read.

    Raises:
        ValueError: an option is out of its range; from `init`, if batch and networks do not fit.
    """
    check_range("cogan", 1, whole=True, size=size)
    check_range("cogan", 0, class_weight=class_weight, coupling=coupling)
    g, d = network(generator), network(discriminator)

    def init(key: Key, batch: Mapping[str, Batch]) -> tuple[dict, dict]:
        x, k = [batch[domain].x for domain in DOMAINS], jax.random.split(key, 3)
        if x[0].shape != x[1].shape:
            raise ValueError(f"cogan: the source is {x[0].shape} and the target {x[1].shape}, expected equal shapes")
        made = {GENERATOR: g.init(k[0], jax.random.normal(k[2], (x[0].shape[0], size), x[0].dtype))}
        for image in made[GENERATOR][2]:
            if image.shape != x[0].shape:
                raise ValueError(f"cogan: the generator makes {image.shape[1:]}, expected {x[0].shape[1:]}")
        return owned({DISCRIMINATOR: d.init(k[1], *x), **made})

    def look(params: PerPlayer, moment: Moment) -> tuple[Coupled, PerPlayer]:
        batch, state, after = moment.batch, moment.net_state, {}
        z = noise(lambda k: jax.random.normal(k, (size,)), moment.key, batch[SOURCE].position)
        made, after[GENERATOR] = g.apply(params[GENERATOR], state[GENERATOR], z, train=True)
        see = lambda *x: d.apply(params[DISCRIMINATOR], state[DISCRIMINATOR], *x, train=True)  # noqa: E731
        real, after[DISCRIMINATOR] = see(batch[SOURCE].x, batch[TARGET].x)
        return Coupled(real, see(*made)[0], batch[SOURCE].y), after

    def both(of: str):
        cost = getattr(loss, of)
        return lambda s: sum(cost(r.logits, f.logits).mean() for r, f in zip(s.real, s.fake, strict=True))

    terms = {
        DISCRIMINATOR: {
            "adversarial": Term(both("discriminator")),
            "class": Term(lambda s: cross_entropy(s.real[0].heads["class"], s.y), class_weight),
            "coupling": Term(lambda s: jnp.square(s.fake[0].features - s.fake[1].features), coupling),
        },
        GENERATOR: {"adversarial": Term(both("generator"))},
    }
    return Game(init, of_terms(look, terms))


def judge(discriminator: nn.Module) -> Judge:
    """The discriminator's features and classes, through the first layer of the domain."""
    d = network(discriminator)

    def said(weights: Weights, x: Array, domain: str) -> tuple[Array, Array]:
        own = d.apply(*weights[DISCRIMINATOR], x, x, train=False)[0][DOMAINS.index(domain)]
        return own.features, own.heads["class"]

    return Judge((DISCRIMINATOR,), said)


def samplers(generator: nn.Module, *, size: int) -> dict[str, Sampler]:
    """Images of each domain: those of one number are a pair."""
    g = network(generator)

    def sampler(domain: str) -> Sampler:
        def decode(weights: Weights, z: Array, given: None) -> Array:
            del given
            return g.apply(*weights[GENERATOR], z, train=False)[0][DOMAINS.index(domain)]

        return Sampler((GENERATOR,), domain, latent=Latent(latents.normal(size), decode, size))

    return {domain: sampler(domain) for domain in (TARGET, SOURCE)}
