"""What fits into memory, and images that do not."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ganjax.errors import DataError

MAX_BYTES = 8 * 2**30  # more than this is never allocated at once


def fits(size: int) -> bool:
    """Whether a data set of `size` bytes may lie in memory."""
    return size <= MAX_BYTES


def check_size(where: object, size: int) -> None:
    """Raise DataError if the uncompressed data set `where`, of `size` bytes, is too large for memory."""
    if not fits(size):
        raise DataError(
            f"{where}: the data set takes {size:,} bytes uncompressed, more than the limit of {MAX_BYTES:,}; "
            "use fewer or smaller images"
        )


class LazyImages:
    """Images on disk that look like an array [N, H, W, C] of uint8: they are read, and checked, where it is indexed.

    Index it by an integer, a slice or an array of integers, from any thread. `np.asarray` reads all of them.

    A small PNG of a TFDS set takes 0.25 ms, nearly all of it in Python, which threads cannot share: 2 cores read 3,000
    a second, with one thread or with four.

    Args:
        read: row -> its image, [H, W, C] uint8; raises DataError for a bad one.
        shape: [N, H, W, C].
        name: what errors call it.
        identity: what tells these images from others without reading them.

    Raises:
        DataError: more than 8 GiB are asked for at once, or an image is bad.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, read: Callable[[int], np.ndarray], shape: tuple[int, ...], name: str, identity: str):
        self.shape, self.identity = shape, identity
        self._read, self._name, self._rows = read, name, np.arange(shape[0])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    nbytes = size  # a pixel is a byte

    def __getitem__(self, rows: Any) -> np.ndarray:
        chosen = self._rows[rows]
        if chosen.ndim == 0:
            return self._read(int(chosen))
        size = chosen.size * self.nbytes // len(self)
        if not fits(size):
            raise DataError(
                f"{self._name}: {chosen.size:,} images at once take {size:,} bytes, more than the limit of "
                f"{MAX_BYTES:,}; ask for fewer, of an evaluation by --count and --reference-count"
            )
        found = np.empty((*chosen.shape, *self.shape[1:]), np.uint8)
        for place, row in np.ndenumerate(chosen):
            found[place] = self._read(int(row))
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(f"{self._name}: images that lie on disk cannot be had without a copy")
        return self[:] if dtype is None else self[:].astype(dtype)
