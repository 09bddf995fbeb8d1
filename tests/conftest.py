"""What all tests share: strict JAX settings, float64 on request, one compilation cache for child processes.

Nearly all the time of the suite is XLA's compiler, so the code that it emits is optimised less: the programs and their
fusions are those that users run, and a file of tests takes about three fifths of the time. Matrix products and
convolutions are calls into the same libraries. JAX_DISABLE_MOST_OPTIMIZATIONS=0 runs the tests with all optimisations.
"""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
_CACHE = Path(__file__).parent.parent / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _strict():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def float64():
    """Double precision for a closed form."""
    with jax.enable_x64(True):
        yield
