"""What the judges of sets share: checked input, and squared distances block by block in float64 on the host."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

ROWS = 1024  # of a block, unless they are long
BEYOND = 10.0  # no image in [-1, 1] reaches this, whatever noise it has; one in 0..255 does unless it is black
ENTRIES = 2**24  # of a block at most: 128 MiB in float64


def blocks(x: NDArray, rows: int = ROWS) -> Iterator[NDArray]:
    """Slices of at most `rows` rows and `ENTRIES` entries, in order."""
    rows = max(1, min(rows, ENTRIES // x[0].size))
    return (x[start : start + rows] for start in range(0, len(x), rows))


def float64(x: NDArray) -> NDArray[np.float64]:
    """The examples in double precision; pixels as 0 to 1."""
    return x.astype(np.float64) / 255 if x.dtype == np.uint8 else x.astype(np.float64)


def features(function: str, *, least: int = 2, **sets: ArrayLike) -> list[NDArray]:
    """Sets of features as NumPy arrays of their own dtype.

    Args:
        function: the name that errors begin with.
        least: rows that every set must have.
        **sets: [N, F] floating, all of one F; the names are those of the caller's arguments.

    Raises:
        TypeError: a set is not floating.
        ValueError: a set has another rank, too few rows or values that are not finite, or the widths differ.
    """
    arrays = {name: np.asarray(value) for name, value in sets.items()}
    for name, x in arrays.items():
        _check(function, name, x, least, "[N, F]", x.ndim == 2)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"{function}: {name} has dtype {x.dtype}, expected floating features; convert them")
    _check_widths(function, arrays)
    return list(arrays.values())


def points(function: str, *, least: int = 2, **sets: ArrayLike) -> list[NDArray]:
    """Sets of images or features, flattened to [N, F], as NumPy arrays of their own dtype.

    Args:
        function: the name that errors begin with.
        least: rows that every set must have.
        **sets: [N, ...], all uint8 or all floating, and of one shape beside N.

    Raises:
        TypeError: a set is neither uint8 nor floating, or one is uint8 and another floating.
        ValueError: a set has another rank, too few rows or values that are not finite, or the shapes differ.
    """
    arrays = {name: np.asarray(value) for name, value in sets.items()}
    for name, x in arrays.items():
        _check(function, name, x, least, "[N, ...]", x.ndim >= 2)
        if x.dtype != np.uint8 and not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"{function}: {name} has dtype {x.dtype}, expected uint8 pixels or floating features")
    if len({x.dtype == np.uint8 for x in arrays.values()}) > 1:
        kinds = " and ".join(f"{name} {x.dtype}" for name, x in arrays.items())
        raise TypeError(f"{function}: {kinds} have different units, expected uint8 everywhere or nowhere")
    _check_widths(function, arrays)
    return [x.reshape(len(x), -1) for x in arrays.values()]


def check_images(function: str, **sets: ArrayLike) -> None:
    """Raise unless all are [N, H, W, C], uint8, or floating, finite and in the units of [-1, 1]."""
    for name, images in sets.items():
        x = np.asarray(images)
        _check(function, name, x, 1, "[N, H, W, C]", x.ndim == 4)
        if x.dtype != np.uint8 and not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"{function}: {name} has dtype {x.dtype}, expected uint8, or floating in [-1, 1]")
        check_units(function, name, x)


def check_units(function: str, name: str, x: NDArray) -> None:
    """Raise `ValueError` if floating images are in 0..255 where they are expected in [-1, 1]."""
    largest = 0.0 if x.dtype == np.uint8 else max(float(np.abs(block).max()) for block in blocks(x))
    if largest > BEYOND:
        raise ValueError(
            f"{function}: {name} reaches {largest:.4g}, expected floating images in [-1, 1]; hand over uint8, or take "
            "x / 127.5 - 1 of images in 0..255"
        )


def squared_distances(x: NDArray, y: NDArray) -> Iterator[NDArray[np.float64]]:
    """Yield `|x_i - y_j|^2` as [B, M], block after block of x, so that [N, M] is never held.

    By `|x|^2 + |y|^2 - 2 <x, y>` about the mean of y. What is below the rounding of this difference is set to zero, so
    that equal points are at distance 0.
    """
    centre = sum(float64(b).sum(0) for b in blocks(y)) / len(y)
    rounding = 8 * np.finfo(np.float64).eps * np.sqrt(x.shape[1])
    for block in blocks(x, min(ROWS, ENTRIES // len(y))):
        a = float64(block) - centre
        squares, start = np.empty((len(a), len(y))), 0
        for b in blocks(y):
            b = float64(b) - centre
            norms = (a**2).sum(1)[:, None] + (b**2).sum(1)
            part = norms - 2 * (a @ b.T)
            squares[:, start : start + len(b)] = np.where(part > rounding * norms, part, 0)
            start += len(b)
        yield squares


def _check(function: str, name: str, x: NDArray, least: int, expected: str, rank: bool) -> None:
    if not rank or len(x) < least or not x.size:
        raise ValueError(f"{function}: {name} has shape {x.shape}, expected {expected} with N at least {least}")
    if jnp.issubdtype(x.dtype, jnp.inexact) and not all(np.isfinite(block).all() for block in blocks(x)):
        raise ValueError(f"{function}: {name} has values that are not finite; find their source, they are no samples")


def _check_widths(function: str, arrays: dict[str, NDArray]) -> None:
    if len({x.shape[1:] for x in arrays.values()}) > 1:
        shapes = " and ".join(f"{name} {x.shape}" for name, x in arrays.items())
        raise ValueError(f"{function}: {shapes} differ beside N; use the same features or image size of both")
