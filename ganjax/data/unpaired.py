"""Two sets of images as two domains: brought to one size, or made of a set of pairs that nobody is to see."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ganjax.checks import check_range
from ganjax.data.dataset import Companion, Dataset
from ganjax.data.order import subsample
from ganjax.data.shifted import bilinear
from ganjax.errors import DataError

TRUTH = "truth"  # the companion that holds the withheld other image of a pair
LEAST = 64  # pairs below which a set is not halved


def unpaired(dataset: Dataset, companion: str) -> tuple[Dataset, Dataset]:
    """(A, B) from images that come in pairs: A has the companions of one half of the training set, B has x of the rest.

    So no pair is in training, in whatever order; which half, is the same for all runs. Both have all of the test set.
    The other image of each pair is the companion `TRUTH`, for measures alone. Sets of fewer than 64 pairs are not
    halved.

    Args:
        dataset: of images, with a companion of images.
        companion: its name.

    Raises:
        DataError: there is none of that name, or it holds no images.
    """
    kind = dataset.y_kind(companion)
    if dataset.kind.name != "image" or kind.name != "image":
        raise DataError(
            f"the data set {dataset.name} has {dataset.kind.plural} with the companion {companion!r} of {kind.plural}, "
            "expected images with images; name another companion, or give two sets by --data and --target"
        )
    dataset = dataset.in_memory()
    other = dataset.companions[companion]
    count = len(dataset.x_train)
    rows = subsample(count, count)
    halves = np.split(rows, [count // 2]) if count >= LEAST else (rows, rows)
    pictures = Companion(dataset.x_train, dataset.x_test, dataset.kind)

    def domain(name: str, own: Companion, truth: Companion, rows: np.ndarray) -> Dataset:
        return replace(
            dataset,
            x_train=own.train[rows],
            y_train=None if dataset.y_train is None else dataset.y_train[rows],
            x_test=own.test,
            name=name,
            companions={TRUTH: truth._replace(train=truth.train[rows])},
        )

    return (
        domain(f"{companion} of {dataset.name}", other, pictures, halves[0]),
        domain(dataset.name, pictures, other, halves[1]),
    )


def resized(dataset: Dataset, side: int = 0, *, pad: int = 0, channels: int = 0) -> Dataset:
    """The images, and companions that are images, padded, then brought to one size, and grey ones to more channels.

    Interpolation is bilinear, over as many pixels as make one where images shrink (Pillow's). What is padded has the
    median colour of the training images' corners. What comes out does the same to other images, as its `form`.

    Args:
        dataset: of images.
        side: height and width of what comes out; 0 keeps them.
        pad: pixels that are added on each side first.
        channels: in which grey images are repeated; 0 leaves them.

    Raises:
        DataError: no images, or colour images that are asked for other channels.
    """
    check_range("resized", 0, whole=True, side=side, pad=pad, channels=channels)
    if not (side or pad or channels):
        return dataset
    if dataset.kind.name != "image":
        raise DataError(f"the data set {dataset.name} has {dataset.kind.plural}, expected images")
    dataset = dataset.in_memory()

    def of(like: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        around = _corners(like)
        return lambda x: _channels(_scaled(x, around, side, pad), channels, dataset.name)

    def both(train: np.ndarray, test: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        form = of(train)
        return form(train), None if test is None else form(test)

    images = {name: one for name, one in dataset.companions.items() if one.kind.name == "image"}
    beside = {name: Companion(*both(one.train, one.test), one.kind) for name, one in images.items()}
    x_train, x_test = both(dataset.x_train, dataset.x_test)
    companions = {**dataset.companions, **beside}
    return replace(dataset, x_train=x_train, x_test=x_test, companions=companions, form=of(dataset.x_train))


def _corners(x: np.ndarray) -> np.ndarray:
    """The median colour of the corners, [C] uint8."""
    return np.median(x[:, [0, 0, -1, -1], [0, -1, 0, -1]], axis=(0, 1)).astype(np.uint8)


def _scaled(x: np.ndarray, around: np.ndarray, side: int, pad: int) -> np.ndarray:
    if pad:
        framed = np.empty((len(x), x.shape[1] + 2 * pad, x.shape[2] + 2 * pad, x.shape[3]), np.uint8)
        framed[:] = around
        framed[:, pad:-pad, pad:-pad] = x
        x = framed
    return bilinear(x, side) if side else x


def _channels(x: np.ndarray, channels: int, name: str) -> np.ndarray:
    if not channels or x.shape[-1] == channels:
        return x
    if x.shape[-1] != 1:
        raise DataError(f"the data set {name} has {x.shape[-1]} channels, expected 1 or {channels}: --channels repeats")
    return np.repeat(x, channels, axis=-1)
