"""StyleGAN2 against published counts and its own laws."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.errors import DataError
from ganjax.games.styles import path_lengths, style_prior
from ganjax.layers.equalised import Dense, pixel_norm
from ganjax.layers.modulated import modulated_conv
from ganjax.layers.resampling import conv, smooth_conv_then_pool, smooth_double_then_conv
from ganjax.models.stylegan import Discriminator, Generator, Synthesis

SMALL = {"base": 64, "most": 8}


def _count(module, *args, **kwargs):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *args, **kwargs))["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def _latents(count, size, layers, mixing=0.9):
    return jax.vmap(style_prior(size, layers, mixing=mixing))(jax.random.split(jax.random.key(5), count))


@pytest.mark.parametrize(
    ("shape", "size", "layers", "base", "most", "generator", "discriminator"),
    [
        ((1024, 1024, 3), 512, 8, 32768, 512, 30_370_060, 29_012_513),  # configuration F
        ((256, 256, 3), 512, 8, 16384, 512, 24_767_458, 24_001_089),  # the paper's for 256 pixels
        ((64, 64, 3), 64, 2, 2048, 64, 350_520, 366_945),
        ((64, 64, 1), 64, 2, 2048, 64, 349_934, 366_881),
        ((64, 64, 3), 128, 4, 4096, 128, 1_428_312, 1_465_025),
    ],
)
def test_parameters(shape, size, layers, base, most, generator, discriminator):
    g = Generator(shape, size, layers, base, most)
    latent = jax.eval_shape(lambda: _latents(4, size, Synthesis(shape).layers))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), latent)
    assert _count(g, zeros, train=False) == generator
    assert _count(Discriminator(base, most), jnp.zeros((4, *shape))) == discriminator


@pytest.fixture
def maps(float64):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=s)) for s in ((3, 6, 6, 4), (3, 3, 4, 5), (3, 4))]


@pytest.mark.parametrize("resample", ["none", "up"])
def test_kernels_of_each_example_say_what_activations_do(maps, resample):
    x, kernel, style = maps
    plain = conv if resample == "none" else smooth_double_then_conv
    own = kernel[None] * style[:, None, None, :, None]
    own = own / jnp.sqrt(jnp.square(own).sum((1, 2, 3), keepdims=True) + 1e-8)
    expected = jnp.concatenate([plain(x[i : i + 1], own[i]) for i in range(len(x))])
    np.testing.assert_allclose(modulated_conv(x, kernel, style, resample=resample), expected, atol=1e-13)


def test_the_size_of_a_style_is_forgotten_and_its_sign_is_not(maps):
    x, kernel, style = maps
    y = modulated_conv(x, 100 * kernel, style)
    np.testing.assert_allclose(modulated_conv(x, 100 * kernel, 7 * style), y, rtol=1e-9)
    np.testing.assert_allclose(modulated_conv(x, 100 * kernel, -style), -y, rtol=1e-12)
    plain = modulated_conv(x, kernel, 7 * style, demodulate=False)
    np.testing.assert_allclose(plain, 7 * modulated_conv(x, kernel, style, demodulate=False), rtol=1e-12)


def test_white_noise_keeps_its_variance(maps):
    rng = np.random.default_rng(1)
    x, kernel = jnp.asarray(rng.normal(size=(1, 130, 130, 6))), jnp.asarray(rng.normal(size=(3, 3, 6, 8)))
    y = modulated_conv(x, kernel, jnp.asarray(rng.normal(size=(1, 6))))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(y.var(), 1, atol=0.02)


def test_smoothing_keeps_a_constant_and_halving_is_the_transpose_of_doubling(maps):
    x, kernel, _ = maps
    flat = smooth_double_then_conv(jnp.ones((1, 8, 8, 1)), jnp.ones((3, 3, 1, 1)))[0, 4:-4, 4:-4]
    np.testing.assert_allclose(flat, 9, rtol=1e-12)
    y = jnp.asarray(np.random.default_rng(2).normal(size=(3, 12, 12, 5)))
    (back,) = jax.vjp(lambda x: smooth_double_then_conv(x, kernel), x)[1](y)
    down = smooth_conv_then_pool(y, kernel[::-1, ::-1].swapaxes(2, 3))
    np.testing.assert_allclose(back, 4 * down, atol=1e-12)


def test_an_equalised_layer_scales_its_weights_and_the_steps_of_adam(maps):
    layer, x = Dense(5, gain=2.0, rate=0.01, bias=1.0), maps[2]
    params = layer.init(jax.random.key(0), x)["params"]
    np.testing.assert_allclose(layer.apply({"params": params}, x), x @ (params["kernel"] * 0.01) + 1, rtol=1e-12)
    assert 60 < np.std(params["kernel"]) < 140  # 1 / rate
    moved = jax.tree.map(lambda w: w + 1e-3, params)  # a step of Adam
    grown = layer.apply({"params": moved}, jnp.eye(4)) - layer.apply({"params": params}, jnp.eye(4))
    np.testing.assert_allclose(grown, 1e-3 * 0.01 * (2 / 2 + 1), rtol=1e-6)  # gain over the root of 4, and the bias
    np.testing.assert_allclose(jnp.square(pixel_norm(x)).mean(-1), 1, rtol=1e-6)


@pytest.fixture(scope="module")
def small():
    """A generator of 8x8 images whose noise is heard, and latents."""
    module = Generator((8, 8, 1), 6, 2, **SMALL)
    latent = _latents(4, 6, 4, mixing=1.0)
    variables = module.init(jax.random.key(0), latent, train=False)
    heard = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 0.3 if path[-1].key == "noise" else leaf, variables["params"]
    )
    return module, {**variables, "params": heard}, latent


def test_truncation_is_affine_from_one_image_to_all(small):
    module, variables, latent = small
    variables = {**variables, "styles": {"w_avg": jnp.arange(6.0)}}
    ask = lambda method, *args: module.apply(variables, *args, method=method)  # noqa: E731
    w, mean = ask("styles", latent["z"]), jnp.arange(6.0)[None]
    np.testing.assert_array_equal(ask("truncated", w, 1.0), mean + (w - mean))
    np.testing.assert_allclose(ask("truncated", w, 0.25), 0.75 * ask("truncated", w, 0.0) + 0.25 * w, rtol=1e-6)
    same = ask("render", ask("truncated", w, 0.0))
    np.testing.assert_array_equal(same, jnp.broadcast_to(same[:1], same.shape))


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
    _, after = module.apply(variables, latent, train=True, mutable=["styles"])
    w = module.apply(variables, latent["z"], method="styles")
    np.testing.assert_allclose(after["styles"]["w_avg"], 0.005 * w.mean(0), rtol=1e-5)
    _, after = module.apply(variables, latent, train=False, mutable=["styles"])
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
    with pytest.raises(DataError, match=r"a side of 8, 16, 32, 64"):
        Discriminator(**SMALL).init(jax.random.key(0), jnp.zeros((4, 28, 28, 1)))
    with pytest.raises(ValueError, match=r"expected \[B, 4, W\]"):
        Synthesis((8, 8, 1), **SMALL).init(jax.random.key(0), jnp.zeros((2, 3, 6)))
