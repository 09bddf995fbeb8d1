"""What a process does with memory that is freed: it keeps it."""

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, up to 1 GiB a block, for the next one who asks.

    A step's convolutions ask for the same large blocks again and again. By default glibc may return them to the system
    each time, depending on what was freed before, and the system then clears every page anew: a step of `dcgan28`
    (benchmarks/README.md) took 90 to 120 ms instead of 76, in some processes and not in others. Other C libraries are
    left as they are.
    """
    with contextlib.suppress(OSError, TypeError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
