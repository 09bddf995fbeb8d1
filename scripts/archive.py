"""Write an .npz archive whose bytes depend on the arrays alone; LZMA makes pictures a third smaller than np.savez."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays in their order and print what was written."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    print(f"{path}: {shapes}, {path.stat().st_size:,} bytes")
