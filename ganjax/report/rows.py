"""Rows of images with words beside them: one row says one thing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganjax.report.images import check_images, enlarge, grid
from ganjax.report.style import DPI, INK, LABEL, SMALL, TITLE, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADER, GAP, LETTER = 38, 10, 10.5  # pixels: over the figure, between strips, width of a caption's letter
HEADS = 22  # pixels: over the strips, where the columns have names
WIDTH, HEIGHT = 640, 900  # pixels that small strips are enlarged towards


class Row(NamedTuple):
    """Images side by side, and what to say of them."""

    images: NDArray[np.uint8]  # [N, H, W, C]
    caption: str  # on their left
    note: str = ""  # on their right


def rows(
    content: Sequence[Row], out: str | os.PathLike[str], *, title: str = "", heads: Sequence[str] = (), group: int = 1
) -> Figure:
    """Draw rows of equally many images under each other.

    Args:
      content: the rows, images of one shape, equally many.
      out: PNG file to write.
      title: above the figure.
      heads: the names of the columns; none, or as many as images in a row.
      group: so many rows stand close together.

    Returns:
      The figure, one axes a row.

    Raises:
      TypeError: images are not uint8.
      ValueError: no row, rows that differ in shape, or heads that do not fit.
    """
    if not content:
        raise ValueError("rows needs at least one row, got none.")
    shape = content[0].images.shape
    for place, row in enumerate(content):
        check_images(f"content[{place}].images", row.images)
        if row.images.shape != shape:
            raise ValueError(f"content[{place}] has images of {row.images.shape}, content[0] of {shape}.")
    if len(heads) not in (0, shape[0]):
        raise ValueError(f"heads must be none or {shape[0]}, one for each column, got {len(heads)}.")
    strips = [grid(row.images, columns=shape[0]) for row in content]
    captions, notes = [row.caption for row in content], [row.note for row in content]
    figure = stack(captions, strips, title, notes=notes, heads=heads, group=group)
    save_figure(figure, out)
    return figure


def stack(
    captions: Sequence[str],
    strips: Sequence[NDArray[np.uint8]],
    title: str,
    *,
    notes: Sequence[str] = (),
    heads: Sequence[str] = (),
    group: int = 1,
) -> Figure:
    """Strips [H, W, 3] under each other, pixel for pixel, captions on the left, notes on the right."""
    strips = _enlarged(strips)
    widest, before, after = max(strip.shape[1] for strip in strips), _room(captions), _room(notes)
    content = before + widest + after + 3 * GAP
    width = max(content, LETTER * len(title) + 2 * GAP)
    top = HEADER + HEADS * bool(heads)
    height = top + sum(strip.shape[0] for strip in strips) + GAP * -(-len(strips) // group)
    left = (width + content) / 2 - GAP - after - widest
    figure = new_figure(width / DPI, height / DPI, layout="none")
    figure.text(0.5, 1 - HEADER / 2 / height, title, ha="center", va="center", fontsize=TITLE, color=INK)
    for place, head in enumerate(heads):
        x = (left + (place + 0.5) / len(heads) * strips[0].shape[1]) / width
        figure.text(x, 1 - top / height, head, ha="center", va="bottom", fontsize=SMALL, color=INK)
    bottom = float(height - top)
    for place, (caption, strip) in enumerate(zip(captions, strips, strict=True)):
        bottom -= strip.shape[0]
        box = (left / width, bottom / height, strip.shape[1] / width, strip.shape[0] / height)
        axes = figure.add_axes(box, xticks=[], yticks=[])
        axes.imshow(strip, interpolation="nearest", aspect="auto")
        axes.spines[:].set_visible(False)
        axes.set_ylabel(caption, rotation=0, ha="right", va="center", fontsize=LABEL, color=INK)
        if notes:
            x, y = (left + strip.shape[1] + GAP) / width, (bottom + strip.shape[0] / 2) / height
            figure.text(x, y, notes[place], ha="left", va="center", fontsize=SMALL, color=INK)
        bottom -= GAP * ((place + 1) % group == 0)
    return figure


def _room(words: Sequence[str]) -> float:
    """The width of the longest line of the words."""
    return LETTER * max((len(line) for word in words for line in word.splitlines()), default=0)


def _enlarged(strips: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """The strips, all enlarged by the largest integer that keeps them within WIDTH and HEIGHT."""
    widest, total = max(strip.shape[1] for strip in strips), sum(strip.shape[0] for strip in strips)
    factor = max(1, min(WIDTH // widest, HEIGHT // total))
    return [enlarge(strip, factor) for strip in strips]
