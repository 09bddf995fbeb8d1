"""One figure of a run's samples by training step."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ganjax.errors import DataError
from ganjax.report.images import find_cells, load_image
from ganjax.report.rows import stack
from ganjax.report.style import INK, LABEL, TITLE, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8  # a strip shows at least so many images, where the grid has them


def panel(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    count: int = 6,
    title: str = "Samples from fixed latents by training step",
) -> Figure:
    """Show how the samples of a run changed: `count` steps from the first to the last.

    Pictures made by `grid` are cut to their first rows and stacked, one strip a step, so that a column
    follows one latent; other pictures (point sets) are shown whole, side by side.

    Args:
      source: a run directory with samples/<step>.png, or such files.
      out: PNG file to write.
      count: how many steps at most, >= 2; chosen by `choose_steps`.
      title: above the figure.

    Returns:
      The figure, one axes a step, whose captions are the steps.

    Raises:
      DataError: there is no sample picture.
      ValueError: count < 2.
    """
    files = _sample_files(source)
    steps = choose_steps(sorted(files), count)
    strips = _strips([load_image(files[step]) for step in steps])
    captions = [f"step {step:,}" for step in steps]
    figure = _side_by_side(captions, strips, title) if _are_tall(strips) else stack(captions, strips, title)
    save_figure(figure, out)
    return figure


def choose_steps(steps: Sequence[int], count: int) -> list[int]:
    """At most `count` of the increasing steps: the first, the last, and about geometric spacing between.

    GAN samples change most at the start. The targets after the first step run geometrically from the
    second to the last, so evenly taken samples are thinned and geometrically taken ones kept even.

    >>> choose_steps(range(0, 10_001, 100), 6)
    [0, 100, 300, 1000, 3200, 10000]
    """
    if count < 2:
        raise ValueError(f"count must be at least 2, the first and the last step, got {count}.")
    steps = list(steps)
    if len(steps) <= count:
        return steps
    if count == 2:
        return [steps[0], steps[-1]]
    targets = [steps[0], *np.geomspace(max(steps[1], 1), steps[-1], count - 1)]
    nearest = [int(np.abs(np.asarray(steps) - target).argmin()) for target in targets]
    return [steps[index] for index in _strictly_increasing(nearest, len(steps))]


def _strictly_increasing(indices: list[int], size: int) -> list[int]:
    """Move equal indices apart, the least needed, within 0..size-1; the first becomes 0."""
    chosen = [0]
    for index in indices[1:]:
        chosen.append(max(index, chosen[-1] + 1))
    return [min(index, size - len(chosen) + place) for place, index in enumerate(chosen)]


def _sample_files(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> dict[int, Path]:
    """The sample pictures by step."""
    if isinstance(source, str | os.PathLike):
        folder = Path(source) / "samples"
        paths = sorted(folder.glob("*.png"))
        where = f"{folder}"
    else:
        paths = [Path(path) for path in source]
        where = "the given files"
    files = {int(path.stem): path for path in paths if path.stem.isdecimal()}
    if not files:
        raise DataError(f"No sample picture <step>.png in {where}; let the run reach its first sampling step.")
    return files


def _strips(pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """The first rows of each picture if they share the layout of a wide grid, else the whole pictures."""
    layouts = [find_cells(picture) for picture in pictures]
    cells = next((layout for layout in reversed(layouts) if layout is not None), None)
    same_size = len({picture.shape for picture in pictures}) == 1
    if cells is None or not same_size:  # A blank first picture has no lines to read: any layout will do.
        return pictures
    rows = min(cells.rows, math.ceil(SHOWN / cells.columns))
    return [picture[: rows * (cells.height + cells.border) + cells.border] for picture in pictures]


def _are_tall(strips: list[NDArray[np.uint8]]) -> bool:
    return any(strip.shape[0] > 0.8 * strip.shape[1] for strip in strips)


def _side_by_side(captions: Sequence[str], pictures: list[NDArray[np.uint8]], title: str) -> Figure:
    """Whole pictures in rows of three, captions above."""
    columns = min(3, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    aspect = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure = new_figure(3.2 * columns, 0.45 + rows * (0.3 + 3.2 * aspect))
    figure.suptitle(title, fontsize=TITLE, color=INK)
    for place, (caption, picture) in enumerate(zip(captions, pictures, strict=True)):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(picture)
        axes.set_axis_off()
        axes.set_title(caption, fontsize=LABEL, color=INK)
    return figure
