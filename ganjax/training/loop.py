"""The one training loop: any game, any dynamics, any data; compiled chunks of steps, and what happens between them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from ganjax.core import Array, Batch, Dynamics, Game, GameState, Key, Metrics
from ganjax.data import Dataset, positions_of_steps
from ganjax.errors import CheckpointError, DataError, DivergedError
from ganjax.training import parallel
from ganjax.training.checkpoint import Checkpoints
from ganjax.training.state import Averaged, init_state
from ganjax.training.step import Step, train_step
from ganjax.training.writers import Writers

# The initialisation runs once: compiling its random numbers at full optimisation takes three times as long.
_QUICK_COMPILE = {"xla_backend_optimization_level": 1}
MAX_SKIPPED = 5  # consecutive steps without a finite result before the run is stopped


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
    labelled: bool = False  # give the players the class labels of the data
    scan: bool = True  # run a chunk as one program, or dispatch each step (see benchmarks/README.md)

    @property
    def examples(self) -> int:
        """Examples that one step consumes: a slice of the batch for each turn."""
        return self.batch_size * self.dynamics.slices


class Schedule(NamedTuple):
    """How long, and what how often; all in steps."""

    steps: int
    log_every: int = 10
    sample_every: int = 500
    checkpoint_every: int = 500
    chunk: int = 50  # steps per compiled call


class Result(NamedTuple):
    """What `train` leaves."""

    state: GameState  # NumPy arrays
    began: int  # the step it continued from; the final step if there was nothing left to do


class Keys(NamedTuple):
    """The independent streams of randomness of a run."""

    init: Key
    steps: Key  # the base key; step k uses fold_in(steps, k)
    samples: Key

    @classmethod
    def of(cls, seed: int) -> "Keys":
        return cls(*jax.random.split(jax.random.key(seed), 3))


def gather(data: Mapping[str, Any], rows: Array, position: Array) -> Batch:
    """The batch of these rows of a data set; images become float32 in [-1, 1]."""
    x = data["x"][rows]
    if x.dtype == jnp.uint8:
        x = x.astype(jnp.float32) / 127.5 - 1
    label = None if data["label"] is None else data["label"][rows]
    return Batch(x, label, position)


def _arrays(setup: Setup, size: int | None = None) -> dict[str, np.ndarray | None]:
    """The first `size` training examples, all by default, as `gather` wants them."""
    labels = setup.dataset.y_train if setup.labelled else None
    return {"x": setup.dataset.x_train[:size], "label": None if labels is None else labels[:size]}


def _initialiser(setup: Setup) -> Callable[[Key, Mapping], GameState]:
    """`(key, data) -> the state at step 0`."""

    def init(key: Key, data: Mapping) -> GameState:
        index = jnp.arange(len(data["x"]), dtype=jnp.int32)
        return init_state(setup.game, setup.dynamics, key, gather(data, index, index), setup.averages)

    return init


def initial_state(setup: Setup, key: Key) -> GameState:
    """The state at step 0, made in one program."""
    return jax.jit(_initialiser(setup), compiler_options=_QUICK_COMPILE)(key, _arrays(setup, 2))


def load_state(setup: Setup, workdir: Path) -> GameState:
    """The newest checkpoint of a run directory, as NumPy arrays."""
    if not (workdir / "checkpoints").is_dir():
        raise CheckpointError(f"{workdir} holds no checkpoint; train first")
    checkpoints = Checkpoints(workdir)
    try:
        return checkpoints.restore(jax.eval_shape(_initialiser(setup), Keys.of(0).init, _arrays(setup, 2)))
    finally:
        checkpoints.close()


def check(setup: Setup) -> None:
    """Raise before anything is written if the data or the devices do not fit the batch."""
    parallel.check_batch(setup.batch_size)
    size = len(setup.dataset.x_train)
    if size < setup.examples:
        raise DataError(
            f"the data set {setup.dataset.name} has {size} training examples, fewer than the {setup.examples} of a "
            f"step ({setup.dynamics.slices} turns of {setup.batch_size}); lower --batch-size"
        )
    if setup.labelled and setup.dataset.y_train is None:
        raise DataError(f"the data set {setup.dataset.name} has no labels, which this experiment needs")


def _chunk(step: Step, *, scan: bool, length: int) -> Callable:
    """`(state, data, positions [length, batch], key, count) -> (state, metrics, each [>= count])`.

    The first `count` steps are taken; `count` is data, so that a shorter last chunk is the same program.
    """

    def one(state: GameState, data: Mapping, positions: Array, key: Key, i: Array) -> tuple[GameState, Metrics]:
        local = positions[i]
        return step(state, gather(data, local, parallel.global_index(local.shape[0])), key)

    if not scan:
        compiled = parallel.compile_chunk(one)

        def dispatch(state, data, positions, key, count):
            metrics = []
            for i in range(count):
                state, values = compiled(state, data, positions, key, i)
                metrics.append(values)
            return state, metrics

        return dispatch

    one = jax.jit(one)  # traced once: for the shapes of its metrics, and for the loop

    def scanned(state, data, positions, key, count):
        shapes = jax.eval_shape(one, state, data, positions, key, 0)[1]
        metrics = jax.tree.map(lambda m: jnp.zeros((length, *m.shape), m.dtype), shapes)

        def body(i, carry):
            state, metrics = carry
            state, values = one(state, data, positions, key, i)
            return state, jax.tree.map(lambda all_, value: all_.at[i].set(value), metrics, values)

        return jax.lax.fori_loop(0, count, body, (state, metrics))

    return parallel.compile_chunk(scanned)


def _per_step(metrics: Any, count: int) -> list[dict[str, float]]:
    """Metrics of a chunk as host numbers, one record per step taken."""
    host = parallel.fetch(metrics)
    if isinstance(host, list):
        return host
    return [{name: values[i] for name, values in host.items()} for i in range(count)]


def train(
    setup: Setup,
    workdir: Path,
    *,
    seed: int,
    schedule: Schedule,
    meta: Mapping[str, Any] | None = None,
    observe: Callable[[int, GameState, Writers], None] | None = None,
    progress: bool = True,
) -> Result:
    """Train until step `schedule.steps`, continuing from the newest checkpoint of `workdir` if there is one.

    The result is a pure function of (setup, seed, steps): stopping and continuing changes no bit of it.

    Args:
        setup: what to train.
        workdir: the run directory, made if it does not exist.
        seed: of the initialisation, the order of the data and all noise.
        schedule: how long, and how often to log, sample and save.
        meta: stored beside each checkpoint.
        observe: called as `observe(step, host state, writers)` at step 0, every `sample_every` steps and at the end.
        progress: show a progress bar on standard error.

    Returns:
        The final state and the step that it continued from.

    Raises:
        DivergedError: after `MAX_SKIPPED` consecutive steps without a finite result.
        DataError, ConfigError: the data or the batch do not fit, before anything is written.
    """
    check(setup)
    keys = Keys.of(seed)
    order = _order(setup, seed)
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir)
    state = initial_state(setup, keys.init)
    if checkpoints.latest is not None:
        state = checkpoints.restore(state)
    state = jax.device_get(state)
    begin = int(state.step)
    if begin >= schedule.steps:
        checkpoints.close()
        return Result(state, begin)

    run = _chunk(train_step(setup.game, setup.dynamics, setup.averages), scan=setup.scan, length=schedule.chunk)
    data, state = parallel.replicate(_arrays(setup)), parallel.replicate(state)
    writers = Writers(workdir, begin) if parallel.is_primary() else None
    log = _Log(writers, schedule.log_every, begin, schedule.steps, progress and writers is not None)
    try:
        step = begin
        if step == 0 and writers and observe:
            observe(0, parallel.fetch(state), writers)
        while step < schedule.steps:
            count = _until_next_event(step, schedule)
            positions = parallel.deal(_padded(order(step, count), schedule.chunk))
            state, metrics = run(state, data, positions, keys.steps, count)
            log.chunk(step, count, metrics)
            step += count
            last = step == schedule.steps
            if last:
                log.finish()
            if observe and writers and (last or step % schedule.sample_every == 0):
                observe(step, parallel.fetch(state), writers)
            if last or step % schedule.checkpoint_every == 0:
                log.flush()
                checkpoints.save(parallel.fetch(state), {**(meta or {}), "step": step})
    finally:
        log.close()
        checkpoints.close()
    return Result(parallel.fetch(state), begin)


def _order(setup: Setup, seed: int) -> Callable[[int, int], np.ndarray]:
    """`(start, count) -> positions [count, examples]`, a pure function of the seed."""
    size = len(setup.dataset.x_train)
    return lambda start, count: positions_of_steps(seed, start, count, batch_size=setup.examples, size=size)


def _until_next_event(step: int, schedule: Schedule) -> int:
    """Steps to take now: at most a chunk, not past the next sampling, checkpoint or the end."""
    events = (schedule.sample_every, schedule.checkpoint_every)
    return min(schedule.chunk, schedule.steps - step, *(every - step % every for every in events))


def _padded(positions: np.ndarray, length: int) -> np.ndarray:
    """[count, batch] to [length, batch] int32; the added rows are never used."""
    return np.pad(positions, ((0, length - len(positions)), (0, 0))).astype(np.int32)


class _Log:
    """Metrics of a chunk, read when the next one is already under way, so that the device never waits."""

    def __init__(self, writers: Writers | None, every: int, begin: int, steps: int, progress: bool):
        self._writers, self._every, self._streak = writers, every, 0
        self._pending: tuple[int, int, Any] | None = None  # first step, steps, metrics on the device
        self._bar = tqdm(total=steps, initial=begin, unit="step", disable=not progress, dynamic_ncols=True)

    def chunk(self, step: int, count: int, metrics: Any) -> None:
        self.finish()
        self._pending = step, count, metrics

    def finish(self) -> None:
        """Write what is pending."""
        if self._pending is None:
            return
        (start, count, metrics), self._pending = self._pending, None
        records = _per_step(metrics, count)
        for step, record in enumerate(records, start + 1):
            self._streak = 0 if record["finite"] else self._streak + 1
            if self._writers and step % self._every == 0:
                self._writers.scalars(step, record)
            if self._streak == MAX_SKIPPED:
                bad = sorted(name for name, value in record.items() if not np.isfinite(value))
                raise DivergedError(
                    f"step {step}: {MAX_SKIPPED} steps in a row gave values that are not finite "
                    f"({', '.join(bad) or 'in the parameters or their statistics'}); the state of step "
                    f"{step - MAX_SKIPPED} is kept; lower the learning rate or clip the gradients"
                )
        self._bar.set_postfix({k: f"{v:.3f}" for k, v in records[-1].items() if k.endswith("/cost")}, refresh=False)
        self._bar.update(count)

    def flush(self) -> None:
        """Write what is pending and see it out of the process."""
        self.finish()
        if self._writers:
            self._writers.flush()

    def close(self) -> None:
        self._bar.close()
        if self._writers:
            self._writers.close()
