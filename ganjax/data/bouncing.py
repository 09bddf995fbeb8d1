"""Clips of digits that bounce between walls, whose laws are exact (after Moving MNIST of Srivastava et al. 2015)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.checks import check_range
from ganjax.data.dataset import Companion, Dataset
from ganjax.data.order import subsample
from ganjax.errors import DataError
from ganjax.kinds import VECTOR

FRAMES, SIDE = 16, 32
COUNT = 10_000  # clips of a split at most
FASTEST = 3  # pixels a frame; no digit stands still
INK = 20  # pixels of a side that nearly hold a digit of MNIST


def bounced(phase: ArrayLike, speed: ArrayLike, frames: int, length: int) -> NDArray:
    """Positions between walls at 0 and `length`, [..., frames]: the wave `L - |(phase + speed t) mod 2 L - L|`.

    A phase is a place on a circle of 2 L steps, which is a position and a direction. If it is uniform there, so it is
    at all times: every frame has the same law, and so has the clip that runs backwards.

    Args:
        phase: [...], in steps of which 0 and L are the walls.
        speed: [...], steps a frame.
        frames: how many.
        length: L, at least 1.
    """
    check_range("bounced", 1, whole=True, frames=frames, length=length)
    phase, speed = np.asarray(phase)[..., None], np.asarray(speed)[..., None]
    return length - np.abs((phase + speed * np.arange(frames)) % (2 * length) - length)


def bouncing(
    base: Dataset, *, frames: int = FRAMES, side: int = SIDE, at_once: int = 1, count: int = COUNT, seed: int = 0
) -> Dataset:
    """Clips [frames, side, side, 1] of images that move straight on by whole pixels and are reflected by the walls.

    Each axis has a phase of its own and a speed of 1, 2 or 3 pixels a frame. Of several images at once the brighter
    pixel is seen. What is seen of one is always the same number of bright pixels, as no wall cuts into it. Images of at
    most 10 pixels are doubled, those of more than 20 cut to their middle, which holds nearly all of a digit of MNIST.
    The class of a clip is that of its first image; its "motion" are the first image's row, speed downwards, column and
    speed to the right at frame 0, in pixels.

    Args:
        base: grey images [H, W, 1].
        frames: of a clip.
        side: of a frame.
        at_once: images of a clip.
        count: clips of a split, at most one for each of its images.
        seed: of motions, and of who appears with whom.

    Raises:
        DataError: the base is not grey, or its images do not fit into a frame with a pixel to move.
    """
    check_range("bouncing", 1, whole=True, frames=frames, side=side, at_once=at_once, count=count)
    check_grey("bouncing", base)
    height, width = sprites(base.x_train[:1]).shape[1:]
    if max(height, width) >= side:
        raise DataError(f"bouncing:{base.name}: images of {height}x{width} pixels do not move in frames of {side}")

    def clips(x: NDArray, y: NDArray | None, stream: int) -> tuple[NDArray, NDArray | None, NDArray]:
        rows, rng = subsample(len(x), count), np.random.default_rng((seed, stream))
        found, told = np.zeros((len(rows), frames, side, side, 1), np.uint8), []
        for k in range(at_once):
            shown = rows if k == 0 else rng.integers(len(x), size=len(rows))
            tracks, motion = [], []
            for free in (side - height, side - width):
                phase, speed = rng.integers(2 * free, size=len(rows)), rng.integers(1, FASTEST + 1, size=len(rows))
                tracks.append(bounced(phase, speed, frames, free))
                motion += [tracks[-1][:, 0], np.where(phase < free, speed, -speed)]
            _paint(found, sprites(x[shown]), *tracks)
            told.append(np.stack(motion, 1).astype(np.float32))
        return found, None if y is None else y[rows], told[0]

    return of_splits(base, "bouncing", "motion", clips)


def of_splits(
    base: Dataset, how: str, told: str, clips: Callable[[NDArray, NDArray | None, int], tuple[NDArray, Any, NDArray]]
) -> Dataset:
    """The clips of both splits of a base, with their classes, and with vectors as the companion `told`.

    Args:
        base: what they are made of.
        how: what goes before its name.
        told: what the vectors are called.
        clips: `(images, classes, number of the split) -> (clips, classes, vectors)`.
    """
    x_train, y_train, train = clips(base.x_train, base.y_train, 0)
    x_test, y_test, test = (None,) * 3 if base.x_test is None else clips(base.x_test, base.y_test, 1)
    own = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    return replace(base, **own, name=f"{how}:{base.name}", companions={told: Companion(train, test, VECTOR)})


def check_grey(how: str, base: Dataset) -> None:
    """Raise `DataError` unless the base of clips has grey images."""
    if base.kind.name != "image" or base.shape[2:] != (1,):
        raise DataError(f"{how}:{base.name}: it has {base.kind.plural} of {base.shape}, expected grey images [H, W, 1]")


def sprites(x: NDArray) -> NDArray:
    """Images [N, H, W, 1] as they move, [N, h, w]."""
    x = np.asarray(x)[..., 0]
    x = x.repeat(2, 1).repeat(2, 2) if max(x.shape[1:]) <= INK // 2 else x
    top, left = (max(0, (s - INK) // 2) for s in x.shape[1:])
    return x[:, top : top + INK, left : left + INK]


def _paint(clips: NDArray, sprites: NDArray, rows: NDArray, columns: NDArray) -> None:
    """Put sprite i at rows[i, t] and columns[i, t] into frame t of clip i; the brighter pixel stays."""
    height, width = sprites.shape[1:]
    each, n = np.arange(len(clips))[:, None, None], np.arange(height)[None, :, None]
    for t in range(clips.shape[1]):
        where = each, t, rows[:, t, None, None] + n, columns[:, t, None, None] + np.arange(width)[None, None], 0
        clips[where] = np.maximum(clips[where], sprites)
