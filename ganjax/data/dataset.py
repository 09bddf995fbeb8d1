"""The one form that every source of real samples takes: four arrays, checked when they are made, and what else comes
with each example.

They lie in memory, but for images of TFDS or of a folder that are too many for it: `LazyImages`.
"""

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ganjax.data.memory import LazyImages
from ganjax.data.order import subsample
from ganjax.errors import DataError, did_you_mean
from ganjax.kinds import CLASS as CLASS_KIND
from ganjax.kinds import CLIP, IMAGE, MAX_CLASSES, POINT, STORED, Kind, classes, kind_of

LOOKED_AT = 64  # images of a split on disk, when its pixels are checked
PART_BYTES = 2**29  # of the images of a split that are held in memory where only a part of them can be
ARRAYS = ("x_train", "y_train", "x_test", "y_test")

CLASS = "class"  # what the labels are called among all that accompanies an example


class Companion(NamedTuple):
    """What comes with each example beside its class: another image, a caption as tokens, a vector of attributes."""

    train: np.ndarray  # [N, ...]
    test: np.ndarray | None  # [M, ...], exactly where there are test examples
    kind: Kind


class Mixture(NamedTuple):
    """Equally likely Gaussians, from which points are drawn."""

    centres: np.ndarray  # [K, D] float32
    std: float


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Training examples, and where there are any, labels, companions and held-out test examples.

    Raises:
        DataError: an array has the wrong type, rank, dtype or length, or holds NaN; names the field.
    """

    # as its kind says, [N, H, W, C] uint8 for images, [N, D] float32 for points; `LazyImages` may stand for images
    x_train: np.ndarray
    y_train: np.ndarray | None = None  # [N] int32, the class
    x_test: np.ndarray | None = None  # [M, ...] like x_train
    y_test: np.ndarray | None = None  # [M] int32
    name: str = "unnamed"
    licence: str = "unknown"
    class_names: tuple[str, ...] | None = None  # position = label
    mixture: Mixture | None = None  # of points, where it is known
    channel_classes: int | None = None  # K of stacked images, whose channels are grey images of K classes each
    companions: Mapping[str, Companion] = dataclasses.field(default_factory=dict)  # keyed by name
    x_kind: Kind | None = None  # where the arrays do not say it: waveforms of a rate, tokens of a vocabulary
    form: Callable[[np.ndarray], np.ndarray] | None = None  # what raw images have gone through to be examples

    def __post_init__(self) -> None:
        validate(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (H, W, C), (D,), (T,), ..."""
        return self.x_train.shape[1:]

    @property
    def kind(self) -> Kind:
        """What an example is."""
        return self.x_kind or kind_of(self.x_train)  # type: ignore[return-value]  # `validate` refuses what is of none

    def y(self, name: str, split: str = "train") -> np.ndarray | None:
        """What of that name comes with the examples of a split, "class" or a companion; None where there is none.

        Raises:
            DataError: there is nothing of that name.
        """
        if name == CLASS:
            return getattr(self, f"y_{split}")
        if name not in self.companions:
            known = [*([CLASS] if self.y_train is not None else []), *self.companions]
            raise DataError(
                f"the data set {self.name} has no {name!r} with its examples, expected one of {known}"
                f"{did_you_mean(name, known)}"
            )
        return getattr(self.companions[name], split)

    def y_kind(self, name: str) -> Kind:
        """What that which comes with an example is.

        Raises:
            DataError: there is nothing of that name.
        """
        if name == CLASS:
            return classes(self.class_names) if self.class_names else CLASS_KIND
        self.y(name)
        return self.companions[name].kind

    @property
    def classes(self) -> int | None:
        """The number of classes: of the names where there are any, else one more than the largest label."""
        if self.class_names is not None:
            return len(self.class_names)
        labels = [int(y.max()) for y in (self.y_train, self.y_test) if y is not None]
        return max(labels) + 1 if labels else None

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex over name, dtype, shape and C-order bytes of each array that is there.

        Of images that lie on disk, over their identity in place of the bytes: names within the folder, sizes and both
        ends of its files; version, bytes and examples of each file of a TFDS set. Facts of the kinds count as well.
        """
        total = hashlib.sha256()
        for field in ARRAYS:
            value = getattr(self, field)
            if value is not None:
                total.update(f"{field} {value.dtype.str} {value.shape}\n".encode())
                lazy = isinstance(value, LazyImages)
                total.update(value.identity.encode() if lazy else np.ascontiguousarray(value).data)
        if self.x_kind is not None:
            total.update(f"x {identity(self.x_kind)}\n".encode())
        for name, companion in sorted(self.companions.items()):
            total.update(f"{name} {identity(companion.kind)}\n".encode())
            for split in ("train", "test"):
                if (value := getattr(companion, split)) is not None:
                    total.update(f"{name}_{split} {value.dtype.str} {value.shape}\n".encode())
                    total.update(np.ascontiguousarray(value).data)
        return total.hexdigest()

    def in_memory(self) -> "Dataset":
        """The data set itself; of images that lie on disk a `subsample` that memory holds, in its order.

        For what needs all of a data set at once, such as a search for neighbours.
        """
        parts: dict[str, Any] = {}
        cut = dict(self.companions)
        for split in ("train", "test"):
            x, y = getattr(self, f"x_{split}"), getattr(self, f"y_{split}")
            if isinstance(x, LazyImages):
                count = max(1, min(len(x), PART_BYTES * len(x) // x.nbytes))
                rows = np.sort(subsample(len(x), count))
                parts |= {f"x_{split}": x[rows], f"y_{split}": None if y is None else y[rows]}
                cut = {name: one._replace(**{split: getattr(one, split)[rows]}) for name, one in cut.items()}
        return replace(self, **parts, companions=cut) if parts else self

    def __repr__(self) -> str:
        test = 0 if self.x_test is None else len(self.x_test)
        what = f"{len(self.x_train)} train, {test} test, {self.x_train.dtype} {self.shape}"
        names = f", with {', '.join(self.companions)}" if self.companions else ""
        return f"Dataset({self.name}: {what}, {self.classes or 'no'} classes{names})"


def identity(kind: Kind) -> str:
    """The name of a kind and its facts in one line, of a vocabulary the digest: what a digest of data holds."""
    facts = {name: getattr(fact, "digest", fact) for name, fact in kind.facts.items()}
    return f"{kind.name} {json.dumps(facts, sort_keys=True)}"


def validate(data: Dataset) -> None:
    """Check every field of a data set.

    Raises:
        DataError: one sentence naming data set and field, what was got, what is expected and what to do.
    """
    _check_examples(data, "x_train")
    if data.x_test is not None:
        _check_examples(data, "x_test")
        _check_same_kind(data)
    for field in ("x_train", "x_test"):
        _check_pixels(data, field, getattr(data, field), data.kind)
    for split in ("train", "test"):
        _check_labels(data, split)
    for name, companion in data.companions.items():
        _check_companion(data, name, companion)


def integer_labels(value: np.ndarray) -> np.ndarray:
    """Integer labels of any width as int32; anything else is returned as it is, for `validate` to refuse."""
    if value.dtype.kind not in "iu" or value.size == 0:
        return value
    limits = np.iinfo(np.int32)
    fits = limits.min <= value.min() and value.max() <= limits.max
    return value.astype(np.int32) if fits else value


def _fail(data: Dataset, field: str, problem: str) -> None:
    raise DataError(f"data set {data.name}: {field} {problem}")


def _check_examples(data: Dataset, field: str) -> None:
    x = getattr(data, field)
    if not isinstance(x, np.ndarray | LazyImages):
        _fail(data, field, f"is a {type(x).__name__}, expected a numpy array")
    if x.size == 0:
        _fail(data, field, f"is empty (shape {x.shape}), expected at least one example")
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and not np.isfinite(x).all():
        _fail(data, field, f"holds {np.sum(~np.isfinite(x))} NaN or infinite values; remove those examples")
    kind = data.x_kind or kind_of(x)
    if kind is None or x.ndim != STORED[kind.name][1] or kind.name == CLASS:
        hint = "; add the channel axis with x[..., None]" if x.ndim == 3 else ""
        known = [data.x_kind] if data.x_kind and data.x_kind.name != CLASS else [IMAGE, POINT, CLIP]
        expected = " or ".join(one.plural for one in known)
        _fail(data, field, f"has rank {x.ndim} (shape {x.shape}), expected {expected}{hint}")
    elif problem := kind.check(x):
        _fail(data, field, f"has {problem}")


def _check_pixels(data: Dataset, field: str, x: Any, kind: Kind) -> None:
    if x is None or kind.name not in ("image", "clip"):
        return
    on_disk = isinstance(x, LazyImages)
    low, high = _range_on_disk(x) if on_disk else (x.min(), x.max())
    if low == high and field == "x_train" and not on_disk:
        _fail(data, field, f"is constant (every pixel is {low}), expected different images")
    if low < high == 1:
        where, remedy = (f" in {min(LOOKED_AT, len(x))} images", "the pixels") if on_disk else ("", field)
        _fail(data, field, f"holds only 0 and 1{where}, expected pixels from 0 to 255; use {remedy} * 255")


def _range_on_disk(x: LazyImages) -> tuple[int, int]:
    """The least and the largest pixel of a few images; a bad one is refused where it is asked for."""
    low, high = 255, 0
    for row in subsample(len(x), LOOKED_AT):
        with contextlib.suppress(DataError):
            image = x[int(row)]
            low, high = min(low, int(image.min())), max(high, int(image.max()))
        if high > 1:
            break
    return low, high


def _check_same_kind(data: Dataset) -> None:
    train, test = data.x_train, data.x_test
    if test is not None and test.shape[1:] != train.shape[1:]:
        _fail(
            data,
            "x_test",
            f"has examples of shape {test.shape[1:]}, expected {train.shape[1:]} as in x_train",
        )
    if test is not None and test.dtype != train.dtype:
        _fail(data, "x_test", f"has dtype {test.dtype}, expected {train.dtype} as in x_train")


def _check_labels(data: Dataset, split: str) -> None:
    field, x, y = f"y_{split}", getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
    if y is None:
        return
    if x is None:
        _fail(data, field, f"is given without x_{split}; give both or neither")
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "iu":
        kind = f"dtype {y.dtype}" if isinstance(y, np.ndarray) else f"type {type(y).__name__}"
        _fail(data, field, f"has {kind}, expected integer labels [N] int32")
    if y.dtype != np.int32:
        _fail(data, field, f"has dtype {y.dtype}, expected int32; use y.astype('int32')")
    if y.shape != (len(x),):
        _fail(data, field, f"has shape {y.shape}, expected ({len(x)},): one label for each example of x_{split}")
    _check_range(data, field, y)


def _check_companion(data: Dataset, name: str, companion: Companion) -> None:
    if not re.fullmatch(r"[A-Za-z]\w{0,79}", name) or name in (CLASS, "x", "y", "position"):
        _fail(data, f"companion {name[:90]!r}", "has a name that is taken or odd, expected letters, digits and _")
    for split in ("train", "test"):
        field, x, value = f"{name}_{split}", getattr(data, f"x_{split}"), getattr(companion, split)
        if (x is None) != (value is None):
            missing, given = (field, f"x_{split}") if value is None else (f"x_{split}", field)
            _fail(data, missing, f"is missing, though there is {given}; give both or neither")
        if value is not None:
            _check_beside(data, field, value, companion)
            if len(value) != len(x):
                _fail(data, field, f"has {len(value)} rows, expected {len(x)}: one for each example of x_{split}")


def _check_beside(data: Dataset, field: str, value: Any, companion: Companion) -> None:
    kind = companion.kind
    if not isinstance(value, np.ndarray):
        _fail(data, field, f"is a {type(value).__name__}, expected a numpy array")
    if value.ndim != STORED[kind.name][1] or value.size == 0:
        _fail(data, field, f"has shape {value.shape}, expected {kind.plural}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        _fail(data, field, f"holds {np.sum(~np.isfinite(value))} NaN or infinite values; remove those examples")
    if problem := kind.check(value):
        _fail(data, field, f"has {problem}")
    _check_pixels(data, field, value, kind)
    if value.shape[1:] != companion.train.shape[1:]:
        _fail(data, field, f"has rows of shape {value.shape[1:]}, expected {companion.train.shape[1:]} as in training")


def _check_range(data: Dataset, field: str, y: np.ndarray) -> None:
    if y.min() < 0:
        _fail(data, field, f"holds the label {y.min()}, expected labels from 0 up")
    if y.max() >= MAX_CLASSES:
        _fail(data, field, f"holds the label {y.max()}, expected less than {MAX_CLASSES}; number the classes from 0")
    names = data.class_names
    if names is not None and y.max() >= len(names):
        _fail(
            data,
            field,
            f"holds the label {y.max()}, expected less than {len(names)}, the number of class_names",
        )
