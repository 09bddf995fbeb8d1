"""The experiment `seeds`: each member of the one program is the run of its seed alone."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from ganjax.data import load
from ganjax.dynamics import alternating
from ganjax.training import Schedule, train
from ganjax.training.setup import initial_state


@pytest.fixture(scope="module")
def seeds():
    path = Path(__file__).parent.parent / "experiments" / "seeds.py"
    spec = importlib.util.spec_from_file_location("seeds_experiment", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_member_is_the_run_of_its_seed_alone(seeds, tmp_path):
    """SGD; initialisation, order of the data, noise, statistics and averages, over chunks of 2, 2 and 1 steps."""
    setup = seeds.build(seeds.Config(data="digits", width=4, batch_size=8, latent=8), load("digits"))
    setup = setup._replace(dynamics=alternating(dict.fromkeys(setup.game.players, optax.sgd(0.01))))
    together = seeds.trained(setup, np.array([3, 4]), 5, 2)
    for member, seed in enumerate((3, 4)):
        schedule = Schedule(5, sample_every=5, checkpoint_every=5, chunk=5)
        alone, _ = train(setup, tmp_path / str(seed), seed=seed, schedule=schedule, progress=False)
        for got, expected in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            error = np.linalg.norm(np.ravel(got[member] - expected))
            assert error <= 1e-5 * max(np.linalg.norm(np.ravel(expected)), 1e-3)
    start = initial_state(setup, 3)
    moved = jax.tree.map(lambda a, b: np.linalg.norm(np.ravel(a[0] - b)), together.params, start.params)
    assert optax.tree.norm(moved) > 1e-2


def test_training_ends_where_the_watch_says(seeds, monkeypatch):
    """After the second chunk of three steps; the states are those that were watched last."""
    setup, seen = seeds.build(seeds.Config(data="digits", width=4, batch_size=8, latent=8), load("digits")), []
    monkeypatch.setattr(seeds, "initial_state", lambda setup, seed: np.zeros(()))
    advance = lambda state, data, rows, key: (state + rows["data"].shape[1], {})  # noqa: E731
    monkeypatch.setattr(seeds, "_together", lambda setup: advance)

    def watch(taken, states):
        seen.append((taken, states.tolist()))
        return taken >= 6

    assert seeds.trained(setup, np.array([3, 4]), 10, 3, watch=watch).tolist() == [6, 6]
    assert seen == [(3, [3, 3]), (6, [6, 6])]
