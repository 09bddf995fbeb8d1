"""Are the samples copies of training images? A sheet of nearest neighbours with a control."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganjax.report.images import check_images, default_scale, enlarge, to_rgb
from ganjax.report.style import DPI, INK, LABEL, SMALL, colour, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

CONTROLS = 2  # held-out images shown under the samples
CAPTION, BELOW, MARGIN, SPLIT, HEADER = 24, 4, 8, 26, 84  # pixels


class Neighbours(NamedTuple):
    """What a sheet shows. Distances are Euclidean over all pixels and channels, pixel values in [0, 1]."""

    indices: NDArray[np.int64]  # [samples, k]: rows of the training set, nearest first
    distances: NDArray[np.float64]  # [samples, k]
    median: float  # of all the samples' distances to their nearest training image
    held_out_median: float | None  # the same for held-out real images: what copying nothing looks like
    figure: Figure


def nearest_neighbours(
    samples: NDArray[np.uint8],
    train: NDArray[np.uint8],
    out: str | os.PathLike[str],
    *,
    count: int = 10,
    k: int = 4,
    held_out: NDArray[np.uint8] | None = None,
) -> Neighbours:
    """Show the first `count` samples beside their k nearest training images.

    A generator that memorised the training set is nearer to it than real images that it never saw are:
    compare `median` with `held_out_median`. Nearness in pixels misses copies that are shifted or recoloured.

    Args:
      samples: uint8 [N, H, W, C]; all enter the median.
      train: uint8 [M, H, W, C]; held in memory as float32 while searching.
      out: PNG file to write.
      count: rows of the sheet.
      k: neighbours of each sample, at most M.
      held_out: uint8 [L, H, W, C], real images outside the training set; two are shown as control rows.

    Returns:
      Neighbours: indices and distances of all samples, both medians, the figure.

    Raises:
      TypeError: images are not uint8.
      ValueError: shapes differ, or k or count is out of range.
    """
    _check(samples, train, held_out, count, k)
    indices, distances = find_neighbours(samples, train, k)
    blocks = [_rows(samples[:count], train, indices, distances)]
    held_out_median = None
    if held_out is not None:
        control_indices, control_distances = find_neighbours(held_out, train, k)
        held_out_median = float(np.median(control_distances[:, 0]))
        blocks.append(_rows(held_out[:CONTROLS], train, control_indices, control_distances))
    median = float(np.median(distances[:, 0]))
    figure = _sheet(blocks, _title(median, held_out_median), k)
    save_figure(figure, out)
    return Neighbours(indices, distances, median, held_out_median, figure)


def find_neighbours(
    images: NDArray[np.uint8], train: NDArray[np.uint8], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Indices [N, k] and distances [N, k] of the k nearest training images, nearest first; 0 for a copy."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(_flat(train))
    indices = search.kneighbors(_flat(images), return_distance=False)
    # The search expands |x - y|^2 and is exact to rounding only; a copy must be at distance 0.
    difference = images[:, None].astype(np.int64) - train[indices]
    distances = np.sqrt((difference**2).sum(axis=(2, 3, 4))) / 255
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)


def _flat(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32)


def _title(median: float, held_out_median: float | None) -> str:
    title = f"Median L2 distance to the nearest training image\nsamples {median:.2f}"
    return title if held_out_median is None else f"{title}, held-out real images {held_out_median:.2f}"


class _Row(NamedTuple):
    images: NDArray[np.uint8]  # [1 + k, H, W, C]: the query, then its neighbours
    distances: NDArray[np.float64]  # [k]


def _rows(
    images: NDArray[np.uint8],
    train: NDArray[np.uint8],
    indices: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> list[_Row]:
    return [_Row(np.concatenate([images[i : i + 1], train[indices[i]]]), distances[i]) for i in range(len(images))]


def _sheet(blocks: list[list[_Row]], title: str, k: int) -> Figure:
    """One block of rows for the samples, one for the control, pixel for pixel."""
    scale = default_scale(*blocks[0][0].images.shape[1:3])
    cell_height, cell_width = np.array(blocks[0][0].images.shape[1:3]) * scale
    row_height = cell_height + CAPTION
    width = max(2 * MARGIN + (k + 1) * (cell_width + MARGIN) + SPLIT, 470)
    left = (width - (k + 1) * (cell_width + MARGIN) - SPLIT) / 2
    height = HEADER + sum(len(block) * row_height + SPLIT for block in blocks)
    figure = new_figure(width / DPI, height / DPI, layout="none")
    figure.text(0.5, 1 - 8 / height, title, ha="center", va="top", fontsize=LABEL, color=INK, linespacing=1.35)
    top = HEADER
    for block, name, tint in zip(blocks, ("sample", "held out"), (colour(1), colour(0)), strict=False):
        for row in block:
            bottom = height - top - cell_height
            for place, image in enumerate(enlarge(to_rgb(row.images), scale)):
                x = round(left) + place * (cell_width + MARGIN) + (SPLIT if place else 0)
                figure.figimage(image, x, bottom)  # axes for each cell would take most of the time of a sheet
                caption = name if place == 0 else f"{row.distances[place - 1]:.2f}"
                at, look = ((x + cell_width / 2) / width, (bottom - BELOW) / height), INK if place else tint
                figure.text(*at, caption, ha="center", va="top", fontsize=SMALL, color=look)
            figure.add_artist(_frame(round(left), bottom, cell_width, cell_height, tint))
            top += row_height
        top += SPLIT
    return figure


def _frame(x: float, y: float, width: float, height: float, tint: str) -> Artist:
    """A frame about a cell, in pixels."""
    from matplotlib.patches import Rectangle
    from matplotlib.transforms import IdentityTransform

    return Rectangle((x, y), width, height, fill=False, linewidth=2.0, edgecolor=tint, transform=IdentityTransform())


def _check(
    samples: NDArray[np.uint8],
    train: NDArray[np.uint8],
    held_out: NDArray[np.uint8] | None,
    count: int,
    k: int,
) -> None:
    named = {"samples": samples, "train": train} | ({} if held_out is None else {"held_out": held_out})
    for name, images in named.items():
        check_images(name, images)
        if images.shape[1:] != train.shape[1:]:
            raise ValueError(f"{name} has images of {images.shape[1:]}, train of {train.shape[1:]}; resize one.")
    if not 1 <= k <= len(train) or count < 1:
        raise ValueError(f"Need count >= 1 and 1 <= k <= {len(train)} training images, got {count=}, {k=}.")
