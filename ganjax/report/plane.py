"""The phase plane of a two-parameter game, beside the distance to its equilibrium."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.report.marks import CLOSED, DASHES, HUGE, Field, darker, draw_field, line_style, shown
from ganjax.report.style import (
    INK,
    SMALL,
    TITLE,
    colour,
    dress,
    log_axis,
    new_figure,
    save_figure,
    step_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[str, ArrayLike]

REACH = 2.0  # the plane shows at most so many times the distance of the farthest start


def phase_plane(
    trajectories: Curves,
    out: str | os.PathLike[str],
    *,
    field: Field | None = None,
    equilibrium: tuple[float, float] = (0.0, 0.0),
    predicted: Curves | None = None,
    norms: Curves | None = None,
    predicted_norms: Curves | None = None,
    names: tuple[str, str] = ("a", "b"),
    title: str = "",
) -> Figure:
    """Draw how algorithms move in the plane, and how far from the equilibrium each step leaves them.

    Left: the game's vector field, the trajectories, their start and the equilibrium; a trajectory that runs
    away leaves the frame. Right: the norm ||z - z*|| on a logarithmic axis. Closed forms are dashed overlays
    on both sides, in the colour of the measured line of the same label.

    Args:
      trajectories: label -> float [T, 2], the start first.
      out: PNG file to write.
      field: (a, b) -> (da, db), arrays of one shape; the direction in which the players pull.
      equilibrium: the point z* that is marked and that norms are measured from.
      predicted: label -> float [T, 2], closed-form trajectories.
      norms: label -> float [T]; measured from the trajectories where None.
      predicted_norms: label -> float [T]; measured from `predicted` where None.
      names: of the two parameters.
      title: above the figure.

    Returns:
      The figure; its first axes is the plane, its second the norm.

    Raises:
      ValueError: no trajectory, or one that is not [T, 2].
    """
    paths = _check_paths("trajectories", trajectories)
    closed = _check_paths("predicted", predicted or {})
    if not paths:
        raise ValueError("phase_plane needs at least one trajectory, got none.")
    centre = np.asarray(equilibrium, np.float64)
    tints = {label: colour(place) for place, label in enumerate(paths)}
    figure = new_figure(9.6, 4.6)
    if title:
        figure.suptitle(title, fontsize=TITLE, color=INK)
    plane, distance = figure.subplots(1, 2)
    _draw_plane(plane, paths, closed, tints, centre, field)
    dress(plane, x=f"${names[0]}$", y=f"${names[1]}$")
    _draw_norms(distance, norms or _norms(paths, centre), predicted_norms or _norms(closed, centre), tints)
    _shared_legend(figure, plane, distance)
    save_figure(figure, out)
    return figure


def _draw_plane(
    axes: Axes,
    paths: Mapping[str, NDArray[np.float64]],
    closed: Mapping[str, NDArray[np.float64]],
    tints: Mapping[str, str],
    centre: NDArray[np.float64],
    field: Field | None,
) -> None:
    radius = _radius(paths, centre)
    xlim, ylim = ((middle - radius, middle + radius) for middle in centre)
    if field is not None:
        draw_field(axes, field, xlim, ylim)
    for label, path in paths.items():
        axes.plot(*_visible(path).T, color=tints[label], label=label, **line_style(label in closed))
    for label, path in closed.items():
        axes.plot(*_visible(path).T, color=darker(tints.get(label, INK)), **CLOSED)
    starts = np.unique([path[0] for path in paths.values()], axis=0)
    axes.plot(*starts.T, "o", color="white", markeredgecolor=INK, markersize=6, zorder=5, label="start")
    axes.plot(*centre, "*", color=INK, markersize=10, zorder=5, label="equilibrium")
    axes.set(xlim=xlim, ylim=ylim, aspect="equal")


def _draw_norms(axes: Axes, norms: Curves, predicted: Curves, tints: Mapping[str, str]) -> None:
    for label, values in norms.items():
        axes.plot(shown(values, True), color=tints.get(label, INK), **line_style(label in predicted))
    for label, values in predicted.items():
        axes.plot(shown(values, True), color=darker(tints.get(label, INK)), **CLOSED)
    visible = np.concatenate([shown(values, True) for values in [*norms.values(), *predicted.values()]])
    log_axis(axes, np.nanmin(visible, initial=np.inf), np.nanmax(visible, initial=0.0))
    axes.margins(x=0.02)
    step_axis(axes)
    dress(axes, x="step", y=r"distance to equilibrium  $\|z - z^\ast\|$")


def _shared_legend(figure: Figure, plane: Axes, distance: Axes) -> None:
    """One legend under both axes: the algorithms, the two marks, and what dashes mean."""
    from matplotlib.lines import Line2D

    handles, labels = plane.get_legend_handles_labels()
    if any(line.get_linestyle() == "--" for line in [*plane.lines, *distance.lines]):
        handles, labels = [*handles, Line2D([], [], color=INK, linestyle=DASHES)], [*labels, "closed form"]
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=SMALL, labelcolor=INK)


def _radius(paths: Mapping[str, NDArray[np.float64]], centre: NDArray[np.float64]) -> float:
    """Half the side of the plane: all trajectories, unless one goes REACH times as far as it started."""
    farthest = max(np.nanmax(norm[np.isfinite(norm)], initial=0.0) for norm in _norms(paths, centre).values())
    start = max(norm[0] for norm in _norms(paths, centre).values())
    return float(1.08 * min(farthest, REACH * start)) if start > 0 else float(1.08 * farthest or 1.0)


def _norms(paths: Mapping[str, NDArray[np.float64]], centre: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return {label: np.hypot(*(path - centre).T) for label, path in paths.items()}


def _visible(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points that an axis can show."""
    return path[(np.abs(path) < HUGE).all(axis=1)]


def _check_paths(name: str, paths: Curves) -> dict[str, NDArray[np.float64]]:
    arrays = {label: np.asarray(path, np.float64) for label, path in paths.items()}
    for label, array in arrays.items():
        if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
            raise ValueError(f"{name}[{label!r}] must be [T, 2] with T >= 1, got shape {array.shape}.")
    return arrays
