"""Inception score by hand, in splits and in a stream."""

import numpy as np
import pytest

from ganjax.metrics import inception_score, merge_predictions, predictions, score_predictions


def _softmax(n, k, seed=0, scale=2.0):
    logits = scale * np.random.default_rng(seed).normal(size=(n, k))
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def _oracle(p):
    q = p.mean(0)
    return np.exp(np.mean([sum(a * np.log(a / b) for a, b in zip(row, q, strict=True) if a > 0) for row in p]))


def test_the_ends_of_the_scale():
    np.testing.assert_allclose(inception_score(np.tile([[0.2, 0.3, 0.5]], (7, 1))).mean, 1, rtol=1e-12)
    np.testing.assert_allclose(inception_score(np.eye(10)[np.arange(50) % 10]).mean, 10, rtol=1e-12)
    # Certain, but three of four of one class: exp H(3/4, 1/4).
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    np.testing.assert_allclose(inception_score(np.eye(2)[[0, 0, 0, 1]]).mean, np.exp(entropy), rtol=1e-12)
    assert inception_score(np.eye(2)).std == 0


def test_oracle_and_splits():
    p = _softmax(103, 6)
    np.testing.assert_allclose(inception_score(p).mean, _oracle(p), rtol=1e-12)
    parts = [_oracle(p[103 * i // 10 : 103 * (i + 1) // 10]) for i in range(10)]
    found = inception_score(p, splits=10)
    np.testing.assert_allclose(found.mean, np.mean(parts), rtol=1e-12)
    np.testing.assert_allclose(found.std, np.std(parts), rtol=1e-10)
    assert found.mean < inception_score(p).mean


def test_a_stream_of_batches_gives_the_whole():
    p = _softmax(2500, 5)  # more than one block
    total = predictions(p[:7])
    for batch in np.split(p[7:], [900, 901]):
        total = merge_predictions(total, predictions(batch))
    np.testing.assert_allclose(score_predictions(total), inception_score(p).mean, rtol=1e-12)
    np.testing.assert_allclose(score_predictions(total), _oracle(p), rtol=1e-12)


def test_what_is_no_distribution():
    for wrong in (np.array([[2.0, -1.0]]), np.array([[0.6, 0.6]]), 5 * _softmax(4, 3)):
        with pytest.raises(ValueError, match="take the softmax of logits"):
            inception_score(wrong)
    with pytest.raises(ValueError, match="splits is 4, expected 1 to 3"):
        inception_score(np.eye(3), splits=4)
