"""Captions as numbers, by hand."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ganjax.data.text import MAX_WORDS, Vocabulary, hashed, hashed_words, pieces, spelled, tokens, vocabulary

TEXTS = ["A red cat", "a dog, a cat!", "Don't"]


def test_words_by_frequency_and_then_in_order():
    words = vocabulary(TEXTS)
    assert words.words == ("a", "cat", "dog", "don't", "red") and words.size == 7
    found = words.encode(TEXTS)
    assert found.dtype == np.int32
    assert found.tolist() == [[2, 6, 3, 0], [2, 4, 2, 3], [5, 0, 0, 0]]
    assert words.decode(found) == ["a red cat", "a dog a cat", "don't"]
    assert vocabulary(TEXTS, most=2).words == ("a", "cat")


def test_what_is_not_known_what_is_too_long_and_nothing():
    words = Vocabulary(("a", "cat"))
    assert words.encode(["a b cat", "", "!"]).tolist() == [[2, 1, 3], [0, 0, 0], [0, 0, 0]]
    assert words.encode(["a b cat"], 2).tolist() == [[2, 1]] and words.encode([""]).shape == (1, 1)
    assert words.decode([[2, 1, 3], [0, 0, 0]]) == ["a ? cat", ""]
    assert tokens(words).facts["vocabulary"] is words


def test_characters():
    words = vocabulary(["AB  b"], "character")
    assert words.words == ("b", " ", "a") and words.decode(words.encode([" ab\nB"])) == ["ab b"]


def test_the_form_of_texts():
    assert pieces("CAFE\u0301 snake_case 3.5 rock’n’roll") == ["café", "snake", "case", "3", "5", "rock'n'roll"]
    assert pieces("ẞ\u2003Ω", "character") == ["ß", " ", "ω"]


def test_marks_belong_to_their_letters():
    assert pieces("हिन्दी भाषा, İki") == ["हिन्दी", "भाषा", "i\u0307ki"]


@given(st.lists(st.text(max_size=20), max_size=4), st.sampled_from(["word", "character"]))
@example(["A\u0345\u0301ǅ", "\x1c\x85ﬁ'’'s"], "word")
def test_any_texts_make_a_vocabulary_that_knows_them(texts, unit):
    found = [pieces(text, unit) for text in texts]
    if any(found):
        words = vocabulary(texts, unit)
        tokens = words.encode(texts)
        assert 1 not in tokens
        assert words.decode(tokens) == [(" " if unit == "word" else "").join(row) for row in found]


@pytest.mark.parametrize(
    "words, sentence",
    [
        ((), "a vocabulary of 0 words, expected 1 to 65,536"),
        (("a", "b", "a"), "the vocabulary holds 'a' twice"),
        (("a b",), "'a b', which is not one word in lower case"),
        (("A",), "'A', which is not one word in lower case"),
        (("",), "'', which is not one word"),
        (("!",), "'!', which is not one word"),
    ],
)
def test_refuses_a_vocabulary(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        Vocabulary(words)


def test_refuses_texts_without_words_and_other_units():
    with pytest.raises(ValueError, match="the texts hold no word"):
        vocabulary(["!", ""])
    with pytest.raises(ValueError, match="unit is 'words', expected one of"):
        vocabulary(TEXTS, "words")
    with pytest.raises(ValueError, match=f"most is {MAX_WORDS + 1}"):
        vocabulary(TEXTS, most=MAX_WORDS + 1)


def test_a_digest_sees_words_order_and_unit():
    found = [Vocabulary(words, unit) for words in (("a", "b"), ("b", "a")) for unit in ("word", "character")]
    assert len({one.digest for one in found}) == 4 and found[0].digest == Vocabulary(("a", "b")).digest


def test_hashed_pieces_have_unit_length_and_know_relatives():
    found = hashed(["running person", "person running fast", "violin", "RUNNING  person ", " "])
    assert found.shape == (5, 2048) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 1, 1, 0], atol=1e-6)
    np.testing.assert_array_equal(found[0], found[3])
    assert found[0] @ found[1] > 0.7 > 0.1 > abs(found[0] @ found[2])
    assert hashed(["a"], size=16).shape == (1, 16)


def test_hashed_pieces_are_the_same_in_every_process():
    code = "from ganjax.data.text import hashed; x = hashed(['red cat'])[0]; print(x.nonzero()[0], x[x != 0])"
    options = {"capture_output": True, "text": True, "env": os.environ | {"PYTHONHASHSEED": "1"}}
    said = subprocess.run([sys.executable, "-c", code], check=True, **options).stdout
    x = hashed(["red cat"])[0]
    assert said == f"{x.nonzero()[0]} {x[x != 0]}\n"


def test_hashed_words_add_up_to_hashed_texts():
    """Whatever the text: no run of characters goes beyond a word, so rows of a table are all that a network needs."""
    texts = ["running person", "person running fast", "a violin", "person person"]
    words = vocabulary(texts)
    table = hashed_words(words, size=512)
    assert table.dtype == np.int8 and table.shape == (words.size, 512) and not table[:2].any()
    sums = table[words.encode(texts)].astype(np.float64).sum(1)
    np.testing.assert_allclose(sums / np.linalg.norm(sums, axis=1)[:, None], hashed(texts, size=512), atol=1e-6)
    with pytest.raises(ValueError, match="the unit of words is 'character'"):
        hashed_words(vocabulary(texts, "character"))


def test_words_are_spelled():
    table = spelled(Vocabulary(("cab", "abacus")), 5)
    assert table.tolist() == [[0] * 5, [0] * 5, [1, 4, 2, 3, 0], [1, 2, 3, 2, 4]]


def test_what_a_vocabulary_does_not_know():
    words = Vocabulary(("cat", "red"))
    assert words.unknown("A red, red cat and A dog") == ["a", "and", "dog"] and words.unknown("Red!") == []


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "'' holds no word at all, expected some of 2 known ones"),
        ("?!", "'?!' holds no word at all"),
        ("blue dog", "'blue dog' holds no word that the vocabulary of 2 has"),
        ("x" * 10_000, r"'x{40}'\.\.\., of 10,000 characters, holds no word that"),
        ("red cat " * 1250, r"of 10,000 characters, has 2,500 words, expected at most 3, as in the longest known"),
    ],
    ids=["empty", "marks", "unknown", "long", "many words"],
)
def test_captions_that_cannot_be_drawn(text, sentence):
    """A caption is never cut in silence."""
    parse = tokens(Vocabulary(("cat", "red")), 3).parse
    with pytest.raises(ValueError, match=sentence):
        parse(text)
    assert parse("a red cat").tolist() == [1, 3, 2]
