"""What all tests share: strict JAX settings, float64 on request, one compilation cache for child processes."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
_CACHE = Path(__file__).parent.parent / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import jax  # noqa: E402
import pytest  # noqa: E402

# Where mathematics is compared and nearly all the time is the compiler's: there it optimises less, which takes three
# fifths of the time. Whatever promises equal bits, resumes, streams or shares is compiled as users run it.
QUICK = {"contracts", "dynamics", "games", "layers", "models", "test_augment.py", "test_recipe.py"}


@pytest.fixture(autouse=True, scope="module")
def _compiler(request):
    if request.path.relative_to(Path(__file__).parent).parts[0] not in QUICK:
        yield
        return
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def _strict():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def float64():
    """Double precision for a closed form."""
    with jax.enable_x64(True):
        yield
