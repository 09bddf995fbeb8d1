"""What a run keeps of its data: enough to build again what was trained on them, and to draw, without them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganjax import kinds
from ganjax.data import text
from ganjax.data.dataset import Companion, Dataset
from ganjax.data.memory import check_size
from ganjax.errors import DataError
from ganjax.kinds import KINDS, MAX_CLASSES, STORED, Kind


@dataclass(frozen=True, eq=False, repr=False)
class StandIn(Dataset):
    """A few examples in the place of a data set that is not at hand, with the digest of that one."""

    original: str = ""
    number: int | None = None

    @property
    def classes(self) -> int | None:
        """The number of classes of the data that are stood in for, the last of which may have no training example."""
        return self.number

    @property
    def digest(self) -> str:  # type: ignore[override]
        """Of the data that are stood in for."""
        return self.original


def outline(data: Dataset) -> dict[str, Any]:
    """What a data set is called and what networks are built from, as JSON values.

    Name, shape and kind of an example, number and names of classes, which have training examples if not all, and shape
    and kind of each companion; a kind with its facts, such as all words of a vocabulary.
    """
    names = data.class_names and list(data.class_names)
    found = {"name": data.name, **_array(data.shape, data.kind), "classes": data.classes, "class_names": names}
    known = [] if data.y_train is None else np.unique(data.y_train).tolist()
    found |= {"labels": known} if known and len(known) != data.classes else {}
    beside = {name: _array(one.train.shape[1:], one.kind) for name, one in data.companions.items()}
    return found | ({"companions": beside} if beside else {})


def _array(shape: tuple[int, ...], kind: Kind) -> dict[str, Any]:
    """The shape of an example and what it is."""
    found: dict[str, Any] = {"shape": list(shape), "kind": kind.name}
    facts = dict(kind.facts)
    if "vocabulary" in facts:
        words = facts["vocabulary"]
        facts["vocabulary"] = {"words": list(words.words), "unit": words.unit}
    if "names" in facts:
        facts["names"] = list(facts["names"])
    return found | ({"facts": facts} if facts else {})


def stand_in(record: Mapping[str, Any], digest: str) -> Dataset:
    """A data set of that outline with that digest: an example of each class that has any, black and white images.

    Raises:
        DataError: no outline, or of what no data set is.
    """
    try:
        classes, names = record["classes"], record["class_names"]
        if classes is not None and not 1 <= classes <= MAX_CLASSES:
            raise ValueError(f"{classes} classes")
        labels = record.get("labels") or range(classes or 0)
        if classes is not None and not 0 <= min(labels) <= max(labels) < classes:
            raise ValueError(f"labels {labels} of {classes} classes")
        count = max(2, len(labels))
        x, kind = _examples(record, count)
        y = None if classes is None else np.resize(np.asarray(labels, np.int32), count)
        beside = {}
        for name, one in dict(record.get("companions", {})).items():
            value, what = _examples(one, count)
            beside[str(name)] = Companion(value, None, what)
        return StandIn(
            x,
            y,
            name=str(record["name"]),
            class_names=None if names is None else tuple(map(str, names)),
            companions=beside,
            x_kind=kind if kind.facts or kind.name == "vector" else None,
            original=digest,
            number=classes,
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:  # DataError is a ValueError
        raise DataError(
            f"the outline of the data in config.json cannot be read ({error}); give them by --data"
        ) from None


def stand_ins(kept: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> Callable[[str], Dataset]:
    """`name -> its stand-in`, in the place of `load`, for a run that kept these outlines by option.

    Args:
        kept: option -> outline with its "digest".
        config: of the run, which says what name an option has.

    Raises:
        DataError: of that name, or when it is called: nothing was kept of it.
    """

    def load(name: str) -> Dataset:
        own = (
            [kept[option] for option in kept if config.get(option, option) == name] if isinstance(kept, Mapping) else []
        )
        if not own:
            raise DataError(f"the run has kept nothing of the data set {name!r}; give it by --data")
        return stand_in(own[0], str(own[0].get("digest")) if isinstance(own[0], Mapping) else "")

    return load


def _examples(record: Mapping[str, Any], count: int) -> tuple[np.ndarray, Kind]:
    """`count` examples of the outline of an array, all of zeros but the second, and what they are."""
    shape = tuple(map(int, record["shape"]))
    name = record.get("kind", "image" if len(shape) == 3 else "point")  # outlines before there were kinds
    dtype, rank = STORED[name]
    if min(shape, default=1) < 1 or len(shape) != rank - 1:
        raise ValueError(f"shape {shape} of a {name}")
    kind = _kind(name, dict(record.get("facts", {})), shape)
    check_size("the outline of the data", count * int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize)
    x = np.zeros((count, *shape), dtype)
    if name not in ("class", "map"):
        x[1] = 255 if dtype == "uint8" else 1
    return x, kind


def _kind(name: str, facts: dict[str, Any], shape: tuple[int, ...]) -> Kind:
    """The kind of that name with its facts."""
    if "rate" in facts:
        return kinds.waveforms(facts["rate"])
    if "names" in facts:
        return kinds.classes(list(map(str, facts["names"])))
    if "vocabulary" in facts:
        words = facts["vocabulary"]
        return text.tokens(text.Vocabulary(tuple(map(str, words["words"])), words["unit"]), shape[0])
    return KINDS[name]
