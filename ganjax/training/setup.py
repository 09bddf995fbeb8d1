"""What is trained: game, dynamics and streams of data together, what can be drawn of it, and how it begins."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from ganjax.checks import check_name, check_players, check_range
from ganjax.core import Array, Dynamics, Game, GameState, Key, Measure, Metrics, PyTree, Sampler
from ganjax.data import Dataset
from ganjax.data.dataset import CLASS
from ganjax.errors import CheckpointError, ConfigError, DataError
from ganjax.rundir import latest_step
from ganjax.training import parallel, streams
from ganjax.training.checkpoint import BEST, NEWEST, Checkpoints
from ganjax.training.start import From, Taken, overlaid, started, take
from ganjax.training.state import Averaged, init_state
from ganjax.training.streams import Rows, Stream

# The initialisation runs once: compiling its random numbers at full optimisation takes three times as long.
_QUICK_COMPILE = {"xla_backend_optimization_level": 1}


class Setup(NamedTuple):
    """What is trained, as an experiment's `build` composes it."""

    game: Game
    dynamics: Dynamics
    streams: Mapping[str, Stream]  # a game of one stream gets its `Batch`, one of several {stream: Batch}
    averages: Mapping[str, Averaged] = {}
    samplers: Mapping[str, Sampler] = {}  # the first is the default
    measures: Mapping[str, Measure] = {}
    score: str = ""  # what --judge-every goes by: a measure, or a sampler; by default the first measure, else sampler
    start: Mapping[str, From] = {}  # player -> where its weights come from, where it does not begin with fresh ones
    steps: int | None = None  # of a stage; by default those of the config
    telemetry: Callable[[GameState], Metrics] | None = None  # logged now and then, such as norms of layers
    scan: bool = True  # run a chunk as one program, or dispatch each step (see benchmarks/README.md)

    @property
    def played(self) -> dict[str, Stream]:
        """The streams that players see."""
        return {name: stream for name, stream in self.streams.items() if stream.batch_size}

    @property
    def examples(self) -> int:
        """Examples that one step consumes, of all streams: a slice of the batch for each turn."""
        return sum(stream.batch_size for stream in self.played.values()) * self.dynamics.slices

    @property
    def judged_by(self) -> str:
        """The measure or sampler that a run is judged by; "" where there is neither."""
        return self.score or next(iter({**self.measures, **self.samplers}), "")

    def sampler(self, name: str = "") -> Sampler:
        """The sampler of that name, by default the first.

        Raises:
            ConfigError: there is none.
        """
        if not self.samplers:
            raise ConfigError("this experiment has no sampler, nothing can be drawn of what it trains")
        if name and name not in self.samplers:
            raise ConfigError(f"--sampler is {name!r}, expected one of {list(self.samplers)}")
        return self.samplers[name or next(iter(self.samplers))]

    def imitated(self, sampler: Sampler) -> Dataset:
        """The data that a sampler imitates."""
        return self.streams[sampler.stream].dataset


class Keys(NamedTuple):
    """The independent streams of randomness of a run."""

    init: Key
    steps: Key  # the base key; step k uses fold_in(steps, k)
    samples: Key

    @classmethod
    def of(cls, seed: int | Array) -> "Keys":
        return cls(*jax.random.split(jax.random.key(seed), 3))


def check(setup: Setup) -> None:
    """Raise before anything is written if data or devices do not fit batch and dynamics, or names lead nowhere."""
    if not setup.played:
        raise ConfigError(f"no stream of {list(setup.streams)} has a batch size: nobody would see an example")
    for name, stream in setup.streams.items():
        check_range("Stream", 0, whole=True, **{f"batch_size of {name}": stream.batch_size})  # type: ignore[arg-type]
        if stream.batch_size:
            parallel.check_batch(stream.batch_size, setup.game.parts, setup.game.group)
        streams.named_y(stream.dataset, stream.y)
        if CLASS in ((stream.y,) if isinstance(stream.y, str) else stream.y or ()):
            check_classes(stream.dataset)
    if parallel.axis_name() is not None and setup.dynamics.axis_name is None:
        raise ConfigError(
            f"the dynamics was built without axis_name, so each of the {jax.device_count()} devices would train by "
            f"itself; build it with axis_name={parallel.axis_name()!r}, which `build` is given, or use one device"
        )
    players = _players(setup)
    for name, kept in setup.averages.items():
        check_players(f"the average {name!r}", kept.owners, players)
    check_players("Setup.start", setup.start, players)
    for kind, named in (("sampler", setup.samplers), ("measure", setup.measures)):
        for name, one in named.items():
            check_players(f"the {kind} {name!r}", one.players, players)
            _check_stream(setup, f"the {kind} {name!r}", one.stream)
    for name, sampler in setup.samplers.items():
        if sampler.given is not None:
            _check_stream(setup, f"what the sampler {name!r} is given", sampler.given[0])
    if setup.score:
        check_name("Setup", "score", setup.score, [*setup.measures, *setup.samplers])


def _players(setup: Setup) -> list[str]:
    """All who have parameters, onlookers too."""
    return list(state_shapes(setup).params)


def _check_stream(setup: Setup, who: str, stream: str) -> None:
    check_name(who, "stream", stream, list(setup.streams))


def check_classes(dataset: Dataset) -> None:
    """Raise `DataError` unless every class, of which players hold weights, has training examples."""
    if dataset.y_train is None:
        raise DataError(f"the data set {dataset.name} has no labels, which this experiment needs")
    absent = np.setdiff1d(np.arange(dataset.classes or 0), dataset.y_train)
    if len(absent):
        raise DataError(
            f"the data set {dataset.name} has no training example of {len(absent)} of its {dataset.classes} classes, "
            f"the first of them {absent[0]}, and the players would hold weights for them that nothing trains; number "
            "the classes that there are from 0 on, as np.unique(y_train, return_inverse=True)[1] does"
        )


def order(setup: Setup, seed: int) -> Callable[[int, int], dict[str, np.ndarray]]:
    """`(start, count) -> {stream: rows [count, examples]}`, a pure function of the seed."""
    return streams.order(setup.played, setup.dynamics.slices, seed)


def arrays(setup: Setup) -> dict[str, dict[str, PyTree]]:
    """The training examples of each stream as `collate` wants them, images on disk where they are."""
    return streams.arrays(setup.played)


def collate(setup: Setup, data: Mapping[str, Any], rows: Rows, key: Key, axis_name: str | None = None) -> PyTree:
    """The batch of these rows; see `streams.collate`."""
    return streams.collate(setup.played, data, rows, key, axis_name)


def first_batch(setup: Setup, seed: int) -> tuple[Mapping[str, Any], Rows]:
    """The examples of step 0 alone, and where in them its rows are: all of them, in their order."""
    data, rows_of = arrays(setup), order(setup, seed)(0, 1)
    own = {name: jax.tree.map(lambda x, rows=rows: x[rows[0]], data[name]) for name, rows in rows_of.items()}
    return own, {name: np.arange(rows.shape[1], dtype=np.int32) for name, rows in rows_of.items()}


def _initialiser(setup: Setup, taken: Mapping[str, Taken] = MappingProxyType({})) -> Callable[..., GameState]:
    """`(key, data, rows, key of step 0, leaves that were taken) -> the state at step 0`."""

    def init(key: Key, data: Mapping, rows: Rows, step_key: Key, leaves: Mapping[str, Mapping] = MappingProxyType({})):
        batch = collate(setup, data, rows, step_key)
        own = {player: taken[player]._replace(leaves=leaves[player]) for player in taken}
        game = setup.game._replace(init=started(setup.game.init, own)) if own else setup.game
        return init_state(game, setup.dynamics, key, batch, setup.averages)

    return init


def initial_state(setup: Setup, seed: int, taken: Mapping[str, Taken] | None = None) -> GameState:
    """The state at step 0, made in one program that sees the batch of that step.

    Args:
        setup: what to train.
        seed: of the run.
        taken: what players begin with, keyed by player; by default what `Setup.start` says is read.

    Raises:
        CheckpointError: what is to be taken is not there, or does not fit.
    """
    taken = {player: take(source) for player, source in setup.start.items()} if taken is None else taken
    keys = Keys.of(seed)
    init = jax.jit(_initialiser(setup, taken), compiler_options=_QUICK_COMPILE)
    leaves = {player: dict(own.leaves) for player, own in taken.items()}
    return init(keys.init, *first_batch(setup, seed), jax.random.fold_in(keys.steps, 0), leaves)


def check_start(setup: Setup) -> None:
    """Raise `CheckpointError` unless what players are to begin with is there and fits."""
    for player, source in setup.start.items():
        overlaid(state_shapes(setup).weights[player], take(source), player)


def state_shapes(setup: Setup) -> GameState:
    """Shapes and dtypes of the state, without computing it."""
    keys = Keys.of(0)
    return jax.eval_shape(_initialiser(setup), keys.init, *batch_shapes(setup), keys.steps)


def batch_shapes(setup: Setup) -> PyTree:
    """Shapes and dtypes of the data and of the rows of a step."""
    return streams.shapes(setup.played, setup.dynamics.slices)


def load_state(setup: Setup, workdir: Path, *, best: bool = False) -> GameState:
    """The newest checkpoint of a run directory, or the best by the run's judge, as NumPy arrays."""
    if best and latest_step(workdir, BEST) is None:
        raise CheckpointError(f"{workdir} holds no best checkpoint; train with --judge-every, or take the last one")
    checkpoints = Checkpoints(workdir, folder=BEST if best else NEWEST, read_only=True)
    try:
        return checkpoints.restore(state_shapes(setup))
    finally:
        checkpoints.close()
