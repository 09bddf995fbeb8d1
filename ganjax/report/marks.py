"""How figures draw what was measured, what a closed form predicts, vector fields and references."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.report.style import FAINT, INK, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Field = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[ArrayLike, ArrayLike]]

ARROWS = 15  # per side
DASHES = (0, (4, 3))
CLOSED: dict[str, Any] = {"linestyle": DASHES, "linewidth": 1.1}
MEASURED = ("line", "points")
KINDS = (*MEASURED, "predicted", "band", "mark", "star")
HUGE = 1e150  # far beyond it matplotlib overflows in choosing limits and ticks
GREY = "#777777"  # references
REFERENCES = ((0, (2, 1.5)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))  # dashes of the first, second, third one
OVERLAYS = (DASHES, (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))  # of closed forms over a map


class Series(NamedTuple):
    """One thing drawn in a panel.

    kind: "line" or "points" for what was measured, "predicted" for a dashed closed form on top of it, "band" for
    a light fill between y and y2, "mark" for hollow markers (a start), "star" for an equilibrium.
    """

    x: ArrayLike  # [T]
    y: ArrayLike  # [T]; NaN and inf leave gaps
    label: str = ""  # "" = no legend entry
    kind: str = "line"
    tint: int | None = None  # index of the colour; None = in turn among those of its kind, marks in ink
    y2: ArrayLike | None = None  # [T]; upper edge of a band


def line_style(has_closed_form: bool) -> dict[str, Any]:
    """A measured line; broad and light where a closed form is drawn on it."""
    return {"linewidth": 2.4, "alpha": 0.55} if has_closed_form else {"linewidth": 1.4, "alpha": 1.0}


def darker(tint: str) -> Any:
    """The colour of a closed form: that of its measured line, darker, so that it shows on top of it."""
    from matplotlib.colors import to_rgb

    return tuple(0.35 * channel for channel in to_rgb(tint))


def draw_field(axes: Axes, field: Field, xlim: tuple[float, float], ylim: tuple[float, float]) -> None:
    """Light arrows on a lattice over xlim x ylim, the longest as long as the lattice is wide."""
    (a_ticks, width), (b_ticks, height) = _lattice(*xlim), _lattice(*ylim)
    a, b = np.meshgrid(a_ticks, b_ticks)
    da, db = (np.asarray(part, np.float64) for part in field(a, b))
    lengths = np.hypot(da / width, db / height)
    longest = lengths[np.isfinite(lengths)].max(initial=0.0) or 1.0
    axes.quiver(
        a, b, da, db, angles="xy", scale_units="xy", scale=longest,
        color=FAINT, width=0.0035, headwidth=4, headlength=4.5, pivot="mid", zorder=1,
    )  # fmt: skip


def tints(series: Sequence[Series]) -> list[int | None]:
    """The colour index of each series: its own, or its place among those of its kind.

    The k-th measured, the k-th predicted and the k-th band thus share a colour; marks without one stay in ink.
    """
    places: dict[str, int] = defaultdict(int)
    chosen: list[int | None] = []
    for one in series:
        family = "measured" if one.kind in MEASURED else one.kind
        in_turn = None if family in ("mark", "star") else places[family]
        chosen.append(in_turn if one.tint is None else one.tint)
        places[family] += 1
    return chosen


def draw_series(axes: Axes, series: Sequence[Series], *, log: str = "") -> None:
    """Draw each series by its kind: bands lowest, then what was measured, closed forms on top, marks above all.

    A closed form takes the darker shade of its colour where a measured line has the same one. Values that are
    not finite, or not positive on a logarithmic axis, leave gaps. Of equal labels the first is kept.
    """
    indices = tints(series)
    measured = {index for one, index in zip(series, indices, strict=True) if one.kind in MEASURED}
    predicted = {index for one, index in zip(series, indices, strict=True) if one.kind == "predicted"}
    named: set[str] = set()
    for one, index in zip(series, indices, strict=True):
        tint = INK if index is None else colour(index)
        if one.kind == "predicted" and index in measured:
            tint = darker(tint)
        label = "" if one.label in named else one.label
        named.add(one.label)
        _draw_one(axes, one, tint, label, log, overlaid=index in predicted)


def draw_references(axes: Axes, lines: Mapping[str, float], circles: Mapping[str, float]) -> None:
    """Grey dashed horizontal lines, and circles about the origin, each with its label."""
    turn = 0
    for label, value in lines.items():
        axes.axhline(value, label=label, **_reference(turn))
        turn += 1
    angles = np.linspace(0.0, 2 * np.pi, 361)
    for label, radius in circles.items():
        axes.plot(radius * np.cos(angles), radius * np.sin(angles), label=label, **_reference(turn))
        turn += 1


def draw_boundary(axes: Axes, series: Sequence[Series], *, log: str = "") -> None:
    """Draw series over a map, with white edges that show on every colour; untinted ones in ink, told by dashes."""
    from matplotlib.patheffects import withStroke

    draw_series(axes, series, log=log)
    turn = 0
    for one, line in zip((one for one in series if one.kind != "band"), axes.lines, strict=True):
        if one.kind == "predicted" and one.tint is None:
            line.set(color=INK, linestyle=OVERLAYS[turn % len(OVERLAYS)])
            turn += 1
        line.set_linewidth(max(1.6, line.get_linewidth()))
        line.set_path_effects([withStroke(linewidth=line.get_linewidth() + 2.2, foreground="white")])


def shown(values: ArrayLike, logarithmic: bool) -> NDArray[np.float64]:
    """The values with NaN where an axis has nothing to show."""
    array = np.asarray(values, np.float64)
    visible = np.abs(array) < HUGE  # false for NaN
    if logarithmic:
        visible &= array > 1 / HUGE
    return np.where(visible, array, np.nan)


def _draw_one(axes: Axes, one: Series, tint: Any, label: str, log: str, *, overlaid: bool) -> None:
    x, y = shown(one.x, "x" in log), shown(one.y, "y" in log)
    if one.kind == "line":
        axes.plot(x, y, color=tint, label=label, zorder=2, **line_style(overlaid))
    elif one.kind == "points":
        axes.plot(x, y, "o", color=tint, label=label, markersize=4.5, markeredgewidth=0, alpha=0.7, zorder=2.2)
    elif one.kind == "predicted":
        axes.plot(x, y, color=tint, label=label, zorder=3, **CLOSED)
    elif one.kind == "mark":
        axes.plot(x, y, "o", color="white", markeredgecolor=tint, markersize=6, label=label, zorder=5)
    elif one.kind == "star":
        axes.plot(x, y, "*", color=tint, markersize=10, label=label, zorder=5)
    elif one.kind == "band" and one.y2 is not None:
        # A lower edge at or under zero reaches the floor of a logarithmic axis: no gap.
        low, high = shown(one.y, False), shown(one.y2, "y" in log)
        axes.fill_between(x, low, high, color=tint, label=label, alpha=0.18, linewidth=0, zorder=1.5)


def _reference(turn: int) -> dict[str, Any]:
    return {"color": GREY, "linestyle": REFERENCES[turn % len(REFERENCES)], "linewidth": 1.1, "zorder": 1.8}


def _lattice(low: float, high: float) -> tuple[NDArray[np.float64], float]:
    """ARROWS ticks inside low..high, and their distance."""
    return np.linspace(low, high, 2 * ARROWS + 1)[1::2], (high - low) / ARROWS
