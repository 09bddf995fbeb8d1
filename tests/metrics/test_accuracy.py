"""Classification accuracy scores and the membership gap by hand."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from ganjax.data.bundled import digits
from ganjax.metrics import classification_accuracy_score, membership


def _clouds(seed, count=100):
    labels = np.arange(count) % 3
    return np.random.default_rng(seed).normal(size=(count, 2)) + 6 * np.eye(3)[labels][:, :2], labels


def test_good_wrong_and_collapsed_generators():
    real, held_out, (x, y) = _clouds(0), _clouds(1), _clouds(2)
    good = classification_accuracy_score(x, y, *real, *held_out)
    assert min(good) > 0.95
    swapped = classification_accuracy_score(x, (y + 1) % 3, *real, *held_out)
    assert max(swapped.fake_to_real, swapped.real_to_fake) < 0.05 and swapped.real_to_real == good.real_to_real
    # One class alone: perfect samples, from which nothing but that class is learnt.
    collapsed = classification_accuracy_score(x[y == 1], y[y == 1], *real, *held_out)
    np.testing.assert_allclose(collapsed.fake_to_real, 0.33)
    assert collapsed.real_to_fake > 0.95


def test_the_classifier_by_hand():
    """A function that predicts the most frequent label it was shown: the shares tell who learnt from what."""

    def most_frequent(x_train, y_train, x_test):
        return np.full(len(x_test), np.bincount(y_train).argmax())

    x = np.zeros((10, 2))
    a, b, c = [0] * 7 + [1] * 3, [1] * 6 + [0] * 4, [1] * 8 + [0] * 2
    found = classification_accuracy_score(x, a, x, b, x, c, classifier=most_frequent)
    np.testing.assert_allclose(found, (0.2, 0.3, 0.8))
    estimator = KNeighborsClassifier(1)
    one = classification_accuracy_score(*_clouds(2), *_clouds(0), *_clouds(1), classifier=estimator)
    assert min(one) > 0.95 and not hasattr(estimator, "classes_"), "the estimator itself was fitted"
    with pytest.raises(ValueError, match=r"classifier returned shape \(10, 2\), expected \(10,\)"):
        classification_accuracy_score(x, a, x, b, x, c, classifier=lambda x, y, test: test)


def test_images():
    data = digits()
    x, y = data.x_train[:600], data.y_train[:600]
    found = classification_accuracy_score(x[:300], y[:300], x[300:], y[300:], data.x_test, data.y_test)
    assert min(found) > 0.85


def test_labels_that_do_not_fit():
    x, y = _clouds(0)
    with pytest.raises(ValueError, match=r"train_labels have shape \(99,\), expected \(100,\)"):
        classification_accuracy_score(x, y, x, y[1:], x, y)


def test_membership_by_hand():
    found = membership([2.0, 1.0, -1.0, 0.5], [-2.0, 0.5, -3.0])
    # Of 12 pairs, 3 + 3 + 2 + 2.5 are won.
    np.testing.assert_allclose(found[:3], (0.75, 1 / 3, 10.5 / 12))
    assert found.z > 0
    rng = np.random.default_rng(0)
    train, held_out = rng.normal(size=(500, 4)), rng.normal(size=(400, 4))
    fair = membership(train, held_out)  # logits of patches are averaged
    assert abs(fair.z) < 3 and fair.train == (train.mean(1) > 0).mean()
    assert membership(train + 1, held_out).z > 10
    with pytest.raises(ValueError, match=r"held_out_logits has shape \(2,\).* none of them NaN"):
        membership([1.0], [0.0, np.nan])
    with pytest.raises(ValueError, match=r"train_logits has shape \(0,\)"):
        membership([], [0.0])
