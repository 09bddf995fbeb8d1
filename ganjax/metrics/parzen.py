"""Parzen windows: the log-likelihood of test points under a kernel density of the samples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.metrics.sets import features, squared_distances

SIGMAS = tuple(np.logspace(-1, 0, 10))  # the grid of Goodfellow et al. (2014), for pixels in [0, 1]


class Parzen(NamedTuple):
    """A log-likelihood."""

    mean: float  # nats per test point
    error: float  # nats, standard error of the mean
    sigma: float  # the window's standard deviation


def parzen_log_likelihood(samples: ArrayLike, test: ArrayLike, sigma: float) -> Parzen:
    """Mean over test points of `log 1/N sum_i N(x; s_i, sigma^2 I)` (Goodfellow et al. 2014).

    The known weakness (Theis et al. 2016): in high dimensions no affordable N brings it near the true log-likelihood,
    and it ranks models wrongly: samples drawn at the centroids of k-means beat samples of the data itself. Report it
    to compare with old papers, not to choose a model.

    Args:
        samples: [N, D] floating; the paper takes 10,000.
        test: [M, D] floating, at least two.
        sigma: positive, in the units of the points.

    Raises:
        TypeError: points are not floating.
        ValueError: shapes that do not fit, values that are not finite, or a sigma that is not positive.
    """
    x, y = features("parzen_log_likelihood", samples=samples, test=test)
    _check_sigma("parzen_log_likelihood", [sigma])
    return _score(_log_densities(x, y, [sigma])[0], sigma)


def parzen_cross_validated(
    samples: ArrayLike, validation: ArrayLike, test: ArrayLike, *, sigmas: Sequence[float] = SIGMAS
) -> Parzen:
    """The protocol of Goodfellow et al. (2014): the sigma that is best on validation data, then the test data.

    A sigma at an end of the grid says that the grid should go on. Arguments as in `parzen_log_likelihood`;
    `validation` is [L, D].
    """
    x, v, y = features("parzen_cross_validated", samples=samples, validation=validation, test=test)
    _check_sigma("parzen_cross_validated", sigmas)
    sigma = float(sigmas[int(_log_densities(x, v, sigmas).mean(1).argmax())])
    return _score(_log_densities(x, y, [sigma])[0], sigma)


def _log_densities(samples: NDArray, points: NDArray, sigmas: Sequence[float]) -> NDArray[np.float64]:
    """[sigmas, M]: the largest term leaves the sum before it is taken."""
    from scipy.special import logsumexp

    def density(squares: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
        normaliser = np.log(len(samples)) + samples.shape[1] / 2 * np.log(2 * np.pi * sigma**2)
        return logsumexp(-squares / (2 * sigma**2), axis=1) - normaliser

    blocks = [[density(squares, sigma) for sigma in sigmas] for squares in squared_distances(points, samples)]
    return np.concatenate(blocks, axis=1)


def _score(log_densities: NDArray[np.float64], sigma: float) -> Parzen:
    error = log_densities.std(ddof=1) / np.sqrt(len(log_densities))
    return Parzen(float(log_densities.mean()), float(error), float(sigma))


def _check_sigma(name: str, sigmas: Sequence[float]) -> None:
    if not len(sigmas) or not all(0 < sigma < np.inf for sigma in sigmas):
        raise ValueError(f"{name}: sigma is {list(sigmas)}, expected positive numbers in the units of the points")
