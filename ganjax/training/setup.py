"""What is trained: game, dynamics and data together, and how they begin."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_players, check_range
from ganjax.core import Array, Batch, Dynamics, Game, GameState, Key, Metrics
from ganjax.data import Dataset, positions_of_steps
from ganjax.errors import CheckpointError, DataError
from ganjax.training import parallel
from ganjax.training.checkpoint import BEST, NEWEST, Checkpoints, latest_step
from ganjax.training.state import Averaged, init_state

# The initialisation runs once: compiling its random numbers at full optimisation takes three times as long.
_QUICK_COMPILE = {"xla_backend_optimization_level": 1}


class Setup(NamedTuple):
    """What is trained, as an experiment's `build` composes it."""

    game: Game
    dynamics: Dynamics
    dataset: Dataset
    batch_size: int  # examples of all devices that one turn consumes
    averages: Mapping[str, Averaged] = {}
    sample: Callable[..., Array] | None = (
        None  # (params, net_state, key, index, labels) -> x; games.adversarial.sampler
    )
    telemetry: Callable[[GameState], Metrics] | None = None  # logged now and then, such as norms of layers
    labelled: bool = False  # give the players the class labels of the data
    scan: bool = True  # run a chunk as one program, or dispatch each step (see benchmarks/README.md)

    @property
    def examples(self) -> int:
        """Examples that one step consumes: a slice of the batch for each turn."""
        return self.batch_size * self.dynamics.slices


class Keys(NamedTuple):
    """The independent streams of randomness of a run."""

    init: Key
    steps: Key  # the base key; step k uses fold_in(steps, k)
    samples: Key

    @classmethod
    def of(cls, seed: int | Array) -> "Keys":
        return cls(*jax.random.split(jax.random.key(seed), 3))


def check(setup: Setup) -> None:
    """Raise before anything is written if the data or the devices do not fit the batch, or players are missing."""
    check_range("Setup", 1, whole=True, batch_size=setup.batch_size)
    for name, kept in setup.averages.items():
        check_players(f"the average {name!r}", [kept.player], setup.game.players)
    parallel.check_batch(setup.batch_size, setup.game.parts, setup.game.group)
    size = len(setup.dataset.x_train)
    if size < setup.examples:
        raise DataError(
            f"the data set {setup.dataset.name} has {size} training examples, fewer than the {setup.examples} of a "
            f"step ({setup.dynamics.slices} turns of {setup.batch_size}); lower --batch-size"
        )
    if setup.labelled:
        check_classes(setup.dataset)


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


def order(setup: Setup, seed: int) -> Callable[[int, int], np.ndarray]:
    """`(start, count) -> positions [count, examples]`, a pure function of the seed."""
    size = len(setup.dataset.x_train)
    return lambda start, count: positions_of_steps(seed, start, count, batch_size=setup.examples, size=size)


def arrays(setup: Setup, size: int | None = None) -> dict[str, Any]:
    """The first `size` training examples, as `gather` wants them; by default all, images on disk where they are."""
    x, labels = setup.dataset.x_train, setup.dataset.y_train if setup.labelled else None
    if size is None:
        return {"x": x, "y": labels}
    return {"x": x[:size], "y": None if labels is None else labels[:size]}


def gather(data: Mapping[str, Any], rows: Array, position: Array) -> Batch:
    """The batch of these rows of a data set; images become float32 in [-1, 1]."""
    x = data["x"][rows]
    if x.dtype == jnp.uint8:
        x = x.astype(jnp.float32) / 127.5 - 1
    y = None if data["y"] is None else data["y"][rows]
    return Batch(x, y, position)


def _initialiser(setup: Setup) -> Callable[[Key, Mapping], GameState]:
    """`(key, data) -> the state at step 0`."""

    def init(key: Key, data: Mapping) -> GameState:
        index = jnp.arange(len(data["x"]), dtype=jnp.int32)
        return init_state(setup.game, setup.dynamics, key, gather(data, index, index), setup.averages)

    return init


def initial_state(setup: Setup, key: Key) -> GameState:
    """The state at step 0, made in one program."""
    return jax.jit(_initialiser(setup), compiler_options=_QUICK_COMPILE)(key, arrays(setup, 2))


def state_shapes(setup: Setup) -> GameState:
    """Shapes and dtypes of the state, without computing it."""
    return jax.eval_shape(_initialiser(setup), Keys.of(0).init, arrays(setup, 2))


def load_state(setup: Setup, workdir: Path, *, best: bool = False) -> GameState:
    """The newest checkpoint of a run directory, or the best by the run's judge, as NumPy arrays."""
    if best and latest_step(workdir, BEST) is None:
        raise CheckpointError(f"{workdir} holds no best checkpoint; train with --judge-every, or take the last one")
    checkpoints = Checkpoints(workdir, folder=BEST if best else NEWEST, read_only=True)
    try:
        return checkpoints.restore(state_shapes(setup))
    finally:
        checkpoints.close()
