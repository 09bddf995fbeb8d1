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


ROWS = np.arange(3, dtype=np.float32)[:, None] / 4
CLIPS = np.arange(3 * 2 * 4 * 5, dtype=np.uint8).reshape(3, 2, 4, 5, 1)
TABLE = np.arange(6).reshape(3, 2)
WAVES = np.arange(12, dtype=np.int16).reshape(3, 4)
CAPTIONS = np.array(["A red cat.", "a cat", "two dogs!"])


def test_reads_what_accompanies_the_images(tmp_path):
    beside = {"photo": IMAGES[::-1], "clip": CLIPS, "size": ROWS, "tags": ROWS > 0.3, "font": np.array([2, 0, 1])}
    beside |= {"parts": np.zeros((3, 4, 5), np.int32), "sound": WAVES, "caption": CAPTIONS}
    arrays = {f"{name}_train": x for name, x in beside.items()} | {f"{name}_test": x[:2] for name, x in beside.items()}
    names = np.array(["serif", "sans", "mono"])
    data = load(save(tmp_path / "a.npz", x_train=IMAGES, x_test=IMAGES[:2], rate=8000, font_names=names, **arrays))
    found = {name: data.y_kind(name).name for name in data.companions}
    kinds = ("image", "clip", "vector", "vector", "class", "map", "waveform", "tokens")
    assert found == dict(zip(beside, kinds, strict=True))
    for name in ("photo", "clip", "size", "parts", "sound", "font"):
        np.testing.assert_array_equal(data.y(name), beside[name])
        np.testing.assert_array_equal(data.y(name, "test"), beside[name][:2])
    assert data.y("tags").dtype == np.float32 and data.y("tags")[:, 0].tolist() == [0, 0, 1]
    assert data.y_kind("font").facts["names"] == tuple(names) and data.y("font").dtype == np.int32
    assert data.y_kind("sound").facts["rate"] == 8000
    words = data.y_kind("caption").facts["vocabulary"]
    assert words.words == ("a", "cat", "dogs", "red", "two")
    assert data.y("caption").tolist() == [[2, 5, 3], [2, 3, 0], [6, 4, 0]]
    assert data.y_kind("caption").parse("a dog").tolist() == [2, 1, 0]


def test_words_of_the_training_captions_or_of_the_file(tmp_path):
    test = np.array(["blue cat of a red dog"])
    arrays = {"x_train": IMAGES, "x_test": IMAGES[:1], "caption_train": CAPTIONS, "caption_test": test}
    data = load(save(tmp_path / "a.npz", **arrays))
    assert data.y("caption", "test").tolist() == [[1, 3, 1, 2, 5, 1]]
    data = load(save(tmp_path / "a.npz", vocabulary=np.array(["blue", "cat"]), **arrays))
    assert data.y("caption", "test").tolist() == [[2, 3, 1, 1, 1, 1]] and data.y("caption").shape == (3, 6)
    arrays |= {"caption_train": np.int32([[2], [3], [0]]), "caption_test": np.int32([[1]])}
    data = load(save(tmp_path / "a.npz", vocabulary=np.array(["blue", "cat"]), **arrays))
    assert data.y_kind("caption").facts["vocabulary"].decode(data.y("caption")) == ["blue", "cat", ""]


def test_reads_clips_waveforms_and_tokens(tmp_path):
    assert load(save(tmp_path / "a.npz", x_train=CLIPS)).kind.name == "clip"
    data = load(save(tmp_path / "a.npz", x_train=WAVES, x_test=WAVES[:1], rate=np.uint16(44_100)))
    assert (data.kind.name, data.kind.facts["rate"], data.shape) == ("waveform", 44_100, (4,))
    data = load(save(tmp_path / "a.npz", x_train=WAVES.astype(np.int32) % 4, vocabulary=np.array(["a", "b"])))
    assert (data.kind.name, data.kind.facts["vocabulary"].size) == ("tokens", 4)


def test_numbers_are_the_names_of_classes_without_names(tmp_path):
    data = load(save(tmp_path / "a.npz", x_train=IMAGES, font_train=np.uint8([3, 0, 1])))
    assert data.y_kind("font").facts["names"] == ("0", "1", "2", "3")


def test_columns_of_whole_numbers_are_classes_with_the_names_of_the_file(tmp_path):
    """As `drawnfaces64` has them: uint8, of which 0 may mean that there is none."""
    table = np.uint8([[3, 0], [1, 2], [0, 5]])
    arrays = {"x_train": IMAGES, "x_test": IMAGES[:2], "attr_train": table, "attr_test": table[[1, 2]]}
    data = load(save(tmp_path / "a.npz", attributes=np.array(["skin", "glasses"]), **arrays))
    assert list(data.companions) == ["skin", "glasses"]
    assert {name: data.y_kind(name).facts["names"][-1] for name in data.companions} == {"skin": "3", "glasses": "5"}
    assert data.y("glasses").tolist() == [0, 2, 5] and data.y("skin", "test").tolist() == [1, 0]
    assert data.y("skin").dtype == np.int32
    assert list(load(save(tmp_path / "b.npz", **arrays)).companions) == ["attr_0", "attr_1"]
    alone = load(save(tmp_path / "c.npz", x_train=IMAGES, attr_train=table.astype(np.int64)))
    assert alone.y("attr_1").tolist() == [0, 2, 5] and alone.y("attr_1", "test") is None


def test_other_arrays_are_left_alone(tmp_path):
    odd = {"trained": np.array([object()]), "a_training": ROWS, "train": ROWS, "_train": ROWS, "no_names": ROWS}
    assert not load(save(tmp_path / "a.npz", x_train=IMAGES, rate=ROWS, vocabulary=ROWS, **odd)).companions


@pytest.mark.parametrize(
    "arrays, sentence",
    [
        ({"a_test": IMAGES}, "a_test is given without a_train; give both"),
        ({"a_train": IMAGES, "x_test": IMAGES}, "a_test is missing, though there is x_test; give both or neither"),
        ({"a_train": IMAGES, "a_test": IMAGES}, "x_test is missing, though there is a_test; give both or neither"),
        ({"a_train": IMAGES[:2]}, "a_train has 2 rows, expected 3: one for each example of x_train"),
        ({"a_train": IMAGES / 255}, "a_train has dtype float64, expected uint8 for images"),
        ({"a_train": IMAGES[..., 0]}, "a_train has shape (3, 4, 5), expected images [N, H, W, C], clips"),
        ({"a_train": np.zeros(())}, "a_train has shape (), expected images"),
        ({"a_train": ROWS.astype(np.float64)}, "a_train has dtype float64, expected float32 for vectors [N, E]"),
        ({"a_train": np.float32([[np.nan]] * 3)}, "a_train holds 3 NaN or infinite values"),
        ({"a_train": np.zeros(3)}, "a_train has dtype float64, expected int32 for labels [N]"),
        ({"a_train": np.array([0, -1, 2])}, "a_train has the number -1, expected 0 to 65,535"),
        ({"a_train": np.array([0, 1, 2**16])}, "a_train has the number 65536, expected 0 to 65,535"),
        ({"a_train": np.arange(3), "a_names": np.array(["b"])}, "a_train has the number 2, expected 0 to 0"),
        ({"a_train": np.arange(3), "a_names": ROWS}, "a_names has dtype float32 and shape (3, 1), expected one text"),
        ({"class_train": np.arange(3)}, "class_train has a name that is taken; call the labels y_train"),
        ({"a_train": CAPTIONS[:, None]}, "a_train has dtype <U10 and shape (3, 1), expected one text each, [N] of str"),
        ({"a_train": np.array([b"a", b"b", b"c"])}, "a_train has dtype |S1 and shape (3,), expected one text each"),
        ({"a_train": CAPTIONS[:2]}, "a_train has 2 texts, expected 3: one for each example"),
        ({"a_train": CAPTIONS, "vocabulary": np.array(["a"] * 65_537)}, "vocabulary has 65,537 texts, expected at"),
        ({"a_train": np.arange(3), "a_names": np.array(["a"] * 65_537)}, "a_names has 65,537 texts, expected at most"),
        ({"a_train": np.array(["", "!", " "])}, "a_train cannot be used (the texts hold no word)"),
        ({"a_train": CAPTIONS, "x_test": IMAGES, "a_test": IMAGES}, "a_test has dtype uint8 and shape (3, 4, 5, 1)"),
        ({"a_train": CAPTIONS, "vocabulary": np.array(["A"])}, "vocabulary cannot be used (the vocabulary holds 'A'"),
        ({"a_train": CAPTIONS, "vocabulary": ROWS}, "vocabulary has dtype float32 and shape (3, 1), expected one text"),
        ({"a_train": np.int32([[1]] * 3)}, "a_train is int32 [N, L], which are tokens, but there is no"),
        ({"a_train": np.int32([[9]] * 3), "vocabulary": np.array(["a"])}, "a_train has the token 9, expected 0 to 2"),
        ({"a_train": np.ones((3, 101), np.uint8)}, "a_train has 101 columns of whole numbers, expected 1 to 100 at"),
        ({"a_train": TABLE, "a_test": TABLE[:, 1:], "x_test": IMAGES}, "a_test has dtype int64 and shape (3, 1), exp"),
        ({"a_train": TABLE, "a_test": TABLE / 2, "x_test": IMAGES}, "a_test has dtype float64 and shape (3, 2), exp"),
        ({"a_train": TABLE, "attributes": np.array(["b"])}, "attributes has 1 names, expected 2 different ones, of a_"),
        ({"a_train": TABLE, "attributes": np.array(["b", "b"])}, "attributes has 2 names, expected 2 different ones"),
        ({"a_train": TABLE, "attributes": np.array(["b", "x"])}, "companion 'x' has a name that is taken or odd"),
        ({"a_train": TABLE, "attributes": TABLE}, "attributes has dtype int64 and shape (3, 2), expected one text"),
        ({"a_train": TABLE, "a_1_train": np.arange(3)}, "a_1_train is called 'a_1', as another array is; rename one"),
        ({"a_train": TABLE - 1}, "a_0_train has the number -1, expected 0 to 65,535"),
        ({"a_train": WAVES}, "a_train is int16 [N, T], which are waveforms, but there is no"),
        ({"x_train": WAVES, "rate": 0}, "rate is 0, expected one whole number of samples a second, 1 to 10,000,000"),
        ({"x_train": WAVES, "rate": 8000.0}, "rate is float64 of shape (), expected one whole number"),
        ({"x_train": WAVES, "rate": np.array([8000])}, "rate is int64 of shape (1,), expected one whole number"),
        ({"x_train": np.zeros((2, 3, 8, 6, 5), np.uint8)}, "move them with x.transpose(0, 2, 3, 4, 1)"),
        ({"a_train": np.array([{}] * 3)}, "a_train holds pickled Python objects, which are never loaded"),
    ],
)  # fmt: skip
def test_refuses_what_accompanies_the_images(tmp_path, arrays, sentence):
    assert sentence in refused(save(tmp_path / "a.npz", **{"x_train": IMAGES, **arrays}))


@pytest.mark.parametrize("name", ["a_train", "a_test", "a_names", "vocabulary"])
def test_texts_that_are_no_characters_are_refused(tmp_path, name):
    """NumPy keeps a text as numbers of 32 bits, whatever they are."""
    bad = np.uint32([2**31 - 1] * 3).view("<U1")
    arrays = {"a_train": CAPTIONS, "a_test": CAPTIONS, "x_test": IMAGES}
    if name == "a_names":
        arrays |= {"a_train": np.arange(3), "a_test": np.arange(3)}
    sentence = refused(save(tmp_path / "a.npz", x_train=IMAGES, **(arrays | {name: bad})))
    assert f"{name} holds numbers that are no characters; write the file again" in sentence


def test_one_long_caption_does_not_make_many_rows_long(tmp_path):
    """A file of a few hundred kilobytes would take 12 GB as tokens."""
    x, captions = np.arange(30_000, dtype=np.uint8).reshape(-1, 1, 1, 1), np.full(30_000, "a")
    arrays = {"x_train": x, "caption_train": captions, "x_test": x[:1], "caption_test": np.array(["a " * 100_000])}
    sentence = refused(save(tmp_path / "a.npz", np.savez_compressed, **arrays))
    assert "takes 12,000,400,000 bytes uncompressed, more than the limit" in sentence


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


@pytest.mark.parametrize("name", ["x_train", "a_train", "rate"])
@pytest.mark.parametrize("shape", [(10**6, 10**3, 10**3, 3), (2, 3, 1, 1), (2, 1, 1, 1), (-1, -4, 1, 1)])
def test_refuses_a_header_that_disagrees_with_the_directory(tmp_path, shape, name):
    path = tmp_path / "a.npz"
    save(path, **({} if name == "x_train" else {"x_train": IMAGES}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", header(shape) + b"1234")
    tracemalloc.start()
    sentence = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"{name} declares shape {shape} of uint8" in sentence and "but holds 4;" in sentence
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
