"""Where the time of a run goes: its own loop, measured part by part, against what the machine can do at best."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from jax import monitoring

from ganjax.core import Array
from ganjax.training import Schedule, Setup, train
from ganjax.training.flops import flops, step_flops
from ganjax.training.judging import Judge
from ganjax.training.loop import Observe

PARTS = (
    "start",
    "trace",
    "compile",
    "input",
    "step",
    "metrics",
    "checkpoint",
    "sampling",
    "telemetry",
    "judge",
    "other",
)
_COMPILATION = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "trace",
    "/jax/core/compile/backend_compile_duration": "compile",
}
_CACHED = "/jax/compilation_cache/cache_hits"
RATE_SECONDS = 0.25  # to measure one kind of product in


class Clock:
    """Seconds and calls of each part of a loop; every second is that of one part.

    A part that is called within another stops the clock of the other. What JAX says that it traced and compiled, in
    whatever part, is taken off that part and counted as "trace" and "compile".
    """

    def __init__(self, trace: Path | None = None):
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.calls = dict.fromkeys(PARTS, 0)
        self.chunks: list[tuple[int, float]] = []  # steps and seconds of each call of "step" that compiled nothing
        self.total = 0.0  # seconds
        self.cached = 0  # programs that came from the compilation cache
        self._trace, self._tracing = trace, False
        self._stack, self._since, self._spans = ["start"], time.perf_counter(), list[tuple[float, float]]()

    def __call__(self, part: str, function: Callable) -> Callable:
        """The function, measured: its results are waited for."""

        def measured(*args: Any, **kwargs: Any) -> Any:
            self._charge()
            if part == "input":
                self._stack[0] = "other"  # the loop has begun
            self._stack.append(part)
            compiled, began = len(self._spans), time.perf_counter()
            try:
                return jax.block_until_ready(function(*args, **kwargs))
            finally:
                self._charge()
                self._stack.pop()
                self.calls[part] += 1
                if part == "step":
                    if compiled == len(self._spans):
                        self.chunks.append((args[-1], time.perf_counter() - began))
                    if self._trace and not self._tracing:  # the programs are there: what comes now is typical
                        jax.profiler.start_trace(str(self._trace))
                        self._tracing = True

        return measured

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listen to JAX from here to the end of the block, where the clock stops."""
        thread = threading.get_ident()

        def took(event: str, duration_secs: float, **_: Any) -> None:
            if event in _COMPILATION and threading.get_ident() == thread:
                self._move(_COMPILATION[event], duration_secs)

        def happened(event: str, **_: Any) -> None:
            self.cached += event == _CACHED

        monitoring.register_event_duration_secs_listener(took)
        monitoring.register_event_listener(happened)
        self._since = began = time.perf_counter()
        try:
            yield
        finally:
            self._charge()
            self.total = self._since - began
            monitoring.unregister_event_duration_listener(took)
            monitoring.unregister_event_listener(happened)
            if self._tracing:  # which takes seconds that are no part of the run
                jax.profiler.stop_trace()

    def _charge(self) -> None:
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def _move(self, part: str, seconds: float) -> None:
        """What has just taken so long was no work of the part that is on; of what lies within it, it was counted."""
        now = time.perf_counter()
        within = sum(b - a for a, b in self._spans if a >= now - seconds)
        self._spans.append((now - seconds, now - within))  # as long as what is new of it
        self.seconds[self._stack[-1]] -= seconds - within
        self.seconds[part] += seconds - within
        self.calls[part] += 1


def measure(
    setup: Setup,
    workdir: Path,
    *,
    seed: int,
    schedule: Schedule,
    observe: Observe | None = None,
    judge: Judge | None = None,
    trace: Path | None = None,
    rates: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Train as `train` does and measure it. The device is waited for after every chunk, which training never does.

    Args:
        setup: what to train.
        workdir: the run directory; the run is a whole one.
        seed: as in `train`.
        schedule: as in `train`.
        observe: as in `train`.
        judge: as in `train`.
        trace: a folder for a trace of `jax.profiler`, from the second chunk on.
        rates: what the machine can do, as `measured_rates` says; measured if not given.

    Returns:
        JSON values: "parts" (seconds and calls), "total_seconds", "step_seconds" (the median over chunks), examples,
        FLOPs and FLOP/s of a step, "rates", "utilisation" (of the best rate of each dtype), "memory".
    """
    clock = Clock(trace)
    with clock.running():
        train(
            setup,
            workdir,
            seed=seed,
            schedule=schedule,
            observe=observe,
            judge=judge,
            progress=False,
            timed=clock,
        )
    step = median(seconds / steps for steps, seconds in clock.chunks) if clock.chunks else None
    work, rates = step_flops(setup), measured_rates() if rates is None else rates
    devices = jax.device_count()
    return {
        "device": jax.devices()[0].device_kind,
        "devices": devices,
        "jax": jax.__version__,
        "steps": schedule.steps,
        "parts": {
            part: {"seconds": clock.seconds[part], "calls": clock.calls[part]}
            for part in PARTS
            if clock.calls[part] or part in ("start", "other")
        },
        "total_seconds": clock.total,
        "programs_from_cache": clock.cached,
        "step_seconds": step,
        "examples_per_step": setup.examples,
        "examples_per_second": step and setup.examples / step,
        "flops_per_step": work,
        "flops_per_second": step and work / step,
        "rates": dict(rates),
        "utilisation": {dtype: step and work / step / (devices * best) for dtype, best in best_rates(rates).items()},
        "memory": _memory(),
    }


def measured_rates(seconds: float = RATE_SECONDS) -> dict[str, float]:
    """FLOP/s that one device reaches, at best over several sizes.

    Args:
        seconds: to spend on each kind, about; sizes grow until one call takes a sixth of it.

    Returns:
        Keyed by kind and dtype, such as "matmul float32": of square matrices; "convolution float32": 3x3 over 64 maps
        of 32x32, as many channels out as in. Products of float32 are what JAX makes of them by default, which is a
        narrower format on some accelerators.
    """
    rates = {}
    for dtype in ("float32", "bfloat16"):
        for kind, (sizes, shapes, product) in _PRODUCTS.items():
            best = 0.0
            for size in sizes:
                a, b = (jnp.ones(shape, dtype) for shape in shapes(size))
                compiled = jax.jit(product).lower(a, b).compile()
                once = min(_seconds(compiled, a, b, calls=1) for _ in range(2))
                calls = max(1, int(seconds / (3 * len(sizes)) / once))
                once = min(once, *(_seconds(compiled, a, b, calls=calls) for _ in range(2)))
                best = max(best, flops(product, a, b) / once)
                if once > seconds / 6:
                    break
            rates[f"{kind} {dtype}"] = best
    return rates


def _seconds(function: Callable, *args: Array, calls: int) -> float:
    """Seconds of one of so many calls that are in the queue together."""
    began = time.perf_counter()
    jax.block_until_ready([function(*args) for _ in range(calls)])
    return (time.perf_counter() - began) / calls


def best_rates(rates: Mapping[str, float]) -> dict[str, float]:
    """The highest rate of each dtype."""
    dtypes = dict.fromkeys(name.split()[1] for name in rates)
    return {dtype: max(rate for name, rate in rates.items() if name.endswith(dtype)) for dtype in dtypes}


def _convolve(x: Array, w: Array) -> Array:
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


_PRODUCTS: dict[str, Any] = {  # sizes, shapes of both factors, product
    "matmul": ((512, 1024, 2048, 4096, 8192), lambda n: ((n, n), (n, n)), jnp.matmul),
    "convolution": ((64, 128, 256, 512), lambda c: ((64, 32, 32, c), (3, 3, c, c)), _convolve),
}


def _memory() -> dict[str, int]:
    """Bytes in use on the first device, now and at most, where the backend says it."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return {name: stats[name] for name in ("bytes_in_use", "peak_bytes_in_use", "bytes_limit") if name in stats}


def table(profile: Mapping[str, Any]) -> list[str]:
    """A profile as lines."""
    total, parts = profile["total_seconds"], profile["parts"]
    lines = [f"{'part':<12}{'calls':>7}{'seconds':>10}{'percent':>9}{'ms/call':>10}"]
    for part, one in parts.items():
        each = f"{1e3 * one['seconds'] / one['calls']:.2f}" if one["calls"] else "-"
        lines.append(
            f"{part:<12}{one['calls'] or '-':>7}{one['seconds']:>10.3f}{100 * one['seconds'] / total:>9.1f}{each:>10}"
        )
    lines += [f"{'total':<12}{'':>7}{total:>10.3f}{100:>9.1f}", ""]
    lines.append(f"{profile['programs_from_cache']} programs came from the compilation cache")
    if profile["step_seconds"]:
        lines.append(
            f"one step: {1e3 * profile['step_seconds']:.2f} ms, {profile['examples_per_step']} examples "
            f"({profile['examples_per_second']:,.0f} a second), {profile['flops_per_step'] / 1e9:.3f} GFLOP "
            f"({profile['flops_per_second'] / 1e9:,.1f} GFLOP/s)"
        )
    else:
        lines.append(
            f"one step: {profile['flops_per_step'] / 1e9:.3f} GFLOP; the only chunk compiled, take more --steps"
        )
    rates = ", ".join(f"{name} {rate / 1e9:,.1f}" for name, rate in profile["rates"].items())
    lines.append(f"{profile['devices']} x {profile['device']}, each at best, GFLOP/s: {rates}")
    lines += [
        f"utilisation: {100 * share:.1f} % of the best {dtype} rate"
        for dtype, share in profile["utilisation"].items()
        if share
    ]
    if profile["memory"]:
        lines.append(", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in profile["memory"].items()))
    return lines
