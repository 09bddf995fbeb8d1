"""The environment of child processes: several devices of one processor, cheaply compiled programs."""

import os
from importlib.metadata import version

# The older emitters compile faster; since 0.11 there are none, and the flag itself ends a process.
_NEW = [int(part) for part in version("jaxlib").split(".")[:2]] >= [0, 11]
OLDER = {} if _NEW else {"xla_cpu_use_fusion_emitters": False}
# As tests/conftest.py compiles. It hands these on to the children of `make test`, not to those of `make test-all`.
CHEAPLY = " ".join(
    [
        *(f"--{name}={str(value).lower()}" for name, value in OLDER.items()),
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    ]
)


def with_devices(count: int, flags: str = "") -> dict[str, str]:
    """This environment, with so many devices and these flags for XLA beside those that are there."""
    known = os.environ.get("XLA_FLAGS", "")
    return os.environ | {"XLA_FLAGS": f"{known} --xla_force_host_platform_device_count={count} {flags}".strip()}
