"""Which examples a step sees, a pure function of (seed, step), so a resumed run needs no iterator's state; and which
stand for a split of which only a part is looked at."""

from functools import lru_cache

import numpy as np

from ganjax.checks import check_range
from ganjax.errors import DataError

SUBSAMPLE_SEED = 0


def positions(seed: int, step: int, *, batch_size: int, size: int) -> np.ndarray:
    """The examples of one step: a slice of the epoch's permutation.

        epoch, i = divmod(step, size // batch_size)
        positions = permutation(seed, epoch)[i * batch_size : (i + 1) * batch_size]

    An epoch shows no example twice; what is left of it after its last full batch is dropped.

    Args:
        seed: of the run, >= 0.
        step: counted from 0.
        batch_size: examples of a step, all devices together.
        size: examples of the data set.

    Returns:
        [batch_size] int32, each in 0..size-1.

    Raises:
        DataError: the data set is smaller than the batch.
        ValueError: a negative seed or step, a batch of none.
    """
    _check(seed, step, batch_size, size)
    epoch, i = divmod(step, size // batch_size)
    return _permutation(seed, epoch, size)[i * batch_size : (i + 1) * batch_size].copy()


def positions_of_steps(seed: int, start: int, steps: int, *, batch_size: int, size: int) -> np.ndarray:
    """The examples of the steps start, ..., start + steps - 1.

    Returns:
        [steps, batch_size] int32, row k equal to `positions(seed, start + k, ...)`.
    """
    check_range("positions_of_steps", 0, whole=True, steps=steps)
    _check(seed, start, batch_size, size)
    rows = [positions(seed, start + k, batch_size=batch_size, size=size) for k in range(steps)]
    return np.array(rows, np.int32).reshape(steps, batch_size)


def subsample(size: int, count: int) -> np.ndarray:
    """Rows that stand for a split, drawn without replacement by a fixed seed: the same for all runs and commands.

    The first rows of a split do not: folders of classes are sorted by class. As the order is random, the first k of
    these rows are again a sample, that of count k.

    Args:
        size: examples of the split.
        count: how many rows; at most all are given.

    Returns:
        [min(count, size)] int64, different rows in random order.

    >>> rows = subsample(1000, 3)
    >>> (rows.tolist(), subsample(1000, 2).tolist() == rows[:2].tolist(), len(subsample(2, 3)))
    ([459, 206, 222], True, 2)
    """
    check_range("subsample", 0, whole=True, size=size, count=count)
    return np.random.default_rng(SUBSAMPLE_SEED).permutation(size)[:count]


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    order = np.random.default_rng((seed, epoch)).permutation(size).astype(np.int32)
    order.flags.writeable = False  # shared by all who ask
    return order


def _check(seed: int, step: int, batch_size: int, size: int) -> None:
    if seed < 0 or step < 0 or batch_size < 1:
        raise ValueError(
            f"positions: got seed {seed}, step {step}, batch_size {batch_size}; "
            "expected seed and step of at least 0 and batch_size of at least 1"
        )
    if size < batch_size:
        raise DataError(f"the data set has {size} examples, fewer than the batch of {batch_size}; lower --batch-size")
