"""Toy games at speed: ganjax against the same written in NumPy and in PyTorch, interleaved on one machine.

    python benchmarks/dynamics.py [--rounds 5] [--size 200] [--steps 2000]

Sequence: 10^6 steps of simultaneous descent-ascent on v(a, b) = ab, one after another, float64. NumPy and Python hold
two scalars; PyTorch differentiates with autograd as a user would write it, and again with the gradient by hand. Both
are timed over fewer steps and scaled.
Phase diagram: consensus on ab, size x size runs of `steps` steps over step size and weight, float64 and float32.
ganjax plays them with `population`, guard and all; NumPy and PyTorch as whole arrays with the update written by hand;
"PyTorch loop" goes through the grid points one by one, timed on one point and scaled. Results are compared before
anything is timed. Times are medians (range) of the rounds after compilation; what the first call took longer, the
compilation, is shown beside for ganjax, which alone compiles.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
import optax

from ganjax.dynamics import consensus, simultaneous
from ganjax.games import bilinear
from ganjax.training import population, simulate

try:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
except ImportError:
    torch = None

SEQUENCE = 1_000_000
ETA = 1e-4  # the norm grows by exp(0.005) in 10^6 steps


def sequences() -> dict[str, tuple[Callable[[int], tuple], int]]:
    """Name -> (play n steps -> (a, b), the steps to time)."""
    players = {player: optax.sgd(ETA) for player in ("a", "b")}

    def play(steps: int):
        params = simulate(bilinear(), simultaneous(players), steps, keep=None)[0].params
        return params["a"], params["b"]

    compiled = jax.jit(play, static_argnums=0)

    def numbers(kind):
        def play(steps: int):
            a, b, eta = kind(1), kind(1), kind(ETA)
            for _ in range(steps):
                a, b = a - eta * b, b + eta * a
            return a, b

        return play

    def autograd(steps: int):
        a, b = (torch.ones((), dtype=torch.float64, requires_grad=True) for _ in "ab")
        optimizer = torch.optim.SGD([a, b], lr=ETA)
        for _ in range(steps):
            value = a * b
            grad_a, grad_b = torch.autograd.grad(value, [a, b])
            a.grad, b.grad = grad_a, -grad_b
            optimizer.step()
        return a.item(), b.item()

    def by_hand(steps: int):
        a, b = torch.ones((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        for _ in range(steps):
            a, b = a - ETA * b, b + ETA * a
        return float(a), float(b)

    table = {
        "ganjax": (lambda n: jax.block_until_ready(compiled(n)), SEQUENCE),
        "Python floats": (numbers(float), SEQUENCE),
        "NumPy scalars": (numbers(np.float64), SEQUENCE // 10),
    }
    if torch is not None:
        table |= {"PyTorch autograd": (autograd, SEQUENCE // 100), "PyTorch by hand": (by_hand, SEQUENCE // 20)}
    return table


def diagrams(etas: np.ndarray, gammas: np.ndarray, steps: int) -> dict[str, tuple[Callable[[], tuple], float]]:
    """Name -> (play the grid -> (a, b), the factor by which its time is scaled)."""

    def run(eta, gamma):
        players = {"a": optax.sgd(eta), "b": optax.sgd(eta)}
        params = simulate(bilinear(), simultaneous(players, adjust=consensus(gamma)), steps, keep=None)[0].params
        return params["a"], params["b"]

    train = population(run)
    eta, gamma = np.meshgrid(etas, gammas, indexing="ij")

    def arrays(one, eta, gamma):
        a, b = one, one
        for _ in range(steps):
            a, b = a - eta * (b + gamma * a), b + eta * (a - gamma * b)
        return a, b

    table = {
        "ganjax population": (lambda: jax.block_until_ready(train(eta=etas, gamma=gammas)), 1.0),
        "NumPy arrays": (lambda: arrays(np.ones_like(eta), eta, gamma), 1.0),
    }
    if torch is not None:
        on_torch = [torch.from_numpy(x.copy()) for x in (eta, gamma)]
        point = [torch.tensor(float(x), dtype=on_torch[0].dtype) for x in (etas[0], gammas[0])]
        ones = torch.ones_like(on_torch[0])
        table |= {
            "PyTorch arrays": (lambda: tuple(np.asarray(x) for x in arrays(ones, *on_torch)), 1.0),
            "PyTorch loop": (lambda: arrays(torch.ones((), dtype=point[0].dtype), *point), float(eta.size)),
        }
    return table


def timed(play: Callable[[], object], scale: float) -> float:
    began = time.perf_counter()
    play()
    return (time.perf_counter() - began) * scale


def report(title: str, contenders: dict[str, tuple[Callable[[], object], float]], rounds: int) -> None:
    """Interleaved rounds and one line per contender."""
    first = {name: timed(play, scale) for name, (play, scale) in contenders.items()}
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (play, scale) in contenders.items():
            times[name].append(timed(play, scale))
    ganjax = next(iter(contenders))
    base = statistics.median(times[ganjax])
    print(f"\n{title}\n{'':20} {'seconds':>10} {'range':>21} {'time / ganjax':>14} {'compilation':>12}")
    for name, values in times.items():
        middle = statistics.median(values)
        spread = f"{min(values):.4f} to {max(values):.4f}"
        compilation = f"{first[name] - middle:.3f}" if name == ganjax else ""
        print(f"{name:20} {middle:10.4f} {spread:>21} {middle / base:14.2f} {compilation:>12}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=200, help="runs per side of the phase diagram")
    parser.add_argument("--steps", type=int, default=2000, help="of each run")
    options = parser.parse_args()
    if torch is None:
        print("PyTorch is not installed: its lines are left out (pip install -e .[benchmark])")
    with jax.enable_x64(True):
        plays = sequences()
        expected = (1 + 1j) * (1 + 1j * ETA) ** 10_000
        for name, (play, _) in plays.items():
            np.testing.assert_allclose(complex(*map(float, play(10_000))), expected, rtol=1e-9, err_msg=name)
        contenders = {name: (lambda p=p, n=n: p(n), SEQUENCE / n) for name, (p, n) in plays.items()}
        report(f"{SEQUENCE:,} sequential steps on ab, float64", contenders, options.rounds)
    for dtype in (np.float64, np.float32):
        with jax.enable_x64(dtype == np.float64):
            # Inside the boundary of convergence or near it, so that nobody computes with infinities.
            etas = np.linspace(0.01, 0.5, options.size, dtype=dtype)
            gammas = np.linspace(0.3, 2.0, options.size, dtype=dtype)
            short = {name: play() for name, (play, _) in diagrams(etas, gammas, 20).items()}
            for name, result in short.items():
                reference = np.asarray(short["NumPy arrays"])
                if name == "PyTorch loop":  # plays the first point
                    reference = reference[:, 0, 0]
                tolerance = 1e-12 if dtype == np.float64 else 1e-5
                np.testing.assert_allclose(np.asarray(result), reference, rtol=tolerance, atol=tolerance, err_msg=name)
            title = f"{options.size} x {options.size} runs of {options.steps:,} steps, {np.dtype(dtype).name}"
            report(title, diagrams(etas, gammas, options.steps), options.rounds)


if __name__ == "__main__":
    main()
