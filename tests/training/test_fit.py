"""Training without files: several seeds in one program, each the run of its seed alone."""

import jax
import numpy as np
import optax
import pytest

from ganjax.data import load
from ganjax.dynamics import alternating, ema
from ganjax.games import gan, normal_prior
from ganjax.losses import LOSSES
from ganjax.models import mlp
from ganjax.training import Averaged, Schedule, Setup, Stream, fit, train
from ganjax.training.setup import initial_state


def _setup():
    data = load("digits")
    game = gan(
        mlp.Generator(data.shape, (8,), batch_norm=True), mlp.Discriminator((8,)), LOSSES["non_saturating"],
        prior=normal_prior(8),
    )  # fmt: skip
    dynamics = alternating(dict.fromkeys(game.players, optax.sgd(0.01)))
    averages = {"ema": Averaged("generator", ema(0.999, warmup=True))}
    return Setup(game, dynamics, {"data": Stream(data, 8)}, averages)


@pytest.mark.usefixtures("compiled_once")
def test_each_member_is_the_run_of_its_seed_alone(tmp_path):
    """SGD; initialisation, order of the data, noise, statistics and averages, over chunks of 2, 2 and 1 steps."""
    setup = _setup()
    together = fit(setup, np.array([3, 4]), 5, chunk=2)
    for member, seed in enumerate((3, 4)):
        schedule = Schedule(5, sample_every=5, checkpoint_every=5, chunk=5)
        alone, _ = train(setup, tmp_path / str(seed), seed=seed, schedule=schedule, progress=False)
        for got, expected in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            error = np.linalg.norm(np.ravel(got[member] - expected))
            assert error <= 1e-5 * max(np.linalg.norm(np.ravel(expected)), 1e-3)
    start = initial_state(setup, 3)
    moved = jax.tree.map(lambda a, b: np.linalg.norm(np.ravel(a[0] - b)), together.params, start.params)
    assert optax.tree.norm(moved) > 1e-2


def test_training_ends_where_the_watch_says():
    """After the second chunk of three steps; the state is the one that was watched last."""
    seen = []

    def watch(taken, state):
        seen.append((taken, int(state.step)))
        return taken >= 6

    assert int(fit(_setup(), 3, 10, chunk=3, watch=watch).step) == 6
    assert seen == [(3, 3), (6, 6)]
