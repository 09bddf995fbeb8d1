"""A discriminator's maps as features: which they are, how they are pooled, and that no image sees another."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.core import Owned
from ganjax.evaluation import extract
from ganjax.evaluation.maps import discriminator_maps, max_pooled
from ganjax.kinds import IMAGE
from ganjax.models import dcgan, mlp


@cache
def _trained():
    """A discriminator whose running statistics are not those of any batch here, and images."""
    module, x = dcgan.Discriminator(width=2), np.random.default_rng(0).integers(0, 256, (7, 12, 8, 1), np.uint8)
    variables = module.init(jax.random.key(0), IMAGE.encode(jnp.asarray(x)), train=False)
    stats = jax.tree.map(lambda leaf: leaf + 0.3, variables["batch_stats"])
    return module, Owned(variables["params"], {"batch_stats": stats}), x


@pytest.mark.parametrize(("rows", "columns"), [(8, 4), (7, 14), (2, 1)])
def test_cells_are_those_of_adaptive_pooling(rows, columns):
    """The definition, cell by cell: of 7 rows 0-1, 1-3, 3-5, 5-6; of 2 each twice."""
    x = np.random.default_rng(1).normal(size=(2, rows, columns, 3)).astype(np.float32)
    found = np.asarray(max_pooled(jnp.asarray(x)))
    assert found.shape == (2, 4, 4, 3)
    for i in range(4):
        for j in range(4):
            of = [slice(int(np.floor(k * n / 4)), int(np.ceil((k + 1) * n / 4))) for k, n in ((i, rows), (j, columns))]
            assert np.array_equal(found[:, i, j], x[:, of[0], of[1]].max((1, 2)))


def test_the_features_of_the_paper_are_28672():
    """16 (256 + 512 + 1024) of images of 32x32."""
    module, x = dcgan.Discriminator(width=256), jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), x)
    weights = Owned(shapes["params"], {"batch_stats": shapes["batch_stats"]})
    tiny = discriminator_maps(module, _trained()[1], lambda x: x)  # whose digest needs weights
    assert jax.eval_shape(tiny.apply, weights, x).features.shape == (2, 28_672)


@pytest.mark.fault("ports of DCGAN: features of a discriminator in training mode, which depend on the batch")
def test_the_features_of_an_image_depend_on_no_other():
    """Two maps, of 6x4 and 3x2, both in evaluation mode: the first is leaky ReLU of a convolution, worked out here."""
    module, weights, x = _trained()
    extractor = discriminator_maps(module, weights, IMAGE.encode)
    features, logits = extract(extractor, x)
    assert features.shape == (7, 16 * (2 + 4)) and logits is None
    alone, _ = extract(extractor, x[4:5])
    np.testing.assert_allclose(alone, features[4:5], atol=1e-5)
    kernel, bias = weights.params["Conv_0"]["kernel"], weights.params["Conv_0"]["bias"]
    first = jax.lax.conv_general_dilated(
        IMAGE.encode(jnp.asarray(x)), kernel, (2, 2), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    first = jax.nn.leaky_relu(first + bias.reshape(1, 1, 1, -1), 0.2)
    np.testing.assert_allclose(features[:, :32], max_pooled(first).reshape(7, -1), atol=1e-5)


def test_other_weights_are_another_extractor_and_a_module_without_maps_is_refused():
    module, weights, x = _trained()
    moved = weights._replace(params=jax.tree.map(lambda leaf: leaf + 1, weights.params))
    digests = {discriminator_maps(module, one, IMAGE.encode).digest for one in (weights, moved)}
    assert len(digests) == 2
    perceptron = mlp.Discriminator()
    params = perceptron.init(jax.random.key(0), jnp.zeros((1, 1, 4, 1)), train=False)["params"]
    with pytest.raises(ValueError, match="Discriminator hands out no maps"):
        extract(discriminator_maps(perceptron, Owned(params, {}), IMAGE.encode), x[:, :1, :4])
