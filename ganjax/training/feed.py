"""How examples reach the devices: all of them once, or those of a chunk at a time, gathered ahead by threads.

A stream has no state to save: which examples a step sees is a pure function of (seed, step), and so is how the steps
are cut into chunks. The compiled chunk is the same either way: it looks up rows of `data`, which are the rows of the
data set, or 0, 1, 2, ... of what was gathered. So both end in the same bits.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from ganjax.data import Dataset
from ganjax.training import parallel
from ganjax.training.setup import Setup, arrays

RESIDENT_MEGABYTES = 2048  # of 2^20 bytes: a larger data set is streamed
AHEAD = 2  # chunks that are prepared while the devices compute another
CHUNK_BYTES = 2**28  # of the examples of a streamed chunk, in all its steps
Positions = Callable[[int, int], np.ndarray]  # (start, count) -> [count, batch], rows of the data set


class Chunk(NamedTuple):
    """What a compiled chunk takes."""

    steps: int  # to take
    data: dict[str, Any]  # on the devices, as `setup.gather` looks examples up
    rows: jax.Array  # [length, batch] int32, dealt: where in `data` they are; rows after `steps` are never used


Chunks = Generator[Chunk, None, None]


def is_resident(dataset: Dataset, megabytes: int = RESIDENT_MEGABYTES) -> bool:
    """Whether a data set is to lie on the devices: it lies in memory, and its examples take no more than this."""
    x = dataset.x_train
    return isinstance(x, np.ndarray) and x.nbytes <= megabytes * 2**20


def fitting(setup: Setup, length: int) -> int:
    """The length of a streamed chunk: `length`, or as many steps as `CHUNK_BYTES` of examples last, at least one."""
    x = setup.dataset.x_train
    return max(1, min(length, CHUNK_BYTES // (setup.examples * x.nbytes // len(x))))


def resident(setup: Setup, positions: Positions, spans: Iterable[tuple[int, int]], length: int) -> Chunks:
    """The chunks of a data set that lies on every device.

    Args:
        setup: what is trained.
        positions: from `setup.order`.
        spans: (start, count) of each chunk.
        length: the most steps of a chunk, to which rows are padded.
    """
    data = parallel.replicate(arrays(setup))
    for start, count in spans:
        yield Chunk(count, data, parallel.deal(_padded(positions(start, count), length)))


def streamed(
    setup: Setup, positions: Positions, spans: Iterable[tuple[int, int]], length: int, *, workers: int
) -> Chunks:
    """The chunks of a data set of any size; further arguments as of `resident`.

    Threads gather the examples of this process's devices, a step each, at most `AHEAD` chunks before they are asked
    for. What fails in a thread is raised where its chunk is asked for. To close the iterator waits for the step that
    a thread is at, and drops the rest.

    Args:
        workers: threads.
    """
    pool, ahead = ThreadPoolExecutor(workers, "feed"), deque[_Gathering]()
    try:
        for start, count in spans:
            ahead.append(_Gathering.begin(setup, positions(start, count), length, pool))
            if len(ahead) > AHEAD:
                yield ahead.popleft().chunk()
        while ahead:
            yield ahead.popleft().chunk()
    finally:
        pool.shutdown(cancel_futures=True)


def gathered(setup: Setup, positions: np.ndarray) -> Chunk:
    """The examples of these steps [steps, batch] alone, of any data set, at once."""
    with ThreadPoolExecutor(1) as pool:
        return _Gathering.begin(setup, positions, len(positions), pool).chunk()


class _Gathering(NamedTuple):
    """A chunk that is being gathered."""

    host: dict[str, np.ndarray | None]  # [local devices, length, batch / devices, ...]
    steps: list[Future]

    @classmethod
    def begin(cls, setup: Setup, positions: np.ndarray, length: int, pool: ThreadPoolExecutor) -> "_Gathering":
        shares = parallel.shares(positions)
        devices, count, local = shares.shape
        sources = arrays(setup)
        host = {
            name: None if x is None else np.zeros((devices, length, local, *x.shape[1:]), x.dtype)
            for name, x in sources.items()
        }

        def fill(step: int) -> None:
            for name, x in sources.items():
                if x is not None:
                    for device in range(devices):
                        host[name][device, step] = x[shares[device, step]]  # type: ignore[index]

        return cls(host, [pool.submit(fill, step) for step in range(count)])

    def chunk(self) -> Chunk:
        for step in self.steps:
            step.result()
        devices, length, local = self.host["x"].shape[:3]  # type: ignore[union-attr]
        rows = np.arange(length * local, dtype=np.int32).reshape(1, length, local)
        data = {
            name: None if x is None else parallel.place(x.reshape(devices, length * local, *x.shape[3:]))
            for name, x in self.host.items()
        }
        return Chunk(len(self.steps), data, parallel.place(np.repeat(rows, devices, axis=0)))


def _padded(positions: np.ndarray, length: int) -> np.ndarray:
    """[count, batch] to [length, batch] int32."""
    return np.pad(positions, ((0, length - len(positions)), (0, 0))).astype(np.int32)
