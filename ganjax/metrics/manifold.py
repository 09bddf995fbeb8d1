"""Precision and recall, density and coverage: does each sample lie near the other set, by nearest neighbours?

The balls around a set reach from each example to its k-th nearest other example. Distances are compared as float32,
rounded from float64, so that equal distances are equal in whatever order they were computed.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.checks import check_range
from ganjax.metrics.sets import features, squared_distances


class PrecisionRecall(NamedTuple):
    """Shares, 0 to 1."""

    precision: float  # of samples that lie in a ball of a real example
    recall: float  # of real examples that lie in a ball of a sample


class DensityCoverage(NamedTuple):
    """What a perfect sampler scores is 1 and `perfect_coverage`."""

    density: float  # mean number of real balls that a sample lies in, divided by k; may exceed 1
    coverage: float  # share of real examples whose ball holds a sample, 0 to 1


def precision_recall(x_real: ArrayLike, x_fake: ArrayLike, *, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019), with closed balls as in the paper and torch-fidelity.

    The package `prdc` has open balls and its default is k = 5: the same figures but for equal distances, such as those
    of duplicates. Both depend on the numbers of examples; the paper takes 50,000 of each.

    Args:
        x_real: [N, F] floating.
        x_fake: [M, F] floating.
        k: which neighbour the balls reach to; less than N and M.

    Raises:
        TypeError: features are not floating.
        ValueError: shapes that do not fit, k out of range, or values that are not finite.
    """
    real, fake = _checked("precision_recall", x_real, x_fake, k)
    return PrecisionRecall(_share_inside(fake, real, _radii(real, k)), _share_inside(real, fake, _radii(fake, k)))


def density_coverage(x_real: ArrayLike, x_fake: ArrayLike, *, k: int = 5) -> DensityCoverage:
    """Density and coverage (Naeem et al. 2020), with open balls as in the authors' package `prdc`.

    An outlier among the real examples, whose ball is large, makes samples precise but not dense. Arguments and errors
    are those of `precision_recall`.
    """
    real, fake = _checked("density_coverage", x_real, x_fake, k)
    radii = _radii(real, k)
    density = np.concatenate([(squares < radii).sum(1) for squares in _squares(fake, real)]).mean() / k
    nearest = np.concatenate([squares.min(1) for squares in _squares(real, fake)])
    return DensityCoverage(float(density), float((nearest < radii).mean()))


def perfect_coverage(real: int, fake: int, *, k: int = 5) -> float:
    """The coverage that a perfect sampler is expected to score (Naeem et al. 2020, lemma 2).

    `1 - (N - 1) ... (N - k) / ((N + M - 1) ... (N + M - k))` with N real and M fake examples: near `1 - 2^-k` for
    N = M, 96.9 % with k = 5.
    """
    check_range("perfect_coverage", 1, whole=True, fake=fake, k=k)
    check_range("perfect_coverage", k + 1, whole=True, real=real)
    i = np.arange(1, k + 1)
    return float(1 - np.prod((real - i) / (real + fake - i)))


def _checked(name: str, x_real: ArrayLike, x_fake: ArrayLike, k: int) -> list[NDArray]:
    check_range(name, 1, whole=True, k=k)
    return features(name, least=k + 1, x_real=x_real, x_fake=x_fake)


def _squares(x: NDArray, y: NDArray) -> Iterator[NDArray[np.float32]]:
    return (squares.astype(np.float32) for squares in squared_distances(x, y))


def _radii(x: NDArray, k: int) -> NDArray[np.float32]:
    """[N] squared distances to the k-th nearest other row: the nearest is the row itself, or a duplicate."""
    return np.concatenate([np.partition(squares, k, axis=1)[:, k] for squares in _squares(x, x)])


def _share_inside(x: NDArray, centres: NDArray, radii: NDArray[np.float32]) -> float:
    return float(np.concatenate([(squares <= radii).any(1) for squares in _squares(x, centres)]).mean())
