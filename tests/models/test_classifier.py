"""Classifiers for any shape: features, logits and parameter counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.models.classifier import classifier


def _variables(shape, **options):
    model = classifier(shape, 3, **options)
    x = jax.random.normal(jax.random.key(1), (2, *shape))
    quick = {"xla_backend_optimization_level": 1}
    return model, jax.jit(model.init, compiler_options=quick)(jax.random.key(0), x), x


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 33, 3), (1, 1, 4), (2,)])
def test_logits_are_an_affine_map_of_features(shape):
    model, variables, x = _variables(shape, width=4, features=6)
    of_images = len(shape) == 3
    maps = lambda v, x: model.apply(v, x, method="maps") if of_images else ()  # noqa: E731
    both = jax.jit(lambda v, x: (*model.apply(v, x, method="judge"), model.apply(v, x), maps(v, x)))
    features, logits, called, layers = both(variables, x)
    assert not of_images or (len(layers) > 1 and layers[0].ndim == 4 and (layers[-1] == features).all())
    assert features.shape == (2, 6) and logits.shape == (2, 3) and float(features.min()) >= 0
    head = variables["params"]["head"]
    np.testing.assert_allclose(logits, features @ head["kernel"] + head["bias"][None], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(called, logits, rtol=1e-5, atol=1e-6)


def test_parameter_counts_by_hand():
    """28 -> 14 -> 7, with 32 and 64 channels."""
    variables = jax.eval_shape(classifier((28, 28, 1), 3).init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    expected = 17 * 32 + (16 * 32 + 1) * 64 + (7 * 7 * 64 + 1) * 128 + 129 * 3
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected
    variables = jax.eval_shape(classifier((2,), 3).init, jax.random.key(0), jnp.zeros((1, 2)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 3 * 128 + 129 * 128 + 129 * 3


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"example is \(28, 28\)"):
        classifier((28, 28), 3)
    with pytest.raises(ValueError, match="num_classes is 1, expected at least 2"):
        classifier((2,), 1)
