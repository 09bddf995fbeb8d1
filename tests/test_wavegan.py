"""What the experiment measures of sounds whose pitch is known, and the settings that are refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_command_line import load_experiment

from ganjax.core import Batch, Sampler
from ganjax.data import Dataset
from ganjax.data.chirps import NOTES, chirps
from ganjax.errors import ConfigError, DataError
from ganjax.kinds import from_samples

EXPERIMENT = load_experiment("wavegan")
MODULE = __import__("wavegan")


def sampler(played, given=None):
    """One that plays tones of these pitches, [N] Hz, in turn."""

    def draw(weights, key, index, asked):
        t = np.arange(1024)[None] / 8000
        return jnp.sin(2 * jnp.pi * jnp.asarray(played, jnp.float32)[index % len(played)][:, None] * t)

    return Sampler(("generator",), "data", draw, given=given)


def taken(measure, data, **y):
    x = from_samples(jnp.asarray(data.x_test[:16]))
    y = {name: jnp.asarray(data.y(name, "test")[:16]) for name in measure.y} | y
    values = jax.jit(lambda: measure.values({}, Batch(x, y, jnp.arange(16)), jax.random.key(0)))()
    return measure.summary(np.asarray(values))


def test_samples_are_measured_from_the_nearest_note_and_when_asked_from_that_note():
    data = chirps(train=16, test=16)
    mistuned = NOTES * 2 ** (30 / 1200)
    found = MODULE.measures(sampler(mistuned), data)
    assert abs(taken(found["pitch_cents"], data) - 30) < 0.5 and taken(found["tonal"], data) == 1
    assert taken(found["real_pitch_cents"], data) < 0.1
    asked = ("data", "class")
    right = MODULE.measures(sampler(mistuned[data.y_test[:16]], asked), data)["pitch_cents"]
    assert abs(taken(right, data) - 30) < 0.5
    wrong = MODULE.measures(sampler(mistuned[(data.y_test[:16] + 1) % 8], asked), data)["pitch_cents"]
    assert abs(taken(wrong, data) - 430) < 0.5  # in tune, but another note
    silent = MODULE.measures(sampler([0.0]), data)
    assert (taken(silent["pitch_cents"], data), taken(silent["tonal"], data)) == (1200, 0)


def test_data_without_a_pitch_have_no_such_measure_and_images_are_refused():
    config = dataclasses.replace(EXPERIMENT.config, **EXPERIMENT.smoke)
    bare = dataclasses.replace(chirps(train=16, test=16), companions={})
    setup = EXPERIMENT.build(dataclasses.replace(config, normalise=True), lambda name: bare, None)
    assert not setup.measures
    assert np.abs(setup.streams["data"].dataset.x_train.astype(int)).max(1).tolist() == [32767] * 16
    with pytest.raises(DataError, match=r"of the kind image .* \(8, 8, 1\), expected waveforms"):
        EXPERIMENT.build(config, lambda name: Dataset(np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)), None)


@pytest.mark.parametrize(("field", "value"), [("packing", 2), ("shuffle", 16), ("width", 0), ("remat", True)])
def test_settings_out_of_range(field, value):
    with pytest.raises(ConfigError, match=f"--{field}"):
        dataclasses.replace(EXPERIMENT.config, **{field: value})
