"""Training speed of ganjax and of PyTorch: the same networks and the same work per step, interleaved in one run.

    python benchmarks/speed.py --rounds 5 --seconds 4 --workloads mlp28 dcgan28

Each contender lives in a process of its own, which idles while the others are measured. README.md, beside this file,
says what a step is and what the columns mean.
"""

import argparse
import contextlib
import importlib
import json
import math
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from tqdm import tqdm

# Nothing heavy is imported here: a child's peak memory starts from its parent's.
ROOT = Path(__file__).resolve().parent.parent
# The experiment, and what must not follow its defaults because `peer.py` has it too.
WORKLOADS = {"mlp28": ("vanilla_gan", {"batch_size": 64}), "dcgan28": ("dcgan", {"batch_size": 64, "width": 64})}
_PENALISED = {"batch_size": 64, "width": 64, "discriminator_norm": "none", "penalty_weight": 10.0}
# Second-order terms, which objectives.py measures.
OBJECTIVES = {
    "wgan_gp28": (
        "dcgan",
        {**_PENALISED, "loss": "wasserstein", "penalty": "gradient_penalty", "discriminator_turns": 5},
    ),
    "r1_28": ("dcgan", {**_PENALISED, "penalty": "r1"}),
}
CONTENDERS = ("ganjax", "torch eager", "torch tuned", "torch compiled")


def create_ganjax(workload: str) -> tuple[dict[str, int], Callable[[int], float]]:
    """The experiment as its command line builds it, through the loop's own compiled chunk.

    Returns:
        The number of parameters of each player, and `run(steps) -> the discriminator's last cost`.
    """
    sys.path.insert(0, str(ROOT / "experiments"))
    module, fixed = (WORKLOADS | OBJECTIVES)[workload]
    experiment = importlib.import_module(module).EXPERIMENT
    config = replace(experiment.config, **fixed)
    from ganjax import launch

    launch._prepare_jax()
    import jax

    from ganjax.training import loop, parallel
    from ganjax.training import setup as training
    from ganjax.training.chunk import compile_chunk, per_step
    from ganjax.training.step import train_step

    setup, length = launch._setup(experiment, config), config.chunk
    keys, order = training.Keys.of(0), training.order(setup, 0)
    state = jax.device_get(training.initial_state(setup, keys.init))
    parameters = {player: sum(leaf.size for leaf in jax.tree.leaves(params)) for player, params in state.params.items()}
    step = train_step(setup.game, setup.dynamics, setup.averages, axis_name=parallel.axis_name())
    program = compile_chunk(step, scan=setup.scan, length=length)
    data, state = parallel.replicate(training.arrays(setup)), parallel.replicate(state)
    taken = 0

    def run(steps: int) -> float:
        nonlocal state, taken
        end, pending = taken + steps, None
        while taken < end:
            count = min(length, end - taken)
            positions = parallel.deal(loop._padded(order(taken, count), length))
            state, metrics = program(state, data, positions, keys.steps, count)
            if pending is not None:
                per_step(*pending)
            pending, taken = (metrics, count), taken + count
        jax.block_until_ready(state)
        return float(per_step(*pending)[-1]["discriminator/cost"])

    return parameters, run


def serve(connection: Connection, workload: str, contender: str, threads: int) -> None:
    """A child's life: build, take the first step, then as many as it is told, until it is told None."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    try:
        if contender == "ganjax":
            parameters, run = create_ganjax(workload)
        else:
            import peer

            parameters, run = peer.create(workload, contender.removeprefix("torch "), threads)
        run(1)
        connection.send(parameters)
        while (steps := connection.recv()) is not None:
            start = time.perf_counter()
            cost = run(steps)
            elapsed = time.perf_counter() - start
            connection.send((elapsed, cost, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    except Exception as error:
        connection.send(RuntimeError(f"{type(error).__name__}: {error}"))


class Contender:
    """The parent's end of a child."""

    def __init__(self, workload: str, name: str, threads: int):
        """Start the child and wait for its first step."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        start = time.perf_counter()
        self._process = context.Process(target=serve, args=(theirs, workload, name, threads))
        self._process.start()
        theirs.close()
        self.name, self.rates, self.megabytes, self._per_step = name, [], math.nan, math.nan
        try:
            self.parameters = self._receive()
        except BaseException:
            self._process.join()
            raise
        self.first_step = time.perf_counter() - start

    def _receive(self):
        try:
            answer = self._connection.recv()
        except EOFError:
            raise RuntimeError(f"the process of {self.name} ended without a result") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _run(self, steps: int) -> float:
        self._connection.send(steps)
        elapsed, cost, self.megabytes = self._receive()
        if not math.isfinite(cost):
            raise RuntimeError(f"{self.name}: the discriminator's cost is {cost}")
        self._per_step = elapsed / steps
        return elapsed

    def warm_up(self, seconds: float) -> None:
        """Double the number of steps until they take a quarter of a round."""
        steps = 1
        while self._run(steps) < seconds / 4:
            steps *= 2

    def measure(self, seconds: float) -> None:
        """One round."""
        steps = max(1, round(seconds / self._per_step))
        self.rates.append(steps / self._run(steps))

    def stop(self) -> None:
        """End the child."""
        with contextlib.suppress(BrokenPipeError):
            self._connection.send(None)
        self._process.join()


def start(workload: str, name: str, threads: int, caches: Path) -> tuple[Contender, dict[str, float]]:
    """Start a contender twice: with an empty compilation cache, and with what the first start left there."""
    for variable in ("JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        os.environ[variable] = str(caches / workload / variable)
    cold = Contender(workload, name, threads)
    cold.stop()
    warm = Contender(workload, name, threads)
    return warm, {"cold": cold.first_step, "warm": warm.first_step}


def compare(workload: str, rounds: int, seconds: float, threads: int, caches: Path) -> list[dict]:
    """Measure all contenders of a workload in turns; one record for each."""
    contenders, startup = [], {}
    bar = tqdm(total=len(CONTENDERS) * (2 + rounds), desc=workload, file=sys.stderr, dynamic_ncols=True)
    try:
        for name in CONTENDERS:
            bar.set_postfix_str(f"start {name}")
            try:
                contender, startup[name] = start(workload, name, threads, caches)
            except RuntimeError as error:
                if name != "torch compiled":
                    raise
                tqdm.write(f"{workload}: {name} is left out: {str(error).splitlines()[0]}", file=sys.stderr)
                continue
            finally:
                bar.update()
            contenders.append(contender)
            if contender.parameters != contenders[0].parameters:
                raise RuntimeError(f"the networks differ: {[(c.name, c.parameters) for c in contenders]}")
        for contender in contenders:
            bar.set_postfix_str(f"warm up {contender.name}")
            contender.warm_up(seconds)
            bar.update()
        for i in range(rounds):
            for contender in contenders:
                bar.set_postfix_str(f"round {i + 1} {contender.name}")
                contender.measure(seconds)
                bar.update()
    finally:
        for contender in contenders:
            contender.stop()
        bar.close()
    return [
        {
            "workload": workload,
            "contender": c.name,
            "parameters": c.parameters,
            "steps_per_second": c.rates,
            "time_of_ganjax": median(a / b for a, b in zip(contenders[0].rates, c.rates, strict=True)),
            "megabytes": c.megabytes,
            "first_step": startup[c.name],
        }
        for c in contenders
    ]


def table(records: list[dict]) -> str:
    """The records in Markdown."""
    lines = [
        "| workload | contender | steps/s, median (range) | time / ganjax's | peak MB | first step, cold / warm s |",
        "|---|---|---|---|---|---|",
    ]
    for r in records:
        rates, begin = r["steps_per_second"], r["first_step"]
        lines.append(
            f"| {r['workload']} | {r['contender']} | {median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f}) | "
            f"{r['time_of_ganjax']:.2f} | {r['megabytes']:.0f} | {begin['cold']:.1f} / {begin['warm']:.1f} |"
        )
    return "\n".join(lines)


def main(workloads: tuple[str, ...] = tuple(WORKLOADS), doc: str = __doc__) -> None:
    """Measure what the command line asks for, out of these workloads."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=doc.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that every contender is measured (default 5)")
    parser.add_argument("--seconds", type=float, default=4, help="length of one measurement (default 4)")
    parser.add_argument("--workloads", nargs="+", choices=workloads, default=list(workloads))
    parser.add_argument("--threads", type=int, default=cores, help="cores that a contender may use (default: all)")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    args = parser.parse_args()
    if find_spec("torch") is None:
        print(
            "error: PyTorch, the peer, is not installed; install it with pip install -e .[benchmark]", file=sys.stderr
        )
        sys.exit(2)
    if not 1 <= args.threads <= cores or args.rounds < 1 or args.seconds <= 0:
        parser.error(f"--threads must be 1 to {cores}, --rounds at least 1 and --seconds positive")
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    records = []
    with tempfile.TemporaryDirectory() as caches:
        for workload in args.workloads:
            records += compare(workload, args.rounds, args.seconds, args.threads, Path(caches))
    versions = {name: version(name) for name in ("jax", "jaxlib", "flax", "torch")}
    print(", ".join(f"{name} {number}" for name, number in versions.items()), f"; threads: {args.threads}", sep="")
    for workload in args.workloads:
        counts = next(r["parameters"] for r in records if r["workload"] == workload)
        print(f"{workload}: " + ", ".join(f"{player} {n:,} parameters" for player, n in counts.items()))
    print("\n" + table(records))
    if args.json:
        args.json.write_text(json.dumps({"versions": versions, "threads": args.threads, "runs": records}, indent=2))


if __name__ == "__main__":
    main()
