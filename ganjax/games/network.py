"""Flax modules as pure functions, as games play them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.core import Array, Draw, Key, PyTree, substream
from ganjax.layers.dropout import SHARED
from ganjax.layers.mode import check_told, mode
from ganjax.spectral import SpectralNorm

_SPECTRAL = "spectral"  # the entry of net_state that holds the power-iteration vectors, beside Flax's collections

Rngs = dict[str, Key]  # keyed by Flax's stream


class Network(NamedTuple):
    """A Flax module as pure functions. `net_state` holds every collection but the parameters, and `u`."""

    init: Callable[..., tuple[PyTree, PyTree, Any]]  # (key, *inputs) -> (params, net_state, output in training)
    advance: Callable[[PyTree, PyTree], PyTree]  # (params, net_state) -> net_state, its u moved by one update
    weights: Callable[[PyTree, PyTree], PyTree]  # (params, net_state) -> params as the layers use them
    # (weights, net_state, *inputs, train, keys, method) -> (output, net_state)
    apply: Callable[..., tuple[Any, PyTree]]


def network(module: nn.Module, spectral: SpectralNorm | None = None, *, beside: Sequence[str] = ()) -> Network:
    """Wrap a module that is called as `module(x, labels, train=...)`; `labels` is left out when it is None.

    `init` calls the module itself, which must use all of its parts; `apply` also calls a method of it by its name, such
    as the encoder of an autoencoder.

    Args:
        module: a Flax module; whatever of `layers.mode.KEYWORDS` a method takes tells it whether it trains.
        spectral: normalise its kernels spectrally.
        beside: entries of `net_state` that a game keeps there and the module does not know.

    Raises:
        TypeError: from `init`, if it has BatchNorm's statistics and none of these keywords.
    """

    def call(inputs: tuple, train: bool, method: str = "__call__") -> tuple[tuple, dict]:
        return tuple(x for x in inputs if x is not None), mode(module, train, method)

    def init(key: Key, *inputs: Array | None) -> tuple[PyTree, PyTree, Any]:
        args, kwargs = call(inputs, True)
        module_key, dropout_key, spectral_key = jax.random.split(key, 3)
        output, variables = module.init_with_output({"params": module_key, "dropout": dropout_key}, *args, **kwargs)
        check_told(module, variables)
        params, net_state = variables["params"], {k: v for k, v in variables.items() if k != "params"}
        if spectral is not None:
            net_state[_SPECTRAL] = spectral.init(spectral_key, params)
        return params, net_state, output

    def advance(params: PyTree, net_state: PyTree) -> PyTree:
        if spectral is None:
            return net_state
        return {**net_state, _SPECTRAL: spectral.update(params, net_state[_SPECTRAL])}

    def weights(params: PyTree, net_state: PyTree) -> PyTree:
        return params if spectral is None else spectral.normalise(params, net_state[_SPECTRAL])

    def apply(
        weights: PyTree,
        net_state: PyTree,
        *inputs: Array | None,
        train: bool,
        keys: Rngs | None = None,
        method: str = "__call__",
    ):
        args, kwargs = call(inputs, train, method)
        collections = {k: v for k, v in net_state.items() if k != _SPECTRAL and k not in beside}
        rngs = {} if keys is None else keys
        variables = {"params": weights, **collections}
        if not train:
            return module.apply(variables, *args, rngs=rngs, method=method, **kwargs), net_state
        output, new = module.apply(variables, *args, rngs=rngs, mutable=list(collections), method=method, **kwargs)
        return output, {**net_state, **new}

    return Network(init, advance, weights, apply)


def owned(made: Mapping[str, tuple]) -> tuple[dict, dict]:
    """(params, net_state) of all players, from what `Network.init` returns for each."""
    return {p: own[0] for p, own in made.items()}, {p: own[1] for p, own in made.items()}


def in_full_precision(module: nn.Module) -> nn.Module:
    """The module computing in float32 if it has a narrower `dtype`."""
    dtype = getattr(module, "dtype", None)
    return module.clone(dtype=jnp.float32) if dtype is not None and jnp.finfo(dtype).bits < 32 else module


def pass_keys(position: Array, key: Key, axis_name: str | None, passes: int) -> list[Rngs]:
    """Keys for the stochastic layers of a turn's passes, other ones in every turn.

    Those of Flax's stream "dropout" differ between devices; those of the stream "shared" do not.
    """
    key = substream(key, Draw.OTHER)
    first = jax.lax.pmin(position[0], axis_name) if axis_name else position[0]
    shared = jax.random.split(jax.random.fold_in(key, first), passes)
    own = jax.random.split(substream(key, Draw.OTHER, position[0]), passes)
    return [{"dropout": own[i], SHARED: shared[i]} for i in range(passes)]
