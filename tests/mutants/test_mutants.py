"""The mutants fit the package as it is, and their runner tells a kill from what only looks like one."""

import ast
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT, RUN = Path(__file__).parents[2], Path(__file__).with_name("run.py")
_spec = importlib.util.spec_from_file_location("run", RUN)
run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run)

MUTANTS = run.load(run.MUTANTS)
AREAS = {
    "autoregression",
    "averaging",
    "checkpoint",
    "data",
    "data_order",
    "divergences",
    "dynamics",
    "evaluation",
    "games",
    "gaussians",
    "layers",
    "losses",
    "metrics",
    "models",
    "parallel",
    "penalties",
    "setups",
    "spectral_norm",
    "training",
    "transport",
}


@cache
def _parsed(file):
    """A source, its syntax, and the names of its functions."""
    tree = ast.parse(source := (ROOT / file).read_text())
    return source, ast.dump(tree), {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.wrong)
def test_a_mutant_is_another_program_and_its_test_exists(mutant):
    source, tree, _ = _parsed(mutant.file)
    assert ast.dump(ast.parse(run.mutated(mutant, source))) != tree
    file, name = mutant.test.split("::")
    assert name.partition("[")[0] in _parsed(file)[-1]


def test_there_are_two_in_each_area():
    areas = Counter(mutant.area for mutant in MUTANTS)
    assert len(MUTANTS) >= 40 and set(areas) == AREAS and min(areas.values()) >= 2
    assert len({mutant.wrong for mutant in MUTANTS}) == len(MUTANTS)


def test_what_occurs_twice_is_no_mutant():
    mutant = run.Mutant("games", "a guess", "ganjax/half.py", "x", "y", "tests/test_half.py::test_half")
    with pytest.raises(ValueError, match=r"ganjax/half.py: 'x' occurs 2 times, expected once"):
        run.mutated(mutant, "x + x")


@pytest.mark.parametrize(
    ("status", "output", "verdict"),
    [
        (0, "1 passed", "survived"),
        (1, "E   assert 2 == 1", "killed"),
        (1, "E   ImportError: cannot import name 'half'", "not tested"),
        (1, "E   NameError: name 'two' is not defined", "not tested"),
        (2, "E   SyntaxError: invalid syntax", "not tested"),
        (4, "ERROR: not found", "not tested"),
        (5, "no tests ran", "not tested"),
        (run.NOT_RUN, "", "not tested"),
        (-9, "", "not tested"),
        (None, "", "out of time"),
    ],
)
def test_only_a_failed_test_is_a_kill(status, output, verdict):
    assert run.verdict_of(status, output) == verdict


def test_the_runner_on_a_package_of_one_function(tmp_path):
    """A wrong, a harmless and a broken version: only the first is a kill, and the run fails."""
    files = {
        "pyproject.toml": "",
        "ganjax/__init__.py": "",
        "ganjax/half.py": "def half(x):\n    return x / 2\n",
        "tests/test_half.py": "def test_half():\n    from ganjax.half import half\n\n    assert half(3) == 1.5\n",
    }
    replacements = {"wrong": ("x / 2", "x // 2"), "harmless": ("x / 2", "x * 0.5"), "broken": ("def half", "def third")}
    rows = [
        f'[[games]]\nwrong = "{name}"\nfile = "ganjax/half.py"\nold = "{old}"\nnew = "{new}"\n'
        'test = "tests/test_half.py::test_half"\n'
        for name, (old, new) in replacements.items()
    ]
    for name, text in {**files, "mutants.toml": "".join(rows)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    options = ["--mutants", tmp_path / "mutants.toml", "--root", tmp_path, "--report", tmp_path / "report.json"]
    few = "run.PRELOADED = ('pytest',)"  # all that its one test needs
    script = f"import sys; sys.path.insert(0, sys.argv[1]); import run; {few}; sys.exit(run.main(sys.argv[2:]))"
    done = subprocess.run([sys.executable, "-c", script, RUN.parent, *options], capture_output=True, text=True)
    assert all(map(importlib.util.find_spec, run.PRELOADED))
    assert done.returncode == 1, done.stderr
    assert [row["verdict"] for row in json.loads((tmp_path / "report.json").read_text())] == [
        "killed",
        "survived",
        "not tested",
    ]
    assert "SURVIVED" in done.stdout and "1 of 3 mutants killed, 2 alive" in done.stdout
    assert (tmp_path / "ganjax/half.py").read_text() == files["ganjax/half.py"]
