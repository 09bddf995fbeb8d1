"""The game of two networks: a generator and a discriminator (Goodfellow et al. 2014)."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.core import Array, Batch, Game, Key, Outcome, PerPlayer, PyTree, noise
from ganjax.losses import AdversarialLoss
from ganjax.spectral import SpectralNorm

Prior = Callable[[Key], Array]  # key -> the latent z of one example
GENERATOR, DISCRIMINATOR = "generator", "discriminator"
_SPECTRAL = "spectral"  # the entry of net_state that holds the power-iteration vectors


def normal_prior(size: int) -> Prior:
    """`z ~ N(0, I)`, shape [size]."""
    return lambda key: jax.random.normal(key, (size,))


def uniform_prior(size: int) -> Prior:
    """`z ~ U(-1, 1)^size`, shape [size]."""
    return lambda key: jax.random.uniform(key, (size,), minval=-1.0, maxval=1.0)


class Network(NamedTuple):
    """A Flax module as pure functions. `net_state` holds every collection but the parameters, and `u`."""

    init: Callable[..., tuple[PyTree, PyTree]]  # (key, *inputs) -> (params, net_state)
    advance: Callable[[PyTree, PyTree], PyTree]  # (params, net_state) -> net_state, its u moved by one update
    weights: Callable[[PyTree, PyTree], PyTree]  # (params, net_state) -> params as the layers use them
    apply: Callable[..., tuple[Array, PyTree]]  # (weights, net_state, *inputs, train, key) -> (output, net_state)


def network(module: nn.Module, spectral: SpectralNorm | None = None) -> Network:
    """Wrap a module that is called as `module(x, labels, train=...)`; `labels` is left out when it is None.

    Args:
        module: a Flax module; the keyword `train` is passed if its `__call__` takes it.
        spectral: normalise its kernels spectrally.
    """
    takes_train = "train" in inspect.signature(type(module).__call__).parameters

    def call(inputs: tuple, train: bool) -> tuple[tuple, dict]:
        return tuple(x for x in inputs if x is not None), {"train": train} if takes_train else {}

    def init(key: Key, *inputs: Array | None) -> tuple[PyTree, PyTree]:
        args, kwargs = call(inputs, True)
        module_key, dropout_key, spectral_key = jax.random.split(key, 3)
        variables = module.init({"params": module_key, "dropout": dropout_key}, *args, **kwargs)
        params, net_state = variables["params"], {k: v for k, v in variables.items() if k != "params"}
        if spectral is not None:
            net_state[_SPECTRAL] = spectral.init(spectral_key, params)
        return params, net_state

    def advance(params: PyTree, net_state: PyTree) -> PyTree:
        if spectral is None:
            return net_state
        return {**net_state, _SPECTRAL: spectral.update(params, net_state[_SPECTRAL])}

    def weights(params: PyTree, net_state: PyTree) -> PyTree:
        return params if spectral is None else spectral.normalise(params, net_state[_SPECTRAL])

    def apply(weights: PyTree, net_state: PyTree, *inputs: Array | None, train: bool, key: Key | None = None):
        args, kwargs = call(inputs, train)
        collections = {k: v for k, v in net_state.items() if k != _SPECTRAL}
        rngs = {} if key is None else {"dropout": key}
        variables = {"params": weights, **collections}
        if not train:
            return module.apply(variables, *args, rngs=rngs, **kwargs), net_state
        output, new = module.apply(variables, *args, rngs=rngs, mutable=list(collections), **kwargs)
        return output, {**net_state, **new}

    return Network(init, advance, weights, apply)


def gan(
    generator: nn.Module,
    discriminator: nn.Module,
    loss: AdversarialLoss,
    *,
    prior: Prior,
    spectral: SpectralNorm | None = None,
    generator_spectral: SpectralNorm | None = None,
) -> Game:
    """A generative adversarial network from two Flax modules and a loss.

    The discriminator minimises `mean loss.discriminator(D(x), D(G(z)))`, the generator `mean loss.generator(D(G(z)))`.
    Both see the noise of their batch's global positions. Class labels of the batch, where it has any, go to both
    networks, the fakes sharing the labels of the real examples.

    A player's cost moves its own state alone: BatchNorm statistics of the discriminator by its passes over real
    and fake examples (in this order, each batch by itself), those of the generator by its own turn. `u` of a
    spectrally normalised network moves once per evaluation of its own cost, and all passes of that
    evaluation share it.

    Args:
        generator: module, `(z [B, ...], labels [B]) -> x [B, ...]`.
        discriminator: module, `(x [B, ...], labels [B]) -> logits [B, ...]`.
        loss: what the two minimise.
        prior: draws the latent of one example.
        spectral: spectral normalisation of the discriminator.
        generator_spectral: of the generator.

    Returns:
        A game of the players "discriminator" and "generator", in this order, whose batch is a `Batch`.
    """
    g, d = network(generator, generator_spectral), network(discriminator, spectral)

    def latents(batch: Batch, key: Key) -> Array:
        return noise(prior, key, batch.position)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        d_key, g_key, z_key = jax.random.split(key, 3)
        z = latents(batch, z_key)
        d_params, d_state = d.init(d_key, batch.x, batch.label)
        g_params, g_state = g.init(g_key, z, batch.label)
        x_fake, _ = g.apply(g_params, g_state, z, batch.label, train=False)
        if x_fake.shape != batch.x.shape:
            raise ValueError(
                f"gan: the generator makes {x_fake.shape[1:]} and the data are {batch.x.shape[1:]}; "
                "give the generator the shape of one example"
            )
        return {DISCRIMINATOR: d_params, GENERATOR: g_params}, {DISCRIMINATOR: d_state, GENERATOR: g_state}

    def discriminator_cost(params: PerPlayer, net_state: PerPlayer, batch: Batch, key: Key):
        g_state, d_state = net_state[GENERATOR], d.advance(params[DISCRIMINATOR], net_state[DISCRIMINATOR])
        g_weights, d_weights = (
            g.weights(params[GENERATOR], g_state),
            d.weights(params[DISCRIMINATOR], d_state),
        )
        g_key, real_key, fake_key = _dropout_keys(batch, key)
        x_fake, _ = g.apply(g_weights, g_state, latents(batch, key), batch.label, train=True, key=g_key)
        real, d_state = d.apply(d_weights, d_state, batch.x, batch.label, train=True, key=real_key)
        fake, d_state = d.apply(d_weights, d_state, x_fake, batch.label, train=True, key=fake_key)
        metrics = {"real_logit": real.mean(), "fake_logit": fake.mean()}
        return loss.discriminator(real, fake).mean(), Outcome(d_state, metrics)

    def generator_cost(params: PerPlayer, net_state: PerPlayer, batch: Batch, key: Key):
        d_state, g_state = net_state[DISCRIMINATOR], g.advance(params[GENERATOR], net_state[GENERATOR])
        g_weights, d_weights = (
            g.weights(params[GENERATOR], g_state),
            d.weights(params[DISCRIMINATOR], d_state),
        )
        g_key, _, fake_key = _dropout_keys(batch, key)
        x_fake, g_state = g.apply(g_weights, g_state, latents(batch, key), batch.label, train=True, key=g_key)
        fake, _ = d.apply(d_weights, d_state, x_fake, batch.label, train=True, key=fake_key)
        return loss.generator(fake).mean(), Outcome(g_state, {"fake_logit": fake.mean()})

    return Game(init, {DISCRIMINATOR: discriminator_cost, GENERATOR: generator_cost})


def _dropout_keys(batch: Batch, key: Key) -> Array:
    """Keys for the stochastic layers of the three passes; they differ between turns and between devices.

    `fold_in(key, i)` belongs to the noise of example i, and no position is as large as the number here.
    """
    return jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), batch.position[0]), 3)


def sampler(
    generator: nn.Module, prior: Prior, *, spectral: SpectralNorm | None = None
) -> Callable[[PyTree, PyTree, Key, Array, Array | None], Array]:
    """The function that draws from a generator in evaluation mode: running BatchNorm statistics, `u` unmoved.

    Returns:
        `(params, net_state, key, index [B], labels [B] or None) -> x [B, ...]`: example i comes from the latent
        `prior(fold_in(key, i))`, whatever else is drawn beside it.
    """
    g = network(generator, spectral)

    def sample(params: PyTree, net_state: PyTree, key: Key, index: Array, labels: Array | None = None) -> Array:
        z = noise(prior, key, jnp.asarray(index))
        x, _ = g.apply(g.weights(params, net_state), net_state, z, labels, train=False)
        return x

    return sample
