"""The ganjax side of `speed.py`: the experiment as its command line builds it, run by what `train` and `sample` run."""

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

from workloads import SAMPLES, Child, Settings, Workload

from ganjax.commands import base

ROOT = Path(__file__).resolve().parent.parent


def build(workload: Workload, data: Path, precision: str = "float32"):
    """`(setup, config)` of the experiment with the workload's numbers."""
    if str(ROOT / "experiments") not in sys.path:
        sys.path.insert(0, str(ROOT / "experiments"))
    experiment = importlib.import_module(workload.experiment).EXPERIMENT
    options = workload.config(data)
    if precision != "float32":
        if "precision" not in {field.name for field in fields(experiment.config)}:
            raise RuntimeError(f"experiments/{workload.experiment}.py has no option precision; leave --precision out")
        options["precision"] = "bfloat16"
    config = replace(experiment.config, **options)
    return base.setup_of(experiment, config), config


def create(workload: Workload, settings: Settings) -> Child:
    """The workload through what `train` and `sample` run."""
    os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda"}[settings.device]
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the others live on the same GPU
    base.prepare_jax()
    setup, config = build(workload, settings.data, settings.precision)
    import jax

    from ganjax.training import setup as training

    if settings.device == "gpu":
        jax.config.update("jax_default_matmul_precision", "float32")  # no TF32, as in PyTorch
    keys = training.Keys.of(0)
    state = jax.device_get(training.initial_state(setup, 0))
    parameters = {player: sum(leaf.size for leaf in jax.tree.leaves(params)) for player, params in state.params.items()}
    run = _sampling(setup, state, keys) if workload.sample else _training(setup, state, keys, config.chunk)

    def peak() -> float | None:
        return None if settings.device == "cpu" else jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]

    return Child(parameters, run, lambda: None, peak)


def _training(setup, state, keys, length: int) -> Callable[[int], float]:
    """`run(steps) -> the last cost of a player`."""
    import jax

    from ganjax.training import feed, parallel
    from ganjax.training import setup as training
    from ganjax.training.chunk import compile_chunk, per_step
    from ganjax.training.step import unguarded_step

    order = training.order(setup, 0)
    move = unguarded_step(setup.game, setup.dynamics, setup.averages)
    program = compile_chunk(move, partial(training.collate, setup), scan=setup.scan, length=length)
    data, state = parallel.replicate(training.arrays(setup)), parallel.replicate(state)
    taken = 0

    def run(steps: int) -> float:
        nonlocal state, taken
        end, pending = taken + steps, None
        while taken < end:
            count = min(length, end - taken)
            rows = {name: parallel.deal(feed._padded(own, length)) for name, own in order(taken, count).items()}
            state, metrics = program(state, data, rows, keys.steps, count)
            if pending is not None:
                per_step(*pending)
            pending, taken = (metrics, count), taken + count
        jax.block_until_ready(state)
        return float(per_step(*pending)[-1][f"{setup.game.players[0]}/cost"])

    return run


def _sampling(setup, state, keys) -> Callable[[int], float]:
    """`run(steps)` draws as many batches at once, as uint8 images; the mean pixel of the last one."""
    from ganjax.training import draw

    return lambda steps: float(draw(setup, state, keys.samples, steps * SAMPLES)[-1].mean())
