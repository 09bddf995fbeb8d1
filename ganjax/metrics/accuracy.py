"""What classifiers can learn from the samples, and what a discriminator has learnt by heart."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.metrics.ranks import rank_test
from ganjax.metrics.sets import float64, points

# (x_train, y_train, x_test) -> labels of x_test
Classifier = Callable[[NDArray, NDArray, NDArray], ArrayLike]


class AccuracyScore(NamedTuple):
    """Shares of labels that are predicted, 0 to 1."""

    fake_to_real: float  # trained on samples, tested on held-out examples: misses what the generator lacks
    real_to_fake: float  # trained on real examples, tested on samples: misses what the generator gets wrong
    real_to_real: float  # trained on real examples, tested on held-out ones: what to compare with


class Membership(NamedTuple):
    """How a discriminator tells training examples from others that are as real."""

    train: float  # share of training examples that it takes for real
    held_out: float  # the same of held-out examples; equal but for noise if nothing is learnt by heart
    auc: float  # the probability that a training example has the larger logit; 1/2 if nothing is learnt by heart
    z: float  # standard normal if nothing is learnt by heart
    p: float  # of |z|, both sides


def classification_accuracy_score(
    fake: ArrayLike,
    fake_labels: ArrayLike,
    train: ArrayLike,
    train_labels: ArrayLike,
    held_out: ArrayLike,
    held_out_labels: ArrayLike,
    *,
    classifier: Classifier | Any = None,
) -> AccuracyScore:
    """Accuracy of a classifier that knows only samples, and the reverse (Ravuri & Vinyals 2019).

    Args:
        fake: [N, ...] uint8 images, or floating images or features.
        fake_labels: [N] integers, the classes that samples were generated for.
        train: [M, ...] of the same kind and shape, the real training set.
        train_labels: [M] integers.
        held_out: [L, ...] likewise.
        held_out_labels: [L] integers.
        classifier: `(x_train, y_train, x_test) -> labels`, or a scikit-learn estimator, of which a fresh copy is
            fitted. By default logistic regression on standardised values. Inputs are flattened, pixels 0 to 1.

    Raises:
        TypeError: another dtype, or two kinds.
        ValueError: shapes that do not fit, or values that are not finite.
    """
    name = "classification_accuracy_score"
    sets = points(name, fake=fake, train=train, held_out=held_out)
    labels = [np.asarray(y) for y in (fake_labels, train_labels, held_out_labels)]
    for part, x, y in zip(("fake", "train", "held_out"), sets, labels, strict=True):
        if y.shape != (len(x),):
            raise ValueError(f"{name}: {part}_labels have shape {y.shape}, expected ({len(x)},), one per example")
    predict = _classifier(classifier)
    f, t, h = zip(map(float64, sets), labels, strict=True)

    def accuracy(known: tuple[NDArray, NDArray], asked: tuple[NDArray, NDArray]) -> float:
        predicted = np.asarray(predict(*known, asked[0]))
        if predicted.shape != asked[1].shape:
            raise ValueError(f"{name}: classifier returned shape {predicted.shape}, expected {asked[1].shape} labels")
        return float((predicted == asked[1]).mean())

    return AccuracyScore(accuracy(f, h), accuracy(t, f), accuracy(t, h))


def membership(train_logits: ArrayLike, held_out_logits: ArrayLike) -> Membership:
    """A discriminator's gap between examples that it was trained on and others, both real.

    Args:
        train_logits: [N, ...] floating; large means real, above 0 is accepted. Further axes are averaged.
        held_out_logits: [M, ...] likewise.

    Raises:
        ValueError: no logits, or NaN.
    """
    train, held_out = (np.asarray(x, np.float64) for x in (train_logits, held_out_logits))
    for name, x in (("train_logits", train), ("held_out_logits", held_out)):
        if x.ndim < 1 or not x.size or np.isnan(x).any():
            raise ValueError(f"membership: {name} has shape {x.shape}, expected [N, ...] with values, none of them NaN")
    train, held_out = (x.reshape(len(x), -1).mean(1) for x in (train, held_out))
    return Membership(float((train > 0).mean()), float((held_out > 0).mean()), *rank_test(train, held_out))


def _classifier(classifier: Classifier | Any) -> Classifier:
    if classifier is None:
        return _logistic_regression
    if not hasattr(classifier, "fit"):
        return classifier
    from sklearn.base import clone

    return lambda x_train, y_train, x_test: clone(classifier).fit(x_train, y_train).predict(x_test)


def _logistic_regression(x_train: NDArray, y_train: NDArray, x_test: NDArray) -> NDArray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if (y_train == y_train[0]).all():  # a generator that collapsed to one class
        return np.full(len(x_test), y_train[0])
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x_train, y_train).predict(x_test)
