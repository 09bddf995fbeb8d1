"""The table of where the time of the tests goes."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def times():
    """A copy of the plugin, for it may be at work."""
    spec = importlib.util.spec_from_file_location("times_copy", Path(__file__).with_name("times.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_function_traced_inside_another_counts_once(times, monkeypatch):
    """Events come when something ends: 2 s inside of 5 s, then 1 s beside them, and what is not compiling."""
    for now, event, seconds in (
        (4.0, times.COMPILING + "jaxpr_trace_duration", 2.0),
        (6.0, times.COMPILING + "jaxpr_trace_duration", 5.0),
        (8.0, times.COMPILING + "backend_compile_duration", 1.0),
        (9.0, "/jax/something/else", 0.5),
    ):
        monkeypatch.setattr(times, "time", SimpleNamespace(monotonic=lambda now=now: now))
        times._listen(event, seconds)
    assert times._used()[0] == 6.0 and times._used()[0] == 0.0


def test_the_table_adds_up(times):
    tests = {
        "tests/a.py::one": {"seconds": 1.0, "compiling": 0.5, "children": 0.0},
        "tests/a.py::two[x]": {"seconds": 4.0, "compiling": 3.0, "children": 0.0},
        "tests/b.py::three": {"seconds": 2.5, "compiling": 0.0, "children": 2.0},
    }
    lines = times.table({"tests": tests, "files": {"tests/a.py": 0.25, "tests/b.py": 1.5}}, slowest=2)
    rows = [line.split() for line in lines]
    assert rows[1:3] == [["4.0", "3.0", "0.0", "tests/a.py::two[x]"], ["2.5", "0.0", "2.0", "tests/b.py::three"]]
    assert rows[5:] == [
        ["5.0", "3.5", "0.0", "0.2", "2", "tests/a.py"],
        ["2.5", "0.0", "2.0", "1.5", "1", "tests/b.py"],
        ["7.5", "3.5", "2.0", "1.8", "3", "all"],
    ]
