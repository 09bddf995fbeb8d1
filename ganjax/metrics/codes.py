"""What counting alone says of maps of codes: the models that a learned prior has to beat."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.checks import check_range


def bits_by_counting(train: ArrayLike, test: ArrayLike, codes: int) -> dict[str, float]:
    """Bits for a code of the test maps under tables of the training maps' counts, mean over maps and places.

    A table says `(n + 1/2) / (N + K / 2)` of a code that it has seen n of N times (Krichevsky and Trofimov 1981):

    - uniform: log2 K, of no table;
    - unigram: one table for all places;
    - by_place: one for each place;
    - by_left: one for each place and code to the left of it, in the first column for each place.

    Args:
        train: [N, H, W] integers.
        test: [M, H, W] integers.
        codes: K.

    Raises:
        ValueError: other shapes, or a code that is none of 0 to K - 1.
    """
    seen, asked = np.asarray(train), np.asarray(test)
    if seen.ndim != 3 or asked.ndim != 3 or seen.shape[1:] != asked.shape[1:]:
        raise ValueError(
            f"bits_by_counting: maps have shapes {seen.shape} and {asked.shape}, expected [N, H, W] and [M, H, W]"
        )
    extremes = np.array([min(seen.min(), asked.min()), max(seen.max(), asked.max())])
    check_range("bits_by_counting", 0, codes - 1, whole=True, codes=extremes)

    def bits(context: Callable[[NDArray], NDArray]) -> float:
        known, new = context(seen), context(asked)
        counts = np.full((max(known.max(), new.max()) + 1, codes), 0.5)
        np.add.at(counts, (known, seen), 1)
        return float(-np.log2(counts / counts.sum(1, keepdims=True))[new, asked].mean())

    place = np.arange(seen[0].size).reshape(1, *seen.shape[1:])

    def left(maps: NDArray) -> NDArray:
        return place * (codes + 1) + np.pad(maps[:, :, :-1], ((0, 0), (0, 0), (1, 0)), constant_values=codes)

    contexts = {"unigram": lambda maps: np.zeros_like(maps), "by_place": lambda maps: place + 0 * maps, "by_left": left}
    return {"uniform": float(np.log2(codes))} | {name: bits(context) for name, context in contexts.items()}
