"""The best rate of floating-point operations that the same cores, or the GPU, reach in a large product."""

import time
from collections.abc import Callable

from contender import Settings


def best(run: Callable[[], None], operations: float, *, repetitions: int = 8) -> float:
    """GFLOP/s of the fastest repetition of a function that returns when all is computed, after a warm-up."""
    seconds = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return operations / min(seconds[1:]) / 1e9


def of_jax(settings: Settings) -> dict[str, float]:
    """A matrix product."""
    import os

    os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda"}[settings.device]
    import jax
    import jax.numpy as jnp

    size, repeats = _size(settings)
    x = jnp.ones((size, size), jnp.bfloat16 if settings.precision == "bf16" else jnp.float32) / size
    exact = "float32" if settings.precision == "float32" else "default"
    product = jax.jit(lambda x, y: jnp.matmul(x, y, precision=exact))

    def run() -> None:
        y = x
        for _ in range(repeats):
            y = product(x, y)
        y.block_until_ready()

    return {"jax matrix product": best(run, 2 * size**3 * repeats)}


def of_torch(settings: Settings) -> dict[str, float]:
    """A matrix product and a 3x3 convolution of 64 maps of 32x32x128."""
    import torch

    torch.set_num_threads(settings.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    device = "cuda" if settings.device == "gpu" else "cpu"
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    size, repeats = _size(settings)
    x = torch.ones(size, size, dtype=dtype, device=device) / size
    maps = torch.ones(64, 128, 32, 32, dtype=dtype, device=device).to(memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(128, 128, 3, padding=1, dtype=dtype, device=device).to(memory_format=torch.channels_last)

    def finish(function: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            with torch.inference_mode():
                for _ in range(repeats):
                    function()
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    return {
        "torch matrix product": best(finish(lambda: x @ x), 2 * size**3 * repeats),
        "torch convolution": best(finish(lambda: conv(maps)), 2 * 9 * 128**2 * 64 * 32**2 * repeats),
    }


def _size(settings: Settings) -> tuple[int, int]:
    """Side of the matrices, and products between two looks at the clock."""
    return (8192, 20) if settings.device == "gpu" else (2048, 1)
