"""What a run keeps of its data: enough to build again what was trained on them, and to draw, without them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganjax.data.dataset import MAX_CLASSES, Dataset
from ganjax.data.memory import check_size
from ganjax.errors import DataError


@dataclass(frozen=True, eq=False, repr=False)
class StandIn(Dataset):
    """A few examples in the place of a data set that is not at hand, with the digest of that one."""

    original: str = ""
    number: int | None = None

    @property
    def classes(self) -> int | None:
        """Of the data that are stood in for, whose last classes may have no training example."""
        return self.number

    @property
    def digest(self) -> str:  # type: ignore[override]
        """Of the data that are stood in for."""
        return self.original


def outline(data: Dataset) -> dict[str, Any]:
    """Name, shape of an example, classes, their names, and which have training examples if not all, as JSON values."""
    names = data.class_names and list(data.class_names)
    found = {"name": data.name, "shape": list(data.shape), "classes": data.classes, "class_names": names}
    known = [] if data.y_train is None else np.unique(data.y_train).tolist()
    return found | ({"labels": known} if known and len(known) != data.classes else {})


def stand_in(record: Mapping[str, Any], digest: str) -> Dataset:
    """A data set of that outline with that digest: an example of each class that has any, black and white images.

    Raises:
        DataError: no outline, or of what no data set is.
    """
    try:
        shape, classes, names = tuple(map(int, record["shape"])), record["classes"], record["class_names"]
        if min(shape, default=0) < 1 or len(shape) not in (1, 3):
            raise ValueError(f"shape {shape}")
        if classes is not None and not 1 <= classes <= MAX_CLASSES:
            raise ValueError(f"{classes} classes")
        labels = record.get("labels") or range(classes or 0)
        if classes is not None and not 0 <= min(labels) <= max(labels) < classes:
            raise ValueError(f"labels {labels} of {classes} classes")
        count = max(2, len(labels))
        check_size("the outline of the data", count * int(np.prod(shape, dtype=object)))
        x = np.zeros((count, *shape), np.uint8 if len(shape) == 3 else np.float32)
        x[1] = 255
        y = None if classes is None else np.resize(np.asarray(labels, np.int32), count)
        names = None if names is None else tuple(map(str, names))
        return StandIn(x, y, name=str(record["name"]), class_names=names, original=digest, number=classes)
    except (KeyError, TypeError, ValueError, OverflowError) as error:  # DataError is a ValueError
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
        option = next((option for option in kept if config.get(option) == name), None)
        if option is None:
            raise DataError(f"the run has kept nothing of the data set {name!r}; give it by --data")
        return stand_in(kept[option], str(kept[option].get("digest")))

    return load
