"""Frechet distance of Gaussians fitted to features, from moments that batches and devices gather and merge.

The distance of N samples to their own distribution is not zero: `frechet_bias` says what a perfect sampler scores, and
two distances can be compared only if they have the same N, the same features and the same reference.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.checks import check_range
from ganjax.metrics.sets import blocks, features, float64


class Moments(NamedTuple):
    """The first two moments of a set of features, in float64 on the host."""

    count: int  # type: ignore[assignment]  # hides tuple.count
    mean: NDArray[np.float64]  # [F]
    scatter: NDArray[np.float64]  # [F, F], sum of (x - mean) (x - mean)^T

    @property
    def covariance(self) -> NDArray[np.float64]:
        """[F, F] unbiased, divided by N - 1 as `numpy.cov` does."""
        return self.scatter / (self.count - 1)


class Extrapolation(NamedTuple):
    """A line fitted to distances over 1 / N."""

    value: float  # the distance at infinite N
    slope: float  # the distance at N exceeds it by slope / N
    distances: NDArray[np.float64]  # [sizes], what the line is fitted to


class IntraClass(NamedTuple):
    """Distances within classes."""

    mean: float
    classes: NDArray  # [K], the labels in order
    distances: NDArray[np.float64]  # [K]


def moments(x: ArrayLike) -> Moments:
    """Count, mean and scatter of features, block by block: no copy of all features in double precision is made.

    Args:
        x: [N, F] floating.

    Raises:
        TypeError: x is not floating.
        ValueError: x has another rank, no rows, or values that are not finite.
    """
    from scipy.linalg.blas import dsyrk

    (x,) = features("moments", least=1, x=x)
    # One pass, about the mean of the first block instead of the mean, whose rank-one share is taken off afterwards: it
    # is at most N / ROWS times what stays, for the first block is among the examples.
    origin = float64(next(blocks(x))).mean(0)
    total = np.zeros(x.shape[1])
    scatter = np.zeros((x.shape[1], x.shape[1]), order="F")
    for block in blocks(x):  # into the upper triangle, in place
        centred = float64(block) - origin
        total += centred.sum(0)
        scatter = dsyrk(1.0, centred.T, beta=1.0, c=scatter, overwrite_c=True)
    scatter = dsyrk(-1.0 / len(x), total[:, None], beta=1.0, c=scatter, overwrite_c=True)
    return Moments(len(x), origin + total / len(x), np.triu(scatter) + np.triu(scatter, 1).T)


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of both sets together (Chan et al. 1979): of batches, of devices, of processes.

    With d the difference of the means, `scatter = scatter_a + scatter_b + d d^T count_a count_b / count`. It costs F^2
    operations: gather a few hundred examples before merging them.

    >>> x = np.arange(10.0).reshape(5, 2)
    >>> bool(np.allclose(merge(moments(x[:2]), moments(x[2:])).scatter, moments(x).scatter))
    True
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"merge: means have shapes {a.mean.shape} and {b.mean.shape}, expected the same features")
    count, gap = a.count + b.count, b.mean - a.mean
    if not count:
        return a
    scatter = np.outer(gap, gap * (a.count * b.count / count))
    scatter += a.scatter
    scatter += b.scatter
    return Moments(count, a.mean + gap * (b.count / count), scatter)


def frechet_distance(a: Moments, b: Moments) -> float:
    """`|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2)`, the squared W2 of two Gaussians (Heusel et al. 2017).

    With any `S = A^T A` and `M = A_a A_b^T`, the last trace is the sum of the square roots of the eigenvalues of the
    symmetric `M M^T`, real for all covariances, singular ones too. pytorch-fid takes the matrix square root of the
    product, which for these crashes or turns complex unless 1e-6 is added to the diagonals.

    Returns:
        In the squared units of the features; 0 where rounding would make it negative.

    Raises:
        ValueError: fewer than two examples, or moments of different features.
    """
    return _distance("frechet_distance", _gaussian("frechet_distance", a), _gaussian("frechet_distance", b))


def frechet_distance_infinity(x: ArrayLike, reference: Moments, *, sizes: Sequence[int], seed: int) -> Extrapolation:
    """The distance that infinitely many samples would have: a line in 1 / N (Chong & Forsyth 2020).

    For each size that many rows are drawn without replacement. The bias of the reference itself stays.

    Args:
        x: [N, F] floating.
        reference: moments of the real features, taken as the truth.
        sizes: at least two different ones, 2 to N; the paper takes 15 evenly spaced ones from 5,000 to 50,000.
        seed: of the draws.

    Raises:
        TypeError: x is not floating.
        ValueError: sizes out of range, or features that do not fit.
    """
    name = "frechet_distance_infinity"
    (x,) = features(name, x=x)
    if len(set(sizes)) < 2 or min(sizes) < 2 or max(sizes) > len(x):
        raise ValueError(f"{name}: sizes are {list(sizes)}, expected at least two different ones from 2 to {len(x)}")
    rng, truth = np.random.default_rng(seed), _gaussian(name, reference)
    subsets = (x[rng.choice(len(x), size, replace=False)] for size in sizes)
    distances = np.array([_distance(name, _gaussian(name, moments(subset)), truth) for subset in subsets])
    slope, value = np.polyfit(1 / np.asarray(sizes, np.float64), distances, 1)
    return Extrapolation(float(value), float(slope), distances)


def frechet_bias(dimensions: int, count: int) -> float:
    """`D / N + D (D + 1) / (4 N)`, to first order in 1 / N: what N samples of N(0, I) score against the truth.

    The first term is of the mean, the second of the covariance. Against M real samples it is added once more with M.
    """
    check_range("frechet_bias", 1, whole=True, dimensions=dimensions, count=count)
    return dimensions / count + dimensions * (dimensions + 1) / (4 * count)


def intra_class_frechet(x: ArrayLike, x_labels: ArrayLike, y: ArrayLike, y_labels: ArrayLike) -> IntraClass:
    """The mean over classes of the distance within the class (Miyato & Koyama 2018), which sees swapped classes.

    Args:
        x: [N, F] floating, of samples.
        x_labels: [N] integers, the class that each was generated for.
        y: [M, F] floating, of real examples.
        y_labels: [M] integers.

    Raises:
        TypeError: features are not floating.
        ValueError: shapes that do not fit, or a class that one side has fewer than twice.
    """
    x, y = features("intra_class_frechet", x=x, y=y)
    a, b = np.asarray(x_labels), np.asarray(y_labels)
    if a.shape != (len(x),) or b.shape != (len(y),):
        raise ValueError(f"intra_class_frechet: labels have shapes {a.shape} and {b.shape}, expected [N] and [M]")
    classes = np.unique(np.concatenate([a, b]))
    for label in classes:
        if min((a == label).sum(), (b == label).sum()) < 2:
            raise ValueError(f"intra_class_frechet: class {label} has fewer than two examples on one side, draw more")
    distances = np.array([frechet_distance(moments(x[a == c]), moments(y[b == c])) for c in classes])
    return IntraClass(float(distances.mean()), classes, distances)


class _Gaussian(NamedTuple):
    mean: NDArray[np.float64]  # [F]
    trace: float  # of the covariance
    root: NDArray[np.float64]  # [rank, F], root^T root = covariance


def _gaussian(name: str, m: Moments) -> _Gaussian:
    """Its root by Cholesky decomposition, with pivots, which stop at the rank, where the covariance is singular."""
    from scipy.linalg.lapack import dpotrf, dpstrf

    if m.count < 2:
        raise ValueError(f"{name}: moments of {m.count} examples have no covariance, expected at least 2")
    covariance = m.covariance
    factor, failed = dpotrf(covariance)
    if not failed:
        return _Gaussian(m.mean, float(covariance.trace()), factor)
    factor, pivots, rank, _ = dpstrf(covariance)
    root = np.empty((rank, len(factor)))
    root[:, pivots - 1] = np.triu(factor)[:rank]
    return _Gaussian(m.mean, float(covariance.trace()), root)


def _distance(name: str, a: _Gaussian, b: _Gaussian) -> float:
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"{name}: means have shapes {a.mean.shape} and {b.mean.shape}, expected the same features")
    small, large = sorted((a.root, b.root), key=len)  # the lesser rank: no eigenvalues that are zero but for rounding
    m = small @ large.T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(m @ m.T), 0)).sum()
    return max(0.0, float(((a.mean - b.mean) ** 2).sum() + a.trace + b.trace - 2 * overlap))
