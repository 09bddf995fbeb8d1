"""Alarms: what goes wrong in adversarial training, with a named cause and the numbers behind it.

Each alarm reads what a run has logged so far and compares the last part of it with the run itself, so that no scale of
costs or gradients is assumed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganjax.errors import DataError
from ganjax.files import write_atomically
from ganjax.report.history import read_metrics
from ganjax.rundir import ALARMS, JUDGED

Series = tuple[NDArray[np.int64], NDArray[np.float64]]  # steps and finite values of one metric
WINDOW = 20  # records that the present is the median of
SURE = 0.05  # cost of a discriminator that is hardly ever wrong (log 4 = 1.39 where it cannot tell)
GAP = 8.0  # of the logits at which a sigmoid is within 3e-4 of 0 or 1 on either side
STARVED = 0.01  # of the gradient's median length
COPIES = 0.1  # share of samples as close to another as 1 % of real examples are
GROWTH = 10.0  # of a layer's norm since the first look
SWING = 0.5  # autocorrelation of a cost one period later
MEMORISED = 0.05, 3.0  # share of samples next to a training image, and how many times that of real images
LEAST = 64  # records below which no oscillation is looked for


class Alarm(NamedTuple):
    """Something is wrong with a run."""

    step: int  # of the last number that it rests on
    alarm: str  # the cause
    sentence: str  # what it means and what to try
    numbers: Mapping[str, float]


def find_alarms(workdir: str | os.PathLike[str]) -> list[Alarm]:
    """The alarms of a run at its newest record, from `metrics.jsonl`, `judge.jsonl` and `scores/`, as far as there."""
    workdir = Path(workdir)
    logged, judged = (_series(workdir / name) for name in ("metrics.jsonl", JUDGED))
    causes = (
        _saturated(logged),
        _starved(logged),
        _oscillates(logged),
        _drifts(logged),
        _lost(judged),
        _copies(judged),
        _memorised(workdir),
    )
    return [alarm for cause in causes for alarm in cause]


def write_alarms(workdir: str | os.PathLike[str]) -> list[Alarm]:
    """Join the present alarms to `alarms.jsonl`, one line each, and return those that are new at this step."""
    path, found = Path(workdir) / ALARMS, find_alarms(workdir)
    kept = path.read_text() if path.exists() else ""
    lines = [json.dumps(alarm._asdict()) + "\n" for alarm in found]
    new = [(alarm, line) for alarm, line in zip(found, lines, strict=True) if line not in kept]
    if new:
        write_atomically(path, (kept + "".join(line for _, line in new)).encode())
    return [alarm for alarm, _ in new]


def _series(path: Path) -> dict[str, Series]:
    try:
        metrics = read_metrics(path)
    except DataError:  # nothing has been logged yet
        return {}
    found = {}
    for name, values in metrics.items():
        finite = np.isfinite(values)
        if name != "step" and finite.any():
            found[name] = metrics["step"][finite], values[finite]
    return found


def _now(series: Series) -> float:
    return float(np.median(series[1][-WINDOW:]))


def _saturated(logged: Mapping[str, Series]) -> Iterator[Alarm]:
    """D is sure of everything: its cost is next to 0 and the logits are far apart."""
    names = ("discriminator/cost", "discriminator/real_logit", "discriminator/fake_logit")
    if not all(name in logged and len(logged[name][1]) >= WINDOW for name in names):
        return
    cost, real, fake = (_now(logged[name]) for name in names)
    if 0 <= cost < SURE and real - fake > GAP:
        yield Alarm(
            int(logged[names[0]][0][-1]), "discriminator saturated",
            "The discriminator tells all fakes from data, so it has little left to teach: try instance noise, a "
            "penalty such as r1, spectral normalisation, or fewer discriminator turns.",
            {"discriminator/cost": cost, "real logit": real, "fake logit": fake},
        )  # fmt: skip


def _starved(logged: Mapping[str, Series]) -> Iterator[Alarm]:
    """The generator's gradient has died away, which at an equilibrium the discriminator's has too."""
    steps, values = logged.get("generator/gradient", ([], np.zeros(0)))
    if len(values) < 4:
        return
    usual, last = float(np.median(values)), float(values[-1])
    if last < STARVED * usual:
        yield Alarm(
            int(steps[-1]), "generator starved of gradient",
            "The generator's gradient has all but vanished: use the non_saturating loss, a penalty such as r1, or a "
            "weaker discriminator.",
            {"length of the gradient": last, "median over the run": usual},
        )  # fmt: skip


def _oscillates(logged: Mapping[str, Series]) -> Iterator[Alarm]:
    """Cost and logits go round: the autocorrelation falls below zero and comes back."""
    steps, values = logged.get("generator/cost", ([], np.zeros(0)))
    if len(values) < LEAST:
        return
    period, swing = oscillation(values[-4 * LEAST :])
    if swing > SWING:
        every = float(np.median(np.diff(steps[-4 * LEAST :])))
        yield Alarm(
            int(steps[-1]), "oscillation of the field",
            "The players go round each other: average the generator's weights, or try extragradient, optimistic or "
            "lookahead play, a penalty such as r1, or a smaller step.",
            {"period in steps": period * every, "autocorrelation after one period": swing},
        )  # fmt: skip


def oscillation(values: NDArray[np.float64]) -> tuple[int, float]:
    """Period, in records, and autocorrelation one period later of a series without its trend; (0, 0) if it has none.

    The period is the lag of the first crest of the autocorrelation after it has fallen below -1/4. For white
    noise of n values the autocorrelation at any lag is about N(0, 1 / n).
    """
    x = np.arange(len(values))
    rest = values - np.polyval(np.polyfit(x, values, 1), x)
    power = (rest**2).sum()
    if power <= 1e-20 * (values**2).sum():
        return 0, 0.0
    lags = len(values) // 2
    # Each lag by the mean of its products, so that a long one is not small for having fewer.
    r = np.array([(rest[: len(rest) - k] * rest[k:]).mean() for k in range(lags)]) * len(values) / power
    below, above = np.flatnonzero(r < -0.25), np.flatnonzero(r > 0)
    back = above[above > below[0]] if len(below) else below
    if len(back) == 0:
        return 0, 0.0
    again = np.flatnonzero(r[back[0] :] < 0)
    crest = r[back[0] : back[0] + again[0]] if len(again) else r[back[0] :]
    period = int(back[0] + crest.argmax())
    return period, float(r[period])


def _drifts(logged: Mapping[str, Series]) -> Iterator[Alarm]:
    """The norm of a layer grows and grows."""
    grown = {}
    for name, (_, values) in logged.items():
        if (
            name.endswith("/operator")
            and len(values) >= 4
            and values[-1] > GROWTH * values[0]
            and values[-1] > values[-2]
        ):
            grown[name] = float(values[-1] / values[0])
    if grown:
        worst = max(grown, key=grown.__getitem__)
        yield Alarm(
            int(logged[worst][0][-1]), "spectral norm drifting",
            "Layers of the discriminator grow ever steeper: use spectral_norm, a penalty such as r1, or weight decay.",
            {f"{name}, times its first": ratio for name, ratio in grown.items()},
        )  # fmt: skip


def _lost(judged: Mapping[str, Series]) -> Iterator[Alarm]:
    """Fewer modes than the generator has had."""
    steps, values = judged.get("modes", ([], np.zeros(0)))
    if len(values) and values[-1] < 0.9 * values.max():
        yield Alarm(
            int(steps[-1]), "modes lost",
            "The generator has dropped modes that it had: try packing, a penalty such as r1, averaged weights, or stop "
            "at the best step.",
            {"modes": float(values[-1]), "most so far": float(values.max()), "at step": int(steps[values.argmax()])},
        )  # fmt: skip


def _copies(judged: Mapping[str, Series]) -> Iterator[Alarm]:
    """Many samples are almost the same."""
    steps, values = judged.get("duplicates", ([], np.zeros(0)))
    if len(values) and values[-1] > COPIES:
        yield Alarm(
            int(steps[-1]), "duplicates",
            "Many samples are as alike as hardly any two examples of the data: the generator is collapsing; try "
            "packing or minibatch features.",
            {"share of samples": float(values[-1]), "alarm above": COPIES},
        )  # fmt: skip


def _memorised(workdir: Path) -> Iterator[Alarm]:
    """A score of the newest step that was scored says that samples lie next to training images."""
    paths = sorted((workdir / "scores").glob("*.json"))
    newest = paths[-1].name.partition("-")[0] if paths else ""
    for path in (path for path in paths if path.name.startswith(f"{newest}-")):
        try:
            record = json.loads(path.read_text())
            found, step = record["metrics"]["memorised"], int(record["step"])
            value, floor = float(found["value"]), float(found["floor"])
        except (OSError, ValueError, KeyError, TypeError):  # not scored for it, or damaged, which the page says
            continue
        least, times = MEMORISED
        if value > max(least, times * floor):
            yield Alarm(
                step, "memorisation",
                "Samples lie nearer to training images than real images do: use more data or augmentation, a smaller "
                "discriminator, or stop earlier.",
                {"share of samples": value, "share of real images": floor},
            )  # fmt: skip
            return
