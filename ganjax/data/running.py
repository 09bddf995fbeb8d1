"""Running texts: one long text a split, as characters, and the sequences that it is cut into."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ganjax.checks import check_range
from ganjax.data.dataset import Dataset
from ganjax.data.memory import check_size
from ganjax.data.outline import StandIn
from ganjax.data.text import UNKNOWN, tokens, vocabulary
from ganjax.errors import DataError, reason

SPLITS = ("train", "test")
_TEXT = re.compile(r"[A-Za-z]\w{0,79}_train")
ROW = 4096  # characters; training and held-out examples are of one shape


def running_name(names: list[str], header: Callable[[str], tuple[tuple[int, ...], np.dtype]]) -> str:
    """What the running text of a file is called: NAME of its one array NAME_train of uint8 [N], or "" for none.

    Args:
        names: of its arrays.
        header: array -> shape and dtype.
    """
    found = []
    for name in names if "x_train" not in names else ["x_train"]:
        if _TEXT.fullmatch(name):
            shape, dtype = header(name)
            found += [name.removesuffix("_train")] if len(shape) == 1 and dtype == np.uint8 else []
    return found[0] if len(found) == 1 else ""


def running_text(path: Path, name: str, found: Mapping[str, np.ndarray]) -> Dataset:
    """A text as tokens of its characters, in lower case, every run of white space one blank (`pieces`).

    It lies in rows of 4,096 characters, or of as many as the shorter split has; the last ones, which fill no row, are
    left out. The alphabet is that of both splits.

    Args:
        path: what errors call the file.
        name: of the text.
        found: `NAME_train` and, where it is there, `NAME_test`, bytes of UTF-8 as uint8 [N].

    Raises:
        DataError: bytes that are no text, or a text of nothing.
    """
    texts = {}
    for split in SPLITS:
        if (field := f"{name}_{split}") in found:
            raw = found[field]
            if raw.ndim != 1 or raw.dtype != np.uint8:
                raise DataError(f"{path}: {field} is {raw.dtype} {raw.shape}, expected the bytes of a text, uint8 [N]")
            check_size(path, 16 * raw.size)  # a character is a pointer and a number for a while
            try:
                texts[f"x_{split}"] = raw.tobytes().decode("utf-8")
            except UnicodeDecodeError as error:
                why = f"byte {error.start}: {reason(error)[:80]}"
                raise DataError(f"{path}: {field} is no text in UTF-8 ({why}); encode it anew") from error
            if not texts[f"x_{split}"].strip():
                raise DataError(f"{path}: {field} is an empty text, expected one character at least besides blanks")
    letters = vocabulary(texts.values(), "character")
    whole = {field: letters.encode([text]) for field, text in texts.items()}
    rows = _cut(whole, min(ROW, *(x.shape[1] for x in whole.values())))
    return Dataset(**rows, name=str(path), x_kind=tokens(letters, ROW))


def _cut(rows: Mapping[str, np.ndarray], length: int) -> dict[str, Any]:
    """Rows [N, L] as [N (L // length), length], those of a row in its order."""
    return {field: x[:, : x.shape[1] // length * length].reshape(-1, length) for field, x in rows.items()}


def sequences(data: Dataset, length: int) -> Dataset:
    """Whole sequences of `length` symbols, cut out of longer ones: what `ganjax.games.sequences` is played on.

    Args:
        data: of tokens, longer ones than `length`; what is left over at the end of each is left out.
        length: of a sequence.

    Raises:
        DataError: no tokens of a vocabulary, shorter ones, or some that are no symbol but padding or unknown.
    """
    check_range("sequences", 2, whole=True, length=length)
    if data.kind.name != "tokens" or "vocabulary" not in data.kind.facts:
        raise DataError(f"the data set {data.name} has {data.kind.plural}, expected a text, or tokens of a vocabulary")
    rows = {f"x_{split}": x for split in SPLITS if (x := getattr(data, f"x_{split}")) is not None}
    words = data.kind.facts["vocabulary"]
    for field, x in rows.items():
        if x.shape[1] < length:
            raise DataError(
                f"the data set {data.name}: {field} has texts of {x.shape[1]:,} symbols, expected at least {length}; "
                "give longer ones, or say a smaller --length"
            )
        if x.min() <= UNKNOWN and not isinstance(data, StandIn):
            raise DataError(
                f"the data set {data.name}: {field} has the token {x.min()}, which is no symbol, expected "
                f"{UNKNOWN + 1} to {words.size - 1} throughout; leave padding and unknown words out"
            )
    return dataclasses.replace(data, **_cut(rows, length), y_train=None, y_test=None, companions={})
