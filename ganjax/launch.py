"""The command line that every experiment gets: `train`, `sample`, `latent`, `evaluate`, ..., as `Experiment` says."""

import contextlib
import dataclasses
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from ganjax import __version__
from ganjax.config import TrainConfig, as_record, from_record, parse, require
from ganjax.errors import CheckpointError, ConfigError, DataError, GanjaxError, PeerError, printable, reason
from ganjax.files import cache_folder, write_atomically
from ganjax.interruption import Interruption
from ganjax.memory import keep_freed_memory
from ganjax.rundir import WHERE, check_continues, check_free, claimed, read_run

# Convolutions to Eigen: 12 to 20 % less time of a DCGAN step than XLA:CPU's default (benchmarks/README.md).
CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"


class Experiment(NamedTuple):
    """One claim of the literature, ready to run.

    An experiment that trains has `build`, which imports what needs JAX itself: so a wrong option is answered in half a
    second. One that computes has `compute`, which returns the lines to print.
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
        if args[:1] in (["--help"], ["-h"]):
            print(experiment.doc.strip() + "\n")  # line by line as it stands; tyro would run them together
        command = parse(_commands(experiment, "--smoke" in args), args, prog=f"{experiment.name}.py", description="")
        command.run(experiment)
    except PeerError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(error.exit_code)  # an orderly end would wait for the process that is gone
    except GanjaxError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:  # an unwritable directory, a full disk
        sentence = f"{error.strerror or error}: {error.filename or 'while reading or writing'}"
        _fail(printable(sentence), CheckpointError.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; a training run continues from its newest checkpoint with the same command", 130)


def _fail(sentence: str, code: int) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(code)


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
    if not experiment.build:
        return commands | {"report": Report}
    trained = {"sample": Sample, "latent": Latent, "evaluate": Evaluate, "compare": Compare, "report": Report}
    trained |= {"export": Export}
    short = (
        "config",
        type(config),
        dataclasses.field(default=dataclasses.replace(config, steps=min(config.steps, 200))),
    )
    commands["profile"] = dataclasses.make_dataclass("profile", [short], bases=(Profile,), frozen=True, kw_only=True)
    commands["profile"].__doc__ = Profile.__doc__
    return commands | trained


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
        import numpy as np

        config = self.config  # type: ignore[attr-defined]
        check_free(self.workdir)
        _prepare_jax()
        # A closed form that diverges is infinite beyond the largest number.
        with claimed(self.workdir, _describe(experiment, config)), np.errstate(over="ignore"):
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
        config: TrainConfig = self.config  # type: ignore[attr-defined]
        check_free(self.workdir)
        _prepare_jax(start=self.coordinator is None)
        from ganjax import gallery
        from ganjax.training import Schedule, check, digest, latest_step, load_state, parallel, train

        if self.coordinator is not None:
            parallel.join(self.coordinator, self.process_count, self.process_id)
            _find_devices()
        setup = _setup(experiment, config)
        check(setup)
        last = latest_step(self.workdir)
        finished = (last or 0) >= config.steps
        if self.allow_config_change and last is not None:
            load_state(setup, self.workdir)  # whose leaves must fit, before anything is written
        judge = None
        if config.judge_every and parallel.is_primary():
            from ganjax.evaluation import light_judge

            make = partial(light_judge, setup, config.seed, progress=not self.quiet)
            # A finished run needs none, unless its newest checkpoint turns out to be damaged.
            judge = (lambda state: make()(state)) if finished else make()
        run = _describe(experiment, config, setup.dataset)
        claim = claimed(self.workdir, run, finished=finished, allow_change=self.allow_config_change)
        with contextlib.ExitStack() as claims:
            parallel.on_primary(lambda: claims.enter_context(claim))
            stop = claims.enter_context(Interruption())
            state, _ = train(
                setup,
                self.workdir,
                seed=config.seed,
                schedule=Schedule(**{name: getattr(config, name) for name in Schedule._fields}),
                observe=partial(gallery.observe, setup, config.seed, self.workdir) if setup.sample else None,
                judge=judge,
                stop=stop.__bool__,
                progress=not self.quiet,
                allow_change=self.allow_config_change,
            )
            if stop and state.step < config.steps:
                _fail(f"stopped at step {state.step}; the same command continues from there", stop.exit_code)
            if not parallel.is_primary():
                return
            if finished:
                print(f"{self.workdir} is finished: it is at step {int(state.step)}; a larger --steps continues it")
            for path in gallery.reports(setup, state, config.seed, self.workdir):
                print(path)
            print(f"step {int(state.step)} digest {digest(state)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
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
        config: TrainConfig = self.config  # type: ignore[attr-defined]
        with contextlib.ExitStack() as claims:
            workdir = self.workdir or Path(claims.enter_context(tempfile.TemporaryDirectory(prefix="ganjax-profile-")))
            check_free(workdir)
            _prepare_jax()
            from ganjax import gallery, profile
            from ganjax.training import Schedule, check, latest_step

            if (latest_step(workdir) or 0) >= config.steps:
                raise ConfigError(f"{workdir} is finished, there is nothing to measure; choose another --workdir")
            began = time.perf_counter()
            setup = _setup(experiment, config)
            check(setup)
            loaded = time.perf_counter() - began
            judge = None
            if config.judge_every:
                from ganjax.evaluation import light_judge

                judge = light_judge(setup, config.seed)
            claims.enter_context(claimed(workdir, _describe(experiment, config, setup.dataset)))
            found = profile.measure(
                setup,
                workdir,
                seed=config.seed,
                schedule=Schedule(**{name: getattr(config, name) for name in Schedule._fields}),
                observe=partial(gallery.observe, setup, config.seed, workdir) if setup.sample else None,
                judge=judge,
                trace=self.trace,
            )
        described = {"experiment": experiment.name, "config": as_record(config), "load_seconds": loaded}
        print(f"loading data and building the networks took {loaded:.2f} s; then a run of {config.steps} steps:")
        print("\n".join(profile.table(found)))
        if self.out:
            write_atomically(self.out, json.dumps(described | found, indent=2) + "\n")
            print(self.out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfRun:
    """What every command about a trained generator can be told."""

    workdir: Path
    """The run directory; its checkpoints are only read."""
    data: str | None = None
    """Where the data of the run lie now, if they have moved."""
    data_dir: str | None = None
    """Where TFDS keeps them now."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture(OfRun):
    """What every command that draws from a trained generator can be told."""

    out: Path
    """The picture to write, .png."""
    count: int = 64
    """How many samples."""
    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    seed: int = 0
    """Seed of the latents."""
    classes: tuple[int, ...] = ()
    """The classes to ask a conditional generator for, in turn; by default all that have training examples."""

    def __post_init__(self):
        require(self, "count", self.count >= 1, "at least 1")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        require(self, "out", self.out.suffix == ".png", "a name that ends in .png")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Picture):
    """Draw from a trained generator and write a picture."""

    truncation: float | None = None
    """Redraw entries of z beyond this threshold (BigGAN): truer samples, less diverse ones."""
    standing: int = 0
    """Passes of 64 samples that BatchNorm's statistics are taken from anew, as BigGAN does; 0 takes those that were
    averaged in training."""

    def __post_init__(self):
        super().__post_init__()
        _check_drawing(self)

    def run(self, experiment: Experiment) -> None:
        setup, _ = _setup_of(experiment, self, needs="points")  # for they are drawn over the data
        from ganjax import gallery
        from ganjax.training import Keys, draw, drawn_labels, load_state

        setup = _truncated(setup, self.truncation)
        labels = drawn_labels(setup, self.count, self.classes)
        state, key = load_state(setup, self.workdir), Keys.of(self.seed).samples
        x = draw(setup, state, key, self.count, labels, weights=self.weights, standing=self.standing)
        gallery.picture(setup, x, self.out)
        print(self.out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(OfRun):
    """Score a trained generator: a table with what real data score, and a receipt in scores/ of the run directory."""

    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    which: Literal["last", "best"] = "last"
    """The newest checkpoint, or the best one by the judge of a run with --judge-every; the receipt says which."""
    metrics: tuple[str, ...] = ()
    """Some of frechet, kernel, classifier_score, agreement, precision_recall, density_coverage, modes,
    sliced_wasserstein, duplicates, memorisation; by default, all that fit the data and the extractor."""
    count: int = 10_000
    """How many samples; scores of different counts cannot be compared."""
    reference_count: int | None = None
    """How many training examples they are compared with; by default as many, at most all."""
    extractor: Literal["classifier", "pixels", "fid", "efficientnet_lite0"] | None = None
    """What looks at images: a classifier trained on the data themselves (default for images), the pixels or coordinates
    (default for points), the Inception network of published distances, or a smaller network of ImageNet."""
    extractor_file: Path | None = None
    """The weights of fid or efficientnet_lite0, as scripts/convert_weights.py wrote them."""
    seed: int = 0
    """Seed of the latents."""
    truncation: float | None = None
    """Redraw entries of z beyond this threshold (BigGAN): truer samples, less diverse ones."""
    standing: int = 0
    """Passes of 64 samples that BatchNorm's statistics are taken from anew, as BigGAN does; 0 takes those that were
    averaged in training."""
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self):
        for name in ("count", "reference_count"):
            require(self, name, getattr(self, name) is None or getattr(self, name) >= 1, "at least 1")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        _check_drawing(self)

    def run(self, experiment: Experiment) -> None:
        setup, found = _setup_of(experiment, self)
        from ganjax import evaluation, gallery
        from ganjax.training import load_state

        setup = _truncated(setup, self.truncation)
        state = load_state(setup, self.workdir, best=self.which == "best")
        extractor = evaluation.chosen_extractor(
            self.extractor, setup.dataset, self.extractor_file, progress=not self.quiet
        )
        protocol = {name: getattr(self, name) for name in ("weights", "count", "reference_count", "seed", "standing")}
        scores = evaluation.evaluate(setup, state, extractor, metrics=self.metrics, **protocol)
        receipt = evaluation.receipt_of(setup, state, extractor, found["config"], **protocol)
        step, weights = int(state.step), receipt.weights
        path = evaluation.keep(self.workdir, evaluation.Record(step, weights, self.which, scores, receipt))
        print(
            f"step {step} ({self.which}), {weights} weights: {self.count} samples against {receipt.reference_count} "
            f"training examples, as {extractor.name} sees them"
        )
        print("\n".join([*evaluation.table(scores), str(path)]))
        gallery.warn(self.workdir)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export(OfRun):
    """Write a trained generator as a folder that lives without the run: weights, program, config and receipt."""

    out: Path
    """The folder to make; it is written whole or not at all."""
    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    which: Literal["last", "best"] = "last"
    """The newest checkpoint, or the best one by the judge of a run with --judge-every."""

    def run(self, experiment: Experiment) -> None:
        setup, found = _setup_of(experiment, self, needs="nothing")
        from ganjax import export
        from ganjax.training import load_state

        state = load_state(setup, self.workdir, best=self.which == "best")
        receipt = export.export(
            setup, state, found, self.out, weights=self.weights, which=self.which, workdir=self.workdir
        )
        print(
            f"step {receipt['step']} ({self.which}), {receipt['weights']} weights; it draws the run's samples "
            f"to {receipt['largest_difference']:.1e}"
        )
        print(self.out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare:
    """Put scores side by side, if they were taken by the same protocol."""

    scores: tuple[Path, ...]
    """Files that evaluate wrote, at least two."""
    across_weights: bool = False
    """Compare raw and averaged weights."""

    def run(self, experiment: Experiment) -> None:
        from ganjax.evaluation import compare

        comparison = compare(self.scores, across_weights=self.across_weights)
        for warning in comparison.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print("\n".join(comparison.lines))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Write the page of a run: its pictures, curves, scores and alarms in one file."""

    workdir: Path
    """The run directory."""

    def run(self, experiment: Experiment) -> None:
        _config_of(experiment, self.workdir)
        from ganjax.report.page import write_page

        print(write_page(self.workdir, defaults=as_record(experiment.config)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latent(Picture):
    """Look into the latent space of a trained generator: write a picture, print its numbers."""

    what: Literal["interpolation", "arithmetic", "truncation", "projection"]
    """interpolation: paths between two latents, a straight one above one along the sphere, which keeps the length of z.
    arithmetic: class a - class b + class c, on the mean latents of the samples that a classifier sees in each class.
    truncation: latents redrawn beyond a threshold, with their diversity and their distance to the training images.
    projection: held-out images above the nearest ones that the generator makes, and training images as a control."""
    count: int = 8
    """How many: pairs of latents, sums, samples of each threshold, or images to project."""

    def run(self, experiment: Experiment) -> None:
        setup, _ = _setup_of(experiment, self)
        from ganjax.explore import explore
        from ganjax.training import load_state

        state = load_state(setup, self.workdir)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        how: dict[str, Any] = {name: getattr(self, name) for name in ("count", "weights", "seed", "classes")}
        print("\n".join(explore(self.what, setup, state, self.out, **how)))


def _check_drawing(command: Any) -> None:
    require(command, "truncation", command.truncation is None or command.truncation > 0, "a positive number")
    require(command, "standing", 0 <= command.standing <= 10_000, "0 to 10000")


def _truncated(setup: Any, threshold: float | None) -> Any:
    """The setup with a truncated prior."""
    if threshold is None:
        return setup
    if not hasattr(setup.sample, "truncated"):
        raise ConfigError("this experiment's sampler has no prior to truncate; leave --truncation out")
    return setup._replace(sample=setup.sample.truncated(threshold))


def _config_of(experiment: Experiment, workdir: Path) -> tuple[Any, dict[str, Any]]:
    """The config of a run of this experiment, and all that its directory says of it."""
    found = read_run(workdir)
    if found is None:
        raise ConfigError(f"{workdir} holds no run; train one first with the command train")
    check_continues(workdir, found, {**found, "experiment": experiment.name})
    return from_record(experiment.config, found["config"]), found


def _prepare_jax(*, start: bool = True) -> None:
    """Set what must be set before the backend starts (memory, cache, the CPU's convolution flag), and start it."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax and TFDS warn of what is meant, log what they raise
    keep_freed_memory()
    import jax

    if jax.__version_info__[:2] == (0, 10) and "ynn_fusion_type" not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {CPU_FLAG}".strip()
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        with contextlib.suppress(ConfigError):  # a user without a home directory compiles anew every time
            jax.config.update("jax_compilation_cache_dir", str(cache_folder("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if start:
        _find_devices()


def _find_devices() -> None:
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


def _setup(experiment: Experiment, config: TrainConfig):
    """What the experiment trains."""
    from ganjax.data import load
    from ganjax.training import parallel

    return _build(experiment, config, load(config.data, config.data_dir), parallel.axis_name())


def _build(experiment: Experiment, config: TrainConfig, dataset: Any, axis_name: str | None):
    setup = experiment.build(config, dataset, axis_name)
    if setup.sample is not None and "generator" not in setup.game.players:
        raise ConfigError(
            f"the experiment {experiment.name} draws samples, so one of its players must be called 'generator', got "
            f"{sorted(setup.game.players)}; rename it, or leave Setup.sample out"
        )
    return setup


def _setup_of(experiment: Experiment, command: "OfRun", *, needs: Literal["data", "points", "nothing"] = "data"):
    """What a run trained, and all that its directory says of it.

    Args:
        experiment: of the run.
        command: where the run is, and its data if they have moved.
        needs: the data; the data if they are points; or nothing of them but what the run has kept.

    Raises:
        DataError: the data are needed, and are not there or not those of the run.
    """
    config, found = _config_of(experiment, command.workdir)
    moved = {name: value for name in WHERE if (value := getattr(command, name)) is not None}
    _prepare_jax()
    from ganjax.data import load, stand_in

    if needs != "data" and not moved and found.get("data"):
        dataset = stand_in(found["data"], found["data_digest"])
        if needs == "nothing" or len(dataset.shape) == 3:
            return _build(experiment, config, dataset, None), found
    config = dataclasses.replace(config, **moved)
    try:
        dataset = load(config.data, config.data_dir)
    except DataError as error:
        raise DataError(f"{error}; the data of the run may lie elsewhere now: say where by --data") from error
    if dataset.digest != found["data_digest"]:
        raise DataError(
            f"{dataset.name} holds other data than the run {command.workdir} was trained on (digest "
            f"{dataset.digest[:12]}, expected {found['data_digest'][:12]}); say by --data where those are"
        )
    return _build(experiment, config, dataset, None), found


def _describe(experiment: Experiment, config: Any, dataset: Any = None) -> dict[str, Any]:
    """What `config.json` says of a run, and of the data that it trains on."""
    said = {"experiment": experiment.name, "ganjax": __version__, "config": as_record(config), "data_digest": ""}
    if dataset is None:
        return said
    from ganjax.data import outline

    return said | {"data_digest": dataset.digest, "data": outline(dataset)}
