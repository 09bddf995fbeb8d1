"""The largest batch that fits: doubled until the memory is spent, each try in a process of its own."""

import math
import re
import resource
from collections.abc import Callable
from pathlib import Path

from contender import Settings, create, in_child
from workloads import Workload, data_file

LIMIT = 2**17
_SHORT = re.compile(r"memory|RESOURCE_EXHAUSTED|bad_alloc|alloc|exit code -\d+|exit code 13[479]", re.IGNORECASE)


def largest_batch(
    workload: Workload,
    name: str,
    settings: Settings,
    folder: Path,
    gigabytes: float | None,
    say: Callable[[str], None],
    tries: int = 100,
) -> tuple[int, str]:
    """The largest batch of which two steps can be taken, and what stopped the next one.

    Args:
        workload: what to train; the search begins at its batch.
        name: the contender.
        settings: for the child.
        folder: for the data, whose size grows with the batch.
        gigabytes: a limit of each process's private memory, None for the machine's.
        say: told of each try.
        tries: the most that are made.
    """
    batch, fits, last = workload.batch, 0, min(LIMIT, workload.batch * 2 ** (tries - 1))
    while batch <= last:
        larger = workload._replace(batch=batch, data="random" if len(workload.shape) == 3 else workload.data)
        count = batch * (workload.turns + 1)
        path = Path(in_child(data_file, settings.threads, larger, folder, count))
        try:
            in_child(_two_steps, settings.threads, larger, name, settings._replace(data=path), gigabytes)
        except RuntimeError as error:
            if not _SHORT.search(str(error)):
                raise
            say(f"{batch} does not fit: {str(error).splitlines()[0][:120]}")
            return fits, str(error).splitlines()[0][:200]
        finally:
            path.unlink()
        say(f"{batch} fits")
        batch, fits = 2 * batch, batch
    return fits, f"the search ends at {last}"


def _two_steps(workload: Workload, name: str, settings: Settings, gigabytes: float | None) -> None:
    if gigabytes is not None:
        limit = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    child = create(workload, name, settings)
    if not all(math.isfinite(child.run(1)) for _ in range(2)):
        raise RuntimeError(f"{name}: the cost of a batch of {workload.batch} is not finite")
