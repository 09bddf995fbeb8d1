"""The one training loop: any game, any dynamics, any data; compiled chunks of steps, and the events between them."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from ganjax.checks import check_range
from ganjax.core import GameState, Metrics
from ganjax.errors import DivergedError, OutOfMemoryError, PeerError, reason
from ganjax.options import Schedule
from ganjax.training import feed, parallel
from ganjax.training.checkpoint import Checkpoints
from ganjax.training.chunk import compile_chunk, per_step
from ganjax.training.divergence import MAX_SKIPPED, diverged
from ganjax.training.identity import identity
from ganjax.training.judging import Judge, Judging
from ganjax.training.setup import Keys, Setup, check, collate, initial_state, order, state_shapes
from ganjax.training.start import keep as keep_start
from ganjax.training.start import take
from ganjax.training.step import unguarded_step
from ganjax.training.telemetry import telemetry
from ganjax.training.writers import Writers

# What XLA begins an error with, of whatever class JAX makes it.
STATUS = re.compile("RESOURCE_EXHAUSTED|UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED")
Observe = Callable[[int, GameState, Writers], None]
Timed = Callable[[str, Callable], Callable]  # (part of the loop, function) -> the function, its time measured


class Event(NamedTuple):
    """What happens between chunks, now and then."""

    name: str  # the part of the loop that it is, for whoever measures it
    every: int  # steps; 0: at the end alone
    act: Callable[[GameState], Any]  # of the state on the host; a clock waits for what it returns
    start: bool = False  # at step 0 too
    end: bool = True  # at the last step too, whichever that is

    def is_due(self, step: int, steps: int) -> bool:
        """Whether it happens after so many of the steps."""
        return (self.end and step == steps) or (self.every > 0 and step % self.every == 0)


class Result(NamedTuple):
    """What `train` leaves."""

    state: GameState  # NumPy arrays
    began: int  # the step it continued from; the final step if there was nothing left to do


def train(
    setup: Setup,
    workdir: Path,
    *,
    seed: int,
    schedule: Schedule,
    observe: Observe | None = None,
    judge: Judge | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: bool = True,
    allow_change: bool = False,
    timed: Timed = lambda part, function: function,
) -> Result:
    """Train until step `schedule.steps`, continuing from the newest checkpoint of `workdir` if there is one.

    The result is a pure function of (setup, seed, steps): stopping and continuing changes no bit of it.

    Args:
        setup: what to train.
        workdir: the run directory, made if it does not exist.
        seed: of the initialisation, the order of the data and all noise.
        schedule: how long, how often to log, sample and save, and from what size on data are streamed.
        observe: called as `observe(step, host state, writers)` at step 0, every `sample_every` steps and at the end;
            never if that is 0. Every `sample_every` steps the gradients' lengths and the setup's telemetry are logged.
        judge: called with the host state every `judge_every` steps and at the end, on the primary process; the state
            of its least "score" is kept in `<workdir>/best`, and training never continues from it.
        stop: asked between chunks; once it says so on any process, the state is saved, and returned as it is.
        progress: show a progress bar on standard error.
        allow_change: continue the checkpoint of a run with another seed, other data or another setup too.
        timed: is handed what each part of the loop calls, to measure it; `ganjax.profile` does.

    Returns:
        The final state and the step that it continued from.

    Raises:
        CheckpointError: a checkpoint cannot be written, none of those that are there is intact and fits, or they are
            those of a run with another seed, other data or another setup (as `identity` knows it).
        OutOfMemoryError: a step does not fit into the memory of the device.
        PeerError: another process of the run is gone.
        DivergedError: after `MAX_SKIPPED` consecutive steps without a finite result.
        DataError, ConfigError: the data or the batch do not fit, before anything is written.
        DataError: an image that is read while training goes on is bad.
    """
    check(setup)
    _check_schedule(schedule)
    if schedule.judge_every and judge is None and parallel.is_primary():
        raise ValueError(f"train: judge_every is {schedule.judge_every} and there is no judge; give one, or 0")
    with _causes_named(setup):
        workdir.mkdir(parents=True, exist_ok=True)
        checkpoints = Checkpoints(workdir, run=identity(setup, seed))
        state = _first_state(setup, workdir, seed, checkpoints, allow_change)
        begin = int(state.step)
        if begin >= schedule.steps:
            checkpoints.close()
            return Result(state, begin)

        positions, key = order(setup, seed), Keys.of(seed).steps
        schedule, chunks = _fed(setup, positions, begin, schedule)
        move = unguarded_step(setup.game, setup.dynamics, setup.averages)
        look_up = partial(collate, setup, axis_name=parallel.axis_name())
        compiled = compile_chunk(move, look_up, scan=setup.scan, length=schedule.chunk)
        writers = Writers(workdir, begin) if parallel.is_primary() else None
        judging = Judging(workdir, judge, writers) if schedule.judge_every else None
        error_of = partial(diverged, setup, move, look_up, positions, key)
        log = _Log(writers, schedule, begin, setup.game.taken_every, error_of, progress and writers is not None)
        events = _events(setup, schedule, writers, log, observe, judging, checkpoints)
        events = [event._replace(act=timed(event.name, event.act)) for event in events]
        next_chunk, run, log_chunk = timed("input", next), timed("step", compiled), timed("metrics", log.chunk)
        state, step = parallel.replicate(state), begin
        reachable = True
        try:
            _happen([event for event in events if event.start and step == 0], state)
            while step < schedule.steps and not parallel.any_process(stop()):
                count, data, rows = next_chunk(chunks)
                state, metrics = run(state, data, rows, key, count)
                log_chunk(step, count, metrics, state)
                step += count
                _happen([event for event in events if event.is_due(step, schedule.steps)], state)
            if step > begin and not events[-1].is_due(step, schedule.steps):  # stopped between two checkpoints
                _happen(events[-1:], state)
        except Exception as error:
            reachable = not _is_lost(error)  # to finish a checkpoint would be to wait for the process that is gone
            raise
        finally:
            chunks.close()
            log.close()
            if reachable:
                timed("checkpoint", checkpoints.close)()
                if judging:
                    judging.close()
        return Result(parallel.fetch(state), begin)


def _check_schedule(schedule: Schedule) -> None:
    """Raise `ValueError` about a number of the schedule that no loop can follow."""
    may_be_zero = ("steps", "sample_every", "judge_every", "resident_megabytes")
    for name in (field.name for field in fields(Schedule)):
        check_range("Schedule", 0 if name in may_be_zero else 1, whole=True, **{name: getattr(schedule, name)})


def _first_state(setup: Setup, workdir: Path, seed: int, checkpoints: Checkpoints, allow_change: bool) -> GameState:
    """The state on the host that the run begins with, or goes on from."""
    if checkpoints.latest is not None:
        return checkpoints.restore(state_shapes(setup), allow_change=allow_change)
    taken = {player: take(source) for player, source in setup.start.items()}
    state = jax.device_get(initial_state(setup, seed, taken))
    if taken and parallel.is_primary():
        keep_start(workdir, taken)
    return state


def _fed(setup: Setup, positions: feed.Positions, begin: int, schedule: Schedule) -> tuple[Schedule, feed.Chunks]:
    """The chunks of examples that are left, and the schedule with the length that they have."""
    if feed.is_resident(setup, schedule.resident_megabytes):
        return schedule, feed.resident(setup, positions, _spans(begin, schedule), schedule.chunk)
    schedule = replace(schedule, chunk=feed.fitting(setup, schedule.chunk))
    spans = _spans(begin, schedule)
    return schedule, feed.streamed(setup, positions, spans, schedule.chunk, workers=schedule.workers)


def _events(
    setup: Setup,
    schedule: Schedule,
    writers: Writers | None,
    log: "_Log",
    observe: Observe | None,
    judging: Judging | None,
    checkpoints: Checkpoints,
) -> list[Event]:
    """What happens on this process, in its order. The last one saves: a state follows the metrics that led to it."""

    def sample(state: GameState) -> None:
        if observe and writers:
            observe(int(state.step), state, writers)

    def save(state: GameState) -> None:
        log.flush()
        checkpoints.save(state)

    measure = telemetry(setup)
    events = [Event("metrics", 0, lambda state: log.finish())]
    if writers:  # not where a run happens to end: a longer one has no such record
        events.insert(0, Event("telemetry", schedule.sample_every, lambda state: log.add(measure(state)), end=False))
    if writers and observe and schedule.sample_every:
        events.append(Event("sampling", schedule.sample_every, sample, start=True))
    if judging:
        events.append(Event("judge", schedule.judge_every, judging))
    return [*events, Event("checkpoint", schedule.checkpoint_every, save)]


def _happen(events: Sequence[Event], state: GameState) -> None:
    """All of them, one after another, each with the state on the host."""
    if events:
        host = parallel.fetch(state)
        for event in events:
            event.act(host)


@contextlib.contextmanager
def _causes_named(setup: Setup) -> Iterator[None]:
    """What the device and the host say when memory is short or another process is gone, as one sentence."""
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        if isinstance(error, MemoryError) or _status(error) == "RESOURCE_EXHAUSTED":
            sizes = " and ".join(str(stream.batch_size) for stream in setup.played.values())
            raise OutOfMemoryError(
                f"the memory of {jax.device_count()} {jax.devices()[0].device_kind} is too small for turns of "
                f"{sizes} examples ({reason(error)}); lower --batch-size, or use more devices"
            ) from error
        if _is_lost(error):
            raise PeerError(
                f"process {jax.process_index()} of {jax.process_count()} lost another one ({reason(error)}); start all "
                "again with the same commands, they continue from the newest checkpoint"
            ) from error
        raise


def _status(error: BaseException) -> str:
    """What XLA calls an error; "" for one that is not its."""
    status = STATUS.match(str(error)) if isinstance(error, RuntimeError | ValueError) else None
    return status[0] if status else ""


def _is_lost(error: BaseException) -> bool:
    """Whether the error says that another process is gone."""
    return jax.process_count() > 1 and _status(error) not in ("", "RESOURCE_EXHAUSTED")


def _until_next_event(step: int, schedule: Schedule) -> int:
    """Steps to take now: at most a chunk, not past the next sampling, judgement, checkpoint or the end."""
    events = (schedule.sample_every, schedule.checkpoint_every, schedule.judge_every)
    return min(schedule.chunk, schedule.steps - step, *(every - step % every for every in events if every))


def _spans(step: int, schedule: Schedule) -> Iterator[tuple[int, int]]:
    """(start, count) of every chunk that is left."""
    while step < schedule.steps:
        count = _until_next_event(step, schedule)
        yield step, count
        step += count


class _Log:
    """Metrics of a chunk, read when the next one is already under way, so that the device never waits."""

    def __init__(
        self,
        writers: Writers | None,
        schedule: Schedule,
        begin: int,
        taken_every: Mapping[str, int],
        error_of: Callable[[int, dict[str, float], GameState], DivergedError],
        progress: bool,
    ):
        self._writers, self._every, self._streak = writers, schedule.log_every, 0
        self._pending: tuple[int, int, Any] | None = None  # first step, steps, metrics on the device
        self._taken_every = taken_every
        self._error_of = error_of  # (step, its record, the state before it) -> the error that names who is to blame
        self._state: Any = None  # the newest, on the devices
        self._added: Any = {}  # to the record of the last pending step
        self._bar = tqdm(total=schedule.steps, initial=begin, unit="step", disable=not progress, dynamic_ncols=True)

    def chunk(self, step: int, count: int, metrics: Any, state: GameState) -> None:
        """Write what is pending, and keep the metrics of `count` steps from this one to the state."""
        self._state = state
        self.finish()
        self._pending = step, count, metrics

    def add(self, metrics: Metrics) -> Metrics:
        """Join further metrics to the record of the newest step, which is then written even between two records."""
        self._added = metrics
        return metrics

    def finish(self) -> None:
        """Write what is pending."""
        if self._pending is None:
            return
        (start, count, metrics), self._pending = self._pending, None
        records, (added, self._added) = per_step(metrics, count), (self._added, {})
        records[-1] |= jax.device_get(added)
        for step, record in enumerate(records, start + 1):
            self._streak = 0 if record["finite"] else self._streak + 1
            due = {name: every for name, every in self._taken_every.items() if (step - 1) % every == 0}
            asked = step % self._every == 0 or (added and record is records[-1]) or self._is_news(step, due)
            if self._writers and asked:
                self._writers.scalars(step, {k: v for k, v in record.items() if k not in self._taken_every or k in due})
            if self._streak == MAX_SKIPPED:
                raise self._error_of(step, record, self._state)
        self._bar.set_postfix({k: f"{v:.3f}" for k, v in records[-1].items() if k.endswith("/cost")}, refresh=False)
        self._bar.update(count)

    def _is_news(self, step: int, due: Mapping[str, int]) -> bool:
        """Whether a lazy metric is due at this step, and was not at an earlier one since the last round number."""
        return any((step - 1) // self._every != (step - 1 - every) // self._every for every in due.values())

    def flush(self) -> None:
        """Write what is pending and see it out of the process."""
        self.finish()
        if self._writers:
            self._writers.flush()

    def close(self) -> None:
        self._bar.close()
        if self._writers:
            self._writers.close()
