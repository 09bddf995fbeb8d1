"""Arrays from an .npz file that may come from anywhere: nothing is unpickled, no size is taken on trust."""

import io
import math
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ganjax.data.accompanied import FACTS, Accompanied, is_beside
from ganjax.data.dataset import ARRAYS, Dataset, integer_labels
from ganjax.data.memory import check_size
from ganjax.data.running import SPLITS, running_name, running_text
from ganjax.errors import DataError, reason

MAX_HEADER = 10_000  # bytes of text that say dtype and shape; NumPy's own limit, which it checks after reading them
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def load_npz(path: str | Path) -> Dataset:
    """Read `x_train` and, where they are there, `y_train`, `x_test`, `y_test`, and what else comes with each example.

    Arrays `NAME_train` and `NAME_test` are a companion of that name: uint8 [N, H, W, C] an image, [N, T, H, W, C] a
    clip; float32 or bool [N, E] a vector; int16 [N, T] a waveform; integers [N] a class, whose names may lie in
    `NAME_names`; other integers [N, E] E classes, called as `attributes` says or NAME_0, NAME_1, ...; int32
    [N, H, W] a map of labels; texts [N] tokens of the words of `vocabulary`, by default of those of the training texts;
    int32 [N, L] tokens of the words of `vocabulary`. Other arrays are left alone.

    A file whose one array `NAME_train` of uint8 [N] holds bytes of UTF-8, and `NAME_test` where something is held out,
    is a running text: tokens of its characters in long rows, which `running.sequences` cuts.

    Args:
        path: as `np.savez` or `np.savez_compressed` wrote it; x is uint8 [N, H, W, C] for images, uint8
            [N, T, H, W, C] for clips, float32 [N, D] for points, int16 [N, T] for waveforms, with `rate`, a whole
            number of samples a second, or int32 [N, L] for tokens, with `vocabulary`; y is integers [N].

    Raises:
        DataError: not such a file, damaged, larger than 8 GiB uncompressed, or arrays that `Dataset` refuses.
    """
    path = Path(path)
    if text := _running(path):
        fields = [f"{text}_{split}" for split in SPLITS]
        return running_text(path, text, read_arrays(path, fields, required=fields[0]))
    found = read_arrays(path, (*ARRAYS, *FACTS), required="x_train", companions=True)
    what = Accompanied(path, found)
    y_train, y_test = (integer_labels(found[y]) if y in found else None for y in ("y_train", "y_test"))
    return Dataset(
        found["x_train"],
        y_train,
        found.get("x_test"),
        y_test,
        name=str(path),
        companions=what.companions(),
        x_kind=what.kind_of("x_train"),
    )


def _running(path: Path) -> str:
    """The name of the running text that a file holds, or ""; what is wrong with a file `read_arrays` says."""
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
            return running_name(names, lambda field: _check_header(archive, field, path))
    except Exception:
        return ""


def read_arrays(
    path: Path, wanted: Collection[str], *, required: str, companions: bool = False
) -> dict[str, np.ndarray]:
    """Those of the wanted arrays that an .npz file holds; with `companions` also `NAME_train`, `_test` and `_names`.

    Raises:
        DataError: as `load_npz` says, or the required array is not there.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of an .npz file that holds {required}")
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote, or that are odd Python
            names = {info.filename.removesuffix(".npy"): None for info in archive.infolist()}
            if required not in names:
                found = ", ".join(sorted(names))[:200] or "nothing"
                raise DataError(f"{path}: {required} is missing, found {found}; rename the array")
            check_size(path, sum(info.file_size for info in archive.infolist()))
            beside = [name for name in names if companions and is_beside(name, names)]
            return {name: _array(archive, name, path) for name in (*wanted, *beside) if name in names}
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on damaged bytes
        raise DataError(f"{path}: not a readable .npz file ({reason(error)}); write it again with np.savez") from error


def _array(archive: zipfile.ZipFile, field: str, path: Path) -> np.ndarray:
    _check_header(archive, field, path)
    with archive.open(f"{field}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _check_header(archive: zipfile.ZipFile, field: str, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype; refuse pickled objects, and a header whose shape disagrees with the size in the directory."""
    with archive.open(f"{field}.npy") as member:
        stream = io.BytesIO(member.read(MAX_HEADER + 12))  # magic, version and length come before the text
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
    return shape, dtype
