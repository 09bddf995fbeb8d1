"""Arrays from an .npz file that may come from anywhere: nothing is unpickled, no size is taken on trust."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ganjax.data.dataset import ARRAYS, Dataset, check_size, integer_labels
from ganjax.errors import DataError, reason

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def load_npz(path: str | Path) -> Dataset:
    """Read `x_train` and, where they are there, `y_train`, `x_test`, `y_test`; other arrays are left alone.

    Args:
        path: as `np.savez` or `np.savez_compressed` wrote it; images are uint8 [N, H, W, C], points float32
            [N, D], labels integers [N].

    Raises:
        DataError: not such a file, damaged, larger than 8 GiB uncompressed, or arrays that `Dataset` refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of an .npz file that holds x_train")
    try:
        with zipfile.ZipFile(path) as archive:
            found = _read(archive, path)
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on damaged bytes
        raise DataError(f"{path}: not a readable .npz file ({reason(error)}); write it again with np.savez") from error
    x_train, y_train, x_test, y_test = found
    return Dataset(x_train, y_train, x_test, y_test, name=str(path))


def _read(archive: zipfile.ZipFile, path: Path) -> list[Any]:
    """One array, or None where it is not there, for each of `ARRAYS`."""
    names = sorted(info.filename.removesuffix(".npy") for info in archive.infolist())
    if "x_train" not in names:
        raise DataError(f"{path}: x_train is missing, found {', '.join(names) or 'nothing'}; rename the array")
    check_size(path, sum(info.file_size for info in archive.infolist()))
    return [_array(archive, field, path) if field in names else None for field in ARRAYS]


def _array(archive: zipfile.ZipFile, field: str, path: Path) -> np.ndarray:
    _check_header(archive, field, path)
    with archive.open(f"{field}.npy") as stream:
        value = np.lib.format.read_array(stream, allow_pickle=False)
    return integer_labels(value) if field.startswith("y_") else value


def _check_header(archive: zipfile.ZipFile, field: str, path: Path) -> None:
    """Refuse pickled objects, and a header whose shape disagrees with the size in the zip directory."""
    with archive.open(f"{field}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise DataError(f"{path}: {field} has npy version {version}, expected (1, 0) or (2, 0)")
        shape, _, dtype = _HEADERS[version](stream)
        start = stream.tell()
    if dtype.hasobject:
        raise DataError(
            f"{path}: {field} holds pickled Python objects, which are never loaded; save it as a plain array"
        )
    declared, stored = math.prod(shape) * dtype.itemsize, archive.getinfo(f"{field}.npy").file_size - start
    if declared != stored or min(shape, default=0) < 0:
        raise DataError(
            f"{path}: {field} declares shape {shape} of {dtype}, {declared:,} bytes, but holds {stored:,}; "
            "write the file again with np.savez"
        )
