"""Gaussians by maximum likelihood, with whatever of an example is missing integrated out exactly.

Examples are [N, D] in float64; a feature that is NaN is missing. What is known is `N(mu_o, Sigma_oo)`: rows and columns
of the missing ones are deleted, nothing is filled in.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import softmax

from ganjax.checks import check_range

Rows = NDArray[np.float64]


class Gaussian(NamedTuple):
    """A normal law."""

    mean: Rows  # [D]
    covariance: Rows  # [D, D], positive definite


def fit(x: ArrayLike, *, floor: float = 0.0) -> Gaussian:
    """`mu = mean x`, `Sigma = mean (x - mu)(x - mu)^T + floor I`: with a floor of 0 the maximum of the likelihood.

    At the maximum the mean log-likelihood is `-(D log 2 pi + log det Sigma + D) / 2`; the expectation of Sigma is
    `(N - 1) / N` times the truth.

    Args:
        x: [N, D] without missing features.
        floor: added to each variance.

    Raises:
        ValueError: features are missing; or Sigma is singular (N <= D, a constant feature), where the likelihood has no
            maximum: it grows without bound as the law shrinks on to the examples.
    """
    check_range("gaussians.fit", 0, floor=floor)
    rows = np.asarray(x, float)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"gaussians.fit: x has shape {rows.shape}, expected [N, D] with N >= 1")
    if not np.isfinite(rows).all():
        raise ValueError("gaussians.fit: x has values that are missing or not finite; fit complete examples")
    covariance = np.atleast_2d(np.cov(rows.T, bias=True)) + floor * np.eye(rows.shape[1])
    rank = np.linalg.matrix_rank(covariance, hermitian=True)
    if rank < len(covariance):
        raise ValueError(
            f"gaussians.fit: the covariance of {len(rows)} examples has the rank {rank}, expected {len(covariance)}: "
            "the likelihood is unbounded; give more examples, leave constant features out, or set floor"
        )
    return Gaussian(rows.mean(0), covariance)


def log_density(law: Gaussian, x: ArrayLike) -> Rows:
    """`log N(x_o; mu_o, Sigma_oo)` of what is known of each example, [N]; 0 where nothing is."""

    def one(o: NDArray, rows: Rows) -> Rows:
        if not o.any():
            return np.zeros(len(rows))
        factor = cho_factor(law.covariance[np.ix_(o, o)])
        away = rows[:, o] - law.mean[o]
        log_det = 2 * np.log(np.diag(factor[0])).sum()
        return -((away * cho_solve(factor, away.T).T).sum(1) + log_det + o.sum() * np.log(2 * np.pi)) / 2

    return _by_pattern(one, np.asarray(x, float))


def completed(law: Gaussian, x: ArrayLike) -> Rows:
    """x with `E[x_m | x_o] = mu_m + Sigma_mo Sigma_oo^-1 (x_o - mu_o)` where features are missing, [N, D]."""

    def one(o: NDArray, rows: Rows) -> Rows:
        filled = rows.copy()
        known = law.covariance[np.ix_(o, o)]
        gain = np.linalg.solve(known, law.covariance[np.ix_(o, ~o)]) if o.any() else np.zeros((0, (~o).sum()))
        filled[:, ~o] = law.mean[~o] + (rows[:, o] - law.mean[o]) @ gain
        return filled

    return _by_pattern(one, np.asarray(x, float))


def posterior(priors: ArrayLike, laws: Sequence[Gaussian], x: ArrayLike) -> Rows:
    """`p(y | x_o) = pi_y N(x_o; mu_y, Sigma_y) / sum_k ...`, Bayes' rule from the joint, [N, K].

    Args:
        priors: pi, [K], which sum to 1.
        laws: of each class.
        x: [N, D], NaN where a feature is missing.

    Raises:
        ValueError: priors that are no probabilities, or not one for each law.
    """
    pi = np.asarray(priors, float)
    if pi.shape != (len(laws),) or (pi < 0).any() or abs(pi.sum() - 1) > 1e-9:
        raise ValueError(
            f"gaussians.posterior: priors is {pi.tolist()}, expected {len(laws)} probabilities that sum to 1"
        )
    with np.errstate(divide="ignore"):
        return softmax(np.log(pi) + np.stack([log_density(law, x) for law in laws], 1), axis=1)


def _by_pattern(one: Callable[[NDArray, Rows], Rows], x: Rows) -> Rows:
    """`one(known, rows)` of the rows of each pattern of missing features, in the order of x."""
    patterns, which = np.unique(~np.isnan(x), axis=0, return_inverse=True)
    parts = [(np.flatnonzero(which == k), one(o, x[which == k])) for k, o in enumerate(patterns)]
    out = np.empty((len(x), *parts[0][1].shape[1:])) if parts else np.empty(0)
    for rows, values in parts:
        out[rows] = values
    return out
