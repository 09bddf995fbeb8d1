"""SNDCGAN: layers and counts by hand, images of any size."""

import jax
import jax.numpy as jnp
import pytest

from ganjax.errors import DataError
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


def test_the_discriminator_takes_penalties():
    d, x = sndcgan.Discriminator(width=2), jax.random.normal(jax.random.key(2), (B, 12, 12, 3))
    variables = jax.jit(d.init)(jax.random.key(0), x)
    critic = lambda p, x: d.apply({"params": p}, x).sum()  # noqa: E731
    slopes = jax.jit(jax.grad(lambda p: (jax.grad(critic, 1)(p, x) ** 2).sum()))(variables["params"])
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(slopes))
    assert float(jnp.abs(slopes["Conv_6"]["kernel"]).max()) > 0
