"""The command line that every experiment gets: `train`, `sample`, `show`."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ganjax import __version__
from ganjax.config import TrainConfig, as_record, check_continues, from_record, parse, read_run, write_run
from ganjax.errors import ConfigError, GanjaxError

SAMPLE_COUNT = 64  # images of a grid during training
# Convolutions to Eigen: 1.3 to 2 times faster on two threads than XLA:CPU's default (benchmarks/README.md).
CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"


class Experiment(NamedTuple):
    """One claim of the literature, ready to run.

    An experiment that trains has `build`; one that computes has `compute`, which returns the lines to print.
    """

    name: str
    doc: str  # the module's docstring: claim, paper, command, expected time and figure
    config: Any  # a frozen dataclass with the defaults; of TrainConfig if the experiment trains
    smoke: Mapping[str, Any]  # the fields that make it run in seconds
    build: Any = None  # (config, Dataset, axis_name) -> training.Setup
    compute: Any = None  # (config, workdir) -> lines


def main(experiment: Experiment, args: list[str] | None = None) -> None:
    """Run an experiment's command line and exit with the code of what happened."""
    args = sys.argv[1:] if args is None else args
    try:
        command = parse(
            _commands(experiment, "--smoke" in args),
            args,
            prog=f"{experiment.name}.py",
            description=experiment.doc,
        )
        command.run(experiment)
    except GanjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; the same command continues from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def _commands(experiment: Experiment, smoke: bool) -> dict[str, type]:
    """The sub-commands as dataclasses, the experiment's config spliced in as options."""
    config = dataclasses.replace(experiment.config, **experiment.smoke) if smoke else experiment.config
    field = ("config", type(config), dataclasses.field(default=config))
    train = Train if experiment.build else Compute
    commands = {
        "train": dataclasses.make_dataclass("train", [field], bases=(train,), frozen=True, kw_only=True),
        "show": dataclasses.make_dataclass("show", [field], bases=(Show,), frozen=True, kw_only=True),
    }
    for command in commands.values():
        command.__doc__ = command.__mro__[1].__doc__
    return commands | ({"sample": Sample} if experiment.build else {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Show:
    """Print the claim, the paper and the resolved configuration."""

    smoke: bool = False
    """Show the smoke size."""

    def run(self, experiment: Experiment) -> None:
        print(experiment.doc.strip() + "\n")
        for name, value in dataclasses.asdict(self.config).items():  # type: ignore[attr-defined]
            print(f"{name} = {value!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compute:
    """Compute the experiment; print its table and the paths of its figures."""

    workdir: Path
    """The run directory."""
    smoke: bool = False
    """Shrink the experiment to seconds."""

    def run(self, experiment: Experiment) -> None:
        config = self.config  # type: ignore[attr-defined]
        run = {
            "experiment": experiment.name,
            "ganjax": __version__,
            "config": as_record(config),
            "data_digest": "",
        }
        found = read_run(self.workdir)
        if found is not None:
            check_continues(self.workdir, found, run)
        write_run(self.workdir, run)
        print("\n".join(experiment.compute(config, self.workdir)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Train, or continue the run of the same directory."""

    workdir: Path
    """The run directory; the same command continues a run that was stopped."""
    smoke: bool = False
    """Shrink the experiment to seconds."""
    quiet: bool = False
    """No progress bar."""
    coordinator: str | None = None
    """host:port of process 0, for a run of several processes."""
    process_count: int = 1
    """How many processes train together."""
    process_id: int = 0
    """Which of them this is."""

    def run(self, experiment: Experiment) -> None:
        config: TrainConfig = self.config  # type: ignore[attr-defined]
        _prepare_jax()
        from ganjax.training import check, digest, parallel, train

        if self.coordinator is not None:
            parallel.join(self.coordinator, self.process_count, self.process_id)
        setup = _setup(experiment, config)
        found, run = read_run(self.workdir), _describe(experiment, config, setup)
        if found is not None:
            check_continues(self.workdir, found, run)
        elif self.workdir.exists() and any(self.workdir.iterdir()):
            raise ConfigError(f"{self.workdir} is not empty and holds no ganjax run; choose another --workdir")
        check(setup)
        if parallel.is_primary():
            write_run(self.workdir, run)
        observe = None if setup.sample is None else partial(_observe, setup, config.seed, self.workdir)
        state, began = train(
            setup,
            self.workdir,
            seed=config.seed,
            schedule=_schedule(config),
            meta=run,
            observe=observe,
            progress=not self.quiet,
        )
        if not parallel.is_primary():
            return
        if began == int(state.step):
            print(f"{self.workdir} is finished: it is at step {began}; a larger --steps continues it")
        else:
            for path in _reports(setup, state, config.seed, self.workdir):
                print(path)
        print(f"step {int(state.step)} digest {digest(state)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """Draw from a trained generator and write a picture."""

    workdir: Path
    """The run directory."""
    out: Path
    """The picture to write, .png."""
    count: int = SAMPLE_COUNT
    """How many samples."""
    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    seed: int = 0
    """Seed of the latents."""

    def run(self, experiment: Experiment) -> None:
        if self.count < 1:
            raise ConfigError(f"--count is {self.count}, expected at least 1")
        if self.out.suffix != ".png":
            raise ConfigError(f"--out is {self.out}, expected a name that ends in .png")
        found = read_run(self.workdir)
        if found is None:
            raise ConfigError(f"{self.workdir} holds no run; train one first with the command train")
        config = from_record(experiment.config, found["config"])
        check_continues(self.workdir, found, {**found, "experiment": experiment.name})
        _prepare_jax()
        import jax

        from ganjax.training import draw, load_state

        setup = _setup(experiment, config)
        x = draw(
            setup,
            load_state(setup, self.workdir),
            jax.random.key(self.seed),
            self.count,
            weights=self.weights,
        )
        self.out.parent.mkdir(parents=True, exist_ok=True)
        _picture(setup, x, self.out)
        print(self.out)


def _prepare_jax() -> None:
    """Set what must be set before the backend starts: the compilation cache and the CPU's convolution flag."""
    import jax

    if jax.__version_info__[:2] == (0, 10) and "ynn_fusion_type" not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {CPU_FLAG}".strip()
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(base / "ganjax" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _setup(experiment: Experiment, config: TrainConfig):
    from ganjax.data import load
    from ganjax.training import parallel

    return experiment.build(config, load(config.data, config.data_dir), parallel.axis_name())


def _schedule(config: TrainConfig):
    from ganjax.training import Schedule

    return Schedule(**{name: getattr(config, name) for name in Schedule._fields})


def _describe(experiment: Experiment, config: TrainConfig, setup) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "ganjax": __version__,
        "config": as_record(config),
        "data_digest": setup.dataset.digest,
    }


def _picture(setup, x, path: Path):
    """Images as a grid, points as a scatter over the data; returns the picture, [H, W, 3] uint8."""
    from ganjax.report import grid, save_image, scatter

    if x.ndim == 4:
        picture = grid(x)
        save_image(path, picture)
        return picture
    return scatter(x, path, reference=setup.dataset.x_train[: len(x)])


def _observe(setup, seed: int, workdir: Path, step: int, state, writers) -> None:
    """The sample grid of a step, always from the same latents."""
    from ganjax.training import Keys, draw

    count = SAMPLE_COUNT if setup.dataset.x_train.ndim == 4 else 16 * SAMPLE_COUNT
    (workdir / "samples").mkdir(exist_ok=True)
    picture = _picture(setup, draw(setup, state, Keys.of(seed).samples, count), workdir / "samples" / f"{step:08d}.png")
    writers.image(step, "samples", picture)


def _reports(setup, state, seed: int, workdir: Path) -> list[Path]:
    """The pictures of a finished run; returns their paths."""
    from ganjax.report import curves, nearest_neighbours, panel
    from ganjax.training import Keys, draw

    curves(workdir, workdir / "curves.png")
    if setup.sample is None:
        return [workdir / "curves.png"]
    grids = sorted((workdir / "samples").glob("*.png"))
    panel(workdir, workdir / "panel.png")
    paths = [grids[-1], workdir / "panel.png", workdir / "curves.png"]
    if setup.dataset.x_train.ndim == 4:
        x = draw(setup, state, Keys.of(seed).samples, 4 * SAMPLE_COUNT)
        held_out = None if setup.dataset.x_test is None else setup.dataset.x_test[: len(x)]
        nearest_neighbours(x, setup.dataset.x_train, workdir / "neighbours.png", held_out=held_out)
        paths.insert(2, workdir / "neighbours.png")
    return paths
