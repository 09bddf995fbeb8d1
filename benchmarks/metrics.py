"""Frechet distance: ganjax against the same from numpy.cov and scipy.linalg.sqrtm, interleaved on one machine.

    python benchmarks/metrics.py [--rounds 3] [--count 50000] [--features 2048]

Moments of two sets of float32 features, one after the other, and the distance of these. "sqrtm" computes as pytorch-fid
does from features in memory: numpy.mean and numpy.cov of each set, the matrix square root of the product of the
covariances. pytorch-fid itself gathers its features in float64, which is not held against it here. Every run is a
process of its own, whose peak memory is what the system reports of it; "features" is a process that makes the features
and does nothing else, and its peak is taken off. Times are medians (range) without imports and without making the
features; the distances are compared.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np


def features(count: int, width: int) -> Iterator[np.ndarray]:
    """Two sets [count, width] float32, non-negative and correlated, with a spectrum that decays."""
    mixing = np.random.default_rng(0).normal(size=(width, width)).astype(np.float32) / np.arange(1, width + 1)[:, None]
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        x = np.empty((count, width), np.float32)
        for start in range(0, count, 1024):
            block = rng.standard_normal((min(1024, count - start), width), np.float32) @ mixing.astype(np.float32)
            x[start : start + 1024] = np.abs(block + 0.02 * seed)
        yield x


def ganjax() -> tuple[Callable, Callable]:
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
    seconds, found = 0.0, []
    for x in features(count, width):
        began = time.perf_counter()
        found.append(moments(x))
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    value = distance(*found)
    last = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
    return {"moments": seconds, "distance": last, "value": value, "peak": peak}


def report(rounds: list[dict[str, dict[str, float]]]) -> None:
    np.testing.assert_allclose(*([r[name]["value"] for r in rounds] for name in ("ganjax", "sqrtm")), rtol=1e-6)
    print(f"{'':10} {'seconds':>9} {'range':>18} {'moments':>9} {'distance':>9} {'peak MB':>9} {'distance found':>15}")
    seconds, peaks = {}, {}
    for name in ("ganjax", "sqrtm"):
        runs = [r[name] for r in rounds]
        total = [run["moments"] + run["distance"] for run in runs]
        seconds[name] = statistics.median(total)
        peaks[name] = statistics.median(r[name]["peak"] - r["features"]["peak"] for r in rounds)
        parts = (statistics.median(run[part] for run in runs) for part in ("moments", "distance"))
        spread = f"{min(total):.2f} to {max(total):.2f}"
        print(f"{name:10} {seconds[name]:9.2f} {spread:>18} " + " ".join(f"{part:9.2f}" for part in parts), end=" ")
        print(f"{statistics.median(run['peak'] for run in runs) / 1e6:9.0f} {runs[0]['value']:15.8f}")
    print(f"features alone: {statistics.median(r['features']['peak'] for r in rounds) / 1e6:.0f} MB")
    print(f"time of sqrtm / ganjax: {seconds['sqrtm'] / seconds['ganjax']:.2f}")
    whole = {name: statistics.median(r[name]["peak"] for r in rounds) for name in ("ganjax", "sqrtm")}
    print(f"peak of ganjax / sqrtm: {whole['ganjax'] / whole['sqrtm']:.2f}", end=", ")
    print(f"beyond the features {peaks['ganjax'] / peaks['sqrtm']:.2f}")


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
