"""Where the time of the tests goes: a pytest plugin that keeps seconds per test, and the table of them.

    pytest -p times ...                       writes runs/test-times.json
    python tests/times.py [--slowest 30]      prints it, slowest first, by test and by file

For each test: `seconds` of wall time, fixtures included; of these `compiling` in JAX (tracing, lowering, XLA), and
`children`, the processor's seconds of child processes that ended, their imports included. For each file: `importing`,
the wall time in which a worker reads it and what it imports for the first time.
"""

import argparse
import json
import resource
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from children import forked_seconds

RECORD = Path(__file__).parents[1] / "runs" / "test-times.json"
COMPILING = "/jax/core/compile/"  # of jaxpr_trace_duration, jaxpr_to_mlir_module_duration, backend_compile_duration

_spans: list[tuple[float, float]] = []  # of compiling: when it began and how long it took, none inside another
CHILDREN = pytest.StashKey[float]()  # processor's seconds of children before this phase of the test
_tests: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
_files: dict[str, float] = defaultdict(float)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime + forked_seconds()


def _listen(event: str, seconds: float, **_) -> None:
    """Tracing a function traces those that it calls: only the outermost counts."""
    if event.startswith(COMPILING):
        began = time.monotonic() - seconds
        while _spans and _spans[-1][0] >= began:
            _spans.pop()
        _spans.append((began, seconds))


def _used() -> tuple[float, float]:
    """Seconds of compiling since the last call, and processor's seconds of all children so far."""
    compiling = sum(seconds for _, seconds in _spans)
    _spans.clear()
    return compiling, _children()


def pytest_configure(config):
    import jax

    jax.monitoring.register_event_duration_secs_listener(_listen)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    began = time.perf_counter()
    report = yield
    if isinstance(collector, pytest.Module):
        _files[collector.nodeid] += time.perf_counter() - began
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    item.stash[CHILDREN] = _used()[1]
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    before, (compiling, after) = item.stash[CHILDREN], _used()
    item.stash[CHILDREN] = after
    spent = {"compiling": compiling, "children": after - before}
    report.user_properties = [*report.user_properties, ("times", spent)]
    return report


def pytest_runtest_logreport(report):
    spent = _tests[report.nodeid]
    spent["seconds"] += report.duration
    for name, value in next((v for k, v in report.user_properties if k == "times"), {}).items():
        spent[name] += value


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["files"] = dict(_files)
        return
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps({"tests": _tests, "files": _files}, indent=1) + "\n")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    for name, seconds in getattr(node, "workeroutput", {}).get("files", {}).items():
        _files[name] += seconds


def table(record: dict, slowest: int) -> list[str]:
    """The slowest tests, and every file; seconds, of which compiling, of which in children."""
    head = f"{'seconds':>8} {'compiling':>9} {'children':>8}  "
    lines = [head + "test"]
    tests = sorted(record["tests"].items(), key=lambda item: -item[1]["seconds"])
    lines += [_row(spent) + name for name, spent in tests[:slowest]]
    files = defaultdict(lambda: defaultdict(float))
    for name, spent in tests:
        file = files[name.split("::")[0]]
        file["tests"] += 1
        for key, value in spent.items():
            file[key] += value
    lines += ["", head + f"{'importing':>9} {'tests':>5}  file"]
    for name, spent in sorted(files.items(), key=lambda item: -item[1]["seconds"]):
        lines.append(_row(spent) + f"{record['files'].get(name, 0):9.1f} {spent['tests']:5.0f}  {name}")
    total = {key: sum(spent[key] for spent in files.values()) for key in ("seconds", "compiling", "children", "tests")}
    lines.append(_row(total) + f"{sum(record['files'].values()):9.1f} {total['tests']:5.0f}  all")
    return lines


def _row(spent: dict[str, float]) -> str:
    return f"{spent['seconds']:8.1f} {spent['compiling']:9.1f} {spent['children']:8.1f}  "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slowest", type=int, default=30, metavar="N", help="tests to list (default: %(default)s)")
    parser.add_argument("--record", type=Path, default=RECORD, help="default: %(default)s")
    options = parser.parse_args()
    if not options.record.is_file():
        parser.error(f"{options.record} does not exist; `make test-times` writes it")
    sys.stdout.write("\n".join(table(json.loads(options.record.read_text()), options.slowest)) + "\n")


if __name__ == "__main__":
    main()
