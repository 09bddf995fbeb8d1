"""Two data sets as two domains of one task: images of one size and colour, classes by name, samples of a protocol."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ganjax.checks import check_name, check_range
from ganjax.data.dataset import Dataset
from ganjax.data.order import subsample
from ganjax.data.outline import StandIn
from ganjax.errors import DataError

SIDE = 28  # of the images that networks get
GREY = (0.2989, 0.587, 0.114)  # weights of red, green and blue
BORDER = 3 / 16  # of the side, on each: 16 pixels of USPS become 22, and its digits as large in their frame as MNIST's

Scaling = Literal["plain", "padded", "cropped"]
Colour = Literal["grey", "rgb"]


def paired(
    source: Dataset, target: Dataset, *, scaling: Scaling = "plain", colour: Colour = "grey"
) -> tuple[Dataset, Dataset]:
    """Both as networks get them: 28x28 pixels, one or three channels, the source's classes numbered as the target's.

    Classes are matched by name where both sets have names; the source loses those that the target's names lack. Names
    "0", "1", ... of the source are numbers to a target without names. The target's labels decide nothing, nor need
    there be any.

    Raises:
        DataError: no images, other than grey or RGB ones, no labels of the source, or classes that do not fit.
    """
    for data in (source, target):
        if data.kind.name != "image" or data.shape[-1] not in (1, 3):
            raise DataError(f"{data.name} has {data.kind.plural} of {data.shape}, expected grey or RGB images")
    if source.y_train is None:
        raise DataError(f"the source {source.name} has no labels, and nobody could learn its classes")
    chosen = _of_classes(source, target)
    names, known = target.class_names or chosen.class_names, target.classes or 0
    if names is None and known > (chosen.classes or 0):
        raise DataError(f"the target {target.name} has {known} classes and the source {source.name} {chosen.classes}")
    a, b = (_seen(data, scaling, colour) for data in (chosen, replace(target, class_names=names)))
    return a, b


def sampled(data: Dataset, count: int, seed: int = 0) -> Dataset:
    """The same with so many of its training images; see `subset`.

    Raises:
        DataError: there are fewer.
    """
    if count > len(data.x_train):
        raise DataError(
            f"{data.name} has {len(data.x_train)} training images, expected {count} to sample; ask for fewer"
        )
    rows = subset(Path(data.name).stem, seed, len(data.x_train), count)
    return replace(data, x_train=data.x_train[rows], y_train=None if data.y_train is None else data.y_train[rows])


def subset(name: str, seed: int, size: int, count: int) -> np.ndarray:
    """`count` of `size` rows in their order, [count] int64: a function of name and seed alone, in any process.

    >>> subset("mnist", 0, 60_000, 2000)[:4].tolist()
    [10, 119, 242, 342]
    """
    check_range("subset", 0, size, whole=True, count=count)
    own = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.sort(np.random.default_rng((seed, own)).permutation(size)[:count])


def both(source: Dataset, target: Dataset, count: int) -> Dataset:
    """As many images of each, whose class is the domain, 0 for the source: what tells them apart is judged on it."""

    def split(name: str) -> tuple[np.ndarray | None, np.ndarray | None]:
        parts = [getattr(data, f"x_{name}") for data in (source, target)]
        if any(part is None for part in parts):
            return None, None
        n = min(count, *map(len, parts))
        return np.concatenate([x[subsample(len(x), n)] for x in parts]), np.repeat(np.arange(2, dtype=np.int32), n)

    (x_train, y_train), (x_test, y_test) = split("train"), split("test")
    name = f"{source.name} and {target.name}"
    return Dataset(x_train, y_train, x_test, y_test, name=name, class_names=("source", "target"))  # type: ignore[arg-type]


def _of_classes(source: Dataset, target: Dataset) -> Dataset:
    """The source with the classes that the target has, by name."""
    names = target.class_names
    if names is None and source.class_names == tuple(map(str, range(source.classes or 0))):
        return replace(_bare(source), class_names=None)  # such names are the numbers of the classes
    if source.class_names == names or source.class_names is None:
        if names is not None and (source.classes or 0) != len(names):
            raise DataError(
                f"the source {source.name} has {source.classes} classes without names and the target {target.name} "
                f"{len(names)}, expected as many"
            )
        return replace(_bare(source), class_names=names)
    if names is None:
        raise DataError(
            f"the source {source.name} has names of classes and the target {target.name} has none to match them by; "
            "take two sets with names or two without"
        )
    if missing := [name for name in names if name not in source.class_names]:
        raise DataError(f"the source {source.name} has no class {missing[0]!r}, which the target {target.name} has")
    if isinstance(source, StandIn):  # whose images are of no class, and of which none may be missing
        y = np.resize(np.arange(len(names), dtype=np.int32), len(source.x_train))
        return replace(_bare(source), y_train=y, class_names=names)
    number = np.full(len(source.class_names), -1, np.int32)
    number[[source.class_names.index(name) for name in names]] = np.arange(len(names))
    parts: dict[str, np.ndarray | None] = {}
    for split in ("train", "test"):
        x, y = getattr(source, f"x_{split}"), getattr(source, f"y_{split}")
        kept = None if y is None else number[y] >= 0
        parts |= {f"x_{split}": x if kept is None else x[kept], f"y_{split}": None if y is None else number[y[kept]]}
    return replace(_bare(source), **parts, class_names=names)  # type: ignore[arg-type]


def _bare(data: Dataset) -> Dataset:
    """The images and labels, in memory."""
    whole = data.in_memory()
    fields = {name: getattr(whole, name) for name in ("x_train", "y_train", "x_test", "y_test", "name", "licence")}
    return Dataset(**fields, class_names=whole.class_names)


def _seen(data: Dataset, scaling: Scaling, colour: Colour) -> Dataset:
    whole = _bare(data)
    see = lambda x: resized(coloured(x, colour), scaling)  # noqa: E731
    return replace(whole, x_train=see(whole.x_train), x_test=None if whole.x_test is None else see(whole.x_test))


def coloured(x: np.ndarray, colour: Colour) -> np.ndarray:
    """uint8 [N, H, W, 1 or 3] as grey or as RGB: weighted sums, or the one channel three times."""
    check_name("coloured", "colour", colour, ("grey", "rgb"))
    if colour == "grey" and x.shape[-1] == 3:
        return np.rint(x.astype(np.float32) @ np.array(GREY, np.float32)[:, None]).astype(np.uint8)
    return x.repeat(3, -1) if colour == "rgb" and x.shape[-1] == 1 else x


def resized(x: np.ndarray, scaling: Scaling, side: int = SIDE) -> np.ndarray:
    """uint8 [N, H, W, C] to [N, side, side, C], bilinearly.

    Args:
        x: images.
        scaling: "plain"; "padded", with a black border of 3/16 of each side on both of its ends first; or "cropped",
            the middle of images that are larger, others as with "plain".
        side: of what comes out; images that have it already are not padded.
    """
    check_name("resized", "scaling", scaling, ("plain", "padded", "cropped"))
    if x.shape[1:3] == (side, side):
        return x
    if scaling == "padded":
        x = np.pad(x, ((0, 0), *((round(BORDER * n),) * 2 for n in x.shape[1:3]), (0, 0)))
    if scaling == "cropped":
        top, left = (max(0, n - side) // 2 for n in x.shape[1:3])
        x = x[:, top : top + side, left : left + side]
    return bilinear(x, side)


def bilinear(x: np.ndarray, side: int) -> np.ndarray:
    """uint8 [N, H, W, C] to [N, side, side, C] by Pillow, over as many pixels as make one where images shrink."""
    if x.shape[1:3] == (side, side):
        return x
    maps = (Image.fromarray(one) for one in x.transpose(0, 3, 1, 2).reshape(-1, *x.shape[1:3]))
    small = np.stack([np.asarray(one.resize((side, side), Image.Resampling.BILINEAR)) for one in maps])
    return np.ascontiguousarray(small.reshape(len(x), -1, side, side).transpose(0, 2, 3, 1))
