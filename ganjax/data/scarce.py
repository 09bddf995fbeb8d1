"""A few labels of a data set, as if nobody had read the rest."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from ganjax.data.dataset import Dataset
from ganjax.data.outline import StandIn
from ganjax.errors import DataError


def with_labels(data: Dataset, count: int, subset: int = 0) -> Dataset:
    """The same with so many of its training examples, as many of each class; a function of name and subset alone.

    Args:
        data: with labels.
        count: a multiple of the number of classes.
        subset: the number of the choice.

    Raises:
        DataError: there are no labels, or not so many of a class.
    """
    if data.y_train is None:
        raise DataError(f"{data.name} has no labels of training examples, expected some to learn classes from")
    if isinstance(data, StandIn):  # which has two examples in the place of all
        return data
    classes = data.classes or 0
    if count % classes:
        raise DataError(f"--labels {count}: expected a multiple of the {classes} classes of {data.name}")
    own = int.from_bytes(hashlib.sha256(Path(data.name).stem.encode()).digest()[:8], "big")
    order = np.random.default_rng((subset, own)).permutation(len(data.x_train))
    rows = [order[data.y_train[order] == y][: count // classes] for y in range(classes)]
    if min(map(len, rows)) < count // classes:
        few = int(np.argmin([len(one) for one in rows]))
        raise DataError(
            f"--labels {count}: {data.name} has {len(rows[few])} training examples of class {few}, expected "
            f"{count // classes}; ask for fewer"
        )
    chosen = np.sort(np.concatenate(rows))
    return replace(data, x_train=data.x_train[chosen], y_train=data.y_train[chosen])
