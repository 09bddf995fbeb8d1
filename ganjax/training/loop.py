"""The one training loop: any game, any dynamics, any data; compiled chunks of steps, and what happens between them."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from ganjax.checks import check_range
from ganjax.core import GameState, Metrics
from ganjax.errors import DivergedError, OutOfMemoryError, PeerError, reason
from ganjax.options import Schedule
from ganjax.training import feed, parallel
from ganjax.training.checkpoint import Checkpoints
from ganjax.training.chunk import compile_chunk, first_not_finite, per_step
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
MAX_SKIPPED = 5  # consecutive steps without a finite result before the run is stopped


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
        observe: called as `observe(step, host state, writers)` at step 0, every `sample_every` steps and at the end.
            Every `sample_every` steps the gradients' lengths and the setup's telemetry are logged too.
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
        return _train(setup, workdir, seed, schedule, observe, judge, stop, progress, allow_change, timed)


def _check_schedule(schedule: Schedule) -> None:
    """Raise `ValueError` about a number of the schedule that no loop can follow."""
    may_be_zero = ("steps", "judge_every", "resident_megabytes")
    for name in (field.name for field in fields(Schedule)):
        check_range("Schedule", 0 if name in may_be_zero else 1, whole=True, **{name: getattr(schedule, name)})


def _train(
    setup: Setup,
    workdir: Path,
    seed: int,
    schedule: Schedule,
    observe: Observe | None,
    judge: Judge | None,
    stop: Callable[[], bool],
    progress: bool,
    allow_change: bool,
    timed: Timed,
) -> Result:
    keys, positions = Keys.of(seed), order(setup, seed)
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir, run=identity(setup, seed))
    if checkpoints.latest is None:
        taken = {player: take(source) for player, source in setup.start.items()}
        state = jax.device_get(initial_state(setup, seed, taken))
        if taken and parallel.is_primary():
            keep_start(workdir, taken)
    else:
        state = checkpoints.restore(state_shapes(setup), allow_change=allow_change)
    step = begin = saved = int(state.step)
    if begin >= schedule.steps:
        checkpoints.close()
        return Result(state, begin)

    resident = feed.is_resident(setup, schedule.resident_megabytes)
    if not resident:
        schedule = replace(schedule, chunk=feed.fitting(setup, schedule.chunk))
    move = unguarded_step(setup.game, setup.dynamics, setup.averages)
    look_up = partial(collate, setup, axis_name=parallel.axis_name())
    run = timed("step", compile_chunk(move, look_up, scan=setup.scan, length=schedule.chunk))
    measure, save = timed("telemetry", telemetry(setup)), timed("checkpoint", _save)
    state = parallel.replicate(state)
    writers = Writers(workdir, begin) if parallel.is_primary() else None
    judging = Judging(workdir, judge, writers) if schedule.judge_every else None

    def blame(at: int) -> str | None:
        """What step `at` would do to the state, which is as it was before: that step was rejected."""
        before, chunk = replace(state, step=state.step * 0 + (at - 1)), feed.gathered(setup, positions(at - 1, 1))
        return first_not_finite(move, look_up, before, chunk.data, chunk.rows, keys.steps)

    divergence = partial(_divergence, setup)
    log = _Log(writers, schedule, begin, blame, divergence, progress and writers is not None)
    if resident:
        chunks = feed.resident(setup, positions, _spans(begin, schedule), schedule.chunk)
    else:
        chunks = feed.streamed(setup, positions, _spans(begin, schedule), schedule.chunk, workers=schedule.workers)
    log_chunk, log_finish = timed("metrics", log.chunk), timed("metrics", log.finish)
    next_chunk = timed("input", next)
    reachable = True
    try:
        with _causes_named(setup):
            if step == 0 and writers and observe:
                observe(0, parallel.fetch(state), writers)
            while step < schedule.steps and not parallel.any_process(stop()):
                count, data, rows = next_chunk(chunks)
                state, metrics = run(state, data, rows, keys.steps, count)
                log_chunk(step, count, metrics)
                step += count
                last = step == schedule.steps
                sampled = step % schedule.sample_every == 0
                if writers and sampled:  # not where a run happens to stop: a whole run has no such record
                    log.add(measure(parallel.fetch(state)))
                if last:
                    log_finish()
                if observe and writers and (last or sampled):
                    observe(step, parallel.fetch(state), writers)
                if judging and (last or step % schedule.judge_every == 0):
                    judging(parallel.fetch(state))
                if last or step % schedule.checkpoint_every == 0:
                    saved = save(checkpoints, log, state)
            if step != saved:
                save(checkpoints, log, state)
    except PeerError:
        reachable = False  # to finish a checkpoint would be to wait for the process that is gone
        raise
    finally:
        chunks.close()
        log.close()
        if reachable:
            timed("checkpoint", checkpoints.close)()
            if judging:
                judging.close()
    return Result(parallel.fetch(state), begin)


@contextlib.contextmanager
def _causes_named(setup: Setup) -> Iterator[None]:
    """What the device and the host say when memory is short or another process is gone, as one sentence."""
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        status = STATUS.match(str(error))
        if isinstance(error, MemoryError) or (status and status[0] == "RESOURCE_EXHAUSTED"):
            sizes = " and ".join(str(stream.batch_size) for stream in setup.played.values())
            raise OutOfMemoryError(
                f"the memory of {jax.device_count()} {jax.devices()[0].device_kind} is too small for turns of "
                f"{sizes} examples ({reason(error)}); lower --batch-size, or use more devices"
            ) from error
        if status and jax.process_count() > 1:
            raise PeerError(
                f"process {jax.process_index()} of {jax.process_count()} lost another one ({reason(error)}); start all "
                "again with the same commands, they continue from the newest checkpoint"
            ) from error
        raise


def _save(checkpoints: Checkpoints, log: "_Log", state: GameState) -> int:
    """Save the state after what led to it; returns its step."""
    log.flush()
    host = parallel.fetch(state)
    checkpoints.save(host)
    return int(host.step)


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


def _owner(setup: Setup, name: str) -> str | None:
    """The player whose metric (cost/name) or leaf (kind, ..., player, layer, name) it is, or whose average."""
    kept = [kept.owners for key, kept in setup.averages.items() if name.startswith(f"averages.{key}.")]
    averaged = [owners[0] for owners in kept if len(owners) == 1]
    owners = [setup.game.mover(part) for part in [*averaged, *re.split("[./]", name)]]
    return next((owner for owner in owners if owner in setup.game.players), None)


def _divergence(setup: Setup, step: int, record: Mapping[str, float], leaf: str | None) -> str:
    """Which values were not finite, and whose."""
    bad = [name for name, value in record.items() if not np.isfinite(value)]
    owners = [_owner(setup, name) for name in ([leaf] if leaf else bad)]
    player = next((owner for owner in owners if owner), "unknown")
    return (
        f"step {step}: {MAX_SKIPPED} steps in a row gave values that are not finite ({', '.join(bad) or 'no metric'}), "
        f"the first of the player {player}{f': {leaf}' if leaf else ''}; the same settings would diverge again from "
        "the newest checkpoint: use a new --workdir and a lower --learning-rate"
    )


class _Log:
    """Metrics of a chunk, read when the next one is already under way, so that the device never waits."""

    def __init__(
        self,
        writers: Writers | None,
        schedule: Schedule,
        begin: int,
        blame: Callable[[int], str | None],
        divergence: Callable[[int, Mapping[str, float], str | None], str],
        progress: bool,
    ):
        self._writers, self._every, self._streak = writers, schedule.log_every, 0
        self._pending: tuple[int, int, Any] | None = None  # first step, steps, metrics on the device
        self._blame = blame  # step -> the first leaf that it made not finite
        self._divergence = divergence  # (step, its record, that leaf) -> what to say
        self._added: Any = {}  # to the record of the last pending step
        self._bar = tqdm(total=schedule.steps, initial=begin, unit="step", disable=not progress, dynamic_ncols=True)

    def chunk(self, step: int, count: int, metrics: Any) -> None:
        self.finish()
        self._pending = step, count, metrics

    def add(self, metrics: Metrics) -> None:
        """Join further metrics to the record of the newest step, which is then written even between two records."""
        self._added = metrics

    def finish(self) -> None:
        """Write what is pending."""
        if self._pending is None:
            return
        (start, count, metrics), self._pending = self._pending, None
        records, (added, self._added) = per_step(metrics, count), (self._added, {})
        records[-1] |= jax.device_get(added)
        for step, record in enumerate(records, start + 1):
            self._streak = 0 if record["finite"] else self._streak + 1
            if self._writers and (step % self._every == 0 or (added and record is records[-1])):
                self._writers.scalars(step, record)
            if self._streak == MAX_SKIPPED:
                raise DivergedError(self._divergence(step, record, self._blame(step)))
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
