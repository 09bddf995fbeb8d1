"""The VAE-GAN: an autoencoder whose error is measured in the features of a discriminator (Larsen et al. 2016)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.checks import check_range
from ganjax.core import Array, Batch, Critique, Game, Key, Measure, Moment, PerPlayer, Sampler, Weights, noise
from ganjax.games import variational
from ganjax.games.adversarial import DISCRIMINATOR
from ganjax.games.autoencoding import squared_error
from ganjax.games.network import network, owned
from ganjax.games.terms import Term, of_terms
from ganjax.games.variational import DECODER, ENCODER
from ganjax.likelihoods import gaussian, gaussian_kl
from ganjax.losses import LOSSES, AdversarialLoss


class Judged(NamedTuple):
    """What one look shows: posteriors, and what the discriminator says of real, copied and new examples."""

    mean: Array  # [B, L]
    log_std: Array  # [B, L]
    real: Critique
    copy: Critique
    new: Critique


def vae_gan(
    encoder: nn.Module,
    decoder: nn.Module,
    discriminator: nn.Module,
    *,
    size: int,
    beta: float = 1.0,
    gamma: float = 1.0,
    loss: AdversarialLoss = LOSSES["non_saturating"],
) -> Game:
    """Three players, by what each of them pays (algorithm 1).

    - encoder: `beta KL(q(z | x) || N(0, I)) + L`, with `L = |f(x) - f(G(z))|^2 / 2` and f the discriminator's features:
      a Gaussian of unit variance there, in the place of one of pixels;
    - decoder: `gamma L` and what a generator pays for copies and new examples, half each;
    - discriminator: what it pays for real examples against both, half each.

    Costs of their own are the stopped gradients of the paper: the encoder does not hear what the discriminator says,
    which does not make its features easy to copy, and the decoder pays no divergence. All move at once.

    Args:
        encoder: module, `x [B, ...] -> [B, 2, L]`, mean and log of the standard deviation.
        decoder: module, `z [B, L] -> x [B, ...]`; copies and new examples are one batch of it.
        discriminator: module, `x -> Critique`, its features [B, F].
        size: L, of the latent.
        beta: weight of the divergence, in nats.
        gamma: weight of L beside the game in the decoder's cost.
        loss: of the game.

    Returns:
        A game of the players "discriminator", "decoder" and "encoder", whose batch is a `Batch`.

    Raises:
        ValueError: an option is out of its range; from `init`, if the networks do not fit.
        TypeError: from `init`, if the discriminator returns no features.
    """
    check_range("vae_gan", 1, whole=True, size=size)
    check_range("vae_gan", 0, beta=beta, gamma=gamma)
    e, g, d = network(encoder), network(decoder), network(discriminator)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        keys, x = jax.random.split(key, 3), batch.x
        z = jax.random.normal(keys[0], (len(x), size), x.dtype)
        made = {DISCRIMINATOR: d.init(keys[0], x), DECODER: g.init(keys[1], z), ENCODER: e.init(keys[2], x)}
        for player, wanted in ((DECODER, x.shape[1:]), (ENCODER, (2, size))):
            if (got := made[player][2].shape[1:]) != wanted:
                raise ValueError(f"vae_gan: the {player} makes {got}, expected {wanted}, of an example")
        if not isinstance(made[DISCRIMINATOR][2], Critique) or made[DISCRIMINATOR][2].features is None:
            raise TypeError("vae_gan: the discriminator returns no features, expected a Critique; give it heads={}")
        return owned(made)

    def look(params: PerPlayer, moment: Moment) -> tuple[Judged, PerPlayer]:
        x, state, after = moment.batch.x, moment.net_state, {}
        posterior, after[ENCODER] = e.apply(params[ENCODER], state[ENCODER], x, train=True)
        mean, log_std = posterior[:, 0], posterior[:, 1]
        xi = noise(lambda k: jax.random.normal(k, (2, size), x.dtype), moment.key, moment.batch.position)
        z = jnp.concatenate([mean + jnp.exp(log_std) * xi[:, 0], xi[:, 1]])
        made, after[DECODER] = g.apply(params[DECODER], state[DECODER], z, train=True)
        said, after[DISCRIMINATOR] = d.apply(
            params[DISCRIMINATOR], state[DISCRIMINATOR], jnp.concatenate([x, made]), train=True
        )
        thirds = [jax.tree.map(lambda leaf, k=k: jnp.split(leaf, 3)[k], said) for k in range(3)]
        return Judged(mean, log_std, *thirds), after

    feature = lambda s: squared_error(s.real.features, s.copy.features) / 2  # noqa: E731
    both = lambda s, cost: (cost(s.real.logits, s.copy.logits) + cost(s.real.logits, s.new.logits)) / 2  # noqa: E731
    terms = {
        DISCRIMINATOR: {"adversarial": Term(lambda s: both(s, loss.discriminator))},
        DECODER: {"feature": Term(feature, gamma), "adversarial": Term(lambda s: both(s, loss.generator))},
        ENCODER: {"kl": Term(lambda s: gaussian_kl(s.mean, s.log_std).sum(1), beta), "feature": Term(feature)},
    }
    return Game(init, of_terms(look, terms))


def samplers(encoder: nn.Module, decoder: nn.Module, *, size: int) -> dict[str, Sampler]:
    """Draws of the prior, decoded, and held-out examples made again from their codes."""
    return variational.samplers(encoder, decoder, gaussian(1.0), size=size)


def measures(encoder: nn.Module, decoder: nn.Module, *, size: int) -> dict[str, Measure]:
    """The squared error of copies of held-out examples, summed, of pixels from -1 to 1, which no player minimises."""
    copies = samplers(encoder, decoder, size=size)["reconstruction"]

    def error(weights: Weights, batch: Batch, key: Key) -> Array:
        return squared_error(batch.x, copies(weights, key, batch.position, batch.x))

    return {"error": Measure(error, (ENCODER, DECODER), "data", "lower")}
