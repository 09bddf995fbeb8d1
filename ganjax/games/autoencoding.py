"""Autoencoders: one player that copies its examples through a code, plain, denoising or contractive."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.checks import check_range
from ganjax.core import (
    Array,
    Batch,
    Game,
    Key,
    Latent,
    Measure,
    Moment,
    Outcome,
    PerPlayer,
    PyTree,
    Sampler,
    Weights,
    noise,
)
from ganjax.games.latents import normal
from ganjax.games.network import Network, network
from ganjax.games.terms import Term, weighed
from ganjax.likelihoods import flat

AUTOENCODER = "autoencoder"
MOMENTS = "moments"  # the entry of net_state with the mean and the second moments of the codes


class Copied(NamedTuple):
    """What one look shows."""

    x: Array  # [B, ...]
    x_hat: Array  # [B, ...]
    jacobian: Array | None  # [B], |dh/dx|_F^2
    params: PyTree


def squared_error(x: Array, x_hat: Array) -> Array:
    """`|x - x_hat|^2` of each example, summed over all that it has, [B]; of pixels from -1 to 1."""
    return jnp.square(flat(x) - flat(x_hat)).sum(1)


def autoencoder(
    module: nn.Module, *, corruption: float = 0.0, contraction: float = 0.0, decay: float = 0.0, memory: float = 0.99
) -> Game:
    """`E |r(x + corruption e) - x|^2 + contraction E |dh/dx|_F^2 + decay sum |W|_F^2`, h the code and r the copy.

    Linear, it is principal component analysis: the minimum is the sum of the discarded eigenvalues of the covariance,
    all other critical points are saddles, and decay fixes the axes (Baldi and Hornik 1989; Kunin et al. 2019). With
    noise e ~ N(0, I) the best r is `x + corruption^2 grad log p`, p the density of the noisy examples, for any noise
    (Vincent 2011; Alain and Bengio 2014). The contraction (Rifai et al. 2011) needs tied weights: a decoder of its own
    makes up for any scale of the code, and the penalty then does nothing.

    Args:
        module: with methods `encode`, `x [B, ...] -> h [B, L]`, and `decode`, `h -> x`.
        corruption: standard deviation of the noise at the input; the target stays clean.
        contraction: weight of the squared Frobenius norm of the encoder's Jacobian, at the clean example.
        decay: weight of the squares of all matrices.
        memory: of the running moments of the codes, from which the sampler "gaussian" draws.

    Returns:
        A game of the player "autoencoder", whose batch is a `Batch`. Metrics are "reconstruction", "contraction" and
        "decay", unweighted, where there are any.

    Raises:
        ValueError: an option is out of its range; from `init`, if the copy has not the shape of an example.
    """
    check_range("autoencoder", 0, corruption=corruption, contraction=contraction, decay=decay)
    check_range("autoencoder", 0, 1, below=True, memory=memory)
    net = network(module, beside=(MOMENTS,))
    terms = {"reconstruction": Term(lambda seen: squared_error(seen.x, seen.x_hat))}
    if contraction:
        terms["contraction"] = Term(lambda seen: seen.jacobian, contraction)
    if decay:
        terms["decay"] = Term(lambda seen: squares(seen.params), decay)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        params, net_state, x_hat = net.init(key, batch.x)
        if x_hat.shape != batch.x.shape:
            raise ValueError(f"autoencoder: the copy is {x_hat.shape[1:]}, expected {batch.x.shape[1:]}, as an example")
        h, _ = net.apply(params, net_state, batch.x, train=False, method="encode")
        return {AUTOENCODER: params}, {AUTOENCODER: {**net_state, MOMENTS: moments(h)}}

    def cost(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        x, own, state = moment.batch.x, params[AUTOENCODER], moment.net_state[AUTOENCODER]
        seen_x = x
        if corruption:
            e = noise(lambda k: jax.random.normal(k, x.shape[1:], x.dtype), moment.key, moment.batch.position)
            seen_x = x + corruption * e
        h, after = net.apply(own, state, seen_x, train=True, method="encode")
        x_hat, after = net.apply(own, after, h, train=True, method="decode")
        jacobian = _jacobian(net, own, state, x) if contraction else None
        value, metrics = weighed(terms, Copied(x, x_hat, jacobian, own), moment.step)
        now = moments(jax.lax.stop_gradient(h))
        running = jax.tree.map(lambda old, new: memory * old + (1 - memory) * new, state[MOMENTS], now)
        return value, Outcome({**after, MOMENTS: running}, metrics)

    return Game(init, {AUTOENCODER: cost})


def _jacobian(net: Network, params: PyTree, state: PyTree, x: Array) -> Array:
    """`|dh/dx|_F^2` of each example, [B], by one product for each entry of the code."""
    h, pull = jax.vjp(lambda x: net.apply(params, state, x, train=True, method="encode")[0], x)
    rows = jax.vmap(lambda one: pull(jnp.broadcast_to(one, h.shape))[0])(jnp.eye(h.shape[1], dtype=h.dtype)[:, None])
    return jnp.square(rows).reshape(*rows.shape[:2], -1).sum((0, 2))


def squares(params: PyTree) -> Array:
    """`sum |W|_F^2` of all that has two axes or more: matrices and kernels, no biases."""
    return sum((jnp.square(w).sum() for w in jax.tree.leaves(params) if w.ndim > 1), jnp.zeros(()))


def moments(h: Array) -> dict[str, Array]:
    """`E h` and `E h h^T`, means over examples [B, L]."""
    return {"first": h.mean(0), "second": h.T @ h / len(h)}


def score(module: nn.Module, weights: Weights, x: Array, corruption: float) -> Array:
    """`(r(x) - x) / corruption^2`, [B, ...]: of the best denoiser `grad log p(x)` of the noisy examples' density."""
    check_range("score", 0, above=True, corruption=corruption)
    x_hat, _ = network(module, beside=(MOMENTS,)).apply(*weights[AUTOENCODER], x, train=False)
    return (x_hat - x) / corruption**2


def samplers(module: nn.Module, *, size: int) -> dict[str, Sampler]:
    """Decoded draws of the Gaussian with the moments of the codes, decoded N(0, I), and copies of held-out examples.

    Of a linear autoencoder at its best, the squared Frechet distance of the first to the data is the reconstruction
    loss; N(0, I) is not where its codes are.
    """
    net, prior = network(module, beside=(MOMENTS,)), normal(size)

    def gaussian(weights: Weights, key: Key, truncation: float | None) -> Array:
        known = weights[AUTOENCODER].net_state[MOMENTS]
        w, v = jnp.linalg.eigh(known["second"] - jnp.outer(known["first"], known["first"]))
        return known["first"] + v @ (jnp.sqrt(jnp.maximum(w, 0)) * prior(weights, key, truncation))

    def decode(weights: Weights, h: Array, given: PyTree) -> Array:
        return net.apply(*weights[AUTOENCODER], h, train=False, method="decode")[0]

    def copies(weights: Weights, key: Key, index: Array, x: Array) -> Array:
        return net.apply(*weights[AUTOENCODER], x, train=False)[0]

    own = (AUTOENCODER,)
    return {
        "gaussian": Sampler(own, "data", latent=Latent(gaussian, decode)),
        "normal": Sampler(own, "data", latent=Latent(prior, decode, size)),
        "reconstruction": Sampler(own, "data", copies, given=("data", "x")),
    }


def measures(module: nn.Module) -> dict[str, Measure]:
    """The squared error of held-out examples, summed over all that an example has; of pixels from -1 to 1."""
    net = network(module, beside=(MOMENTS,))

    def error(weights: Weights, batch: Batch, key: Key) -> Array:
        return squared_error(batch.x, net.apply(*weights[AUTOENCODER], batch.x, train=False)[0])

    return {"error": Measure(error, (AUTOENCODER,), "data", "lower")}
