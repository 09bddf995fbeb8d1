"""What becomes of a generator's numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.core import GameState
from ganjax.data import Dataset
from ganjax.training import Keys, Setup, draw
from ganjax.training.sampling import as_data


class Counting:
    """A sampler whose samples are how often its standing passes saw each of five classes."""

    def __call__(self, params, net_state, key, index, labels):
        return jnp.broadcast_to(net_state["batch_stats"][None], (len(index), 5))

    def standing(self, params, net_state, key, labels, shape):
        return {"batch_stats": jnp.zeros(5).at[labels].add(1.0)}


def test_standing_statistics_see_classes_as_often_as_training_did():
    """In whatever order the data lie, and whatever classes are then asked for."""
    y = np.repeat(np.array([0, 1, 4], np.int32), [90, 30, 8])
    data = Dataset(np.zeros((128, 5), np.float32), y)
    nothing = jnp.zeros((), jnp.int32)
    state = GameState(nothing, {"generator": {}}, {"generator": {"batch_stats": jnp.zeros(5)}}, (), {}, nothing)
    setup = Setup(game=None, dynamics=None, dataset=data, batch_size=1, sample=Counting(), labelled=True)
    for labels in (None, np.full(3, 4)):
        counts = draw(setup, state, Keys.of(0).samples, 3, labels, standing=4)
        np.testing.assert_array_equal(counts, np.tile([180, 60, 0, 0, 16], (3, 1)))
    with pytest.raises(ValueError, match=r"labels have shape \(2,\), expected \(3,\), a class for each sample"):
        draw(setup, state, Keys.of(0).samples, 3, np.zeros(2))


def test_pixels_are_rounded_in_float32():
    """Of a network that computes in bfloat16 too, whose own sums near 255 are a whole level apart."""
    x = np.asarray(jnp.linspace(-1.0, 1.0, 1001).astype(jnp.bfloat16))
    expected = np.round((x.astype(np.float64) + 1) * 127.5)
    np.testing.assert_allclose(as_data(x, np.dtype(np.uint8)), expected)
    np.testing.assert_array_equal(as_data(np.array([-3.0, 3.0]), np.dtype(np.uint8)), [0, 255])
