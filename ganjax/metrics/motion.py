"""How what is bright in clips moves, against the law of things between walls, and whether it stays the same."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.checks import check_range

FAINT = 0.1  # brightness, of 1, that is taken for background
TOLERANCE = 0.5  # pixels
PARTS = 4  # of a pixel, in which phases and speeds of the law are tried
TOGETHER = 64  # clips that are compared with all waves at once


def centres(x: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where the brightness of each frame has its centre of mass, in pixels, rows and columns.

    What is fainter than a tenth counts as background, and all else by how much brighter it is.

    Args:
        x: [N, T, H, W, C] uint8.

    Returns:
        [N, T, 2] float64; NaN where a frame is dark.

    Raises:
        TypeError: x is not uint8.
        ValueError: x has another rank.
    """
    _check_clips("centres", x)
    light = _light(x)
    mass = light.sum((2, 3))
    whole = np.where(mass > 0, mass, np.nan)
    return np.stack(
        [
            (light.sum(3) * np.arange(x.shape[2])).sum(2) / whole,
            (light.sum(2) * np.arange(x.shape[3])).sum(2) / whole,
        ],
        -1,
    )


def motion_consistency(tracks: ArrayLike, free: tuple[int, int], *, fastest: float) -> NDArray[np.float64]:
    """The share of a clip's steps that are those of one thing that bounces between walls.

    Of every wave `L - |(phase + speed t) mod 2 L - L|` whose speed is from 1 to `fastest`, that one is taken along each
    axis whose steps come within half a pixel of the track's most often; a step counts where both axes come as near. So
    clips of the simulator have 1, a thing at rest next to nothing (the law moves), and one of another constant speed up
    to `fastest` 1 too. Where the walls are does not matter, how far apart they are does.

    Args:
        tracks: [N, T, 2] as of `centres`; steps from or to a dark frame (NaN) do not count.
        free: how far the thing can move along each axis, L in pixels: side of the frame minus that of the thing.
        fastest: pixels a frame.

    Returns:
        [N], from 0 to 1.

    Raises:
        ValueError: tracks of another shape, or of fewer than two frames.
    """
    tracks = _checked_tracks("motion_consistency", tracks, 2)
    check_range("motion_consistency", 1, whole=True, free=np.asarray(free))
    check_range("motion_consistency", 1, fastest=fastest)
    moved = np.diff(tracks, axis=1)
    kept = np.ones(moved.shape[:2], bool)
    for axis in (0, 1):
        waves = np.diff(_waves(tracks.shape[1], free[axis], fastest), axis=1)
        for start in range(0, len(moved), TOGETHER):
            part = slice(start, start + TOGETHER)
            near = np.abs(moved[part, None, :, axis] - waves) <= TOLERANCE + 1e-9
            best = near.sum(2).argmax(1)
            kept[part] &= near[np.arange(len(near)), best]
    return kept.mean(1)


def reach(sides: tuple[int, int], free: tuple[int, int], fastest: float) -> NDArray[np.float64]:
    """How far from the middle of a frame a centre can be and meet no wall within a frame, [2]; negative for nowhere.

    The centre may lie an eighth of the thing off its middle.

    Args:
        sides: of a frame, height and width in pixels.
        free: how far the thing can move along each axis: the side minus that of the thing.
        fastest: pixels a frame.
    """
    side, way = np.asarray(sides), np.asarray(free)
    return way / 2 - fastest - (side - way) / 8


def straightness(tracks: ArrayLike, sides: tuple[int, int], free: tuple[int, int], *, fastest: float) -> float:
    """The share of the frames away from walls at which what is bright goes straight on.

    Along each axis those frames count whose centre is within `reach` of the middle, and its second difference is to be
    at most half a pixel. Clips of the simulator have 1, and so has a thing at rest: see `at_rest`.

    Args:
        tracks: [N, T, 2] as of `centres`; dark frames (NaN) do not count.
        sides: of a frame, height and width in pixels.
        free: how far the thing can move along each axis.
        fastest: pixels a frame.

    Returns:
        Of all clips and both axes together, as many a clip has no such frame; 0 if none has.

    Raises:
        ValueError: tracks of another shape, or of fewer than three frames.
    """
    tracks = _checked_tracks("straightness", tracks, 3)
    inner = tracks[:, 1:-1]
    bent = np.abs(tracks[:, 2:] - 2 * inner + tracks[:, :-2])
    away = np.abs(inner - (np.asarray(sides) - 1) / 2) <= reach(sides, free, fastest)
    counted = bent[away & np.isfinite(bent)]
    return float((counted <= TOLERANCE + 1e-9).mean()) if len(counted) else 0.0


def at_rest(tracks: ArrayLike) -> NDArray[np.float64]:
    """The share of a clip's steps, [N], that are shorter than half a pixel along both axes; tracks as of `centres`."""
    moved = np.abs(np.diff(_checked_tracks("at_rest", tracks, 2), axis=1))
    return (moved < TOLERANCE).all(-1).mean(1)


def ink_variation(x: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The standard deviation of the brightness of a clip's frames over its mean, [N]; 0 of a thing that stays whole.

    Args:
        x: [N, T, H, W, C] uint8; what is fainter than a tenth is background, a dark clip has 0.
    """
    _check_clips("ink_variation", x)
    ink = _light(x).sum((2, 3))
    return ink.std(1) / np.maximum(ink.mean(1), np.finfo(float).tiny)


def _light(x: NDArray[np.uint8]) -> NDArray[np.float64]:
    """By how much each pixel is brighter than background, [N, T, H, W]."""
    return np.maximum(x.mean(-1) / 255 - FAINT, 0)


def _waves(frames: int, length: int, fastest: float) -> NDArray:
    """[P, frames], every phase and speed that is tried."""
    turn = length * PARTS
    phase, speed = np.arange(2 * turn)[:, None, None], np.arange(PARTS, int(fastest * PARTS) + 1)[:, None]
    places = turn - np.abs((phase + speed * np.arange(frames)) % (2 * turn) - turn)
    return places.reshape(-1, frames) / PARTS


def identity(labels: ArrayLike) -> NDArray[np.float64]:
    """The share of a clip's frames that a classifier gives the class that it gives most of them.

    1 for clips whose thing stays what it is, as far as the classifier knows it; by chance more than 1 / K, as the most
    frequent of T draws.

    Args:
        labels: [N, T] integers, the classes of frames.

    Returns:
        [N], from 1 / T to 1.

    Raises:
        ValueError: labels of another rank or dtype, or of no frame.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "iu":
        raise ValueError(
            f"identity: labels have shape {labels.shape} and dtype {labels.dtype}, expected integers [N, T]"
        )
    same = (labels[:, :, None] == labels[:, None, :]).sum(2)
    return same.max(1) / labels.shape[1]


def shuffled(x: NDArray, *, seed: int = 0) -> NDArray:
    """Clips [N, T, ...] with the frames of each in an order of its own: the control that no distance of frames sees."""
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)
    return x[np.arange(len(x))[:, None], order]


def frozen(x: NDArray) -> NDArray:
    """Clips [N, T, ...] whose first frame stays: the control that never changes and never moves."""
    return np.repeat(x[:, :1], x.shape[1], axis=1)


def _checked_tracks(where: str, tracks: ArrayLike, frames: int) -> NDArray[np.float64]:
    found = np.asarray(tracks, np.float64)
    if found.ndim != 3 or found.shape[2] != 2 or found.shape[1] < frames:
        raise ValueError(f"{where}: tracks have shape {found.shape}, expected [N, T, 2] of at least {frames} frames")
    return found


def _check_clips(where: str, x: NDArray) -> None:
    if x.dtype != np.uint8:
        raise TypeError(f"{where}: x is {x.dtype}, expected uint8 clips; convert those in 0..255")
    if x.ndim != 5:
        raise ValueError(f"{where}: x has shape {x.shape}, expected clips [N, T, H, W, C]")
