"""Any file ends in a data set or in one sentence: no other exception, no warning, no memory that was not asked for."""

import io
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from ganjax.data import Dataset, load
from ganjax.errors import DataError

LIMIT = 2**24  # bytes: a fuzzed file is small, and so is what it may cost


def read(path):
    """Load it, and hold the promises of this file."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                assert isinstance(load(str(path)), Dataset)
            except DataError as error:
                assert str(error).isprintable() and len(str(error)) < 2000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not said, said[0].message
    assert peak < LIMIT


@st.composite
def damaged(draw, whole):
    """A whole file of which some bytes are others, cut out, or twice there."""
    content = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        new, old = draw(st.binary(max_size=5)), draw(st.integers(0, 5))
        content[at : at + old] = new
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


def npz(save, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


X = np.arange(48, dtype=np.uint8).reshape(3, 4, 4, 1)
BESIDE = {"photo_train": X, "size_train": np.ones((3, 2), np.float32), "font_train": np.arange(3)}
BESIDE |= {"caption_train": np.array(["a cat", "dog", ""]), "font_names": np.array(["a", "b", "c"])}
SOUND = {"x_train": np.arange(12, dtype=np.int16).reshape(3, 4), "rate": np.array(8000)}
ARCHIVES = [
    npz(np.savez, x_train=X, y_train=np.arange(3)),
    npz(np.savez_compressed, x_train=X, x_test=X),
    npz(np.savez, x_train=X, **BESIDE),
    npz(
        np.savez, book_train=np.frombuffer(b"to be, or not to be", np.uint8), book_test=np.frombuffer(b"that", np.uint8)
    ),
    npz(np.savez, **SOUND, caption_train=np.ones((3, 2), np.int32), vocabulary=np.array(["a", "b"])),
]


@given(damaged(ARCHIVES))
def test_any_damage_to_an_npz(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    read(tmp_path / "a.npz")


SIZES = st.one_of(st.integers(0, 3), st.integers(-(2**70), 2**70))
DTYPES = st.sampled_from(
    ["|u1", "<f4", ">f8", "|O", "<U3", "|V0", "|S0", "<M8[s]", "<i4", "|b1", "<c8", "x", [("a", "<f4")]]
)
HEADERS = st.one_of(
    st.fixed_dictionaries(
        {"descr": DTYPES, "fortran_order": st.booleans(), "shape": st.lists(SIZES, max_size=5).map(tuple)},
        optional={"more": st.none()},
    ).map(repr),
    st.text(max_size=60),
    st.text("(){}[],:'0123456789ifL \\", max_size=60),
)


NAMES = st.sampled_from(["x_train", "y_train", "a_train", "a_test", "a_names", "vocabulary", "rate"])


@given(HEADERS, st.binary(max_size=40), NAMES, st.sampled_from([1, 2, 3]))
@example("{'descr': '<U1', 'fortran_order': False, 'shape': (3,), }", b"\xff" * 12, "a_train", 1)
@example("{'descr': '<U1', 'fortran_order': False, 'shape': (3,), }", b"\0\xd8\0\0" * 3, "a_train", 1)
@example("{'descr': '<U0', 'fortran_order': False, 'shape': (3,), }", b"", "a_train", 1)
@example("{'descr': '|V0', 'fortran_order': False, 'shape': (3, 4611686018427387904), }", b"", "a_train", 1)
@example("{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 1, 1, 1), }", b"12", "x_train", 1)  # of Python 2
@example("{'descr': '|u1', 'fortran_order': False, 'shape': (1if 1else 2, 1), }", b"12", "x_train", 1)
@example("(" * 9000, b"", "x_train", 1)
@example("{'descr': '|V0', 'fortran_order': False, 'shape': (4611686018427387904, 1), }", b"", "x_train", 1)
def test_any_header_of_an_npz(tmp_path, header, content, name, version):
    text = header.encode("utf-8", "surrogatepass")
    start = b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        if name != "x_train":
            archive.writestr("x_train.npy", npz(np.save, arr=SOUND["x_train"] if name == "rate" else X))
        if name in ("a_test", "a_names"):
            archive.writestr("a_train.npy", npz(np.save, arr=np.arange(3)))
        if name == "vocabulary":
            archive.writestr("a_train.npy", npz(np.save, arr=BESIDE["caption_train"]))
        archive.writestr(f"{name}.npy", start + text + content)
    read(tmp_path / "a.npz")


def picture(kind, **options):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


EXIF = Image.Exif()
EXIF[0x0112] = 6
FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (5, 6))]}
PICTURES = {
    "png": [picture("PNG"), picture("PNG", exif=EXIF, icc_profile=b"profile"), picture("PNG", **FRAMES)],
    "jpg": [picture("JPEG"), picture("JPEG", progressive=True, exif=EXIF, comment="x")],
    "webp": [picture("WEBP"), picture("WEBP", lossless=True, exif=EXIF), picture("WEBP", **FRAMES)],
}


def test_an_animation_of_no_frames_is_a_still_picture(tmp_path):
    """Pillow warns, as of other odd metadata; the pixels are fine."""
    whole, chunk = PICTURES["png"][0], b"acTL" + bytes(8)
    control = (8).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    (tmp_path / "a.png").write_bytes(whole[:33] + control + whole[33:])
    read(tmp_path)
    assert load(str(tmp_path)).shape == (6, 5, 3)


@pytest.mark.parametrize("suffix", PICTURES)
def test_any_damage_to_a_picture(tmp_path, suffix):
    @given(damaged(PICTURES[suffix]))
    def hold(content):
        (tmp_path / f"a.{suffix}").write_bytes(content)
        read(tmp_path)

    hold()


@given(st.binary(max_size=100), st.sampled_from(["a.npz", "photos/a.png"]))
def test_any_bytes(tmp_path, content, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    read(path if path.suffix == ".npz" else path.parent)


@given(st.text(max_size=20))
@example("/dev/zero")
@example("~/x" * 3000)
@example("../" * 2000)
@example("tfds:../../etc")
@example("tfds:" + "a" * 5000)
def test_any_name_of_a_data_set(tmp_path, name):
    """Anything but the name of a set that exists."""
    if name:
        read(f"{tmp_path}/nowhere/{name}")
    if name.startswith(("tfds:", "/dev", "~", "..")):
        read(name)
