"""Scores with the protocol that they were taken by; scores of two protocols are never put side by side. Free of JAX."""

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ganjax.config import check_name
from ganjax.errors import ConfigError
from ganjax.files import write_atomically

LABELS = "those of the reference"  # how `evaluate` asks for classes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one generator, never without what real data score."""

    value: float
    floor: float | None  # real examples against others: about what a perfect generator scores
    held_out: float | None  # held-out real examples, scored like a generator
    better: Literal["lower", "higher"]
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Receipt:
    """How scores were taken."""

    extractor: str
    extractor_digest: str
    count: int  # samples
    reference: str  # the split that samples are compared with
    reference_count: int
    resize: str  # what becomes of an image before the extractor
    weights: str  # raw, or the name of an average
    batch_norm: str  # how BatchNorm normalises in sampling
    seed: int  # of the latents
    ganjax: str  # versions
    jax: str
    config_digest: str
    data_digest: str
    device: str
    created: str  # UTC
    truncation: str = "inf"  # beyond which entries of z are redrawn
    labels: str = "in turn"  # how a generator that takes classes is asked; the default is that of records without it
    rows: str = "held-out data: the first"  # of a split, where not all are taken; the default is that of old records


class Record(NamedTuple):
    """A file of `<workdir>/scores`."""

    step: int
    weights: str
    which: Literal["last", "best"]
    metrics: Mapping[str, Score]
    receipt: Receipt


class Comparison(NamedTuple):
    """Like records side by side."""

    lines: list[str]
    warnings: list[str]  # what differs and may move the last digits


MUST_AGREE = (
    "extractor",
    "extractor_digest",
    "count",
    "reference",
    "reference_count",
    "rows",
    "resize",
    "weights",
    "batch_norm",
    "truncation",
    "labels",
    "data_digest",
)
OUGHT_TO_AGREE = ("device", "jax", "ganjax")


def score_path(workdir: Path, record: Record) -> Path:
    """The place of a record: `<step>-<weights>-<extractor>-<count>-seed<seed>-<digest>.json` in `<workdir>/scores`.

    The digest is of all that the receipt says but for the time, so that no record replaces one of another protocol.

    Raises:
        ConfigError: the weights or the extractor have a name that leads elsewhere.
    """
    receipt = record.receipt
    check_name("average", record.weights)
    check_name("extractor", receipt.extractor)
    protocol = {**dataclasses.asdict(receipt), "created": "", "step": record.step, "which": record.which}
    digest = hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{record.step:08d}-{record.weights}-{receipt.extractor}-{receipt.count}-seed{receipt.seed}-{digest}.json"
    return workdir / "scores" / name


def keep(workdir: Path, record: Record) -> Path:
    """Write a record of a run; metrics that were scored before by the same protocol stay beside its own.

    Returns:
        The file, as of `score_path`.

    Raises:
        ConfigError: as of `score_path`.
    """
    path = score_path(workdir, record)
    with contextlib.suppress(ConfigError):  # there is none yet, or none that can be read
        record = record._replace(metrics={**read(path).metrics, **record.metrics})
    write(path, record)
    return path


def write(path: Path, record: Record) -> None:
    """Write a record, whole or not at all; what is not finite becomes null."""
    metrics = {name: _finite(dataclasses.asdict(score)) for name, score in record.metrics.items()}
    content = {**record._asdict(), "metrics": metrics, "receipt": dataclasses.asdict(record.receipt)}
    write_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _finite(score: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in score.items()}


def read(path: Path) -> Record:
    """Read a record back.

    Raises:
        ConfigError: the file is missing, or not what `write` writes; says what is wrong.
    """
    try:
        said = json.loads(path.read_text())
        metrics = {name: _typed(Score, score, f"metrics.{name}") for name, score in said["metrics"].items()}
        record = Record(said["step"], said["weights"], said["which"], metrics, _typed(Receipt, said["receipt"], ""))
        if not isinstance(record.step, int) or record.which not in ("last", "best"):
            raise ValueError(f"step is {record.step!r} and which {record.which!r}")
        return record
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give files that the command evaluate wrote") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        wrong = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"{path} is not a record of scores ({wrong}); run the command evaluate again") from None


_CHECKS: dict[Any, Callable[[Any], bool]] = {
    int: lambda value: type(value) is int,
    str: lambda value: isinstance(value, str),
    Literal["lower", "higher"]: lambda value: value in ("lower", "higher"),
}


def _typed(cls: Any, found: Mapping[str, Any], where: str) -> Any:
    """An instance of the dataclass, each field of its type; one that was added later may be missing."""
    values = dict(found)
    for field in dataclasses.fields(cls):
        if field.name not in found and field.default is not dataclasses.MISSING:
            continue
        value, number = found[field.name], field.type in (float, float | None)
        fits = value is None or type(value) in (int, float) if number else _CHECKS[field.type](value)
        if not fits:
            raise ValueError(f"{where}.{field.name} is {value!r}".lstrip("."))
        if value is None and field.type is float:  # JSON has no other word for it
            values[field.name] = math.nan
    return cls(**values)


def compare(paths: Sequence[Path], *, across_weights: bool = False) -> Comparison:
    """A table of the metrics of several records.

    Args:
        paths: files of `<workdir>/scores`, at least two.
        across_weights: let raw and averaged weights stand side by side.

    Raises:
        ConfigError: a record cannot be read, or was taken by another protocol than the first; names every field that
            differs, with both values.
    """
    if len(paths) < 2:
        raise ConfigError(f"got {len(paths)} file of scores, expected at least two to compare")
    records = [read(path) for path in paths]
    must = [name for name in MUST_AGREE if not (across_weights and name == "weights")]
    for path, record in zip(paths[1:], records[1:], strict=True):
        if unlike := _differences(records[0], record, must):
            raise ConfigError(f"{paths[0]} and {path} cannot be compared, they differ in {'; '.join(unlike)}")
    warnings = [
        f"{paths[0]} and {path} differ in {'; '.join(unlike)}, which can move the last digits"
        for path, record in zip(paths[1:], records[1:], strict=True)
        if (unlike := _differences(records[0], record, OUGHT_TO_AGREE))
    ]
    return Comparison(_side_by_side(paths, records), warnings)


def _differences(a: Record, b: Record, names: Sequence[str]) -> list[str]:
    pairs = [(name, getattr(a.receipt, name), getattr(b.receipt, name)) for name in names]
    return [f"{name} {x!r} and {y!r}" for name, x, y in pairs if x != y]


def _side_by_side(paths: Sequence[Path], records: Sequence[Record]) -> list[str]:
    names = dict.fromkeys(name for record in records for name in record.metrics)
    heads = [f"[{i}]" for i in range(1, len(paths) + 1)]
    rows = [["metric", "better", *heads, "floor"]]
    for name in names:
        scores = [record.metrics.get(name) for record in records]
        first = next(score for score in scores if score)
        values = [number(score.value if score else None) for score in scores]
        rows.append([name, first.better, *values, number(first.floor)])
    legend = [
        f"{head} {path}: step {record.step} ({record.which}), {record.weights} weights, seed {record.receipt.seed}"
        for head, path, record in zip(heads, paths, records, strict=True)
    ]
    return [*legend, *columns(rows)]


def table(metrics: Mapping[str, Score]) -> list[str]:
    """The scores of one record as lines."""
    rows = [["metric", "better", "value", "floor", "held out", "note"]]
    for name, score in metrics.items():
        rows.append([name, score.better, *map(number, (score.value, score.floor, score.held_out)), score.note])
    return columns(rows)


def number(value: float | None) -> str:
    """Four digits; a dash for none.

    >>> [number(value) for value in (0.123456, 1234.6, None)]
    ['0.1235', '1235', '-']
    """
    return "-" if value is None else f"{value:.4g}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns of equal width.

    >>> columns([["a", "bc"], ["def", "g"]])
    ['a    bc', 'def  g']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
