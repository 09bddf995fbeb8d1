"""The three contracts everything stands on: `Game`, `Dynamics` and `GameState`.

A *game* says what each player wants, a *dynamics* says how the players move. The update rule that makes
`v(a, b) = ab` circle is the same object that trains a pair of networks.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import struct

Array = jax.Array
Key = jax.Array  # a typed PRNG key, jax.random.key(seed)
PyTree = Any
PerPlayer = Mapping[str, PyTree]  # one tree for each player's name
Metrics = dict[str, Array]


class Batch(NamedTuple):
    """A slice of real data. All leaves share the leading (batch) axis."""

    x: Array  # [B, ...] float32; images are scaled to [-1, 1]
    label: Array | None  # [B] int32, None for data without classes
    position: Array  # [B] int32, where the example is in the *global* batch of this step


class Outcome(NamedTuple):
    """What a cost returns beside its value."""

    net_state: PyTree  # the player's own, after this evaluation
    metrics: Metrics  # scalars


class Cost(Protocol):
    """What one player minimises: `(params, net_state, batch, key) -> (scalar, Outcome)`."""

    def __call__(self, params: PerPlayer, net_state: PerPlayer, batch: PyTree, key: Key) -> tuple[Array, Outcome]: ...


class Game(NamedTuple):
    """A differentiable game: each player owns parameters and minimises a cost of everybody's."""

    init: Callable[[Key, PyTree], tuple[dict, dict]]  # (key, batch) -> (params, net_state), keyed by player
    costs: Mapping[str, Cost]  # keyed by player, in the order of play
    parts: int = 1  # micro-batches in which a batch is evaluated, one after another; see `dynamics.field.View`
    group: int = 1  # examples that are judged together, of which a micro-batch is a multiple

    @property
    def players(self) -> tuple[str, ...]:
        return tuple(self.costs)


@struct.dataclass
class GameState:
    """All that a checkpoint holds: a run is a pure function of this, the step's batch and the base key."""

    step: Array  # scalar int32, steps taken
    params: dict  # keyed by player
    net_state: dict  # keyed by player: BatchNorm statistics, power-iteration vectors, ...
    dynamics_state: PyTree  # optimiser states and whatever the dynamics remembers
    averages: dict  # keyed by the average's name
    skipped: Array  # scalar int32, steps rejected because a value was not finite


class Dynamics(NamedTuple):
    """How the players move: a pair of pure functions."""

    init: Callable[[PerPlayer], PyTree]  # params -> dynamics_state
    # (game, state, batch, key) -> (state, metrics): new params, net_state and dynamics_state; the rest is kept.
    step: Callable[[Game, GameState, PyTree, Key], tuple[GameState, Metrics]]
    slices: int = 1  # the equal parts of a batch that one step consumes, one per turn


def as_arrays(tree: PyTree) -> PyTree:
    """The tree with its Python numbers as arrays; whatever has a dtype stays as it is.

    >>> as_arrays({"a": 1.0})["a"].dtype
    dtype('float32')
    """
    return jax.tree.map(lambda x: x if hasattr(x, "dtype") else jnp.asarray(x, jnp.result_type(x)), tree)


def noise(sample: Callable[[Key], PyTree], key: Key, position: Array) -> PyTree:
    """One draw per example: example i of the global batch gets `sample(fold_in(key, i))`.

    The draw depends on the global position alone, so it does not change with the number of devices that share
    the batch, nor with the batch size.

    Args:
        sample: draws for one example from a key.
        key: the key of the step.
        position: [B] integers, in the global batch.

    Returns:
        What `sample` returns, with a leading axis of length B.
    """
    return jax.vmap(lambda i: sample(jax.random.fold_in(key, i)))(position)


def global_index(size: int, axis_name: str | None) -> Array:
    """Positions in the whole batch of a device's `size` examples, [size] int32.

    A batch is dealt to n devices like cards: device d holds the examples d, d + n, d + 2n, ... So whatever is drawn
    for a position is the same on any number of devices.

    Args:
        size: examples on this device.
        axis_name: the mapped axis that shares the batch; None on one device.
    """
    index = jnp.arange(size, dtype=jnp.int32)
    if axis_name is None:
        return index
    return index * jax.lax.axis_size(axis_name) + jax.lax.axis_index(axis_name)


class Judgement(NamedTuple):
    """All that a discriminator with further outputs says of a batch; one without returns its logits alone."""

    logits: Array  # [B, ...] floating; large means real
    features: Array | None  # [B, F] floating, of the last hidden layer
    heads: dict[str, Array]  # [B, size] floating for each head's name, such as the logits of classes
