"""PatchGAN against the published counts and fields."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.errors import DataError
from ganjax.models.patchgan import PatchDiscriminator, receptive_field


@pytest.mark.parametrize(
    ("module", "channels", "parameters"),
    [
        (PatchDiscriminator(), 3, 2_764_737),  # CycleGAN
        (PatchDiscriminator(norm="batch"), 6, 2_768_705),  # pix2pix, 3 + 3 channels
        (PatchDiscriminator(32, 2), 1, 166_625),
        (PatchDiscriminator(32, 2), 3, 167_649),
    ],
)
def test_parameters(module, channels, parameters):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((2, 64, 64, channels)), train=False))
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"])) == parameters


@pytest.mark.parametrize(
    ("layers", "field", "side"), [(0, 7, 254), (1, 16, 126), (2, 34, 62), (3, 70, 30), (4, 142, 14), (5, 286, 6)]
)
def test_the_sides_of_the_published_maps(layers, field, side):
    assert receptive_field(layers) == field
    x = jax.ShapeDtypeStruct((1, 256, 256, 1), jnp.float32)
    logits = jax.eval_shape(
        lambda x: PatchDiscriminator(1, layers).init_with_output(jax.random.key(0), x, train=False)[0], x
    )
    assert logits.shape == (1, side, side)


@pytest.mark.parametrize(("layers", "side"), [(0, 16), (1, 32), (2, 64), (3, 96), (4, 192), (5, 384)])
def test_a_logit_sees_a_patch_of_that_side_alone_or_all_with_instance_norm(layers, side):
    """One row is enough: a picture of equal columns would hide nothing, so the support is taken along both axes."""
    field = receptive_field(layers)
    for norm, seen in (("none", min(field, side)), ("instance", side)):
        if norm == "instance" and layers not in (1, 2, 3):
            continue
        d = PatchDiscriminator(1, layers, norm)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(1, side, side, 1)).astype(np.float32)
        shapes = jax.eval_shape(lambda d=d, x=x: d.init(jax.random.key(0), x, train=False))
        weights = jax.tree.map(lambda w: np.abs(rng.normal(size=w.shape, scale=0.1).astype(w.dtype)) + 0.1, shapes)  # noqa: B023

        def middle(x, d=d, weights=weights):
            logits = d.apply(weights, x, train=False)[0]
            return logits[logits.shape[0] // 2, logits.shape[1] // 2]

        support = np.asarray(jax.jit(jax.grad(middle))(x))[0, :, :, 0] != 0
        assert (support.any(0).sum(), support.any(1).sum()) == (seen, seen)


def test_an_image_too_small_is_refused():
    with pytest.raises(DataError, match="at least 24"):
        jax.eval_shape(partial(PatchDiscriminator().init, train=False), jax.random.key(0), jnp.zeros((1, 20, 32, 1)))
