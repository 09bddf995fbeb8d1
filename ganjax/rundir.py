"""What says whose a run directory is: `config.json`. Free of JAX."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganjax.config import option
from ganjax.errors import ConfigError

JUDGED = "judge.jsonl"  # what the light judge said
ALARMS = "alarms.jsonl"  # what is wrong, as ganjax.report.alarms reads it from what is logged
# What may differ when a run is continued: how long, where the data lie (their digest is compared) and what is written.
MAY_CHANGE = frozenset(
    {"steps", "data", "data_dir", "log_every", "sample_every", "checkpoint_every", "judge_every", "chunk"}
)


def claim(workdir: Path, run: Mapping[str, Any], *, finished: bool = False) -> None:
    """Make a directory that of a run, or make sure that it is.

    Args:
        workdir: the run directory.
        run: experiment, version, config and digest of the data.
        finished: write nothing; the run is over.

    Raises:
        ConfigError: it holds something else.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir {workdir} is a file, expected a directory")
    found = read_run(workdir)
    if found is not None:
        check_continues(workdir, found, run)
    elif workdir.exists() and any(workdir.iterdir()):
        raise ConfigError(f"{workdir} is not empty and holds no ganjax run; choose another --workdir")
    if not finished and found != run:
        write_run(workdir, run)


def read_run(workdir: Path) -> dict[str, Any] | None:
    """What `write_run` left in a run directory, or None in a directory without a run."""
    path = workdir / "config.json"
    if not path.exists():
        return None
    try:
        run = json.loads(path.read_text())
        return {
            **run,
            "experiment": str(run["experiment"]),
            "config": dict(run["config"]),
            "data_digest": run["data_digest"],
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); it is not a ganjax run, choose another --workdir"
        ) from None


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of a run's config as JSON with sorted keys, in hexadecimal.

    >>> config_digest({"b": 1, "a": [2]}) == config_digest({"a": [2], "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def write_run(workdir: Path, run: Mapping[str, Any]) -> None:
    """Write `config.json`, whole or not at all."""
    write_whole(workdir / "config.json", json.dumps(run, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def check_continues(workdir: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise `ConfigError` unless `new` continues the run `old` of the same directory."""
    if old["experiment"] != new["experiment"]:
        raise ConfigError(
            f"{workdir} holds a run of the experiment {old['experiment']!r}, not {new['experiment']!r}; "
            "choose another --workdir"
        )
    before, after = dict(old["config"]), dict(new["config"])
    changes = [
        f"{option(name)} {before.get(name)!r} -> {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if name not in MAY_CHANGE and before.get(name) != after.get(name)
    ]
    if not changes and old["data_digest"] != new["data_digest"]:
        changes = [f"the content of the data set, digest {old['data_digest'][:12]} -> {new['data_digest'][:12]}"]
    if changes:
        raise ConfigError(
            f"{workdir} holds a run with another configuration ({'; '.join(changes)}); "
            "give the old values to continue it, or choose another --workdir"
        )
