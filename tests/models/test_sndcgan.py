"""SNDCGAN: layers and counts by hand, images of any size."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.errors import ConfigError, DataError
from ganjax.models import sndcgan

B, Z = 2, 128


def shapes(module, *inputs, **options):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, **options))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_layers_and_counts_of_32_pixels():
    """Kurach et al. 2019, SNDCGAN: D 64-128-128-256-256-512-512; G 4x4x512, 256, 128, 64, image."""
    d = shapes(sndcgan.Discriminator(), jnp.ones((B, 32, 32, 3)))["params"]
    kernels = [d[f"Conv_{i}"]["kernel"].shape for i in range(7)]
    assert kernels == [
        (3, 3, 3, 64),
        (4, 4, 64, 128),
        (3, 3, 128, 128),
        (4, 4, 128, 256),
        (3, 3, 256, 256),
        (4, 4, 256, 512),
        (3, 3, 512, 512),
    ]
    assert d["logit"]["kernel"].shape == (4 * 4 * 512, 1)
    weights = 27 * 64 + 16 * 64 * 128 + 9 * 128**2 + 16 * 128 * 256 + 9 * 256**2 + 16 * 256 * 512 + 9 * 512**2 + 8192
    assert count(d) == weights + 64 + 128 * 2 + 256 * 2 + 512 * 2 + 1

    g = shapes(sndcgan.Generator((32, 32, 3)), jnp.ones((B, Z)), train=True)["params"]
    assert g["base"]["kernel"].shape == (128, 4 * 4 * 512)
    assert [g[f"ConvTranspose_{i}"]["kernel"].shape for i in range(3)] == [
        (4, 4, 512, 256),
        (4, 4, 256, 128),
        (4, 4, 128, 64),
    ]
    weights = 129 * 8192 + 16 * (512 * 256 + 256 * 128 + 128 * 64) + 9 * 64 * 3 + 3
    assert count(g) == weights + 2 * (512 + 256 + 128 + 64)


@pytest.mark.parametrize(
    ("shape", "base"), [((28, 28, 1), (4, 4)), ((8, 8, 1), (1, 1)), ((30, 21, 3), (4, 3)), ((48, 64, 2), (6, 8))]
)
def test_images_of_any_size(shape, base):
    g, d = sndcgan.Generator(shape, width=2), sndcgan.Discriminator(width=2)
    out, variables = jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), jnp.ones((B, 5)), train=True))
    assert out.shape == (B, *shape)
    assert variables["params"]["base"]["kernel"].shape == (5, base[0] * base[1] * 16)
    logits, variables = jax.eval_shape(lambda: d.init_with_output(jax.random.key(0), jnp.ones((B, *shape))))
    assert logits.shape == (B,)
    assert variables["params"]["logit"]["kernel"].shape == (base[0] * base[1] * 16, 1)


@pytest.mark.parametrize("shape", [(28, 28), (3, 8, 1), (2,)])
def test_what_is_no_image_is_an_error(shape):
    with pytest.raises(DataError, match=r"image shape: got .*sides of at least 4 pixels"):
        sndcgan.check_image_shape(shape)


def test_labels_change_both_networks():
    g, d = sndcgan.Generator((8, 8, 1), width=2, num_classes=3), sndcgan.Discriminator(width=2, num_classes=3)
    z, x = jax.random.normal(jax.random.key(1), (B, 5)), jax.random.normal(jax.random.key(2), (B, 8, 8, 1))
    zeros, ones = jnp.zeros(B, jnp.int32), jnp.ones(B, jnp.int32)
    variables = jax.jit(lambda key: g.init(key, z, zeros, train=True))(jax.random.key(0))
    assert variables["params"]["ConditionalBatchNorm_0"]["scale"]["embedding"].shape == (3, 16)
    params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(3), p.shape), variables["params"])
    draw = jax.jit(partial(g.apply, train=False))
    a, b = (draw({**variables, "params": params}, z, y) for y in (zeros, ones))
    assert (jnp.abs(a - b).max((1, 2, 3)) > 0).all()
    variables = jax.jit(d.init)(jax.random.key(0), x, zeros)
    judge = jax.jit(d.apply)
    assert (judge(variables, x, zeros) != judge(variables, x, ones)).all()
    with pytest.raises(ConfigError, match="labels: got None"):
        d.apply(variables, x)


def test_the_discriminator_judges_each_example_and_takes_penalties():
    d, x = sndcgan.Discriminator(width=2), jax.random.normal(jax.random.key(2), (B, 12, 12, 3))
    variables = jax.jit(d.init)(jax.random.key(0), x)
    assert d.by_example and set(variables) == {"params"}
    judge = jax.jit(d.apply)
    np.testing.assert_allclose(judge(variables, x)[1:], judge(variables, x[1:]), rtol=1e-4, atol=1e-7)
    critic = lambda p, x: d.apply({"params": p}, x).sum()  # noqa: E731
    slopes = jax.jit(jax.grad(lambda p: (jax.grad(critic, 1)(p, x) ** 2).sum()))(variables["params"])
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(slopes))
    assert float(jnp.abs(slopes["Conv_6"]["kernel"]).max()) > 0


def test_bfloat16_computes_and_float32_remembers():
    g = sndcgan.Generator((8, 8, 1), width=2, dtype=jnp.bfloat16)
    y, variables = jax.eval_shape(lambda: g.init_with_output(jax.random.key(0), jnp.ones((B, 5)), train=True))
    assert y.dtype == jnp.bfloat16 and {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
