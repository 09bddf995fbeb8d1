"""Where the time of a step goes, by kind of operation: workloads of `speed.py` as they train, traced.

    python benchmarks/operations.py mlp28 wgangp_mlp dcgan28 sngan32_s [--seconds 4]

Milliseconds of a step by kind, as XLA names what it runs: products (of matrices and convolutions, with what is fused
into them), copies (copies and transpositions by themselves), and the rest, which is element-wise work, reductions and
random numbers. Where two cores run operations at once each counts in full, so `busy`, the time in which any of them
runs, is less than their sum. What `busy` lacks of `traced`, the step while it is traced, passes unseen: gaps between
operations, and on a CPU the convolutions that XLA leaves to Eigen's threads, by far the most of it in a network of
them. `untraced` is the step as it is without. Needs no PyTorch. On a GPU `scripts/accelerator/profiles.py` does this.
"""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax
import ours
from jax.profiler import ProfileData
from tqdm import tqdm
from workloads import STYLES, TRANSLATION, WORKLOADS, Settings, Workload, data_file

sys.path.insert(0, str(ours.ROOT / "scripts" / "accelerator"))
from profiles import busy

KINDS = {  # the first that an operation's name fits
    "products": re.compile(r"dot|conv(?!ert)|gemm|ynn|matmul"),
    "copies": re.compile(r"copy|transpose"),
    "rest": re.compile(""),
}
CONTAINERS = re.compile(r"while|call|conditional")  # whose operations are events too
NAMED = 8  # operations that are named


def operations(trace: Path) -> list[tuple[str, float, float]]:
    """(name, start, seconds) of every operation in a trace of a CPU's threads."""
    found = []
    for path in trace.rglob("*.xplane.pb"):
        for plane in ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                for event in line.events:
                    if "hlo_op" in dict(event.stats) and not CONTAINERS.match(event.name):
                        found.append((event.name, event.start_ns / 1e9, event.duration_ns / 1e9))
    return found


def measure(workload: Workload, seconds: float) -> dict[str, float]:
    """Seconds of a step: untraced, traced, busy, of each kind, and of the longest operations by name."""
    with tempfile.TemporaryDirectory(prefix="ganjax-operations-") as folder:
        data = data_file(workload, Path(folder))
        run = ours.create(workload, Settings(0, "cpu", "float32", data)).run
        run(2)
        steps = max(1, round(seconds / min(_seconds(run, 2) / 2 for _ in range(3))))
        untraced = _seconds(run, steps) / steps
        with jax.profiler.trace(folder):
            traced = _seconds(run, steps) / steps
        found = operations(Path(folder))
    took, kinds = Counter[str](), Counter[str](dict.fromkeys(KINDS, 0))
    for name, _, length in found:
        took[name] += length / steps
        kinds[next(kind for kind, pattern in KINDS.items() if pattern.search(name))] += length / steps
    union = busy((start, start + length) for _, start, length in found) / steps
    return {"untraced": untraced, "traced": traced, "busy": union, **kinds, **dict(took.most_common(NAMED))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = WORKLOADS | TRANSLATION | STYLES
    names = [name for name, workload in known.items() if not workload.sample]
    parser.add_argument("workloads", nargs="+", choices=names, metavar="WORKLOAD", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=4, help="about how long each is traced (default 4)")
    args = parser.parse_args()
    columns = ("untraced", "traced", "busy", *KINDS)
    print(f"| workload | {' | '.join(columns)} | longest operations, ms |\n|{'---|' * (len(columns) + 2)}")
    for name in tqdm(args.workloads, file=sys.stderr):
        step = {part: f"{1e3 * seconds:.2f}" for part, seconds in measure(known[name], args.seconds).items()}
        longest = ", ".join(f"{part} {ms}" for part, ms in step.items() if part not in columns)
        tqdm.write(f"| {name} | {' | '.join(step[part] for part in columns)} | {longest} |")


def _seconds(run: Callable[[int], float], steps: int) -> float:
    start = time.perf_counter()
    run(steps)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
