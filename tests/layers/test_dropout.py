"""Dropout: its mean and share, one mask for each example, and the same masks on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.layers.dropout import SHARED, Dropout

KEYS = {SHARED: jax.random.key(0)}


def test_share_and_mean():
    x = jnp.ones((50, 200))
    found = np.asarray(Dropout(0.3).apply({}, x, deterministic=False, rngs=KEYS))
    assert set(np.unique(found.round(5))) == {0, np.float32(1 / 0.7).round(5)}
    assert abs((found == 0).mean() - 0.3) < 4 * np.sqrt(0.21 / x.size)
    assert len(np.unique(found == 0, axis=0)) == 50, "every example has its own mask"
    np.testing.assert_array_equal(Dropout(0.3).apply({}, x, deterministic=True), x)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, x, deterministic=False), x)


def test_devices_that_share_a_batch_drop_what_one_device_drops():
    x = jnp.ones((8, 3, 5))
    whole = Dropout(0.5).apply({}, x, deterministic=False, rngs=KEYS)
    dealt = x.reshape(4, 2, 3, 5).swapaxes(0, 1)  # device d has the examples d, d + 2, ...
    layer = Dropout(0.5, axis_name="devices")
    parts = jax.vmap(lambda x: layer.apply({}, x, deterministic=False, rngs=KEYS), axis_name="devices")(dealt)
    np.testing.assert_array_equal(parts.swapaxes(0, 1).reshape(whole.shape), whole)


def test_numbered_examples_drop_by_their_number_wherever_they_stand():
    x = jnp.ones((8, 30))
    layer = lambda x, index: Dropout(0.5).apply({}, x, index, deterministic=False, rngs=KEYS)  # noqa: E731
    whole = layer(x, None)
    np.testing.assert_array_equal(layer(x[:3], jnp.array([6, 0, 3])), whole[jnp.array([6, 0, 3])])
