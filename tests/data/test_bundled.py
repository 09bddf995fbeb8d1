"""The sets that come with the package, and the script that cut one of them."""

import gzip
import hashlib
import runpy
import struct
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from ganjax.data import load

SCRIPT = Path(__file__).parents[2] / "scripts" / "cut_fashion_mnist.py"


def test_fashion_mnist_is_pinned_balanced_and_named():
    data = load("fashion_mnist")
    assert data.digest == "39ca11843bd74633c8d0fb345f0dde1a2e80e6a40c4d22c0a7daff874b6f192d"
    assert data.x_train.shape == (10_000, 28, 28, 1) and data.x_test.shape == (2_000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(data.y_train), [1000] * 10)
    np.testing.assert_array_equal(np.bincount(data.y_test), [200] * 10)
    assert (data.name, data.licence, len(data.class_names)) == ("fashion_mnist", "MIT", 10)


def test_fashion_mnist_labels_fit_the_pictures():
    """Trousers are tall and narrow, sneakers low and wide: the class means show it."""
    data = load("fashion_mnist")
    middle = {name: data.x_train[data.y_train == k].mean(0)[..., 0] for k, name in enumerate(data.class_names)}
    assert middle["Trouser"][:, :6].mean() < 5 < 60 < middle["Trouser"][:4].mean()
    assert middle["Sneaker"][:6].mean() < 5 < 60 < middle["Sneaker"][14:20, :4].mean()


def test_fashion_mnist_is_mixed_and_its_splits_share_nothing():
    data = load("fashion_mnist")
    assert (np.bincount(data.y_train[:1000], minlength=10) > 60).all()
    train = {hashlib.sha256(x).digest() for x in data.x_train}
    test = {hashlib.sha256(x).digest() for x in data.x_test}
    assert len(train) == 10_000 and not train & test


def test_the_licence_lies_beside_the_data():
    text = (resources.files("ganjax.data") / "embedded" / "LICENSE.fashion_mnist").read_text()
    assert "Zalando SE" in text and "Permission is hereby granted, free of charge" in text


def test_digits():
    from sklearn.datasets import load_digits

    data, source = load("digits"), load_digits()
    assert data.digest == "9b5f7c22700c7212d39de22367b0fb0fc053e7fb2a74ecbcb3778ea3d84148d0"
    assert data.x_train.shape == (1500, 8, 8, 1) and data.x_test.shape == (297, 8, 8, 1)
    # 16 is white, 1 is 255/16 = 15.9
    assert (data.x_train.min(), data.x_train.max(), np.unique(data.x_train)[1]) == (0, 255, 16)
    key = {
        np.rint(x * 255 / 16).astype(np.uint8).tobytes(): y for x, y in zip(source.images, source.target, strict=True)
    }
    x, y = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    assert all(key[image.tobytes()] == label for image, label in zip(x, y, strict=True))
    assert len({image.tobytes() for image in x}) == len(key)
    assert np.bincount(data.y_test, minlength=10).min() > 15


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def idx(tmp_path):
    """30 + 20 images of 2x2 pixels whose first pixel is their position; labels 0..9 in turn."""
    for prefix, count in (("train", 30), ("t10k", 20)):
        images = np.zeros((count, 2, 2), np.uint8)
        images[:, 0, 0] = np.arange(count)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return tmp_path


def cut(idx, output, per_class=2):
    command = [sys.executable, SCRIPT, idx, "--output", output]
    command += ["--train-per-class", str(per_class), "--test-per-class", "1"]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_cut_takes_the_first_of_each_class_and_repeats_itself(idx):
    for name in ("a.npz", "b.npz"):
        assert cut(idx, idx / name).returncode == 0
    assert (idx / "a.npz").read_bytes() == (idx / "b.npz").read_bytes()
    data = load(str(idx / "a.npz"))
    first = data.x_train[:, 0, 0, 0]
    np.testing.assert_array_equal(np.sort(first), np.arange(20))
    np.testing.assert_array_equal(first % 10, data.y_train)
    assert not np.array_equal(first, np.arange(20))
    np.testing.assert_array_equal(np.sort(data.x_test[:, 0, 0, 0]), np.arange(10))


def test_the_cut_needs_enough_of_each_class(idx):
    done = cut(idx, idx / "a.npz", per_class=4)
    assert done.returncode == 1 and "a class has 3 examples, fewer than the 4 to cut" in done.stderr
    assert not (idx / "a.npz").exists()


def test_the_cut_refuses_other_idx_types(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBB1I", 0, 9, 1, 1) + b"\0"))
    with pytest.raises(SystemExit, match=r"IDX element type 9, expected 8 \(uint8\)"):
        runpy.run_path(str(SCRIPT))["read_idx"](path)
