"""What a reader of a run should be warned of: the alarms that it raised, and what its files alone show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ganjax.report.history import is_number, numbers
from ganjax.report.run import Run


class Finding(NamedTuple):
    """One warning."""

    name: str
    sentence: str
    numbers: Mapping[str, Any]  # what it rests on


def findings(run: Run) -> list[Finding]:
    """The warnings about a run: its alarms, then whether it is whole, finite and judged; of stages, those of each."""
    damage = [Finding("file", sentence, {}) for sentence in run.damage]
    if run.stages:
        last = [name for name, own in run.stages.items() if own][-1:]
        return [one for name, own in run.stages.items() for one in _of_stage(name, own, [name] == last)] + damage
    return [*_alarms(run), *_steps(run), *_values(run), *_judgement(run), *damage]


def _of_stage(name: str, run: Run | None, last: bool) -> list[Finding]:
    """Its warnings, by its name; only the last that has begun should have been judged."""
    if run is None:
        return [Finding(f"{name}: unfinished", "The stage has not begun; the same command continues the run.", {})]
    found = [one for one in findings(run) if last or one.name != "no score"]
    return [one._replace(name=f"{name}: {one.name}") for one in found]


def _alarms(run: Run) -> Iterator[Finding]:
    """One warning per alarm, however often it rang: the last one, and when."""
    rung: dict[str, list[dict[str, Any]]] = {}
    for row in run.alarms.rows:
        if "alarm" in row:
            rung.setdefault(str(row["alarm"]), []).append(row)
    for name, rows in rung.items():
        first, last = rows[0].get("step"), rows[-1].get("step")
        when = {"step": last} if len(rows) == 1 else {"times": len(rows), "first step": first, "last step": last}
        measured = rows[-1].get("numbers")
        yield Finding(name, str(rows[-1].get("sentence", "")), when | (measured if isinstance(measured, dict) else {}))


def _steps(run: Run) -> Iterator[Finding]:
    """Whether the run reached its end, and kept every step on the way."""
    if not run.trains:
        return
    wanted = run.wanted
    if wanted is not None and run.step < wanted:
        yield Finding(
            "unfinished",
            "The run has not reached its last step; the same command continues it.",
            {"step": run.step, "of": wanted},
        )
    if not run.metrics.rows:
        yield Finding("no metrics", "There is no metrics.jsonl with a whole line.", {})
    rejected = [row.get("step") for row in run.metrics.rows if is_number(row.get("finite")) and row["finite"] < 1]
    if rejected:
        yield Finding(
            "skipped steps",
            "Steps gave values that are not finite and were rejected whole; only logged steps are counted here.",
            {"rejected": len(rejected), "of logged": len(run.metrics.rows), "first at step": rejected[0]},
        )


def _values(run: Run) -> Iterator[Finding]:
    """Metrics that were not finite."""
    for file, records in (("metrics.jsonl", run.metrics), ("judge.jsonl", run.judge)):
        bad = Counter(name for row in records.rows for name, value in numbers(row).items() if not math.isfinite(value))
        if bad:
            yield Finding("not finite", f"{file} has values that are not finite, by metric:", bad)


def _judgement(run: Run) -> Iterator[Finding]:
    """Whether samples were judged, on what, and when."""
    if not run.scores:
        if run.trains:
            yield Finding("no score", "No samples were judged: there is no readable file in scores/.", {})
        return
    newest = run.scores[0]["step"]
    if newest < run.step:
        yield Finding("old score", "The run went on after its newest score.", {"score": newest, "run": run.step})
    judged = [one for score in run.scores for one in score["metrics"].values()]
    if not any(is_number(one.get("held_out")) for one in judged):
        yield Finding(
            "no held-out data",
            "No metric has a held-out figure: whether the samples are copies of training images is not measured.",
            {},
        )
    bad = [name for score in run.scores for name, one in score["metrics"].items() if not _finite(one["value"])]
    if bad:
        yield Finding("not finite", "Scores have values that are not finite, by metric:", Counter(bad))
    own, other = run.record["data_digest"], [score["receipt"].get("data_digest") for score in run.scores]
    known = {own, *(one.get("digest") for one in run.record.get("data", {}).values() if isinstance(one, Mapping))}
    differ = [digest for digest in other if own and digest and digest not in known]
    if differ:
        yield Finding(
            "other data",
            "Scores were computed on data with another digest than the run's.",
            {"run": own, "score": differ[0]},
        )


def _finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)
