"""Many small images as one picture, and pictures as PNG files."""

from __future__ import annotations

import io
import math
import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganjax.files import write_atomically

READABLE = 64  # pixels: an image whose longer side is smaller is enlarged
BORDER = 255  # the grid's lines are white


def grid(
    images: NDArray[np.uint8], *, columns: int | None = None, border: int = 2, scale: int | None = None
) -> NDArray[np.uint8]:
    """Lay images out row by row, with white lines between and around them.

    One channel is shown as grey, two as the grey of their mean, more than three by their first three.
    The unused cells of the last row stay white.

    Args:
      images: uint8 [N, H, W, C], N >= 1.
      columns: images per row; the smallest square that holds N when None.
      border: width of the lines in picture pixels (not enlarged).
      scale: integer nearest-neighbour enlargement; when None the smallest one that makes the longer side
        at least 64 pixels (28 -> 3, 32 -> 2, 64 -> 1).

    Returns:
      uint8 [rows (scale H + border) + border, columns (scale W + border) + border, 3].

    Raises:
      TypeError: the images are not uint8.
      ValueError: a wrong rank, no image, or columns, border or scale out of range.
    """
    check_images("images", images)
    count, height, width, _ = images.shape
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    scale = default_scale(height, width) if scale is None else scale
    if columns < 1 or scale < 1 or border < 0:
        raise ValueError(f"grid needs columns >= 1, scale >= 1 and border >= 0, got {columns=}, {scale=}, {border=}.")
    rows = math.ceil(count / columns)
    cell_height, cell_width = height * scale + border, width * scale + border
    picture = np.full((rows * cell_height + border, columns * cell_width + border, 3), BORDER, np.uint8)
    for index, image in enumerate(enlarge(to_rgb(images), scale)):
        top = border + index // columns * cell_height
        left = border + index % columns * cell_width
        picture[top : top + height * scale, left : left + width * scale] = image
    return picture


def save_image(path: str | os.PathLike[str], array: NDArray[np.uint8]) -> None:
    """Write a picture, uint8 [H, W], [H, W, 1] or [H, W, 3], as PNG; the file appears whole or not at all.

    Raises:
      TypeError: the array is not uint8.
      ValueError: the array has another shape.
    """
    from PIL import Image

    array = np.asarray(array)
    if array.dtype != np.uint8:
        raise TypeError(f"save_image needs uint8 values in 0..255, got {array.dtype}; convert them first.")
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3):
        raise ValueError(f"save_image needs [H, W], [H, W, 1] or [H, W, 3], got shape {array.shape}.")
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def load_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read a picture file as uint8 [H, W, 3]."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


class Cells(NamedTuple):
    """The layout of a picture made by `grid`, in pixels."""

    rows: int
    columns: int
    height: int  # of one image
    width: int
    border: int


def find_cells(picture: NDArray[np.uint8]) -> Cells | None:
    """The layout of a `grid` picture, read from its white lines; None where they form no regular grid."""
    white = (picture == BORDER).all(axis=-1)
    vertical, horizontal = _regular_runs(white.all(axis=1)), _regular_runs(white.all(axis=0))
    if vertical is None or horizontal is None or vertical[2] != horizontal[2]:
        return None
    return Cells(vertical[0], horizontal[0], vertical[1], horizontal[1], vertical[2])


def _regular_runs(is_line: NDArray[np.bool_]) -> tuple[int, int, int] | None:
    """(runs, their length, thickness of a line) if lines and runs alternate with fixed lengths, else None."""
    if not (is_line[0] and is_line[-1]) or is_line.all():
        return None
    lengths = np.diff(np.flatnonzero(np.diff(is_line, prepend=~is_line[:1], append=~is_line[-1:])))
    lines, runs = lengths[::2], lengths[1::2]
    if (lines != lines[0]).any() or (runs != runs[0]).any():
        return None
    return len(runs), int(runs[0]), int(lines[0])


def to_rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [..., C] to uint8 [..., 3]: grey for one or two channels (their mean), else the first three."""
    if images.shape[-1] >= 3:
        return images[..., :3]
    grey = np.round(images.mean(axis=-1, keepdims=True)).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1)


def enlarge(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Nearest-neighbour enlargement of [..., H, W, C] by an integer."""
    return images.repeat(scale, axis=-3).repeat(scale, axis=-2)


def default_scale(height: int, width: int) -> int:
    """The smallest integer factor that makes the longer side READABLE."""
    return max(1, math.ceil(READABLE / max(height, width)))


def check_images(name: str, images: NDArray[np.uint8]) -> None:
    """Raise TypeError or ValueError unless `images` is a non-empty uint8 [N, H, W, C]."""
    if images.dtype != np.uint8:
        raise TypeError(f"{name} must be uint8 in 0..255, got {images.dtype}; convert the samples first.")
    if images.ndim != 4 or images.size == 0:
        raise ValueError(f"{name} must be a non-empty [N, H, W, C], got shape {images.shape}.")
