"""Child processes: several devices of one processor, cheaply compiled programs, scripts that need import nothing."""

import atexit
import contextlib
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from multiprocessing import forkserver
from pathlib import Path

from matrix import FULL

# The older emitters compile faster; since 0.11 there are none, and the flag itself ends a process.
_NEW = [int(part) for part in version("jaxlib").split(".")[:2]] >= [0, 11]
OLDER = {} if _NEW else {"xla_cpu_use_fusion_emitters": False}
# As the ledger's programs were compiled, whose bits depend on what is fused.
AS_THE_LEDGER = " ".join(
    [
        *(f"--{name}={str(value).lower()}" for name, value in OLDER.items()),
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_opt_preset=DEFAULT",  # a smoke size has another, unless it is told so
    ]
)
# As tests/conftest.py compiles. It hands these on to the children of `make test`, not to those of `make test-all`.
CHEAPLY = AS_THE_LEDGER.replace("DEFAULT", "FAST_COMPILE")


def with_devices(count: int, flags: str = "") -> dict[str, str]:
    """This environment, with so many devices and these flags for XLA beside those that are there."""
    known = os.environ.get("XLA_FLAGS", "")
    return os.environ | {"XLA_FLAGS": f"{known} --xla_force_host_platform_device_count={count} {flags}".strip()}


def started(script: Path, *args: object, env: Mapping[str, str] | None = None) -> "subprocess.Popen | Forked":
    """A Python script in a process of its own: forked, or in `make test-all` begun as a user begins it."""
    if not FULL:
        return Forked(script, args, env=env or os.environ)
    command = [sys.executable, *map(str, (script, *args))]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(script: Path, *args: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess:
    """The same once it has ended, with its exit code and what it wrote."""
    process = started(script, *args, env=env)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess([script, *args], process.returncode, out, err)


class Forked:
    """A Python script in a process of its own, with what these tests use of `subprocess.Popen`.

    It is forked from a server which has imported and traced what it needs (`preloaded.py`), but started no backend of
    JAX, and so saves much of the processor's time of a short run. Exit codes, signals and limits are of any process.
    """

    def __init__(self, script: Path, args: Sequence[object], *, env: Mapping[str, str], largest_file: int = 0):
        self._out = [tempfile.NamedTemporaryFile("r") for _ in range(2)]  # noqa: SIM115
        work = (str(script), [str(arg) for arg in args], dict(env), largest_file, *(file.name for file in self._out))
        self._process = _SERVER.Process(target=_run, args=work, daemon=True)
        _begin_server()
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    poll = returncode.fget

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Standard output and standard error, once it has ended."""
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        out, err = (Path(file.name).read_text() for file in self._out)
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # the server has seen it end, and we have not been told
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["preloaded"])


@cache
def _begin_server() -> None:
    """Let it find tests/preloaded.py: it is told the modules, and not where they are."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [before])])
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def forked_seconds() -> float:
    """The processor's seconds of all forked processes that ended, which are the server's children and not ours."""
    stat = Path(f"/proc/{forkserver._forkserver._forkserver_pid}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text().rpartition(")")[2].split()[13:15]  # cutime and cstime of proc(5)
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _run(script: str, args: list[str], env: dict[str, str], largest_file: int, out: str, err: str) -> None:
    for number, name in ((1, out), (2, err)):
        file = os.open(name, os.O_WRONLY)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file,) * 2)
    sys.argv, sys.path[0] = [script, *args], str(Path(script).parent)
    if CHEAPLY in env.get("XLA_FLAGS", ""):  # and so the initialisation too, as in the process of the tests
        from ganjax.training import setup

        setup._QUICK_COMPILE.clear()
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing ends without
