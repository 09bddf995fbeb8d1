"""A child process of test_feed.py: a run whose data are resident, streamed, and streamed in two parts.

python feed_worker.py FOLDER
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from ganjax.core import Game, Outcome
from ganjax.data import load
from ganjax.dynamics import alternating
from ganjax.training import Schedule, Setup, Stream, digest, parallel, train


def main(folder: Path) -> None:
    dataset, axis, adam = load("digits"), parallel.axis_name(), optax.adam(1e-3)

    def cost(params, moment):
        return jnp.square(params["one"][None] - moment.batch.x).mean(), Outcome({}, {})

    setup = Setup(
        game=Game(lambda key, batch: ({"one": jnp.zeros(dataset.shape)}, {"one": {}}), {"one": cost}),
        dynamics=alternating({"one": adam}, axis_name=axis),
        streams={"data": Stream(dataset, 8)},
    )
    found = [str(jax.device_count())]
    for name, parts, megabytes in (("resident", (15,), 1), ("streamed", (15,), 0), ("parts", (7, 15), 0)):
        for steps in parts:
            schedule = Schedule(steps, chunk=4, checkpoint_every=5, resident_megabytes=megabytes)
            state, _ = train(setup, folder / name, seed=0, schedule=schedule, progress=False)
        found.append(digest(state))
    (folder / "digests").write_text(" ".join(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
