"""What the commands share: an experiment, its data, and one way to open a run."""

import contextlib
import dataclasses
import hashlib
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, NoReturn, TypeVar

from ganjax import __version__
from ganjax.config import as_record, from_record
from ganjax.errors import ConfigError, DataError, reason
from ganjax.files import cache_folder
from ganjax.memory import keep_freed_memory
from ganjax.options import TrainConfig
from ganjax.rundir import DATA, WHERE, check_continues, read_run

if TYPE_CHECKING:
    from ganjax.data import Dataset
    from ganjax.training import Setup

# Convolutions to Eigen: 12 to 20 % less time of a DCGAN step than XLA:CPU's default (benchmarks/README.md).
CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
# A run of seconds is compiled in less time rather than run in less: 47 s for 60 of SNGAN's smoke size on 64x64 images.
SMOKE_FLAG = "--xla_cpu_opt_preset=FAST_COMPILE"


class Experiment(NamedTuple):
    """One claim of the literature, ready to run.

    An experiment that trains has `build`, which imports what needs JAX itself: so a wrong option is answered in half a
    second. One that computes has `compute`, which returns the lines to print.
    """

    name: str
    doc: str  # the module's docstring: claim, paper, command, expected time and figure
    config: Any  # a frozen dataclass with the defaults; of TrainConfig if the experiment trains
    smoke: Mapping[str, Any]  # the fields that make it run in seconds
    build: Any = None  # (config, load: name -> Dataset, axis_name) -> training.Setup, or {stage: Setup} in their order
    compute: Any = None  # (config, workdir) -> lines


C = TypeVar("C")


class Configured(Generic[C]):
    """A command that takes the options of an experiment too."""

    config: C  # a field of the heir that `launch` makes, for its default is the experiment's


def fail(sentence: str, code: int) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(code)


def prepare_jax(*, start: bool = True, smoke: bool = False) -> None:
    """Set what must be set before the backend starts (memory, cache, the CPU's flags), and start it."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax and TFDS warn of what is meant, log what they raise
    keep_freed_memory()
    import jax

    wanted = {"ynn_fusion_type": CPU_FLAG} if jax.__version_info__[:2] == (0, 10) else {}
    wanted |= {"xla_cpu_opt_preset": SMOKE_FLAG} if smoke else {}
    flags = os.environ.get("XLA_FLAGS", "")
    missing = [flag for name, flag in wanted.items() if name not in flags]
    os.environ["XLA_FLAGS"] = " ".join([flags, *missing]).strip()
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        with contextlib.suppress(ConfigError):  # a user without a home directory compiles anew every time
            jax.config.update("jax_compilation_cache_dir", str(cache_folder("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if start:
        find_devices()


def find_devices() -> None:
    """Start the backend.

    Raises:
        ConfigError: JAX has not the one that is asked for.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where no plugin for the platform is installed
        asked = jax.config.jax_platforms  # type: ignore[attr-defined]
        why = f" ({reason(error)})" if str(error) else ""
        raise ConfigError(
            f"JAX finds no device of the platforms {asked or 'that it knows'!r}{why}; install its build "
            "(pip install -e .[cuda] or .[tpu]), or leave JAX_PLATFORMS out, or set it to cpu"
        ) from error


class Loader:
    """Loads the data sets that a config names, each once, and remembers which option named it."""

    def __init__(self, config: Any):
        self._config = config
        self.datasets: dict[str, Dataset] = {}  # keyed by option

    def __call__(self, name: str) -> "Dataset":
        """The data set of that name, which an option has.

        Raises:
            DataError: it cannot be loaded.
        """
        from ganjax.data import load

        option = next((option for option in DATA if getattr(self._config, option, None) == name), name)
        if option not in self.datasets:
            self.datasets[option] = load(name, self._config.data_dir)
        return self.datasets[option]

    def record(self) -> dict[str, Any]:
        """What a run keeps of the data: outline and digest of each set, and a digest of all."""
        from ganjax.data import outline

        found = {name: {**outline(data), "digest": data.digest} for name, data in self.datasets.items()}
        return {"data": found, "data_digest": digest_of({name: own["digest"] for name, own in found.items()})}


def digest_of(digests: Mapping[str, str]) -> str:
    """One digest of several data sets; that of a single one is its own."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest()


def stages_of(built: Any) -> "dict[str, Setup]":
    """What an experiment trains, stage after stage; the only one of most is called ""."""
    return {"": built} if hasattr(built, "_fields") else dict(built)


def setups_of(experiment: Experiment, config: TrainConfig) -> "tuple[dict[str, Setup], Loader]":
    """What the experiment trains, and its data."""
    from ganjax.training import parallel

    load = Loader(config)
    return stages_of(experiment.build(config, load, parallel.axis_name())), load


def setup_of(experiment: Experiment, config: TrainConfig) -> "Setup":
    """What the experiment trains, in its only or its last stage."""
    return list(setups_of(experiment, config)[0].values())[-1]


def describe(experiment: Experiment, config: Any, load: Loader | None = None) -> dict[str, Any]:
    """What `config.json` says of a run, and of the data that it trains on."""
    said = {"experiment": experiment.name, "ganjax": __version__, "config": as_record(config), "data_digest": ""}
    return said if load is None else said | load.record()


def config_of(experiment: Experiment, workdir: Path) -> tuple[Any, dict[str, Any]]:
    """The config of a run of this experiment, and all that its directory says of it."""
    found = read_run(workdir)
    if found is None:
        raise ConfigError(f"{workdir} holds no run; train one first with the command train")
    check_continues(workdir, found, {**found, "experiment": experiment.name})
    return from_record(experiment.config, found["config"]), found


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfRun:
    """What every command about a trained game can be told."""

    workdir: Path
    """The run directory; its checkpoints are only read."""
    stage: str = ""
    """Which stage of a run that has several; by default the last that holds a checkpoint."""
    data: str | None = None
    """Where the data of the run lie now, if they have moved."""
    target: str | None = None
    """Where its second data set lies now, if it has one."""
    data_dir: str | None = None
    """Where TFDS keeps them now."""


class Opened(NamedTuple):
    """A run, ready to be drawn from."""

    setup: "Setup"
    workdir: Path  # of the stage
    found: dict[str, Any]  # what config.json says


def opened(
    experiment: Experiment,
    command: OfRun,
    *,
    needs: Literal["data", "picture", "nothing"] = "data",
    sampler: str = "",
) -> Opened:
    """What a run trained, and where it lies.

    Args:
        experiment: of the run.
        command: where the run is, and its data if they have moved.
        needs: the data; only those that a picture of samples shows or is made of; or nothing of them but what the run
            has kept.
        sampler: that draws the picture; the first by default.

    Raises:
        DataError: the data are needed, and are not there or not those of the run.
    """
    config, found = config_of(experiment, command.workdir)
    moved = {name: value for name in WHERE if (value := getattr(command, name)) is not None}
    for name in moved.keys() - {field.name for field in dataclasses.fields(config)}:
        raise ConfigError(f"--{name} is {moved[name]!r}, but the experiment {experiment.name} has no such data set")
    prepare_jax()
    if needs != "data" and not moved and found.get("data"):
        from ganjax.data import stand_ins

        kept = stand_ins(found["data"], found["config"])
        setup, workdir = _of_stage(stages_of(experiment.build(config, kept, None)), command)
        if needs == "nothing" or not _shows_data(setup, sampler):
            return Opened(setup, workdir, found)
    config = dataclasses.replace(config, **moved)
    load = Loader(config)
    try:
        stages = stages_of(experiment.build(config, load, None))
    except DataError as error:
        raise DataError(f"{error}; the data of the run may lie elsewhere now: say where by --data") from error
    now = load.record()
    if now["data_digest"] != found["data_digest"]:
        names = " and ".join(own["name"] for own in now["data"].values())
        raise DataError(
            f"{names} holds other data than the run {command.workdir} was trained on (digest "
            f"{now['data_digest'][:12]}, expected {found['data_digest'][:12]}); say by --data where those are"
        )
    setup, workdir = _of_stage(stages, command)
    return Opened(setup, workdir, {**found, **now})


def _shows_data(setup: "Setup", sampler: str) -> bool:
    """Whether a picture of what it draws shows examples, or is made from them."""
    if not setup.samplers:
        return False
    draws = setup.sampler(sampler)
    return setup.imitated(draws).kind.name not in ("image", "clip") or (draws.given or ("", "class"))[1] != "class"


def _of_stage(stages: "Mapping[str, Setup]", command: OfRun) -> "tuple[Setup, Path]":
    """The setup and the directory of the stage that is asked for."""
    from ganjax.rundir import latest_step

    if "" in stages:
        if command.stage:
            raise ConfigError(f"--stage is {command.stage!r}, but this experiment has no stages; leave it out")
        return stages[""], command.workdir
    if command.stage and command.stage not in stages:
        raise ConfigError(f"--stage is {command.stage!r}, expected one of {list(stages)}")
    begun = [name for name in stages if latest_step(command.workdir / name) is not None]
    name = command.stage or (begun or list(stages))[-1]
    return stages[name], command.workdir / name
