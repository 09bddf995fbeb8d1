"""Counting models: Witten and Bell by hand, and probabilities that add up."""

from itertools import product

import numpy as np
import pytest

from ganjax.ngrams import ngram, nll


def test_witten_and_bell_by_hand():
    """Of abab, abb: a 3 times and b 4 times, of 2 kinds; after a always b, after b once a and once b."""
    found = np.exp(-nll(ngram(np.array([[0, 1, 0, 1], [0, 1, 1, 1]]), 3, 2), np.array([[0, 0, 1, 0, 2]])))[0]
    a, b, c = ((n + 2 / 3) / 10 for n in (3, 5, 0))
    after_a, after_b = [(0 + a) / 4, (3 + b) / 4], [(1 + 2 * a) / 5, (2 + 2 * b) / 5]
    np.testing.assert_allclose(found, [a, after_a[0], after_a[1], after_b[0], c / 4], rtol=1e-12)


def test_probabilities_add_up_and_unseen_contexts_say_what_shorter_ones_do():
    size, rng = 3, np.random.default_rng(0)
    x = rng.integers(0, size - 1, (5, 6))  # the last symbol is never seen
    model = ngram(x, size, 3)
    all_of_them = np.array(list(product(range(size), repeat=4)))
    p = np.exp(-nll(model, all_of_them))
    np.testing.assert_allclose(np.prod(p, 1).sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(p.reshape(-1, size, 4)[..., 3].sum(1), 1, rtol=1e-12)
    unseen = all_of_them[:, 1] == size - 1
    np.testing.assert_allclose(p[unseen, 2], np.exp(-nll(ngram(x, size, 1), all_of_them))[unseen, 2], rtol=1e-12)


def test_a_longer_context_tells_more_where_it_matters():
    x = np.tile([0, 0, 1], (4, 8))
    costs = [nll(ngram(x, 2, order), x).mean() for order in (1, 2, 3)]
    assert costs[0] > costs[1] > costs[2] and costs[2] < 0.1


def test_what_is_out_of_range():
    x = np.array([[0, 1, 2]])
    with pytest.raises(ValueError, match="order"):
        ngram(x, 3, 4)
    with pytest.raises(ValueError, match="the symbol 2, expected 0 to 1"):
        ngram(x, 2, 1)
    with pytest.raises(ValueError, match="more than 2\\^63"):
        ngram(np.zeros((1, 60), int), 3, 50)
