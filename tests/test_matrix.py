"""What `make test` leaves out of a matrix, it leaves out because every pair is still there."""

from itertools import combinations, product

import pytest
from matrix import cases, covering

PRODUCT = list(product("abcdefgh", (None, "consensus", "symplectic", "two"), ("dirac", "bilinear", "gan")))
MATRICES = {
    "product": PRODUCT,
    "a rule without adjustments": [row for row in PRODUCT if row[0] != "h" or row[1] is None],
    "networks for two rules": [row for row in PRODUCT if row[2] != "gan" or row[0] < "c"],
}


def _pairs(rows):
    return {pair for row in rows for pair in combinations(enumerate(row), 2)}


@pytest.mark.parametrize("rows", MATRICES.values(), ids=MATRICES)
def test_every_pair_that_can_occur_does(rows):
    chosen = covering(rows)
    assert _pairs(chosen) == _pairs(rows)
    assert set(chosen) <= set(rows) and len(set(chosen)) == len(chosen)


def test_it_is_a_covering_not_the_product():
    """The two longest columns have 8 x 4 pairs, and 32 of the 96 rows do; 7 switches need few of 128."""
    assert len(covering(PRODUCT)) == 32
    assert len(covering(list(product(*["ab"] * 7)))) <= 10


def test_the_same_rows_in_every_process():
    """Workers of pytest-xdist must agree: nothing depends on the order of a set of strings."""
    assert covering(product("ab", "12", "xy")) == [("a", "1", "x"), ("a", "2", "y"), ("b", "1", "y"), ("b", "2", "x")]


def test_the_full_matrix_on_request(monkeypatch):
    for full, rows in ((True, PRODUCT), (False, covering(PRODUCT))):
        monkeypatch.setattr("matrix.FULL", full)
        assert cases(PRODUCT) == rows
