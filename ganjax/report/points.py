"""Samples of a two-dimensional distribution over the real data."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.report.images import save_image
from ganjax.report.style import FAINT, colour, dress, legend_above, new_figure, to_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN = 0.15  # of the data's extent, left free on every side


def scatter(
    points: ArrayLike,
    path: str | os.PathLike[str] | None = None,
    *,
    reference: ArrayLike | None = None,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
) -> NDArray[np.uint8]:
    """Draw samples over real data; the counterpart of `grid` for point data sets.

    Points that the axes don't show, or that are not finite, are counted in the legend: a generator that
    has run away doesn't look like one that is right.

    Args:
      points: float [N, 2].
      path: PNG file to write, or None.
      reference: float [M, 2], the real data, drawn grey underneath.
      limits: (low, high) of both axes; a square around the reference (the points without one) when None.
      title: above the axes.

    Returns:
      uint8 [H, W, 3], the picture; always of one size, so that a series of steps can be laid side by side.

    Raises:
      ValueError: points or reference are not [N, 2], or limits are not increasing.
    """
    picture = to_array(scatter_figure(points, reference=reference, limits=limits, title=title))
    if path is not None:
        save_image(path, picture)
    return picture


def scatter_figure(
    points: ArrayLike,
    *,
    reference: ArrayLike | None = None,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """The figure behind `scatter`; same arguments."""
    samples = _check_points("points", points)
    real = None if reference is None else _check_points("reference", reference)
    x_low, x_high, y_low, y_high = _window(samples if real is None else real, limits)
    figure = new_figure(4.0, 4.2)
    axes = figure.add_subplot()
    dress(axes, x="$x_1$", y="$x_2$")
    if title:
        figure.suptitle(title, fontsize=11)
    if real is not None:
        axes.plot(*real.T, "o", color=FAINT, markersize=3.5, markeredgewidth=0, label="real")
    shown = (samples >= (x_low, y_low)).all(axis=1) & (samples <= (x_high, y_high)).all(axis=1)
    outside = f" ({len(samples) - shown.sum():,} of {len(samples):,} outside)" if not shown.all() else ""
    axes.plot(
        *samples[shown].T,
        "o",
        color=colour(0),
        markersize=3,
        markeredgewidth=0,
        alpha=0.6,
        label=f"samples{outside}",
    )
    axes.set(xlim=(x_low, x_high), ylim=(y_low, y_high), aspect="equal")
    legend_above(axes)
    return figure


def _window(points: NDArray[np.float64], limits: tuple[float, float] | None) -> tuple[float, float, float, float]:
    """(x low, x high, y low, y high): the limits, or a square around the finite points."""
    if limits is not None:
        low, high = limits
        if not low < high:
            raise ValueError(f"limits must be (low, high) with low < high, got {limits}.")
        return low, high, low, high
    finite = points[np.isfinite(points).all(axis=1)]
    if len(finite) == 0:
        return -1.0, 1.0, -1.0, 1.0
    centre = (finite.min(axis=0) + finite.max(axis=0)) / 2
    half = (np.ptp(finite, axis=0).max() / 2 or 1.0) * (1 + 2 * MARGIN)
    return centre[0] - half, centre[0] + half, centre[1] - half, centre[1] + half


def _check_points(name: str, points: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(points, np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"{name} must be [N, 2], got shape {array.shape}; project other data to two axes first.")
    return array
