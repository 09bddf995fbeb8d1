"""What becomes of a generator's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.core import GameState, Owned, Sampler
from ganjax.data import Dataset
from ganjax.data.unpaired import resized
from ganjax.kinds import POINT, to_bytes
from ganjax.training import Keys, Setup, Stream, draw
from ganjax.training.sampling import BATCH, _formed, in_batches


def _counted(weights, key, index, labels):
    """How often standing passes saw each of five classes."""
    return jnp.broadcast_to(weights["generator"].net_state["batch_stats"][None], (len(index), 5))


def _counting(weights, key, labels, shape, truncation):
    return {"generator": Owned({}, {"batch_stats": jnp.zeros(5).at[labels].add(1.0)})}


def test_standing_statistics_see_classes_as_often_as_training_did():
    """In whatever order the data lie, and whatever classes are then asked for."""
    y = np.repeat(np.array([0, 1, 4], np.int32), [90, 30, 8])
    data = Dataset(np.zeros((128, 5), np.float32), y)
    nothing = jnp.zeros((), jnp.int32)
    state = GameState(nothing, {"generator": {}}, {"generator": {"batch_stats": jnp.zeros(5)}}, (), {}, nothing)
    draws = Sampler(("generator",), "data", _counted, given=("data", "class"), standing=_counting)
    setup = Setup(game=None, dynamics=None, streams={"data": Stream(data, 1)}, samplers={"counts": draws})
    for labels in (None, np.full(3, 4)):
        counts = draw(setup, state, Keys.of(0).samples, 3, labels, standing=4)
        np.testing.assert_array_equal(counts, np.tile([180, 60, 0, 0, 16], (3, 1)))
    with pytest.raises(ValueError, match=r"what is given has shape \(2,\), expected \(3, \.\.\.\), one a sample"):
        draw(setup, state, Keys.of(0).samples, 3, np.zeros(2))


def _noisy(weights, key, index, labels):
    """Images [4, 4, 1], each of its own noise and class alone."""
    pixels = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i), (4, 4, 1), minval=-1.1, maxval=1.1))
    return pixels(index) + (0.0 if labels is None else 0.2 * labels[:, None, None, None])


@pytest.mark.parametrize("classes", [None, 3])
def test_a_sample_depends_on_its_number_and_its_class_alone(classes):
    """Whatever is drawn with it, in bytes that are those of NumPy; the last call is filled up, not cut short."""
    y = None if classes is None else np.arange(6, dtype=np.int32) % classes
    data = Dataset(np.arange(96, dtype=np.uint8).reshape(6, 4, 4, 1), y)
    nothing = jnp.zeros((), jnp.int32)
    state = GameState(nothing, {"generator": {}}, {"generator": {}}, (), {}, nothing)
    key, count = Keys.of(0).samples, 2 * BATCH + 5
    draws = Sampler(("generator",), "data", _noisy, given=None if classes is None else ("data", "class"))
    setup = Setup(game=None, dynamics=None, streams={"data": Stream(data, 1)}, samplers={"noise": draws})
    many = draw(setup, state, key, count)
    assert many.shape == (count, 4, 4, 1) and many.dtype == np.uint8
    for few in (1, BATCH, BATCH + 1):
        np.testing.assert_array_equal(draw(setup, state, key, few), many[:few])
    labels = None if classes is None else jnp.arange(count) % classes
    x = np.asarray(_noisy({}, key, jnp.arange(count), labels))
    np.testing.assert_array_equal(many, to_bytes(x))
    assert {0, 255} <= set(many.ravel())


def test_points_stay_as_they_are():
    x = jnp.array([[0.1, 300.0], [-5.0, np.nan]])
    assert POINT.decode(x) is x


def test_the_next_call_begins_before_the_last_is_copied():
    """And no more than that: two calls' results lie on the device."""
    events = []

    class Result:
        def __init__(self, index):
            self.index = index
            events.append(("call", index[0]))

        def __array__(self, dtype=None, copy=None):
            events.append(("copy", self.index[0]))
            return self.index

    np.testing.assert_array_equal(in_batches(Result, 10, 4), np.arange(10))
    assert events == [("call", 0), ("call", 4), ("copy", 0), ("call", 8), ("copy", 4), ("copy", 8)]


def test_pixels_are_rounded_in_float32():
    """Of a network that computes in bfloat16 too, whose own sums near 255 are a whole level apart."""
    x = np.asarray(jnp.linspace(-1.0, 1.0, 1001).astype(jnp.bfloat16))
    expected = np.round((x.astype(np.float64) + 1) * 127.5)
    for given in (x, jnp.asarray(x)):  # on the host, on the device
        np.testing.assert_allclose(to_bytes(given), expected)
    halves = (np.arange(0, 256, dtype=np.float32) + 0.5) / 127.5 - 1  # to the even neighbour on both
    np.testing.assert_array_equal(to_bytes(jnp.asarray(halves)), to_bytes(halves))
    np.testing.assert_array_equal(to_bytes(np.array([-3.0, 3.0])), [0, 255])


@pytest.mark.parametrize("side", [6, 8])
def test_images_that_are_given_are_framed_as_the_data_were_whatever_their_size(side):
    """Of 6 pixels they become 8 with a frame of one, and so do those of 8 that have none."""
    dark = np.zeros((4, 6, 6, 1), np.uint8)
    dark[:, 3, 3] = 9
    own = resized(Dataset(dark, name="x"), 8, pad=1)
    x = np.full((2, side, side, 3), 250, np.uint8)
    x[1] = 240
    formed = _formed(x, own.shape, own)
    assert formed.shape == (2, 8, 8, 1) and formed[:, 0].max() < 130 < formed[:, 4, 4].min()
    np.testing.assert_array_equal(_formed(x, x.shape[1:], Dataset(x, name="plain")), x)
