"""What the experiments of staged generators add to their games: stages, a fair control, pictures, refusals."""

import dataclasses
import importlib.util
import math
import re
import sys
from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax import launch
from ganjax.core import Game, Outcome
from ganjax.data import Dataset
from ganjax.dynamics import simultaneous
from ganjax.errors import ConfigError, DataError
from ganjax.options import TrainConfig
from ganjax.training import From, Keys, Setup, Stream, draw
from ganjax.training.setup import initial_state, state_shapes

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@lru_cache
def _module(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _data(height, width=0):
    x = np.random.default_rng(0).integers(0, 256, (8, height, width or height, 1), np.uint8)
    return Dataset(x, x_test=x[::-1])


def _built(name, data, **options):
    module = _module(name)
    config = dataclasses.replace(module.CONFIG, **{**module.SMOKE, **options})
    return config, module.build(config, lambda _: data, None)


def test_levels_look_on_at_those_below_and_begin_with_their_averages():
    _, stages = _built("lapgan", _data(8), levels=2)
    assert list(stages) == ["single", "level_0", "level_1"]
    assert not stages["level_0"].start and stages["level_0"].streams["data"].dataset.shape == (4, 4, 1)
    assert {p: tuple(own)[:3] for p, own in stages["level_1"].start.items()} == {
        "generator_0": ("level_0", "generator", "ema")
    }
    _, stages = _built("lapgan", _data(8), control=False, average="none")
    assert list(stages) == ["level_0", "level_1"] and stages["level_1"].start["generator_0"].weights == "raw"
    assert stages["level_1"].game.players == ("discriminator", "generator")
    assert stages["level_0"].steps == 4 and stages["level_1"].steps is None, "those of --steps"
    _, stages = _built("lapgan", _data(8), levels=3, ratio=3)
    assert [stages[f"level_{k}"].steps for k in range(3)] == [36, 12, None]


def test_all_networks_of_a_conditional_run_are_told_the_class():
    """Of every stage, whose samplers ask for it; the picture shows what these draw of the classes in turn."""
    y = np.arange(8, dtype=np.int32) % 2
    config, stages = _built("lapgan", dataclasses.replace(_data(8), y_train=y, y_test=y[::-1]), conditional=True)
    for setup in stages.values():
        shapes = state_shapes(setup)
        tables = jax.tree_util.tree_leaves_with_path(shapes.params)
        assert {path[0].key for path, _ in tables if "embedding" in str(path)} == set(shapes.params)
        assert setup.streams["data"].y == "class"
        assert {one.given for one in setup.samplers.values()} == {("data", "class")}
    rng, setup = np.random.default_rng(0), stages["level_1"]
    state = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)
    rows = _module("lapgan").strips(config, setup, state, 3)
    drawn = draw(setup, state, Keys.of(0).samples, 3, np.array([0, 1, 0]))
    np.testing.assert_array_equal(rows[1].images[..., :1], drawn)


def test_the_control_has_as_many_parameters_as_all_levels_together():
    module = _module("lapgan")
    stages = module.build(module.CONFIG, lambda _: _data(28), None)

    def count(setup):
        shapes = jax.tree.leaves(setup.game.moving(state_shapes(setup).params))
        return sum(math.prod(leaf.shape) for leaf in shapes)

    single, *levels = map(count, stages.values())
    assert len(levels) == 3 and abs(single / sum(levels) - 1) < 0.05, (single, levels)


def test_the_picture_of_chains_changes_one_level_a_row():
    config, stages = _built("lapgan", _data(8))
    setup = stages["level_1"]
    rows = _module("lapgan").strips(config, setup, initial_state(setup, 0, {}), 3)
    assert [row.caption for row in rows] == ["4x4", "8x8", "other noise\nat 4x4", "other noise\nat 8x8"]
    small, large, anew, refined = (row.images.astype(int) for row in rows)
    assert small.shape == large.shape == (3, 8, 8, 3)
    means = lambda x: x.reshape(3, 4, 2, 4, 2, 3).mean((2, 4))  # noqa: E731
    assert np.abs(means(refined) - means(small)).max() < 40 < np.abs(means(anew) - means(small)).max()
    assert (refined != large).any()


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ConfigError, match=r"--projected is True, expected left out with --kernels smooth"):
        dataclasses.replace(_module("lapgan").CONFIG, kernels="smooth")
    with pytest.raises(DataError, match=r"--levels 3 of the data set unnamed: .*28x30 have no 3 levels"):
        _built("lapgan", _data(28, 30), levels=3)
    with pytest.raises(ConfigError, match="--batch-size is 6, expected a multiple of --group 4"):
        dataclasses.replace(_module("progressive").CONFIG, batch_size=6)
    with pytest.raises(DataError, match=r"examples have shape \(3,\), expected images"):
        _built("progressive", Dataset(np.zeros((4, 3), np.float32)))


def _point(*names):
    """A point that follows what it is shown, in stages that are alike, but that "second" begins with "first"."""

    def build(config, load, axis_name):
        def cost(params, moment):
            return jnp.square(params["point"] - moment.batch.x).mean(), Outcome({}, {})

        game = Game(lambda key, batch: ({"point": jax.random.normal(key, (1, 2))}, {"point": {}}), {"point": cost})
        stage = Setup(game, simultaneous({"point": optax.sgd(0.1)}), {"data": Stream(load(config.data), 4)})
        second = stage._replace(start={"point": From("first", "point")})
        return {name: second if name == "second" else stage for name in names}

    config = TrainConfig(data="ring", steps=3, sample_every=0, chunk=3)
    return launch.Experiment("point", "Follows what it is shown.", config, {}, build)


def test_a_stage_ends_alike_whatever_stages_are_trained_beside_it(tmp_path, capsys):
    """Before it or after it, and with a seed of its own: those that are alike end differently."""

    def ends(*names):
        launch.main(_point(*names), ["train", "--quiet", "--workdir", str(tmp_path / "-".join(names))])
        found = dict(re.findall(r"of the stage (\w+) digest (\w+)", capsys.readouterr().out))
        assert list(found) == list(names)
        return found

    alone, after, before = ends("first"), ends("first", "second"), ends("before", "first")
    assert alone["first"] == after["first"] == before["first"] != before["before"]
