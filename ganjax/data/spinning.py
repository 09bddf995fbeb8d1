"""Clips of images that turn about the middle of the frame: the motion that bouncing digits do not have."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ganjax.checks import check_range
from ganjax.data.bouncing import COUNT, FRAMES, SIDE, check_grey, of_splits, sprites
from ganjax.data.dataset import Dataset
from ganjax.data.order import subsample
from ganjax.errors import DataError

STEPS = 24  # of a whole turn, 15 degrees each
FASTEST = 3  # steps a frame; nothing stands still


def turned(x: NDArray[np.uint8], angle: float) -> NDArray[np.uint8]:
    """Square images [N, S, S] turned to the left about their middle, black outside; quarter turns move whole pixels.

    Args:
        x: what to turn.
        angle: in degrees.
    """
    how: dict[str, Any] = {"axes": (1, 2), "reshape": False, "order": 1, "mode": "grid-constant"}
    return np.round(ndimage.rotate(x.astype(np.float32), angle, **how)).astype(np.uint8)


def spinning(base: Dataset, *, frames: int = FRAMES, side: int = SIDE, count: int = COUNT, seed: int = 0) -> Dataset:
    """Clips [frames, side, side, 1] of images that turn at a constant speed about the middle of the frame.

    The first angle is one of 24, each as likely, and the speed 1, 2 or 3 of these steps of 15 degrees a frame to the
    left or to the right: so every frame has the same law, and so has the clip that runs backwards. Between quarter
    turns pixels are interpolated. Images are doubled or cut as by `bouncing`; its "turn" are a clip's first angle and
    its speed to the left, in degrees.

    Args:
        base: grey images [H, W, 1].
        frames: of a clip.
        side: of a frame.
        count: clips of a split, at most one for each of its images.
        seed: of angles and speeds.

    Raises:
        DataError: the base is not grey, or its corners would be turned out of the frame.
    """
    check_range("spinning", 1, whole=True, frames=frames, side=side, count=count)
    check_grey("spinning", base)
    height, width = sprites(base.x_train[:1]).shape[1:]
    if np.hypot(height, width) > side:
        raise DataError(f"spinning:{base.name}: images of {height}x{width} pixels do not turn in frames of {side}")
    top, left = (side - height) // 2, (side - width) // 2

    def clips(x: NDArray, y: NDArray | None, stream: int) -> tuple[NDArray, NDArray | None, NDArray]:
        rows, rng = subsample(len(x), count), np.random.default_rng((seed, stream))
        still = np.zeros((len(rows), side, side), np.uint8)
        still[:, top : top + height, left : left + width] = sprites(x[rows])
        first = rng.integers(STEPS, size=len(rows))
        speed = rng.integers(1, FASTEST + 1, size=len(rows)) * rng.choice([-1, 1], len(rows))
        steps = (first[:, None] + speed[:, None] * np.arange(frames)) % STEPS
        found = np.zeros((len(rows), frames, side, side, 1), np.uint8)
        for step in range(STEPS):
            which, when = np.nonzero(steps == step)
            found[which, when, ..., 0] = turned(still[which], step * 360 / STEPS)
        degrees = np.stack([first, speed], 1) * (360 / STEPS)
        return found, None if y is None else y[rows], degrees.astype(np.float32)

    return of_splits(base, "spinning", "turn", clips)
