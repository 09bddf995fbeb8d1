"""LeNet and what goes with it, against published counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.errors import DataError
from ganjax.models.lenet import Classifier, ClassifierPair, Critic, DiscriminatorPair, Encoder, GeneratorPair, pooled


class LeNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(Encoder()(x, train=False))


@pytest.mark.parametrize(
    ("module", "shapes", "options", "parameters", "outputs"),
    [
        (LeNet(), [(28, 28, 1)], {}, 431_080, [(10,)]),
        (LeNet(), [(28, 28, 3)], {}, 431_080 + 2 * 500, [(10,)]),
        (Critic(), [(10,)], {}, 257_002, [()]),
        (Critic(), [(500,)], {}, 502_002, [()]),
        (GeneratorPair(), [(100,)], {"train": True}, 7_842_694, 2 * [(28, 28, 1)]),
        (DiscriminatorPair(10), 2 * [(28, 28, 1)], {}, 432_603, 2 * [(), (500,), (10,)]),
        (Encoder(None, (32, 48)), [(28, 28, 3)], {"train": True}, 76 * 32 + 801 * 48, [(768,)]),
        (Classifier(10), [(768,)], {}, 769 * 100 + 101 * 100 + 101 * 10, [(10,)]),
        (ClassifierPair(10), [(500,)], {}, 2 * (501 * 100 + 101 * 10), [(2, 10)]),
    ],
)
def test_parameters_and_outputs(module, shapes, options, parameters, outputs):
    x = [jnp.zeros((2, *shape)) for shape in shapes]
    said, made = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), *x, **options))
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(made["params"])) == parameters
    assert sorted(leaf.shape for leaf in jax.tree.leaves(said)) == sorted((2, *shape) for shape in outputs)


def test_pooling_is_that_of_flax_with_its_gradient():
    x, y = (jnp.asarray(np.random.default_rng(0).permutation(7 * 6 * 3).reshape(1, 7, 6, 3), jnp.float32) for _ in "ab")
    stock = lambda x: nn.max_pool(x, (2, 2), (2, 2))  # noqa: E731
    np.testing.assert_array_equal(pooled(x), stock(x))
    slopes = [jax.grad(lambda x, f=f: (f(x) * y[:, :3, :3]).sum())(x) for f in (pooled, stock)]
    np.testing.assert_array_equal(*slopes)


def test_batch_norm_is_before_each_relu_and_has_statistics():
    shapes = jax.eval_shape(
        lambda: Encoder(batch_norm=True).init(jax.random.key(0), jnp.zeros((2, 28, 28, 1)), train=True)
    )
    assert [leaf.shape for leaf in jax.tree.leaves(shapes["batch_stats"])] == 2 * [(20,)] + 2 * [(50,)] + 2 * [(500,)]


def test_small_images_are_refused():
    with pytest.raises(DataError, match="sides of at least 16"):
        jax.eval_shape(lambda: Encoder().init(jax.random.key(0), jnp.zeros((1, 15, 28, 1)), train=False))
