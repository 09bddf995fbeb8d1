"""The U-Net against the published counts, what its skips see, and its dropout by the numbers of examples."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.errors import DataError
from ganjax.layers.dropout import SHARED
from ganjax.models.unet import UNet


def shapes(module, side, channels):
    y = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    return jax.eval_shape(lambda y: module.init(jax.random.key(0), y, train=False), y)


@pytest.mark.parametrize(
    ("width", "downs", "channels", "parameters"),
    [
        (64, 8, 3, 54_413_955),
        (64, 7, 3, 41_828_995),
        (64, 6, 3, 29_244_035),
        (32, 6, 1, 7_313_731),
        (32, 5, 1, 4_166_979),
    ],
)
def test_parameters(width, downs, channels, parameters):
    found = shapes(UNet(3, width, downs), 2**downs, channels)
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(found["params"])) == parameters


def test_a_side_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(DataError, match=r"got \(24, 32, 1\), expected .* divisible by 16 .* 4 downs"):
        jax.eval_shape(partial(UNet(3, 2, 4).init, train=False), jax.random.key(0), jnp.zeros((1, 24, 32, 1)))


@pytest.mark.fault("pix2pix, the paper's own erratum: BatchNorm of one example of 1x1 makes zeros of the bottleneck")
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_one_example_passes_a_bottleneck_of_one_pixel(norm):
    """Its kernel has a gradient; the layer that follows makes 2x2, of which a norm leaves something."""
    module, y = UNet(1, 2, 2, norm, dropout=0.0), jax.random.normal(jax.random.key(1), (1, 4, 4, 1))
    variables = jax.jit(partial(module.init, train=True))(jax.random.key(0), y)

    def out(params):
        x, _ = module.apply({**variables, "params": params}, y, train=True, mutable=["batch_stats"])
        return (x * y).sum()

    slopes = jax.jit(jax.grad(out))(variables["params"])
    assert np.abs(slopes["Conv_1"]["kernel"]).max() > 1e-6
    assert np.abs(slopes["ConvTranspose_1"]["bias"]).max() > 1e-6, "the last bias moves"


def test_without_its_bottleneck_it_sees_the_neighbourhood():
    """Skips carry all pixels: none is without effect, and what is far away has none, which the bottleneck alone saw."""
    module, y = UNet(1, 1, 3), jnp.ones((1, 32, 32, 1))
    variables = jax.tree.map(lambda w: 0.1 + 0 * w, jax.jit(partial(module.init, train=False))(jax.random.key(0), y))

    def slopes(closed):
        inner = variables["params"]["Conv_2"]
        params = {**variables["params"], "Conv_2": {"kernel": inner["kernel"] * (1 - closed)}}
        x, pull = jax.vjp(lambda y: module.apply({**variables, "params": params}, y, train=False), y)
        middle = jnp.zeros_like(x).at[0, 16, 16].set(1)
        return pull(jnp.ones_like(x))[0][0, :, :, 0], pull(middle)[0][0, :, :, 0]

    (_, seen), (whole, near) = (map(np.asarray, jax.jit(slopes)(jnp.float32(c))) for c in (0.0, 1.0))
    assert (whole != 0).all() and (near[14:19, 14:19] != 0).all()
    assert (near != 0).sum() < (seen != 0).sum() and near[0, 0] == 0


@lru_cache
def painter():
    """A small U-Net, its weights, and its program in evaluation."""
    module = UNet(1, 2, 2, dropout=0.5)
    y = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    variables = jax.device_get(jax.jit(partial(module.init, train=False))(jax.random.key(0), y, jnp.arange(3)))
    # maps that are not nearly zero
    variables = jax.tree.map(lambda w: w + np.float32(0.3) if w.ndim == 1 else 10 * w, variables)

    def paint(y, index, key):
        return module.apply(variables, y, index, train=False, rngs={SHARED: key})

    return paint, jax.jit(paint), y


def test_an_example_draws_its_masks_by_its_number_alone():
    """Same key and number, same image, whatever else is in the batch and wherever it stands; another one, another."""
    plain, paint, y = painter()
    key, numbers = jax.random.key(3), jnp.array([5, 9, 2])
    x = paint(y, numbers, key)
    np.testing.assert_array_equal(x, paint(y, numbers, key))
    np.testing.assert_allclose(paint(y[::-1], numbers[::-1], key)[::-1], x, atol=1e-5)
    np.testing.assert_allclose(paint(y, jnp.array([1, 9, 7]), key)[1], x[1], atol=1e-5)
    twice = paint(jnp.broadcast_to(y[:1], y.shape), numbers, key)
    gaps = [np.abs(twice[0] - twice[1]).max(), np.abs(x - paint(y, numbers, jax.random.key(4))).max()]
    quiet = plain(y, None, key)
    assert min(*gaps, np.abs(x - quiet).max()) > 1e-3
    np.testing.assert_array_equal(quiet, plain(y, None, jax.random.key(4)))
