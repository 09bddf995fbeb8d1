"""Contenders in processes of their own, which sleep while the others run.

Nothing heavy is imported here: a child's peak memory starts from its parent's.
"""

import contextlib
import importlib
import math
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from workloads import Child, Settings, Workload

_CONTEXT = multiprocessing.get_context("spawn")


def create(workload: Workload, name: str, settings: Settings) -> Child:
    """The side of this name: ganjax, ganjax before, or torch and a variant."""
    if name == "ganjax before":  # with that checkout's own way to run a workload
        sys.path[:0] = [str(settings.before), str(Path(settings.before or "") / "benchmarks")]
    if name.startswith("ganjax"):
        import ours

        return ours.create(workload, settings)
    peer = importlib.import_module(workload.peer)
    return peer.create(workload, settings, name.removeprefix("torch "))


def _serve(connection: Connection, function: Callable, threads: int, args: tuple) -> None:
    """A child's life: `function(*args, connection)`, whose error is the last thing that is sent."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    try:
        function(*args, connection)
    except Exception as error:
        connection.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _contend(workload: Workload, name: str, settings: Settings, connection: Connection) -> None:
    """Build, take the first step, then what is asked for, until None is."""
    child = create(workload, name, settings)
    child.run(1)
    connection.send(child.parameters)
    connection.send(child.flops())
    while (steps := connection.recv()) is not None:
        start = time.perf_counter()
        cost = child.run(steps)
        elapsed = time.perf_counter() - start
        host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        connection.send((elapsed, cost, (child.peak() or host) / 2**20))


def _compute(function: Callable, args: tuple, connection: Connection) -> None:
    connection.send(function(*args))


class Process:
    """The parent's end of a child."""

    def __init__(self, function: Callable, threads: int, args: tuple):
        """Start `function(*args, connection)` in a child."""
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, function, threads, args))
        self._process.start()
        theirs.close()

    def send(self, order: Any) -> None:
        """Tell the child something."""
        self._connection.send(order)

    def receive(self) -> Any:
        """What the child sends next; raises the error that ended it."""
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise RuntimeError(f"the process ended without a result, exit code {self._process.exitcode}") from None
        if isinstance(answer, Exception):
            self._process.join()
            raise answer
        return answer

    def stop(self) -> None:
        """End the child, which waits for an order."""
        with contextlib.suppress(BrokenPipeError):
            self._connection.send(None)
        self._process.join()


def in_child(function: Callable, threads: int, *args: Any) -> Any:
    """`function(*args)`, computed in a process of its own."""
    process = Process(_compute, threads, (function, args))
    answer = process.receive()
    process.stop()
    return answer


class Contender:
    """A side of a workload and its measurements."""

    def __init__(self, workload: Workload, name: str, settings: Settings):
        """Start the child and wait for its first step."""
        start = time.perf_counter()
        self._process = Process(_contend, settings.threads, (workload, name, settings))
        self.name, self.rates, self.megabytes, self._per_step = name, [], math.nan, math.nan
        self.parameters = self._process.receive()
        self.first_step = time.perf_counter() - start
        self.flops = self._process.receive()

    def _run(self, steps: int) -> float:
        self._process.send(steps)
        elapsed, cost, self.megabytes = self._process.receive()
        if not math.isfinite(cost):
            raise RuntimeError(f"{self.name}: the last cost is {cost}")
        self._per_step = elapsed / steps
        return elapsed

    def warm_up(self, seconds: float) -> None:
        """Double the number of steps until they take a quarter of a round."""
        steps = 1
        while self._run(steps) < seconds / 4:
            steps *= 2

    def measure(self, seconds: float, steps: int | None = None) -> None:
        """One round of so many seconds, or of so many steps."""
        steps = steps or max(1, round(seconds / self._per_step))
        self.rates.append(steps / self._run(steps))

    def stop(self) -> None:
        """End the child."""
        self._process.stop()
