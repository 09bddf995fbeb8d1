"""Where the time of an experiment's steps goes: `profile` of its command line, and its trace summarised.

    profiles.py EXPERIMENT --out FOLDER [--smoke]

numbers.json: what `profile` measures, and of the device launches a step, the share of the time in which it computed,
and the kernels that took most of it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SHAPES = {"vanilla_gan": (28, 28, 1)}  # of random images; the others' are CIFAR-10's
LONGEST = 12  # kernels that are named


def busy(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of spans (start, end)."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def summary(trace: Path, steps: int) -> dict[str, Any]:
    """What the device did in a trace of so many steps. On a CPU its threads are the device."""
    from jax.profiler import ProfileData

    planes = [plane for path in trace.rglob("*.xplane.pb") for plane in ProfileData.from_file(str(path)).planes]
    device = [plane for plane in planes if plane.name.startswith("/device:") and plane.name[8:11] in ("GPU", "TPU")]
    lines = [line for plane in device for line in plane.lines if line.name.startswith(("Stream", "XLA Ops"))]
    if not device:
        lines = [line for plane in planes for line in plane.lines if "XLA" in line.name]
    events = [(event.name, event.start_ns, event.duration_ns) for line in lines for event in line.events]
    if not events:
        return {"launches_per_step": None, "why": f"no device events in {[plane.name for plane in planes]}"}
    took, calls = Counter[str](), Counter[str](name for name, _, _ in events)
    for name, _, length in events:
        took[name] += length
    first, last = min(start for _, start, _ in events), max(start + length for _, start, length in events)
    return {
        "launches_per_step": round(len(events) / steps, 1),
        "busy": round(busy((start, start + length) for _, start, length in events) / max(1, last - first), 4),
        "seconds": round((last - first) / 1e9, 6),
        "kernels": [
            {
                "name": name[:120],
                "calls_per_step": round(calls[name] / steps, 2),
                "share": round(t / sum(took.values()), 4),
            }
            for name, t in took.most_common(LONGEST)
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    import numpy as np

    from ganjax.files import write_atomically

    with tempfile.TemporaryDirectory(prefix="ganjax-profiles-") as name:
        folder, numbers = Path(name), args.out / "numbers.json"
        shape = SHAPES.get(args.experiment, (32, 32, 3))
        rng = np.random.default_rng(0)
        images, labels = rng.integers(256, size=(4000, *shape), dtype=np.uint8), np.arange(4000) % 10
        np.savez(folder / "random.npz", x_train=images, y_train=labels)
        command = [sys.executable, ROOT / "experiments" / f"{args.experiment}.py", "profile"]
        command += ["--out", numbers, "--trace", folder / "trace"]
        steps, chunk = (20, 10) if args.smoke else (60, 20)
        command += ["--smoke"] if args.smoke else ["--data", folder / "random.npz"]
        command += ["--steps", steps, "--chunk", chunk, "--sample-every", 10**6, "--checkpoint-every", 10**6]
        code = subprocess.run(list(map(str, command)), cwd=ROOT).returncode
        if code == 0:
            found = json.loads(numbers.read_text())
            found["trace"] = summary(folder / "trace", steps - chunk)
            write_atomically(numbers, json.dumps(found, indent=1) + "\n")
            print(json.dumps(found["trace"], indent=1))
    return code


if __name__ == "__main__":
    sys.exit(main())
