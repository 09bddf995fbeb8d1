"""Kernel distance (KID): the squared maximum mean discrepancy of features under a cubic kernel."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.metrics.sets import blocks, features, float64


class KernelDistance(NamedTuple):
    """Over subsets."""

    mean: float
    std: float  # of the subsets, divided by their number, as torch-fidelity has it; no standard error of the mean


def kernel_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Unbiased `MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)`, `k(x, y) = (<x, y> / F + 1)^3` (Binkowski et al. 2018).

    The expectations leave out pairs of an example with itself: the mean over sets is the true value at any size, so
    that for a good generator about half of the values are negative. The kernel is taken block by block.

    Args:
        x: [N, F] floating.
        y: [M, F] floating.

    Raises:
        TypeError: features are not floating.
        ValueError: shapes that do not fit, fewer than two rows, or values that are not finite.
    """
    x, y = features("kernel_distance", x=x, y=y)
    return _mmd(x, y)


def kernel_distance_subsets(
    x: ArrayLike, y: ArrayLike, *, subsets: int = 100, size: int = 1000, seed: int
) -> KernelDistance:
    """Mean and deviation of `kernel_distance` over random subsets, the protocol of published figures.

    Defaults are those of Binkowski et al. (2018) and torch-fidelity: rows are drawn without replacement within a
    subset. Other libraries draw other subsets from the same seed. Its mean estimates what `kernel_distance` of the full
    sets estimates, with more noise.

    Args:
        x: [N, F] floating.
        y: [M, F] floating.
        subsets: how many.
        size: rows of each, at most N and M.
        seed: of the draws.

    Raises:
        TypeError: features are not floating.
        ValueError: shapes that do not fit, or subsets or size out of range.
    """
    x, y = features("kernel_distance_subsets", x=x, y=y)
    least = min(len(x), len(y))
    if subsets < 1 or not 2 <= size <= least:
        raise ValueError(f"kernel_distance_subsets: {subsets=} and {size=}, expected at least 1 and from 2 to {least}")
    rng = np.random.default_rng(seed)
    values = [_mmd(*(z[rng.choice(len(z), size, replace=False)] for z in (x, y))) for _ in range(subsets)]
    return KernelDistance(float(np.mean(values)), float(np.std(values)))


def _mmd(x: NDArray, y: NDArray) -> float:
    n, m = len(x), len(y)
    across = sum(_kernel(a, b).sum() for a in blocks(x) for b in blocks(y))
    return float(_within(x) / (n * (n - 1)) + _within(y) / (m * (m - 1)) - 2 * across / (n * m))


def _within(x: NDArray) -> float:
    """The sum over all pairs of different rows: twice that of the blocks below the diagonal, and those on it."""
    total = 0.0
    for i, a in enumerate(blocks(x)):
        own = _kernel(a, a)
        total += own.sum() - own.trace()
        total += 2 * sum(_kernel(a, b).sum() for b, _ in zip(blocks(x), range(i), strict=False))
    return total


def _kernel(x: NDArray, y: NDArray) -> NDArray[np.float64]:
    base = float64(x) @ float64(y).T / x.shape[1] + 1
    return base * base * base
