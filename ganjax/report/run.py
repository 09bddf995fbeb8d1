"""All that the files of a run directory say, whatever state they are in."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ganjax.errors import ConfigError, reason
from ganjax.report.history import Records, is_number, is_step, read_records
from ganjax.rundir import read_run

EMPTY: Mapping[str, Any] = {"experiment": "unknown experiment", "config": {}, "data_digest": ""}


FIGURES = {"panel.png", "made.png", "neighbours.png"}  # of a run that trains; and its curves.png


class Run(NamedTuple):
    """What was found; of what is missing, the empty value."""

    workdir: Path
    record: Mapping[str, Any]  # config.json: experiment, ganjax, config, data_digest
    metrics: Records
    judge: Records
    alarms: Records
    scores: list[dict[str, Any]]  # newest first; each with step, metrics and receipt
    checkpoint: Mapping[str, Any]  # step, versions and devices of the newest checkpoint
    samples: dict[int, Path]  # pictures by step, in order
    pictures: list[Path]  # what else was left there, by the experiment and its own commands
    damage: list[str]  # a sentence for each file that could not be read, or not in full
    stages: Mapping[str, Run | None]  # of a run of several, in their order; None for one that has not begun

    @property
    def trains(self) -> bool:
        """Whether it is a run that trains, as opposed to one that computes."""
        return bool(self.record["data_digest"] or self.metrics.rows)

    @property
    def step(self) -> int:
        """The last step that any file tells of."""
        steps = [row["step"] for row in self.metrics.rows if is_step(row.get("step"))]
        return max([0, self.checkpoint.get("step", 0), *steps, *self.samples])

    @property
    def wanted(self) -> int | None:
        """The step at which it ends; None of a stage that does not say it, as some may be shorter than others."""
        steps = self.record.get("steps") if "stage" in self.record else self.record["config"].get("steps")
        return steps if is_step(steps) else None

    @property
    def seconds(self) -> float:
        """How long it trained; the clock of metrics.jsonl starts anew with each process that continued the run."""
        times = [row["time"] for row in self.metrics.rows if is_number(row.get("time")) and math.isfinite(row["time"])]
        return sum(before for before, after in pairwise([*times, 0.0]) if after < before)


def read(workdir: str | os.PathLike[str]) -> Run:
    """Read a run directory, and those of the stages in it.

    Raises:
      ConfigError: it has no config.json.
    """
    run = _read(Path(workdir))
    folders = {name: run.workdir / name for name in _stages(run.record)}
    begun = {name: (path / "config.json").is_file() for name, path in folders.items()}
    return run._replace(stages={name: _read(path) if begun[name] else None for name, path in folders.items()})


def _stages(record: Mapping[str, Any]) -> list[str]:
    """The names of the stages of a run; none of what is itself a stage."""
    names = record.get("stages")
    return [str(name) for name in names] if isinstance(names, list) and "stage" not in record else []


def _read(workdir: Path) -> Run:
    damage: list[str] = []
    if not (workdir / "config.json").is_file():
        raise ConfigError(f"{workdir} holds no run: it has no config.json; give the --workdir of a run")
    try:
        record = read_run(workdir) or EMPTY
    except (ConfigError, OSError, RecursionError) as error:
        record = EMPTY
        damage.append(f"config.json cannot be read: {reason(error)}")
    metrics, judge, alarms = (_lines(workdir / f"{name}.jsonl", damage) for name in ("metrics", "judge", "alarms"))
    scores = [_score(path, damage) for path in sorted(_files(workdir / "scores", ".json"))]
    found = [score for score in scores if score]
    newest_first = sorted(found, key=lambda s: (s["step"], str(s["receipt"].get("created"))), reverse=True)
    samples = {int(path.stem): path for path in _files(workdir / "samples", ".png") if path.stem.isdecimal()}
    checkpoint = _checkpoint(workdir / "checkpoints", damage)
    own = set() if _stages(record) else FIGURES | ({"curves.png"} if metrics.rows else set())
    left = [path for kind in (".png", ".gif") for path in _files(workdir, kind) if path.name not in own]
    return Run(
        workdir=workdir,
        record=record,
        metrics=metrics,
        judge=judge,
        alarms=alarms,
        scores=newest_first,
        checkpoint=checkpoint,
        samples=dict(sorted(samples.items())),
        pictures=sorted(left),
        damage=damage,
        stages={},
    )


def _files(folder: Path, suffix: str) -> list[Path]:
    return [path for path in folder.glob(f"*{suffix}") if path.is_file()]


def _lines(path: Path, damage: list[str]) -> Records:
    if not path.is_file():
        return Records([], 0)
    try:
        records = read_records(path)
    except OSError as error:
        damage.append(f"{path.name} cannot be read: {reason(error)}")
        return Records([], 0)
    if records.damaged:
        damage.append(f"{path.name}: {records.damaged} of its lines could not be read, or not in full.")
    return records


def _score(path: Path, damage: list[str]) -> dict[str, Any]:
    """A file of scores/, of its metrics those that have a value; empty if it's something else."""
    score = _json(path, damage)
    metrics, receipt = score.get("metrics"), score.get("receipt")
    if not (is_step(score.get("step")) and isinstance(metrics, dict)):
        if score:
            damage.append(f"scores/{path.name} has no step or no metrics.")
        return {}
    measured = {name: one for name, one in metrics.items() if isinstance(one, dict) and "value" in one}
    return {**score, "metrics": measured, "receipt": receipt if isinstance(receipt, dict) else {}}


def _checkpoint(folder: Path, damage: list[str]) -> dict[str, Any]:
    """What the newest checkpoint says of itself."""
    steps = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    path = folder / str(max(steps, default=0)) / "meta" / "metadata"
    meta = _json(path, damage) if path.is_file() else {}
    return meta if is_step(meta.get("step")) else {}


def _json(path: Path, damage: list[str]) -> dict[str, Any]:
    """The object in a file; empty if there is none."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        damage.append(f"{path.parent.name}/{path.name} cannot be read: {reason(error)}")
        return {}
