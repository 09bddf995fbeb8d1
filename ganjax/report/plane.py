"""The phase plane of a two-parameter game, beside the distance to its equilibrium."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.report.style import (
    FAINT,
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

Field = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[ArrayLike, ArrayLike]]
Curves = Mapping[str, ArrayLike]

REACH = 2.0  # the plane shows at most so many times the distance of the farthest start
ARROWS = 15  # per side
DASHES = (0, (4, 3))
CLOSED: dict[str, Any] = {"linestyle": DASHES, "linewidth": 1.1}


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
    if field is not None:
        _draw_field(axes, field, centre, radius)
    for label, path in paths.items():
        axes.plot(*_finite(path).T, color=tints[label], label=label, **_line(label in closed))
    for label, path in closed.items():
        axes.plot(*_finite(path).T, color=_darker(tints.get(label, INK)), **CLOSED)
    starts = np.unique([path[0] for path in paths.values()], axis=0)
    axes.plot(*starts.T, "o", color="white", markeredgecolor=INK, markersize=6, zorder=5, label="start")
    axes.plot(*centre, "*", color=INK, markersize=10, zorder=5, label="equilibrium")
    axes.set(
        xlim=(centre[0] - radius, centre[0] + radius),
        ylim=(centre[1] - radius, centre[1] + radius),
        aspect="equal",
    )


def _draw_field(axes: Axes, field: Field, centre: NDArray[np.float64], radius: float) -> None:
    """Light arrows on a square lattice, the longest as long as the lattice is wide."""
    ticks = np.linspace(-radius, radius, 2 * ARROWS + 1)[1::2]
    a, b = np.meshgrid(centre[0] + ticks, centre[1] + ticks)
    da, db = (np.asarray(part, np.float64) for part in field(a, b))
    longest = np.hypot(da, db).max() or 1.0
    axes.quiver(
        a, b, da, db, angles="xy", scale_units="xy", scale=longest / (ticks[1] - ticks[0]),
        color=FAINT, width=0.0035, headwidth=4, headlength=4.5, pivot="mid", zorder=1,
    )  # fmt: skip


def _draw_norms(axes: Axes, norms: Curves, predicted: Curves, tints: Mapping[str, str]) -> None:
    for label, values in norms.items():
        axes.plot(_positive(values), color=tints.get(label, INK), **_line(label in predicted))
    for label, values in predicted.items():
        axes.plot(_positive(values), color=_darker(tints.get(label, INK)), **CLOSED)
    shown = np.concatenate([_positive(values) for values in [*norms.values(), *predicted.values()]])
    log_axis(axes, np.nanmin(shown, initial=np.inf), np.nanmax(shown, initial=0.0))
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


def _line(has_closed_form: bool) -> dict[str, Any]:
    """A measured line; broad and light where a closed form is drawn on it."""
    return {"linewidth": 2.4, "alpha": 0.55} if has_closed_form else {"linewidth": 1.4, "alpha": 1.0}


def _positive(values: ArrayLike) -> NDArray[np.float64]:
    """The values with gaps where a logarithm has nothing to show."""
    array = np.asarray(values, np.float64)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)


def _finite(path: NDArray[np.float64]) -> NDArray[np.float64]:
    return path[np.isfinite(path).all(axis=1)]


def _darker(tint: str) -> Any:
    """The colour of a closed form: that of its measured line, darker, so that it shows on top of it."""
    from matplotlib.colors import to_rgb

    return tuple(0.35 * channel for channel in to_rgb(tint))


def _check_paths(name: str, paths: Curves) -> dict[str, NDArray[np.float64]]:
    arrays = {label: np.asarray(path, np.float64) for label, path in paths.items()}
    for label, array in arrays.items():
        if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
            raise ValueError(f"{name}[{label!r}] must be [T, 2] with T >= 1, got shape {array.shape}.")
    return arrays
