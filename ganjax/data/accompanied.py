"""What the arrays of an .npz file are beside the images: companions of examples, and what the file says of all."""

import re
import sys
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np

from ganjax import kinds
from ganjax.data import text
from ganjax.data.dataset import ARRAYS, CLASS, Companion, integer_labels
from ganjax.data.memory import check_size
from ganjax.errors import DataError
from ganjax.kinds import MAX_CLASSES, MAX_RATE, VECTOR, Kind, classes, kind_of, waveforms

FACTS = ("rate", "vocabulary", "attributes")  # of all arrays of a file
MAX_ATTRIBUTES = 100  # columns of classes; more are no attributes but pixels
_COMPANION = re.compile(r"([A-Za-z]\w{0,79})_(?:train|test)")
_EXPECTED = (
    "expected images [N, H, W, C], clips [N, T, H, W, C], maps [N, H, W] of int32, vectors [N, E] of float32, "
    "classes [N], attributes [N, E] of uint8 or texts [N]"
)


def is_beside(name: str, names: Collection[str]) -> bool:
    """Whether an array is of a companion: NAME_train, NAME_test, or NAME_names beside a NAME_train."""
    owner = name.removesuffix("_names")
    return name not in ARRAYS and bool(_COMPANION.fullmatch(name) or (owner != name and f"{owner}_train" in names))


class Accompanied:
    """The arrays of a file, keyed by name.

    Args:
        path: what errors call it.
        found: its arrays.
    """

    def __init__(self, path: Path, found: Mapping[str, np.ndarray]):
        self._path, self._found = path, found

    def names(self) -> list[str]:
        """Of the companions, in their order."""
        matches = [_COMPANION.fullmatch(name) for name in self._found if name not in ARRAYS]
        return list(dict.fromkeys(match[1] for match in matches if match))

    def kind_of(self, field: str, length: int | None = None) -> Kind | None:
        """What an array is, where it needs more than its rank and dtype; else None.

        Raises:
            DataError: it needs a rate or a vocabulary that the file has not, or has wrong.
        """
        kind = kind_of(self._found[field])
        if kind is not None and kind.name == "waveform":
            return waveforms(self._rate(field))
        if kind is not None and kind.name == "tokens":
            if self._vocabulary is None:
                hint = "add their words, give texts [N] in their place, or use astype('float32') for points"
                self._fail(field, f"is int32 [N, L], which are tokens, but there is no array vocabulary; {hint}")
            return text.tokens(self._vocabulary, length)
        return None

    def companions(self) -> dict[str, Companion]:
        """What all arrays are; of whole numbers [N, E], but waveforms and tokens, each column is a class.

        Raises:
            DataError: nothing that is known; `Dataset` checks the rest.
        """
        made: dict[str, Companion] = {}
        for name in self.names():
            x = self._found.get(f"{name}_train")
            table = x is not None and x.ndim == 2 and x.dtype.kind in "iu" and x.dtype.name not in ("int16", "int32")
            for own, one in (self._attributes(name) if table else {name: self.companion(name)}).items():
                if own in made:
                    self._fail(f"{name}_train", f"is called {own!r}, as another array is; rename one of them")
                made[own] = one
        return made

    def companion(self, name: str) -> Companion:
        """What the arrays of that name are, taken as one.

        Raises:
            DataError: nothing that is known; `Dataset` checks the rest.
        """
        train, test = self._found.get(f"{name}_train"), self._found.get(f"{name}_test")
        if train is None:
            self._fail(f"{name}_test", f"is given without {name}_train; give both")
        if name == CLASS:
            self._fail(f"{name}_train", "has a name that is taken; call the labels y_train, or this something else")
        if train.dtype.kind in "SU":
            return self._texts(name, train, test)
        kind = self.kind_of(f"{name}_train", train.shape[-1] if train.ndim else None)
        if kind is None and train.ndim == 1:
            train, test = integer_labels(train), None if test is None else integer_labels(test)
            kind = self._classes(name, [one for one in (train, test) if one is not None])
        if kind is None and train.ndim == 2:
            kind = VECTOR
            if train.dtype == bool:
                train, test = train.astype(np.float32), None if test is None else test.astype(np.float32)
        kind = kind or kind_of(train)
        if kind is None:
            self._fail(f"{name}_train", f"has shape {train.shape}, {_EXPECTED}")
        return Companion(train, test, kind)

    def _attributes(self, name: str) -> dict[str, Companion]:
        """The columns of an array, called as the file says, by default NAME_0, NAME_1, ..."""
        train, test = self._found[f"{name}_train"], self._found.get(f"{name}_test")
        count = train.shape[1]
        if not 1 <= count <= MAX_ATTRIBUTES:
            what = f"has {count:,} columns of whole numbers, expected 1 to {MAX_ATTRIBUTES} attributes"
            self._fail(f"{name}_train", f"{what}; use x.astype('float32') for vectors")
        if test is not None and (test.dtype.kind not in "iu" or test.shape[1:] != (count,)):
            got = f"dtype {test.dtype} and shape {test.shape}"
            self._fail(f"{name}_test", f"has {got}, expected whole numbers [N, {count}] as in training")
        called = self._found.get("attributes", np.array([f"{name}_{k}" for k in range(count)]))
        self._check_texts("attributes", called)
        if not len(called) == len(set(called)) == count:
            self._fail(
                "attributes", f"has {len(called)} names, expected {count} different ones, of {name}_train's columns"
            )
        found = {}
        for k, own in enumerate(map(str, called)):
            splits = [integer_labels(one[:, k]) for one in (train, test) if one is not None]
            found[own] = Companion(splits[0], None if test is None else splits[1], self._classes(own, splits))
        return found

    def _fail(self, field: str, problem: str) -> NoReturn:
        raise DataError(f"{self._path}: {field} {problem}")

    def _rate(self, field: str) -> int:
        rate = self._found.get("rate")
        if rate is None:
            hint = "add the samples of a second, rate=16000, or use astype('float32') for points"
            self._fail(field, f"is int16 [N, T], which are waveforms, but there is no array rate; {hint}")
        if rate.ndim or rate.dtype.kind not in "iu" or not 1 <= rate <= MAX_RATE:
            got = f"{rate.dtype} of shape {rate.shape}" if rate.ndim or rate.dtype.kind not in "iu" else rate
            self._fail("rate", f"is {got}, expected one whole number of samples a second, 1 to {MAX_RATE:,}")
        return int(rate)

    @cached_property
    def _vocabulary(self) -> text.Vocabulary | None:
        """That of the file."""
        words = self._found.get("vocabulary")
        if words is None:
            return None
        self._check_texts("vocabulary", words, text.MAX_WORDS)
        try:
            return text.Vocabulary(tuple(map(str, words)))
        except ValueError as error:
            self._fail("vocabulary", f"cannot be used ({error})")

    def _check_texts(self, field: str, texts: np.ndarray, most: int | None = None) -> None:
        """Before a text is made of any: NumPy keeps numbers, and of some of them no text can be made."""
        if texts.dtype.kind != "U" or texts.ndim != 1:
            got = f"dtype {texts.dtype} and shape {texts.shape}"
            self._fail(field, f"has {got}, expected one text each, [N] of str; use x.astype(str)")
        if most is not None and len(texts) > most:
            self._fail(field, f"has {len(texts):,} texts, expected at most {most:,}")
        if texts.size and texts.itemsize:
            codes = np.ascontiguousarray(texts).view(np.dtype("u4").newbyteorder(texts.dtype.byteorder))
            halves = (codes >= 0xD800) & (codes < 0xE000)
            if codes.max() > sys.maxunicode or halves.any():
                self._fail(field, "holds numbers that are no characters; write the file again")

    def _texts(self, name: str, train: np.ndarray, test: np.ndarray | None) -> Companion:
        """Texts as numbers, those of the longest text in either split a row."""
        splits = {f"{name}_train": train} | ({} if test is None else {f"{name}_test": test})
        for field, texts in splits.items():
            self._check_texts(field, texts)
            rows = self._found.get(f"x_{field.removeprefix(name + '_')}", texts).shape[:1]
            if texts.shape != rows:
                expected = f"{rows[0] if rows else 'none'}: one for each example"
                self._fail(field, f"has {len(texts)} texts, expected {expected}")
        words = self._vocabulary
        if words is None:
            try:
                words = text.vocabulary(train)
            except ValueError as error:
                self._fail(f"{name}_train", f"cannot be used ({error})")
        length = max(words.longest(texts) for texts in splits.values())
        check_size(self._path, 4 * length * sum(map(len, splits.values())))  # a single long text makes all rows long
        found = [words.encode(texts, length) for texts in splits.values()]
        return Companion(found[0], found[1] if test is not None else None, text.tokens(words, length))

    def _classes(self, name: str, splits: list[np.ndarray]) -> Kind:
        """Classes with the names of the file, by default with their numbers for names."""
        names = self._found.get(f"{name}_names")
        if names is not None:
            self._check_texts(f"{name}_names", names, MAX_CLASSES)
            return classes(list(map(str, names)))
        whole = all(one.dtype == np.int32 and one.size and one.min() >= 0 for one in splits)
        end = max(int(one.max()) for one in splits) + 1 if whole else 0
        return classes(list(map(str, range(end)))) if 0 < end <= MAX_CLASSES else kinds.CLASS
