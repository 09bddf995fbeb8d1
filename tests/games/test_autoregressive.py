"""Autoregression against truth: images drawn two ways, frequencies against probabilities, completions, Bayes' rule."""

import dataclasses
import importlib.util
import sys
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax.core import Batch, Moment, Owned
from ganjax.data import load
from ganjax.dynamics import View
from ganjax.errors import ConfigError, DataError
from ganjax.games.autoregressive import (
    MODEL,
    autoregression,
    by_class,
    measures,
    naively,
    prefix,
    remembering,
    samplers,
    sliding,
)
from ganjax.layers.masked import mask
from ganjax.likelihoods import bernoulli, binarised, categorical, gaussian, logistic_mixture
from ganjax.models.pixelcnn import GatedPixelCNN, PixelCNN
from ganjax.models.pixelrnn import PixelRNN
from ganjax.models.transformer import Transformer
from ganjax.training import draw
from ganjax.training.setup import initial_state


@pytest.fixture(autouse=True)
def _double(float64):
    """Sums of probabilities need it."""


def drawn(module, shape, labels=None, scale=1.0, seed=0):
    """Weights from N(0, scale^2 / inputs), those under a mask too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)), labels)["params"]
    entries = lambda s: scale * rng.normal(size=s.shape) / np.sqrt(max(1, np.prod(s.shape[:-1])))  # noqa: E731
    return Owned(jax.tree.map(lambda s: jnp.asarray(entries(s)), shapes), {})


def keys_of(count, seed=0):
    return jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(count))


@pytest.mark.parametrize(
    ("network", "shape", "observation", "known"),
    [
        (GatedPixelCNN, (4, 5, 1), bernoulli(), 8),
        (PixelCNN, (3, 4, 3), categorical(3), 0),
        (GatedPixelCNN, (5, 1, 2), logistic_mixture(2, 5), 3),
        (PixelRNN, (4, 4, 1), bernoulli(), 5),
        (partial(Transformer, heads=2), (3, 4, 1), categorical(5), 5),
        (partial(GatedPixelCNN, values=5), (3, 4, 1), categorical(5), 5),
    ],
    ids=["gated", "colours", "column", "row_lstm", "transformer", "codes"],
)
def test_layers_that_remember_draw_the_images_of_the_whole_network(network, shape, observation, known):
    """The same to the last bit; what was said of each entry is what a pass over the finished image says."""
    module = network(observation.outputs, 6, 1, 2)
    labels, keys = jnp.arange(3) % 2, keys_of(3)
    own = drawn(module, shape, labels[:1], 2.0)
    x = jnp.asarray(np.random.default_rng(2).choice([-1.0, 1.0], (3, *shape)))
    ways = (jax.jit(partial(way, module, observation, known=known)) for way in (remembering, naively))
    fast, slow = (way(own, keys, x, labels=labels) for way in ways)
    np.testing.assert_array_equal(fast.x, slow.x)
    np.testing.assert_array_equal(fast.x.reshape(3, -1)[:, :known], x.reshape(3, -1)[:, :known])
    whole = jax.jit(module.apply)({"params": own.params}, fast.x, labels)
    np.testing.assert_allclose(fast.outputs, whole, atol=1e-12)
    np.testing.assert_allclose(slow.outputs, whole, atol=1e-12)
    assert len(np.unique(fast.x)) > 1 and (fast.x[0] != fast.x[2]).any()


def test_a_larger_map_is_drawn_of_windows():
    """Each entry of the window around it, held inside of the map; of the window's size it is the map of `naively`."""
    module, seen, window, size, keys = Transformer(3, 4, 1, heads=2), categorical(3), (2, 3), (3, 4), keys_of(2)
    own = drawn(module, (*window, 1))
    slide = jax.jit(partial(sliding, module, seen), static_argnums=(2, 3))
    say = jax.jit(lambda x: module.apply({"params": own.params}, x))
    x = np.zeros((2, *size, 1))
    for i in range(12):
        row, column = divmod(i, 4)
        top, left = min(max(row - 1, 0), 1), min(max(column - 1, 0), 1)
        logits = say(jnp.asarray(x[:, top : top + 2, left : left + 3]))[:, row - top, column - left]
        x[:, row, column] = [seen.sample(jax.random.fold_in(k, i), o) for k, o in zip(keys, logits, strict=True)]
    np.testing.assert_array_equal(slide(own, keys, window, size), x)
    assert len(np.unique(x)) > 1 and (x[0] != x[1]).any()
    whole = jax.jit(partial(naively, module, seen, known=0, labels=None))(own, keys, jnp.zeros((2, *window, 1)))
    np.testing.assert_array_equal(slide(own, keys, window, window), whole.x)
    with pytest.raises(ValueError, match=r"size is \(1, 5\), expected at least the window \(2, 3\)"):
        sliding(module, seen, own, keys, window, (1, 5))


SHAPE = (2, 2, 1)
STATES = np.array(np.meshgrid(*[[-1.0, 1.0]] * 4, indexing="ij")).reshape(4, -1).T.reshape(-1, *SHAPE)
COUNT = 40_000


@cache
def _tiny():
    """A conditional model of 2x2 binary images, its weights, and log p(x | y) of each, [16, 2]."""
    module = GatedPixelCNN(1, 4, 0, 2)
    own = drawn(module, SHAPE, jnp.zeros(1, int), seed=27)
    stack = own.params["horizontal"]  # classes that differ
    stack["OfClass_0"]["Embed_0"]["embedding"] *= 6
    stack["Outputs_0"]["MaskedConv_1"]["kernel"] *= 8
    return module, own, jax.jit(lambda own: by_class(module, bernoulli(), own, jnp.asarray(STATES), 2))(own)


def _frequencies(x):
    numbers = (np.asarray(x).reshape(len(x), 4) > 0) @ [8, 4, 2, 1]
    return np.bincount(numbers, minlength=16) / len(x)


def _agree(found, expected, count=COUNT):
    assert (np.abs(found - expected) < 4.5 * np.sqrt(expected * (1 - expected) / count) + 1e-12).all()


def test_images_are_drawn_as_often_as_they_are_probable():
    module, own, log_p = _tiny()
    draw = jax.jit(samplers(module, bernoulli(), SHAPE, classes=2)["samples"].draw)
    x = draw({MODEL: own}, jax.random.key(0), jnp.arange(COUNT), jnp.ones(COUNT, int))
    _agree(_frequencies(x), np.exp(log_p[:, 1]))
    again = draw({MODEL: own}, jax.random.key(0), jnp.arange(COUNT)[::-1], jnp.ones(COUNT, int))
    np.testing.assert_array_equal(x[::-1], again)


def test_completions_are_drawn_of_what_is_kept_and_of_a_class_that_fits():
    """p(lower | upper) of the mixture of both classes: a completion's class is that of p(y | kept)."""
    module, own, log_p = _tiny()
    complete = jax.jit(samplers(module, bernoulli(), SHAPE, classes=2)["completion"].draw)
    given = jnp.broadcast_to(jnp.asarray(STATES[8])[None], (COUNT, *SHAPE))  # 1 -1 above
    x = complete({MODEL: own}, jax.random.key(1), jnp.arange(COUNT), given)
    np.testing.assert_array_equal(x[:, 0], given[:, 0])
    p = np.exp(np.asarray(log_p)).mean(1)
    expected = np.where(np.arange(16) // 4 == 2, p, 0) / p[8:12].sum()
    _agree(_frequencies(x), expected)
    each = np.exp(np.asarray(log_p))[8:12]
    for alone in (*(each / each.sum(0)).T, (each / each.sum(0)).mean(1)):
        assert np.abs(alone - expected[8:12]).max() > 0.1, "either class alone, or one by a coin, would be seen"


def test_only_the_first_pixels_can_be_kept():
    assert prefix(np.zeros((2, 3), bool)) == 0 and prefix(np.arange(6).reshape(2, 3) < 4) == 4
    with pytest.raises(ValueError, match=r"a gap at row 0, column 1, expected the first pixels in raster order"):
        samplers(PixelCNN(), bernoulli(), (4, 2, 1), kept=np.arange(2)[None].repeat(4, 0) < 1)
    with pytest.raises(ValueError, match=r"kept has shape \(2, 2\), expected \(4, 2\), a pixel each"):
        samplers(PixelCNN(), bernoulli(), (4, 2, 1), kept=np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="gaussian is a density whose values cannot be drawn; take another"):
        samplers(PixelCNN(), gaussian(1.0), (4, 2, 1))


def test_what_is_completed_is_prepared_by_its_own_key():
    """Grey pixels become binary as in training; binary ones stay as they are."""
    complete = jax.jit(samplers(PixelCNN(1, 1, 0), bernoulli(), (2, 6, 1), prepare=binarised)["completion"].draw)
    own = drawn(PixelCNN(1, 1, 0), (2, 6, 1))
    x = jnp.stack([jnp.zeros((2, 6, 1)), jnp.ones((2, 6, 1)), -jnp.ones((2, 6, 1))])
    found = complete({MODEL: own}, jax.random.key(0), jnp.arange(3), x)
    assert set(np.unique(found)) == {-1.0, 1.0} and len(np.unique(found[0, 0])) == 2
    np.testing.assert_array_equal(found[1:, 0], x[1:, 0])
    other = complete({MODEL: own}, jax.random.key(0), jnp.array([2, 1, 0]), x[::-1])
    np.testing.assert_array_equal(found, other[::-1])


def _moment(y=None):
    x = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], (8, *SHAPE)))
    return Moment({MODEL: {}}, Batch(x, y, jnp.arange(8)), jax.random.key(0))


def test_the_cost_is_the_negative_log_likelihood():
    module, own, log_p = _tiny()
    moment = _moment(jnp.arange(8) % 2)
    value, outcome = jax.jit(autoregression(module, bernoulli()).costs[MODEL])({MODEL: own.params}, moment)
    rows = (np.asarray(moment.batch.x).reshape(8, 4) > 0) @ [8, 4, 2, 1]
    np.testing.assert_allclose(value, -np.asarray(log_p)[rows, np.arange(8) % 2].mean(), rtol=1e-12)
    np.testing.assert_allclose(outcome.metrics["bits_per_dimension"], value / 4 / np.log(2), rtol=1e-12)


def test_after_a_step_with_weight_decay_it_still_sums_to_one():
    """Weights under a mask move, and do not matter."""
    module, observation, moment = PixelCNN(1, 2, 0), bernoulli(), _moment()
    game, own, x = autoregression(module, observation), drawn(module, SHAPE), jnp.asarray(STATES)
    slope = jax.jit(lambda params: View(game, moment).field({MODEL: params}).gradients[MODEL])(own.params)
    under = mask("A", 4, 7, 3, 1, 1, 4) == 0
    np.testing.assert_array_equal(np.asarray(slope["MaskedConv_0"]["kernel"])[under], 0)
    optimiser = optax.adamw(0.1, weight_decay=0.1)
    moves, _ = optimiser.update(slope, optimiser.init(own.params), own.params)
    params = optax.apply_updates(own.params, moves)
    p = jax.jit(lambda params: jnp.exp(observation.log_prob(module.apply({"params": params}, x), x)))(params)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)


def test_measures_by_enumeration():
    """Bits and nats of p(x | y), the accuracy of Bayes' rule, and images that are binarised each by its own key."""
    module, own, log_p = _tiny()
    found, weights = measures(module, bernoulli(), classes=2), {MODEL: own}
    batch = Batch(jnp.asarray(STATES), jnp.arange(16) % 2, jnp.arange(16))
    nats = -np.asarray(log_p)[np.arange(16), np.arange(16) % 2]
    values = jax.jit(lambda w, b: {n: m.values(w, b, jax.random.key(0)) for n, m in found.items()})(weights, batch)
    np.testing.assert_allclose(values["nats"], nats, rtol=1e-12)
    np.testing.assert_allclose(values["bits_per_dimension"], nats / 4 / np.log(2), rtol=1e-12)
    np.testing.assert_array_equal(values["accuracy"], np.asarray(log_p).argmax(1) == np.arange(16) % 2)
    assert {measure.y for measure in found.values()} == {"class"}
    prepared = measures(PixelCNN(1, 2, 0), bernoulli(), prepare=binarised)["nats"]
    plain = {MODEL: drawn(PixelCNN(1, 2, 0), SHAPE)}
    grey = Batch(jnp.zeros((9, *SHAPE)), None, jnp.arange(9))
    value = jax.jit(lambda batch: prepared.values(plain, batch, jax.random.key(0)))
    one, other = value(grey), value(grey._replace(position=jnp.arange(9)[::-1]))
    np.testing.assert_allclose(one, other[::-1], rtol=1e-12)
    assert len(np.unique(np.asarray(one).round(9))) > 3


class Silent(nn.Module):
    """One number too few."""

    @nn.compact
    def __call__(self, x, labels=None):
        return self.param("offset", nn.initializers.zeros, (1, 1, 1, 1)) + x


def test_what_does_not_fit_is_refused():
    game, key = autoregression(Silent(), categorical(4)), jax.random.key(0)
    with pytest.raises(ValueError, match=r"makes \(2, 2, 1\) of an example, expected \(2, 2, 4\), 4 for each entry"):
        jax.eval_shape(game.init, key, _moment().batch)
    with pytest.raises(ValueError, match=r"examples have shape \(3,\), expected images \(H, W, C\)"):
        jax.eval_shape(game.init, key, Batch(jnp.zeros((2, 3)), None, jnp.arange(2)))


def experiment(name):
    path = Path(__file__).parents[2] / "experiments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.EXPERIMENT


def test_several_completions_of_an_image_keep_its_bytes():
    """Images in turn, each completed in another way; rows as `--keep` says."""
    made = experiment("pixelcnn")
    with jax.enable_x64(False):
        setup = made.build(dataclasses.replace(made.config, **made.smoke, keep=3), load, None)
        given = np.resize(np.random.default_rng(0).choice([0, 255], (2, 8, 8, 1)), (6, 8, 8, 1)).astype(np.uint8)
        state, key = initial_state(setup, 0), jax.random.key(0)
        x = draw(setup, state, key, 6, given, sampler="completion")
        with pytest.raises(ConfigError, match="--truncation: what is drawn of this run has no latent"):
            draw(setup, state, key, 6, truncation=1.0)
    np.testing.assert_array_equal(x[:, :3], given[:, :3])
    assert len({one.tobytes() for one in x}) == 6 and (x[:, 3:] != given[:, 3:]).any((1, 2, 3)).all()


@pytest.mark.parametrize(
    ("name", "options", "error", "said"),
    [
        ("pixelcnn", {"keep": 9}, ConfigError, "--keep is 9, expected at most 8, the rows of digits"),
        ("pixelcnn", {"data": "ring"}, DataError, "ring has points .* expected images"),
        ("pixelrnn", {"data": "ring"}, DataError, "ring has points .* expected images"),
        ("pixelcnn", {"data": "fluent_emoji"}, ConfigError, "--width is 4, expected a multiple of the 3 channels"),
        ("pixelrnn", {"data": "fluent_emoji"}, ConfigError, "--width is 4, expected a multiple of the 3 channels"),
        ("pixelcnn", {"levels": 4}, ConfigError, "--levels is 4, expected left out with --observation bernoulli"),
        ("pixelrnn", {"levels": 1}, ConfigError, "--levels is 1, expected 2 to 256"),
    ],
)
def test_options_that_do_not_fit_are_refused(name, options, error, said):
    made = experiment(name)
    with pytest.raises(error, match=said):
        made.build(dataclasses.replace(made.config, **made.smoke | options), load, None)
