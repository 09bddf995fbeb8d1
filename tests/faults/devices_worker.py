"""Train a small GAN with SGD until a step, on the devices that there are: a child process, or called.

python devices_worker.py WORKDIR STEPS [COORDINATOR COUNT ID] writes the digests of what was restored and of what was
saved, for test_continuing.py and test_parallel.py.
"""

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import optax

from ganjax.core import GameState
from ganjax.data import load
from ganjax.dynamics import alternating, ema
from ganjax.games import gan, normal_prior
from ganjax.losses import LOSSES
from ganjax.models import mlp
from ganjax.training import Averaged, Schedule, Setup, Stream, digest, latest_step, load_state, parallel, train


@cache
def _setup() -> Setup:
    axis, data, sgd = parallel.axis_name(), load("ring"), optax.sgd(0.01)
    generator = mlp.Generator(data.shape, (16,), output=mlp.identity, batch_norm=True, axis_name=axis)
    game = gan(generator, mlp.Discriminator((16,)), LOSSES["non_saturating"], prior=normal_prior(4), axis_name=axis)
    dynamics = alternating({"discriminator": sgd, "generator": sgd}, axis_name=axis)
    return Setup(game, dynamics, {"data": Stream(data, 16)}, averages={"ema": Averaged("generator", ema(0.9))})


def played(workdir: Path, steps: int) -> tuple[str, str]:
    """The digests; the costs of every step are written to `<workdir>/<steps>.npy`."""
    setup = _setup()
    restored: GameState | None = load_state(setup, workdir) if latest_step(workdir) else None
    schedule = Schedule(steps, log_every=1, sample_every=10**6, checkpoint_every=5, chunk=5)
    state, _ = train(setup, workdir, seed=0, schedule=schedule, progress=False)
    if parallel.is_primary():
        records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        np.save(workdir / f"{steps}.npy", [[r["discriminator/cost"], r["generator/cost"]] for r in records])
    return "none" if restored is None else digest(restored), digest(state)


def main(workdir: Path, steps: int, *cluster: str) -> None:
    if cluster:
        parallel.join(cluster[0], int(cluster[1]), int(cluster[2]))
    digests = played(workdir, steps)
    if parallel.is_primary():
        sys.stdout.write(" ".join(digests) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
