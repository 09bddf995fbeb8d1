"""Are the samples copies: of each other, or of training examples?

A generator that replays its training set has the best Frechet distance there is. Here distances to the nearest
training example are compared with those of held-out real examples, which nobody copied. Sets are uint8 images, with
distances Euclidean over all pixels and channels, values in [0, 1], or floating features. Pixels miss copies that are
shifted or recoloured; features find them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.metrics.ranks import rank_test
from ganjax.metrics.sets import points, squared_distances


class Duplicates(NamedTuple):
    """Samples that repeat others."""

    share: float  # of samples that have another one within the distance
    distinct: float  # sum over samples of 1 / (samples within the distance, itself included): different ones


class Nearest(NamedTuple):
    """The nearest example of another set."""

    indices: NDArray[np.int64]  # [N]
    distances: NDArray[np.float64]  # [N]


class Memorisation(NamedTuple):
    """Distances to the nearest training example, of samples against held-out real examples."""

    median: float  # of samples
    held_out_median: float
    closer: float  # share of samples nearer than the quantile of the held-out ones; that quantile if nothing is copied
    auc: float  # the probability that a sample is farther away than a held-out example; 1/2 if nothing is copied
    z: float  # standard normal if nothing is copied, far below 0 for copies
    p: float  # of |z|, both sides
    distances: NDArray[np.float64]  # [N], of samples
    held_out_distances: NDArray[np.float64]  # [L]


def duplicates(samples: ArrayLike, *, within: float = 0.0) -> Duplicates:
    """Count samples that have another within a distance; by default, that are equal to another.

    A generator that knows 20 images has a share of 1 and 20 distinct ones. Few duplicates do not prove that the support
    is large: by the birthday paradox, s samples of a support of s^2 hold about one pair (Arora & Zhang 2017).

    Args:
        samples: [N, ...] uint8 or floating.
        within: Euclidean, of pixels in [0, 1] or in the units of the features.

    Raises:
        TypeError: another dtype.
        ValueError: another rank, fewer than two samples, values that are not finite, or a negative distance.
    """
    (x,) = points("duplicates", samples=samples)
    if not within >= 0:
        raise ValueError(f"duplicates: within is {within}, expected a distance, 0 or more")
    numbers = np.concatenate([(np.sqrt(squares) <= within).sum(1) for squares in squared_distances(x, x)])
    return Duplicates(float((numbers > 1).mean()), float((1 / numbers).sum()))


def nearest(samples: ArrayLike, examples: ArrayLike) -> Nearest:
    """The nearest example to each sample, and how far it is; a copy is at distance 0.

    Args:
        samples: [N, ...] uint8 or floating.
        examples: [M, ...] of the same kind and shape.

    Raises:
        TypeError: another dtype, or two kinds.
        ValueError: shapes that do not fit, or values that are not finite.
    """
    x, y = points("nearest", least=1, samples=samples, examples=examples)
    return _nearest(x, y)


def memorisation(samples: ArrayLike, train: ArrayLike, held_out: ArrayLike, *, quantile: float = 0.01) -> Memorisation:
    """Compare distances to the nearest training example: samples against real examples that were held out.

    z is the statistic `Z_U` of Meehan et al. (2020) for data-copying in one cell, with ties taken into account. Where
    samples are farther away than held-out examples, z is positive: they are not copied, and not like the data either.
    A rank test looks at all samples alike; if only few are copies, `closer` shows them.

    Args:
        samples: [N, ...] uint8 or floating.
        train: [M, ...] of the same kind and shape.
        held_out: [L, ...] likewise, from the distribution of train and not in it.
        quantile: of the held-out distances, below which a sample is suspicious; L of at least 10 / quantile tells it.

    Raises:
        TypeError: another dtype, or two kinds.
        ValueError: shapes that do not fit, values that are not finite, or a quantile outside (0, 1).
    """
    x, t, h = points("memorisation", samples=samples, train=train, held_out=held_out)
    if not 0 < quantile < 1:
        raise ValueError(f"memorisation: quantile is {quantile}, expected between 0 and 1")
    distances, control = _nearest(x, t).distances, _nearest(h, t).distances
    closer = float((distances < np.quantile(control, quantile)).mean())
    medians = float(np.median(distances)), float(np.median(control))
    return Memorisation(*medians, closer, *rank_test(distances, control), distances, control)


def _nearest(x: NDArray, y: NDArray) -> Nearest:
    found = [(squares.argmin(1), np.sqrt(squares.min(1))) for squares in squared_distances(x, y)]
    return Nearest(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
