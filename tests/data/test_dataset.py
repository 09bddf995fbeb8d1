"""The container: what it refuses and what its digest depends on."""

import dataclasses
import hashlib

import numpy as np
import pytest

from ganjax import kinds
from ganjax.data import Dataset, text
from ganjax.data.dataset import Companion
from ganjax.errors import DataError
from ganjax.kinds import CLASS, IMAGE, TOKENS, VECTOR, WAVEFORM

IMAGES = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1)
POINTS = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], np.float32)
LABELS = np.array([0, 1], np.int32)
NAN = POINTS.copy()
NAN[1, 0], NAN[2, 1] = np.nan, np.inf


def test_accepts_images_and_points():
    data = Dataset(IMAGES, LABELS, IMAGES[:1], LABELS[:1], class_names=("a", "b", "c"))
    assert (data.shape, data.classes) == ((4, 4, 1), 3)
    assert (Dataset(POINTS).shape, Dataset(POINTS).classes) == ((2,), None)
    assert Dataset(IMAGES, LABELS).classes == 2
    assert repr(Dataset(IMAGES, LABELS, name="tiny")) == ("Dataset(tiny: 2 train, 0 test, uint8 (4, 4, 1), 2 classes)")


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dataset(POINTS).name = "other"


BAD = {
    "list": ({"x_train": [[1.0]]}, "x_train is a list, expected a numpy array"),
    "empty": (
        {"x_train": IMAGES[:0]},
        r"x_train is empty \(shape \(0, 4, 4, 1\)\), expected at least one example",
    ),
    "nan": ({"x_train": NAN}, "x_train holds 2 NaN or infinite values; remove those examples"),
    "nan image": ({"x_train": np.full((1, 2, 2, 1), np.nan)}, "x_train holds 4 NaN or infinite values"),
    "float image": (
        {"x_train": IMAGES.astype(np.float32)},
        "x_train has dtype float32, expected uint8 for images; store the pixels as uint8, 0 to 255",
    ),
    "int image": ({"x_train": IMAGES.astype(np.int32)}, "x_train has dtype int32, expected uint8 for images"),
    "double points": (
        {"x_train": POINTS.astype(np.float64)},
        r"x_train has dtype float64, expected float32 for points \[N, D\]; use x.astype\('float32'\)",
    ),
    "no channel axis": (
        {"x_train": IMAGES[..., 0]},
        r"x_train has rank 3 \(shape \(2, 4, 4\)\), expected images .* add the channel axis with x\[..., None\]",
    ),
    "rank 1": (
        {"x_train": POINTS[0]},
        r"x_train has rank 1 \(shape \(2,\)\), expected images \[N, H, W, C\] or points",
    ),
    "channels first": (
        {"x_train": np.zeros((2, 3, 8, 8), np.uint8)},
        r"x_train has 8 channels .* channels last .* move them with x.transpose\(0, 2, 3, 1\)",
    ),
    "four channels first": (
        {"x_train": np.zeros((2, 4, 32, 32), np.uint8)},
        r"x_train has 32 channels .* channels last .* move them with x.transpose\(0, 2, 3, 1\)",
    ),
    "many channels": (
        {"x_train": np.zeros((2, 8, 8, 13), np.uint8)},
        r"x_train has 13 channels \(shape \(2, 8, 8, 13\)\), expected at most 4, and last .* choose some of them",
    ),
    "two channels first, of test images": (
        {"x_test": np.zeros((2, 2, 8, 8), np.uint8)},
        r"x_test has 8 channels .* channels last .* move them with x.transpose\(0, 2, 3, 1\)",
    ),
    "bits": ({"x_train": IMAGES % 2}, r"x_train holds only 0 and 1, expected pixels from 0 to 255; use x_train \* 255"),
    "bits of test images": ({"x_test": IMAGES % 2}, "x_test holds only 0 and 1, expected pixels from 0 to 255"),
    "constant": (
        {"x_train": np.full((2, 4, 4, 1), 7, np.uint8)},
        r"x_train is constant \(every pixel is 7\), expected different images",
    ),
    "test shape": (
        {"x_test": np.zeros((2, 5, 4, 1), np.uint8)},
        r"x_test has examples of shape \(5, 4, 1\), expected \(4, 4, 1\) as in x_train",
    ),
    "test dtype": ({"x_test": IMAGES / 255}, "x_test has dtype float64, expected uint8"),
    "test kind": ({"x_test": POINTS}, r"x_test has examples of shape \(2,\), expected \(4, 4, 1\)"),
    "label count": (
        {"y_train": np.zeros(3, np.int32)},
        r"y_train has shape \(3,\), expected \(2,\): one label for each example of x_train",
    ),
    "label column": ({"y_train": LABELS[:, None]}, r"y_train has shape \(2, 1\), expected \(2,\)"),
    "float labels": (
        {"y_train": LABELS.astype(np.float32)},
        r"y_train has dtype float32, expected integer labels \[N\] int32",
    ),
    "list labels": ({"y_train": [0, 1]}, "y_train has type list, expected integer labels"),
    "wide labels": (
        {"y_train": LABELS.astype(np.int64)},
        r"y_train has dtype int64, expected int32; use y.astype",
    ),
    "negative label": ({"y_train": LABELS - 1}, "y_train holds the label -1, expected labels from 0 up"),
    "label beyond names": (
        {"y_train": LABELS, "class_names": ("a",)},
        "y_train holds the label 1, expected less than 1, the number of class_names",
    ),
    "label that is an identifier": (
        {"y_train": LABELS + 65_535},
        "y_train holds the label 65536, expected less than 65536; number the classes from 0",
    ),
    "labels of no test": ({"y_test": LABELS}, "y_test is given without x_test; give both or neither"),
    "test labels": ({"x_test": IMAGES, "y_test": LABELS[:1]}, r"y_test has shape \(1,\), expected \(2,\)"),
}


@pytest.mark.parametrize("fields, sentence", BAD.values(), ids=BAD.keys())
def test_refuses(fields, sentence):
    with pytest.raises(DataError, match=f"^data set bad: {sentence}") as caught:
        Dataset(**{"x_train": IMAGES, "name": "bad", **fields})
    assert "\n" not in str(caught.value)


def test_constant_points_are_a_distribution():
    assert Dataset(np.zeros((4, 2), np.float32)).shape == (2,)  # the point mass of the Dirac GAN


def test_digest_is_sha256_of_the_arrays():
    expected = hashlib.sha256(b"x_train <f4 (3, 2)\n" + POINTS.tobytes())
    assert Dataset(POINTS).digest == expected.hexdigest()


def test_digest_tells_arrays_apart():
    variants = [
        Dataset(IMAGES),
        Dataset(IMAGES[::-1]),
        Dataset(IMAGES.reshape(2, 2, 8, 1)),
        Dataset(IMAGES, LABELS),
        Dataset(IMAGES, 1 - LABELS),
        Dataset(IMAGES, None, IMAGES),
        Dataset(IMAGES, LABELS, IMAGES),
        Dataset(IMAGES, None, IMAGES, LABELS),
    ]
    assert len({data.digest for data in variants}) == len(variants)


def test_digest_ignores_memory_layout_and_name():
    strided = np.asfortranarray(IMAGES)
    assert Dataset(strided, name="a").digest == Dataset(IMAGES, name="b", licence="MIT").digest


WAVES = np.arange(12, dtype=np.int16).reshape(2, 6)
VECTORS = np.float32([[0, 1], [2, 3]])
BESIDE = {
    "photo": Companion(IMAGES + 1, IMAGES[:1], IMAGE),
    "caption": Companion(np.int32([[2, 3, 0], [1, 0, 0]]), np.int32([[3, 0, 0]]), TOKENS),
    "attributes": Companion(VECTORS, VECTORS[:1], VECTOR),
    "font": Companion(LABELS, LABELS[1:], kinds.classes(["serif", "sans"])),
}


def accompanied(**changes):
    return Dataset(IMAGES, LABELS, IMAGES[:1], LABELS[:1], name="bad", companions=BESIDE | changes)


def test_what_accompanies_an_example():
    data = accompanied()
    assert data.y("photo", "test") is BESIDE["photo"].test and data.y("class") is data.y_train
    assert data.y_kind("caption") is TOKENS and data.y_kind("class") is CLASS
    assert repr(data).endswith("2 classes, with photo, caption, attributes, font)")
    named = Dataset(IMAGES, LABELS, class_names=("cat", "dog"))
    assert named.y_kind("class").parse("dog") == 1
    for ask in (data.y, data.y_kind):
        with pytest.raises(DataError, match=r"bad has no 'captions' .* expected one of \['class', .*did you mean"):
            ask("captions")


@pytest.mark.parametrize(
    "name, change, sentence",
    [
        ("photo", {"train": IMAGES[:1]}, "photo_train has 1 rows, expected 2: one for each example of x_train"),
        ("photo", {"test": IMAGES}, "photo_test has 2 rows, expected 1: one for each example of x_test"),
        ("photo", {"test": None}, "photo_test is missing, though there is x_test; give both or neither"),
        ("photo", {"train": IMAGES / 255}, "photo_train has dtype float64, expected uint8 for images"),
        ("photo", {"train": IMAGES[..., 0]}, r"photo_train has shape \(2, 4, 4\), expected images \[N, H, W, C\]"),
        (
            "photo",
            {"test": IMAGES[:1, :2]},
            r"photo_test has rows of shape \(2, 4, 1\), expected \(4, 4, 1\) as in tra",
        ),
        ("photo", {"test": IMAGES[:1] % 2}, r"photo_test holds only 0 and 1, .* use photo_test \* 255"),
        ("photo", {"train": [1]}, "photo_train is a list, expected a numpy array"),
        ("attributes", {"train": NAN[1:]}, "attributes_train holds 2 NaN or infinite values; remove those examples"),
        ("attributes", {"train": VECTORS.astype("f8")}, "attributes_train has dtype float64, expected float32 for vec"),
        ("attributes", {"train": VECTORS[:, :0]}, r"attributes_train has shape \(2, 0\), expected vectors \[N, E\]"),
        ("caption", {"train": np.int32([[0], [-1]])}, r"caption_train has the number -1, expected 0 to"),
        ("font", {"test": np.int32([2])}, "font_test has the number 2, expected 0 to 1 for labels"),
    ],
)
def test_refuses_companions(name, change, sentence):
    with pytest.raises(DataError, match=f"^data set bad: {sentence}") as caught:
        accompanied(**{name: BESIDE[name]._replace(**change)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["class", "x", "y", "position", "a b", "", "_a", "ä" * 99])
def test_refuses_names_of_companions(name):
    with pytest.raises(DataError, match="has a name that is taken or odd"):
        accompanied(**{name: BESIDE["photo"]})


def test_a_companion_of_no_test_examples():
    with pytest.raises(DataError, match="x_test is missing, though there is photo_test; give both or neither"):
        Dataset(IMAGES, companions={"photo": BESIDE["photo"]})
    assert Dataset(IMAGES, companions={"photo": BESIDE["photo"]._replace(test=None)}).y("photo", "test") is None


def test_the_digest_covers_companions_and_facts():
    plain = Dataset(IMAGES, LABELS, IMAGES[:1], LABELS[:1])
    assert dataclasses.replace(accompanied(), companions={}).digest == plain.digest
    words = [text.tokens(text.Vocabulary(words)) for words in (("a", "b"), ("b", "a"))]
    variants = [
        plain,
        accompanied(),
        accompanied(photo=BESIDE["photo"]._replace(train=IMAGES)),
        accompanied(photo=BESIDE["photo"]._replace(test=IMAGES[1:])),
        accompanied(other=BESIDE["photo"]),
        *(accompanied(caption=BESIDE["caption"]._replace(kind=kind)) for kind in words),
        accompanied(attributes=BESIDE["attributes"]._replace(kind=kinds.POINT)),
        *(Dataset(WAVES, x_kind=kind) for kind in (None, kinds.waveforms(8000), kinds.waveforms(16000))),
    ]
    assert len({data.digest for data in variants}) == len(variants)
    backwards = dict(reversed(BESIDE.items()))
    assert dataclasses.replace(accompanied(), companions=backwards).digest == accompanied().digest


def test_other_kinds_of_examples():
    clips = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4, 1)
    for x, name in ((clips, "clip"), (WAVES, "waveform"), (WAVES.astype(np.int32), "tokens")):
        assert Dataset(x).kind.name == name and Dataset(x, None, x[:1]).shape == x.shape[1:]
    assert Dataset(WAVES, x_kind=kinds.waveforms(8000)).kind.facts["rate"] == 8000
    assert Dataset(VECTORS, x_kind=VECTOR).kind is VECTOR
    with pytest.raises(DataError, match="x_train is constant"):
        Dataset(0 * clips)
    with pytest.raises(DataError, match=r"x_train has rank 4 .* expected waveforms \[N, T\]"):
        Dataset(IMAGES, x_kind=WAVEFORM)
    with pytest.raises(DataError, match="x_train has dtype float32, expected int16 for waveforms"):
        Dataset(POINTS, x_kind=WAVEFORM)
    with pytest.raises(DataError, match="x_test has dtype int32, expected int16 as in x_train"):
        Dataset(WAVES, None, WAVES.astype(np.int32))


@pytest.mark.parametrize("shape", [(5, 8, 8, 1), (5, 12, 8, 4), (5, 3, 16, 2)])
def test_images_of_any_size_and_channels(shape):
    x = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    assert Dataset(x).shape == shape[1:]
