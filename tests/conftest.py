"""What all tests share: strict JAX settings, float64 on request, one compilation cache for child processes."""

import gc
import itertools
import os
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
_CACHE = Path(__file__).parent.parent / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from children import CHEAPLY, OLDER  # noqa: E402
from jax._src import compiler  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402
from matrix import FULL  # noqa: E402

# Nearly all the time is the compiler's. It optimises less and emits without MLIR, which takes a quarter of the time: in
# `make test` everywhere but where a test asks for programs as users run them, in `make test-all` where mathematics is
# compared.
MATHEMATICS = {"contracts", "dynamics", "games", "layers", "models", "test_augment.py", "test_recipe.py"}
QUICK = OLDER | {"xla_cpu_parallel_codegen_split_count": 1, "xla_cpu_opt_preset": "CPU_OPT_PRESET_FAST_COMPILE"}
AT_MOST = ("xla_backend_optimization_level",)  # the initialisation asks for few optimisations, where these are none
MAPPINGS = Path("/proc/self/maps")
_options = compiler.get_compile_options


def _quick_options(*args, env_options_overrides=None, **kwargs):
    own = env_options_overrides or {}
    if jax.config.read("jax_disable_most_optimizations"):
        own = QUICK | {name: value for name, value in own.items() if name not in AT_MOST}
    return _options(*args, env_options_overrides=own, **kwargs)


compiler.get_compile_options = _quick_options
# JAX writes down each program in a new context of MLIR; to make it takes a fifth of what a small program takes.
_context, _programs = lru_cache(maxsize=1)(lambda hundred, make=mlir.make_ir_context: make()), itertools.count()
mlir.make_ir_context = lambda: _context(next(_programs) // 100)  # it keeps the constants of its programs: not for ever
if not FULL:
    own = os.environ.get("XLA_FLAGS", "").replace(CHEAPLY, "").strip()  # a worker is a child of pytest
    os.environ["XLA_FLAGS"] = own
    jax.jit(lambda: 0)()  # this process reads its own when it compiles for the first time
    os.environ["XLA_FLAGS"] = f"{own} {CHEAPLY}".strip()


@pytest.fixture(autouse=True, scope="module")
def _compiler(request):
    path = request.path.relative_to(Path(__file__).parent)
    jax.config.update("jax_disable_most_optimizations", path.parts[0] in MATHEMATICS or not FULL)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)  # a command of this process keeps everything
    # A kept program takes 12 mappings of memory and more. Linux gives a process 65,530, past which XLA crashes; the
    # contract of the dynamics alone takes 39,000 in `make test-all`.
    if MAPPINGS.exists() and len(MAPPINGS.read_bytes().splitlines()) > 10_000:
        jax.clear_caches()


@pytest.fixture
def as_users():
    """Programs are compiled as users run them, where equal bits depend on what the compiler fuses."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


_kept = {}  # what was compiled and computed of a setup, with the setup itself, so that no other takes its `id`s


@pytest.fixture
def compiled_once(monkeypatch):
    """All runs of one setup share its compiled chunk, telemetry, first state and shapes; else each `train` has its own.

    Setups that differ only in what is measured and drawn are one.
    """
    from ganjax.training import loop, parallel

    plain, chunk, first, shapes = parallel.compiled, loop.compile_chunk, loop.initial_state, loop.state_shapes
    telemetry = loop.telemetry

    def keep(setup, key, make):
        whole = *map(id, (setup.game, setup.dynamics, setup.streams, setup.averages)), *key
        return (_kept.get(whole) or _kept.setdefault(whole, (setup, make())))[1]

    def compile_chunk(move, collate, *, scan, length):
        key = "chunk", scan, length, jax.config.read("jax_disable_most_optimizations")
        with monkeypatch.context() as patch:
            patch.setattr(parallel, "compiled", lambda function: keep(collate.args[0], key, lambda: plain(function)))
            return chunk(move, collate, scan=scan, length=length)

    def initial_state(setup, seed, taken):
        make = lambda: jax.device_get(first(setup, seed, taken))  # noqa: E731
        state = make() if taken else keep(setup, ("first", seed), make)
        return jax.tree.map(np.array, state)  # for a run that is given its buffers

    def measured(setup):
        return keep(setup, ("telemetry", id(setup.telemetry)), lambda: telemetry(setup))

    monkeypatch.setattr(loop, "compile_chunk", compile_chunk)
    monkeypatch.setattr(loop, "telemetry", measured)
    monkeypatch.setattr(loop, "initial_state", initial_state)
    monkeypatch.setattr(loop, "state_shapes", lambda setup: keep(setup, ("shapes",), lambda: shapes(setup)))


def pytest_collection_finish():
    """What has been imported stays: the collector need not go through it again while JAX traces (6 % of the time)."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture(autouse=True)
def _strict():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def float64():
    """Double precision for a closed form."""
    with jax.enable_x64(True):
        yield
