"""Figures of several panels: measured lines under their closed forms, phase planes, spectra, heat maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganjax.report.marks import draw_boundary, draw_field, draw_references, draw_series, shown, tints
from ganjax.report.parts import Heat, Limits, Panel, Series, check, values_of
from ganjax.report.style import (
    DPI,
    FAINT,
    INK,
    LABEL,
    SMALL,
    TITLE,
    dress,
    legend_above,
    log_axis,
    new_figure,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def panels(
    parts: Sequence[Panel | Heat],
    out: str | os.PathLike[str],
    *,
    columns: int = 2,
    title: str = "",
    size: tuple[float, float] = (4.6, 3.6),
) -> Figure:
    """Draw each part in its own axes, row by row.

    Legends stand above their axes. One legend under the figure serves all where the labelled parts have the same
    entries; a single labelled part speaks for others that hold the same kinds in the same colours.

    Args:
      parts: what to draw, in reading order.
      out: PNG file to write.
      columns: parts per row.
      title: above the figure.
      size: width and height of one part in inches.

    Returns:
      The figure; `figure.axes[i]` shows parts[i], colour bars follow.

    Raises:
      ValueError: no parts, an unknown kind, shapes that do not fit, or nothing positive on a logarithmic axis.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not parts:
        raise ValueError("panels needs at least one part, got none.")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}.")
    for place, part in enumerate(parts):
        check(part, f"parts[{place}]")
    columns = min(columns, len(parts))
    rows = -(-len(parts) // columns)
    layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.06)
    figure = new_figure(columns * size[0], rows * size[1] + 0.3 * bool(title), layout=layout)
    if title:
        figure.suptitle(title, fontsize=TITLE + 1, color=INK)
    grid = figure.add_gridspec(rows, columns)
    places = [figure.add_subplot(grid[divmod(place, columns)]) for place in range(len(parts))]
    for axes, part in zip(places, parts, strict=True):
        _draw_panel(axes, part) if isinstance(part, Panel) else _draw_heat(figure, axes, part)
    _legends(figure, places, parts, size[0])
    save_figure(figure, out)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    draw_series(axes, panel.series, log=panel.log)
    draw_references(axes, panel.lines, panel.circles)
    for axis, limits in (("x", panel.xlim), ("y", panel.ylim)):
        if axis in panel.log:
            reach = limits or _reach(panel.series, axis)
            log_axis(axes, *reach, which=axis)
    axes.set(xlim=panel.xlim, ylim=panel.ylim)
    if panel.equal:
        axes.set_aspect("equal")
    if panel.equal and not panel.log:
        axes.locator_params(nbins=5)
        if panel.xlim is None and panel.ylim is None:
            _square(axes)
    if panel.field is not None:
        xlim, ylim = axes.get_xlim(), axes.get_ylim()
        draw_field(axes, panel.field, xlim, ylim)
        axes.set(xlim=xlim, ylim=ylim)
    dress(axes, x=panel.x, y=panel.y, title=panel.title)


def _draw_heat(figure: Figure, axes: Axes, heat: Heat) -> None:
    import matplotlib

    values = np.asarray(heat.values, np.float64)
    low, high = _colour_limits(values, heat)
    name = "viridis" if heat.centre is None else "RdBu_r"
    edges = [_edges(np.asarray(c, np.float64), axis in heat.log) for axis, c in (("x", heat.x), ("y", heat.y))]
    cells = np.where(np.isinf(values), np.clip(values, low, high), values)  # matplotlib would leave them grey
    colours = matplotlib.colormaps[name].with_extremes(bad=FAINT)
    mesh = axes.pcolormesh(*edges, cells, cmap=colours, vmin=low, vmax=high, shading="flat", zorder=0)
    for axis, ends in zip("xy", edges, strict=True):
        if axis in heat.log:
            log_axis(axes, ends[0], ends[-1], which=axis)
    draw_boundary(axes, heat.boundary, log=heat.log)
    axes.set(xlim=(edges[0][0], edges[0][-1]), ylim=(edges[1][0], edges[1][-1]))
    dress(axes, x=heat.xlabel, y=heat.ylabel, title=heat.title)
    axes.grid(False)
    _colour_bar(figure, axes, mesh, heat.label, under=bool((values < low).any()), over=bool((values > high).any()))


def _colour_bar(figure: Figure, axes: Axes, mesh: Any, label: str, *, under: bool, over: bool) -> None:
    """The scale of the colours, pointed where values pass it."""
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bar = figure.colorbar(mesh, ax=axes, extend=extend[under, over], pad=0.02, aspect=25)
    bar.set_label(label, fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, color=INK, labelcolor=INK, width=0.8, length=3)
    bar.outline.set_visible(False)


def _legends(figure: Figure, places: Sequence[Axes], parts: Sequence[Panel | Heat], width: float) -> None:
    labelled = [place for place, part in enumerate(parts) if _entries(part)]
    alike = len(labelled) > 1 or len({_looks(part) for part in parts}) == 1 < len(parts)
    if alike and len({_entries(parts[place]) for place in labelled}) == 1:
        _legend_below(figure, places[labelled[0]])
        return
    for place in labelled:
        title = parts[place].title
        height = _legend_above(places[place], width, centred=getattr(parts[place], "equal", False))
        places[place].set_title(title, fontsize=TITLE, color=INK, pad=height + 5)


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    for columns in _arrangements(len(labels)):
        legend = figure.legend(
            handles, labels, loc="outside lower center", ncols=columns,
            frameon=False, fontsize=SMALL, labelcolor=INK,
        )  # fmt: skip
        if columns == 1 or legend.get_window_extent().width < 0.97 * figure.bbox.width:
            return
        legend.remove()


def _legend_above(axes: Axes, width: float, *, centred: bool) -> float:
    """A legend over the axes of a part of so many inches, in as few rows as fit; its height in points."""
    room = width - 0.3 if centred else width - 0.8
    for columns in _arrangements(len(axes.get_legend_handles_labels()[1])):
        legend = legend_above(axes, columns=columns, centred=centred)
        extent = legend.get_window_extent()  # in pixels
        if extent.width / DPI < room:
            break
    return 72 * extent.height / DPI


def _arrangements(entries: int) -> list[int]:
    """The numbers of columns for one row, two rows, ... with rows filled evenly."""
    return [-(-entries // rows) for rows in range(1, entries + 1)]


def _entries(part: Panel | Heat) -> tuple[Any, ...]:
    """What the legend of the part explains: label, kind and colour of each entry."""
    references = (*part.lines, *part.circles) if isinstance(part, Panel) else ()
    entries: dict[str, Any] = {}
    for one, look in zip(_series(part), _looks(part), strict=True):
        entries.setdefault(one.label, look)
    return tuple((label, look) for label, look in entries.items() if label) + tuple(filter(None, references))


def _series(part: Panel | Heat) -> Sequence[Series]:
    return part.series if isinstance(part, Panel) else part.boundary


def _looks(part: Panel | Heat) -> tuple[tuple[str, int | None], ...]:
    """Kind and colour of each series."""
    return tuple((one.kind, tint) for one, tint in zip(_series(part), tints(_series(part)), strict=True))


def _reach(series: Sequence[Series], axis: str) -> Limits:
    """The least and the largest positive value of the series on a logarithmic axis."""
    found = np.concatenate([shown(np.ravel(part), True) for part in values_of(series, axis)])
    return float(np.nanmin(found)), float(np.nanmax(found))


def _square(axes: Axes) -> None:
    """Widen the shorter side, so that the plane is square about its data."""
    sides = np.array([axes.get_xlim(), axes.get_ylim()])
    half = np.ptp(sides, axis=1).max() / 2
    (a, b) = sides.mean(axis=1)
    axes.set(xlim=(a - half, a + half), ylim=(b - half, b + half))


def _edges(centres: NDArray[np.float64], logarithmic: bool) -> NDArray[np.float64]:
    """[X + 1] borders half-way between the centres, the outer ones as far out as the next inner ones."""
    places = np.log(centres) if logarithmic else centres
    middle = (places[1:] + places[:-1]) / 2
    first, last = (middle[0] - places[0], places[-1] - middle[-1]) if len(middle) else (0.5, 0.5)
    edges = np.concatenate([[places[0] - first], middle, [places[-1] + last]])
    return np.exp(edges) if logarithmic else edges


def _colour_limits(values: NDArray[np.float64], heat: Heat) -> Limits:
    finite = values[np.isfinite(values)]
    low, high = heat.limits or ((finite.min(), finite.max()) if finite.size else (0.0, 1.0))
    if heat.centre is None:
        return float(low), float(high)
    half = max(abs(low - heat.centre), abs(high - heat.centre)) or 1.0
    return float(heat.centre - half), float(heat.centre + half)
