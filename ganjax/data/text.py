"""Captions as numbers: tokens of a vocabulary of words or characters, and vectors of hashed pieces of words."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from ganjax.checks import check_name, check_range
from ganjax.kinds import TOKENS, Kind

Unit = Literal["word", "character"]
PADDING, UNKNOWN = 0, 1
MAX_WORDS = 2**16  # players hold a row of weights for each
SAID = 40  # characters of a text that an error repeats


def pieces(text: str, unit: Unit = "word") -> list[str]:
    """The words or the characters of a text, in lower case and composed (NFC).

    A word is a run of letters, their marks and digits, with apostrophes inside; all other characters part words and are
    left out. Of characters all are kept, and every run of white space is one blank.

    >>> pieces("Don't PANIC: it's a T-shirt, №42!")
    ["don't", 'panic', "it's", 'a', 't', 'shirt', '42']
    """
    plain = unicodedata.normalize("NFC", text.lower())
    if unit == "character":
        return list(" ".join(plain.split()))
    words = "".join(c if _is_of_a_word(c) else " " for c in plain.replace("’", "'")).split()
    return [word for word in (word.strip("'") for word in words) if word]


def _is_of_a_word(c: str) -> bool:
    return c.isalnum() or c == "'" or unicodedata.category(c)[0] == "M"


@dataclass(frozen=True)
class Vocabulary:
    """Words, or characters, and their numbers: 0 pads, 1 is whatever is not known, and words[k] has the number k + 2.

    Raises:
        ValueError: no word, a word twice, one that `pieces` would not leave whole, or too many.
    """

    words: tuple[str, ...]
    unit: Unit = "word"

    def __post_init__(self) -> None:
        check_name("Vocabulary", "unit", self.unit, get_args(Unit))
        if not 1 <= len(self.words) <= MAX_WORDS:
            raise ValueError(f"a vocabulary of {len(self.words):,} words, expected 1 to {MAX_WORDS:,}")
        for word in self.words:
            whole = pieces(word, self.unit) == [word] if word != " " else self.unit == "character"
            if not whole:
                raise ValueError(f"the vocabulary holds {word[:40]!r}, which is not one {self.unit} in lower case")
        if len(self._numbers) < len(self.words):
            twice = next(word for word, times in Counter(self.words).items() if times > 1)
            raise ValueError(f"the vocabulary holds {twice[:40]!r} twice")

    @property
    def size(self) -> int:
        """How many numbers there are, padding and the unknown word among them: rows of an embedding."""
        return len(self.words) + 2

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex over the unit and the words in their order."""
        return hashlib.sha256("\n".join((self.unit, *self.words)).encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, UNKNOWN + 1)}

    def longest(self, texts: Iterable[str]) -> int:
        """How many words or characters the longest text has, at least 1."""
        return max((len(pieces(str(text), self.unit)) for text in texts), default=0) or 1

    def encode(self, texts: Sequence[str] | np.ndarray, length: int | None = None) -> np.ndarray:
        """[N, L] int32, each text from the left, then 0.

        Args:
            texts: N strings, in a list or an array.
            length: L; by default `longest`. A longer text is cut.
        """
        check_range("encode", 1, whole=True, length=length)
        length = self.longest(texts) if length is None else length
        tokens = np.zeros((len(texts), length), np.int32)
        for row, text in zip(tokens, texts, strict=True):
            found = [self._numbers.get(word, UNKNOWN) for word in pieces(str(text), self.unit)[:length]]
            row[: len(found)] = found
        return tokens

    def unknown(self, text: str) -> list[str]:
        """The words, or characters, of a text that have no number, each once, in their order.

        >>> Vocabulary(("cat", "red")).unknown("A red, red cat and a dog")
        ['a', 'and', 'dog']
        """
        return [word for word in dict.fromkeys(pieces(text, self.unit)) if word not in self._numbers]

    def decode(self, tokens: np.ndarray) -> list[str]:
        """The texts of [N, L] tokens: words with blanks between them, or the characters; the unknown is "?".

        >>> words = Vocabulary(("cat", "red"))
        >>> words.encode(["Red cat!", "blue cat"]).tolist(), words.decode(words.encode(["Red cat!", "blue cat"]))
        ([[3, 2], [1, 2]], ['red cat', '? cat'])
        """
        written = ("", "?", *self.words)
        between = " " if self.unit == "word" else ""
        return [between.join(written[token] for token in row if token != PADDING) for row in np.asarray(tokens)]


def vocabulary(texts: Iterable[str], unit: Unit = "word", *, most: int = MAX_WORDS) -> Vocabulary:
    """The `most` frequent words, or characters, of the texts, the frequent first and equally frequent ones in order.

    Raises:
        ValueError: the texts hold no word.
    """
    check_name("vocabulary", "unit", unit, get_args(Unit))
    check_range("vocabulary", 1, MAX_WORDS, whole=True, most=most)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(pieces(str(text), unit))
    if not counts:
        raise ValueError(f"the texts hold no {unit}")
    return Vocabulary(tuple(sorted(counts, key=lambda word: (-counts[word], word))[:most]), unit)


def tokens(words: Vocabulary, length: int | None = None) -> Kind:
    """The kind of tokens of that vocabulary; `length` is that of a text of the command line, by default its own."""

    def check(x: np.ndarray) -> str:
        wrong = TOKENS.check(x)
        if not wrong and x.size and x.max() >= words.size:
            wrong = f"the token {x.max()}, expected 0 to {words.size - 1}, the numbers of the vocabulary"
        return wrong

    def parse(text: str) -> np.ndarray:
        said = repr(text) if len(text) <= SAID else f"{text[:SAID]!r}..., of {len(text):,} characters,"
        count = len(pieces(text, words.unit))
        if not count:
            raise ValueError(f"{said} holds no {words.unit} at all, expected some of {len(words.words):,} known ones")
        if not (words.encode([text])[0] > UNKNOWN).any():
            raise ValueError(f"{said} holds no {words.unit} that the vocabulary of {len(words.words):,} has")
        if length is not None and count > length:
            raise ValueError(f"{said} has {count:,} {words.unit}s, expected at most {length}, as in the longest known")
        return words.encode([text], length)[0]

    return TOKENS._replace(check=check, parse=parse, facts={"vocabulary": words})


def hashed(texts: Sequence[str], *, size: int = 2048, lengths: tuple[int, int] = (3, 5)) -> np.ndarray:
    """[N, size] float32 of unit length: which runs of characters a text has, whatever words a vocabulary knows.

    Runs of `lengths` characters within words, an edge counting as a blank, each added with the sign and at the place
    that its hash (MurmurHash3, 32 bit) says: `sklearn.feature_extraction.text.HashingVectorizer`. Two texts have about
    the inner product of their counts. A text of nothing but white space is zero.

    Args:
        texts: N strings, put into the form of `pieces` first.
        size: E, places.
        lengths: the shortest and the longest run, in characters.

    >>> a, b, c = hashed(["red cat", "red cats", "tractor"])
    >>> bool(a @ b > 0.6 > 0.2 > abs(a @ c)), float(a @ a).__round__(6)
    (True, 1.0)
    """
    check_range("hashed", 1, 2**20, whole=True, size=size)
    found = _vectorizer(size, lengths, "l2").transform(["".join(pieces(str(text), "character")) for text in texts])
    return found.toarray().astype(np.float32)


def hashed_words(words: Vocabulary, *, size: int = 2048, lengths: tuple[int, int] = (3, 5)) -> np.ndarray:
    """[`words.size`, size] int8: the runs of characters of each word, counted as `hashed` does before it divides.

    The rows of a text's words add up to `hashed` of the text but for its length, since no run goes beyond a word: so a
    network that is given tokens sees pieces of words, those of words that no training text has too. The rows of padding
    and of the unknown word are zero.

    Args:
        words: of the unit "word".
        size: places.
        lengths: as of `hashed`.
    """
    check_range("hashed_words", 1, 2**20, whole=True, size=size)
    check_name("hashed_words", "the unit of words", words.unit, ("word",))
    found = _vectorizer(size, lengths, None).transform(["", "", *words.words])
    return np.clip(found.toarray(), -127, 127).astype(np.int8)


def spelled(words: Vocabulary, length: int = 16) -> np.ndarray:
    """[`words.size`, length] int32: a blank, which is 1, and the characters of each word, in order from 2 on, then 0.

    >>> spelled(Vocabulary(("abba", "b")), 4).tolist()
    [[0, 0, 0, 0], [0, 0, 0, 0], [1, 2, 3, 3], [1, 3, 0, 0]]

    Args:
        words: of the unit "word".
        length: characters of a word that are kept, the blank among them.
    """
    check_range("spelled", 2, whole=True, length=length)
    numbers = {letter: number for number, letter in enumerate(sorted(set("".join(words.words))), 2)}
    table = np.zeros((words.size, length), np.int32)
    for row, word in zip(table[UNKNOWN + 1 :], words.words, strict=True):
        letters = [1, *(numbers[letter] for letter in word)][:length]
        row[: len(letters)] = letters
    return table


def _vectorizer(size: int, lengths: tuple[int, int], norm: str | None) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        analyzer="char_wb", ngram_range=lengths, n_features=size, norm=norm, lowercase=False, dtype=np.float64
    )
