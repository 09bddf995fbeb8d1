"""The .npz reader, with files that are wrong, damaged or hostile."""

import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from ganjax.data import load
from ganjax.errors import DataError

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5, 1)


def save(path, save=np.savez, **arrays):
    save(path, **arrays)
    return str(path)


def refused(path):
    """The sentence with which `load` refuses the file."""
    with pytest.raises(DataError) as caught:
        load(str(path))
    sentence = str(caught.value)
    assert str(path) in sentence and "\n" not in sentence
    return sentence


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_reads_all_four_arrays(tmp_path, write):
    y = np.array([2, 0, 1])
    data = load(save(tmp_path / "a.npz", write, x_train=IMAGES, y_train=y, x_test=IMAGES[:2], y_test=y[:2]))
    np.testing.assert_array_equal(data.x_train, IMAGES)
    np.testing.assert_array_equal(data.y_train, y)
    np.testing.assert_array_equal(data.x_test, IMAGES[:2])
    assert data.y_train.dtype == data.y_test.dtype == np.int32
    assert data.name == str(tmp_path / "a.npz")


def test_reads_images_alone_in_fortran_order(tmp_path):
    data = load(save(tmp_path / "a.npz", x_train=np.asfortranarray(IMAGES), other=np.zeros(2)))
    np.testing.assert_array_equal(data.x_train, IMAGES)
    assert data.y_train is data.x_test is data.y_test is None


def test_reads_points(tmp_path):
    assert load(save(tmp_path / "a.NPZ.npz", x_train=np.ones((5, 3), np.float32))).shape == (3,)


@pytest.mark.parametrize(
    "arrays, sentence",
    [
        ({"images": IMAGES, "labels": IMAGES}, "x_train is missing, found images, labels; rename the array"),
        ({}, "x_train is missing, found nothing"),
        ({"x_train": IMAGES / 255}, "x_train has dtype float64, expected uint8 for images; store the pixels as uint8"),
        ({"x_train": np.full((2, 4, 4, 1), np.nan, np.float32)}, "x_train holds 32 NaN or infinite values"),
        ({"x_train": IMAGES[..., 0]}, "add the channel axis with x[..., None]"),
        ({"x_train": IMAGES, "y_train": np.zeros(3)}, "y_train has dtype float64, expected integer labels"),
        ({"x_train": IMAGES, "y_train": np.array([0, 1, 2**31])}, "y_train has dtype int64, expected int32"),
        ({"x_train": IMAGES, "y_train": np.array([0, 1, 2**32], np.uint64)}, "y_train has dtype uint64, expected"),
        ({"x_train": IMAGES, "y_train": np.zeros(0, int)}, "y_train has dtype int64, expected int32"),
        ({"x_train": IMAGES, "x_test": IMAGES[:0]}, "x_test is empty (shape (0, 4, 5, 1))"),
    ],
)  # fmt: skip
def test_refuses_arrays(tmp_path, arrays, sentence):
    assert sentence in refused(save(tmp_path / "a.npz", **arrays))


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("checked", [True, False])
def test_never_unpickles(tmp_path, monkeypatch, checked):
    canary = tmp_path / "canary"
    objects = np.array([Canary(canary)], dtype=object)
    path = save(tmp_path / "a.npz", x_train=objects)
    if checked:
        assert "x_train holds pickled Python objects, which are never loaded" in refused(path)
    else:  # NumPy refuses as well
        monkeypatch.setattr("ganjax.data.npz._check_header", lambda *args: None)
        assert "not a readable .npz file (Object arrays cannot be loaded" in refused(path)
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Canary(canary)))
    assert "not a readable .npz file" in refused(tmp_path / "bare.npz")
    assert not canary.exists()
    with np.load(path, allow_pickle=True) as loaded:  # the canary does sing where it is let out
        loaded["x_train"][0].close()
    assert canary.exists()


def rewrite_sizes(path, size):
    """Let the zip directory claim that every member unpacks to `size` bytes."""
    raw = bytearray(path.read_bytes())
    at = raw.find(b"PK\x01\x02")
    while at >= 0:
        raw[at + 24 : at + 28] = struct.pack("<I", size)
        at = raw.find(b"PK\x01\x02", at + 4)
    path.write_bytes(raw)


def test_refuses_a_bomb_by_its_directory(tmp_path):
    path = tmp_path / "a.npz"
    save(path, x_train=IMAGES, y_train=np.arange(3), x_test=IMAGES)
    rewrite_sizes(path, 2**32 - 16)
    assert "the data set takes 12,884,901,840 bytes uncompressed, more than the limit of 8,589,934,592" in refused(path)


def header(shape):
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("shape", [(10**6, 10**3, 10**3, 3), (2, 3, 1, 1), (2, 1, 1, 1), (-1, -4, 1, 1)])
def test_refuses_a_header_that_disagrees_with_the_directory(tmp_path, shape):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", header(shape) + b"1234")
    tracemalloc.start()
    sentence = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"x_train declares shape {shape} of uint8" in sentence and "but holds 4;" in sentence
    assert peak < 2**22


def test_refuses_a_long_header_before_reading_it(tmp_path):
    path = tmp_path / "a.npz"
    text = b" " * 2**26
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text)
    tracemalloc.start()
    sentence = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "reading array header, expected 67108864 bytes" in sentence and peak < 2**22


def test_refuses_other_npy_versions(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY\x03\x00" + header((4, 1, 1, 1))[8:] + b"1234")
    assert "x_train has npy version (3, 0), expected (1, 0) or (2, 0)" in refused(path)


@pytest.mark.parametrize("content", [b"", b"x_train,y_train\n1,2\n", b"PK\x03\x04 and no more"])
def test_refuses_what_is_no_zip(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    assert "not a readable .npz file" in refused(tmp_path / "a.npz")


def test_refuses_a_member_in_a_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("../x_train.npy", header((4, 1, 1, 1)) + b"1234")
    assert "x_train is missing, found ../x_train" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_every_truncation_and_damage_is_noticed(tmp_path, write):
    path = tmp_path / "a.npz"
    x = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 1), np.uint8)
    save(path, write, x_train=x)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert "not a readable .npz file" in refused(path)
    for at in range(200, 1200, 97):  # within the pixels
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        assert "not a readable .npz file" in refused(path)


def test_a_missing_file(tmp_path):
    assert "no such file; give the path of an .npz file that holds x_train" in refused(tmp_path / "none.npz")
    (tmp_path / "folder.npz").mkdir()
    assert "no such file" in refused(tmp_path / "folder.npz")
