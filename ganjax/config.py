"""Configuration: frozen dataclasses, read from the command line and from a run directory. Free of JAX."""

import contextlib
import dataclasses
import difflib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganjax.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What every training experiment can be told."""

    steps: int = 1000
    """Train until this step; a larger number continues a finished run."""
    seed: int = 0
    """Seed of the initialisation, the order of the data and all noise."""
    data: str = "fashion_mnist"
    """fashion_mnist, digits, ring, grid, swiss_roll, tfds:NAME, a path to an .npz file or a folder of images."""
    data_dir: str | None = None
    """Where TFDS keeps its prepared data sets; by default, where TFDS looks."""
    batch_size: int = 64
    """Examples that one turn of a player sees, over all devices."""
    log_every: int = 10
    """Steps between two records in metrics.jsonl."""
    sample_every: int = 500
    """Steps between two sample grids."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    chunk: int = 50
    """Steps per compiled call."""

    def __post_init__(self):
        for name in ("steps", "batch_size", "log_every", "sample_every", "checkpoint_every", "chunk"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{_option(name)} is {getattr(self, name)}, expected at least 1")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed is {self.seed}, expected 0 to 4294967295")


# What may differ when a run is continued: it changes how long or what is written, not what is computed.
MAY_CHANGE = frozenset({"steps", "data_dir", "log_every", "sample_every", "checkpoint_every", "chunk"})


def parse(commands: Mapping[str, type], args: Sequence[str], *, prog: str, description: str) -> Any:
    """Read a command line into one of the dataclasses of `commands`.

    `--help` prints and exits with 0.

    Raises:
        ConfigError: one sentence about an unknown command or option, or a value of the wrong type.
    """
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), _wide_terminal("--help" not in args and "-h" not in args):
            return tyro.extras.subcommand_cli_from_dict(
                dict(commands),
                args=list(args),
                prog=prog,
                description=description,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as end:
        if not end.code:
            raise
    raise ConfigError(_one_sentence(said.getvalue(), args, commands) + f"; see {prog} --help")


@contextlib.contextmanager
def _wide_terminal(wide: bool):
    """Keep tyro from wrapping its message, which is to become one line."""
    before = os.environ.get("COLUMNS")
    if wide:
        os.environ["COLUMNS"] = "1000"
    try:
        yield
    finally:
        if wide and before is None:
            os.environ.pop("COLUMNS", None)
        elif wide and before is not None:
            os.environ["COLUMNS"] = before


def _one_sentence(box: str, args: Sequence[str], commands: Mapping[str, type]) -> str:
    """The first paragraph of tyro's error box, with the nearest known word."""
    lines = [re.sub(r"[│╭╮╰╯]", "", line).strip() for line in box.splitlines()]
    body = [line for line in lines[1:] if line]
    first = next((i for i, line in enumerate(body) if set(line) <= {"─"}), len(body))
    sentence = " ".join(body[:first])
    known = {*commands, "--help"}
    for command in commands.values():
        known |= {_option(name) for name in _field_names(command)}
    for word in args:
        word = word.split("=")[0]
        if word in sentence.replace(",", " ").split() and word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            return sentence + (f"; did you mean {near[0]}?" if near else "")
    return sentence


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _field_names(cls: Any) -> list[str]:
    """Names of a dataclass's fields, those of nested dataclasses included."""
    names = []
    for field in dataclasses.fields(cls):
        nested = dataclasses.is_dataclass(field.default) and field.default is not None
        names += _field_names(field.default) if nested else [field.name]
    return names


def as_record(config: Any) -> dict[str, Any]:
    """A config as JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_record(like: Any, record: Mapping[str, Any]) -> Any:
    """The config of the class of `like` that `as_record` made `record` from."""
    names = {field.name for field in dataclasses.fields(like)}
    unknown = set(record) - names
    if unknown:
        raise ConfigError(f"config.json has the unknown fields {sorted(unknown)}; it was written by another version")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    return dataclasses.replace(like, **values)


def read_run(workdir: Path) -> dict[str, Any] | None:
    """What `write_run` left in a run directory, or None in a directory without a run."""
    path = workdir / "config.json"
    if not path.exists():
        return None
    try:
        run = json.loads(path.read_text())
        return {
            "experiment": str(run["experiment"]),
            "config": dict(run["config"]),
            "data_digest": run["data_digest"],
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); it is not a ganjax run, choose another --workdir"
        ) from None


def write_run(workdir: Path, run: Mapping[str, Any]) -> None:
    """Write `config.json`, whole or not at all."""
    workdir.mkdir(parents=True, exist_ok=True)
    temporary = workdir / "config.json.tmp"
    temporary.write_text(json.dumps(run, indent=2) + "\n")
    os.replace(temporary, workdir / "config.json")


def check_continues(workdir: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise `ConfigError` unless `new` continues the run `old` of the same directory."""
    if old["experiment"] != new["experiment"]:
        raise ConfigError(
            f"{workdir} holds a run of the experiment {old['experiment']!r}, not {new['experiment']!r}; "
            "choose another --workdir"
        )
    before, after = dict(old["config"]), dict(new["config"])
    changes = [
        f"{_option(name)} {before.get(name)!r} -> {after.get(name)!r}"
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
