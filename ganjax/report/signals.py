"""Pictures of what is no image: waveforms as curves and spectrograms, texts as lines."""

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

SHOWN = 8  # waveforms of a picture of curves
COLUMNS, ROWS = 4, 4  # of a picture of spectrograms
FRAME, OVERLAP = 256, 7 / 8  # samples of a frame at most, and what neighbours share
FLOOR = 70  # decibels below the loudest of all that is drawn, where the colours end
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


def spectrograms(x: NDArray[np.int16], rate: float, path: str | os.PathLike[str] | None = None) -> NDArray[np.uint8]:
    """Draw the power of waveforms over time and frequency in decibels, on one scale of colours.

    `10 log10 |STFT|^2` under Hann windows of at most 256 samples, an eighth of the waveform where that is less, each an
    eighth of its length after the last.

    Args:
      x: int16 [N, T] with T at least 64; the first 16 are drawn.
      rate: samples a second.
      path: PNG file to write, or None.

    Returns:
      uint8 [H, W, 3], the picture.
    """
    from scipy.signal import spectrogram

    if x.ndim != 2 or not len(x) or x.shape[1] < 64:
        raise ValueError(f"waveforms are [N, T] with N >= 1 and T >= 64, got shape {x.shape}.")
    shown = x[: COLUMNS * ROWS].astype(np.float64) / 32768
    frame = min(FRAME, max(32, x.shape[1] // 8))
    shared = int(OVERLAP * frame)
    f, _, power = spectrogram(shown, rate, "hann", frame, shared, 4 * frame, detrend=False, scaling="spectrum")
    level = 10 * np.log10(power + 1e-12)
    loudest = float(level.max())
    rows = -(-len(shown) // COLUMNS)
    figure = new_figure(9, 0.5 + 1.7 * rows)
    for place, one in enumerate(level):
        axes = figure.add_subplot(rows, COLUMNS, place + 1)
        seen = axes.imshow(one, cmap="magma", vmin=loudest - FLOOR, vmax=loudest, origin="lower", aspect="auto")
        seen.set_extent((0.0, x.shape[1] / rate, 0.0, float(f[-1]) / 1000))
        first, last = place % COLUMNS == 0, place + COLUMNS >= len(level)
        dress(axes, x="seconds" if last else "", y="kHz" if first else "", title=str(place))
        axes.tick_params(labelbottom=last, labelleft=first)
        axes.grid(False)
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
