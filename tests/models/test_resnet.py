"""The residual networks: published parameter counts, layers, options."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.errors import DataError
from ganjax.layers import resampling
from ganjax.models import resnet

B = 2


def shapes(module, *inputs, **options):
    """Shapes of all variables, without computing any."""
    return jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, **options))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def images(side, channels=3):
    return jnp.ones((B, side, side, channels))


def conv(k, i, o):
    """Kernel and bias."""
    return k * k * i * o + o


def up(i, o):
    """mimicry's GBlock: BatchNorm, 3x3, BatchNorm, 3x3, and a 1x1 shortcut."""
    return 2 * i + conv(3, i, o) + 2 * o + conv(3, o, o) + conv(1, i, o)


def down(i, h, o, shortcut=True):
    """mimicry's DBlock and DBlockOptimized: 3x3, 3x3, a 1x1 shortcut if channels change or the map is halved."""
    return conv(3, i, h) + conv(3, h, o) + shortcut * conv(1, i, o)


# Lee & Town 2020, torch_mimicry/nets/sngan/sngan_{32,48,64,128}.py: channels from the base map to the image, and of
# each block of the discriminator; z has 128 entries. In 32 the last two blocks of D neither halve nor change channels.
PUBLISHED = {
    32: (4, [256, 256, 256, 256], [128] * 4, {2, 3}, 4_276_739, 1_053_825),
    48: (6, [512, 256, 128, 64], [64, 128, 256, 512, 1024], set(), 4_878_083, 10_141_441),
    64: (4, [1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024], set(), 12_220_675, 10_141_441),
    128: (4, [1024, 1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024, 1024], {5}, 32_150_787, 29_017_857),
}


@pytest.mark.parametrize("side", PUBLISHED)
def test_parameter_counts_are_those_of_mimicry(side):
    """By its list of layers, and as its documentation prints them."""
    base, up_widths, down_widths, plain, generator, discriminator = PUBLISHED[side]
    by_hand = 128 * base**2 * up_widths[0] + base**2 * up_widths[0]
    by_hand += sum(up(i, o) for i, o in itertools.pairwise(up_widths))
    by_hand += 2 * up_widths[-1] + conv(3, up_widths[-1], 3)
    assert by_hand == generator
    inputs = [3, *down_widths]
    by_hand = down(3, down_widths[0], down_widths[0]) + down_widths[-1] + 1
    by_hand += sum(down(inputs[k], inputs[k], inputs[k + 1], k not in plain) for k in range(1, len(down_widths)))
    assert by_hand == discriminator
    widths = resnet.WIDTHS[side]
    g = resnet.Generator((side, side, 3), width=widths[0])
    d = resnet.Discriminator(width=widths[1])
    assert count(shapes(g, jnp.ones((B, 128)), train=True)["params"]) == generator
    assert count(shapes(d, images(side))["params"]) == discriminator


def test_layers_of_the_networks_of_32_pixels():
    """Miyato et al. 2018, table 4."""
    g = shapes(resnet.Generator((32, 32, 3)), jnp.ones((B, 128)), train=True)["params"]
    assert g["base"]["kernel"].shape == (128, 4 * 4 * 256)
    for i in range(3):
        kernels = {name: layer["kernel"].shape for name, layer in g[f"block_{i}"].items() if "kernel" in layer}
        assert kernels == {
            "conv_0": (3, 3, 256, 256),
            "conv_1": (3, 3, 256, 256),
            "shortcut": (1, 1, 256, 256),
        }
    d = shapes(resnet.Discriminator(), images(32))["params"]
    assert d["block_0"]["conv_0"]["kernel"].shape == (3, 3, 3, 128)
    assert ["shortcut" in d[f"block_{i}"] for i in range(4)] == [True, True, False, False]
    assert d["logit"]["kernel"].shape == (128, 1)


def test_classes_add_their_tables():
    """Two tables in each of the 6 BatchNorms of the blocks instead of scale and offset, and one for the projection."""
    labels = jnp.zeros(B, jnp.int32)
    g = resnet.Generator((32, 32, 3), num_classes=10)
    d = resnet.Discriminator(num_classes=10)
    assert count(shapes(g, jnp.ones((B, 128)), labels, train=True)["params"]) == 4_276_739 + 6 * 2 * 256 * (10 - 1)
    assert count(shapes(d, images(32), labels)["params"]) == 1_053_825 + 10 * 128


@pytest.mark.parametrize(
    "shape", [(8, 8, 1), (28, 28, 1), (16, 24, 4), (96, 64, 3), (4, 6, 2), (48, 64, 3), (24, 48, 3), (64, 16, 3)]
)
def test_images_of_other_sizes(shape):
    g, d = resnet.Generator(shape, width=2), resnet.Discriminator(width=2)
    out = jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), jnp.ones((B, 8)), train=True))[0]
    assert out.shape == (B, *shape)
    logits = jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), jnp.ones((B, *shape))))[0]
    assert logits.shape == (B,)


@pytest.mark.parametrize("shape", [(30, 30, 1), (28, 30, 1), (28, 28), (2, 2, 1), (256, 250, 3)])
def test_an_image_without_a_base_map_is_an_error(shape):
    with pytest.raises(DataError, match=r"image shape: got .*expected .*crop, pad or resize"):
        resnet.layout(shape)


def test_attention_stands_behind_the_block_of_its_side():
    g = shapes(resnet.Generator((32, 32, 3), width=8, attention=16), jnp.ones((B, 8)), train=True)["params"]
    d = shapes(resnet.Discriminator(width=8, attention=16), images(32))["params"]
    assert g["SelfAttention_0"]["query"]["kernel"].shape == (1, 1, 8, 1)
    assert [name for name in d if "Attention" in name] == ["SelfAttention_0"]
    assert not any("Attention" in name for name in shapes(resnet.Discriminator(width=8), images(32))["params"])


@pytest.fixture(scope="module")
def small():
    """Networks of 8 pixels and their variables."""
    g = resnet.Generator((8, 8, 2), width=8, num_classes=3)
    d = resnet.Discriminator(width=8, num_classes=3)
    z, labels = jax.random.normal(jax.random.key(1), (4, 6)), jnp.arange(4) % 3
    variables = jax.jit(lambda key: g.init(key, z, labels, train=True))(jax.random.key(0))
    x = jax.random.normal(jax.random.key(2), (4, 8, 8, 2))
    return g, variables, d, jax.jit(d.init)(jax.random.key(0), x, labels), z, x, labels


def test_rematerialisation_changes_no_gradient(small):
    g, gv, d, dv, z, x, labels = small

    def of_generator(module):
        def cost(params):
            y, new = module.apply({**gv, "params": params}, z, labels, train=True, mutable=["batch_stats"])
            return (y**2).sum(), new

        return jax.jit(jax.grad(cost, has_aux=True))(gv["params"])

    def of_penalty(module):
        critic = lambda params, x: module.apply({"params": params}, x, labels).sum()  # noqa: E731
        return jax.jit(jax.grad(lambda p: (jax.grad(critic, 1)(p, x) ** 2).sum()))(dv["params"])

    for of, module in ((of_generator, g), (of_penalty, d)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            of(module),
            of(module.clone(remat=True)),
        )


def test_pooling_apart_changes_no_logit(small, monkeypatch):
    *_, d, dv, _, x, labels = small
    logits = jax.jit(d.apply)(dv, x, labels)
    monkeypatch.setattr(resampling, "conv_then_pool", lambda x, k: resampling.mean_pool(resampling.conv(x, k)))
    np.testing.assert_allclose(jax.jit(d.clone().apply)(dv, x, labels), logits, atol=1e-4)


def test_pooling_of_the_last_map(small):
    """The mean over 16 positions is a sixteenth of the sum; without bias the logit is linear in it."""
    d, x = resnet.Discriminator(width=8), small[5]
    variables = jax.jit(d.init)(jax.random.key(0), x)
    mean = jax.jit(d.clone(pooling="mean").apply)(variables, x)
    np.testing.assert_allclose(mean, jax.jit(d.apply)(variables, x) / 16, rtol=1e-5)
