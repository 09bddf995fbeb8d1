"""Streams of examples: which of them a step sees, and the batch that a game's costs get of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.core import Array, Batch, Key, PyTree, global_index, prepared
from ganjax.data import Dataset, positions_of_steps

Rows = Mapping[str, Any]  # keyed by stream: which rows of its data set, integers [..., examples]


class Stream(NamedTuple):
    """Examples of a data set on their way to the players, in an order of their own."""

    dataset: Dataset
    batch_size: int  # examples of all devices that one turn consumes; 0 for what only samplers and measures see
    y: str | tuple[str, ...] | None = None  # what players get beside x: "class", or names of the set's companions
    prepare: Callable[[Key, Batch], Batch] | None = None  # of one training example, traced: jitter, binarisation


def named_y(dataset: Dataset, y: str | tuple[str, ...] | None, split: str = "train") -> PyTree:
    """What of these names comes with the examples of a split: None, an array, or {name: array}."""
    if y is None or isinstance(y, str):
        return None if y is None else dataset.y(y, split)
    return {name: dataset.y(name, split) for name in y}


def encoded(dataset: Dataset, y: str | tuple[str, ...] | None, x: Array, values: PyTree, position: Array) -> Batch:
    """The batch of these stored examples, as networks see it.

    Args:
        dataset: gives the kinds.
        y: the names of the values.
        x: [B, ...] as stored.
        values: as of `named_y`, rows of the examples.
        position: [B] int32.
    """
    if isinstance(y, tuple):
        values = {name: dataset.y_kind(name).encode(jnp.asarray(values[name])) for name in y}
    elif y is not None:
        values = dataset.y_kind(y).encode(jnp.asarray(values))
    return Batch(dataset.kind.encode(jnp.asarray(x)), values, position)


def arrays(streams: Mapping[str, Stream]) -> dict[str, dict[str, PyTree]]:
    """The training examples of each stream as `collate` wants them, images on disk where they are."""
    return {name: {"x": s.dataset.x_train, "y": named_y(s.dataset, s.y)} for name, s in streams.items()}


def order(streams: Mapping[str, Stream], slices: int, seed: int) -> Callable[[int, int], dict[str, np.ndarray]]:
    """`(start, count) -> {stream: positions [count, batch_size * slices]}`, a pure function of the seed.

    Each stream has an order of its own, so that two of the same data set show different examples.
    """

    def rows(start: int, count: int) -> dict[str, np.ndarray]:
        return {
            name: positions_of_steps(
                seed, start, count, batch_size=s.batch_size * slices, size=len(s.dataset.x_train), stream=number
            )
            for number, (name, s) in enumerate(streams.items())
        }

    return rows


def collate(
    streams: Mapping[str, Stream], data: Mapping[str, Any], rows: Rows, key: Key, axis_name: str | None = None
) -> PyTree:
    """The batch of these rows: a `Batch`, or {stream: Batch} where there are several streams.

    Positions run on from stream to stream, so that no two examples of a step share their noise.

    Args:
        streams: those that players see.
        data: from `arrays`, or what was gathered of them.
        rows: [B] of each stream, of this device.
        key: of the step; streams that prepare their examples draw from it.
        axis_name: the mapped axis that shares the batch; None on one device.
    """
    batches, first = {}, 0
    devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    for name, stream in streams.items():
        own = rows[name]
        position = global_index(len(own), axis_name) + first
        first += len(own) * devices
        x, y = jax.tree.map(lambda leaf, own=own: leaf[own], (data[name]["x"], data[name]["y"]))
        batch = encoded(stream.dataset, stream.y, x, y, position)
        batches[name] = prepared(stream.prepare, batch, key)
    return batches if len(batches) > 1 else next(iter(batches.values()))


def shapes(streams: Mapping[str, Stream], slices: int) -> PyTree:
    """Shapes and dtypes of the data, and of the rows, of one step; nothing is read."""
    described = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arrays(streams))
    rows = {name: jax.ShapeDtypeStruct((s.batch_size * slices,), jnp.int32) for name, s in streams.items()}
    return described, rows


def drawn(dataset: Dataset, size: int, y: str | tuple[str, ...] | None = None) -> Callable[[Key], Batch]:
    """`key -> a batch of so many training examples`, drawn with replacement inside a program."""
    stream = {"data": Stream(dataset, size, y)}
    data = jax.device_put(arrays(stream))

    def draw(key: Key) -> Batch:
        rows = jax.random.randint(key, (size,), 0, len(dataset.x_train))
        return collate(stream, data, {"data": rows}, key)

    return draw
