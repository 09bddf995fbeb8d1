"""Reads metrics.jsonl and files like it, also while they are being written or after they were cut off."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganjax.errors import DataError


class Records(NamedTuple):
    """The lines of a file with one JSON object per line."""

    rows: list[dict[str, Any]]  # in the order of the file
    damaged: int  # lines of which something could not be read


def read_records(file: Path) -> Records:
    """What is whole in a file with one JSON object per line; a line that a kill cut short is counted, not raised."""
    lines = file.read_bytes().decode("utf-8", errors="replace").split("\n")
    parsed = [_parse(line) for line in lines if line.strip()]
    return Records([row for row, _ in parsed if row], sum(not whole for _, whole in parsed))


def read_metrics(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read metrics.jsonl, one JSON object per line, into aligned arrays ordered by step.

    A line that a kill cut short is left out, wherever it is: a continued run appends after it. Where a run
    went back and wrote a step again, the last value written counts. Rows of one step are merged.

    Args:
      path: the file, or the run directory that holds it.

    Returns:
      "step": int64 [T], increasing; every other name: float64 [T], NaN where a step has no value or null.
      Values that are not numbers are left out.

    Raises:
      DataError: there is no file, or no line of it could be read.
    """
    file = Path(path)
    file = file / "metrics.jsonl" if file.is_dir() else file
    if not file.is_file():
        raise DataError(f"No metrics at {file}; let the run reach its first logging step.")
    columns = to_columns(read_records(file).rows)
    if not len(columns["step"]):
        raise DataError(f"{file} has no complete line with a step; let the run reach its first logging step.")
    return columns


def to_columns(rows: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Rows as the aligned arrays that `read_metrics` returns; later rows of a step over earlier ones."""
    by_step = _by_step(rows)
    steps = sorted(by_step)
    names = dict.fromkeys(name for step in steps for name in by_step[step])
    columns = {name: np.array([by_step[step].get(name, np.nan) for step in steps]) for name in names}
    return {"step": np.array(steps, np.int64), **columns}


def numbers(row: dict[str, Any]) -> dict[str, float]:
    """What is a number in a row, its step aside; null is NaN.

    >>> numbers({"step": 1, "a": 2, "b": None, "note": "x"})
    {'a': 2.0, 'b': nan}
    """
    values = {name: np.nan if value is None else value for name, value in row.items() if name != "step"}
    return {name: float(value) for name, value in values.items() if is_number(value)}


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that a float can hold."""
    return not isinstance(value, bool) and (isinstance(value, float) or is_step(value))


def is_step(value: Any) -> bool:
    """Whether a JSON value is an integer of at most 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _by_step(rows: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    by_step: dict[int, dict[str, float]] = {}
    for row in rows:
        if is_step(row.get("step")):
            by_step.setdefault(row["step"], {}).update(numbers(row))
    return by_step


def _parse(line: str) -> tuple[dict[str, Any], bool]:
    """The line's object, empty for a line that was cut off, and whether it is all of the line.

    A run that continues may append its first row to the torn line: the last object in the line is then whole.
    """
    for text in (line, line[line.rfind('{"') :]):
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            continue
        return (row, text is line) if isinstance(row, dict) else ({}, False)
    return {}, False
