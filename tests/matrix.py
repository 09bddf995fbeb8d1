"""Which rows of a matrix of tests are run: all of them by `make test-all`, enough for every pair by `make test`."""

import os
from collections.abc import Hashable, Iterable
from itertools import combinations

FULL = os.environ.get("GANJAX_TESTS") == "full"

Row = tuple[Hashable, ...]


def cases(rows: Iterable[Row]) -> list[Row]:
    """All rows with GANJAX_TESTS=full, without it a covering of them."""
    return list(rows) if FULL else covering(rows)


def covering(rows: Iterable[Row]) -> list[Row]:
    """Few of the rows, in which each pair of values of two columns occurs that occurs in any.

    Greedy, as AETG (Cohen et al., The AETG System: An Approach to Testing Based on Combinatorial Design, 1997): the row
    with the most pairs that are still missing, of equals the first, so that cheap rows belong at the beginning.
    """
    rest = {row: set(combinations(enumerate(row), 2)) for row in rows}
    missing, chosen = set().union(*rest.values()), []
    while missing:
        best = max(rest, key=lambda row: len(missing & rest[row]))
        missing -= rest.pop(best)
        chosen.append(best)
    return chosen
