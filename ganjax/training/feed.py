"""How examples reach the devices: all of them once, or those of a chunk at a time, gathered ahead by threads.

A stream has no state to save: which examples a step sees is a pure function of (seed, step), and so is how the steps
are cut into chunks. The compiled chunk is the same either way: it looks up rows of `data`, which are the rows of the
data set, or 0, 1, 2, ... of what was gathered. So both end in the same bits.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from ganjax.training import parallel
from ganjax.training.setup import Setup, arrays

AHEAD = 2  # chunks that are prepared while the devices compute another
CHUNK_BYTES = 2**28  # of the examples of a streamed chunk, in all its steps
Positions = Callable[[int, int], Mapping[str, np.ndarray]]  # (start, count) -> {stream: rows [count, examples]}


class Chunk(NamedTuple):
    """What a compiled chunk takes."""

    steps: int  # to take
    data: dict[str, Any]  # on the devices, as `setup.collate` looks examples up
    rows: dict[str, jax.Array]  # [length, examples] int32, dealt: where in `data` they are, but for steps after `steps`


Chunks = Generator[Chunk, None, None]


def is_resident(setup: Setup, megabytes: int) -> bool:
    """Whether the data are to lie on the devices: they lie in memory, and their examples take no more than this."""
    leaves = _distinct(setup)
    return all(isinstance(x, np.ndarray) for x in leaves) and sum(x.nbytes for x in leaves) <= megabytes * 2**20


def _distinct(setup: Setup) -> list[Any]:
    """The arrays that players see, each once, however many streams share it."""
    return list({id(leaf): leaf for leaf in jax.tree.leaves(arrays(setup))}.values())


def fitting(setup: Setup, length: int) -> int:
    """The length of a streamed chunk: `length`, or as many steps as `CHUNK_BYTES` of examples last, at least one."""
    step = 0
    for name, stream in setup.played.items():
        leaves = jax.tree.leaves(arrays(setup)[name])
        step += stream.batch_size * setup.dynamics.slices * sum(x.nbytes // len(x) for x in leaves)
    return max(1, min(length, CHUNK_BYTES // step))


def resident(setup: Setup, positions: Positions, spans: Iterable[tuple[int, int]], length: int) -> Chunks:
    """The chunks of a data set that lies on every device.

    Args:
        setup: what is trained.
        positions: from `setup.order`.
        spans: (start, count) of each chunk.
        length: the most steps of a chunk, to which rows are padded.
    """
    placed: dict[int, Any] = {}  # a set that several streams show lies there once

    def place(leaf: np.ndarray) -> jax.Array:
        if id(leaf) not in placed:
            placed[id(leaf)] = parallel.replicate(leaf)
        return placed[id(leaf)]

    data = jax.tree.map(place, arrays(setup))
    for start, count in spans:
        rows = {name: parallel.deal(_padded(own, length)) for name, own in positions(start, count).items()}
        yield Chunk(count, data, rows)


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


def gathered(setup: Setup, positions: Mapping[str, np.ndarray]) -> Chunk:
    """The examples of these steps {stream: [steps, examples]} alone, of any data set, at once."""
    steps = len(next(iter(positions.values())))
    with ThreadPoolExecutor(1) as pool:
        return _Gathering.begin(setup, positions, steps, pool).chunk()


class _Gathering(NamedTuple):
    """A chunk that is being gathered."""

    host: dict[str, Any]  # as of `arrays`, each leaf [local devices, length, examples / devices, ...]
    sizes: dict[str, tuple[int, int, int]]  # of each stream: local devices, length, examples / devices
    steps: list[Future]

    @classmethod
    def begin(
        cls, setup: Setup, positions: Mapping[str, np.ndarray], length: int, pool: ThreadPoolExecutor
    ) -> "_Gathering":
        sources, host, sizes = arrays(setup), {}, {}
        shares = {name: parallel.shares(rows) for name, rows in positions.items()}
        for name, share in shares.items():
            devices, count, local = share.shape
            sizes[name] = size = (devices, length, local)
            host[name] = jax.tree.map(lambda x, size=size: np.zeros((*size, *x.shape[1:]), x.dtype), sources[name])

        def fill(step: int) -> None:
            for name, share in shares.items():
                for x, into in zip(jax.tree.leaves(sources[name]), jax.tree.leaves(host[name]), strict=True):
                    for device, rows in enumerate(share[:, step]):
                        into[device, step] = x[rows]

        return cls(host, sizes, [pool.submit(fill, step) for step in range(count)])

    def chunk(self) -> Chunk:
        for step in self.steps:
            step.result()
        data, rows = {}, {}
        for name, (devices, length, local) in self.sizes.items():
            flat = lambda x, size=(devices, length * local): parallel.place(x.reshape(*size, *x.shape[3:]))  # noqa: E731
            data[name] = jax.tree.map(flat, self.host[name])
            own = np.arange(length * local, dtype=np.int32).reshape(1, length, local)
            rows[name] = parallel.place(np.repeat(own, devices, axis=0))
        return Chunk(len(self.steps), data, rows)


def _padded(positions: np.ndarray, length: int) -> np.ndarray:
    """[count, batch] to [length, batch] int32."""
    return np.pad(positions, ((0, length - len(positions)), (0, 0))).astype(np.int32)
