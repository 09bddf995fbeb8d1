"""The game of StyleGAN2, its samplers, measure and projection, on a generator that is linear in its styles."""

import importlib.util
import math
import re
import sys
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax.core import Batch, Moment
from ganjax.data import Dataset
from ganjax.dynamics import ema, simultaneous
from ganjax.errors import ConfigError
from ganjax.explore import explore
from ganjax.games import gan
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.styles import measures, path_speeds, project, samplers, speed, style_prior, with_path_length
from ganjax.layers.resampling import conv
from ganjax.losses import LOSSES
from ganjax.models import progressive, stylegan
from ganjax.models.stylegan import SIZES, Generator
from ganjax.training import Averaged, Setup, Stream, train_step, weights_of
from ganjax.training.setup import initial_state

SHAPE, Z, LAYERS, LOUD = (8, 8, 1), 3, 4, 0.1


class Painted(nn.Module):
    """The mean over layers of w, times a matrix; noise maps are added."""

    shape: tuple[int, ...]
    layers = LAYERS

    @nn.compact
    def __call__(self, w, keys=None):
        matrix = self.param("matrix", nn.initializers.normal(0.1), (w.shape[-1], math.prod(self.shape)))
        x = (w.mean(1) @ matrix).reshape(-1, *self.shape)
        return x if keys is None else x + LOUD * jax.vmap(lambda k: jax.random.normal(k, self.shape))(keys)


class Linear(Generator):
    def setup(self):
        self.mapping, self.synthesis = nn.Dense(self.size), Painted(self.shape)
        self.w_avg = self.variable("styles", "w_avg", jnp.zeros, (self.size,))


class Logit(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


G, PRIOR = Linear(SHAPE, Z), style_prior(Z, LAYERS)
BASE = gan(G, Logit(), LOSSES["non_saturating"], prior=PRIOR)
GAME = with_path_length(BASE, G, PRIOR)


@cache
def _setup():
    rng = np.random.default_rng(0)
    data = Dataset(rng.integers(0, 256, (12, *SHAPE), np.uint8), x_test=rng.integers(0, 256, (6, *SHAPE), np.uint8))
    play = simultaneous(dict.fromkeys((DISCRIMINATOR, GENERATOR), optax.sgd(0.1)))
    return Setup(GAME, play, {"data": Stream(data, 2)}, samplers=samplers(G, size=Z), measures=measures(G, size=Z))


@cache
def _state():
    state = initial_state(_setup(), 0)
    own = {**state.net_state[GENERATOR], "styles": {"w_avg": jnp.array([0.5, -1.0, 2.0])}}
    return state.replace(net_state={**state.net_state, GENERATOR: own})


def _matrix():
    params = _state().params[GENERATOR]
    return np.float64(params["synthesis"]["matrix"]), np.float64(params["mapping"]["kernel"])


@pytest.mark.fault("stylegan2-ada-pytorch: the mean of w moves in every phase, and so faster with a lazy penalty")
def test_the_mean_length_moves_once_when_it_is_due_and_the_mean_of_w_not_at_all():
    """Of two examples one is measured: the mean moves by a hundredth of its length l, and it pays (l - l / 100)^2."""
    batch = Batch(jnp.zeros((2, *SHAPE)), None, jnp.arange(2))

    def of(game, state, step):
        moment = Moment(state, batch, jax.random.key(3), step)
        return jax.jit(game.costs[GENERATOR])(_state().params, moment)

    state = _state().net_state
    plain = {**state, GENERATOR: {"styles": state[GENERATOR]["styles"]}}
    base, (own, _) = of(BASE, plain, 0)
    value, (after, metrics) = of(GAME, state, 0)
    length = metrics["path_length"] / 0.01
    assert length > 0.01
    np.testing.assert_allclose(metrics["path"], (0.99 * length) ** 2, rtol=1e-4)
    np.testing.assert_allclose(value - base, 4 * 2 * metrics["path"], rtol=1e-4)
    np.testing.assert_array_equal(after["styles"]["w_avg"], own["styles"]["w_avg"])
    assert (after["styles"]["w_avg"] != state[GENERATOR]["styles"]["w_avg"]).any()
    value, (last, metrics) = of(GAME, {**state, GENERATOR: after}, 3)
    assert metrics["path"] == 0 and last["length"] == after["length"] == metrics["path_length"]
    base, _ = of(BASE, {**plain, GENERATOR: {"styles": after["styles"]}}, 3)
    np.testing.assert_allclose(value, base, rtol=1e-6)
    assert GAME.group == 2 and with_path_length(BASE._replace(group=4), G, PRIOR, share=6).group == 12


def test_an_average_of_the_generator_has_the_average_of_its_mean_style():
    """`sum_t d^(n - t) w_t / sum_t d^(n - t)` over the states after each step, and truncation draws towards it."""
    decay, kept = 0.6, Averaged(GENERATOR, ema(0.6))
    setup, batch = _setup()._replace(averages={"ema": kept}), Batch(jnp.ones((2, *SHAPE)), None, jnp.arange(2))
    state = _state().replace(averages={"ema": kept.average.init(kept.of(_state().params, _state().net_state))})
    step, path = jax.jit(train_step(GAME, setup.dynamics, setup.averages)), []
    for _ in range(5):
        state, _ = step(state, batch, jax.random.key(1))
        path.append(jax.device_get(state.net_state[GENERATOR]))
    share = decay ** np.arange(4.0, -1, -1) / sum(decay**k for k in range(5))
    by_hand = jax.tree.map(lambda *leaves: np.einsum("t,t...->...", share, np.stack(leaves)), *path)
    weights = weights_of(setup, state, (GENERATOR,))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), weights[GENERATOR].net_state, by_hand)
    drawn = setup.samplers["styles"].latents(weights, jax.random.key(2), jnp.arange(2), 0.0)["w"]
    np.testing.assert_allclose(drawn, np.tile(by_hand["styles"]["w_avg"], (2, 1)), rtol=1e-5)
    assert all((a != b).all() for a, b in zip(*map(jax.tree.leaves, (path[0], path[-1])), strict=True)), "all move"


@pytest.mark.parametrize("critic", [stylegan.Discriminator, progressive.Critic])
def test_real_and_generated_images_are_never_compared(critic):
    """What is said of the ones does not move by a bit with the others, though those of a group are compared."""
    game = gan(G, critic(base=8, most=2, group=2), LOSSES["non_saturating"], prior=PRIOR)
    rng, batch = np.random.default_rng(0), Batch(jnp.zeros((4, *SHAPE)), None, jnp.arange(4))
    shapes, state = jax.eval_shape(game.init, jax.random.key(0), batch)
    params, others = (jax.tree.map(lambda leaf: np.float32(rng.normal(size=leaf.shape)), shapes) for _ in range(2))
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    x = np.float32(rng.normal(size=batch.x.shape))

    @jax.jit
    def said(params, x):
        _, (_, metrics) = game.costs[DISCRIMINATOR](params, Moment(state, batch._replace(x=x), jax.random.key(1)))
        return metrics["real_logit"], metrics["fake_logit"]

    real, fake = said(params, x)
    with_others, with_copies = said({**params, GENERATOR: others[GENERATOR]}, x), said(params, x[[0, 1, 0, 1]])
    assert with_others[0] == real and with_others[1] != fake
    assert with_copies[0] != real and with_copies[1] == fake


@pytest.mark.fault("stylegan2-ada-pytorch: one layer to mix at, and one draw whether to mix, for a whole batch")
def test_every_example_is_mixed_by_itself():
    cut = np.asarray(jax.vmap(style_prior(Z, 6, mixing=0.75))(jax.random.split(jax.random.key(0), 2000))["cut"])
    share = np.bincount(cut, minlength=7) / 2000
    assert share[0] == 0
    np.testing.assert_allclose(share[1:], [0.15] * 5 + [0.25], atol=0.04)


def test_the_speed_of_a_path(float64):
    rng = np.random.default_rng(1)
    a, ends = jnp.asarray(rng.normal(size=(5, 7))), jnp.asarray(rng.normal(size=(2, 3, 5)))
    t, path = jnp.array([0.0, 0.3, 1.0]), lambda t: ends[0] + t[:, None] * (ends[1] - ends[0])
    np.testing.assert_allclose(speed(lambda t: path(t) @ a, t), np.square((ends[1] - ends[0]) @ a).sum(1), rtol=1e-12)
    curved, e = lambda t: jnp.tanh(path(t) @ a), 1e-5
    quotient = (curved(t + e) - curved(t - e)) / (2 * e)
    np.testing.assert_allclose(speed(curved, t), jnp.square(quotient).sum(1), rtol=1e-7)
    x, kernel = (jnp.asarray(rng.normal(size=s)) for s in ((3, 4, 4, 2), (3, 3, 2, 2)))
    seen = speed(lambda t: conv(t.reshape(-1, 1, 1, 1) * x, kernel), t)
    np.testing.assert_allclose(seen, jnp.square(conv(x, kernel)).sum((1, 2, 3)), rtol=1e-12)


def test_the_measured_path_length_of_a_linear_generator():
    """`2 tr(A S A^T)` a pixel, S the covariance of w; whatever the noise maps, the same at both ends."""
    measure, size = _setup().measures["path_length"], 3000
    batch = Batch(jnp.zeros((size, *SHAPE)), None, jnp.arange(size))
    values = np.float64(measure.values({GENERATOR: _state().weights[GENERATOR]}, batch, jax.random.key(1)))
    matrix, mapping = _matrix()
    expected = 2 * np.square(mapping @ matrix).sum() / 64
    np.testing.assert_allclose(values.mean(), expected, atol=4 * values.std() / math.sqrt(size))
    assert measure.summary(np.array([1.0] * 98 + [1e9, -1e9])) == 1, "the largest and the smallest are left out"


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("space", ["w", "z"])
def test_path_lengths_of_a_linear_generator_in_both_spaces_by_linear_features(space, ends):
    """`2 |A|^2` a feature in w, between draws of N(0, I), and `|A|^2 E[theta^2]` in z, on the sphere; A takes z to the
    features. The angle theta of two directions in space has the density sin(theta) / 2, its square the mean
    (pi^2 - 4) / 2. Where on the way, is the same."""
    size, seen = 3000, np.random.default_rng(1).normal(size=(64, 5)).astype(np.float32)
    speeds = path_speeds(G, size=Z, space=space, ends=ends, feature=lambda x: x.reshape(len(x), -1) @ seen)
    values = jax.jit(partial(speeds, _state().weights))(jax.random.key(1), jnp.arange(size))
    matrix, mapping = _matrix()
    mean = {"w": 2, "z": (math.pi**2 - 4) / 2}[space]
    expected = mean * np.square(mapping @ matrix @ seen).sum() / 5
    np.testing.assert_allclose(np.mean(values), expected, atol=4 * np.std(values) / math.sqrt(size))
    assert np.std(values) / math.sqrt(size) < 0.02 * expected


@pytest.mark.parametrize("ends", [False, True])
def test_a_path_is_measured_where_it_is_asked_for(ends):
    """Of squares of pixels x ~ N(0, s^2) with noise maps of deviation l: `4 E[(x_t + l n)^2 (x_1 - x_0)^2]` is
    `4 (4 s^4 + 2 l^2 s^2)` where the way begins, and `4 (2 s^4 + 2 l^2 s^2)` over all of it."""
    size = 20_000
    speeds = path_speeds(G, size=Z, ends=ends, feature=jnp.square)
    values = jax.jit(partial(speeds, _state().weights))(jax.random.key(1), jnp.arange(size))
    matrix, mapping = _matrix()
    s = np.square(mapping @ matrix).sum(0)
    expected = 4 * ((4 if ends else 2) * s**2 + 2 * LOUD**2 * s).mean()
    np.testing.assert_allclose(np.mean(values), expected, atol=4 * np.std(values) / math.sqrt(size))
    assert np.std(values) / math.sqrt(size) < 0.05 * expected


def test_truncation_and_what_a_latent_holds():
    sampler, weights = _setup().samplers["styles"], _state().weights
    of = partial(sampler.latents, weights, jax.random.key(2), jnp.arange(4))
    mean = jnp.array([[0.5, -1.0, 2.0]])
    np.testing.assert_allclose(of(0.0)["w"], jnp.tile(mean, (4, 1)), rtol=1e-6)
    np.testing.assert_allclose(of(0.25)["w"], 0.75 * mean + 0.25 * of()["w"], rtol=1e-5)
    latent = of()
    loud, quiet = (sampler.latent.decode(weights, one, None) for one in (latent, {"w": latent["w"]}))
    np.testing.assert_allclose((loud - quiet).std(), LOUD, rtol=0.2)
    every = {"w": jnp.tile(latent["w"][:, None], (1, LAYERS, 1))}
    np.testing.assert_allclose(sampler.latent.decode(weights, every, None), quiet, rtol=1e-5, atol=1e-6)
    z = jax.random.normal(jax.random.key(4), (2, Z))
    own = {"params": _state().params[GENERATOR], "styles": _state().net_state[GENERATOR]["styles"]}
    styles = G.apply(own, z, method="styles")
    of_z = _setup().samplers["z"].latent.decode(weights, z, None)
    np.testing.assert_allclose(of_z, sampler.latent.decode(weights, {"w": styles}, None), rtol=1e-6)


@pytest.mark.fault("stylegan2-ada-pytorch: the projector throws away the noise maps that it optimised with w")
def test_a_projection_renders_what_it_reports():
    """The least squares of a linear generator; the loss that is reported is that of what is returned."""
    weights, way = _state().weights, _setup().samplers["styles"].latent
    render = lambda w: way.decode(weights, {"w": w}, None)  # noqa: E731
    x = jax.random.normal(jax.random.key(5), (2, *SHAPE))
    find = jax.jit(lambda x, start: project(render, x, jax.random.key(6), start, jnp.ones(Z), steps=200))
    found = find(x, jnp.zeros(Z))
    matrix, _ = _matrix()
    flat = np.float64(x).reshape(2, -1)
    best = np.linalg.lstsq(matrix.T, flat.T, rcond=None)[0].T
    np.testing.assert_allclose(found.w, best, atol=0.02)
    np.testing.assert_allclose(found.losses[-1], np.square(best @ matrix - flat).mean(1), rtol=1e-4)
    np.testing.assert_allclose(found.x_hat, render(found.w), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.losses[-1], jnp.square(render(found.w) - x).mean((1, 2, 3)), rtol=1e-6)
    assert found.losses.shape == (201, 2) and (found.losses[0] > found.losses[-1]).all()
    np.testing.assert_allclose(find(x.at[1].set(0.0), jnp.zeros(Z)).w[0], found.w[0], rtol=1e-5)
    every = find(x, jnp.zeros((LAYERS, Z)))
    assert every.w.shape == (2, LAYERS, Z)
    np.testing.assert_allclose(every.w.mean(1), best, atol=0.02)


def test_latents_of_several_parts_have_no_paths(tmp_path):
    with pytest.raises(ConfigError, match=r"made of more than one vector; try --sampler \['z'\]"):
        explore("interpolation", _setup(), _state(), tmp_path / "x.png", count=2)
    lines = explore("interpolation", _setup(), _state(), tmp_path / "x.png", count=2, sampler="z")
    assert lines[-1] == str(tmp_path / "x.png") and (tmp_path / "x.png").is_file()


# -- the pictures of experiments/stylegan.py --------------------------------------------------------------------------


@cache
def _module():
    path = Path(__file__).parents[2] / "experiments" / "stylegan.py"
    spec = importlib.util.spec_from_file_location("stylegan", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["stylegan"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@cache
def _trained():
    return _module().trained(_setup(), _state().weights, jax.random.key(7))


def test_a_mixing_matrix():
    """Layer by layer: a third of the styles of B, the others of A; the generator takes their mean."""
    rows = _module().mixing(_trained(), 3)
    assert [row.caption.split("\n")[-1] for row in rows] == ["B"] + [
        f"{band} of B" for band in ("coarse", "middle", "fine") for _ in range(2)
    ]
    assert (rows[0].images[0] == 255).all()
    a, b = (_trained().latents(*of)["w"] for of in ((0, 2), (2, 3)))
    np.testing.assert_array_equal(rows[0].images[1:], _trained().images(b))
    for k, share in enumerate((0.5, 0.25, 0.25)):  # of four layers
        for i in range(2):
            row = rows[1 + 2 * k + i].images
            np.testing.assert_array_equal(row[:1], _trained().images(a[i : i + 1]))
            expected = _trained().images((1 - share) * a[i][None] + share * b)
            np.testing.assert_allclose(row[1:].astype(int), expected.astype(int), atol=1)


def test_truncation_noise_and_projection_are_drawn():
    images = [row.images for row in _module().truncation(_trained(), 3)]
    assert (images[0] == images[0][:1]).all() and (images[-1] != images[-1][:1]).any()
    for row in _module().noise(_trained(), 5):
        assert len(row.images) == 5
        level = float(row.note.split()[1])
        np.testing.assert_allclose(level, 127.5 * LOUD, rtol=0.3)
    rows = _module().projection(_trained(), 3, steps=4)
    assert [row.caption.replace("\n", " ") for row in rows] == [
        first for name in ("held out", "training") for first in (name, "one style", "a style for every layer")
    ]
    for k in (0, 3):
        for row in rows[k + 1 : k + 3]:
            error = np.sqrt(np.square(row.images / 255 - rows[k].images / 255).mean((1, 2, 3)))
            np.testing.assert_allclose(float(row.note.split()[1]), np.median(error), atol=0.003)


def test_paths_are_measured_by_what_an_extractor_sees(monkeypatch, capsys):
    """Of images from 0 to 255, where it is no pixels: the closed form again, through the command."""
    from ganjax import evaluation, training
    from ganjax.commands.base import Opened
    from ganjax.evaluation.extractor import Extractor, Features

    module, seen = _module(), np.random.default_rng(2).normal(size=(64, 5)).astype(np.float32)
    linear = Extractor("five sums", "", lambda w, x: Features(x.reshape(len(x), -1) @ w, None), seen, "none")
    chosen = evaluation.chosen_extractor
    monkeypatch.setattr(module, "opened", lambda *_: Opened(_setup(), Path("."), {}))
    monkeypatch.setattr(module, "config_of", lambda *_: (module.CONFIG, {}))
    monkeypatch.setattr(module, "networks", lambda *_: (G, None, Z))
    monkeypatch.setattr(training, "load_state", lambda *_: _state())
    monkeypatch.setattr(
        evaluation, "chosen_extractor", lambda name, *a, **b: linear if name == "classifier" else chosen(name, *a, **b)
    )
    matrix, mapping = _matrix()
    for name, to_features in {"pixels": np.eye(64), "classifier": 127.5 * seen}.items():
        module.Paths(workdir=Path("."), extractor=name, count=2000).run(module.EXPERIMENT)
        said = capsys.readouterr().out
        found = re.match(r"path length (\S+) \+- (\S+) a feature, of 2000 paths in w, all along", said)
        length, error = map(float, found.groups())
        expected = 2 * np.square(mapping @ matrix @ to_features).sum() / to_features.shape[1]
        assert abs(length - expected) < 4 * error < 0.3 * expected, (said, expected)
    assert said.endswith(", as five sums sees them\n")


def test_the_default_is_as_large_as_its_page_says():
    module, x = _module(), np.arange(2 * 64 * 64 * 3, dtype=np.uint8).reshape(2, 64, 64, 3)
    setup = module.build(module.CONFIG, lambda name: Dataset(x), None)
    batch = Batch(jax.ShapeDtypeStruct((4, 64, 64, 3), jnp.float32), None, jax.ShapeDtypeStruct((4,), jnp.int32))
    params, _ = jax.eval_shape(setup.game.init, jax.random.key(0), batch)
    sizes = {player: sum(leaf.size for leaf in jax.tree.leaves(own)) for player, own in params.items()}
    assert sizes == {GENERATOR: 350_520, DISCRIMINATOR: 366_945}
    assert "the default, 350,520 and 366,945 at 64 pixels" in module.__doc__
    assert tuple(getattr(module.CONFIG, name) for name in SIZES["small"]._fields) == SIZES["small"]


def test_the_weight_of_r1_is_the_authors(monkeypatch):
    """Half of gamma times the squared slope; `penalties.r1` has the half."""
    from ganjax import games

    seen = {}
    monkeypatch.setattr(games, "gan", lambda *args, **how: seen.update(how) or gan(*args, **how))
    module, data = _module(), _setup().streams["data"].dataset
    config = module.Config(**{**vars(module.CONFIG), **module.SMOKE})
    setup = module.build(config, lambda name: data, None)
    term = seen["terms"][DISCRIMINATOR]["r1"]
    np.testing.assert_allclose((term.weight, term.every), (0.0002 * 64 / 8, 2), rtol=1e-12)
    assert setup.game.group == 4 and setup.judged_by == "styles"
    taken = {f"{DISCRIMINATOR}/r1": config.r1_every, f"{GENERATOR}/path": config.path_every}
    assert setup.game.taken_every == taken, "in the log where they are due alone"
    with pytest.raises(ConfigError, match="--most is 8, expected left out with --preset config_f, which says it"):
        module.Config(**{**vars(module.CONFIG), "preset": "config_f", "most": 8})
