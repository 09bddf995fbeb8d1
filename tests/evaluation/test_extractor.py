"""Features of many examples: in order, whole, compiled once, and the same on four devices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.evaluation.extractor import Extractor, Features, classes, extract, pixels


def _images(count, shape=(4, 4, 1)):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def _linear(traces=None):
    """Two features and the logits of three classes."""

    def apply(weights, x):
        if traces is not None:
            traces.append(x.shape)
        flat = x.reshape(len(x), -1).astype(jnp.float32)
        return Features(flat @ weights["f"], flat @ weights["l"])

    rng = np.random.default_rng(1)
    weights = {"f": rng.standard_normal((16, 2), np.float32), "l": rng.standard_normal((16, 3), np.float32)}
    return Extractor("linear", "0" * 64, apply, weights, "none")


def test_every_example_is_there_once_and_one_program_does():
    traces = []
    extractor, x = _linear(traces), _images(23)
    features, logits = extract(extractor, x, batch=8)
    flat = x.reshape(23, -1).astype(np.float64)
    np.testing.assert_allclose(features, flat @ extractor.weights["f"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(logits, flat @ extractor.weights["l"], rtol=1e-4, atol=1e-3)
    assert traces == [(8, 4, 4, 1)] and features.dtype == np.float32


def test_pixels_of_images_and_of_points():
    x = _images(5, (2, 3, 3))
    features, logits = extract(pixels(), x, batch=4)
    np.testing.assert_allclose(features, x.reshape(5, 18) / 255, rtol=1e-6)
    points = np.array([[1.5, -2.0], [300.0, 0.0]], np.float32)
    np.testing.assert_array_equal(extract(pixels(), points)[0], points)
    assert logits is None and len(pixels().digest) == 64


def test_classes_cost_nothing():
    assert classes(_linear(), _images(1)) == 3 and classes(pixels(), _images(1)) is None


def test_bad_examples():
    with pytest.raises(ValueError, match=r"x has shape \(3, 4, 4\)"):
        extract(pixels(), np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"x has shape \(0, 2\)"):
        extract(pixels(), np.zeros((0, 2), np.float32))
    with pytest.raises(ValueError, match="batch is 0"):
        extract(pixels(), _images(3), batch=0)
    for extractor in (pixels(), _linear()):
        with pytest.raises(TypeError, match="x holds images of float32, expected uint8"):
            extract(extractor, _images(3).astype(np.float32))


def test_four_devices_share_a_batch(tmp_path):
    if out := os.environ.get("GANJAX_TEST_OUT"):  # the child
        features, logits = extract(_linear(), _images(23), batch=6)
        np.savez(out, devices=jax.local_device_count(), features=features, logits=logits)
        return
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "GANJAX_TEST_OUT": str(tmp_path / "four.npz"),
    }
    command = [sys.executable, "-m", "pytest", f"{__file__}::test_four_devices_share_a_batch"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    four, (features, logits) = np.load(tmp_path / "four.npz"), extract(_linear(), _images(23))
    assert four["devices"] == 4
    np.testing.assert_allclose(four["features"], features, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(four["logits"], logits, rtol=1e-5, atol=1e-3)
