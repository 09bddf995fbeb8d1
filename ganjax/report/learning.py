"""Learning curves: what every player's cost, the logits and the other metrics did over the steps."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganjax.errors import DataError
from ganjax.report.history import read_metrics
from ganjax.report.marks import HUGE
from ganjax.report.style import (
    INK,
    TITLE,
    colour,
    dress,
    legend_above,
    log_axis,
    new_figure,
    save_figure,
    step_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 5.2, 2.75  # inches of one axes
NOT_DRAWN = ("step", "time", "finite")
SPARSE = 30  # a metric with fewer values is drawn as they are, with markers
WINDOW = 1 / 40  # of a metric's values, under one running median
SPIKY, RARE = (
    6.0,
    0.005,
)  # an axis is cut to its central 99 % if the rest makes it more than SPIKY times as long
DECADES = 2.5  # a positive metric that spans more gets a logarithmic axis


def curves(
    workdir: str | os.PathLike[str], out: str | os.PathLike[str], *, lines: Mapping[str, float] | None = None
) -> Figure:
    """Draw metrics.jsonl: light raw lines under running medians, one axes for each group of metrics.

    The players' costs share the first axes, the logits the second; further metrics that differ only in the
    player share one. A logarithmic axis is taken for positive values that span over 2.5 decades.

    Args:
      workdir: run directory with metrics.jsonl.
      out: PNG file to write.
      lines: theoretical values, drawn dashed. A metric's name ("discriminator/cost") as label puts the
        line on that metric's axes in its colour, a group's name ("logit") on that group's axes; any other
        label goes on the first axes.

    Returns:
      The figure, one axes per group, labelled with the group's name.

    Raises:
      DataError: metrics.jsonl is missing or has nothing to draw.
    """
    metrics = read_metrics(Path(workdir))
    groups = _groups(metrics)
    if not groups:
        raise DataError(f"metrics.jsonl in {os.fspath(workdir)} holds no finite metric to draw.")
    columns = min(2, len(groups))
    rows = math.ceil(len(groups) / columns)
    figure = new_figure(WIDTH * columns, 0.3 + HEIGHT * rows)
    figure.suptitle("Learning curves (light: raw, dark: running median)", fontsize=TITLE, color=INK)
    placed = _place_lines(lines or {}, groups)
    for place, (group, names) in enumerate(groups.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        _draw_group(axes, group, names, metrics, placed[group])
    figure.align_ylabels()
    save_figure(figure, out)
    return figure


def group_figures(metrics: Mapping[str, NDArray[Any]]) -> dict[str, Figure]:
    """The axes of `curves` as one figure per group, for a page that lays them out itself.

    Args:
      metrics: what `read_metrics` returns.
    """
    held = {name: np.where(np.abs(values) < HUGE, values, np.nan) for name, values in metrics.items() if name != "step"}
    metrics = {"step": metrics["step"], **held}
    figures = {}
    for group, names in _groups(metrics).items():
        figures[group] = new_figure(WIDTH, HEIGHT)
        _draw_group(figures[group].add_subplot(), group, names, metrics, {})
    return figures


def group_metrics(names: list[str]) -> dict[str, list[str]]:
    """Group metric names by what they measure: "cost" first, "logit" second, the rest by the last part.

    >>> group_metrics(["g/norm", "g/cost", "d/real_logit", "d/cost", "d/fake_logit"])
    {'cost': ['g/cost', 'd/cost'], 'logit': ['d/real_logit', 'd/fake_logit'], 'norm': ['g/norm']}
    """
    groups: dict[str, list[str]] = {"cost": [], "logit": []}
    for name in names:
        last = name.rsplit("/", 1)[-1]
        group = "logit" if "logit" in last else last
        groups.setdefault(group, []).append(name)
    return {group: members for group, members in groups.items() if members}


def running_median(values: NDArray[np.float64], *, points: int = 1000) -> tuple[NDArray[Any], NDArray[Any]]:
    """Indices and medians of windows around at most `points` even centres; windows are cut off at the ends.

    A median, because one spike of an adversarial game would drag a mean along for a whole window.
    """
    half = max(1, round(len(values) * WINDOW / 2))
    centres = np.unique(np.linspace(0, len(values) - 1, min(len(values), points)).astype(int))
    medians = [np.median(values[max(0, centre - half) : centre + half + 1]) for centre in centres]
    return centres, np.array(medians)


def _draw_group(
    axes: Axes,
    group: str,
    names: list[str],
    metrics: Mapping[str, NDArray[Any]],
    lines: Mapping[str, float],
) -> None:
    colours = _colours(names, metrics)
    for name in names:
        _draw_metric(axes, name, metrics["step"], metrics[name], colours[name])
    for label, value in lines.items():
        tint = colours.get(label, INK)
        axes.axhline(value, color=tint, linestyle=(0, (5, 3)), linewidth=1.2, label=f"{label} in theory")
    dress(axes, x="training step", y=group.replace("_", " "))
    _set_scale(axes, [metrics[name] for name in names], list(lines.values()))
    axes.set_xlim(*_extent(metrics["step"]))
    step_axis(axes)
    legend_above(axes)


def _draw_metric(axes: Axes, name: str, steps: NDArray[np.int64], values: NDArray[np.float64], tint: str) -> None:
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if len(values) < SPARSE:
        axes.plot(steps, values, "o-", color=tint, linewidth=1.4, markersize=3.5, label=name)
        return
    centres, medians = running_median(values)
    axes.plot(steps, values, color=tint, linewidth=0.6, alpha=0.25, rasterized=True)
    axes.plot(steps[centres], medians, color=tint, linewidth=1.6, label=name)


def _colours(names: list[str], metrics: Mapping[str, Any]) -> dict[str, str]:
    """A player keeps one colour in every axes where it has one line; other lines take the next colours."""
    players = list(dict.fromkeys(name.split("/")[0] for name in metrics if name.endswith("/cost")))
    owners = [name.split("/")[0] for name in names]
    if len(set(owners)) == len(owners) and set(owners) <= set(players):
        return {name: colour(players.index(owner)) for name, owner in zip(names, owners, strict=True)}
    return {name: colour(len(players) + place) for place, name in enumerate(names)}


def _place_lines(lines: Mapping[str, float], groups: Mapping[str, list[str]]) -> dict[str, dict[str, float]]:
    """The theoretical lines of each group."""
    placed: dict[str, dict[str, float]] = {group: {} for group in groups}
    for label, value in lines.items():
        holders = [group for group, names in groups.items() if label == group or label in names]
        placed[holders[0] if holders else next(iter(groups))][label] = value
    return placed


def _set_scale(axes: Axes, columns: list[NDArray[np.float64]], lines: list[float]) -> None:
    """Choose the y axis: logarithmic, linear, or cut where rare spikes would flatten all the rest."""
    values = np.concatenate([*[column[np.isfinite(column)] for column in columns], np.array(lines)])
    low, high = values.min(), values.max()
    if low > 0 and high / low > 10**DECADES:
        log_axis(axes, low, high)
        return
    if low == high:
        axes.set_ylim(low - (abs(low) or 1.0), high + (abs(high) or 1.0))
        return
    body_low, body_high = np.quantile(values, (RARE, 1 - RARE))
    if high - low > SPIKY * (body_high - body_low) > 0:
        room = 0.5 * (body_high - body_low)
        bottom, top = min([body_low - room, *lines]), max([body_high + room, *lines])
        axes.set_ylim(bottom, top)
        axes.plot([], [], " ", label=f"axis cut: values from {low:.3g} to {high:.3g}")


def _extent(steps: NDArray[np.int64]) -> tuple[float, float]:
    """The same x limits for all axes, a little wider than the steps."""
    room = 0.01 * (steps[-1] - steps[0]) or 1.0
    return steps[0] - room, steps[-1] + room


def _groups(metrics: Mapping[str, NDArray[Any]]) -> dict[str, list[str]]:
    """The groups of what can be drawn."""
    return group_metrics([name for name in metrics if name not in NOT_DRAWN and _has_values(metrics[name])])


def _has_values(values: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(values).any())
