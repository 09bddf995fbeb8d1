"""Clips as pictures that move, GIF files, and the paths of what is seen in them."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ganjax.files import write_atomically
from ganjax.report.images import grid
from ganjax.report.style import INK, SMALL, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MILLISECONDS = 100  # a frame is shown


def animated_grid(clips: NDArray[np.uint8], *, columns: int | None = None) -> NDArray[np.uint8]:
    """Clips side by side, all at the same time.

    Args:
      clips: uint8 [N, T, H, W, C], N >= 1.
      columns: as of `grid`.

    Returns:
      uint8 [T, height, width, 3], one `grid` a frame.

    Raises:
      TypeError: the clips are not uint8.
      ValueError: a wrong rank, or no clip.
    """
    if clips.ndim != 5 or not clips.size:
        raise ValueError(f"animated_grid needs clips [N, T, H, W, C], got shape {clips.shape}.")
    return np.stack([grid(clips[:, t], columns=columns) for t in range(clips.shape[1])])


def save_animation(
    path: str | os.PathLike[str], frames: NDArray[np.uint8], *, milliseconds: int = MILLISECONDS
) -> None:
    """Write pictures uint8 [T, H, W, 3] as a GIF that repeats; grey ones keep every level.

    The file appears whole or not at all.

    Raises:
      TypeError: the array is not uint8.
      ValueError: the array has another shape, or a frame lasts less than 20 milliseconds, which browsers do not show.
    """
    from PIL import Image

    if frames.dtype != np.uint8:
        raise TypeError(f"save_animation needs uint8 values in 0..255, got {frames.dtype}; convert them first.")
    if frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise ValueError(f"save_animation needs frames [T, H, W, 3], got shape {frames.shape}.")
    if milliseconds < 20:
        raise ValueError(f"save_animation needs at least 20 milliseconds a frame, got {milliseconds}.")
    grey = (frames == frames[..., :1]).all()
    first, *rest = (Image.fromarray(frame[..., 0] if grey else frame) for frame in frames)
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0, optimize=False)
    write_atomically(path, buffer.getvalue())


def track_plot(
    samples: NDArray, real: NDArray, size: tuple[int, int], out: str | os.PathLike[str], *, columns: int = 4
) -> Figure:
    """The paths of samples, one a panel, over those of real clips in grey; a dot marks where each begins.

    Args:
      samples: [N, T, 2] rows and columns in pixels; NaN is left out.
      real: [M, T, 2].
      size: (height, width) of a frame.
      out: PNG file to write.
      columns: panels side by side.

    Raises:
      ValueError: tracks of another shape.
    """
    for name, tracks in (("samples", samples), ("real", real)):
        if tracks.ndim != 3 or tracks.shape[2] != 2 or not tracks.size:
            raise ValueError(f"track_plot needs {name} [N, T, 2], got shape {tracks.shape}.")
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    figure = new_figure(2.2 * columns, 2.3 * rows)
    for place, track in enumerate(samples):
        axes = figure.add_subplot(rows, columns, place + 1)
        for other in real:
            axes.plot(other[:, 1], other[:, 0], color="0.85", linewidth=0.6, zorder=1)
        axes.plot(track[:, 1], track[:, 0], color="tab:blue", marker=".", linewidth=1.2, zorder=2)
        axes.plot(track[:1, 1], track[:1, 0], color="tab:red", marker="o", zorder=3)
        axes.set(xlim=(0, size[1] - 1), ylim=(size[0] - 1, 0), aspect="equal", xticks=[], yticks=[])
        axes.set_title(f"sample {place + 1}", fontsize=SMALL, color=INK)
    save_figure(figure, out)
    return figure
