"""A child process of test_recipes_on_devices.py: every recipe in its smoke size by SGD, on the devices that there are.

python recipes_worker.py FOLDER FIRST LAST START [COORDINATOR COUNT ID] -- RECIPE...

Trains each recipe in FOLDER/RECIPE until step LAST; from its own step 0 and with a stop at FIRST where START is "-",
else from a copy of START/RECIPE. In the first case the parameters of all players must move.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import jax
import optax

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))

from ganjax import recipe
from ganjax.commands import base
from ganjax.training import Schedule, parallel, train

# Networks of a few channels are chaotic: at 1e-3, 2e-7 on the parameters of a single device becomes order 1 in 20 steps
# of BigGAN, and 2e-3 in 40 of WGAN-GP, whose penalty jumps where a ReLU turns. At these rates it stays below 1e-6;
# gradients that devices keep to themselves, instead of their mean, still move the losses by 6e-4 and more.
RATES = {"biggan": 1e-6, "wgan_gp": 1e-4, "cyclegan": 3e-6}
BESIDE = {
    "cyclegan": {"pool": 16, "channels": 3, "identity": 0.5},
    "adaptation": {"method": "reversal", "batch_norm": True},  # statistics of each domain, over all devices
}


def main(folder: Path, first: int, last: int, start: str, cluster: list[str], names: list[str]) -> None:
    jax.config.update("jax_compilation_cache_dir", None)
    if cluster:
        parallel.join(cluster[0], int(cluster[1]), int(cluster[2]))
    for name in names:
        # Adam divides by gradients that are almost 0: there rounding would decide.
        rate = RATES.get(name, 1e-3)
        recipe.optax.adam = lambda learning_rate, b1=0.9, b2=0.999, rate=rate: optax.sgd(rate)
        experiment = __import__(name).EXPERIMENT
        config = replace(experiment.config, **{**experiment.smoke, "batch_size": 16, **BESIDE.get(name, {})})
        setup, workdir = base.setup_of(experiment, config)._replace(start={}), folder / name  # a last stage by itself
        for steps in (first, last) if start == "-" else (last,):
            if start != "-" and parallel.is_primary():
                shutil.copytree(Path(start) / f"{name}.first", workdir)
            if start != "-":
                parallel.any_process(False)  # everybody waits for the copy
            schedule = Schedule(steps, log_every=1, sample_every=1000, checkpoint_every=1000, chunk=10)
            state, _ = train(setup, workdir, seed=0, schedule=schedule, progress=False)
            if steps == first:
                shutil.copytree(workdir, folder / f"{name}.first")
                begun = jax.device_get(state.params)
        if start == "-":
            moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), begun, jax.device_get(state.params))
            assert min(max(jax.tree.leaves(moved[player])) for player in moved) > 1e-5, f"{name} stands still: {moved}"


if __name__ == "__main__":
    split = sys.argv.index("--")
    folder, first, last, start, *cluster = sys.argv[1:split]
    main(Path(folder), int(first), int(last), start, cluster, sys.argv[split + 1 :])
