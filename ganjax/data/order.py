"""Which examples a step sees, a pure function of (seed, step), so a resumed run needs no iterator's state; and which
stand for a split of which only a part is looked at."""

from functools import lru_cache

import numpy as np

from ganjax.checks import check_range

SUBSAMPLE_SEED = 0


def positions(seed: int, step: int, *, batch_size: int, size: int, stream: int = 0) -> np.ndarray:
    """The examples of one step: a slice of the epoch's permutation.

        epoch, i = divmod(step, size // batch_size)
        positions = permutation(seed, epoch)[i * batch_size : (i + 1) * batch_size]

    An epoch shows no example twice; what is left of it after its last full batch is dropped. A data set that is
    smaller than the batch is shown again and again, each time in another order, and nothing is dropped: example j of
    the run is `permutation(seed, j // size)[j % size]`.

    Args:
        seed: of the run, >= 0.
        step: counted from 0.
        batch_size: examples of a step, all devices together.
        size: examples of the data set.
        stream: the number of the stream of examples; each has permutations of its own.

    Returns:
        [batch_size] int32, each in 0..size-1.

    Raises:
        ValueError: a negative seed, step or stream, or a batch or a data set of none.
    """
    if min(seed, step, stream) < 0 or min(batch_size, size) < 1:
        raise ValueError(
            f"positions: got seed {seed}, step {step}, stream {stream}, batch_size {batch_size}, size {size}; "
            "expected seed, step and stream of at least 0, batch_size and size of at least 1"
        )
    if batch_size <= size:
        epoch, i = divmod(step, size // batch_size)
        return _permutation(seed, stream, epoch, size)[i * batch_size : (i + 1) * batch_size].copy()
    epochs, places = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), size)
    orders = [_permutation(seed, stream, epoch, size) for epoch in range(epochs[0], epochs[-1] + 1)]
    return np.stack(orders)[epochs - epochs[0], places]


def positions_of_steps(seed: int, start: int, steps: int, *, batch_size: int, size: int, stream: int = 0) -> np.ndarray:
    """The examples of the steps start, ..., start + steps - 1.

    Returns:
        [steps, batch_size] int32, row k equal to `positions(seed, start + k, ...)`.
    """
    check_range("positions_of_steps", 0, whole=True, steps=steps)
    how = {"batch_size": batch_size, "size": size, "stream": stream}
    positions(seed, start, **how)  # checks them even where there is no step
    return np.array([positions(seed, start + k, **how) for k in range(steps)], np.int32).reshape(steps, batch_size)


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


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: int, epoch: int, size: int) -> np.ndarray:
    # NumPy takes (s, k) and (s, k, 0) for the same seed.
    entropy = (seed, stream, epoch + 1) if stream else (seed, epoch)
    order = np.random.default_rng(entropy).permutation(size).astype(np.int32)
    order.flags.writeable = False  # shared by all who ask
    return order
