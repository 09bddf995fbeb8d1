"""What the fault tests share: child processes of the real command line, damaged files, and the count of what survived.

Every test is one row of the table that `make faults` prints. It injects a tenth of the row's faults, all of them with
GANJAX_FAULTS=full, and writes what happened to runs/faults/<row>.json; report.py makes the table of it.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from children import Forked

ROOT = Path(__file__).parents[2]
PARTS = ROOT / "runs" / "faults"
FULL = os.environ.get("GANJAX_FAULTS") == "full"
KILLED, STOPPED = -9, {"SIGTERM": 143, "SIGINT": 130}


def number(full: int) -> int:
    """How many faults to inject where the whole row has `full`."""
    return full if FULL else max(1, full // 10)


class Row:
    """Counts the faults of a row, and which of them ended otherwise than promised."""

    def __init__(self, name: str, fault: str):
        self.name, self.fault = name, fault
        self.injected, self.failures, self.notes = 0, [], ""
        self._since = time.perf_counter()

    @contextlib.contextmanager
    def case(self, what: object) -> Iterator[None]:
        """One fault; an assertion that does not hold in it is counted and shown at the end."""
        self.injected += 1
        try:
            yield
        except (AssertionError, pytest.fail.Exception) as error:
            self.failures.append(f"{what}: {error}")

    def __enter__(self) -> "Row":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        PARTS.mkdir(parents=True, exist_ok=True)
        survived = self.injected - len(self.failures)
        seconds = round(time.perf_counter() - self._since, 1)
        record = {"fault": self.fault, "injected": self.injected, "survived": survived, "notes": self.notes}
        (PARTS / f"{self.name}.json").write_text(json.dumps(record | {"seconds": seconds, "full": FULL}))
        assert self.injected, "no fault was injected"
        assert not self.failures, "\n".join(self.failures)


class Run:
    """A training run of the command line: a small GAN on 8 Gaussians, 300 steps, a checkpoint every 20."""

    experiment, own = "vanilla_gan", ("--data", "ring", "--batch-size", 32, "--latent", 8)

    def __init__(self, workdir: Path, *more: object, steps: int = 300, every: int = 20):
        self.workdir = workdir
        options = {"--steps": steps, "--checkpoint-every": every, "--sample-every": 0, "--chunk": 10}
        words = [word for pair in options.items() for word in pair]
        self.script = ROOT / "experiments" / f"{self.experiment}.py"
        args = ["train", "--smoke", "--quiet", "--workdir", workdir, *self.own, *words, *more]
        self.args = [str(word) for word in args]

    def start(self, *, largest_file: int = 0, **environment: str) -> subprocess.Popen | Forked:
        """In a process of its own; with `largest_file`, the system refuses to write beyond so many bytes.

        All the faults are injected into processes as a user starts them, a tenth of them into forked ones.
        """
        if not FULL:
            return Forked(self.script, self.args, env=os.environ | environment, largest_file=largest_file)
        command = [sys.executable, str(self.script), *self.args]
        if largest_file:
            limited = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file},) * 2)"
            command = [sys.executable, "-c", f"{limited}; os.execv(sys.argv[1], sys.argv[1:])", *command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=os.environ | environment, **pipes)

    def finish(self, **options) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a whole run."""
        process = self.start(**options)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def digest(self) -> str:
        """Start, or continue, and let it end; the digest of the last state."""
        code, out, err = self.finish()
        assert code == 0, err
        return out.strip().splitlines()[-1]

    def began(self, process: subprocess.Popen | Forked) -> bool:
        """Wait until it has logged something; whether it has, before its end."""
        log = self.workdir / "metrics.jsonl"
        while process.poll() is None:
            if log.exists() and log.stat().st_size:
                return True
            time.sleep(0.005)
        return False

    def steps(self) -> list[int]:
        """Of the checkpoints that are complete."""
        folder = self.workdir / "checkpoints"
        return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []

    def unfinished(self) -> list[str]:
        """What a save that did not end has left."""
        folder = self.workdir / "checkpoints"
        return [p.name for p in folder.iterdir() if not p.name.isdigit()] if folder.is_dir() else []

    def logged(self) -> int:
        """The last step with a whole record."""
        log = self.workdir / "metrics.jsonl"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        return max((json.loads(line)["step"] for line in lines if line.endswith("\n")), default=0)


class StagedRun(Run):
    """One of two stages, level_0 and level_1, of 300 steps each; what lies in a stage's folder a `Run` of it says."""

    experiment, own = "lapgan", ("--no-control",)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time of change and its bytes."""
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files(folder)}


def flip(path: Path, rng: np.random.Generator) -> None:
    """Flip one bit of a file, anywhere."""
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(data)
