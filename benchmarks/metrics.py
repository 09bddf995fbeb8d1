"""Frechet distance: ganjax against the same from numpy.cov and scipy.linalg.sqrtm, interleaved on one machine.

    python benchmarks/metrics.py [--rounds 3] [--count 50000] [--features 2048]

Moments of two sets of float32 features, one after the other, and the distance of these. "sqrtm" computes as pytorch-fid
does from features in memory: numpy.mean and numpy.cov of each set, the matrix square root of the product of the
covariances. pytorch-fid itself gathers its features in float64, which is not held against it here. Every run is a
process of its own, whose peak memory is what the system reports of it; "features" is a process that makes the features
and does nothing else, and its peak is taken off. Times are medians (range) without imports and without making the
features; beside them what the processors spent on it in all threads, which other work on the machine changes less. The
distances are compared.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np


def features(count: int, width: int, seed: int) -> np.ndarray:
    """[count, width] float32, non-negative and correlated, with a spectrum that decays."""
    mixing = np.random.default_rng(0).standard_normal((width, width), np.float32)
    mixing /= np.arange(1, width + 1, dtype=np.float32)[:, None]
    rng, x = np.random.default_rng(seed), np.empty((count, width), np.float32)
    for start in range(0, count, 1024):
        block = rng.standard_normal((min(1024, count - start), width), np.float32) @ mixing
        x[start : start + 1024] = np.abs(block + 0.02 * seed)
    return x


def ganjax() -> tuple[Callable, Callable]:
    import scipy.linalg.blas
    import scipy.linalg.lapack  # noqa: F401  (not to be timed)

    from ganjax.metrics import frechet_distance, moments

    return moments, frechet_distance


def sqrtm() -> tuple[Callable, Callable]:
    from scipy import linalg

    def moments(x: np.ndarray):
        return np.mean(x, axis=0, dtype=np.float64), np.cov(x, rowvar=False)

    def distance(a, b) -> float:
        root = linalg.sqrtm(a[1] @ b[1])
        gap = a[0] - b[0]
        return float(gap @ gap + np.trace(a[1]) + np.trace(b[1]) - 2 * np.trace(root).real)

    return moments, distance


def nothing() -> tuple[Callable, Callable]:
    return lambda x: None, lambda a, b: 0.0


CONTENDERS = {"ganjax": ganjax, "sqrtm": sqrtm, "features": nothing}


def play(contender: str, count: int, width: int) -> dict[str, float]:
    """In this process: seconds of the moments and of the distance, and the peak in bytes."""
    moments, distance = CONTENDERS[contender]()
    spent, found = {"moments": 0.0, "distance": 0.0, "processors": 0.0}, []

    def timed(part: str, function: Callable, *args):
        began, processors = time.perf_counter(), time.process_time()
        result = function(*args)
        spent[part] += time.perf_counter() - began
        spent["processors"] += time.process_time() - processors
        return result

    for seed in (1, 2):
        found.append(timed("moments", moments, features(count, width, seed)))
    value = timed("distance", distance, *found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
    return spent | {"value": value, "peak": peak}


def report(rounds: list[dict[str, dict[str, float]]]) -> None:
    np.testing.assert_allclose(*([r[name]["value"] for r in rounds] for name in ("ganjax", "sqrtm")), rtol=1e-6)
    columns = ("moments", "distance", "processors", "peak MB", "beyond MB")
    print(f"{'':10} {'seconds':>9} {'range':>18} " + " ".join(f"{c:>10}" for c in columns) + f" {'found':>14}")
    table = {}
    for name in ("ganjax", "sqrtm"):
        runs = [r[name] for r in rounds]
        total = [run["moments"] + run["distance"] for run in runs]
        beyond = [(r[name]["peak"] - r["features"]["peak"]) / 1e6 for r in rounds]
        middle = [
            statistics.median(run[part] for run in runs) for part in ("moments", "distance", "processors", "peak")
        ]
        table[name] = [statistics.median(total), *middle[:3], middle[3] / 1e6, statistics.median(beyond)]
        spread = f"{min(total):.2f} to {max(total):.2f}"
        cells = " ".join(f"{x:10.2f}" for x in table[name][1:4]) + " " + " ".join(f"{x:10.0f}" for x in table[name][4:])
        print(f"{name:10} {table[name][0]:9.2f} {spread:>18} {cells} {runs[0]['value']:14.7f}")
    for what, column in (("seconds", 0), ("processor seconds", 3), ("peak", 4), ("peak beyond the features", 5)):
        print(f"{what}, sqrtm / ganjax: {table['sqrtm'][column] / table['ganjax'][column]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=50_000, help="examples of each set")
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--play", choices=CONTENDERS, help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.play:
        print(json.dumps(play(options.play, options.count, options.features)))
        return
    print(f"{options.count:,} x {options.features:,} float32, two sets, {options.rounds} rounds")
    size = ["--count", str(options.count), "--features", str(options.features)]

    def child(name: str) -> dict[str, float]:
        command = [sys.executable, __file__, "--play", name, *size]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    report([{name: child(name) for name in CONTENDERS} for _ in range(options.rounds)])


if __name__ == "__main__":
    main()
