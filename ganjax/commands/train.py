"""What trains: `train`, which also continues, and `profile`, which says where the time goes."""

import contextlib
import dataclasses
import hashlib
import json
import re
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ganjax.commands.base import Configured, Experiment, describe, fail, find_devices, prepare_jax, setups_of
from ganjax.config import as_record
from ganjax.errors import ConfigError, GanjaxError, reason
from ganjax.files import write_atomically
from ganjax.interruption import Interruption
from ganjax.options import Schedule, TrainConfig
from ganjax.rundir import check_free, claimed, latest_step

if TYPE_CHECKING:
    from ganjax.training import Setup
    from ganjax.training.judging import Judge


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(Configured[TrainConfig]):
    """Train, or continue the run of the same directory."""

    workdir: Path
    """The run directory; the same command continues a run that was stopped."""
    smoke: bool = False
    """Shrink the experiment to seconds."""
    quiet: bool = False
    """No progress bar."""
    allow_config_change: bool = False
    """Continue a run with other options than it began with; config.json lists what was changed."""
    coordinator: str | None = None
    """host:port of process 0, for a run of several processes; or auto, where SLURM, Open MPI, a TPU pod or Kubernetes
    has started them and says how many there are."""
    process_count: int = 1
    """How many processes train together."""
    process_id: int = 0
    """Which of them this is."""

    def __post_init__(self):
        alone = self.coordinator in (None, "auto") and (self.process_count, self.process_id) == (1, 0)
        named = re.fullmatch(r"\S+:\d{1,5}", self.coordinator or "") is not None
        if not (alone or (named and 0 <= self.process_id < self.process_count)):
            raise ConfigError(
                f"--process-id {self.process_id} of --process-count {self.process_count} with --coordinator "
                f"{self.coordinator}: expected an id from 0 to count - 1 and host:port, auto alone, or none of them"
            )

    def run(self, experiment: Experiment) -> None:
        config = self.config
        check_free(self.workdir)
        prepare_jax(start=self.coordinator is None, smoke=self.smoke)
        from ganjax.training import parallel

        if self.coordinator is not None:
            parallel.join(self.coordinator, self.process_count, self.process_id)
            find_devices()
        stages, load = setups_of(experiment, config)
        stages = {name: of_stages(self.workdir, setup, list(stages)) for name, setup in stages.items()}
        for setup in stages.values():
            checked(setup)
        check_stages(self.workdir, stages, config)
        for sentence in [one for setup in stages.values() for one in repeated(setup)]:
            tqdm.write(f"warning: {sentence}", file=sys.stderr)
        run = describe(experiment, config, load) | ({"stages": list(stages)} if "" not in stages else {})
        with contextlib.ExitStack() as claims:
            if "" not in stages:
                over = all(is_finished(self.workdir / name, setup, config) for name, setup in stages.items())
                claim = claimed(self.workdir, run, finished=over, allow_change=self.allow_config_change)
                parallel.on_primary(lambda: claims.enter_context(claim))
            stop = claims.enter_context(Interruption())
            for name, setup in stages.items():
                self._stage(name, setup, config, run, stop)

    def _stage(self, name: str, setup: "Setup", config: TrainConfig, run: dict[str, Any], stop: Interruption) -> None:
        """Train one stage to its end, or continue it, and report it; the only one lies in the run directory itself."""
        from ganjax import gallery
        from ganjax.training import digest, load_state, parallel, train
        from ganjax.training.setup import check_start

        workdir, seed, schedule = self.workdir / name, seed_of(config.seed, name), schedule_of(config, setup)
        finished = is_finished(workdir, setup, config)
        if self.allow_config_change and latest_step(workdir) is not None:
            load_state(setup, workdir)  # whose leaves must fit, before anything is written
        if latest_step(workdir) is None:
            check_start(setup)
        judge = judge_of(setup, seed, schedule, progress=not self.quiet, finished=finished)
        own = run | ({"stage": name, "steps": schedule.steps} if name else {})
        claim = claimed(workdir, own, finished=finished, allow_change=self.allow_config_change)
        with contextlib.ExitStack() as claims:
            parallel.on_primary(lambda: claims.enter_context(claim))
            state, _ = train(
                setup,
                workdir,
                seed=seed,
                schedule=schedule,
                observe=partial(gallery.observe, setup, seed, workdir),
                judge=judge,
                stop=stop.__bool__,
                progress=not self.quiet,
                allow_change=self.allow_config_change,
            )
            said = f" of the stage {name}" if name else ""
            if stop and state.step < schedule.steps:
                fail(f"stopped at step {state.step}{said}; the same command continues from there", stop.exit_code)
            if not parallel.is_primary():
                return
            if finished:
                print(f"{workdir} is finished: it is at step {int(state.step)}; a larger --steps continues it")
            for path in gallery.reports(setup, state, seed, workdir) if schedule.sample_every else []:
                print(path)
            print(f"step {int(state.step)}{said} digest {digest(state)}")


def checked(setup: "Setup") -> None:
    """Raise a `GanjaxError` about a setup that cannot be trained, before anything is written."""
    from ganjax.training import check

    try:
        check(setup)
    except GanjaxError:
        raise
    except (ValueError, TypeError) as error:  # of a game or a name in the experiment's own code
        raise ConfigError(f"what the experiment builds cannot be trained: {reason(error)}") from error


def of_stages(workdir: Path, setup: "Setup", names: list[str]) -> "Setup":
    """The setup, with the directories of the stages that it begins from in the place of their names."""
    start = {p: own._replace(run=workdir / own.run) if own.run in names else own for p, own in setup.start.items()}
    return setup._replace(start=start)


def check_stages(workdir: Path, stages: "dict[str, Setup]", config: TrainConfig) -> None:
    """Raise `ConfigError` if a stage is to be longer than it was when another one was begun from it."""
    for name, setup in stages.items():
        before = [Path(own.run) for own in setup.start.values() if latest_step(workdir / name) is not None]
        for other in before:
            earlier = stages.get(other.name) if other.parent == workdir else None
            if earlier is not None and not is_finished(other, earlier, config):
                raise ConfigError(
                    f"the stage {other.name} is at step {latest_step(other)} of {earlier.steps or config.steps}, and "
                    f"the stage {name} was begun from it; choose another --workdir for a longer one"
                )


def repeated(setup: "Setup") -> list[str]:
    """What to say of streams whose data are fewer than a step shows."""
    steps = [(stream.dataset, stream.batch_size * setup.dynamics.slices) for stream in setup.played.values()]
    return [
        f"the data set {data.name} has {len(data.x_train)} training examples, fewer than the {count} of a step, which "
        "shows some of them several times"
        for data, count in steps
        if len(data.x_train) < count
    ]


def is_finished(workdir: Path, setup: "Setup", config: TrainConfig) -> bool:
    """Whether a stage has reached its last step."""
    return (latest_step(workdir) or 0) >= (setup.steps or config.steps)


def seed_of(seed: int, stage: str) -> int:
    """The seed of a stage: a hash of the run's and of its name, so that a stage more or less changes no other."""
    if not stage:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {stage}".encode()).digest()[:4])


def schedule_of(config: TrainConfig, setup: "Setup") -> Schedule:
    """How long, and what how often."""
    told = {field.name: getattr(config, field.name) for field in dataclasses.fields(Schedule)}
    return Schedule(**told | {"steps": setup.steps or config.steps})


def judge_of(
    setup: "Setup", seed: int, schedule: Schedule, *, progress: bool, finished: bool = False
) -> "Judge | None":
    """What the run is judged by, if it is to be; a finished run needs it only if its newest checkpoint is damaged."""
    from ganjax.training import parallel

    if not schedule.judge_every or not parallel.is_primary():
        return None
    from ganjax.evaluation import light_judge

    make = partial(light_judge, setup, seed, progress=progress)
    return (lambda state: make()(state)) if finished else make()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile(Configured[TrainConfig]):
    """Say where the time of a run goes, and how much of the machine it uses; leave no run behind."""

    workdir: Path | None = None
    """Keep the run in this directory."""
    smoke: bool = False
    """Shrink the experiment to seconds."""
    out: Path | None = None
    """Write the figures to this file too, .json."""
    trace: Path | None = None
    """Write a trace of jax.profiler to this folder, from the second chunk on; open it with TensorBoard or Perfetto."""

    def run(self, experiment: Experiment) -> None:
        config = self.config
        with contextlib.ExitStack() as claims:
            workdir = self.workdir or Path(claims.enter_context(tempfile.TemporaryDirectory(prefix="ganjax-profile-")))
            check_free(workdir)
            prepare_jax()
            from ganjax import gallery, profile

            if (latest_step(workdir) or 0) >= config.steps:
                raise ConfigError(f"{workdir} is finished, there is nothing to measure; choose another --workdir")
            began = time.perf_counter()
            stages, load = setups_of(experiment, config)
            name, setup = next(iter(stages.items()))
            checked(setup)
            loaded = time.perf_counter() - began
            seed, schedule = seed_of(config.seed, name), schedule_of(config, setup)
            judge = judge_of(setup, seed, schedule, progress=False)
            claims.enter_context(claimed(workdir, describe(experiment, config, load)))
            found = profile.measure(
                setup,
                workdir,
                seed=seed,
                schedule=schedule,
                observe=partial(gallery.observe, setup, seed, workdir),
                judge=judge,
                trace=self.trace,
            )
        described = {"experiment": experiment.name, "config": as_record(config), "load_seconds": loaded}
        of = f" of the stage {name}" if name else ""
        print(f"loading data and building the networks took {loaded:.2f} s; then a run of {schedule.steps} steps{of}:")
        print("\n".join(profile.table(found)))
        if self.out:
            write_atomically(self.out, json.dumps(described | found, indent=2) + "\n")
            print(self.out)
