"""The contracts everything stands on: `Game`, `Dynamics` and `GameState`; `Sampler` and `Measure` of what was trained.

A *game* says what each player wants, a *dynamics* says how the players move. The update rule that makes
`v(a, b) = ab` circle is the same object that trains a pair of networks.
"""

import enum
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Array = jax.Array
Key = jax.Array  # a typed PRNG key, jax.random.key(seed)
PyTree = Any
PerPlayer = Mapping[str, PyTree]  # one tree for each player's name
Metrics = dict[str, Array]


class Batch(NamedTuple):
    """A slice of one stream of real data. All leaves share the leading (batch) axis."""

    x: Array  # [B, ...] float32; images are scaled to [-1, 1]
    y: PyTree  # what players get beside x: None, an array [B, ...] such as int32 classes, or {name: array}
    position: Array  # [B] int32, where the example is among *all* examples of this step, those of other streams too


class Moment(NamedTuple):
    """All that a cost sees beside the parameters: data, never differentiated."""

    net_state: PerPlayer  # of all players
    batch: PyTree  # what the game's `init` and costs expect, mostly a `Batch`
    key: Key  # of the step, the same in all its turns
    step: Array | int = 0  # scalar int32, steps before this one: the only time there is


class Outcome(NamedTuple):
    """What a cost returns beside its value.

    Floating leaves of `net_state` are averaged over devices and micro-batches: so they are means over examples, or
    equal everywhere, as a slow copy, or a pool that is filled through `psum`. What is derived from them is computed
    where it is used, and integers never come from the batch.
    """

    net_state: PyTree  # the mover's own, after this evaluation
    metrics: Metrics  # scalars; "cost" is logged instead of the value, where that is a surrogate's


class Cost(Protocol):
    """What a player minimises. Its gradient in the player's own parameters moves the player.

    It may be an estimate of that gradient, a surrogate, as a score function's is: then it says so, and adjustments that
    take second derivatives take those of the surrogate.
    """

    def __call__(self, params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        """The value, a floating scalar, and what else comes of it.

        Args:
            params: of all players.
            moment: statistics, batch, key and time.
        """
        ...


class Begin(Protocol):
    """How a game begins."""

    def __call__(self, key: Key, batch: PyTree, /) -> tuple[dict, dict]:
        """`(params, net_state)`, both keyed by player, onlookers among them.

        Args:
            key: of the initialisation.
            batch: the one of step 0, as the costs see it; a game without data gets None.
        """
        ...


class Game(NamedTuple):
    """A differentiable game: each player owns parameters and minimises a cost of everybody's.

    Costs have names, which are their players' unless `movers` says otherwise: a player may own several, and the order
    of play names costs. Parameters that no cost belongs to are those of an *onlooker*: it has no gradient and no
    optimiser, and not a bit of it moves, which is what a frozen network is.
    """

    init: Begin
    costs: Mapping[str, Cost]  # keyed by name, in the order of play
    movers: Mapping[str, str] = {}  # cost -> whose it is, where that is not its name
    parts: int = 1  # micro-batches in which a batch is evaluated, one after another; see `dynamics.field.View`
    group: int = 1  # examples that are judged together, of which a micro-batch is a multiple
    taken_every: Mapping[str, int] = {}  # "cost/metric" -> k, where it is taken at every k-th step alone, from 0 on

    @property
    def players(self) -> tuple[str, ...]:
        """Who moves, once each, in the order of play."""
        return tuple(dict.fromkeys(map(self.mover, self.costs)))

    def mover(self, cost: str) -> str:
        """Whose cost it is."""
        return self.movers.get(cost, cost)

    def moving(self, tree: PerPlayer) -> dict:
        """What belongs to those who move, of a tree keyed by player."""
        return {player: tree[player] for player in self.players}


def plain(start: PerPlayer, costs: Mapping[str, Callable[[PerPlayer], Array]]) -> Game:
    """A game of plain functions of the parameters.

    >>> game = plain({"a": 1.0, "b": 1.0}, {"a": lambda p: p["a"] * p["b"], "b": lambda p: -p["a"] * p["b"]})
    >>> game.players
    ('a', 'b')

    Args:
        start: where each player begins; one without a cost is an onlooker.
        costs: keyed by player, in the order of play: `params -> scalar`.
    """

    def cost(function: Callable[[PerPlayer], Array]) -> Cost:
        return lambda params, moment: (function(params), Outcome({}, {}))

    return Game(
        init=lambda key, batch: (dict(start), {player: {} for player in start}),
        costs={player: cost(function) for player, function in costs.items()},
    )


class Owned(NamedTuple):
    """What a player has: the weights that it moves, and its memory."""

    params: PyTree
    net_state: PyTree


Weights = Mapping[str, Owned]  # of several players, raw or averaged, keyed by player


@struct.dataclass
class GameState:
    """All that a checkpoint holds: a run is a pure function of this, the step's batch and the base key."""

    step: Array  # scalar int32, steps taken
    params: dict  # keyed by player
    net_state: dict  # keyed by player: BatchNorm statistics, power-iteration vectors, ...
    dynamics_state: PyTree  # optimiser states and whatever the dynamics remembers
    averages: dict  # keyed by the average's name
    skipped: Array  # scalar int32, steps rejected because a value was not finite

    @property
    def weights(self) -> Weights:
        """The raw weights of all players."""
        return {player: Owned(self.params[player], self.net_state[player]) for player in self.params}


class Remember(Protocol):
    """What a dynamics remembers at first."""

    def __call__(self, params: PerPlayer, /) -> PyTree:
        """The dynamics_state of step 0.

        Args:
            params: of those who move, keyed by player.
        """
        ...


class Advance(Protocol):
    """How the players move in a step."""

    def __call__(self, game: Game, state: GameState, batch: PyTree, key: Key, /) -> tuple[GameState, Metrics]:
        """The state with new params, net_state and dynamics_state, the rest as it was, and metrics by name.

        Args:
            game: says what each player wants.
            state: before the step.
            batch: what the costs expect, all slices of it, on this device.
            key: of the step.
        """
        ...


class Dynamics(NamedTuple):
    """How the players move: a pair of pure functions."""

    init: Remember
    step: Advance
    slices: int = 1  # the equal parts of a batch that one step consumes, one per turn
    axis_name: str | None = None  # the mapped axis over which it averages; None where each device moves by itself
    one_at_a_time: bool = False  # players move in turns, none at once with another


def as_arrays(tree: PyTree) -> PyTree:
    """The tree with its Python numbers as arrays; whatever has a dtype stays as it is.

    >>> as_arrays({"a": 1.0})["a"].dtype
    dtype('float32')
    """
    return jax.tree.map(lambda x: x if hasattr(x, "dtype") else jnp.asarray(x, jnp.result_type(x)), tree)


class Draw(enum.IntEnum):
    """Sub-streams of a key for whatever is not the noise of an example, each folded into the key.

    `fold_in(key, i)` belongs to example i, and no position is as large as these.
    """

    OTHER = 2**32 - 1  # of an example: what is not its latent; of a pass: its stochastic layers
    REPLAY = 2**32 - 2  # which fakes change places with kept ones
    REPETITION = 2**32 - 3  # a cost's further turns on one batch
    PREPARE = 2**32 - 4  # what a stream does to its training examples


def substream(key: Key, draw: Draw, index: int | Array | None = None) -> Key:
    """The key of a sub-stream, or the one of this number in it."""
    key = jax.random.fold_in(key, draw)
    return key if index is None else jax.random.fold_in(key, index)


def prepared(prepare: Callable[[Key, "Batch"], "Batch"] | None, batch: "Batch", key: Key) -> "Batch":
    """What a stream does to each of its examples by itself, with a key of its own: to held-out ones too."""
    if prepare is None:
        return batch
    own = substream(key, Draw.PREPARE)
    return jax.vmap(lambda one: prepare(jax.random.fold_in(own, one.position), one))(batch)


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


def everyone(axis_name: str | None, x: Array) -> Array:
    """The examples of all devices, each of which has every one of them, in the order of the whole batch: [B n, ...].

    For what couples the examples of a batch: a matching loss, a distance of distributions. A game that uses it takes no
    micro-batches, which would each be a batch of their own.

    Args:
        x: [B, ...], of this device.
        axis_name: the mapped axis that shares the batch; None on one device.
    """
    if axis_name is None:
        return x
    dealt = jax.lax.all_gather(x, axis_name, axis=1)  # [B, n, ...]: example j n + d lies at (j, d)
    return dealt.reshape(-1, *x.shape[1:])


class Latent(NamedTuple):
    """The way from a latent to a sample, of which nothing behind the latent is random."""

    prior: Callable[[Weights, Key, float | None], PyTree]  # (weights, key, truncation) -> z of one example
    decode: Callable[[Weights, PyTree, PyTree], Array]  # (weights, z [B, ...], given) -> x [B, ...]
    normal: int = 0  # the size of z where it is N(0, I), which projections and paths take for granted; else 0


class Sampler(NamedTuple):
    """What can be drawn of a trained game. Sample i depends on the key, on i and on what is given for it alone."""

    players: tuple[str, ...]  # whose weights it reads
    stream: str  # whose x it imitates: their kind, their reference
    draw: Callable[[Weights, Key, Array, PyTree], Array] | None = None  # (weights, key, index [B], given) -> x [B, ...]
    given: tuple[str, str] | None = None  # what it is asked for: (stream, "x"), or (stream, name of a y)
    latent: Latent | None = None  # without `draw`, a sample is a decoded draw of the prior
    # (weights, key, given, (passes, size), truncation) -> the weights with BatchNorm's statistics measured anew
    standing: Callable[[Weights, Key, PyTree, tuple[int, int], float | None], Weights] | None = None
    batch: int = 128  # samples of a call

    def __call__(
        self, weights: Weights, key: Key, index: Array, given: PyTree = None, truncation: float | None = None
    ) -> Array:
        """The samples of these numbers, [B, ...] as networks see them.

        Args:
            weights: of `players`.
            key: of the samples.
            index: [B] integers.
            given: [B, ...] or a tree of it.
            truncation: of the prior, where it can be truncated; None leaves it whole.

        Raises:
            ValueError: there is a truncation and no latent.
        """
        if self.draw is not None and truncation is None:
            return self.draw(weights, key, index, given)
        if self.latent is None:
            raise ValueError("this sampler has no latent whose prior could be truncated; leave the truncation out")
        return self.latent.decode(weights, self.latents(weights, key, index, truncation), given)

    def latents(self, weights: Weights, key: Key, index: Array, truncation: float | None = None) -> PyTree:
        """z of the samples of these numbers, [B, ...]: `prior(fold_in(key, i))`."""
        latent = self.latent
        if latent is None:
            raise ValueError("this sampler has no latent")
        return noise(lambda k: latent.prior(weights, k, truncation), key, jnp.asarray(index))


def mean(values: PyTree) -> float:
    """The mean of the values of all examples, [N]."""
    return float(np.mean(values))


class Measure(NamedTuple):
    """A number of held-out examples: bits per dimension, accuracy, an error of reconstruction."""

    values: Callable[[Weights, Batch, Key], PyTree]  # (weights, batch, key) -> [B, ...] or a tree of it
    players: tuple[str, ...]  # whose weights it reads
    stream: str  # whose examples it is taken of
    better: Literal["lower", "higher"]
    y: str | tuple[str, ...] | None = None  # what the batch has beside x, whatever the stream withholds from players
    summary: Callable[[PyTree], float] = mean  # of the values of all examples, as NumPy arrays
    batch: int = 256  # examples of a call
    note: Callable[[PyTree], str] | None = None  # what else `evaluate` says of these values


class Critique(NamedTuple):
    """All that a discriminator with further outputs says of a batch; one without returns its logits alone."""

    logits: Array  # [B, ...] floating; large means real
    features: Array | None  # [B, F] floating, of the last hidden layer
    heads: dict[str, Array]  # [B, size] floating for each head's name, such as the logits of classes
