"""What a condition says to a layer: rows of a table for classes, linear maps of vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.errors import ConfigError
from ganjax.layers.conditioning import embedded
from ganjax.layers.heads import check_labels, projection
from ganjax.layers.normalisation import ConditionalBatchNorm

VECTORS = jax.random.normal(jax.random.key(1), (4, 3))
LABELS = jnp.array([2, 0, 2, 1])


class Embedded(nn.Module):
    @nn.compact
    def __call__(self, y):
        return embedded(y, 5, 3, name="of")


class Projected(nn.Module):
    num_classes: int = 0

    @nn.compact
    def __call__(self, h, y):
        return projection(h, y, self.num_classes, name="of")


def test_a_class_is_looked_up_and_a_vector_is_mapped():
    found, variables = Embedded().init_with_output(jax.random.key(0), LABELS)
    np.testing.assert_array_equal(found, variables["params"]["of"]["embedding"][LABELS])
    found, variables = Embedded().init_with_output(jax.random.key(0), VECTORS)
    assert set(variables["params"]["of"]) == {"kernel"}
    np.testing.assert_allclose(found, VECTORS @ variables["params"]["of"]["kernel"], rtol=1e-5)


def test_a_projection_is_the_inner_product_with_either():
    h = jax.random.normal(jax.random.key(2), (4, 6))
    found, variables = Projected(3).init_with_output(jax.random.key(0), h, LABELS)
    np.testing.assert_allclose(found, (variables["params"]["of"]["embedding"][LABELS] * h).sum(-1), rtol=1e-5)
    found, variables = Projected().init_with_output(jax.random.key(0), h, VECTORS)
    np.testing.assert_allclose(found, (VECTORS @ variables["params"]["of"]["kernel"] * h).sum(-1), rtol=1e-5)
    for y in (None, LABELS):  # without classes, labels say nothing
        found, variables = Projected().init_with_output(jax.random.key(0), h, y)
        assert (found == 0).all() and not variables


def test_conditional_batch_norm_takes_vectors_where_it_has_tables_too():
    x = jax.random.normal(jax.random.key(3), (4, 2, 2, 5))
    tables, maps = (
        ConditionalBatchNorm(3).init(jax.random.key(0), x, y, train=True)["params"] for y in (LABELS, VECTORS)
    )
    assert jax.tree.map(jnp.shape, tables) == {name: {"embedding": (3, 5)} for name in ("scale", "offset")}
    assert jax.tree.map(jnp.shape, maps) == {name: {"kernel": (3, 5)} for name in ("scale", "offset")}


def test_vectors_are_no_classes_out_of_range():
    check_labels(VECTORS, 2)
    with pytest.raises(ValueError, match="at most 1"):
        check_labels(LABELS, 2)
    with pytest.raises(ConfigError, match="Pass labels"):
        check_labels(None, 2)
