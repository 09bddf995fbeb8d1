"""What a figure of several panels is made of, and the checks of its shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.report.marks import KINDS, Field, Series, shown

Limits = tuple[float, float]
LOGS = ("", "x", "y", "xy")
NONE: Mapping[str, float] = MappingProxyType({})


class Panel(NamedTuple):
    """Axes with series in them."""

    series: Sequence[Series]
    x: str = ""  # axis label, with the unit where there is one
    y: str = ""
    title: str = ""
    log: str = ""  # which axes are logarithmic: "", "x", "y" or "xy"
    xlim: Limits | None = None
    ylim: Limits | None = None
    equal: bool = False  # one unit is equally long on both axes
    field: Field | None = None  # (a, b) -> (da, db), drawn as light arrows over the limits
    lines: Mapping[str, float] = NONE  # label -> height of a horizontal dashed reference
    circles: Mapping[str, float] = NONE  # label -> radius of a dashed reference about the origin


class Heat(NamedTuple):
    """A map of values over a rectangle, with lines drawn over it."""

    values: ArrayLike  # [Y, X]; NaN = grey, what passes the limits takes their colour
    x: ArrayLike  # [X]; increasing centres
    y: ArrayLike  # [Y]; increasing centres
    xlabel: str = ""
    ylabel: str = ""
    title: str = ""
    label: str = ""  # of the colour bar
    limits: Limits | None = None  # of the colours; those of the finite values where None
    centre: float | None = None  # white middle of a symmetric diverging colour map
    log: str = ""  # which axes are logarithmic: "", "x", "y" or "xy"
    boundary: Sequence[Series] = ()  # drawn over the map with white edges


def check(part: Panel | Heat, name: str) -> None:
    if not isinstance(part, Panel | Heat):
        raise ValueError(f"{name} must be a Panel or a Heat, got {type(part).__name__}.")
    if part.log not in LOGS:
        raise ValueError(f"{name}.log must be one of {LOGS}, got {part.log!r}.")
    held = "series" if isinstance(part, Panel) else "boundary"
    series = part.series if isinstance(part, Panel) else part.boundary
    for place, one in enumerate(series):
        _check_series(one, f"{name}.{held}[{place}]")
    if isinstance(part, Heat):
        _check_heat(part, name)
        return
    for axis, limits in (("x", part.xlim), ("y", part.ylim)):
        positive = any((shown(values, True) > 0).any() for values in values_of(series, axis))
        if axis in part.log and (not positive or (limits is not None and min(limits) <= 0)):
            raise ValueError(f"{name} has a logarithmic {axis} axis, which needs positive values and limits; got none.")


def _check_series(one: Series, name: str) -> None:
    if one.kind not in KINDS:
        raise ValueError(f"{name}.kind must be one of {KINDS}, got {one.kind!r}.")
    x, y = np.shape(one.x), np.shape(one.y)
    if len(x) != 1 or x != y:
        raise ValueError(f"{name} needs x and y of one shape [T], got {x} and {y}.")
    if (one.kind == "band") != (one.y2 is not None):
        raise ValueError(f"{name} is a {one.kind}: y2, the upper edge, goes with kind 'band' and only with it.")
    if one.y2 is not None and np.shape(one.y2) != x:
        raise ValueError(f"{name}.y2 must have the shape of y, {y}, got {np.shape(one.y2)}.")


def _check_heat(heat: Heat, name: str) -> None:
    if np.ndim(heat.x) != 1 or np.ndim(heat.y) != 1 or np.shape(heat.values) != (*np.shape(heat.y), *np.shape(heat.x)):
        raise ValueError(
            f"{name}.values must be [len(y), len(x)] over one-dimensional x and y, "
            f"got values {np.shape(heat.values)}, x {np.shape(heat.x)}, y {np.shape(heat.y)}."
        )
    for axis, centres in (("x", np.asarray(heat.x)), ("y", np.asarray(heat.y))):
        if centres.size == 0 or not (np.diff(centres) > 0).all():
            raise ValueError(f"{name}.{axis} must be increasing centres, at least one, got {centres}.")
        if axis in heat.log and centres[0] <= 0:
            raise ValueError(f"{name} has a logarithmic {axis} axis, which needs positive values; got {centres[0]}.")


def values_of(series: Sequence[Series], axis: str) -> list[NDArray[np.float64]]:
    parts = [getattr(one, name) for one in series for name in ((axis,) if axis == "x" else ("y", "y2"))]
    return [np.asarray(part, np.float64) for part in parts if part is not None]
