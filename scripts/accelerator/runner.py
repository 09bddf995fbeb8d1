"""Works through parts, each in a process of its own, and keeps what it has after each of them."""

import contextlib
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LEAST = 10.0  # seconds, below which no part is begun
GRACE = 15.0  # seconds that a part has to end in, once it is told to
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONUNBUFFERED": "1"}  # several processes share the memory
TAIL = 30  # lines of a part's output that are kept with its record


class Part(NamedTuple):
    """One thing to find out. It writes numbers.json into its folder as soon as it has any, and again when more."""

    name: str
    seconds: float  # it may take
    command: Sequence[str]  # of Python; {out}, its folder, and {seconds}, what it may take, are filled in
    environment: Mapping[str, str] = {}
    lacking: str = ""  # why it cannot be run here; "" if it can
    vital: bool = False  # no other is begun if it fails


def run(
    parts: Sequence[Part],
    out: Path,
    seconds: float,
    environment: Mapping[str, str],
    *,
    dry: bool = False,
    archive: Path | None = None,
) -> int:
    """Work through the parts: what was never tried in their order, then what was not done last time.

    Returns:
        0 if all are done, those aside that cannot be run here; else 1.
    """
    end, out = time.monotonic() + seconds, out.resolve()
    results = Results(out, dry)
    records = results.records
    wanted = [part for part in parts if records.get(part.name, {}).get("status") != "done"]
    wanted.sort(key=lambda part: part.name in records and records[part.name]["status"] != "skipped")
    for part in parts:
        if part not in wanted:
            print(f"{part.name}: done before", flush=True)
    with Child() as child:
        for part in wanted:
            left = end - time.monotonic()
            if part.lacking or left < LEAST:
                record = {"status": "skipped", "why": part.lacking} if part.lacking else {"status": "no time"}
                if left >= LEAST or part.name not in records or part.lacking:
                    results.keep(part.name, record)
                print(f"{part.name}: {part.lacking or 'no time is left'}", flush=True)
                continue
            limit = min(part.seconds, left - GRACE) if left > 2 * GRACE else left / 2
            print(f"{part.name}: at most {limit:.0f} s of the {left:.0f} s left", flush=True)
            results.keep(part.name, {"status": "running", "since": _now()})
            record = child.record(part, out / part.name, limit, environment)
            results.keep(part.name, record)
            print(f"{part.name}: {record['status']} in {record['seconds']:.0f} s", flush=True)
            if archive:
                pack_results(out, archive)
            if part.vital and record["status"] != "done":
                print("\n".join([f"{part.name} failed, so nothing else is begun:", *record["tail"][-5:]]), flush=True)
                return 1
    statuses = {part.name: results.records[part.name]["status"] for part in parts}
    left_over = [name for name, status in statuses.items() if status not in ("done", "skipped")]
    print(
        f"{out / 'results.json'}: {len(parts) - len(left_over)} of {len(parts)} parts; not done: {left_over or 'none'}"
    )
    return int(bool(left_over))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Results:
    """results.json, whole at every moment."""

    def __init__(self, out: Path, dry: bool):
        self._path = out / "results.json"
        found = json.loads(self._path.read_text()) if self._path.exists() else {"dry": dry, "parts": {}}
        if found["dry"] != dry:
            kind = "a dry run" if found["dry"] else "a run on the device"
            raise ValueError(f"{out} holds the results of {kind}; choose another folder by --out")
        self._found = found

    @property
    def records(self) -> dict[str, Any]:
        """Of each part that was tried: status, seconds, numbers, pictures, the last lines."""
        return self._found["parts"]

    def keep(self, name: str, record: Mapping[str, Any]) -> None:
        """Put a part's record in and write the file; a reader sees the old one or the new one."""
        self.records[name] = dict(record)
        self._found["written"] = _now()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(self._found, indent=1) + "\n")
        beside.replace(self._path)


class Child:
    """The process of the part that runs, which does not outlive this one's orderly end."""

    def __enter__(self) -> "Child":
        self._process: subprocess.Popen | None = None
        self._before = {name: signal.signal(name, self._told) for name in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _told(self, number: int, _: object) -> None:
        if self._process:
            stop(self._process, 3)
        sys.exit(128 + number)

    def record(self, part: Part, folder: Path, limit: float, environment: Mapping[str, str]) -> dict[str, Any]:
        """Run the part; what became of it."""
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.txt"
        words = (word.replace("{out}", str(folder)).replace("{seconds}", f"{limit:.0f}") for word in part.command)
        command = [sys.executable, *words]
        began = time.monotonic()
        before = resources()
        with log.open("w") as file:
            self._process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT, process_group=0,
                env={**os.environ, **SHARED, **environment, **part.environment},
            )  # fmt: skip
            try:
                code: int | None = self._process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
                stop(self._process, GRACE)
            finally:
                self._process = None
        record: dict[str, Any] = {
            "status": {0: "done", None: "timed out"}.get(code, "failed"),
            "seconds": round(time.monotonic() - began, 1),
            "processor_seconds": round(resources() - before, 1),
            "command": command[1:],
        }
        with contextlib.suppress(OSError, ValueError):  # none were written, or the process ended within a write
            record["numbers"] = json.loads((folder / "numbers.json").read_text())
        record["pictures"] = sorted(str(path.relative_to(folder.parent)) for path in folder.rglob("*.png"))
        if code != 0:
            record |= {"exit_code": code, "tail": log.read_text(errors="replace").splitlines()[-TAIL:]}
        return record


def resources() -> float:
    """Seconds of processor time of all children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def stop(process: subprocess.Popen, grace: float) -> None:
    """Tell the process and its children to end, and end those that have not after so many seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    process.wait()


def pack_results(out: Path, archive: Path) -> None:
    """All but the training runs' checkpoints as one .zip, whole at every moment."""
    wanted = {".json", ".jsonl", ".png", ".txt", ".md"}
    beside = archive.with_name(f"{archive.name}.new")
    archive.parent.mkdir(parents=True, exist_ok=True)
    import zipfile

    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(out.rglob("*")):
            if path.suffix in wanted and "checkpoints" not in path.parts:
                file.write(path, path.relative_to(out.parent))
    shutil.move(beside, archive)


def call(command: Sequence[str]) -> int:
    """Run a child's script in the foreground."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=environment).returncode
