"""Shapes, parameter counts and published guidelines of the first models."""

import itertools
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.errors import DataError
from ganjax.layers.dropout import SHARED
from ganjax.models import dcgan, mlp

Z, W, B = 10, 8, 4
# image shape -> base map and number of doublings
IMAGES = {
    (28, 28, 1): ((7, 7), 2),
    (32, 32, 3): ((4, 4), 3),
    (8, 8, 1): ((2, 2), 2),
    (48, 32, 4): ((6, 4), 3),
    (64, 64, 3): ((4, 4), 4),
    (4, 12, 1): ((1, 3), 2),
}
MODELS = {
    "mlp": (mlp.Generator(shape=(8, 8, 1), hidden=(16, 16)), mlp.Discriminator(hidden=(16, 16))),
    "dcgan": (dcgan.Generator(shape=(8, 8, 1), width=W), dcgan.Discriminator(width=W)),
}


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def dcgan_networks(shape):
    g, d = dcgan.Generator(shape=shape, width=W), dcgan.Discriminator(width=W)
    return (g, jnp.ones((B, Z))), (d, jnp.ones((B, *shape)))


@lru_cache
def dcgan_shapes(shape):
    return tuple(
        jax.eval_shape(partial(module.init_with_output, train=True), jax.random.key(0), inputs)
        for module, inputs in dcgan_networks(shape)
    )


@pytest.mark.parametrize("shape", IMAGES)
def test_dcgan_maps_latents_to_images_and_images_to_logits(shape):
    (x, _), (logits, _) = dcgan_shapes(shape)
    assert x.shape == (B, *shape)
    assert logits.shape == (B,)


@pytest.mark.parametrize("shape", IMAGES)
def test_dcgan_parameter_counts(shape):
    ((a, b), n), c = IMAGES[shape], shape[2]
    (_, g), (_, d) = dcgan_shapes(shape)
    widths = [W * 2**i for i in range(n)]
    between = sum(16 * i * o for i, o in itertools.pairwise(widths))  # 4x4 kernels, no bias
    g_norms, d_norms = 2 * sum(widths), 2 * sum(widths[1:])  # scale and bias
    assert count(g["params"]) == a * b * Z * widths[-1] + between + 16 * W * c + c + g_norms
    assert count(d["params"]) == 16 * c * W + W + between + a * b * widths[-1] + 1 + d_norms


@pytest.mark.parametrize("shape", IMAGES)
def test_dcgan_follows_the_guidelines(shape):
    n = IMAGES[shape][1]
    for (module, x), kind, norms in zip(dcgan_networks(shape), ("ConvTranspose", "Conv"), (n, n - 1), strict=True):
        params = init(module, x)["params"]
        layers = {name for name in params if name.startswith(f"{kind}_")}
        batch_norms = {name for name in params if name.startswith("BatchNorm_")}
        assert layers | batch_norms == set(params)  # no dense layer, no pooling, nothing else
        assert (len(layers), len(batch_norms)) == (n + 1, norms)
        biased = {name for name in layers if "bias" in params[name]}
        ends = {f"{kind}_{n}"} if kind == "ConvTranspose" else {"Conv_0", f"Conv_{n}"}
        assert biased == ends  # only those without BatchNorm
        kernels = np.concatenate([np.ravel(params[name]["kernel"]) for name in layers])
        np.testing.assert_allclose([kernels.mean(), kernels.std()], [0, 0.02], atol=2e-3)
        scales = np.concatenate([params[name]["scale"] for name in batch_norms])
        assert abs(scales.mean() - 1) < 0.02 and 0.01 < scales.std() < 0.03


@pytest.mark.parametrize("shape", [(30, 30, 1), (28, 30, 1), (28, 28), (0, 28, 1)])
def test_an_image_that_cannot_be_halved_twice_is_an_error(shape):
    with pytest.raises(DataError, match=r"image shape: got .*expected .*divisible by 4"):
        dcgan.check_image_shape(shape)


def test_the_networks_check_the_image_themselves():
    with pytest.raises(DataError, match=r"30, 30, 1"):
        jax.eval_shape(
            partial(dcgan.Generator(shape=(30, 30, 1)).init, train=True), jax.random.key(0), jnp.ones((B, Z))
        )
    with pytest.raises(DataError, match=r"30, 30, 1"):
        jax.eval_shape(partial(dcgan.Discriminator().init, train=True), jax.random.key(0), jnp.ones((B, 30, 30, 1)))


@pytest.mark.parametrize(("shape", "output"), [((2,), mlp.identity), ((28, 28, 1), jnp.tanh)])
def test_mlp_shapes_and_parameter_counts(shape, output):
    key, hidden, size = jax.random.key(0), (16, 12), int(np.prod(shape))
    g, d = mlp.Generator(shape=shape, hidden=hidden, output=output), mlp.Discriminator(hidden=hidden)
    x, g_variables = jax.eval_shape(lambda: g.init_with_output(key, jnp.ones((B, Z)), train=True))
    logits, d_variables = jax.eval_shape(lambda: d.init_with_output(key, jnp.ones(x.shape), train=True))
    assert (x.shape, logits.shape) == ((B, *shape), (B,))

    def dense(*widths):
        return sum(i * o + o for i, o in itertools.pairwise(widths))

    assert count(g_variables) == dense(Z, *hidden, size)
    assert count(d_variables) == dense(size, *hidden, 1)


@pytest.mark.parametrize("name", MODELS)
def test_images_lie_in_the_range_of_tanh(name):
    g, _ = MODELS[name]
    z = np.random.default_rng(1).normal(0, 100, (64, Z)).astype(np.float32)
    large = jax.tree.map(lambda w: 20 * np.asarray(w), init(g, z))
    x = jax.jit(partial(g.apply, train=True, mutable=["batch_stats"]))(large, z)[0]
    assert -1 <= x.min() < -0.9 and 0.9 < x.max() <= 1


def init(module, inputs, labels=None):
    return jax.jit(lambda key: module.init(key, inputs, labels, train=True))(jax.random.key(0))


def test_batch_norm_of_the_mlp_is_an_option():
    g = MODELS["mlp"][0].clone(batch_norm=True)
    assert "batch_stats" in init(g, jnp.ones((B, Z)))
    assert "batch_stats" not in init(MODELS["mlp"][0], jnp.ones((B, Z)))


# --- further outputs and layers of discriminators --------------------------------------------------------------------


@pytest.mark.parametrize(
    "module", [mlp.Discriminator((16,), dropout=0.5), dcgan.Discriminator(width=8, batch_norm=False, dropout=0.5)]
)
def test_dropout_is_random_in_training_alone(module):
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    variables = jax.jit(partial(module.init, train=True))({"params": jax.random.key(0)}, x)
    judge = jax.jit(lambda key: module.apply(variables, x, train=True, rngs={SHARED: key}))
    logits = [judge(jax.random.key(k)) for k in range(2)]
    assert abs(logits[0] - logits[1]).max() > 1e-3 * abs(logits[0]).max()
    jax.eval_shape(partial(module.apply, train=False), variables, x)  # needs no key


def test_a_discriminator_without_batch_norm_has_no_statistics():
    d = dcgan.Discriminator(width=2, batch_norm=False)
    variables = jax.eval_shape(lambda: d.init(jax.random.key(0), jnp.ones((2, 8, 8, 1)), train=True))
    assert set(variables) == {"params"}
    assert variables["params"]["Conv_1"]["bias"].shape == (4,)


def test_layers_of_the_perceptron():
    """Shapes by hand: maxout has five times the columns, minibatch layers widen what the logit sees."""
    x = jnp.ones((4, 3))

    def shapes(**options):
        d = mlp.Discriminator((6,), **options)
        return jax.tree.map(jnp.shape, jax.eval_shape(lambda: d.init(jax.random.key(0), x, train=True)["params"]))

    assert shapes(maxout=5)["Maxout_0"]["Dense_0"]["kernel"] == (3, 30)
    assert shapes(minibatch="std")["Dense_1"]["kernel"] == (7, 1)
    assert shapes(minibatch="discrimination")["Dense_1"]["kernel"] == (6 + 32, 1)


def test_uniform_initialisation_is_that_of_pytorch():
    """Kernel and bias from U(-1, 1) / sqrt(inputs)."""
    dense = init(mlp.Discriminator((400,), initialisation="uniform"), jnp.ones((1, 4)))["params"]["Dense_0"]
    for leaf in (dense["kernel"], dense["bias"]):
        assert 0.49 < abs(leaf).max() <= 0.5
        np.testing.assert_allclose(leaf.std(), 0.5 / np.sqrt(3), rtol=0.07)
    generator = init(mlp.Generator((2,), (400,), initialisation="uniform"), jnp.ones((1, 4)))
    assert 0.49 < abs(generator["params"]["Dense_0"]["bias"]).max() <= 0.5


@pytest.mark.fault("PyTorch-GAN: BatchNorm2d(c, 0.8) sets epsilon, not the momentum")
@pytest.mark.parametrize(
    ("module", "x"),
    [
        (mlp.Generator((2,), (4,), batch_norm=True), jnp.ones((2, 3))),
        (dcgan.Generator((8, 8, 1), width=2), jnp.ones((2, 3))),
        (dcgan.Discriminator(width=2), jnp.ones((2, 8, 8, 1))),
    ],
    ids=["mlp", "dcgan generator", "dcgan discriminator"],
)
def test_batch_norm_has_a_small_epsilon_and_a_long_memory(module, x):
    """`BatchNorm2d(c, 0.8)`, copied through many tutorials, sets epsilon to 0.8 and leaves the momentum as it was."""
    seen = []

    def note(call, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            seen.append((context.module.epsilon, context.module.momentum))
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda: module.init(jax.random.key(0), x, train=True))
    assert seen and all(epsilon == 1e-5 and momentum == 0.9 for epsilon, momentum in seen)
