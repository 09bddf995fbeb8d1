"""BigGAN: parameter counts of the authors' PyTorch code, the ways of conditioning, options."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from ganjax.errors import ConfigError, DataError
from ganjax.models import biggan

B = 2
LABELS = jnp.zeros(B, jnp.int32)


def shapes(module, *inputs, **options):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, **options))


def count(module, *inputs, **options):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(module, *inputs, **options)["params"]))


def images(side):
    return jnp.ones((B, side, side, 3))


def conv(k, i, o):
    return k * k * i * o + o


def up(i, o, condition):
    """GBlock: each BatchNorm has two bias-free maps of `condition` entries; there is always a shortcut."""
    return 2 * condition * (i + o) + conv(3, i, o) + conv(3, o, o) + conv(1, i, o)


def down(i, o, shortcut=True):
    """DBlock of the wide kind: hidden channels are those of the output."""
    return conv(3, i, o) + conv(3, o, o) + shortcut * conv(1, i, o)


def attention(c):
    """theta and phi C to C / 8, g C to C / 2, o back, without biases; gamma."""
    return 2 * c * c // 8 + 2 * c * c // 2 + 1


# BigGAN-PyTorch, G_arch and D_arch: multiples of ch.
ARCH = {
    32: ([4, 4, 4, 4], [4, 4, 4, 4], {2, 3}),
    64: ([16, 16, 8, 4, 2], [1, 2, 4, 8, 16], set()),
    128: ([16, 16, 8, 4, 2, 1], [1, 2, 4, 8, 16, 16], {5}),
}


def generator_by_hand(side, ch, z, condition, base):
    widths = [ch * k for k in ARCH[side][0]]
    total = (base + 1) * 16 * widths[0] + z
    total += sum(up(i, o, condition) for i, o in itertools.pairwise(widths))
    return total + 2 * widths[-1] + conv(3, widths[-1], 3)


def discriminator_by_hand(side, ch, classes):
    widths, plain = [3, *(ch * k for k in ARCH[side][1])], ARCH[side][2]
    total = sum(down(i, o, k not in plain) for k, (i, o) in enumerate(itertools.pairwise(widths)))
    # The last block of 64 pixels keeps its size in the authors' code too, but changes its channels.
    return total + widths[-1] + 1 + classes * widths[-1]


def test_counts_of_the_cifar_script():
    """launch_cifar_ema.sh: ch 64, z 128 undivided, no shared embedding, hence tables of 10 classes in each BatchNorm.

    G: 128 -> 4096, three blocks of 256, BatchNorm, 3x3 to RGB. D: four blocks of 256, the first two with shortcuts.
    """
    assert generator_by_hand(32, 64, 0, 10, 128) == 4_304_387
    assert discriminator_by_hand(32, 64, 10) == 4_207_361
    g = biggan.Generator((32, 32, 3), num_classes=10, embedding=0, split=False)
    assert count(g, jnp.ones((B, 128)), LABELS, train=True) == 4_304_387
    assert count(biggan.Discriminator(num_classes=10), images(32), LABELS) == 4_207_361


@pytest.mark.parametrize(("side", "slots"), [(32, 4), (64, 5), (128, 6)])
def test_counts_with_shared_embedding_and_split_latent(side, slots):
    """--G_shared --hier: a condition is the embedding of 128 with a part of z, of which the base map gets the first."""
    part, classes, ch = 20, 7, 16
    expected = generator_by_hand(side, ch, classes * 128, 128 + part, part)
    g = biggan.Generator((side, side, 3), width=ch, num_classes=classes)
    d = biggan.Discriminator(width=ch, num_classes=classes)
    assert count(g, jnp.ones((B, part * slots)), LABELS, train=True) == expected
    assert count(d, images(side), LABELS) == discriminator_by_hand(side, ch, classes)


def test_counts_of_imagenet():
    """launch_BigGAN_bs256x8.sh: 128 pixels, ch 96, z 120, attention at 64; 70.43 and 87.98 million."""
    shared = {"width": 96, "num_classes": 1000, "attention": 64}
    g, d = biggan.Generator((128, 128, 3), **shared), biggan.Discriminator(**shared)
    generator = generator_by_hand(128, 96, 1000 * 128, 148, 20) + attention(192)
    discriminator = discriminator_by_hand(128, 96, 1000) + attention(96)
    assert (generator, discriminator) == (70_433_988, 87_982_370)
    assert count(g, jnp.ones((B, 120)), LABELS, train=True) == generator
    assert count(d, images(128), LABELS) == discriminator


def test_layer_shapes():
    g = shapes(biggan.Generator((32, 32, 3), num_classes=10), jnp.ones((B, 128)), LABELS, train=True)["params"]
    assert g["classes"]["embedding"].shape == (10, 128)
    assert g["base"]["kernel"].shape == (32, 16 * 256)
    for norm in ("ConditionalBatchNorm_0", "ConditionalBatchNorm_1"):
        for name in ("scale", "offset"):
            assert jax.tree.map(jnp.shape, g["block_2"][norm][name]) == {"kernel": (128 + 32, 256)}
    d = shapes(biggan.Discriminator(), images(32))["params"]
    assert d["block_0"]["conv_0"]["kernel"].shape == (3, 3, 3, 256)
    assert ["shortcut" in d[f"block_{i}"] for i in range(4)] == [True, True, False, False]


SMALL = {"shape": (8, 8, 2), "width": 2, "num_classes": 3, "embedding": 5}


@pytest.fixture(scope="module")
def small():
    """Networks of 8 pixels: a base map of 4x4 and one block, hence two parts of z."""
    g, d = biggan.Generator(**SMALL), biggan.Discriminator(width=2, num_classes=3)
    z, labels = jax.random.normal(jax.random.key(1), (4, 6)), jnp.arange(4) % 3
    x = jax.random.normal(jax.random.key(2), (4, 8, 8, 2))
    gv = jax.jit(lambda key: g.init(key, z, labels, train=True))(jax.random.key(0))
    return g, gv, d, jax.jit(d.init)(jax.random.key(0), x, labels), z, x, labels


def test_z_is_split_over_the_blocks(small):
    """Its first half reaches the base map alone, its second half the block's BatchNorms alone."""
    g, gv, _, _, z, _, labels = small

    @jax.jit
    def inside(z):
        _, found = g.apply(gv, z, labels, train=False, capture_intermediates=True, mutable=["intermediates"])
        found = flatten_dict(found["intermediates"])
        return found["base", "__call__"][0], found["block_0", "ConditionalBatchNorm_0", "scale", "__call__"][0]

    base, scale = inside(z)
    other_base, same_scale = inside(z.at[:, :3].add(1.0))
    same_base, other_scale = inside(z.at[:, 3:].add(1.0))
    np.testing.assert_array_equal(base, same_base)
    np.testing.assert_array_equal(scale, same_scale)
    assert (base != other_base).any() and (scale != other_scale).any()


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": 0},
        {"num_classes": 0, "split": False},
        {"embedding": 0, "split": False},
        {"split": False},
    ],
    ids=str,
)
def test_other_ways_of_conditioning(options, small):
    g = biggan.Generator(**{**SMALL, **options})
    *_, z, x, labels = small
    y = jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), z, labels, train=True))[0]
    assert y.shape == x.shape


def test_what_does_not_fit_is_an_error(small):
    *_, z, x, labels = small
    with pytest.raises(ConfigError, match=r"z has 5 entries, expected a multiple of 2"):
        shapes(biggan.Generator(**SMALL), z[:, :5], labels, train=True)
    with pytest.raises(ConfigError, match=r"embedding is 0, .*expected split=False"):
        shapes(biggan.Generator(**{**SMALL, "embedding": 0}), z, labels, train=True)
    with pytest.raises(ConfigError, match=r"labels: got None"):
        shapes(biggan.Discriminator(num_classes=3), x)
    with pytest.raises(DataError, match=r"image shape: got \(30, 30, 1\)"):
        shapes(biggan.Discriminator(), jnp.ones((B, 30, 30, 1)))


def test_kernels_are_orthogonal_or_small():
    """A kernel as a matrix [inputs, outputs] has orthonormal columns, or N(0, 0.02) entries."""
    x = jnp.ones((1, 8, 8, 2))
    params = jax.jit(biggan.Discriminator(width=4).init)(jax.random.key(0), x)["params"]
    w = params["block_1"]["conv_0"]["kernel"].reshape(-1, 16)
    np.testing.assert_allclose(w.T @ w, np.eye(16), atol=1e-5)
    params = jax.jit(biggan.Discriminator(width=4, initialisation="normal").init)(jax.random.key(0), x)["params"]
    np.testing.assert_allclose(params["block_1"]["conv_0"]["kernel"].std(), 0.02, rtol=0.05)


def test_rematerialisation_changes_no_gradient(small):
    g, gv, d, dv, z, x, labels = small

    def of_generator(module):
        def cost(params):
            y, _ = module.apply({**gv, "params": params}, z, labels, train=True, mutable=["batch_stats"])
            return (y**2).sum()

        return jax.jit(jax.grad(cost))(gv["params"])

    def of_penalty(module):
        critic = lambda params, x: module.apply({"params": params}, x, labels).sum()  # noqa: E731
        return jax.jit(jax.grad(lambda p: (jax.grad(critic, 1)(p, x) ** 2).sum()))(dv["params"])

    for of, module in ((of_generator, g), (of_penalty, d)):
        found, again = of(module), of(module.clone(remat=True))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, again)
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))


def test_the_projection_is_the_inner_product_with_the_features(small):
    *_, d, dv, _, x, _ = small
    table = dv["params"]["classes"]["embedding"]
    features = jax.jit(d.clone(heads={}).apply)(dv, x, jnp.zeros(4, jnp.int32)).features
    judge = jax.jit(d.apply)
    difference = judge(dv, x, jnp.full(4, 2)) - judge(dv, x, jnp.zeros(4, jnp.int32))
    np.testing.assert_allclose(difference, features @ (table[2] - table[0]), rtol=1e-3, atol=1e-5)
