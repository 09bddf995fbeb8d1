"""Models of sequences that count: what follows which last few symbols, the plainest control of a network (NumPy)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganjax.checks import check_range


class Counts(NamedTuple):
    """What follows contexts of one length; a run of symbols is the number that they are the digits of, in base K."""

    runs: NDArray  # [R] int64, sorted: contexts with what follows
    seen: NDArray  # [R], how often
    contexts: NDArray  # [C] int64, sorted
    total: NDArray  # [C], how often each was
    kinds: NDArray  # [C], how many different symbols followed it


class Ngram(NamedTuple):
    """An interpolated model of K symbols."""

    size: int  # K
    counts: tuple[Counts, ...]  # of contexts of 0, 1, 2, ... symbols


def ngram(x: NDArray, size: int, order: int) -> Ngram:
    """Count runs of 1 to `order` symbols within sequences.

    Args:
        x: [N, T] integers, 0 to K - 1.
        size: K.
        order: symbols of the longest run, at most T.

    Raises:
        ValueError: runs that 64 bits do not number, or a symbol out of range.
    """
    check_range("ngram", 1, x.shape[1], whole=True, order=order)
    check_range("ngram", 1, whole=True, size=size)
    if size**order >= 2**63:
        raise ValueError(f"ngram: runs of {order} of {size} symbols are more than 2^63; count shorter ones")
    if x.min() < 0 or x.max() >= size:
        bad = x.min() if x.min() < 0 else x.max()
        raise ValueError(f"ngram: x has the symbol {bad}, expected 0 to {size - 1}")

    def of(length: int) -> Counts:
        runs, seen = np.unique(_runs(x, length, size), return_counts=True)
        contexts, first, kinds = np.unique(runs // size, return_index=True, return_counts=True)
        return Counts(runs, seen, contexts, np.add.reduceat(seen, first), kinds)

    return Ngram(size, tuple(map(of, range(order))))


def nll(model: Ngram, x: NDArray) -> NDArray:
    """`-log p(x_t | x_<t)` in nats, [N, T], by Witten and Bell's interpolation (1991; Chen and Goodman 1998, 2.7).

    `p(x | h) = (c(h x) + t(h) p(x | h')) / (c(h) + t(h))`: c counts, t(h) is how many different symbols followed h, h'
    is h without its first symbol, and below the empty context all symbols are equally likely. A context that was never
    seen says what h' does. The first symbols of a sequence have shorter contexts.

    Args:
        model: of `ngram`.
        x: [N, T] integers, 0 to K - 1.
    """
    p = np.full(x.shape, 1 / model.size)
    for length, own in enumerate(model.counts):
        runs = _runs(x, length, model.size)
        seen = _looked_up(own.runs, own.seen, runs)
        total, kinds = (_looked_up(own.contexts, values, runs // model.size) for values in (own.total, own.kinds))
        shorter, known = p[:, length:], total > 0
        p[:, length:] = np.where(known, (seen + kinds * shorter) / np.where(known, total + kinds, 1), shorter)
    return -np.log(p)


def _runs(x: NDArray, length: int, size: int) -> NDArray:
    """The numbers of all runs of a context of that length and a symbol, [N, T - length]."""
    end = x.shape[1] - length
    found = np.zeros((len(x), max(0, end)), np.int64)
    for k in range(length + 1):
        found = found * size + x[:, k : end + k]
    return found


def _looked_up(names: NDArray, values: NDArray, asked: NDArray) -> NDArray:
    """The values of those that are asked for, 0 of unknown ones."""
    place = np.minimum(np.searchsorted(names, asked), len(names) - 1)
    return np.where(names[place] == asked, values[place], 0)
