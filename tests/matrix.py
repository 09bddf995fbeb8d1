"""Which members of a matrix of tests are run: all of them by `make test-all`, enough for every pair by `make test`."""

import os
from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import Any

FULL = os.environ.get("GANJAX_TESTS") == "full"


def cases(*axes: Sequence[Any], allowed: Callable[..., bool] = lambda *row: True) -> list[tuple]:
    """The rows of the product of the axes that are allowed; without GANJAX_TESTS=full a covering of them."""
    return [row for row in product(*axes) if allowed(*row)] if FULL else covering(*axes, allowed=allowed)


def covering(*axes: Sequence[Any], allowed: Callable[..., bool] = lambda *row: True) -> list[tuple]:
    """Few rows of the product in which each pair of values of two axes occurs that occurs in an allowed row.

    Greedy, as AETG (Cohen et al., The AETG System: An Approach to Testing Based on Combinatorial Design, 1997): the row
    with the most pairs that are still missing; of equals the first in the order of the product, so that cheap values
    belong at the beginning of an axis.
    """
    rows = [row for row in product(*(range(len(axis)) for axis in axes)) if allowed(*_values(axes, row))]
    missing = set().union(*map(_pairs, rows))
    chosen = []
    while missing:
        best = max(rows, key=lambda row: len(missing & _pairs(row)))
        missing -= _pairs(best)
        chosen.append(_values(axes, best))
    return chosen


def _values(axes: Sequence[Sequence[Any]], row: tuple[int, ...]) -> tuple:
    return tuple(axis[i] for axis, i in zip(axes, row, strict=True))


def _pairs(row: tuple[int, ...]) -> set[tuple]:
    return set(combinations(enumerate(row), 2))
