"""A child process of test_parallel.py: 8 SGD steps of a small GAN with everything that devices must agree on.

python parallel_worker.py OUT.npz [COORDINATOR COUNT ID]
"""

import logging
import re
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import optax

from ganjax.data import load
from ganjax.dynamics import alternating, ema
from ganjax.games import Sight, Term, gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.models import dcgan, mlp
from ganjax.penalties import orthogonal
from ganjax.spectral import spectral_norm
from ganjax.training import Averaged, Schedule, Setup, Stream, digest, load_state, parallel, train
from ganjax.training.setup import initial_state

STEPS = 8


class Compilations(logging.Handler):
    """Counts how often XLA compiles the chunk, in which the train step is all there is."""

    count = 0

    def emit(self, record):
        self.count += bool(re.search(r"Finished XLA compilation of \S*(scanned|_fun)", record.getMessage()))


def main(out: str, *cluster: str) -> None:
    compilations = Compilations()
    jax.config.update("jax_log_compiles", True)
    logging.getLogger("jax._src.dispatch").addHandler(compilations)
    if cluster:
        parallel.join(cluster[0], int(cluster[1]), int(cluster[2]))
    axis, prior, dataset = parallel.axis_name(), normal_prior(8), load("digits")
    generator = mlp.Generator(dataset.shape, (16,), batch_norm=True, axis_name=axis)
    discriminator = dcgan.Discriminator(width=8, dropout=0.2, axis_name=axis)
    sgd = optax.sgd(0.004)  # at 0.05 this game amplifies rounding tenfold a step
    setup = Setup(
        game=gan(
            generator,
            discriminator,
            LOSSES["non_saturating"],
            prior=prior,
            spectral={"discriminator": spectral_norm()},
            sight=Sight(packing=2, instance_noise=0.1),
            terms={"generator": {"orthogonal": Term(orthogonal("generator"), 1e-4)}},
            axis_name=axis,
        ),
        dynamics=alternating({"discriminator": sgd, "generator": sgd}, turns={"discriminator": 2}, axis_name=axis),
        streams={"data": Stream(dataset, 16)},
        averages={"ema": Averaged("generator", ema(0.9))},
        samplers={"prior": sampler(generator, prior)},
    )
    workdir = Path(tempfile.mkdtemp()) if not cluster else Path(out).parent / "cluster"
    schedule = Schedule(STEPS, log_every=1, sample_every=100, checkpoint_every=4, judge_every=4, chunk=4)
    judge = None if not parallel.is_primary() else lambda state: {"score": -float(state.step)}
    state, _ = train(setup, workdir, seed=0, schedule=schedule, judge=judge, progress=False)
    if compilations.count != 1:
        raise SystemExit(f"the chunk was compiled {compilations.count} times")
    again, began = train(setup, workdir, seed=0, schedule=schedule, judge=judge, progress=False)
    if began != STEPS or not all(jax.tree.leaves(jax.tree.map(np.array_equal, state, again))):
        raise SystemExit("the finished run was not restored as it was")
    if digest(load_state(setup, workdir, best=True)) != digest(state):
        raise SystemExit("the best state is not the last, whose score was the best")
    if parallel.is_primary():
        leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
        if jax.device_count() == 1:  # how far the others have to come
            leaves["start"] = np.asarray(initial_state(setup, 0).params["generator"]["Dense_0"]["kernel"])
        np.savez(out, devices=jax.device_count(), **leaves)


if __name__ == "__main__":
    main(*sys.argv[1:])
