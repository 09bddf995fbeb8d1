"""Pictures of what is no image: waveforms as curves, texts as lines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ganjax.report.images import save_image
from ganjax.report.style import INK, SMALL, colour, dress, new_figure, to_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8  # waveforms of a picture
LINES, LETTERS = 24, 96  # of a picture of texts; longer ones are cut


def waveforms(
    x: NDArray[np.int16], rate: float | None, path: str | os.PathLike[str] | None = None
) -> NDArray[np.uint8]:
    """Draw waveforms under each other, of one scale.

    Args:
      x: int16 [N, T]; the first 8 are drawn.
      rate: samples a second; without one the axis counts samples.
      path: PNG file to write, or None.

    Returns:
      uint8 [H, W, 3], the picture.
    """
    if x.ndim != 2 or not len(x):
        raise ValueError(f"waveforms are [N, T] with N >= 1, got shape {x.shape}.")
    shown = x[:SHOWN]
    time = np.arange(x.shape[1]) / (rate or 1)
    high = max(1, int(np.abs(shown.astype(np.int32)).max()))
    figure = new_figure(8, 0.4 + 0.9 * len(shown))
    for place, one in enumerate(shown):
        axes = figure.add_subplot(len(shown), 1, place + 1)
        axes.plot(time, one, color=colour(0), linewidth=0.6)
        axes.set_ylim(-high, high)
        last = place == len(shown) - 1
        dress(axes, x=("seconds" if rate else "samples") if last else "")
        axes.tick_params(labelbottom=last)
    return _finished(figure, path)


def texts(lines: Sequence[str], path: str | os.PathLike[str] | None = None) -> NDArray[np.uint8]:
    """Write texts under each other, the first 24, each on a line of at most 96 letters.

    Returns:
      uint8 [H, W, 3], the picture.
    """
    shown = [line if len(line) <= LETTERS else f"{line[: LETTERS - 1]}\u2026" for line in lines[:LINES]]
    figure = new_figure(8, 0.3 + 0.24 * max(1, len(shown)), layout="none")
    for place, line in enumerate(shown):
        height = 1 - (place + 0.7) / (len(shown) + 0.5)
        # Of whoever wrote them: no character of a sample is a formula.
        figure.text(0.02, height, line, fontsize=SMALL, color=INK, family="monospace", parse_math=False)
    return _finished(figure, path)


def _finished(figure: Figure, path: str | os.PathLike[str] | None) -> NDArray[np.uint8]:
    picture = to_array(figure)
    if path is not None:
        save_image(path, picture)
    return picture
