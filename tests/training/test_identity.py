"""Whose a checkpoint is: what a run must share with the one that it continues."""

import dataclasses
import importlib.util
import sys
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.commands.base import stages_of
from ganjax.core import Game, Outcome
from ganjax.data import Dataset, load
from ganjax.dynamics import alternating, simultaneous, tail_average
from ganjax.errors import CheckpointError
from ganjax.training import Averaged, Schedule, Setup, Stream, digest, train
from ganjax.training.identity import differences, fingerprint, identity

ROOT = Path(__file__).parents[2]
DATA = Dataset(np.arange(16, dtype=np.float32).reshape(8, 2))


def _setup(*, eta=0.1, pull=1.0, play=simultaneous, data=DATA, batch_size=2, average=None):
    """One player that follows the mean of its data."""

    def cost(params, moment):
        return pull * jnp.square(params["one"][None] - moment.batch.x).mean(), Outcome({}, {})

    game = Game(lambda key, batch: ({"one": jnp.zeros(2)}, {"one": {}}), {"one": cost})
    averages = {} if average is None else {"mean": Averaged("one", average)}
    return Setup(game, play({"one": optax.adam(eta)}), {"data": Stream(data, batch_size)}, averages)


def test_what_the_log_leaves_out_is_no_part_of_the_game():
    """Runs of before a game said it go on."""
    game = _setup().game
    assert fingerprint(game) == fingerprint(game._replace(taken_every={"one/r1": 4}))
    assert fingerprint(game) != fingerprint(game._replace(group=4))


def _train(workdir, steps, setup, seed=0, **options):
    return train(setup, workdir, seed=seed, schedule=Schedule(steps, chunk=2), progress=False, **options).state


def test_another_seed_never_returns_the_finished_run(tmp_path):
    """As in a notebook, where no config.json is compared: it was the old state, whatever the seed."""
    first = _train(tmp_path, 2, _setup())
    with pytest.raises(CheckpointError, match=r"checkpoint 2 in .* is of another run, which differs in seed 0 -> 1; "):
        _train(tmp_path, 2, _setup(), seed=1)
    assert digest(_train(tmp_path, 2, _setup())) == digest(first)
    assert int(_train(tmp_path, 4, _setup(), seed=1, allow_change=True).step) == 4
    assert int(_train(tmp_path, 6, _setup(), seed=1).step) == 6, "no switch is needed any more"


OTHERS = {
    "data": {"data": Dataset(DATA.x_train[::-1].copy())},
    "batch_size 2 -> 4": {"batch_size": 4},
    "game": {"pull": 2.0},
    "dynamics": {"eta": 0.2},
    "averages": {"average": tail_average(3)},
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_differs_is_named(what):
    before = identity(_setup(average=tail_average()), 0)
    assert differences(before, identity(_setup(average=tail_average()), 0)) == []
    assert differences(before, identity(_setup(**{"average": tail_average()} | OTHERS[what]), 0)) == [what]
    assert differences({}, before) == [], "a checkpoint from before there were identities"


def test_functions_of_other_libraries_are_not_compared():
    before, now = identity(_setup(), 0), identity(_setup(play=alternating, batch_size=4), 1)
    assert differences(before, now) == ["seed 0 -> 1", "batch_size 2 -> 4", "dynamics"]
    assert differences({**before, "made_with": "optax 0.0"}, now) == ["seed 0 -> 1", "batch_size 2 -> 4"]


class Called:
    def __init__(self, x):
        self.x = x

    def __call__(self):
        return self.x

    def again(self):
        return self.x


def test_fingerprints():
    def itself(n):
        return itself(n - 1) if n else 0

    held = {
        "number": lambda x: partial(max, x),
        "array": lambda x: (lambda: np.full(2, x)) and {"w": jnp.full(2, x)},
        "closure": lambda x: lambda: x,
        "default": lambda x: lambda y=x: y,
        "keyword": lambda x: lambda *, y=x: y,
        "method": lambda x: Called(x).again,
        "callable": Called,
        "schedule": lambda x: optax.inject_hyperparams(optax.sgd)(lambda count: x / count),
    }
    for make in held.values():
        assert fingerprint(make(1)) == fingerprint(make(1)) != fingerprint(make(2))
    assert len(fingerprint(itself)) == 64, "a function that holds itself"


def _experiment(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.EXPERIMENT


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "experiments").glob("*.py")))
def test_what_may_change_is_no_part_of_it(name):
    """Of every experiment that trains: more steps, other records and another number of devices continue it."""
    experiment = _experiment(name)
    if not experiment.build:
        return
    config = dataclasses.replace(experiment.config, **experiment.smoke)
    data = load(config.data, config.data_dir)
    more = {"steps": config.steps + 1, "log_every": 3, "sample_every": 7, "checkpoint_every": 9, "chunk": 11}
    other = dataclasses.replace(config, **more, judge_every=5, workers=1, resident_megabytes=1)

    def built(config, axis_name=None):
        stages = stages_of(experiment.build(config, lambda name: data, axis_name))
        return [identity(setup, 0) for setup in stages.values()]

    before = built(config)
    assert [differences(*pair) for pair in zip(before, built(other, "data"), strict=True)] == [[]] * len(before)
    faster = dataclasses.replace(config, learning_rate=2 * config.learning_rate)
    changed = [differences(*pair) for pair in zip(before, built(faster), strict=True)]
    assert ["dynamics"] in changed and all(names in ([], ["dynamics"]) for names in changed)  # a stage has a rate


def test_a_copy_that_nobody_installed_trains_too(tmp_path, monkeypatch):
    """As from an unpacked archive on the path, of which the system knows no version."""
    from importlib.metadata import PackageNotFoundError, version

    def known(name):
        if name == "ganjax":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("ganjax.training.identity.version", known)
    assert "ganjax 0." in identity(_setup(), 0)["made_with"]
    assert int(_train(tmp_path, 2, _setup()).step) == 2


def test_the_digest_that_published_weights_are_known_by_stands():
    """Another form of it would call these weights unpinned: then convert them and write their digest down again."""
    tree = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": {"c": np.int32(7)}}
    assert digest(tree) == "b3a22cd4ff2fcf9efacf647581dbcae7a4761508aadd8121448d04ff7404e090"
