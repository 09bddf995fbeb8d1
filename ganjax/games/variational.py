"""Variational autoencoders: an encoder and a decoder that minimise one bound (Kingma and Welling 2014)."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.lax import stop_gradient

from ganjax.checks import check_name, check_range
from ganjax.core import (
    Array,
    Batch,
    Cost,
    Game,
    Key,
    Latent,
    Measure,
    Moment,
    Outcome,
    Owned,
    PerPlayer,
    PyTree,
    Sampler,
    Weights,
    noise,
    prepared,
)
from ganjax.dynamics.field import average_over
from ganjax.games.latents import normal as normal_latent
from ganjax.games.network import Network, network, owned
from ganjax.games.terms import Term, of_terms
from ganjax.likelihoods import Observation, bits_per_dimension, gaussian_kl, normal, standard_normal

ENCODER, DECODER = "encoder", "decoder"
Beta = float | Callable[[Array | int], Array | float]  # the weight of the KL divergence, or a schedule of the step


class Coded(NamedTuple):
    """What one look shows: posteriors, draws of them, and what the decoder makes of those."""

    mean: Array  # [B, L]
    log_std: Array  # [B, L]
    z: Array  # [B, k, L]
    log_likelihood: Array  # [B, k] log p(x | z)

    def log_weights(self, *, path: bool = False) -> Array:
        """`log w = log p(x | z) + log p(z) - log q(z | x)`, [B, k]; with `path` q's density does not move."""
        mean, log_std = (stop_gradient(p) if path else p for p in (self.mean, self.log_std))
        q = normal(self.z, mean[:, None], log_std[:, None])
        return self.log_likelihood + standard_normal(self.z) - q


def bound(log_weights: Array) -> Array:
    """`L_k = log mean_i w_i`, [B]: with k = 1 the evidence lower bound, with k to infinity log p(x) (Burda 2016)."""
    return jax.nn.logsumexp(log_weights, 1) - math.log(log_weights.shape[1])


def vae(
    encoder: nn.Module,
    decoder: nn.Module,
    observation: Observation,
    *,
    size: int,
    objective: Literal["elbo", "iwae", "dreg"] = "elbo",
    samples: int = 1,
    beta: Beta = 1.0,
    free_bits: float = 0.0,
    axis_name: str | None = None,
) -> Game:
    """A variational autoencoder.

    - `elbo`: `E_q log p(x | z) - beta KL(q(z | x) || N(0, I))`, the divergence in closed form; with free bits
      `sum_j max(free_bits, mean over the batch of KL_j)` (Kingma et al. 2016).
    - `iwae`: `L_k` of k = `samples` draws (Burda et al. 2016).
    - `dreg`: the same bound, the encoder by its doubly reparameterised gradient, whose signal does not drown as k grows
      (Tucker et al. 2019): a surrogate, whose logged cost is the bound itself.

    Args:
        encoder: module, `x [B, ...] -> [B, 2, L]`, mean and log of the standard deviation.
        decoder: module, `z [B, L] -> outputs [B, ..., C observation.outputs]`.
        observation: `p(x | outputs)`.
        size: L, of the latent.
        objective: what both players minimise the negative of.
        samples: draws of the posterior for each example.
        beta: weight of the divergence in `elbo`, or a schedule (Higgins et al. 2017).
        free_bits: nats of each latent that cost nothing, in `elbo`.
        axis_name: the mapped axis that shares the batch, if any; free bits need it.

    Returns:
        A game of the players "encoder" and "decoder", whose batch is a `Batch`. Metrics of `elbo` are "reconstruction"
        and "kl", unweighted, in nats an example.

    Raises:
        ValueError: an option is out of its range; from `init`, if the networks do not fit.
    """
    check_name("vae", "objective", objective, ("elbo", "iwae", "dreg"))
    check_range("vae", 1, whole=True, size=size, samples=samples)
    check_range("vae", 0, free_bits=free_bits)
    e, d = network(encoder), network(decoder)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        keys = jax.random.split(key)
        made = {ENCODER: e.init(keys[0], batch.x), DECODER: d.init(keys[1], jnp.zeros((len(batch.x), size)))}
        if (got := made[ENCODER][2].shape[1:]) != (2, size):
            raise ValueError(f"vae: the encoder makes {got} of an example, expected (2, {size})")
        wanted = (*batch.x.shape[1:-1], batch.x.shape[-1] * observation.outputs)
        if (got := made[DECODER][2].shape[1:]) != wanted:
            raise ValueError(
                f"vae: the decoder makes {got} of a latent, expected {wanted}, {observation.outputs} for each entry of "
                f"an example under {observation.name}"
            )
        return owned(made)

    def look(params: PerPlayer, moment: Moment) -> tuple[Coded, PerPlayer]:
        weights = {p: Owned(params[p], moment.net_state[p]) for p in params}
        x, key = moment.batch.x, moment.key
        epsilon = noise(lambda k: jax.random.normal(k, (samples, size)), key, moment.batch.position)
        return _coded(e, d, observation, weights, x, epsilon, train=True)

    def kl(seen: Coded) -> Array:
        each = gaussian_kl(seen.mean, seen.log_std)
        if not free_bits:
            return each.sum(1)
        return jnp.maximum(free_bits, average_over(axis_name, each.mean(0))).sum()

    if objective == "elbo":
        reconstruction = Term(lambda seen: -seen.log_likelihood)
        terms = {ENCODER: {"reconstruction": reconstruction, "kl": Term(kl, beta)}}
        return Game(init, of_terms(look, terms | {DECODER: {"reconstruction": reconstruction}}))

    def cost(player: str) -> Cost:
        def of(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
            seen, after = look(params, moment)
            value = -bound(seen.log_weights()).mean()
            state = stop_gradient(after[player])
            if objective == "iwae" or player == DECODER:
                return value, Outcome(state, {})
            path = seen.log_weights(path=True)
            share = stop_gradient(jax.nn.softmax(path, 1))
            return -(share**2 * path).sum(1).mean(), Outcome(state, {"cost": value})

        return of

    return Game(init, {player: cost(player) for player in (ENCODER, DECODER)})


def _coded(
    e: Network, d: Network, observation: Observation, weights: Weights, x: Array, epsilon: Array, *, train: bool
) -> tuple[Coded, PerPlayer]:
    """One pass of both networks, with the noise [B, k, L] of the posterior."""
    posterior, encoder_state = e.apply(*weights[ENCODER], x, train=train)
    mean, log_std = posterior[:, 0], posterior[:, 1]
    z = mean[:, None] + jnp.exp(log_std)[:, None] * epsilon
    outputs, decoder_state = d.apply(*weights[DECODER], z.reshape(-1, z.shape[-1]), train=train)
    many = jnp.repeat(x, z.shape[1], axis=0)
    log_likelihood = observation.log_prob(outputs, many).reshape(z.shape[:2])
    return Coded(mean, log_std, z, log_likelihood), {ENCODER: encoder_state, DECODER: decoder_state}


def samplers(encoder: nn.Module, decoder: nn.Module, observation: Observation, *, size: int) -> dict[str, Sampler]:
    """Draws of the prior, as means of what the decoder says, and held-out examples made again from their codes."""
    e, d = network(encoder), network(decoder)

    def decode(weights: Weights, z: Array, given: PyTree) -> Array:
        return observation.mean(d.apply(*weights[DECODER], z, train=False)[0])

    def rebuilt(weights: Weights, key: Key, index: Array, x: Array) -> Array:
        return decode(weights, e.apply(*weights[ENCODER], x, train=False)[0][:, 0], None)

    return {
        "prior": Sampler((DECODER,), "data", latent=Latent(normal_latent(size), decode, size)),
        "reconstruction": Sampler((ENCODER, DECODER), "data", rebuilt, given=("data", "x")),
    }


def measures(
    encoder: nn.Module,
    decoder: nn.Module,
    observation: Observation,
    *,
    size: int,
    samples: int = 100,
    prepare: Callable[[Key, Batch], Batch] | None = None,
) -> dict[str, Measure]:
    """Numbers of held-out examples: the bound and log p by importance sampling, in nats, and the latents in use.

    Of a discrete observation also log p in bits per dimension, to stand beside models that know it exactly.

    Args:
        encoder: as of `vae`.
        decoder: as of `vae`.
        observation: as of `vae`.
        size: of the latent.
        samples: k of `L_k`, whose expectation is at most log p(x) and grows with k; see docs/scores.md.
        prepare: what the stream does to a training example, done to the held-out ones too, each by its own key.
    """
    check_range("measures", 1, whole=True, samples=samples)
    e, d = network(encoder), network(decoder)

    def coded(weights: Weights, batch: Batch, key: Key, k: int) -> Coded:
        batch = prepared(prepare, batch, key)
        epsilon = noise(lambda key: jax.random.normal(key, (k, size)), key, batch.position)
        return _coded(e, d, observation, weights, batch.x, epsilon, train=False)[0]

    def elbo(weights: Weights, batch: Batch, key: Key) -> Array:
        seen = coded(weights, batch, key, 1)
        return seen.log_likelihood[:, 0] - gaussian_kl(seen.mean, seen.log_std).sum(1)

    def log_likelihood(weights: Weights, batch: Batch, key: Key) -> Array:
        return bound(coded(weights, batch, key, samples).log_weights())

    def bits(weights: Weights, batch: Batch, key: Key) -> Array:
        return bits_per_dimension(-log_likelihood(weights, batch, key), batch.x[0].size)

    def codes(weights: Weights, batch: Batch, key: Key) -> Array:
        return coded(weights, batch, key, 1).mean

    both, few = (ENCODER, DECODER), max(1, 2048 // samples)
    found = {
        "elbo": Measure(elbo, both, "data", "higher"),
        "log_likelihood": Measure(log_likelihood, both, "data", "higher", batch=few),
        "active_units": Measure(codes, both, "data", "higher", summary=active_units),
    }
    return found | (
        {"bits_per_dimension": Measure(bits, both, "data", "lower", batch=few)} if observation.discrete else {}
    )


def active_units(codes: PyTree, least: float = 0.01) -> float:
    """Latents whose posterior mean varies over the data: `Var_x E[z_j | x] > 0.01` (Burda et al. 2016).

    Args:
        codes: [N, L] posterior means.
        least: the variance above which a latent is in use.
    """
    return float((np.var(np.asarray(codes, np.float64), axis=0) > least).sum())
