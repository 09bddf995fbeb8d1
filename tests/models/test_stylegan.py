"""StyleGAN2 against published counts and its own laws."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.signal import firwin, upfirdn

from ganjax.errors import DataError
from ganjax.games.styles import path_lengths, style_prior
from ganjax.layers.equalised import Conv, Dense, pixel_norm
from ganjax.layers.minibatch import MinibatchStandardDeviation
from ganjax.layers.modulated import modulated_conv
from ganjax.layers.resampling import (
    LOW_PASS,
    conv,
    low_pass_double,
    smooth_conv_then_pool,
    smooth_double,
    smooth_double_then_conv,
)
from ganjax.models.stylegan import (
    SIZES,
    Discriminator,
    Generator,
    Synthesis,
    ToImage,
    Waves,
    channels,
    frequencies,
    sides,
    waves,
)

SMALL = {"base": 64, "most": 8}


def _count(module, *args, **kwargs):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *args, **kwargs))["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def _latents(count, size, layers, mixing=0.9):
    draw = jax.vmap(style_prior(size, layers, mixing=mixing))
    return jax.jit(lambda key: draw(jax.random.split(key, count)))(jax.random.key(5))


@pytest.mark.parametrize(
    ("shape", "sizes", "generator", "discriminator"),
    [
        ((1024, 1024, 3), "config_f", 30_370_060, 29_012_513),  # configuration F
        ((256, 256, 3), "config_f_256", 24_767_458, 24_001_089),  # the paper's for 256 pixels
        ((64, 64, 3), "small", 350_520, 366_945),
        ((64, 64, 1), "small", 349_934, 366_881),
        ((64, 64, 3), "medium", 1_428_312, 1_465_025),
    ],
)
def test_parameters(shape, sizes, generator, discriminator):
    latent, style, mapping, base, most = SIZES[sizes]
    zeros = _zeros(latent, Synthesis(shape).layers)
    assert _count(Generator(shape, style, mapping, base, most), zeros, train=False) == generator
    assert _count(Discriminator(base, most), jnp.zeros((4, *shape))) == discriminator


def _zeros(size, layers):
    latent = jax.eval_shape(lambda: _latents(4, size, layers))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), latent)


def test_maps_of_other_sides_and_their_channels():
    assert sides((28, 28, 1)) == (7, 14, 28) and sides((48, 48, 3)) == (6, 12, 24, 48)
    assert [channels(side, 2048, 64) for side in (4, 7, 28, 32, 33, 64, 4096)] == [64, 64, 64, 64, 32, 32, 1]
    latent, style, mapping, base, most = SIZES["smaller"]
    zeros, shape = _zeros(latent, 6), (28, 28, 1)
    plain, free = (
        _count(Generator(shape, style, mapping, base, most, alias_free=free), zeros, train=False)
        for free in (False, True)
    )
    assert free - plain == (64 * 4 + 4 + 64 * 64) - 7 * 7 * 64, "waves, moved by a style, for learned numbers"


@pytest.fixture
def maps(float64):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=s)) for s in ((3, 6, 6, 4), (3, 3, 4, 5), (3, 4))]


@pytest.mark.parametrize("resample", ["none", "up"])
def test_kernels_of_each_example_say_what_activations_do(maps, resample):
    x, kernel, style = maps
    plain = jax.jit(conv if resample == "none" else smooth_double_then_conv)
    own = np.asarray(kernel)[None] * np.asarray(style)[:, None, None, :, None]
    own = own / np.sqrt(np.square(own).sum((1, 2, 3), keepdims=True) + 1e-8)
    expected = np.concatenate([plain(np.asarray(x)[i : i + 1], own[i]) for i in range(len(x))])
    found = jax.jit(partial(modulated_conv, resample=resample))(x, kernel, style)
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_the_size_of_a_style_is_forgotten_and_its_sign_is_not(maps):
    x, kernel, style = maps
    kernel, style = np.asarray(kernel), np.asarray(style)
    normed, plain = (jax.jit(partial(modulated_conv, demodulate=demodulate)) for demodulate in (True, False))
    y = np.asarray(normed(x, 100 * kernel, style))
    np.testing.assert_allclose(normed(x, 100 * kernel, 7 * style), y, rtol=1e-9)
    np.testing.assert_allclose(normed(x, 100 * kernel, -style), -y, rtol=1e-12)
    np.testing.assert_allclose(plain(x, kernel, 7 * style), 7 * np.asarray(plain(x, kernel, style)), rtol=1e-12)


@pytest.mark.parametrize("resample", ["none", "up"])
def test_single_precision_is_enough_for_loud_and_quiet_styles(resample, float64):
    rng = np.random.default_rng(4)
    size = 10 ** rng.uniform(-1, 3, (4, 1))
    x, kernel, style = rng.normal(size=(4, 6, 6, 32)), rng.normal(size=(3, 3, 32, 32)), size * rng.normal(size=(4, 32))
    run = jax.jit(partial(modulated_conv, resample=resample))
    exact, found = run(x, kernel, style), run(*(one.astype(np.float32) for one in (x, kernel, style)))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, atol=1e-5)  # of unit variance


def test_the_layer_of_the_image_forgets_no_size_of_a_style(maps):
    """By hand `(s x) W / sqrt(C) + b`: a style of 7 times the size makes 7 times the image, beside the bias."""
    rng, (x, _, w) = np.random.default_rng(5), maps
    shapes = {"style_bias": (4,), "style": (4, 4), "kernel": (1, 1, 4, 3)}
    own, bias = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}, jnp.arange(3.0)
    run = jax.jit(
        lambda own: ToImage(3).apply({"params": {"conv": own, "bias": bias}}, x, w) - bias.reshape(1, 1, 1, 3)
    )
    style = np.asarray(w) @ own["style"] / 2 + own["style_bias"][None]
    expected = np.einsum("bhwc,bc,co->bhwo", x, style / 2, own["kernel"][0, 0])
    np.testing.assert_allclose(run(own), expected, atol=1e-12)
    loud = {name: leaf if name == "kernel" else 7 * leaf for name, leaf in own.items()}
    np.testing.assert_allclose(run(loud), 7 * expected, atol=1e-12)


def test_white_noise_keeps_its_variance(maps):
    rng = np.random.default_rng(1)
    x, kernel = rng.normal(size=(1, 130, 130, 6)), rng.normal(size=(3, 3, 6, 8))
    y = np.asarray(jax.jit(modulated_conv)(x, kernel, rng.normal(size=(1, 6))))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(y.var(), 1, atol=0.02)


def test_smoothing_keeps_a_constant_and_halving_is_the_transpose_of_doubling(maps):
    x, kernel, _ = maps
    flat = jax.jit(smooth_double_then_conv)(np.ones((1, 8, 8, 1)), np.ones((3, 3, 1, 1)))
    flat = np.asarray(flat)
    np.testing.assert_allclose(flat[0, 4:-4, 4:-4], 9, rtol=1e-12)
    y = np.random.default_rng(2).normal(size=(3, 12, 12, 5))
    (back,) = jax.jit(lambda y: jax.vjp(lambda x: smooth_double_then_conv(x, kernel), x)[1](y))(y)
    down = jax.jit(smooth_conv_then_pool)(y, np.asarray(kernel)[::-1, ::-1].swapaxes(2, 3))
    np.testing.assert_allclose(back, 4 * np.asarray(down), atol=1e-12)


def test_an_equalised_layer_scales_its_weights_and_the_steps_of_adam(maps):
    layer, x = Dense(5, gain=2.0, rate=0.01, bias=1.0), maps[2]
    params = layer.init(jax.random.key(0), x)["params"]
    np.testing.assert_allclose(layer.apply({"params": params}, x), x @ (params["kernel"] * 0.01) + 1, rtol=1e-12)
    assert 60 < np.std(params["kernel"]) < 140  # 1 / rate
    moved = jax.tree.map(lambda w: w + 1e-3, params)  # a step of Adam
    grown = layer.apply({"params": moved}, jnp.eye(4)) - layer.apply({"params": params}, jnp.eye(4))
    np.testing.assert_allclose(grown, 1e-3 * 0.01 * (2 / 2 + 1), rtol=1e-6)  # gain over the root of 4, and the bias
    np.testing.assert_allclose(jnp.square(pixel_norm(x)).mean(-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("layer", "side", "constant"),
    [
        (Dense(5, gain=2.0, rate=0.1, use_bias=False), (), 2 * 0.1 / math.sqrt(4)),
        (Conv(5, 1, use_bias=False), (1, 1), 1 / math.sqrt(4)),
        (Conv(5, gain=2.0, use_bias=False), (3, 3), 2 / math.sqrt(9 * 4)),
    ],
    ids=["dense", "1x1", "3x3"],
)
def test_a_step_of_adam_moves_the_weights_that_act_by_its_rate_times_their_constant(layer, side, constant, float64):
    """They are the outputs of an impulse in each channel."""
    x = jnp.zeros((4, *side, 4)).at[:, *(n // 2 for n in side)].set(jnp.eye(4))
    params, adam = layer.init(jax.random.key(0), x), optax.adam(0.01)
    slope = jnp.asarray(np.random.default_rng(6).choice([-3.0, 0.5], (*x.shape[:-1], 5)))

    @jax.jit
    def moved(params):
        y, pull = jax.vjp(lambda params: layer.apply(params, x), params)
        step, _ = adam.update(pull(slope)[0], adam.init(params))
        return layer.apply(optax.apply_updates(params, step), x) - y

    np.testing.assert_allclose(moved(params), -0.01 * constant * np.sign(slope), rtol=1e-6)


@pytest.fixture(scope="module")
def small():
    """A generator of 8x8 images whose noise is heard, and latents."""
    module = Generator((8, 8, 1), 6, 2, **SMALL)
    latent = _latents(4, 6, 4, mixing=1.0)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), latent)
    heard = jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.float32(leaf) + np.float32(0.3 * (path[-1].key == "noise")), variables["params"]
    )
    return module, {**variables, "params": heard}, latent


def test_truncation_is_affine_from_one_image_to_all(small):
    module, variables, latent = small
    variables = {**variables, "styles": {"w_avg": jnp.arange(6.0)}}
    ask = lambda method, *args: module.apply(variables, *args, method=method)  # noqa: E731
    w, mean = jax.jit(lambda z: ask("styles", z))(latent["z"]), jnp.arange(6.0)[None]
    np.testing.assert_array_equal(ask("truncated", w, 1.0), mean + (w - mean))
    np.testing.assert_allclose(ask("truncated", w, 0.25), 0.75 * ask("truncated", w, 0.0) + 0.25 * w, rtol=1e-6)
    np.testing.assert_array_equal(ask("truncated", w, 0.0), jnp.tile(mean, (4, 1)))
    same = np.asarray(jax.jit(lambda w: ask("render", ask("truncated", w, 0.0)))(w))
    np.testing.assert_array_equal(same, np.broadcast_to(same[:1], same.shape))


def test_mixing_with_oneself_is_no_mixing_and_layers_before_the_cut_are_of_the_first(small):
    module, variables, latent = small
    call = jax.jit(lambda latent: module.apply(variables, latent, train=False))
    own = {**latent, "other": latent["z"]}
    np.testing.assert_array_equal(call(own), call({**own, "cut": jnp.full(4, 4)}))
    mixed = module.apply(variables, jnp.zeros((4, 6)), jnp.ones((4, 6)), jnp.arange(4) + 1, method="mixed")
    np.testing.assert_array_equal(mixed[..., 0], np.arange(4) >= np.arange(4)[:, None] + 1)
    assert (np.asarray(call(latent)) != np.asarray(call({**latent, "noise": latent["noise"] + 1}))).any()


def test_w_avg_follows_in_training_alone(small):
    module, variables, latent = small
    learn = lambda train: lambda latent: module.apply(variables, latent, train=train, mutable=["styles"])[1]  # noqa: E731
    after = jax.jit(learn(True))(latent)
    w = jax.jit(lambda z: module.apply(variables, z, method="styles"))(latent["z"])
    np.testing.assert_allclose(after["styles"]["w_avg"], 0.005 * w.mean(0), rtol=1e-5)
    after = jax.jit(learn(False))(latent)
    np.testing.assert_array_equal(after["styles"]["w_avg"], 0)


def test_path_lengths_of_a_linear_generator(float64):
    """Orthonormal columns times c: `E length^2 = |J|_F^2 / pixels`, and the penalty has a floor above 0."""
    rng, c, size, side = np.random.default_rng(0), 3.0, 8, 8
    q, _ = np.linalg.qr(rng.normal(size=(side * side, size)))
    y = jnp.asarray(rng.normal(size=(40_000, side, side, 1)))
    lengths = path_lengths(lambda w: (c * w[:, 0] @ q.T).reshape(-1, side, side, 1), jnp.zeros((40_000, 1, size)), y)
    np.testing.assert_allclose(jnp.square(lengths).mean(), c**2 * size / side**2, rtol=0.01)
    chi = math.sqrt(2) * math.gamma((size + 1) / 2) / math.gamma(size / 2)
    np.testing.assert_allclose(lengths.mean(), c * chi / side, rtol=0.01)
    np.testing.assert_allclose(lengths.var(), c**2 * (size - chi**2) / side**2, rtol=0.03)  # 0.0680
    np.testing.assert_allclose(c**2 * (size - chi**2) / side**2, 0.0680, atol=5e-5)


def test_shapes_that_do_not_fit_are_refused():
    for shape in ((30, 30, 1), (28, 32, 1), (7, 7, 1), (22, 22, 3), (32, 32)):
        with pytest.raises(DataError, match=r"a side of 4, 5, 6 or 7 times 2, 4, 8"):
            sides(shape)
    with pytest.raises(ValueError, match=r"expected \[B, 4, W\]"):
        Synthesis((8, 8, 1), **SMALL).init(jax.random.key(0), jnp.zeros((2, 3, 6)))


def test_a_shift_moves_the_waves_pixel_by_pixel():
    """And a turn by a right angle turns them; at first a style does neither."""
    turned, shift = np.float32([[1, 0]]), np.float32([[1 / 8, -2 / 8]])
    how = frequencies(12, 2.0)
    draw = jax.jit(lambda turn, shift: waves(*how, turn, shift, 8))
    x, moved = (np.asarray(draw(turned, by)) for by in (0 * shift, shift))
    np.testing.assert_allclose(moved[:, :-2, 1:], x[:, 2:, :-1], atol=2e-6)
    right = draw(np.float32([[0, 1]]), 0 * shift)
    np.testing.assert_allclose(right, np.rot90(x, 1, (1, 2)), atol=2e-6)
    params = jax.jit(Waves(12, 8).init)(jax.random.key(0), np.ones((1, 5), np.float32))
    mixture = np.asarray(params["params"]["mixture"]) / math.sqrt(12)
    found = jax.jit(Waves(12, 8).apply)(params, np.full((1, 5), 9, np.float32))
    np.testing.assert_allclose(found, x @ mixture, atol=1e-5)


def test_frequencies_are_equally_dense_in_a_disc():
    place, phase = (np.asarray(one) for one in frequencies(512, 3.0))
    radius = np.linalg.norm(place, axis=1) / 3
    np.testing.assert_allclose(np.quantile(radius, (0.25, 0.5, 0.75)), (0.5, 0.7071, 0.8660), atol=2e-3)
    for angle in (np.arctan2(*place.T) / (2 * np.pi) % 1, phase):
        np.testing.assert_allclose(np.histogram(angle, 8, (0, 1))[0], 64, atol=4)
    assert abs(np.corrcoef(np.arctan2(*place.T), phase)[0, 1]) < 0.05


def test_the_low_pass_filter(maps):
    """SciPy's taps, and its doubling along each side."""
    np.testing.assert_allclose(LOW_PASS, firwin(12, 0.5, width=0.5), rtol=1e-12)
    x = maps[0]
    y = np.asarray(x)
    for axis in (1, 2):
        y = np.moveaxis(upfirdn(2 * np.array(LOW_PASS), np.moveaxis(y, axis, -1), up=2)[..., 5:17], -1, axis)
    centre = np.zeros((3, 3, 4, 4))
    centre[1, 1] = np.eye(4)
    doubled, low, plain, smooth = jax.jit(
        lambda x, kernel: (
            low_pass_double(x),
            smooth_double_then_conv(x, kernel, LOW_PASS),
            smooth_double_then_conv(x, kernel),
            smooth_double(x),
        )
    )(x, centre)
    np.testing.assert_allclose(doubled, y, atol=1e-12)
    np.testing.assert_allclose(low, doubled, atol=1e-12)
    np.testing.assert_allclose(plain, smooth, atol=1e-12)


def test_the_deviation_of_a_group_of_white_noise(float64):
    """`E = sqrt(2 / 4) Gamma(2) / Gamma(1.5)` for groups of four; nearly nothing where all are equal."""
    x = jnp.asarray(np.random.default_rng(3).normal(size=(400, 200)))
    found = MinibatchStandardDeviation(4).apply({}, x)[:, -1]
    np.testing.assert_allclose(found.mean(), 0.79788, atol=0.008)
    np.testing.assert_allclose(math.sqrt(2 / 4) * math.gamma(2) / math.gamma(1.5), 0.79788, atol=5e-6)
    np.testing.assert_array_equal(found[:100], found[100:200])  # i and i + B / 4 share a group
    np.testing.assert_allclose(MinibatchStandardDeviation(4).apply({}, jnp.ones((8, 5)))[:, -1], 1e-4, rtol=1e-9)
    assert not Discriminator.by_example, "or real and generated images were compared with each other"
