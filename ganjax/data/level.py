"""Recordings of unlike loudness, made equally loud."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ganjax.data.dataset import Dataset
from ganjax.errors import DataError

CALL = 5000  # waveforms at a time


def levelled(dataset: Dataset) -> Dataset:
    """The same waveforms, each times 32767 / max |x|, rounded; silent ones stay silent.

    Args:
        dataset: of waveforms [N, T] int16.

    Raises:
        DataError: they are no waveforms.
    """
    if dataset.kind.name != "waveform":
        raise DataError(
            f"the data set {dataset.name} has {dataset.kind.plural}, expected waveforms [N, T] to be made equally loud"
        )

    def loud(x: NDArray) -> NDArray:
        return np.concatenate([_loud(x[start : start + CALL]) for start in range(0, len(x), CALL)])

    x_test = None if dataset.x_test is None else loud(dataset.x_test)
    return replace(dataset, x_train=loud(dataset.x_train), x_test=x_test)


def _loud(x: NDArray) -> NDArray:
    peak = np.abs(x.astype(np.float64)).max(1, keepdims=True)
    return np.rint(x * (32767 / np.maximum(peak, 1))).astype(np.int16)
