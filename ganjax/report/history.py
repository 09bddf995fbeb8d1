"""Reads a run's metrics.jsonl, also while it is being written or after it was cut off."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganjax.errors import DataError


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
    rows = _by_step(file.read_bytes().decode("utf-8", errors="replace").split("\n"))
    if not rows:
        raise DataError(f"{file} has no complete line with a step; let the run reach its first logging step.")
    steps = sorted(rows)
    names = dict.fromkeys(name for step in steps for name in rows[step])
    columns = {name: np.array([rows[step].get(name, np.nan) for step in steps]) for name in names}
    return {"step": np.array(steps, np.int64), **columns}


def _by_step(lines: list[str]) -> dict[int, dict[str, float]]:
    """The values of each step, later lines over earlier ones."""
    rows: dict[int, dict[str, float]] = {}
    for line in lines:
        row = _parse(line)
        if isinstance(row.get("step"), int):
            rows.setdefault(row["step"], {}).update(_numbers(row))
    return rows


def _parse(line: str) -> dict[str, Any]:
    """The line's object; empty for a line that was cut off.

    A run that continues may append its first row to the torn line: the last object in the line is then whole.
    """
    for text in (line, line[line.rfind('{"') :]):
        try:
            row = json.loads(text)
        except ValueError:
            continue
        return row if isinstance(row, dict) else {}
    return {}


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    values = {name: np.nan if value is None else value for name, value in row.items() if name != "step"}
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
