"""Inception score: from the class probabilities of any classifier, summed in one pass."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.checks import check_range
from ganjax.metrics.sets import blocks, features, float64


class Predictions(NamedTuple):
    """Sums over predictions, in float64: those of two sets are added field by field (`merge_predictions`)."""

    count: int  # type: ignore[assignment]  # hides tuple.count
    probability: NDArray[np.float64]  # [K], sum of p(y|x)
    negentropy: float  # nats, sum of sum_y p(y|x) log p(y|x)


class InceptionScore(NamedTuple):
    """Over splits."""

    mean: float  # 1 to K
    std: float  # of the splits, divided by their number; 0 for one split


def predictions(probabilities: ArrayLike) -> Predictions:
    """Sum class probabilities up, block by block.

    Args:
        probabilities: [N, K] floating, rows that sum to 1.

    Raises:
        TypeError: probabilities are not floating.
        ValueError: another rank, or rows that are no distributions; a softmax makes them of logits.
    """
    return _sum(_distributions("predictions", probabilities))


def merge_predictions(a: Predictions, b: Predictions) -> Predictions:
    """Those of both sets together: of batches, of devices, of processes."""
    if a.probability.shape != b.probability.shape:
        shapes = f"{a.probability.shape} and {b.probability.shape}"
        raise ValueError(f"merge_predictions: probabilities have shapes {shapes}, expected the same classes")
    return Predictions(a.count + b.count, a.probability + b.probability, a.negentropy + b.negentropy)


def score_predictions(total: Predictions) -> float:
    """The `inception_score`, in one split, of what `predictions` summed up."""
    check_range("score_predictions", 1, whole=True, count=total.count)
    marginal = total.probability / total.count
    return float(np.exp(total.negentropy / total.count - _xlogx(marginal).sum()))


def inception_score(probabilities: ArrayLike, *, splits: int = 1) -> InceptionScore:
    """`exp E_x KL(p(y|x) || p(y))`, with p(y) the mean of p(y|x) (Salimans et al. 2016).

    1 if all predictions are equal, K if they are certain and all K classes equally frequent. The paper cuts the samples
    into 10 consecutive splits, which lowers the score, as fewer samples of p(y) do; name the number of splits.
    torch-fidelity shuffles first: with more than one split the score depends on the order.

    Args:
        probabilities: [N, K] floating, rows that sum to 1.
        splits: at most N.

    Raises:
        TypeError: probabilities are not floating.
        ValueError: another rank, rows that are no distributions, or splits out of range.
    """
    check_range("inception_score", 1, whole=True, splits=splits)
    p = _distributions("inception_score", probabilities)
    if not 1 <= splits <= len(p):
        raise ValueError(f"inception_score: splits is {splits}, expected 1 to {len(p)}, the number of samples")
    edges = [len(p) * i // splits for i in range(splits + 1)]
    scores = [score_predictions(_sum(p[a:b])) for a, b in pairwise(edges)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _distributions(name: str, probabilities: ArrayLike) -> NDArray:
    (p,) = features(name, least=1, probabilities=probabilities)
    worst = max(float(np.abs(float64(block).sum(1) - 1).max()) for block in blocks(p))
    if p.min() < 0 or worst > 1e-3:  # float16 sums to 1 within 1e-3
        raise ValueError(
            f"{name}: rows of probabilities are up to {worst:.3g} away from 1 in sum, the least value is "
            f"{float(p.min()):.3g}; expected distributions, take the softmax of logits"
        )
    return p


def _sum(p: NDArray) -> Predictions:
    total = Predictions(0, np.zeros(p.shape[1]), 0.0)
    for block in blocks(p):
        q = float64(block)
        total = merge_predictions(total, Predictions(len(q), q.sum(0), float(_xlogx(q).sum())))
    return total


def _xlogx(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return p * np.log(np.where(p > 0, p, 1))
