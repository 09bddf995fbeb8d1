"""Does each test see the mistake that it is there for? One mistake at a time, in a copy of the package.

    python tests/mutants/run.py [--only PATTERN]

A mutant is killed if its named test, which passes on the package as it is, fails on the package with the mistake in it.
One that cannot be imported, has no such test or takes too long has been tested by nobody: it counts as alive. The exit
status is 1 if any mutant lives.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

ROOT, MUTANTS = Path(__file__).parents[2], Path(__file__).with_name("mutants.toml")
COPIED = ("ganjax", "tests", "experiments", "pyproject.toml")
# What most tests import, for longer than they take; not the package itself.
PRELOADED = ("chex", "flax.linen", "optax", "orbax.checkpoint", "pytest", "scipy.optimize", "scipy.stats")
NOT_RUN = 70  # exit status of a child that never came to run pytest; pytest has 0 to 5
# Where the mistake is no mistake of the mathematics but keeps the code from running.
BROKEN = re.compile(r"^E .*\b(ImportError|ModuleNotFoundError|SyntaxError|NameError)\b", re.MULTILINE)


class Mutant(NamedTuple):
    """A small wrong version of one file."""

    area: str
    wrong: str  # what is wrong, in one phrase
    file: str
    old: str  # occurs once in the file
    new: str
    test: str  # id of the test that sees it


class Outcome(NamedTuple):
    """What the test made of it."""

    verdict: str
    seconds: float
    reason: str  # the first line of pytest's explanation


def load(path: Path) -> list[Mutant]:
    """The mutants of a TOML file, whose tables are named by area."""
    return [Mutant(area, **row) for area, rows in tomllib.loads(path.read_text()).items() for row in rows]


def mutated(mutant: Mutant, source: str) -> str:
    """The source with the mistake in it."""
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file}: {mutant.old!r} occurs {source.count(mutant.old)} times, expected once")
    return source.replace(mutant.old, mutant.new)


def verdict_of(status: int | None, output: str) -> str:
    """What an exit status of pytest says about a mutant; None if there was no time for one."""
    if status is None:
        return "out of time"
    if status == 1 and not BROKEN.search(output):
        return "killed"
    return "survived" if status == 0 else "not tested"


def run_tests(folder: Path, tests: Sequence[str], timeout: float) -> tuple[int | None, str]:
    """Exit status and output of pytest on the copy, in a child process."""
    log = folder / "pytest.log"
    child = multiprocessing.get_context("fork").Process(target=_child, args=(folder, tests, log))
    child.start()
    child.join(timeout)
    if child.exitcode is None:
        child.kill()
        child.join()
        return None, log.read_text()
    return child.exitcode, log.read_text()


def _child(folder: Path, tests: Sequence[str], log: Path) -> None:
    status = NOT_RUN
    try:
        with log.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        import pytest

        import ganjax

        if not Path(ganjax.__file__ or "").is_relative_to(folder):
            raise RuntimeError(f"{ganjax.__file__} is tested, expected the copy in {folder}")
        status = int(pytest.main(["-x", "--tb=short", "-p", "no:cacheprovider", *tests]))
    except BaseException:  # multiprocessing would end with 1, as pytest does where a test fails
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def prepare(folder: Path) -> None:
    """What the children inherit: environment and imports."""
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(folder),
    }
    sys.dont_write_bytecode = True  # two versions of a file within a second would look alike
    for module in PRELOADED:
        importlib.import_module(module)


def try_all(mutants: Sequence[Mutant], root: Path, timeout: float, jobs: int) -> list[Outcome]:
    """First all tests on the package as it is, then each mutant's on the mutant; `jobs` at a time, a copy for each."""
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread: this process forks
    jobs = min(jobs, len(mutants))
    tests = list(dict.fromkeys(mutant.test for mutant in mutants))
    context = multiprocessing.get_context("fork")
    with (
        tempfile.TemporaryDirectory() as temporary,
        ProcessPoolExecutor(jobs, context, _copy, (root, temporary)) as pool,
    ):
        shares = [tests[i::jobs] for i in range(min(jobs, len(tests)))]
        whole = [pool.submit(_run_whole, share, timeout * len(share)) for share in shares]
        tried = [pool.submit(_try, mutant, root, timeout) for mutant in mutants]
        with tqdm(total=len(mutants), unit="mutant", dynamic_ncols=True) as bar:
            bar.set_postfix_str("all tests on the package as it is")
            for status, output in (share.result() for share in whole):
                if status != 0:  # None: out of time
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise SystemExit(f"{output}\na named test does not pass on the package as it is (status {status})")
            places = dict(zip(tried, mutants, strict=True))
            for future in as_completed(tried):
                mutant, verdict = places[future], future.result().verdict
                bar.set_postfix_str(f"{mutant.file}: {mutant.wrong}")
                if verdict != "killed":
                    bar.write(f"{verdict}: {mutant.wrong} ({mutant.test})", file=sys.stderr)
                bar.update()
    return [future.result() for future in tried]


def _copy(root: Path, temporary: str) -> None:
    """A copy of the package for this process, which works in it from now on."""
    folder = Path(tempfile.mkdtemp(dir=temporary)).resolve()
    for name in filter(lambda name: (root / name).exists(), COPIED):
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(root / name, folder / name)
    os.chdir(folder)
    prepare(folder)


def _run_whole(tests: Sequence[str], timeout: float) -> tuple[int | None, str]:
    return run_tests(Path.cwd(), tests, timeout)


def _try(mutant: Mutant, root: Path, timeout: float) -> Outcome:
    place, source = Path(mutant.file), (root / mutant.file).read_text()
    began = time.monotonic()
    place.write_text(mutated(mutant, source))
    try:
        status, output = run_tests(Path.cwd(), [mutant.test], timeout)
    finally:
        place.write_text(source)
    reason = next((line[1:].strip() for line in output.splitlines() if line.startswith("E ")), "")
    return Outcome(verdict_of(status, output), time.monotonic() - began, reason)


def table(mutants: Sequence[Mutant], outcomes: Sequence[Outcome]) -> list[str]:
    """A row for each mutant."""
    rows = [("area", "what is wrong", "file", "test", "verdict", "seconds")]
    for mutant, outcome in zip(mutants, outcomes, strict=True):
        verdict = outcome.verdict if outcome.verdict == "killed" else outcome.verdict.upper()
        rows.append((mutant.area, mutant.wrong, mutant.file, mutant.test, verdict, f"{outcome.seconds:.1f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def record(mutants: Sequence[Mutant], outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The same as JSON values."""
    return [mutant._asdict() | outcome._asdict() for mutant, outcome in zip(mutants, outcomes, strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PATTERN", default="", help="regular expression in any column of the table")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one test (default: %(default)s)")
    parser.add_argument("--mutants", type=Path, default=MUTANTS, help="default: mutants.toml beside this file")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder of ganjax/ and tests/ (default: this one)")
    parser.add_argument("--report", type=Path, default=Path("runs/mutants/report.json"), help="default: %(default)s")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    chosen = [
        mutant
        for mutant in load(options.mutants)
        if any(re.search(options.only, part) for part in (mutant.area, mutant.wrong, mutant.file, mutant.test))
    ]
    if not chosen:
        parser.error(f"--only {options.only} chooses none of the mutants")
    outcomes = try_all(chosen, options.root.resolve(), options.timeout, options.jobs)
    print("\n".join(table(chosen, outcomes)))
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(record(chosen, outcomes), indent=2) + "\n")
    killed = sum(outcome.verdict == "killed" for outcome in outcomes)
    print(f"{killed} of {len(chosen)} mutants killed, {len(chosen) - killed} alive; {options.report} says why")
    return int(killed < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
