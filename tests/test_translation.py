"""The experiment `cyclegan` beyond its default: two sets of one size, a judge as the stage before, CUT, and rates."""

import importlib.util
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import dynamics, recipe
from ganjax.config import parse
from ganjax.core import Batch
from ganjax.data import load
from ganjax.errors import ConfigError
from ganjax.launch import _commands
from ganjax.options import Adam
from ganjax.training import Keys, train_step
from ganjax.training.setup import batch_shapes, collate, state_shapes

_spec = importlib.util.spec_from_file_location("cyclegan", Path(__file__).parents[1] / "experiments" / "cyclegan.py")
EXPERIMENT = sys.modules["cyclegan"] = importlib.util.module_from_spec(_spec)  # dataclasses look their module up
_spec.loader.exec_module(EXPERIMENT)
SMALL = replace(EXPERIMENT.CONFIG, **EXPERIMENT.SMOKE)
DIGITS = replace(SMALL, data="digits", target="digits", pad_target=1, judge_steps=3)


def _build(config):
    return EXPERIMENT.build(config, load, None)


def _trace(setup):
    """A step and all measures, down to shapes."""
    state = state_shapes(setup)
    batch = jax.eval_shape(partial(collate, setup), *batch_shapes(setup), Keys.of(0).steps)
    after, _ = jax.eval_shape(train_step(setup.game, setup.dynamics, setup.averages), state, batch, Keys.of(0).steps)
    assert jax.tree.map(str, after) == jax.tree.map(str, state)
    return state, batch


def test_a_judge_is_a_stage_before_and_players_see_no_labels():
    stages = _build(DIGITS)
    assert list(stages) == ["judge", "translation"] and stages["judge"].steps == 3
    judge, setup = stages.values()
    assert judge.streams["b"].y == "class" and {one.y for one in setup.streams.values()} == {None}
    state, batch = _trace(setup)
    assert "classifier" not in setup.game.players and set(state.params) == {*setup.game.players, "classifier"}
    assert list(setup.start) == ["classifier"]
    measures = {"kept_label", "permuted_label", "own_label", "untranslated_label"}
    assert set(setup.measures) == measures | {f"cycle_{s}{n}" for s in "ab" for n in ("", "_rounded", "_noised")}
    one = setup.measures["kept_label"]
    y = jax.ShapeDtypeStruct((4,), "int32")
    said = jax.eval_shape(one.values, state.weights, batch[one.stream]._replace(y=y), Keys.of(0).steps)
    assert {name: leaf.shape for name, leaf in said.items()} == {"class": (4,), "read": (4,)}


def test_turns_and_cut_are_traced():
    turns = _build(replace(SMALL, play="turns"))
    assert turns.dynamics.one_at_a_time and turns.dynamics.slices == 1
    cut = _build(replace(SMALL, method="cut", channels=3, identity=1.0))
    state, _ = _trace(cut)
    assert set(state.params) == {"g", "heads", "d_b"} and list(cut.samplers) == ["a_to_b"]
    assert set(cut.measures) == {"l1_g", "l1_g_mean", "l1_g_median", "l1_g_untranslated"}


def test_translators_of_either_network_are_traced():
    """Those with skips halve as often as they are told, in colour one way and in grey the other."""
    for options, kernels in (({}, 8), ({"network": "unet", "downs": 2}, 4)):
        state, _ = _trace(_build(replace(SMALL, **options)))
        g, f = ([x.shape for x in jax.tree.leaves(state.params[player]) if x.ndim == 4] for player in "gf")
        assert len(g) == len(f) == kernels, options
        ends = {tuple(sorted({shape[-2] for shape in own if shape[-2] in (1, 3)})) for own in (g, f)}
        assert ends == {(1,), (3,)}, "what each of them reads"


def test_both_domains_are_jittered_if_that_is_asked_for():
    assert {one.prepare for one in _build(SMALL).streams.values()} == {None}
    image = Batch(jnp.arange(48.0).reshape(4, 4, 3), None, jnp.int32(0))
    keys = jax.random.split(jax.random.key(0), 400)
    for options, ways in (({"flip": True}, 2), ({"shift": 1}, 9), ({"flip": True, "shift": 1}, 18)):
        for one in _build(replace(SMALL, **options)).streams.values():
            moved = jax.vmap(lambda key, one=one: one.prepare(key, image).x)(keys)
            assert len(np.unique(np.asarray(moved), axis=0)) == ways, options


def test_turns_are_taken_as_in_the_torch_code(monkeypatch):
    """A translator, who judges it, the other one, who judges that, on one batch."""
    asked, alternating = [], dynamics.alternating

    def spy(optimizers, **options):
        asked.append(options)
        return alternating(optimizers, **options)

    monkeypatch.setattr(dynamics, "alternating", spy)
    _build(replace(SMALL, play="turns"))
    assert asked == [{"order": ["g", "d_b", "f", "d_a"], "fresh": False, "axis_name": None}]


def test_sets_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"--data has images of \(8, 8, 1\) and --target images of \(28, 28, 1\)"):
        _build(replace(DIGITS, target="glyphs", size=0, pad_target=0))
    with pytest.raises(ConfigError, match="--judge-steps needs the same classes in both sets, got 9 of fluent_emoji"):
        _build(replace(DIGITS, data="fluent_emoji"))
    with pytest.raises(ConfigError, match=r"--data has points of \(2,\) and --target points"):
        _build(replace(DIGITS, data="ring", target="ring", size=0, pad_target=0))


def test_options_that_do_not_go_together():
    cut = {"method": "cut"}
    for wrong in (
        {"hold": 30}, {"play": "turns", **cut}, {"network": "unet", **cut}, {"cycle": -1.0}, {"channels": 5},
        {"pool": 3}, {"downs": 0, "network": "unet"},
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"^--{next(iter(wrong))} is .*, expected "):
            replace(SMALL, **wrong)


@pytest.mark.parametrize(
    "words",
    [
        "--method cut --cycle 5",
        "--method cut --pool 0",
        "--contrast 2",
        "--temperature .1",
        "--patches 64",
        "--data digits --target digits --companion outline",
        "--ema-decay .9",
        "--downs 2",
        "--network unet --blocks 2",
    ],
)
def test_options_without_effect_are_refused(words):
    for smoke in ([], ["--smoke"]):
        option = words.split()[-2]
        with pytest.raises(ConfigError, match=f"^{option} is .*, its default, for it has no effect: "):
            _told(*words.split(), *smoke)


@pytest.mark.parametrize(
    "words",
    [
        "--method cut --channels 3 --identity 1 --contrast 2 --temperature .1 --patches 64 --batch-size 64",
        "--method cut --contrast 0 --patches 64",  # logged all the same
        "--cycle 0 --identity .5",  # and images of B are translated, which must then have the channels of A
        "--identity .5 --cycle 1 --pool 8 --average ema --ema-decay .9",
        "--data digits --target digits --pad-target 1",
        "--companion outline --contrast 1",
        "--network unet --downs 2",
    ],
)
def test_options_with_an_effect_are_not(words):
    for smoke in ([], ["--smoke"]):
        _told(*words.split(), *smoke)


def _told(*words):
    commands = _commands(EXPERIMENT.EXPERIMENT, "--smoke" in words)
    return parse(commands, ["train", "--workdir", "w", *words], prog="", description="").config


@pytest.mark.fault("pytorch-CycleGAN-and-pix2pix: the rate is zero before the last epoch, which trains nothing")
def test_the_rate_falls_over_the_second_half_and_the_last_step_moves():
    config = Adam(steps=10, decay_steps=10, learning_rate=1.0)
    rates = [float(recipe.learning_rate(config, 5)(step)) for step in range(11)]
    np.testing.assert_allclose(rates, [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-6)
    np.testing.assert_allclose([recipe.learning_rate(config)(step) for step in (0, 5, 10)], [1, 0.5, 0], atol=1e-6)
