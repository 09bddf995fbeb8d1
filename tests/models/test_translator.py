"""The translator of CycleGAN against the published counts, and what of it CUT compares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.errors import DataError
from ganjax.models.translator import PatchHeads, Translator, reflected


def _shapes(module, shape, **how):
    return jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((2, *shape)), **how))


@pytest.mark.parametrize(
    ("module", "channels", "parameters"),
    [
        (Translator(3, 64, 9), 3, 11_378_179),  # the paper's at 256 pixels
        (Translator(3, 64, 6), 3, 7_837_699),  # at 128
        (Translator(1, 32, 6), 1, 1_958_785),
        (Translator(1, 16, 3), 1, 269_377),
        (Translator(3, 32, 6), 3, 1_965_059),
    ],
)
def test_parameters_and_shape(module, channels, parameters):
    y, variables = _shapes(module, (32, 24, channels))
    assert y.shape == (2, 32, 24, module.channels) and y.dtype == jnp.float32
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"])) == parameters


@pytest.mark.fault("pytorch-CycleGAN-and-pix2pix: InstanceNorm kept running means, so that test differed from training")
def test_it_has_no_statistics():
    assert set(_shapes(Translator(3, 4, 1), (8, 8, 1))[1]) == {"params"}


def test_the_maps_of_cut():
    """Pixels, both maps of stride 2, the first and the middle block: five layers."""
    maps, _ = _shapes(Translator(3, 4, 9), (32, 32, 1), method="features")
    sides = [(32, 1), (16, 8), (8, 16), (8, 16), (8, 16)]
    assert [m.shape for m in maps] == [(2, side, side, channels) for side, channels in sides]
    assert len(_shapes(Translator(3, 4, 1), (32, 32, 1), method="features")[0]) == 4


def test_heads_make_unit_vectors():
    patches = (jax.random.normal(jax.random.key(1), (2, 3, 5)), jnp.ones((2, 4, 1)))
    vectors, _ = PatchHeads(6).init_with_output(jax.random.key(0), patches)
    assert [v.shape for v in vectors] == [(2, 3, 6), (2, 4, 6)]
    np.testing.assert_allclose(jnp.linalg.norm(vectors[0], axis=-1), 1, atol=1e-4)


@pytest.mark.fault("contrastive-unpaired-translation: the slope of a length is not finite where a patch is 0")
def test_a_patch_of_zeros_has_a_slope():
    module, patches = PatchHeads(4), (jnp.zeros((1, 2, 1)),)
    params = jax.jit(module.init)(jax.random.key(0), patches)
    slopes = jax.grad(lambda p: module.apply(p, patches)[0].sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_borders_are_mirrored_and_not_repeated():
    row = np.asarray(reflected(jnp.arange(4.0).reshape(1, 1, 4, 1).repeat(4, 1), 3))[0, 0, :, 0]
    assert row.tolist() == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]


@pytest.mark.parametrize("shape", [(30, 32, 1), (4, 8, 1)])
def test_a_size_that_does_not_fit_is_refused(shape):
    with pytest.raises(DataError, match="at least 8 that are divisible by 4"):
        _shapes(Translator(1, 4, 1), shape)
