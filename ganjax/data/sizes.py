"""Data sets in other sizes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ganjax.data.dataset import Dataset
from ganjax.errors import DataError
from ganjax.kinds import from_bytes, to_bytes

CALL = 5000  # images at a time


def halved(dataset: Dataset, down: Callable[[Any], Any]) -> Dataset:
    """The same examples as images of half the side, rounded to 8 bits; classes and companions stay as they are.

    Args:
        dataset: of images, in memory.
        down: `[N, H, W, C] -> [N, H / 2, W / 2, C]` of pixels from -1 to 1, such as a mean over 2x2 pixels.

    Raises:
        DataError: they are no images, or a side is odd.
    """
    if dataset.kind.name != "image" or dataset.shape[0] % 2 or dataset.shape[1] % 2:
        raise DataError(
            f"the data set {dataset.name} has {dataset.kind.plural} of {dataset.shape}, expected images of even sides "
            "to halve; crop or pad them"
        )
    whole = dataset.in_memory()

    def small(x: np.ndarray) -> np.ndarray:
        calls = (x[start : start + CALL] for start in range(0, len(x), CALL))
        return np.concatenate([to_bytes(np.asarray(down(from_bytes(part)))) for part in calls])  # type: ignore[arg-type]

    height, width = (side // 2 for side in dataset.shape[:2])
    return replace(
        whole,
        x_train=small(whole.x_train),
        x_test=None if whole.x_test is None else small(whole.x_test),
        name=f"{dataset.name.removesuffix(f' of {2 * height}x{2 * width}')} of {height}x{width}",
    )
