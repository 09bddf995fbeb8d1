"""Autoregressive models: one network that maximises `sum_i log p(x_i | x_1, ..., x_{i-1})` in raster order.

Entry i of an image [H, W, C] is `(row W + column) C + channel` (van den Oord, Kalchbrenner and Kavukcuoglu, Pixel
Recurrent Neural Networks, 2016). That the network's outputs for an entry depend on earlier ones alone is its own duty.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from ganjax.checks import check_range
from ganjax.core import (
    Array,
    Batch,
    Draw,
    Game,
    Key,
    Measure,
    Moment,
    Outcome,
    Owned,
    PerPlayer,
    PyTree,
    Sampler,
    Weights,
    prepared,
    substream,
)
from ganjax.games.network import network, owned
from ganjax.layers.masked import Place
from ganjax.likelihoods import Observation, bits_per_dimension, flat

MODEL = "model"
Prepare = Callable[[Key, Batch], Batch]


def autoregression(module: nn.Module, observation: Observation) -> Game:
    """The game of a network whose cost is `-log p(x)`, or `-log p(x | y)` where the batch has labels, in nats.

    Args:
        module: `(x [B, H, W, C], labels) -> outputs [B, H, W, C observation.outputs]`, those of an entry from entries
            before it.
        observation: `p(x_i | outputs_i)`.

    Returns:
        A game of the player "model", whose batch is a `Batch`; "bits_per_dimension" is its metric.

    Raises:
        ValueError: from `init`, if examples are no images or the outputs do not fit.
    """
    net = network(module)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        if batch.x.ndim != 4:
            raise ValueError(f"autoregression: examples have shape {batch.x.shape[1:]}, expected images (H, W, C)")
        made = net.init(key, batch.x, batch.y)
        wanted = (*batch.x.shape[:3], batch.x.shape[3] * observation.outputs)
        if made[2].shape != wanted:
            raise ValueError(
                f"autoregression: the network makes {made[2].shape[1:]} of an example, expected {wanted[1:]}, "
                f"{observation.outputs} for each entry under {observation.name}"
            )
        return owned({MODEL: made})

    def cost(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        batch, key = moment.batch, moment.key
        keys = {"dropout": jax.random.fold_in(key, batch.position[0])}
        outputs, state = net.apply(params[MODEL], moment.net_state[MODEL], batch.x, batch.y, train=True, keys=keys)
        nats = -observation.log_prob(outputs, batch.x).mean()
        return nats, Outcome(state, {"bits_per_dimension": bits_per_dimension(nats, batch.x[0].size)})

    return Game(init, {MODEL: cost})


# -- drawing ----------------------------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """Images, and what the network said of each entry when it was drawn."""

    x: Array  # [B, H, W, C]
    outputs: Array  # [B, H, W, C outputs]


def _entry(observation: Observation, keys: Array, outputs: Array, i: Array | int, channel: Array | int) -> Array:
    """A draw of entry i, the channel of a pixel whose outputs are [B, C outputs], for each example's key: [B]."""
    own = outputs.reshape(outputs.shape[0], -1, observation.outputs)[:, channel]
    return jax.vmap(lambda key, o: observation.sample(jax.random.fold_in(key, i), o)[0])(keys, own)  # type: ignore[misc]


def naively(
    module: nn.Module, observation: Observation, own: Owned, keys: Array, x: Array, known: int, labels: Array | None
) -> Drawn:
    """Draw entry after entry, the whole network anew for each: H W C passes. The oracle of `remembering`.

    Args:
        module: as of `autoregression`.
        observation: as of `autoregression`, one that can be drawn.
        own: the network's weights.
        keys: [B] keys; entry i of an image is drawn by `fold_in(key, i)`.
        x: [B, H, W, C], of which the first `known` entries in raster order are kept to the last bit.
        known: how many.
        labels: [B] integers, or None.
    """
    net, shape = network(module), x.shape[1:]

    def draw(i: Array, drawn: Drawn) -> Drawn:
        row, column, channel = jnp.unravel_index(i, shape)
        outputs = net.apply(*own, drawn.x, labels, train=False)[0][:, row, column]
        value = _entry(observation, keys, outputs, i, channel)
        x = drawn.x.at[:, row, column, channel].set(value.astype(x0.dtype))
        return Drawn(x, drawn.outputs.at[:, row, column].set(outputs))

    x0 = _kept(x, known)
    outputs = net.apply(*own, x0, labels, train=False)[0]  # of what is known they stay
    return lax.fori_loop(known, math.prod(shape), draw, Drawn(x0, outputs))


def remembering(
    module: nn.Module, observation: Observation, own: Owned, keys: Array, x: Array, known: int, labels: Array | None
) -> Drawn:
    """The same images as `naively`, each layer at one place at a time (Ramachandran et al. 2017).

    Layers remember what they saw: for an entry one column of each is computed, and for a row the stack that sees whole
    rows once. Arguments as of `naively`; the module has the methods of `models.pixelcnn.Autoregressive`.
    """
    b, h, w, c = x.shape
    size = (h, w)

    def ask(method: str, cache: PyTree, *args: Any) -> tuple[Any, PyTree]:
        variables = {"params": own.params, **own.net_state, "cache": cache}
        found, new = module.apply(variables, *args, mutable=["cache"], method=method)
        return found, new.get("cache", cache)

    def both(cache: PyTree, x: Array) -> tuple[Array, PyTree]:
        above, cache = ask("above", cache, x, labels, Place(jnp.int32(0), None, size))
        here = jax.tree.map(lambda a: a[:, :, :1], above)
        return ask("say", cache, x, here, labels, Place(jnp.int32(0), jnp.int32(0), size))

    def pixel(column: Array, carry: tuple, row: Array, above: PyTree) -> tuple:
        drawn, cache = carry
        here = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, column, 1, 2), above)
        for channel in range(c):
            outputs, cache = ask("say", cache, drawn.x, here, labels, Place(row, column, size))
            i = (row * w + column) * c + channel
            value = _entry(observation, keys, outputs[:, 0, 0], i, channel).astype(x.dtype)
            value = jnp.where(i < known, x[:, row, column, channel], value)
            own_outputs = drawn.outputs.at[:, row, column].set(outputs[:, 0, 0])
            drawn = Drawn(drawn.x.at[:, row, column, channel].set(value), own_outputs)
        return drawn, cache

    def of_row(row: Array, carry: tuple) -> tuple:
        drawn, cache = carry
        above, cache = ask("above", cache, drawn.x, labels, Place(row, None, size))
        return lax.fori_loop(0, w, partial(pixel, row=row, above=above), (drawn, cache))

    outputs, cache = jax.eval_shape(both, {}, x)
    empty = Drawn(jnp.zeros_like(x), jnp.zeros((b, h, w, outputs.shape[-1]), outputs.dtype))
    start = empty, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), cache)
    return lax.fori_loop(0, h, of_row, start)[0]


def sliding(
    module: nn.Module,
    observation: Observation,
    own: Owned,
    keys: Array,
    window: tuple[int, int],
    size: tuple[int, int],
    labels: Array | None = None,
) -> Array:
    """Maps of any size, [B, *size, 1], by a network of a smaller one (Esser et al. 2021, section 3.3 and figure 3).

    An entry is drawn of what the network says of it in a window of the map: the one with the entry in its middle, moved
    no further than it must be to lie inside of the map. So the entries before it in the window are all that it depends
    on, and a map as large as the window is that of `naively`.

    Args:
        module: as of `autoregression`, of maps [B, *window, 1].
        observation: as of `autoregression`, one that can be drawn.
        own: the network's weights.
        keys: [B] keys; entry i of a map is drawn by `fold_in(key, i)`.
        window: height and width that the network was trained with.
        size: of the maps, at least those.
        labels: [B] integers, or None.

    Raises:
        ValueError: the maps are smaller than the window.
    """
    if any(most < least for most, least in zip(size, window, strict=True)):
        raise ValueError(f"sliding: size is {size}, expected at least the window {window} that the network sees")
    net = network(module)

    def draw(i: Array, x: Array) -> Array:
        at = jnp.unravel_index(i, size)
        corner = [jnp.clip(k - n // 2, 0, m - n) for k, n, m in zip(at, window, size, strict=True)]
        seen = lax.dynamic_slice(x, (0, *corner, 0), (x.shape[0], *window, 1))
        outputs = net.apply(*own, seen, labels, train=False)[0][:, at[0] - corner[0], at[1] - corner[1]]
        return x.at[:, at[0], at[1], 0].set(_entry(observation, keys, outputs, i, 0).astype(x.dtype))

    return lax.fori_loop(0, math.prod(size), draw, jnp.zeros((keys.shape[0], *size, 1)))


def _kept(x: Array, known: int) -> Array:
    """The first so many entries in raster order, the others 0."""
    flat = jnp.arange(x[0].size).reshape(1, *x.shape[1:]) < known
    return jnp.where(flat, x, 0.0)


def prefix(kept: np.ndarray) -> int:
    """How many pixels a mask keeps, if these are the first in raster order.

    Others are not conditioned on by drawing the rest in order: that has the wrong distribution, and needs MCMC.

    Args:
        kept: [H, W] bool.

    Raises:
        ValueError: they are not.

    >>> prefix(np.array([[True, True], [True, False]]))
    3
    """
    count = int(np.sum(kept))
    if not np.ravel(kept)[:count].all():
        row, column = np.argwhere(~np.asarray(kept, bool))[0]
        raise ValueError(
            f"prefix: what is kept has a gap at row {row}, column {column}, expected the first pixels in raster order; "
            "the rest of other pixels has no conditional distribution in closed form: keep rows from the top"
        )
    return count


def samplers(
    module: nn.Module,
    observation: Observation,
    shape: tuple[int, ...],
    *,
    kept: np.ndarray | None = None,
    classes: int = 0,
    prepare: Prepare | None = None,
    cached: bool = True,
) -> dict[str, Sampler]:
    """Draws of the model, given classes where it has any; and held-out images whose kept pixels it completes.

    The kept pixels stay bit by bit, unless `prepare` makes others of them. With classes, the one of a completion is
    drawn of `p(y | kept pixels)`, under equal prior probabilities.

    Args:
        module: as of `autoregression`.
        observation: as of `autoregression`.
        shape: (H, W, C) of an image.
        kept: [H, W] bool, what a completion keeps; by default the upper half.
        classes: of a conditional model.
        prepare: what the stream does to a training example, done to what is completed too.
        cached: draw by `remembering`; else `naively`, of modules that have no other way.

    Raises:
        ValueError: the observation cannot be drawn, or what is kept is not the first pixels in raster order.
    """
    if observation.sample is None:
        raise ValueError(f"samplers: {observation.name} is a density whose values cannot be drawn; take another")
    kept = np.arange(shape[0])[:, None].repeat(shape[1], 1) < shape[0] // 2 if kept is None else kept
    if np.shape(kept) != tuple(shape[:2]):
        raise ValueError(f"samplers: kept has shape {np.shape(kept)}, expected {tuple(shape[:2])}, a pixel each")
    known, draws = prefix(kept) * shape[2], remembering if cached else naively

    def draw(weights: Weights, key: Key, index: Array, given: PyTree) -> Array:
        keys = jax.vmap(partial(jax.random.fold_in, key))(index)
        return draws(module, observation, weights[MODEL], keys, jnp.zeros((index.shape[0], *shape)), 0, given).x

    def complete(weights: Weights, key: Key, index: Array, x: Array) -> Array:
        keys = jax.vmap(partial(jax.random.fold_in, key))(index)
        x = _kept(prepared(prepare, Batch(x, None, index), key).x, known)
        labels = None
        if classes:
            beliefs = by_class(module, observation, weights[MODEL], x, classes, known)
            labels = jax.vmap(lambda k, b: jax.random.categorical(substream(k, Draw.OTHER), b))(keys, beliefs)
        return draws(module, observation, weights[MODEL], keys, x, known, labels).x

    return {
        "samples": Sampler((MODEL,), "data", draw, given=("data", "class") if classes else None, batch=64),
        "completion": Sampler((MODEL,), "data", complete, given=("data", "x"), batch=64),
    }


# -- measuring --------------------------------------------------------------------------------------------------------


def by_class(
    module: nn.Module, observation: Observation, own: Owned, x: Array, classes: int, known: int | None = None
) -> Array:
    """`log p(first known entries of x | y)` for each class y, [B, classes] nats; of all entries by default.

    Up to a constant, `log p(y | x)` where all classes are as frequent: a generative classifier.
    """
    net = network(module)

    def of(y: Array) -> Array:
        outputs, _ = net.apply(*own, x, jnp.full(x.shape[0], y), train=False)
        return observation.log_probs(flat(outputs), flat(x))[:, :known].sum(1)

    return lax.map(of, jnp.arange(classes)).T


def measures(
    module: nn.Module, observation: Observation, *, classes: int = 0, prepare: Prepare | None = None
) -> dict[str, Measure]:
    """Numbers of held-out images: `-log p(x)` in bits per dimension and in nats, and how well `p(y | x)` classifies.

    With classes the first two are of `p(x | y)`, and "accuracy" is that of `argmax_y p(x | y)`.

    Args:
        module: as of `autoregression`.
        observation: as of `autoregression`.
        classes: of a conditional model.
        prepare: what the stream does to a training example, done to the held-out ones too, each by its own key.
    """
    check_range("measures", 0, whole=True, classes=classes)
    net = network(module)

    def nats(weights: Weights, batch: Batch, key: Key) -> Array:
        batch = prepared(prepare, batch, key)
        outputs, _ = net.apply(*weights[MODEL], batch.x, batch.y if classes else None, train=False)
        return -observation.log_prob(outputs, batch.x)

    def bits(weights: Weights, batch: Batch, key: Key) -> Array:
        return bits_per_dimension(nats(weights, batch, key), batch.x[0].size)

    def hit(weights: Weights, batch: Batch, key: Key) -> Array:
        batch = prepared(prepare, batch, key)
        return by_class(module, observation, weights[MODEL], batch.x, classes).argmax(1) == batch.y

    y = "class" if classes else None
    found = {
        "bits_per_dimension": Measure(bits, (MODEL,), "data", "lower", y=y),
        "nats": Measure(nats, (MODEL,), "data", "lower", y=y),
    }
    return found | ({"accuracy": Measure(hit, (MODEL,), "data", "higher", y="class")} if classes else {})
