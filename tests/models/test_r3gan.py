"""R3GAN: published counts, resampling and grouped convolutions against oracles, the initialisation."""

import dataclasses
import importlib.util
import math
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ganjax.core import Batch, Moment
from ganjax.data import load
from ganjax.errors import ConfigError, DataError
from ganjax.layers.resampling import smooth_double, smooth_pool
from ganjax.models import r3gan

B = 2
LABELS = jnp.zeros(B, jnp.int32)


def shapes(module, *inputs):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))


def count(module, *inputs):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(module, *inputs)))


def block(c, group):
    """1x1 to 2c, grouped 3x3, 1x1 back, without biases; a bias before each of the two activations."""
    return c * 2 * c + 9 * group * 2 * c + 2 * c * c + 2 * 2 * c


def test_counts_of_cifar10_and_stacked_mnist():
    """The authors' preset: 4 stages of 2 blocks, 768 channels, 96 groups of 16, z 64. Table 3 says 20.7 million."""
    generator = 64 * 768 + 16 * 768 + 8 * block(768, 16) + 768 * 3
    discriminator = 3 * 768 + 8 * block(768, 16) + 16 * 768 + 768
    assert (generator, discriminator) == (20_732_160, 20_683_776)
    assert count(r3gan.Generator((32, 32, 3)), jnp.ones((B, 64))) == generator
    assert count(r3gan.Discriminator(), jnp.ones((B, 32, 32, 3))) == discriminator
    # With classes: an embedding of 64 beside z; a last layer of 768 outputs, and as long an embedding.
    generator += 10 * 64 + 64 * 768
    discriminator += 768 * 768 - 768 + 10 * 768
    assert count(r3gan.Generator((32, 32, 3), num_classes=10), jnp.ones((B, 64)), LABELS) == generator
    assert count(r3gan.Discriminator(num_classes=10), jnp.ones((B, 32, 32, 3)), LABELS) == discriminator


def test_channels_of_larger_images():
    """FFHQ-256: 768 four times, then 384, 192, 96, with a 1x1 convolution wherever they change."""
    assert r3gan.stages((256, 256, 3), 768) == (768, 768, 768, 768, 384, 192, 96)
    d = shapes(r3gan.Discriminator(width=32, blocks=1, group=4), jnp.ones((B, 64, 64, 3)))["params"]
    assert d["widths_1"]["kernel"].shape == (1, 1, 16, 32)
    assert [name for name in d if name.startswith("widths")] == ["widths_1"]
    g = shapes(r3gan.Generator((64, 64, 3), width=32, blocks=1, group=4), jnp.ones((B, 8)))["params"]
    assert g["widths_4"]["kernel"].shape == (1, 1, 32, 16)


@pytest.mark.parametrize(
    ("shape", "base"), [((28, 28, 1), (7, 7)), ((8, 8, 1), (4, 4)), ((48, 32, 2), (6, 4)), ((4, 6, 3), (4, 6))]
)
def test_images_of_other_sizes(shape, base):
    options = {"width": 8, "blocks": 1, "group": 4}
    g, d = r3gan.Generator(shape, **options), r3gan.Discriminator(**options)
    out, variables = jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), jnp.ones((B, 5))))
    assert out.shape == (B, *shape) and variables["params"]["basis"].shape == (*base, 8)
    logits, variables = jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), jnp.ones((B, *shape))))
    assert logits.shape == (B,) and variables["params"]["basis"].shape == (*base, 8)


@pytest.mark.parametrize("shape", [(30, 30, 1), (28, 28), (3, 3, 1), (32, 20, 3)])
def test_an_image_without_a_base_map_is_an_error(shape):
    with pytest.raises(DataError, match=r"image shape: got .*expected .*crop, pad or resize"):
        r3gan.stages(shape, 8)


def test_groups_must_divide_the_channels():
    with pytest.raises(ConfigError, match=r"24 hidden channels cannot be split into groups of 16"):
        shapes(r3gan.Discriminator(width=12), jnp.ones((B, 8, 8, 1)))


def resampling_matrix(n):
    """One side of the filter [1, 3, 3, 1] / 4 laid on every second place of 2n, zeros outside."""
    matrix = np.zeros((2 * n, n))
    for i in range(n):
        for k, weight in enumerate((1, 3, 3, 1)):
            if 0 <= 2 * i - 1 + k < 2 * n:
                matrix[2 * i - 1 + k, i] = weight / 4
    return matrix


def test_resampling_is_bilinear_and_one_the_transpose_of_the_other():
    x = np.random.default_rng(0).normal(size=(B, 6, 4, 3))
    rows, columns = resampling_matrix(6), resampling_matrix(4)
    with jax.enable_x64(True):
        up = smooth_double(jnp.asarray(x))
        np.testing.assert_allclose(up, np.einsum("ai,bj,nijc->nabc", rows, columns, x), atol=1e-12)
        y = np.random.default_rng(1).normal(size=(B, 12, 8, 3))
        down = smooth_pool(jnp.asarray(y))
        np.testing.assert_allclose(down, np.einsum("ai,bj,nabc->nijc", rows, columns, y) / 4, atol=1e-12)
    inside = smooth_double(jnp.ones((1, 4, 4, 1)))[0, 1:-1, 1:-1]
    np.testing.assert_allclose(inside, 1)
    np.testing.assert_allclose(smooth_pool(jnp.ones((1, 8, 8, 1)))[0, 1:-1, 1:-1], 1)


@pytest.mark.parametrize("trio", [True, False], ids=["cpu", "elsewhere"])
@pytest.mark.parametrize("groups", [1, 3])
def test_grouped_convolution_is_that_of_xla(trio, groups, monkeypatch):
    monkeypatch.setattr(r3gan, "use_trio", lambda: trio)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, w = jnp.asarray(rng.normal(size=(B, 4, 5, 6))), jnp.asarray(rng.normal(size=(3, 3, 6 // groups, 9)))

        def stock(x, w):
            return lax.conv_general_dilated(
                x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
            )

        def all_of(f):
            slope = jax.grad(lambda x, w: jnp.tanh(f(x, w)).sum(), (0, 1))
            return f(x, w), slope(x, w), jax.grad(lambda w: (slope(x, w)[0] ** 2).sum())(w)

        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10),
            jax.jit(lambda: all_of(lambda x, w: r3gan.grouped_conv(x, w, groups)))(),
            jax.jit(lambda: all_of(stock))(),
        )


OPTIONS = {"width": 64, "blocks": 1, "group": 16}


@pytest.fixture(scope="module")
def small():
    """Networks of 8 pixels, two stages, with three classes."""
    g, d = r3gan.Generator((8, 8, 1), num_classes=3, **OPTIONS), r3gan.Discriminator(num_classes=3, **OPTIONS)
    z, x, labels = jnp.ones((4, 6)), jax.random.normal(jax.random.key(2), (4, 8, 8, 1)), jnp.arange(4) % 3
    gv = jax.jit(g.init)(jax.random.key(0), z, labels)
    return g, gv, d, jax.jit(d.init)(jax.random.key(0), x, labels), z, x, labels


def test_the_initialisation_is_the_fix_up_one(small):
    """With L = 2 blocks: N(0, gain^2 L^(-1/2) / inputs) twice, then zero; gain^2 = 2 / (1 + 0.2^2)."""
    _, gv, _, dv, *_ = small
    for params in (gv["params"], dv["params"]):
        std = math.sqrt(2 / 1.04 / math.sqrt(2))
        np.testing.assert_allclose(params["block_0_0"]["conv_0"]["kernel"].std(), std / 8, rtol=0.03)
        np.testing.assert_allclose(params["block_0_0"]["conv_1"]["kernel"].std(), std / 12, rtol=0.03)
        assert not np.any(params["block_0_0"]["conv_2"]["kernel"])
    np.testing.assert_allclose(gv["params"]["basis"].std(), 1, rtol=0.1)
    np.testing.assert_allclose(dv["params"]["basis"].std(), 1 / 4, rtol=0.1)
    np.testing.assert_allclose(dv["params"]["classes"]["embedding"].std(), 1 / 8 / math.sqrt(3), rtol=0.2)
    np.testing.assert_allclose(gv["params"]["style"]["kernel"].std(), 1 / math.sqrt(6 + 64), rtol=0.05)


def test_a_block_is_the_identity_at_first(small):
    dv = small[3]
    y = jax.random.normal(jax.random.key(0), (1, 4, 4, 64))
    module = r3gan.Block(2)
    np.testing.assert_array_equal(jax.jit(module.apply)({"params": dv["params"]["block_0_0"]}, y), y)


def trained(variables):
    """With every parameter away from zero, as after some steps."""
    move = lambda p: p + 0.05 * jax.random.normal(jax.random.key(p.size), p.shape)  # noqa: E731
    return jax.jit(partial(jax.tree.map, move))(variables)


def test_penalties_are_differentiable_and_rematerialisation_changes_nothing(small):
    _, _, d, dv, _, x, labels = small
    dv = trained(dv)

    def of(module):
        critic = lambda params, x: module.apply({"params": params}, x, labels).sum()  # noqa: E731
        penalty = lambda p: (jax.grad(critic, 1)(p, x) ** 2).sum()  # noqa: E731
        return jax.jit(jax.grad(penalty))(dv["params"])

    found = of(d)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found, of(d.clone(remat=True)))
    assert float(jnp.abs(found["block_1_0"]["conv_1"]["kernel"]).max()) > 0


# --- the recipe ---


@pytest.fixture(scope="module")
def recipe():
    path = Path(__file__).parent.parent.parent / "experiments" / "r3gan.py"
    spec = importlib.util.spec_from_file_location("r3gan_recipe", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_schedules_are_half_a_cosine_of_the_images(recipe):
    """Batches of 10 over 40 images: at 0, 1/4, 1/2 of the way, at the end and after it."""
    at = recipe.half_cosine(2.0, 1.0, 40, 10)
    np.testing.assert_allclose([at(k) for k in (0, 1, 2, 4, 9)], [2, 1.5 + math.sqrt(0.5) / 2, 1.5, 1, 1], rtol=1e-6)


def test_schedules_count_steps_of_extragradient_whose_optimisers_move_twice(recipe):
    """Under a constant gradient Adam's moves are as long as its rate: 4 batches of burn-in are over after 8."""
    config = dataclasses.replace(
        recipe.CONFIG,
        dynamics="extragradient",
        batch_size=10,
        burn_in=40,
        learning_rate=2.0,
        final_rate=1.0,
        final_beta2=0.9,
    )
    adam, sizes = recipe.adam(config), []
    state = adam.init(jnp.zeros(()))
    for _ in range(10):
        move, state = jax.jit(adam.update)(jnp.ones(()), state)
        sizes.append(-float(move))
    expected = [1.5 + math.cos(math.pi * min(k, 8) / 8) / 2 for k in range(10)]
    np.testing.assert_allclose(sizes, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "entries"),
    [
        ({}, {"augment"}),
        ({"augment_probability": 0.0}, set()),
        ({"augment_probability": 0.0, "gamma": 0.0, "final_gamma": 0.0}, set()),
    ],
    ids=["published", "without augmentation", "without penalties"],
)
def test_what_the_recipe_remembers(recipe, options, entries):
    """Schedules of penalties need no memory, that of the augmentation counts the images it has seen."""
    config = dataclasses.replace(recipe.CONFIG, data="digits", width=16, blocks=1, latent=4, batch_size=4, **options)
    setup = recipe.build(config, load, None)
    batch = Batch(jnp.zeros((4, 8, 8, 1)), jnp.zeros(4, jnp.int32), jnp.arange(4))

    def begin():
        params, net_state = jax.jit(setup.game.init)(jax.random.key(0), batch)
        cost, outcome = setup.game.costs["discriminator"](params, Moment(net_state, batch, jax.random.key(1)))
        return net_state["discriminator"], outcome.net_state, setup.dynamics.init(params), cost

    before, after, dynamics, cost = jax.eval_shape(begin)
    assert set(before) == entries and jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, before)
    assert cost.shape == () and "b2" in str(jax.tree.structure(dynamics))
