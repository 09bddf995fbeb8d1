"""How long a function may be; ruff's C901 and PLR0913 say how branched, and of how many arguments."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("ganjax", "experiments", "benchmarks", "scripts")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
LINES = 60  # of a body, docstring and signature not counted


def too_long(source, lines=LINES):
    """The functions of a program with a longer body."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    bodies = {f.name: f.body[1:] if ast.get_docstring(f) is not None else f.body for f in functions}
    return [name for name, body in bodies.items() if body and body[-1].end_lineno - body[0].lineno + 1 > lines]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_body_fits_on_a_screen(path):
    """A second thing lives in what grows past that."""
    assert too_long(path.read_text()) == []


def test_a_docstring_is_no_part_of_a_body():
    source = 'def f(x):\n    """One.\n\n    Two.\n    """\n    x += 1\n    return x\n'
    assert too_long(source, 2) == [] and too_long(source, 1) == ["f"]
