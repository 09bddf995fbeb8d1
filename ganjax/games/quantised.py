"""Vector-quantised autoencoders: an encoder whose vectors are rounded to a codebook, and a decoder of them."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.lax import stop_gradient

from ganjax.checks import check_name, check_range
from ganjax.core import (
    Array,
    Batch,
    Begin,
    Draw,
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
    everyone,
    substream,
)
from ganjax.dynamics.field import average_over
from ganjax.games import autoregressive
from ganjax.games.autoencoding import squared_error
from ganjax.games.autoregressive import MODEL, autoregression
from ganjax.games.network import network
from ganjax.games.terms import Term, of_terms
from ganjax.likelihoods import Observation, categorical, scaled, unscaled

ENCODER, DECODER = "encoder", "decoder"
CODEBOOK = "codebook"  # of the encoder: an entry of its parameters, or of its net_state where it is an average
NETWORK = "network"  # the entry of the encoder's parameters that are its network's


class Quantised(NamedTuple):
    """What one look shows."""

    z: Array  # [B, ..., D], vectors of the encoder
    e: Array  # [B, ..., D], the nearest of the codebook
    told: Array  # [B, ..., D], e with the slope of z, which the decoder is given
    outputs: Array  # what it makes of that
    log_likelihood: Array  # [B], log p(x | e)
    used: Array  # [K], each code's share of the positions of the batch


def nearest(vectors: Array, z: Array) -> Array:
    """The number of the nearest vector [K, D] of each z [..., D], int32 [...].

    Both are centred first: `|e|^2 - 2 z e` of numbers far from zero differs by less than its rounding.
    """
    centre = vectors.mean(0)
    e, z = vectors - centre[None], z - centre.reshape(*[1] * (z.ndim - 1), -1)
    distance = jnp.square(e).sum(1).reshape(*[1] * (z.ndim - 1), -1) - 2 * z @ e.T
    return distance.argmin(-1).astype(jnp.int32)


def straight_through(z: Array, e: Array) -> Array:
    """e, with the slope of z: `z + sg[e - z]` (Bengio et al. 2013)."""
    return z + stop_gradient(e - z)


class Codebook(NamedTuple):
    """Vectors, and how often each is used."""

    vectors: Array  # [K, D] floating
    share: Array  # [K], a running mean of each code's share of all positions


def averaged(book: Codebook, n: Array, total: Array, *, decay: float) -> Codebook:
    """`N <- decay N + (1 - decay) n`, `e <- e + (1 - decay) (total - n e) / N` (van den Oord et al. 2017, A.1).

    It is `m / N` with `m <- decay m + (1 - decay) total` and m = N e from the start, and keeps an unused code where it
    is for ever, where m and N would both underflow. With decay 0 it is Lloyd's step: distortion never rises.

    Args:
        book: vectors [K, D] and their shares [K].
        n: [K], the share of the batch's positions that each code has.
        total: [K, D], of the encoder's vectors at those, the sum over all positions divided by their number.
        decay: of the running means.
    """
    share = decay * book.share + (1 - decay) * n
    step = (1 - decay) * (total - n[:, None] * book.vectors) / jnp.maximum(share, jnp.finfo(share.dtype).tiny)[:, None]
    return Codebook(book.vectors + step, share)


def revived(book: Codebook, z: Array, key: Key, *, least: float = 0.1) -> Codebook:
    """Codes with less than `least` of an equal share get a vector of the encoder at random, and an equal share.

    Args:
        book: vectors [K, D] and their shares [K].
        z: [N, D], the same on all devices.
        key: chooses.
        least: of 1 / K.
    """
    count = len(book.share)
    rare = book.share < least / count
    seeds = z[jax.random.choice(key, len(z), (count,), replace=len(z) < count)]
    return Codebook(jnp.where(rare[:, None], seeds, book.vectors), jnp.where(rare, 1 / count, book.share))


class Quantisation(NamedTuple):
    """What a game of a vector-quantised autoencoder is made of."""

    init: Begin
    look: Callable[[PerPlayer, Moment], tuple[Quantised, PerPlayer]]
    terms: dict[str, dict[str, Term]]  # of scenes that have what `Quantised` has


def quantisation(
    encoder: nn.Module,
    decoder: nn.Module,
    observation: Observation,
    *,
    codes: int,
    commitment: float = 0.25,
    codebook: Literal["ema", "gradient"] = "ema",
    decay: float = 0.99,
    revival: int = 0,
    axis_name: str | None = None,
) -> Quantisation:
    """`-log p(x | e) + |sg[z] - e|^2 + commitment |z - sg[e]|^2`, sums over an example (van den Oord et al. 2017).

    The decoder's slope goes to z past the rounding; none of it reaches the codebook, which follows the encoder by its
    own term or by exponential averages of the vectors that it stands for (appendix A.1). With a prior over codes,
    `log p(x) >= log p(x | e) + log p(codes)`; the uniform one has N log K nats.

    Args:
        encoder: module, `x [B, ...] -> z [B, ..., D]`.
        decoder: module, `e [B, ..., D] -> outputs`.
        observation: `p(x | outputs)`.
        codes: K, of the codebook, which begins with vectors of the first batch.
        commitment: beta, of the encoder's term; the codebook's has the weight 1.
        codebook: "ema" or "gradient".
        decay: of the running means.
        revival: steps in which codes with less than a tenth of an equal share are seeded anew, of "ema".
        axis_name: the mapped axis that shares the batch, if any; running means and revival need it.

    Returns:
        The parts of a game of the players "encoder", who owns the codebook, and "decoder", whose batch is a `Batch`.
        Metrics, unweighted, are "reconstruction" (nats), "commitment", "codebook", and of the batch "codes_used" and
        "perplexity".

    Raises:
        ValueError: an option is out of its range; from `init`, if the networks do not fit.
    """
    check_name("vqvae", "codebook", codebook, ("ema", "gradient"))
    check_range("vqvae", 1, whole=True, codes=codes)
    check_range("vqvae", 0, commitment=commitment)
    check_range("vqvae", 0, 1, below=True, decay=decay)
    check_range("vqvae", 0, 0 if codebook == "gradient" else 2**31, whole=True, revival=revival)
    e_net, d_net = network(encoder, beside=(CODEBOOK,)), network(decoder)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        keys = jax.random.split(key, 3)
        params, state, z = e_net.init(keys[0], batch.x)
        d_params, d_state, outputs = d_net.init(keys[1], z)
        wanted = (*batch.x.shape[:-1], batch.x.shape[-1] * observation.outputs)
        if outputs.shape != wanted:
            raise ValueError(f"vqvae: the decoder makes {outputs.shape[1:]}, expected {wanted[1:]}, of an example")
        flat = z.reshape(-1, z.shape[-1])
        vectors = flat[jax.random.choice(keys[2], len(flat), (codes,), replace=len(flat) < codes)]
        own, memory = {NETWORK: params}, {"share": jnp.full(codes, 1 / codes, z.dtype)}
        if codebook == "gradient":
            own[CODEBOOK] = vectors
        else:
            memory["vectors"] = vectors
        return {ENCODER: own, DECODER: d_params}, {ENCODER: {**state, CODEBOOK: memory}, DECODER: d_state}

    def look(params: PerPlayer, moment: Moment) -> tuple[Quantised, PerPlayer]:
        x, own = moment.batch.x, Owned(params[ENCODER], moment.net_state[ENCODER])
        z, state = e_net.apply(own.params[NETWORK], own.net_state, x, train=True)
        book = Codebook(vectors_of(own), own.net_state[CODEBOOK]["share"])
        index = nearest(book.vectors, z)
        e = book.vectors[index]
        told = straight_through(z, e)
        outputs, d_state = d_net.apply(params[DECODER], moment.net_state[DECODER], told, train=True)
        after, used = follow(book, z, index, moment)
        memory = {"share": after.share} | ({} if codebook == "gradient" else {"vectors": after.vectors})
        states = {ENCODER: stop_gradient({**state, CODEBOOK: memory}), DECODER: d_state}
        return Quantised(z, e, told, outputs, observation.log_prob(outputs, x), used), states

    def follow(book: Codebook, z: Array, index: Array, moment: Moment) -> tuple[Codebook, Array]:
        """The codebook after this step, and the codes' shares in it."""
        flat, one_hot = z.reshape(-1, z.shape[-1]), jax.nn.one_hot(index.reshape(-1), codes, dtype=z.dtype)
        n, total = average_over(axis_name, (one_hot.mean(0), one_hot.T @ flat / len(flat)))
        after = averaged(book, n, total, decay=decay)
        if revival:
            everybody = everyone(axis_name, z).reshape(-1, z.shape[-1])
            seeds = revived(after, everybody, substream(moment.key, Draw.OTHER))
            after = jax.tree.map(lambda new, old: jnp.where(moment.step < revival, new, old), seeds, after)
        return after, n

    terms = {
        "reconstruction": Term(lambda seen: -seen.log_likelihood),
        "commitment": Term(lambda seen: squared_error(seen.z, stop_gradient(seen.e)), commitment),
        "codes_used": Term(lambda seen: (seen.used > 0).sum(dtype=jnp.float32), 0.0),
        "perplexity": Term(lambda seen: jnp.exp(jax.scipy.special.entr(seen.used).sum()), 0.0),
    }
    if codebook == "gradient":
        terms[CODEBOOK] = Term(lambda seen: squared_error(stop_gradient(seen.z), seen.e))
    return Quantisation(init, look, {ENCODER: terms, DECODER: {"reconstruction": terms["reconstruction"]}})


def vqvae(encoder: nn.Module, decoder: nn.Module, observation: Observation, **options: Any) -> Game:
    """The game of `quantisation` alone; arguments as there."""
    made = quantisation(encoder, decoder, observation, **options)
    return Game(made.init, of_terms(made.look, made.terms))


def vectors_of(own: Owned) -> Array:
    """The codebook [K, D] of an encoder."""
    return own.params[CODEBOOK] if CODEBOOK in own.params else own.net_state[CODEBOOK]["vectors"]


def encode(encoder: nn.Module, weights: Weights, x: Array) -> Array:
    """The codes of examples [B, ...], int32 [B, ...]: what a prior over codes learns."""
    return nearest(vectors_of(weights[ENCODER]), embed(encoder, weights, x))


def embed(encoder: nn.Module, weights: Weights, x: Array) -> Array:
    """What the encoder says of examples before it is rounded to codes, [B, ..., D]."""
    own = weights[ENCODER]
    return network(encoder, beside=(CODEBOOK,)).apply(own.params[NETWORK], own.net_state, x, train=False)[0]


def decode(decoder: nn.Module, observation: Observation, weights: Weights, index: Array) -> Array:
    """The mean of `p(x | codes)`, of integers [B, ...]."""
    outputs, _ = network(decoder).apply(*weights[DECODER], vectors_of(weights[ENCODER])[index], train=False)
    return observation.mean(outputs)


def prior(quantised: Game, encoder: nn.Module, module: nn.Module, *, codes: int) -> Game:
    """A model of the maps of codes, `-log p(codes)`: the second stage of van den Oord et al. (2017, section 3.3).

    Args:
        quantised: the game of `vqvae`, whose players look on.
        encoder: as of `vqvae`.
        module: as of `autoregression`, of maps [B, H, W, 1] under `categorical(codes)`; of classes where the batch has
            any.
        codes: K, of the codebook.

    Returns:
        A game of the player "model"; encoder and decoder stay as they are, for which they are taken from a run.
    """
    told = autoregression(module, categorical(codes))

    def maps(weights: Weights, batch: Batch) -> Batch:
        return batch._replace(x=as_seen(encode(encoder, weights, batch.x), codes, batch.x.dtype))

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        keys = jax.random.split(key)
        params, state = quantised.init(keys[0], batch)
        own, own_state = told.init(keys[1], maps({ENCODER: Owned(params[ENCODER], state[ENCODER])}, batch))
        return {**params, **own}, {**state, **own_state}

    def cost(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        seen = maps({ENCODER: Owned(params[ENCODER], moment.net_state[ENCODER])}, moment.batch)
        return told.costs[MODEL](params, moment._replace(batch=seen))

    return Game(init, {MODEL: cost})


def as_seen(index: Array, codes: int, dtype: Any = jnp.float32) -> Array:
    """Codes [B, H, W] as a prior sees them, [B, H, W, 1] from -1 to 1."""
    return scaled(index[..., None].astype(dtype), codes)


def from_seen(x: Array, codes: int) -> Array:
    """The way back, int32."""
    return unscaled(x[..., 0], codes)


def prior_samplers(
    decoder: nn.Module,
    observation: Observation,
    module: nn.Module,
    *,
    shape: Sequence[int],
    codes: int,
    classes: int = 0,
    encoder: nn.Module | None = None,
) -> dict[str, Sampler]:
    """Examples decoded of maps that the prior draws code after code; arguments as of `prior` and `samplers`.

    With the encoder also images whose upper half is kept, as "completion": they are encoded with the lower half black,
    so that nothing is told of it, the codes of the upper rows stay, and the prior draws the others. With classes the
    one of a completion is drawn of `p(y | codes that stay)`.
    """
    drawn = autoregressive.samplers(module, categorical(codes), (*shape, 1), classes=classes)
    everybody = (MODEL, ENCODER, DECODER)

    def draw(weights: Weights, key: Key, index: Array, given: PyTree) -> Array:
        x = drawn["samples"](weights, key, index, given)
        return decode(decoder, observation, weights, from_seen(x, codes))

    def complete(weights: Weights, key: Key, index: Array, x: Array) -> Array:
        upper = x.shape[1] // shape[0] * (shape[0] // 2)  # rows of pixels that belong to the rows of codes that stay
        seen = jnp.where(jnp.arange(x.shape[1]).reshape(1, -1, 1, 1) < upper, x, -1.0)
        maps = as_seen(encode(encoder, weights, seen), codes)  # type: ignore[arg-type]
        return decode(decoder, observation, weights, from_seen(drawn["completion"](weights, key, index, maps), codes))

    found = {"prior": Sampler(everybody, "data", draw, given=drawn["samples"].given, batch=64)}
    if encoder is not None:
        found["completion"] = Sampler(everybody, "data", complete, given=("data", "x"), batch=64)
    return found


def prior_measures(encoder: nn.Module, module: nn.Module, *, codes: int, classes: int = 0) -> dict[str, Measure]:
    """Bits that the prior needs for a code of held-out examples, at most log2 K if it has learned anything."""
    told = autoregressive.measures(module, categorical(codes), classes=classes)["bits_per_dimension"]

    def bits(weights: Weights, batch: Batch, key: Key) -> Array:
        x = as_seen(encode(encoder, weights, batch.x), codes)
        return told.values({MODEL: weights[MODEL]}, batch._replace(x=x), key)

    return {"bits_per_code": Measure(bits, (MODEL, ENCODER), "data", "lower", y=told.y)}


def samplers(
    encoder: nn.Module, decoder: nn.Module, observation: Observation, *, shape: Sequence[int]
) -> dict[str, Sampler]:
    """Codes at random, each position by itself, by their use or uniform, and held-out examples from their own codes.

    Args:
        encoder: as of `vqvae`.
        decoder: as of `vqvae`.
        observation: as of `vqvae`.
        shape: of the codes of an example.
    """

    def unigram(weights: Weights, key: Key, truncation: float | None) -> Array:
        return jax.random.categorical(key, jnp.log(weights[ENCODER].net_state[CODEBOOK]["share"]), shape=tuple(shape))

    def uniform(weights: Weights, key: Key, truncation: float | None) -> Array:
        return jax.random.randint(key, tuple(shape), 0, len(vectors_of(weights[ENCODER])))

    def of_codes(weights: Weights, index: Array, given: PyTree) -> Array:
        return decode(decoder, observation, weights, index)

    def copies(weights: Weights, key: Key, index: Array, x: Array) -> Array:
        return decode(decoder, observation, weights, encode(encoder, weights, x))

    both = (ENCODER, DECODER)
    return {
        "unigram": Sampler(both, "data", latent=Latent(unigram, of_codes)),
        "uniform": Sampler(both, "data", latent=Latent(uniform, of_codes)),
        "reconstruction": Sampler(both, "data", copies, given=("data", "x")),
    }


def measures(encoder: nn.Module, decoder: nn.Module, observation: Observation, *, codes: int) -> dict[str, Measure]:
    """Of held-out examples: squared error, summed, of pixels from -1 to 1; codes in use; perplexity of their use.

    Args:
        encoder: as of `vqvae`.
        decoder: as of `vqvae`.
        observation: as of `vqvae`.
        codes: as of `vqvae`.
    """

    def error(weights: Weights, batch: Batch, key: Key) -> Array:
        return squared_error(batch.x, decode(decoder, observation, weights, encode(encoder, weights, batch.x)))

    def index(weights: Weights, batch: Batch, key: Key) -> Array:
        return encode(encoder, weights, batch.x)

    def used(index: Any) -> float:
        return float(len(np.unique(index)))

    def summary(index: Any) -> float:
        return perplexity(np.bincount(np.asarray(index).ravel(), minlength=codes))

    both = (ENCODER, DECODER)
    return {
        "error": Measure(error, both, "data", "lower"),
        "codes_used": Measure(index, (ENCODER,), "data", "higher", summary=used),
        "perplexity": Measure(index, (ENCODER,), "data", "higher", summary=summary),
    }


def perplexity(counts: np.ndarray) -> float:
    """`exp H` of a histogram [K]: how many equally used codes would say as much, at most K."""
    p = np.asarray(counts, np.float64) / np.sum(counts)
    return float(np.exp(-(p[p > 0] * np.log(p[p > 0])).sum()))
