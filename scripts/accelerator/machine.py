"""What the machine is and what it reaches: device, versions, best rates of products. Writes numbers.json."""

import argparse
import contextlib
import datetime
import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch")


def versions() -> dict[str, str]:
    """Of what results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def device() -> str:
    """The accelerator's name, or the processor's."""
    import os

    import jax

    if jax.default_backend() != "cpu":
        return jax.devices()[0].device_kind
    from speed import processor

    return processor(len(os.sched_getaffinity(0)))


def driver() -> str | None:
    """What nvidia-smi says of it."""
    ask = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=0.25, help="for each kind of product")
    parser.add_argument("--accelerator", action="store_true", help="fail where JAX finds none")
    args = parser.parse_args()
    import jax

    if args.accelerator and jax.default_backend() == "cpu":
        sys.exit("JAX finds no accelerator here, but only the CPU; rehearse on a CPU by --dry")
    found = {
        "device": device(),
        "backend": jax.default_backend(),
        "devices": jax.device_count(),
        "driver": driver(),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
    }
    from ganjax.files import write_atomically
    from ganjax.profile import measured_rates

    path = args.out / "numbers.json"
    write_atomically(path, json.dumps(found, indent=1) + "\n")
    write_atomically(path, json.dumps(found | {"flops_per_second": measured_rates(args.seconds)}, indent=1) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
