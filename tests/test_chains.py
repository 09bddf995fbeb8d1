"""Markov chains against enumeration and published rates."""

from itertools import pairwise, product

import numpy as np
import pytest

from ganjax.chains import Chain, cross_entropy, draw, frontier, marginals, permuted_chain, tempered

TABLE = {  # temperature: (NLL_oracle, NLL_test) of the perfect model of 8 states
    2: (2.0107, 1.6175), 1.5: (1.7991, 1.5520), 1: (1.5077, 1.5077), 0.8: (1.3729, 1.5257), 0.5: (1.1717, 1.7147),
    0.2: (0.9602, 3.1231), 0.1: (0.9068, 6.0485), 0: (0.9035, np.inf),
}  # fmt: skip


@pytest.mark.parametrize("temperature", TABLE)
def test_the_perfect_model_at_a_temperature(temperature):
    truth = permuted_chain()
    model = tempered(truth, temperature)
    found = cross_entropy(model, truth, 20), cross_entropy(truth, model, 20)
    np.testing.assert_allclose(found, TABLE[temperature], atol=5e-5)


def test_rows_and_columns_are_permutations_and_the_rate_is_a_sum():
    truth = permuted_chain()
    for table in (truth.transition, truth.transition.T):
        np.testing.assert_allclose(np.sort(table, 1), np.sort(table[:1], 1).repeat(8, 0), atol=1e-15)
    row = truth.transition[0]
    np.testing.assert_allclose(cross_entropy(truth, truth, 20), -(row * np.log(row)).sum(), rtol=1e-12)
    np.testing.assert_allclose(cross_entropy(tempered(truth, 0), truth, 20), -np.log(row.max()), rtol=1e-12)


def _chain(seed, k=3):
    rng = np.random.default_rng(seed)
    return Chain(rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k), k))


def test_cross_entropy_is_that_of_all_sequences():
    """A chain whose marginals move, by enumeration."""
    p, q, length = _chain(0), _chain(1), 4
    total = 0.0
    for x in product(range(3), repeat=length):
        steps = list(pairwise(x))
        share = p.start[x[0]] * np.prod([p.transition[i, j] for i, j in steps])
        total -= share * sum(np.log(q.transition[i, j]) for i, j in steps) / (length - 1)
    np.testing.assert_allclose(cross_entropy(p, q, length), total, rtol=1e-12)


def test_draws_have_the_laws_of_the_chain():
    """Within four and a half standard errors at every time and of every pair; another seed draws others."""
    p, n = _chain(2), 20_000
    x = draw(p, n, 5, 0)
    assert x.dtype == np.int32 and not np.array_equal(x, draw(p, n, 5, 1))
    np.testing.assert_array_equal(x, draw(p, n, 5, 0))
    for t, law in enumerate(marginals(p, 5)):
        assert (np.abs(np.bincount(x[:, t], minlength=3) / n - law) < 4.5 * np.sqrt(law * (1 - law) / n)).all()
    for i in range(3):
        after = x[:, 1][x[:, 0] == i]
        law = p.transition[i]
        assert (np.abs(np.bincount(after, minlength=3) / len(after) - law) < 4.5 * np.sqrt(law / len(after))).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: permuted_chain(1), "size"),
        (lambda: tempered(permuted_chain(), -1), "temperature"),
        (lambda: draw(permuted_chain(), 0, 3, 0), "count"),
        (lambda: marginals(permuted_chain(), 0), "length"),
        (lambda: frontier(tempered(permuted_chain(), 0), 1.0), "is 0, expected positive"),
    ],
)
def test_what_is_out_of_range(call, said):
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.fault("many: the perfect model at a temperature is taken for the best that there is")
def test_the_frontier_is_below_the_curve_of_temperatures():
    """No small change of its laws lowers the sum; at an equal NLL_oracle the truth at a temperature costs more."""
    truth, rng = permuted_chain(), np.random.default_rng(0)
    both = lambda q, w: cross_entropy(truth, q, 20) + w * cross_entropy(q, truth, 20)  # noqa: E731
    for weight in (-0.2, 0.5, 5.0):
        best = frontier(truth, weight)
        np.testing.assert_allclose(best.transition.sum(1), 1, rtol=1e-12)
        for _ in range(5):
            law = best.transition * np.exp(0.05 * rng.normal(size=(8, 8)))
            assert both(best._replace(transition=law / law.sum(1, keepdims=True)), weight) > both(best, weight)
    np.testing.assert_allclose(frontier(truth, 0.0).transition, truth.transition, rtol=1e-10)
    best, cold = frontier(truth, 5.0), tempered(truth, 0.26269)
    np.testing.assert_allclose(cross_entropy(best, truth, 20), cross_entropy(cold, truth, 20), atol=1e-4)
    assert cross_entropy(truth, best, 20) < cross_entropy(truth, cold, 20) - 0.3


def test_no_model_costs_held_out_sequences_less_than_the_entropy():
    """Gibbs: of any law of whole sequences, by enumeration, and of any chain; what the truth says of samples can."""
    p, length, rng = _chain(0), 4, np.random.default_rng(1)
    sequences = [*product(range(3), repeat=length)]
    law = np.array([p.start[x[0]] * np.prod([p.transition[i, j] for i, j in pairwise(x)]) for x in sequences])
    for sharpness in (0.01, 0.3, 3.0):
        noisy = law * np.exp(sharpness * rng.normal(size=len(law)))
        for q in (noisy / noisy.sum(), rng.dirichlet(np.full(len(law), sharpness)) + 1e-300):
            assert -(law * np.log(q)).sum() > -(law * np.log(law)).sum()
        moved = p.transition * np.exp(sharpness * rng.normal(size=(3, 3)))
        q = p._replace(transition=moved / moved.sum(1, keepdims=True))
        assert cross_entropy(p, q, length) > cross_entropy(p, p, length)
    assert cross_entropy(tempered(p, 0.2), p, length) < cross_entropy(p, p, length) - 0.1


def test_no_model_that_visits_all_states_equally_often_is_left_of_the_frontier():
    """Mixtures of permutations, near to the truth at a temperature and far from it, and the truth at temperatures."""
    truth, rng = permuted_chain(), np.random.default_rng(0)
    both = lambda q, w: cross_entropy(truth, q, 20) + w * cross_entropy(q, truth, 20)  # noqa: E731
    shift = [np.eye(8)[(3 * np.arange(8) + 1 + k) % 8] for k in range(8)]  # k behind what is most probable
    for weight in (0.5, 5.0):
        best = both(frontier(truth, weight), weight)
        for concentration in (0.1, 1.0):
            shares = rng.dirichlet(np.full(8, concentration)) + 1e-6
            mixed = np.einsum("k,kij->ij", shares / shares.sum(), shift)
            assert both(truth._replace(transition=mixed), weight) > best
        for temperature in (0.2, 0.5, 0.9):
            assert both(tempered(truth, temperature), weight) > best
