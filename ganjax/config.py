"""Configuration: frozen dataclasses, read from the command line and from a run directory. Free of JAX.

What there is to be told is in `ganjax.options` and in the experiments.
"""

import contextlib
import dataclasses
import io
import json
import math
import os
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ganjax.errors import ConfigError, did_you_mean

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,80}")


def option(name: str) -> str:
    """How a field is spelled on the command line."""
    return "--" + name.replace("_", "-")


def require(config: Any, name: str, holds: bool, expected: str) -> None:
    """Raise `ConfigError` about a field of a config unless the condition holds."""
    if not holds:
        raise ConfigError(f"{option(name)} is {str(getattr(config, name))[:200]}, expected {expected}")


def check_numbers(config: Any) -> None:
    """Raise `ConfigError` about a number, of a config or one inside it, that no experiment can compute with."""
    for name in (field.name for field in dataclasses.fields(config)):
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            check_numbers(value)
        for number in value if isinstance(value, tuple) else (value,):
            require(config, name, not isinstance(number, float) or math.isfinite(number), "a finite number")
            if isinstance(number, int) and name == "seed":
                require(config, name, 0 <= number < 2**32, "0 to 4294967295")
            elif isinstance(number, int):
                require(config, name, abs(number) < 2**31, "at most 2147483647, what JAX counts with")


def check_effects(command: Any) -> None:
    """Raise `ConfigError` about an option of a command's config that is not as it is by default and has no effect.

    Which have none beside the others, and why, the config says by `unused()`, as `ganjax.options.Options` does.
    """
    config = getattr(command, "config", None)
    defaults = getattr(type(command), "config", config)
    for name, why in getattr(config, "unused", dict)().items():
        usual = getattr(defaults, name)
        require(config, name, getattr(config, name) == usual, f"{usual}, its default, for it has no effect: {why}")


def check_name(kind: str, name: str) -> None:
    """Raise `ConfigError` about what becomes part of a file's name, unless it can.

    >>> check_name("average", "../ema")
    Traceback (most recent call last):
    ganjax.errors.ConfigError: the average is called '../ema', expected 1 to 80 letters, digits, . _ - and no dot first
    """
    if not _NAME.fullmatch(name):
        expected = "expected 1 to 80 letters, digits, . _ - and no dot first"
        raise ConfigError(f"the {kind} is called {name[:90]!r}, {expected}")


def parse(commands: Mapping[str, type], args: Sequence[str], *, prog: str, description: str) -> Any:
    """Read a command line into one of the dataclasses of `commands`.

    `--help` prints and exits with 0.

    Raises:
        ConfigError: one sentence about an unknown command or option, a value of the wrong type or out of range, or one
            that has no effect.
    """
    import tyro

    if args and args[0] in commands:  # the others' parsers would take half of the time
        commands = {args[0]: commands[args[0]]}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), _wide_terminal("--help" not in args and "-h" not in args):
            config = tyro.extras.subcommand_cli_from_dict(
                dict(commands),
                args=list(args),
                prog=prog,
                description=description,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise ConfigError(_one_sentence(said.getvalue(), args, commands) + f"; see {prog} --help") from None
    check_numbers(config)
    check_effects(config)
    return _at_home(config)


def _at_home(config: Any) -> Any:
    """The config with ~ in its paths as the home directory: no shell replaces it in --workdir=~/runs."""
    changes = {}
    for field in dataclasses.fields(config):
        try:
            changes[field.name] = _expanded(getattr(config, field.name))
        except RuntimeError:
            require(config, field.name, False, "the home of a user who exists")
    return dataclasses.replace(config, **changes)


def _expanded(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_expanded, value))
    return value.expanduser() if isinstance(value, Path) else value


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
    sentence = " ".join(body[:first])[:2000]
    known = {*commands, "--help"}
    for command in commands.values():
        known |= {option(name) for name in _field_names(command)}
    said = sentence.replace(",", " ").split()
    for word in args:
        name = word.split("=")[0]
        if word in said and name not in known:
            return sentence + did_you_mean(name, known)
    return sentence


def _field_names(cls: Any) -> list[str]:
    """Names of a dataclass's fields, those of nested dataclasses included."""
    names = []
    for field in dataclasses.fields(cls):
        names += _field_names(field.default) if dataclasses.is_dataclass(field.default) else [field.name]
    return names


def as_record(config: Any) -> dict[str, Any]:
    """A config as JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_record(like: Any, record: Mapping[str, Any]) -> Any:
    """The config of the class of `like` that `as_record` made `record` from; what it lacks is as in `like`.

    Raises:
        ConfigError: a field is unknown, of another type, or out of its range; says which.
    """
    names = {field.name for field in dataclasses.fields(like)}
    unknown = set(record) - names
    if unknown:
        raise ConfigError(f"config.json has the unknown fields {sorted(unknown)}; it was written by another version")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    hints = get_type_hints(type(like))
    for name, value in values.items():
        if not _fits(value, hints[name]):
            kind = hints[name].__name__ if isinstance(hints[name], type) else hints[name]
            raise ConfigError(f"config.json: {option(name)} is {str(value)[:200]!r}, expected {kind}")
    try:
        config = dataclasses.replace(like, **values)
        check_numbers(config)
    except ConfigError as error:
        raise ConfigError(f"config.json: {error}") from None
    return config


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what a field is declared as: a scalar, one of some words, or a tuple of these."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in parts
    if kind in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        wanted = parts[:1] * len(value) if parts[-1] is ... else parts
        return len(value) == len(wanted) and all(map(_fits, value, wanted))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint or hint not in (int, bool, str, types.NoneType)
