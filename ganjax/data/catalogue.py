"""One entry point for every source of real samples."""

from collections.abc import Callable
from pathlib import Path

from ganjax.data import bundled, points
from ganjax.data.dataset import Dataset
from ganjax.data.folder import load_folder
from ganjax.data.npz import load_npz
from ganjax.data.tfds import load_tfds
from ganjax.errors import DataError, did_you_mean

KNOWN: dict[str, Callable[[], Dataset]] = {
    "digits": bundled.digits,
    "fashion_mnist": bundled.fashion_mnist,
    "grid": points.grid_set,
    "ring": points.ring_set,
    "swiss_roll": points.swiss_roll_set,
}


def load(name: str, data_dir: str | None = None) -> Dataset:
    """The data set of that name.

    Args:
        name: one of `KNOWN`, `tfds:NAME`, or the path of an .npz file or of a folder of images. A known name
            wins over a folder; write `./digits` for a folder that is called so.
        data_dir: where TFDS sets are prepared; used by `tfds:NAME` alone.

    Raises:
        DataError: says what is wrong with the name or the data, and what to do.

    >>> load("digits")
    Dataset(digits: 1500 train, 297 test, uint8 (8, 8, 1), 10 classes)
    """
    if not name:
        raise DataError(f"the name of the data set is empty; known: {', '.join(KNOWN)}")
    if name in KNOWN:
        return KNOWN[name]()
    if name.startswith("tfds:"):
        return load_tfds(name.removeprefix("tfds:"), data_dir)
    path = Path(name).expanduser()
    if path.suffix.lower() == ".npz":
        return load_npz(path)
    if path.is_dir() or "/" in name:
        return load_folder(path)
    hint = did_you_mean(name, KNOWN)
    raise DataError(
        f'unknown data set "{name}"{hint or "."} Known: {", ".join(KNOWN)}, tfds:NAME, '
        "a path to an .npz file or a folder of images"
    )
