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


def _drawn(module, *x):
    """Parameters drawn by NumPy, and the statistics of the beginning."""
    rng, how = np.random.default_rng(0), {"train": True} if isinstance(module, GeneratorPair) else {}
    made = jax.eval_shape(lambda: module.init(jax.random.key(0), *x, **how))
    params = jax.tree.map(lambda leaf: rng.normal(scale=0.3, size=leaf.shape).astype(np.float32), made["params"])
    return params, {"batch_stats": jax.tree.map(lambda leaf: np.ones(leaf.shape), made.get("batch_stats", {}))}


def _moved(slopes):
    """The layers that have a gradient."""
    return {name for name, own in slopes.items() if any(np.any(leaf) for leaf in jax.tree.leaves(own))}


def test_the_generators_of_a_pair_share_all_but_their_last_layers():
    """Equal last layers make equal images of every latent; each image moves its own last layer and all shared ones."""
    z, module = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32), GeneratorPair(1, 8)
    params, state = _drawn(module, z)

    @jax.jit
    def images(params):
        a, b = module.apply({"params": params, **state}, z, train=True, mutable="batch_stats")[0]
        return jnp.stack([jnp.square(a - 1).sum(), jnp.square(b - 1).sum()]), (a, b)

    slopes, made = jax.jit(jax.jacrev(images, has_aux=True))(params)
    of_a, of_b = (_moved(jax.tree.map(lambda leaf, i=i: leaf[i], slopes)) for i in (0, 1))
    assert (of_a - of_b, of_b - of_a) == ({"ConvTranspose_4"}, {"ConvTranspose_5"}) and of_a | of_b == set(params)
    assert np.abs(made[0] - made[1]).max() > 0.1
    np.testing.assert_array_equal(*images({**params, "ConvTranspose_5": params["ConvTranspose_4"]})[1])


def test_the_discriminators_of_a_pair_share_all_but_their_first_layers():
    """A shared layer's gradient is the sum of those of both domains by themselves; an own one's is of one."""
    x_a, x_b = np.random.default_rng(1).normal(size=(2, 3, 16, 16, 1)).astype(np.float32)
    module = DiscriminatorPair(3, (2, 3), 5)
    params, _ = _drawn(module, x_a, x_b)

    def cost(said):
        return jnp.square(said.logits).sum() + jnp.square(said.heads["class"] - said.features.sum()).sum()

    @jax.jit
    def slopes(params):
        see = lambda p, *x: module.apply({"params": p}, *x)  # noqa: E731
        alone = [lambda p, x=x, i=i: cost(see(p, x, x)[i]) for i, x in enumerate((x_a, x_b))]
        return [jax.grad(f)(params) for f in (lambda p: sum(map(cost, see(p, x_a, x_b))), *alone)]

    both, of_a, of_b = jax.device_get(slopes(params))
    assert (_moved(of_a) - _moved(of_b), _moved(of_b) - _moved(of_a)) == ({"Conv_0"}, {"Conv_1"})
    assert _moved(both) == set(params)
    jax.tree.map(lambda x, a, b: np.testing.assert_allclose(x, a + b, rtol=1e-4, atol=1e-3), both, of_a, of_b)


def test_batch_norm_is_before_each_relu_and_has_statistics():
    shapes = jax.eval_shape(
        lambda: Encoder(batch_norm=True).init(jax.random.key(0), jnp.zeros((2, 28, 28, 1)), train=True)
    )
    assert [leaf.shape for leaf in jax.tree.leaves(shapes["batch_stats"])] == 2 * [(20,)] + 2 * [(50,)] + 2 * [(500,)]


def test_small_images_are_refused():
    with pytest.raises(DataError, match="sides of at least 16"):
        jax.eval_shape(lambda: Encoder().init(jax.random.key(0), jnp.zeros((1, 15, 28, 1)), train=False))
