"""What says whose a run directory is: `config.json`. Free of JAX."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganjax.config import option
from ganjax.errors import ConfigError, DataError, InUseError
from ganjax.files import write_atomically

LOCK = "lock"  # held, with the holder's process id in it, while a process writes the directory
JUDGED = "judge.jsonl"  # what the light judge said
ALARMS = "alarms.jsonl"  # what is wrong, as ganjax.report.alarms reads it from what is logged
# What may differ when a run is continued: how long, where the data lie (their digest is compared) and what is written.
DATA = ("data", "target")  # options that name a data set
WHERE = (*DATA, "data_dir")
MAY_CHANGE = frozenset(
    {"steps", *WHERE, "log_every", "sample_every", "checkpoint_every", "judge_every", "chunk"}
    | {"resident_megabytes", "workers"}
)


@contextlib.contextmanager
def claimed(
    workdir: Path, run: Mapping[str, Any], *, finished: bool = False, allow_change: bool = False
) -> Iterator[None]:
    """Make a directory that of a run, or make sure that it is, and keep other writers out meanwhile.

    One that was made here goes again if options or data turn out to be bad before anything is written into it.

    Args:
        workdir: the run directory.
        run: experiment, version, config and digest of the data.
        finished: write nothing that stays but where the data lie now; the run is over.
        allow_change: continue a run of another config, and record what was changed.

    Raises:
        ConfigError: it holds something else.
        InUseError: another process has claimed it.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir {workdir} is a file, expected a directory")
    if read_run(workdir) is None and workdir.exists() and any(path.name != LOCK for path in workdir.iterdir()):
        raise ConfigError(f"{workdir} is not empty and holds no ganjax run; choose another --workdir")
    made = not workdir.exists()
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(workdir):
            found = read_run(workdir)
            run = _continued(workdir, found, run, allow_change) if found else run
            if finished and found:
                places = {name: run["config"][name] for name in WHERE if name in run["config"]}
                run = {**found, "config": {**found["config"], **places}}
            if found != run:
                write_run(workdir, run)
            yield
    except (ConfigError, DataError):
        if made and {path.name for path in workdir.iterdir()} <= {"config.json"}:
            shutil.rmtree(workdir)
        raise


def check_free(workdir: Path) -> None:
    """Raise `InUseError` if another process has claimed the directory."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), open(workdir / LOCK) as file:
        _lock(workdir, file, fcntl.LOCK_SH)


@contextlib.contextmanager
def _locked(workdir: Path) -> Iterator[None]:
    """Hold the lock file, which the system frees when the process dies, however it does."""
    path = workdir / LOCK
    while True:
        file = open(path, "a+")  # noqa: SIM115  closed below
        try:
            _lock(workdir, file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        except InUseError:
            file.close()
            raise
        file.close()  # the holder before removed it between the two lines: it is not the lock any more
    with file:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _lock(workdir: Path, file: Any, how: int) -> None:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "that has just started"
        raise InUseError(
            f"{workdir} is in use by process {holder}; wait for its end, stop it, or choose another --workdir"
        ) from None


def read_run(workdir: Path) -> dict[str, Any] | None:
    """What `write_run` left in a run directory, or None in a directory without a run."""
    path = workdir / "config.json"
    if not path.exists():
        return None
    if not path.is_file():
        raise ConfigError(f"{path} is no file; choose another --workdir")
    try:
        run = json.loads(path.read_text())
        if "data" in run and "shape" in run["data"]:  # as runs of a single data set wrote it once
            run["data"] = {"data": {**run["data"], "digest": run["data_digest"]}}
        return {
            **run,
            "experiment": str(run["experiment"]),
            "config": dict(run["config"]),
            "data_digest": str(run["data_digest"]),
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); it is not a ganjax run, choose another --workdir"
        ) from None


def latest_step(workdir: Path, folder: str = "checkpoints") -> int | None:
    """The newest step that a run directory holds completely, or None."""
    place = workdir / folder
    steps = [int(path.name) for path in place.iterdir() if path.name.isdigit()] if place.is_dir() else []
    return max(steps, default=None)


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of a run's config as JSON with sorted keys, in hexadecimal.

    >>> config_digest({"b": 1, "a": [2]}) == config_digest({"a": [2], "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def write_run(workdir: Path, run: Mapping[str, Any]) -> None:
    """Write `config.json`, whole or not at all."""
    write_atomically(workdir / "config.json", json.dumps(run, indent=2) + "\n")


def check_continues(workdir: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise `ConfigError` unless `new` continues the run `old` of the same directory."""
    if old["experiment"] != new["experiment"]:
        raise ConfigError(
            f"{workdir} holds a run of the experiment {old['experiment']!r}, not {new['experiment']!r}; "
            "choose another --workdir"
        )
    if changes := _changes(old, new):
        raise ConfigError(
            f"{workdir} holds a run with another configuration ({'; '.join(changes)}); give the old values to "
            "continue it, or choose another --workdir; training can be changed with --allow-config-change"
        )


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What may not change and did: option, old and new value."""
    before, after = dict(old["config"]), dict(new["config"])
    changes = [
        f"{option(name)} {before.get(name)!r} -> {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if name not in MAY_CHANGE and before.get(name) != after.get(name)
    ]
    if not changes and old["data_digest"] != new["data_digest"]:
        changes = [f"the content of the data set, digest {old['data_digest'][:12]} -> {new['data_digest'][:12]}"]
    return changes


def _continued(workdir: Path, old: Mapping[str, Any], new: Mapping[str, Any], allow_change: bool) -> dict[str, Any]:
    """What `config.json` says of a run that goes on; changes that were allowed are listed under "changes"."""
    changes = _changes(old, new) if allow_change and old["experiment"] == new["experiment"] else []
    if not changes:
        check_continues(workdir, old, new)
    listed = [*old.get("changes", []), *changes]
    return {**new, "changes": listed} if listed else dict(new)
