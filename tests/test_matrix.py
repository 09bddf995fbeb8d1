"""What `make test` leaves out of a matrix, it leaves out because every pair is still there."""

from itertools import combinations, product

import pytest
from matrix import cases, covering

RULES, ADJUSTMENTS, GAMES = "abcdefgh", (None, "consensus", "symplectic", "two"), ("dirac", "bilinear", "gan")


def _pairs(rows):
    return {frozenset(pair) for row in rows for pair in combinations(enumerate(row), 2)}


def _not_h_adjusted(rule, adjustment, game):
    return rule != "h" or adjustment is None


@pytest.mark.parametrize("allowed", [lambda *row: True, _not_h_adjusted, lambda *row: row[2] == "gan" or row[0] < "c"])
def test_every_pair_that_can_occur_does(allowed):
    everything = [row for row in product(RULES, ADJUSTMENTS, GAMES) if allowed(*row)]
    chosen = covering(RULES, ADJUSTMENTS, GAMES, allowed=allowed)
    assert _pairs(chosen) == _pairs(everything)
    assert set(chosen) <= set(everything) and len(set(chosen)) == len(chosen)


def test_it_is_a_covering_not_the_product():
    """8 x 4 pairs of the two longest axes need 32 rows of the 96."""
    assert len(covering(RULES, ADJUSTMENTS, GAMES)) == 32
    assert len(covering(*["ab"] * 7)) <= 8 and len(list(product(*["ab"] * 7))) == 128


def test_the_same_rows_in_every_process():
    """Workers of pytest-xdist must agree: nothing depends on the order of a set of strings."""
    rows = covering("ab", (1, 2), "xy")
    assert rows == [("a", 1, "x"), ("a", 2, "y"), ("b", 1, "y"), ("b", 2, "x")]


def test_the_full_matrix_on_request(monkeypatch):
    for full, rows in ((True, list(product("abc", "xy", "12"))), (False, covering("abc", "xy", "12"))):
        monkeypatch.setattr("matrix.FULL", full)
        assert cases("abc", "xy", "12") == rows
