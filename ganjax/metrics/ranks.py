"""A test by ranks: does one sample of numbers tend to be larger than another?"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class RankTest(NamedTuple):
    """The rank test of Mann and Whitney."""

    auc: float  # P(x > y) + P(x = y) / 2
    z: float  # standard normal for many x and y of one distribution; negative where x is smaller
    p: float  # of |z|, both sides


def rank_test(x: ArrayLike, y: ArrayLike) -> RankTest:
    """Mann & Whitney (1947): `U = sum_ij 1[x_i > y_j] + 1[x_i = y_j] / 2`, its share and its standardised value.

    The variance is `N M (N + M + 1) / 12`, less what ties take away. z is 0 and p is 1 if all values are equal.

    Args:
        x: [N] numbers.
        y: [M] numbers.

    Raises:
        ValueError: another rank, no values, or NaN.
    """
    from scipy.stats import rankdata

    x, y = (np.asarray(values, np.float64) for values in (x, y))
    if x.ndim != 1 or y.ndim != 1 or not (x.size and y.size):
        raise ValueError(f"rank_test: x has shape {x.shape} and y {y.shape}, expected [N] and [M], not empty")
    both, n, m = np.concatenate([x, y]), len(x), len(y)
    if np.isnan(both).any():
        raise ValueError("rank_test: x or y has NaN, which has no rank; find its source")
    u = rankdata(both)[:n].sum() - n * (n + 1) / 2
    ties = np.unique(both, return_counts=True)[1].astype(np.float64)
    variance = n * m / 12 * (n + m + 1 - (ties**3 - ties).sum() / ((n + m) * (n + m - 1)))
    z = (u - n * m / 2) / math.sqrt(variance) if len(ties) > 1 else 0.0
    return RankTest(float(u / (n * m)), float(z), math.erfc(abs(z) / math.sqrt(2)))
