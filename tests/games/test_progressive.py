"""Growing: time in networks and real images, samples that know it, phases that begin where the last one ended."""

import importlib.util
import sys
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.commands.base import Opened
from ganjax.commands.train import of_stages, schedule_of, seed_of
from ganjax.core import Batch, Moment, noise
from ganjax.data import Dataset
from ganjax.dynamics import View
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.progressive import real
from ganjax.layers.fading import FADE
from ganjax.layers.resampling import double, mean_pool
from ganjax.training import Keys, digest, draw, load_state, train
from ganjax.training.setup import initial_state, state_shapes

BYTES = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 1), np.uint8)
FADING = 4  # steps


@lru_cache
def _module():
    path = Path(__file__).parents[2] / "experiments" / "progressive.py"
    spec = importlib.util.spec_from_file_location("progressive", path)
    module = sys.modules["progressive"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache
def _stages(fade=FADING, axis_name=None):
    """(config, setups) for sides of 4, 8 and 16."""
    module = _module()
    sizes = {"most": 2, "latent": 2, "fade_steps": fade}
    often = {"steps": FADING, "chunk": 1, "checkpoint_every": 100, "sample_every": 0}
    config = replace(module.CONFIG, **{**module.SMOKE, **sizes, **often})
    return config, module.build(config, lambda _: Dataset(BYTES, x_test=BYTES[:4]), axis_name)


@lru_cache
def _begun(side=8):
    """A setup, a batch and a first state."""
    setup = _stages()[1][f"side_{side}"]
    x = jnp.asarray(setup.streams["data"].dataset.x_train[:8], jnp.float32) / 127.5 - 1
    return setup, Batch(x, None, jnp.arange(8)), initial_state(setup, 0, {})


def test_each_side_is_a_stage_that_begins_with_the_players_of_the_one_before():
    _, stages = _stages()
    assert list(stages) == ["side_4", "side_8", "side_16"] and not stages["side_4"].start
    begun = {player: own[:2] for player, own in stages["side_16"].start.items()}
    assert begun == {player: ("side_8", player) for player in (DISCRIMINATOR, GENERATOR)}
    assert stages["side_8"].streams["data"].dataset.shape == (8, 8, 1)
    assert not state_shapes(stages["side_4"]).net_state[GENERATOR], "no fade, no step"


def test_costs_are_those_at_the_share_of_the_step():
    """Of networks that hear it and of real images that are as blurred; what is kept is the number of steps taken."""
    setup, batch, state = _begun()
    cost = {name: jax.jit(setup.game.costs[name]) for name in setup.game.costs}
    plain = _plain(setup)
    for step in (0, 1, 9):
        told = {p: {FADE: {"step_8": jnp.int32(step)}} for p in state.params}
        blurred = batch._replace(x=real(batch.x, jnp.float32(min(step / FADING, 1))))
        for name in cost:
            moment = Moment(state.net_state, batch, jax.random.key(1), jnp.int32(step))
            value, (after, metrics) = cost[name](state.params, moment)
            expected, _ = plain[name](state.params, moment._replace(net_state=told, batch=blurred))
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
            assert int(after[FADE]["step_8"]) == step + 1 and after[FADE]["step_8"].dtype == jnp.int32
            if name == DISCRIMINATOR:
                _pays_penalty_and_drift(value, metrics)
    shown = real(batch.x, jnp.float32(0))
    np.testing.assert_array_equal(shown, double(mean_pool(batch.x)))
    np.testing.assert_array_equal(real(batch.x, jnp.float32(1)), batch.x)


@lru_cache
def _plain_game():
    """The game of the stage, before it was told of time."""
    module, (config, stages) = _module(), _stages()
    import ganjax.games.progressive as games

    fading, games.fading = games.fading, lambda game, steps: game
    try:
        return module.phase(config, stages["side_8"].streams["data"].dataset, stages["side_8"].start, None).game
    finally:
        games.fading = fading


def _plain(setup):
    return {name: jax.jit(cost) for name, cost in _plain_game().costs.items()}


def _pays_penalty_and_drift(value, metrics):
    """W + 10 GP + 0.001 mean D(x)^2."""
    parts = metrics["adversarial"] + 10 * metrics["penalty"] + 1e-3 * metrics["drift"]
    np.testing.assert_allclose(value, parts, rtol=1e-5)
    np.testing.assert_allclose(metrics["adversarial"], metrics["fake_logit"] - metrics["real_logit"], atol=1e-5)


def test_two_devices_see_the_groups_and_the_share_of_one(float64):
    """Batches dealt like cards: the deviation is over the same groups, the penalty over the same examples."""
    setup, batch, state = _begun()
    wide = lambda tree: jax.tree.map(  # noqa: E731
        lambda x: np.float64(x) if jnp.issubdtype(x.dtype, jnp.floating) else np.asarray(x), tree
    )
    params, batch = wide(state.params), wide(batch)

    def field(game, batch, axis_name):
        moment = Moment(state.net_state, batch, jax.random.key(2), jnp.int32(1))
        return View(game, moment, axis_name).field(params, (DISCRIMINATOR,)).gradients

    one = jax.jit(lambda batch: field(setup.game, batch, None))(batch)
    dealt = jax.tree.map(lambda leaf: leaf.reshape(-1, 2, *leaf.shape[1:]).swapaxes(0, 1), batch)
    several = _stages(axis_name="devices")[1]["side_8"].game
    two = jax.jit(jax.vmap(lambda batch: field(several, batch, "devices"), axis_name="devices"))(dealt)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[0], rtol=1e-6, atol=1e-9), one, two)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def phases(folder, compiled_once):
    """The directory of a run whose second stage is trained, 4 steps, once."""
    if not (folder / "side_8").exists():
        _train(folder / "side_8", FADING)
    return folder


@lru_cache
def _fresh():
    """One object, which is compiled once."""
    return _stages()[1]["side_8"]._replace(start={})


def _train(folder, steps):
    config, setup = _stages()[0], _fresh()
    schedule = replace(schedule_of(config, setup), steps=steps)
    return train(setup, folder, seed=seed_of(config.seed, "side_8"), schedule=schedule, progress=False)[0]


def test_a_stop_in_the_middle_of_a_fade_changes_no_bit(phases, tmp_path):
    whole = load_state(_stages()[1]["side_8"], phases / "side_8")
    half = _train(tmp_path / "side_8", 2)
    assert int(half.net_state[GENERATOR][FADE]["step_8"]) == 2, "in the middle"
    assert digest(_train(tmp_path / "side_8", FADING)) == digest(whole) != digest(half)
    _samples_know_the_step(half)


def _samples_know_the_step(half):
    """Half of what is drawn comes of the new layers, in averaged weights as in raw ones."""
    setup = _stages()[1]["side_8"]
    at = _module().at_share
    for weights in ("raw", "ema"):
        drawn = lambda state, weights=weights: draw(setup, state, Keys.of(0).samples, 4, weights=weights)  # noqa: E731
        found = drawn(half)
        np.testing.assert_array_equal(found, drawn(at(half, 0.5, FADING)))
        assert (found != drawn(at(half, 1, FADING))).any() and (found != drawn(at(half, 0, FADING))).any()


@lru_cache
def _grown(folder):
    """The last stage and its state, as it begins from the second."""
    _, stages = _stages()
    setup = of_stages(folder, stages["side_16"], list(stages))
    return setup, initial_state(setup, 5)


def test_a_phase_begins_where_the_last_one_ended(phases):
    """Its first samples are those of the smaller networks enlarged; its time begins anew, whoever grew before."""
    stages, (setup, state) = _stages()[1], _grown(phases)
    before = load_state(stages["side_8"], phases / "side_8")
    for player in (DISCRIMINATOR, GENERATOR):
        own, old = (one.params[player] for one in (state, before))
        for name in {*own} & {*old}:
            jax.tree.map(np.testing.assert_array_equal, own[name], old[name])
        assert {*own} - {*old} == {"image_16", "conv_16_0", "conv_16_1"} and "image_4" not in own
        assert state.net_state[player][FADE] == {"step_16": 0} and before.net_state[player][FADE] == {"step_8": FADING}
    zero = [leaf for leaf in jax.tree.leaves(state.dynamics_state) if np.any(leaf)]
    assert not zero, "Adam begins anew"
    z = noise(lambda k: jax.random.normal(k, (2,)), jax.random.key(1), jnp.arange(4))
    small, large = (
        one.sampler().latent.decode(at.weights, z, None) for one, at in ((stages["side_8"], before), (setup, state))
    )
    np.testing.assert_array_equal(large, double(small))


def test_the_film_shows_every_phase(phases, tmp_path, monkeypatch):
    """Smaller sides as they ended, and the last one, here at its beginning, with more and more of its new layers."""
    (config, stages), module, content = _stages(), _module(), []
    states = {"side_4": initial_state(stages["side_4"], 0), "side_16": _grown(phases)[1]}
    states["side_8"] = load_state(stages["side_8"], phases / "side_8")

    def opened(experiment, command):
        name = command.stage or "side_16"
        return Opened(stages[name], phases / name, {"stages": list(stages)})

    monkeypatch.setattr("ganjax.commands.base.config_of", lambda *_: (config, {}))
    monkeypatch.setattr("ganjax.training.load_state", lambda _, workdir: states[workdir.name])
    monkeypatch.setattr(import_module("ganjax.report.rows"), "rows", lambda found, _: content.extend(found))
    monkeypatch.setattr(module, "opened", opened)
    module.Film(workdir=phases, out=tmp_path / "film.png", columns=3, weights="raw").run(module.EXPERIMENT)
    fades = [f"16 pixels\nalpha = {alpha}" for alpha in (0, 0.25, 0.5, 0.75)]
    assert [row.caption for row in content] == ["4 pixels", "8 pixels", *fades, "16 pixels"]
    assert all(row.images.shape == (3, 16, 16, 3) for row in content)
    images = [row.images for row in content]
    np.testing.assert_array_equal(images[1], images[2], err_msg="nothing of the new layers is heard at first")
    assert all((one != next_one).any() for one, next_one in pairwise([images[0], *images[2:]]))
