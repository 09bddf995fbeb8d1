"""The uninterrupted run that the others are held against."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for faults.py and toy.py

from faults import Run


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The last line of an uninterrupted run of 300 steps: its step and its digest."""
    return Run(tmp_path_factory.mktemp("reference") / "run", every=100).digest()


@pytest.fixture(autouse=True)
def _compiled_once(compiled_once):
    """What a fault does to a run of this process does not depend on who compiled its step."""
