"""Running texts and the oracle: what is read, what it is cut into, and what is refused in one sentence."""

import numpy as np
import pytest

from ganjax.data import Dataset, load, outline, stand_in
from ganjax.data import oracle as oracles
from ganjax.data.running import sequences
from ganjax.data.text import Vocabulary, tokens
from ganjax.errors import DataError


def _bytes(text):
    return np.frombuffer(text.encode(), np.uint8)


def _load(folder, **arrays):
    np.savez(folder / "text.npz", **arrays)
    return load(str(folder / "text.npz"))


def _decoded(data, split="train"):
    return data.kind.facts["vocabulary"].decode(getattr(data, f"x_{split}"))


def test_a_text_is_read_in_order_and_cut(tmp_path):
    said = "The  Cat,\nthe cät: 12. Sat!"
    data = _load(tmp_path, book_train=_bytes(said), book_test=_bytes("a x at the cat is"), names=np.array(["x", "y"]))
    assert data.kind.facts["vocabulary"].unit == "character" and data.shape == (17,)
    assert _decoded(data) == ["the cat, the cät:"] and _decoded(data, "test") == ["a x at the cat is"]
    cut = sequences(data, 5)
    assert _decoded(cut) == ["the c", "at, t", "he cä"] and _decoded(cut, "test") == ["a x a", "t the", " cat "]
    assert _decoded(_load(tmp_path, x_train=_bytes("Abc"))) == ["abc"], "without anything held out, and called x"
    long = _load(tmp_path, book_train=_bytes("abc" * 3000))
    assert long.shape == (4096,) and "".join(_decoded(long)) == "abc" * 2730 + "ab"


def test_what_a_run_keeps_of_a_text_can_be_cut_too(tmp_path):
    data = _load(tmp_path, book_train=_bytes("abcdefgh"))
    kept = stand_in(outline(data), "digest")
    assert sequences(kept, 4).shape == (4,) and sequences(kept, 4).digest == "digest"
    assert sequences(kept, 4).kind.facts["vocabulary"].words == data.kind.facts["vocabulary"].words


WORDS = tokens(Vocabulary(("one", "two")))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"book_train": _bytes("")}, "book_train is an empty text, expected one character at least"),
        ({"book_train": _bytes(" \n")}, "book_train is an empty text"),
        ({"book_train": _bytes("ab"), "book_test": _bytes("")}, "book_test is an empty text"),
        ({"book_train": np.array([97, 255], np.uint8)}, "book_train is no text in UTF-8 .byte 1"),
        ({"book_train": _bytes("ab"), "book_test": np.zeros(3)}, "book_test is float64 .3,., expected the bytes"),
        ({"a_train": _bytes("ab"), "b_train": _bytes("ab")}, "x_train is missing"),
    ],
)
def test_what_is_no_text(arrays, said, tmp_path):
    with pytest.raises(DataError, match=said) as caught:
        _load(tmp_path, **arrays)
    assert "\n" not in str(caught.value) and "text.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("x", "length", "said"),
    [
        ([[2, 3, 2]], 4, "x_train has texts of 3 symbols, expected at least 4; .* say a smaller --length"),
        ([[2, 3, 0]], 3, "x_train has the token 0, which is no symbol, expected 2 to 3 throughout"),
    ],
)
def test_what_cannot_be_cut(x, length, said):
    with pytest.raises(DataError, match=said):
        sequences(Dataset(np.array(x, np.int32), x_kind=WORDS), length)
    with pytest.raises(DataError, match="the token 4, expected 0 to 3"):
        Dataset(np.array([[2, 4]], np.int32), x_kind=WORDS)
    with pytest.raises(DataError, match=r"has points .* expected a text"):
        sequences(Dataset(np.zeros((3, 2), np.float32)), 2)


def test_the_oracle_draws_what_it_says(monkeypatch):
    """All sequences of three symbols have the shares that their probabilities say, which add up to 1."""
    weights, n = oracles.oracle(3, features=4), 4000
    every = np.stack(np.meshgrid(*3 * [np.arange(3)], indexing="ij"), -1).reshape(-1, 3)
    p = np.exp(-oracles.nll(weights, every).sum(1))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
    x = oracles.draw(weights, n, 3, np.random.default_rng(0))
    shares = np.bincount(x @ [9, 3, 1], minlength=27) / n
    assert (np.abs(shares - p) < 4.5 * np.sqrt(p / n) + 1e-9).all()
    monkeypatch.setattr(oracles, "COUNTS", {"train": 20, "test": 10})
    data = load("oracle:5")
    assert data.x_train.shape == (20, 20) and data.x_test.shape == (10, 20)
    assert data.x_train.min() >= 2 and data.x_train.max() <= 6 and data.digest == load("oracle:5").digest
    assert not np.array_equal(data.x_train[:10], data.x_test)
    for own in (data, stand_in(outline(data), "")):
        np.testing.assert_array_equal(oracles.oracle_of(own).out, oracles.oracle(5).out)
    assert oracles.oracle_of(Dataset(np.zeros((3, 2), np.float32))) is None


@pytest.mark.parametrize("name", ["oracle:", "oracle:one", "oracle:1", "oracle:99999999"])
def test_an_oracle_of_no_words(name):
    with pytest.raises(DataError, match=r"is no number of words|expected 2 to 65,536"):
        load(name)
