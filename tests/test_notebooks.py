"""Every notebook runs from top to bottom: here in the tests' process, in `make test-all` in a kernel of its own."""

import sys
from pathlib import Path

import jax
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import pyplot as plt
from matrix import FULL
from traitlets.config import Config

BOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture
def shell(monkeypatch):
    """IPython without a kernel. What notebooks and shell change of this process is put back."""
    monkeypatch.chdir(BOOKS[0].parent)
    monkeypatch.setenv("GANJAX_SMOKE", "1")
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    x64 = jax.config.read("jax_enable_x64")
    with jax.numpy_rank_promotion("allow"):
        yield InteractiveShell(config=Config(HistoryManager={"enabled": False}))
    jax.config.update("jax_enable_x64", x64)
    plt.close("all")


def test_there_are_notebooks():
    assert BOOKS


@pytest.mark.skipif(FULL, reason="nbmake runs them")
@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, shell):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source).raise_error()
