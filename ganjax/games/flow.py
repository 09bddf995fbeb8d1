"""Invertible generators: by likelihood, by a game or by both (Flow-GAN, Grover, Dhar and Ermon 2018).

The one place where the likelihood of a GAN is known: `log p(x) = log N(f(x); 0, I) + log |det df/dx|`, f the inverse of
the generator.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.checks import check_range
from ganjax.core import (
    Array,
    Batch,
    Draw,
    Game,
    Key,
    Latent,
    Measure,
    Moment,
    PerPlayer,
    PyTree,
    Sampler,
    Weights,
    noise,
    substream,
)
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR, gan
from ganjax.games.latents import normal
from ganjax.games.network import network, owned
from ganjax.games.priors import normal_prior
from ganjax.games.terms import Term, of_terms
from ganjax.likelihoods import bits_per_dimension, dequantise, quantise, standard_normal
from ganjax.losses import LOSSES
from ganjax.penalties import gradient_penalty


def log_prob(module: nn.Module, params: PyTree, x: Array) -> Array:
    """`log p(x)` of examples [B, ...] under an invertible generator with these parameters, [B] in nats."""
    (z, log_det), _ = network(module).apply(params, {}, x, train=True, method="encode")
    return standard_normal(z) + log_det


def flow(
    generator: nn.Module,
    discriminator: nn.Module | None = None,
    *,
    size: int,
    likelihood: float = 1.0,
    penalty: float = 10.0,
) -> Game:
    """An invertible generator that minimises `likelihood * E[-log p(x)]` and, facing a discriminator, its loss.

    Without a discriminator it is maximum likelihood. With one, the game is Wasserstein's under a gradient penalty, as
    in the paper, and `likelihood` is lambda of its hybrid objective; 0 leaves the game alone, and log p is logged.

    Args:
        generator: module, `z [B, size] -> x [B, ...]`, with a method `encode`, `x -> (z, log |det dz/dx| [B])`.
        discriminator: module, `x -> logits [B]`, or None.
        size: of z, which is N(0, I): as many numbers as an example has.
        likelihood: weight of the negative log-likelihood, in nats an example.
        penalty: weight of the gradient penalty.

    Returns:
        A game of the player "generator", and of "discriminator" before it where there is one. Its batch is a `Batch`
        without labels; the generator's metric "nats" is the mean of -log p.

    Raises:
        ValueError: an option is out of its range; from `init`, if z has not the size of an example.
    """
    check_range("flow", 0, likelihood=likelihood, penalty=penalty)
    check_range("flow", 1, whole=True, size=size)
    if discriminator is not None:
        nats = Term(lambda scene: -log_prob(generator, scene.params[GENERATOR], scene.x_real), likelihood)
        terms = {GENERATOR: {"nats": nats}, DISCRIMINATOR: {"penalty": Term(gradient_penalty(), penalty)}}
        return gan(generator, discriminator, LOSSES["wasserstein"], prior=normal_prior(size), terms=terms)
    net = network(generator)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        made = net.init(key, jnp.zeros((len(batch.x), size)))
        if (got := made[2].shape[1:]) != batch.x.shape[1:]:
            raise ValueError(
                f"flow: the generator makes {got} and the data are {batch.x.shape[1:]}; give it their shape"
            )
        return owned({GENERATOR: made})

    def look(params: PerPlayer, moment: Moment) -> tuple[Array, PerPlayer]:
        return -log_prob(generator, params[GENERATOR], moment.batch.x), moment.net_state

    return Game(init, of_terms(look, {GENERATOR: {"nats": Term(lambda nats: nats, likelihood)}}))


def dequantised(levels: int) -> Callable[[Key, Batch], Batch]:
    """What a stream does to a training image of so many grey levels: uniform noise within the cell of each."""
    return lambda key, one: one._replace(x=dequantise(one.x, jax.random.uniform(key, one.x.shape), levels))


def samplers(generator: nn.Module, *, size: int, levels: int = 0) -> dict[str, Sampler]:
    """Draws of the prior; with `levels`, each pixel as the level in whose cell it lies."""
    net = network(generator)

    def decode(weights: Weights, z: Array, given: PyTree) -> Array:
        x, _ = net.apply(*weights[GENERATOR], z, train=False)
        return quantise(x, levels) if levels else x

    return {"prior": Sampler((GENERATOR,), "data", latent=Latent(normal(size), decode, size))}


def measures(generator: nn.Module, *, levels: int = 0) -> dict[str, Measure]:
    """Of held-out examples: log p in nats, or with `levels` bits per dimension of images of so many grey levels.

    Bits are `-log2 p(x) / D + log2(levels / 2)` at one dequantised x for each image, an upper bound of those of the
    discretised model, in expectation; levels lie `2 / levels` apart.
    """

    def log_likelihood(weights: Weights, batch: Batch, key: Key) -> Array:
        return log_prob(generator, weights[GENERATOR].params, batch.x)

    def bits(weights: Weights, batch: Batch, key: Key) -> Array:
        u = noise(lambda k: jax.random.uniform(k, batch.x.shape[1:]), substream(key, Draw.PREPARE), batch.position)
        x = dequantise(batch.x, u, levels)
        nats = -log_prob(generator, weights[GENERATOR].params, x)
        return bits_per_dimension(nats, x[0].size, step=2 / levels)

    if not levels:
        return {"log_likelihood": Measure(log_likelihood, (GENERATOR,), "data", "higher")}
    return {"bits_per_dimension": Measure(bits, (GENERATOR,), "data", "lower")}
