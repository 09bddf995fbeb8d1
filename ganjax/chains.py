"""Markov chains whose cross-entropies are sums: what a model of sequences is measured by where the truth is known.

A chain of K states is where it begins and where it goes; rates are in nats per transition.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganjax.checks import check_range


class Chain(NamedTuple):
    """Probabilities, float64."""

    start: NDArray  # [K]
    transition: NDArray  # [K, K], row i is the law of what follows i


def permuted_chain(size: int = 8, sharpness: float = 2.0) -> Chain:
    """`P(j | i) ~ exp(s cos(2 pi (j - 3 i - 1) / K))`, begun anywhere.

    Every row, and for K without the factor 3 every column, holds the same numbers in another order: a rate
    is a sum of K terms, and without that factor all states are equally likely at all times.
    """
    check_range("permuted_chain", 2, whole=True, size=size)
    check_range("permuted_chain", 0, sharpness=sharpness)
    i = np.arange(size)
    weights = np.exp(sharpness * np.cos(2 * np.pi * (i[None] - 3 * i[:, None] - 1) / size))
    return Chain(np.full(size, 1 / size), weights / weights.sum(1, keepdims=True))


def tempered(chain: Chain, temperature: float) -> Chain:
    """Every law p replaced by `p^(1 / temperature)`, normalised; 0 leaves the most probable state alone."""
    check_range("tempered", 0, temperature=temperature)

    def of(p: NDArray) -> NDArray:
        relative = p / p.max(-1, keepdims=True)
        powers = relative ** (1 / temperature) if temperature else (relative == 1).astype(float)
        return powers / powers.sum(-1, keepdims=True)

    return Chain(*map(of, chain))


def frontier(chain: Chain, weight: float) -> Chain:
    """The q of least `H(p, q) + weight H(q, p)`, law by law: `q = p / (nu + weight (-log p))`, nu for a sum of 1.

    Of a chain whose laws are permutations of one another it is the best of all models that visit each state as often as
    the truth does: a lower NLL_test at an NLL_oracle than that of the truth at a temperature, `tempered`. Whether a
    model gains by other visits is not known. A negative weight leads beyond the truth's entropy.

    Args:
        chain: the truth p, without zeros.
        weight: of what the truth says of samples; 0 is the truth.

    Raises:
        ValueError: a probability of p is zero.
    """
    if min(law.min() for law in chain) <= 0:
        raise ValueError("frontier: a probability of the chain is 0, expected positive ones")

    def of(p: NDArray) -> NDArray:
        cost = -np.log(p)
        least = (-weight * cost).max(-1, keepdims=True)  # nu must be above, and at most 1 above the smallest
        low, high = np.zeros_like(least), np.ones_like(least)
        for _ in range(100):
            middle = (low + high) / 2
            many = (p / (middle + least + weight * cost)).sum(-1, keepdims=True) > 1
            low, high = np.where(many, middle, low), np.where(many, high, middle)
        q = p / (high + least + weight * cost)
        return q / q.sum(-1, keepdims=True)

    return Chain(*map(of, chain))


def marginals(chain: Chain, length: int) -> NDArray:
    """The laws of the first states, [length, K]."""
    check_range("marginals", 1, whole=True, length=length)
    laws = [chain.start]
    for _ in range(length - 1):
        laws.append(laws[-1] @ chain.transition)
    return np.array(laws)


def cross_entropy(p: Chain, q: Chain, length: int) -> float:
    """`E_p [-log q(x_t+1 | x_t)]`, the mean over the transitions of sequences of that length; inf where q excludes one.

    With p the truth and q a model it is what held-out sequences cost (NLL_test), with p the model and q the truth what
    the truth says of samples (NLL_oracle of Yu et al. 2017), which the most probable sequence minimises.
    """
    visits = marginals(p, length)[:-1].mean(0)[:, None] * p.transition
    with np.errstate(divide="ignore"):
        costs = -np.log(q.transition)
    return float(np.where(visits > 0, visits * np.where(visits > 0, costs, 0), 0).sum())


def draw(chain: Chain, count: int, length: int, seed: int) -> NDArray:
    """Sequences of states, [count, length] int32."""
    check_range("draw", 1, whole=True, count=count, length=length)
    rng, found = np.random.default_rng(seed), np.empty((count, length), np.int32)
    ends, begins = np.cumsum(chain.transition, 1), np.cumsum(chain.start)
    for t in range(length):
        law = begins[None] if t == 0 else ends[found[:, t - 1]]
        found[:, t] = (rng.random((count, 1)) >= law[:, :-1]).sum(1)  # the last end may be rounded below 1
    return found
