"""What a run writes while it trains: `metrics.jsonl`, `judge.jsonl` and TensorBoard events."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ganjax.files import naming, write_atomically
from ganjax.rundir import ALARMS, JUDGED


def rewind(path: Path, step: int) -> None:
    """Drop the records after `step`, and a last line that was cut short, so that a continued run repeats none."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines(keepends=True) if _step_of(line) <= step]
    write_atomically(path, "".join(kept))


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"] if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON numbers, null for those that are not finite."""
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}


class Writers:
    """Metrics and pictures of one run, to `metrics.jsonl` and TensorBoard's event files.

    Args:
        workdir: the run directory.
        step: the step the run continues from; records after it are dropped.
    """

    def __init__(self, workdir: Path, step: int):
        from tensorboardX import SummaryWriter

        for name in ("metrics.jsonl", JUDGED, ALARMS):
            rewind(workdir / name, step)
        self._judged = workdir / JUDGED
        self._lines = open(workdir / "metrics.jsonl", "a")  # noqa: SIM115  closed by close()
        self._events = SummaryWriter(str(workdir), purge_step=step + 1 if step else 0, write_to_disk=True)
        self._began = time.perf_counter()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One record: `{"step": ..., "time": seconds since this process began, name: value, ...}`.

        A value that is not finite is written as null, which keeps every line valid JSON.
        """
        seconds = round(time.perf_counter() - self._began, 3)
        with naming(self._lines.name):
            self._lines.write(json.dumps({"step": step, "time": seconds, **_finite(values)}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name, float(value), step)

    def judge(self, step: int, values: Mapping[str, float]) -> None:
        """One record of the light judge, to `judge.jsonl` and TensorBoard."""
        with naming(self._judged), open(self._judged, "a") as file:
            file.write(json.dumps({"step": step, **_finite(values)}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(f"judge/{name}", float(value), step)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """A picture, [H, W, 3] uint8."""
        self._events.add_image(name, image, step, dataformats="HWC")

    def flush(self) -> None:
        """Hand everything to the operating system."""
        with naming(self._lines.name):
            self._lines.flush()
        self._events.flush()

    def close(self) -> None:
        """Flush and close the files."""
        try:
            with naming(self._lines.name):
                self._lines.close()
        finally:
            self._events.close()
