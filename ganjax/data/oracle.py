"""Sequences that a network of known weights wrote, so that what it says of a model's samples can be asked.

The synthetic data of SeqGAN (Yu, Zhang, Wang and Yu 2017): an LSTM whose weights are drawn from N(0, 1).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from ganjax.checks import check_range
from ganjax.data.dataset import Dataset
from ganjax.data.text import MAX_WORDS, UNKNOWN, Vocabulary, tokens
from ganjax.errors import DataError

PREFIX = "oracle:"
FEATURES, LENGTH = 32, 20
COUNTS = {"train": 10_000, "test": 2_000}  # sequences of a split
_BLOCK = 2**22  # numbers that are drawn from at once

Carry = tuple[NDArray, NDArray]  # of an LSTM, c and h, [N, H] each


class Oracle(NamedTuple):
    """An LSTM over K symbols, float32; `ganjax.models.sequences.Lstm` computes the same of `params`."""

    embedding: NDArray  # [K, E]
    gates: NDArray  # [E + H, 4 H], side by side: in, forget, candidate, out
    gates_bias: NDArray  # [4 H]
    out: NDArray  # [H, K]
    out_bias: NDArray  # [K]

    @property
    def params(self) -> dict[str, Any]:
        """As Flax keeps them."""
        return {
            "embedding": {"kernel": self.embedding},
            "gates": {"kernel": self.gates, "bias": self.gates_bias},
            "out": {"kernel": self.out, "bias": self.out_bias},
        }


def oracle(words: int, *, features: int = FEATURES, seed: int = 0) -> Oracle:
    """Every weight from N(0, 1).

    Args:
        words: K; 5,000 in the paper.
        features: E and H; 32 in the paper.
        seed: of the weights.
    """
    check_range("oracle", 2, MAX_WORDS, whole=True, words=words)
    check_range("oracle", 1, whole=True, features=features)
    rng = np.random.default_rng((seed, words, features))
    shapes = (words, features), (2 * features, 4 * features), (4 * features,), (features, words), (words,)
    return Oracle(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def step(weights: Oracle, carry: Carry, previous: NDArray | None) -> tuple[Carry, NDArray]:
    """What follows the previous symbols [N], None before the first: the carry after them and logits [N, K].

    `c = f c + i tanh(g)`, `h = o tanh(c)`; i, f and o are sigmoids (Hochreiter and Schmidhuber 1997; Gers et al. 2000).
    """
    c, h = carry
    e = np.zeros((len(h), weights.embedding.shape[1])) if previous is None else weights.embedding[previous]
    i, f, g, o = np.split(np.concatenate([e, h], 1) @ weights.gates + weights.gates_bias, 4, 1)
    c = expit(f) * c + expit(i) * np.tanh(g)
    h = expit(o) * np.tanh(c)
    return (c, h), h @ weights.out + weights.out_bias


def _begin(weights: Oracle, count: int) -> Carry:
    return np.zeros((count, len(weights.out))), np.zeros((count, len(weights.out)))


def draw(weights: Oracle, count: int, length: int, rng: np.random.Generator) -> NDArray:
    """Sequences of the oracle's symbols, [count, length] int32 from 0 on."""
    found = np.empty((count, length), np.int32)
    size = max(1, _BLOCK // len(weights.out_bias))
    for start in range(0, count, size):
        own = found[start : start + size]
        carry = _begin(weights, len(own))
        for t in range(length):
            carry, logits = step(weights, carry, own[:, t - 1] if t else None)
            ends = np.exp(log_softmax(logits, 1)).cumsum(1)
            own[:, t] = (rng.random((len(own), 1)) >= ends[:, :-1]).sum(1)  # the last end may be rounded below 1
    return found


def nll(weights: Oracle, x: NDArray) -> NDArray:
    """What the oracle says of sequences [N, T] of its symbols: `-log p(x_t | x_<t)` in nats, [N, T]."""
    carry, found = _begin(weights, len(x)), np.empty(x.shape)
    for t in range(x.shape[1]):
        carry, logits = step(weights, carry, x[:, t - 1] if t else None)
        found[:, t] = -np.take_along_axis(log_softmax(logits, 1), x[:, t, None], 1)[:, 0]
    return found


def oracle_set(words: int) -> Dataset:
    """10,000 sequences of 20 words of an oracle, and 2,000 that are held out: `oracle:WORDS`.

    Raises:
        DataError: words is none of 2 to 65,536.
    """
    if not 2 <= words <= MAX_WORDS:
        raise DataError(f"{PREFIX}{words} has {words:,} words, expected 2 to {MAX_WORDS:,}")
    weights = oracle(words)
    splits: dict[str, Any] = {
        f"x_{split}": draw(weights, count, LENGTH, np.random.default_rng((number, words))) + np.int32(UNKNOWN + 1)
        for number, (split, count) in enumerate(COUNTS.items())
    }
    names = Vocabulary(tuple(f"w{k}" for k in range(words)))
    return Dataset(**splits, name=f"{PREFIX}{words}", licence="made here", x_kind=tokens(names, LENGTH))


def named_oracle(name: str) -> Dataset:
    """The set `oracle:WORDS`.

    Raises:
        DataError: what stands after the colon is no number of words.
    """
    words = name.removeprefix(PREFIX)
    if not (words.isdecimal() and len(words) < 10):
        raise DataError(f"{name[:200]}: {words[:200]!r} is no number of words, expected such as {PREFIX}100")
    return oracle_set(int(words))


def oracle_of(data: Dataset) -> Oracle | None:
    """Who wrote the sequences, where that is known: of a set `oracle:WORDS`, or its stand-in."""
    words = data.name.removeprefix(PREFIX)
    return oracle(int(words)) if data.name.startswith(PREFIX) and words.isdecimal() else None
