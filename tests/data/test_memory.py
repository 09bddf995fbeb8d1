"""Images that are left on disk: they look like an array, and are checked when they are read."""

import os
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ganjax.data import LazyImages, dataset, load, subsample
from ganjax.data.dataset import Companion
from ganjax.errors import DataError
from ganjax.kinds import VECTOR

X = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two classes of three images."""
    for i, image in enumerate(X):
        path = tmp_path / "photos" / "ab"[i // 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "photos"


def _lazy(folder):
    data = load(str(folder), lazy=True)
    assert isinstance(data.x_train, LazyImages)
    return data


@pytest.mark.parametrize(
    "rows",
    [
        3,
        -1,
        np.int64(2),
        slice(None, 2),
        slice(None),
        slice(4, None, -2),
        [5, 0, 5],
        np.array([], int),
        X[:, 0, 0, 0] > 99,
    ],
)
def test_it_is_indexed_as_an_array(folder, rows):
    x = _lazy(folder).x_train
    np.testing.assert_array_equal(x[rows], X[rows])
    assert x[rows].dtype == np.uint8


def test_it_looks_like_an_array(folder):
    data = _lazy(folder)
    x = data.x_train
    assert (x.shape, x.dtype, x.ndim, x.size, x.nbytes, len(x)) == (X.shape, X.dtype, 4, X.size, X.nbytes, 6)
    np.testing.assert_array_equal(np.asarray(x), X)
    np.testing.assert_array_equal(np.stack(list(x)), X)
    np.testing.assert_array_equal(data.y_train, [0, 0, 0, 1, 1, 1])
    assert repr(data) == f"Dataset({folder}: 6 train, 0 test, uint8 (4, 5, 3), 2 classes)"
    with pytest.raises(IndexError):
        x[6]
    with pytest.raises(IndexError):
        x[[0, 6]]
    with pytest.raises(ValueError, match="cannot be had without a copy"):
        np.asarray(x, copy=False)


def test_nothing_is_decoded_before_it_is_asked_for(folder):
    (folder / "b" / "5.png").write_bytes(b"no image")
    x = _lazy(folder).x_train
    np.testing.assert_array_equal(x[:5], X[:5])
    with pytest.raises(DataError, match=r"5\.png: not a readable PNG, JPEG or WEBP image .*; replace or remove it"):
        x[3:]


def test_images_of_another_size_or_gone(folder):
    x = _lazy(folder).x_train
    Image.fromarray(X[0][:3]).save(folder / "a" / "2.png")
    with pytest.raises(
        DataError, match=r"2\.png: 5x3 RGB, but 0\.png is 5x4 RGB; expected images of one size and mode"
    ):
        x[2]
    (folder / "a" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png: not a readable"):
        x[1]


def test_bad_images_cannot_be_skipped_unread(folder):
    with pytest.raises(DataError, match="which images are bad is not known before all are read; remove them"):
        load(str(folder), lazy=True, on_bad="skip")


def test_the_digest_is_of_names_and_contents(folder, tmp_path):
    first = _lazy(folder).digest
    assert first == _lazy(folder).digest != load(str(folder)).digest
    path = folder / "a" / "0.png"
    os.utime(path, ns=(0, 0))
    assert _lazy(folder).digest == first, "touched"
    assert _lazy(shutil.copytree(folder, tmp_path / "copy")).digest == first, "copied"
    path.rename(folder / "a" / "00.png")
    assert _lazy(folder).digest != first


@pytest.mark.parametrize("change", ["a pixel", "the orientation"])
def test_the_digest_sees_a_change_that_keeps_the_size(tmp_path, change):
    """Uncompressed: the changed byte is far from both ends, which hold the checksum of all pixels and the metadata."""
    x, exif = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8), Image.Exif()
    exif[0x0112], found = 1, []
    for _ in range(2):
        for name, image in zip(("0.png", "1.png"), x, strict=True):
            Image.fromarray(image).save(tmp_path / name, compress_level=0, exif=exif)
        found.append((_lazy(tmp_path).digest, (tmp_path / "1.png").stat().st_size))
        if change == "a pixel":
            x[1, 32, 32, 0] ^= 1
        else:
            exif[0x0112] = 3
    assert found[0][1] == found[1][1] > 2 * 4096 and found[0][0] != found[1][0]


def test_a_flat_folder_has_its_digest_whatever_it_is_called(folder):
    first = _lazy(folder / "a").digest
    (folder / "a").rename(folder / "moved")
    assert _lazy(folder / "moved").digest == first


def test_a_part_in_memory(folder, monkeypatch):
    data = _lazy(folder)
    whole = data.in_memory()
    np.testing.assert_array_equal(whole.x_train, X)
    assert whole.in_memory() is whole
    monkeypatch.setattr(dataset, "PART_BYTES", X[0].size * 3 + 1)
    part = data.in_memory()
    assert isinstance(part.x_train, np.ndarray)
    rows = sorted(subsample(6, 3))
    np.testing.assert_array_equal(part.x_train, X[rows])
    np.testing.assert_array_equal(part.y_train, [row // 3 for row in rows])
    vectors = np.arange(6, dtype=np.float32)[:, None]
    part = replace(data, companions={"place": Companion(vectors, None, VECTOR)}).in_memory()
    np.testing.assert_array_equal(part.y("place"), vectors[rows])


def test_threads_read_what_one_reads(folder):
    x, found = _lazy(folder).x_train, {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: x[[i % 6] * 20]})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(8):
        np.testing.assert_array_equal(found[i], X[[i % 6] * 20])


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_of_0_and_1_on_disk_are_no_pixels(tmp_path, split):
    """They would train as black; those in memory are checked in test_dataset.py."""
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        for i, image in enumerate(X):
            Image.fromarray(image % 2 if name == split else image).save(tmp_path / name / f"{i}.png")
    with pytest.raises(DataError, match=f"x_{split} holds only 0 and 1 in {len(X)} images, expected pixels from 0"):
        load(str(tmp_path), lazy=True)


def test_dark_and_bad_images_on_disk_are_not_refused_before_they_are_read(folder):
    Image.fromarray(0 * X[0]).save(folder / "a" / "0.png")
    (folder / "b" / "5.png").write_bytes(b"no image")
    x = _lazy(folder).x_train
    assert x[0].max() == 0
    with pytest.raises(DataError, match=r"5\.png: not a readable"):
        x[5]
