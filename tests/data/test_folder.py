"""The folder reader, with images that are wrong, damaged or hostile."""

import logging
import os
import socket
import stat
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ganjax.data import LazyImages, load
from ganjax.data import folder as folder_module
from ganjax.errors import DataError


def pixels(seed, shape=(6, 5, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path, seed=0, shape=(6, 5, 3), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels(seed, shape)
    Image.fromarray(image).save(path, **options)
    return image


def refused(path):
    """The sentence with which `load` refuses the folder."""
    with pytest.raises(DataError) as caught:
        load(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_flat_folder_in_the_order_of_names(tmp_path):
    expected = [write(tmp_path / name, seed) for seed, name in [(0, "a.png"), (1, "b.webp"), (2, "c.PNG")]
                if name != "b.webp"]  # fmt: skip
    expected.insert(1, write(tmp_path / "b.webp", 1, lossless=True))
    (tmp_path / ".hidden").write_text("not an image")
    data = load(str(tmp_path))
    np.testing.assert_array_equal(data.x_train, np.stack(expected))
    assert (data.y_train, data.x_test, data.class_names) == (None, None, None)
    assert data.name == str(tmp_path)


def test_jpeg_and_wrong_but_harmless_extension(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "b.jpeg", 1)
    write(tmp_path / "c.png", 2, format="JPEG")
    assert load(str(tmp_path)).x_train.shape == (3, 6, 5, 3)


def test_grey_images_have_one_channel(tmp_path):
    image = write(tmp_path / "a.png", shape=(6, 5))
    np.testing.assert_array_equal(load(str(tmp_path)).x_train, image[None, :, :, None])


def test_sub_folders_are_classes(tmp_path):
    expected = [write(tmp_path / "cat" / "2.png", 0), write(tmp_path / "dog" / "1.png", 1)]
    expected.append(write(tmp_path / "dog" / "3.png", 2))
    data = load(str(tmp_path))
    np.testing.assert_array_equal(data.x_train, np.stack(expected))
    np.testing.assert_array_equal(data.y_train, [0, 1, 1])
    assert data.y_train.dtype == np.int32 and data.class_names == ("cat", "dog")


def test_train_and_test_are_splits(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for k in range(count):
            write(tmp_path / split / "cat" / f"{k}.png", k)
            write(tmp_path / split / "dog" / f"{k}.png", 10 + k)
    data = load(str(tmp_path))
    np.testing.assert_array_equal(data.y_train, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(data.y_test, [0, 0, 1, 1])
    np.testing.assert_array_equal(data.x_test[3], pixels(11))
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "cow")
    assert "train has the classes ('cat', 'dog') and test ('cat', 'cow'), expected the same" in refused(tmp_path)


@pytest.mark.parametrize(
    "train, test", [("Train", "Test"), ("train", "val"), ("TRAINING", "Validation"), ("training", "eval")]
)
def test_splits_by_other_names(tmp_path, train, test):
    write(tmp_path / train / "cat" / "0.png")
    image = write(tmp_path / test / "cat" / "0.png", 1)
    data = load(str(tmp_path))
    assert (len(data.x_train), data.class_names) == (1, ("cat",))
    np.testing.assert_array_equal(data.x_test, image[None])


@pytest.mark.parametrize(
    "names", ["test", "train", "train test val", "Train train test", "bus car train", "test training extra"]
)
def test_what_may_be_splits_or_classes_is_refused(tmp_path, names):
    for name in names.split():
        write(tmp_path / name / "a.png")
    sentence = refused(tmp_path)
    assert sentence.startswith(f"{tmp_path}: ") and "may be a split or a class" in sentence
    assert ("and is alone" in sentence) == (" " not in names) and f"such as {tmp_path}" in sentence


def test_a_file_beside_splits_is_refused(tmp_path):
    for split in ("train", "val"):
        write(tmp_path / split / "a.png")
    (tmp_path / "README.txt").write_text("x")
    assert "train may be a split or a class beside README.txt, val; " in refused(tmp_path)


def test_flat_train_and_test(tmp_path):
    write(tmp_path / "train" / "a.png")
    image = write(tmp_path / "test" / "a.png", 1)
    data = load(str(tmp_path))
    np.testing.assert_array_equal(data.x_test[0], image)
    assert data.y_train is None


def test_refuses_layouts(tmp_path):
    assert "the folder holds no images, expected PNG, JPEG or WEBP files" in refused(tmp_path)
    write(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").mkdir()
    assert f"{tmp_path / 'dog'}: the folder holds no images" in refused(tmp_path)
    write(tmp_path / "dog" / "deep" / "a.png")
    assert f"{tmp_path / 'dog' / 'deep'}: a folder two levels deep; sub-folders are classes" in refused(tmp_path)
    write(tmp_path / "loose.png")
    assert f"{tmp_path / 'loose.png'}: a file beside sub-folders; put all" in refused(tmp_path)
    assert "no such folder; give the path of a folder of images" in refused(tmp_path / "none")


def test_refuses_other_files(tmp_path):
    write(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("x")
    assert f"{tmp_path / 'notes.txt'}: not a PNG, JPEG or WEBP image; convert it or remove it" in refused(tmp_path)


@pytest.mark.parametrize(
    "shape, got", [((6, 6, 3), "6x6 RGB, but a.png is 5x6 RGB"), ((6, 5), "5x6 grey, but a.png is 5x6 RGB")]
)
def test_refuses_mixed_sizes_and_modes(tmp_path, shape, got):
    write(tmp_path / "a.png")
    write(tmp_path / "b.png", 1, shape)
    assert f"{tmp_path / 'b.png'}: {got}; expected images of one size and mode" in refused(tmp_path)


MODES = [("RGBA", "png"), ("LA", "png"), ("P", "png"), ("1", "png"), ("I;16", "png"), ("CMYK", "jpg"), ("RGBA", "webp")]


@pytest.mark.parametrize("mode, suffix", MODES)
def test_refuses_other_modes(tmp_path, mode, suffix):
    write(tmp_path / "a.png")
    path = tmp_path / f"b.{suffix}"
    Image.new(mode, (5, 6)).save(path)
    assert f"{path}: mode {mode}, expected L (8-bit grey) or RGB; convert it with" in refused(tmp_path)


def remedied(tmp_path, image, **options):
    """What the remedy of the refusal makes of a picture, [H, W, C]."""
    image.save(tmp_path / "a.png", **options)
    code = refused(tmp_path).split("with Pillow: ")[1].split(", with the largest")[0]
    with Image.open(tmp_path / "a.png") as opened:
        result = eval(code, {"Image": Image, "np": np, "image": opened})
        result.save(tmp_path / "a.png")
    return load(str(tmp_path)).x_train[0]


GREYS = np.arange(30, dtype=np.uint8).reshape(6, 5) * 8
SHOWN = np.where(GREYS < 120, 255, GREYS)  # on white, the left half transparent


def test_the_remedy_of_16_bits_keeps_the_contrast(tmp_path):
    wide = Image.fromarray(GREYS.astype(np.uint16) * 257)
    np.testing.assert_array_equal(remedied(tmp_path, wide)[..., 0], GREYS)


def test_the_remedy_of_one_bit_keeps_the_contrast(tmp_path):
    found = remedied(tmp_path, Image.fromarray(GREYS > 100))
    np.testing.assert_array_equal(found[..., 0], 255 * (GREYS > 100))


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_the_remedy_of_transparency_uncovers_nothing(tmp_path, mode):
    alpha = np.where(GREYS < 120, 0, 255).astype(np.uint8)
    if mode == "P":
        found = remedied(tmp_path, Image.fromarray(GREYS).convert("P"), transparency=bytes(120))
        expected = np.where(GREYS < 120, 255, GREYS)
    else:
        bands = [Image.fromarray(GREYS)] * (len(mode) - 1)
        found, expected = remedied(tmp_path, Image.merge(mode, [*bands, Image.fromarray(alpha)])), SHOWN
    assert found.shape[-1] == (1 if mode == "LA" else 3)
    np.testing.assert_array_equal(found, np.broadcast_to(expected[..., None], found.shape))


@pytest.mark.parametrize("mode, key", [("L", 0), ("RGB", (0, 0, 0))])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_transparent_colour_is_no_opaque_one(tmp_path, mode, key, lazy):
    """A PNG without an alpha channel can name one colour that shows nothing; Pillow reads it as if it were opaque."""
    found = remedied(tmp_path, Image.fromarray(GREYS).convert(mode), transparency=key)
    expected = np.where(GREYS == 0, 255, GREYS)
    np.testing.assert_array_equal(found, np.broadcast_to(expected[..., None], found.shape))
    write(tmp_path / "b.png", 1, found.shape[:2] if mode == "L" else found.shape)
    Image.fromarray(GREYS).convert(mode).save(tmp_path / "a.png", transparency=key)
    with pytest.raises(DataError, match=r"a\.png: a transparent colour, expected opaque pixels"):
        load(str(tmp_path), lazy=lazy)


TURNED = {
    1: lambda x: x,
    3: lambda x: x[::-1, ::-1],
    6: lambda x: np.rot90(x, -1),
    8: np.rot90,
    2: lambda x: x[:, ::-1],
}


@pytest.mark.parametrize("orientation", TURNED)
def test_photographs_are_turned_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, options in (("a.png", {}), ("b.webp", {"lossless": True})):
        image = write(tmp_path / name, exif=exif, **options)
    for lazy in (False, True):
        x = load(str(tmp_path), lazy=lazy).x_train
        np.testing.assert_array_equal(x[0], TURNED[orientation](image))
        np.testing.assert_array_equal(x[1], x[0])


def test_metadata_that_cannot_be_read_say_nothing(tmp_path):
    image = write(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    np.testing.assert_array_equal(load(str(tmp_path)).x_train[0], image)


def test_the_first_picture_of_a_phones_file_is_read(tmp_path):
    frames = [Image.fromarray(np.full((16, 16, 3), level, np.uint8)) for level in (200, 10)]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.jpg") as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
    write(tmp_path / "b.png", shape=(16, 16, 3))
    assert abs(load(str(tmp_path)).x_train[0].astype(int) - 200).max() < 3


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_refuses_animations(tmp_path, suffix):
    frames = [Image.fromarray(pixels(seed)) for seed in range(3)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert f"{tmp_path / f'a.{suffix}'}: animated, 3 frames, expected a still image" in refused(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_refuses_every_truncation(tmp_path, suffix):
    path = tmp_path / f"b.{suffix}"
    write(tmp_path / "a.png", shape=(40, 30, 3))
    write(path, 1, shape=(40, 30, 3))
    whole = path.read_bytes()
    for length in (0, 1, 10, len(whole) // 4, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        assert f"{path}: not a readable PNG, JPEG or WEBP image" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_refuses_other_formats_under_a_known_name(tmp_path, kind):
    write(tmp_path / "a.png", format=kind)
    assert f"{tmp_path / 'a.png'}: not a readable PNG, JPEG or WEBP image" in refused(tmp_path)


def png_header(width, height, *, bits=8, content=b"\0"):
    """An RGB PNG that claims this size, whatever it holds."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)), (b"IDAT", zlib.compress(content))]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    "side, sentence",
    [
        (65_000, "not a readable PNG, JPEG or WEBP image (Image size (4225000000 pixels) exceeds limit"),
        (10_000, "10000x10000 pixels, more than 50,000,000; make it smaller"),  # Pillow would warn
        (8_000, "8000x8000 pixels, more than 50,000,000; make it smaller"),  # Pillow would decode
    ],
)
def test_refuses_bombs_by_their_header(tmp_path, side, sentence):
    (tmp_path / "a.png").write_bytes(png_header(side, side))
    assert f"{tmp_path / 'a.png'}: {sentence}" in refused(tmp_path)


def test_refuses_an_image_of_no_pixels(tmp_path):
    (tmp_path / "a.png").write_bytes(png_header(0, 8))
    assert str(tmp_path / "a.png") in refused(tmp_path)


def test_refuses_colours_of_16_bits(tmp_path):
    """Pillow opens them as RGB, and drops the lower half of each value."""
    (tmp_path / "a.png").write_bytes(png_header(2, 2, bits=16, content=(b"\0" + b"\1\2" * 6) * 2))
    assert f"{tmp_path / 'a.png'}: 16 bits a channel, expected 8; convert it to 8 bits" in refused(tmp_path)
    (tmp_path / "a.png").write_bytes(png_header(2, 2, content=(b"\0" + b"\1\2" * 3) * 2))
    np.testing.assert_array_equal(load(str(tmp_path)).x_train[0, 0], [[1, 2, 1], [2, 1, 2]])


def test_more_than_fits_is_left_on_disk(tmp_path, monkeypatch):
    write(tmp_path / "a.png")
    write(tmp_path / "b.png", 1)
    monkeypatch.setattr("ganjax.data.memory.MAX_BYTES", 2 * 6 * 5 * 3)
    assert isinstance(load(str(tmp_path)).x_train, np.ndarray)
    monkeypatch.setattr("ganjax.data.memory.MAX_BYTES", 2 * 6 * 5 * 3 - 1)
    x = load(str(tmp_path)).x_train
    assert isinstance(x, LazyImages) and x.shape == (2, 6, 5, 3)
    np.testing.assert_array_equal(x[1:], pixels(1)[None])
    monkeypatch.setattr(folder_module.np, "empty", None)  # refused before an array is made
    with pytest.raises(DataError, match="2 images at once take 180 bytes, more than the limit of 179; ask for fewer"):
        np.asarray(x)


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    write(tmp_path / "outside" / "secret.png")
    inside = tmp_path / "inside"
    write(inside / "a.png")
    for link, target in [("b.png", "../outside/secret.png"), ("c.png", tmp_path / "outside" / "secret.png")]:
        (inside / link).symlink_to(target)
        assert f"{inside / link}: a link that leads out of {inside} is not followed" in refused(inside)
        (inside / link).unlink()
    classes = tmp_path / "classes"
    write(classes / "cat" / "a.png")
    (classes / "dog").symlink_to(tmp_path / "outside")
    assert f"{classes / 'dog'}: a link that leads out of {classes} is not followed" in refused(classes)


def test_links_within_the_folder_and_to_the_folder_are_followed(tmp_path):
    image = write(tmp_path / "real" / "a.png")
    (tmp_path / "real" / "b.png").symlink_to("a.png")
    (tmp_path / "alias").symlink_to("real")
    np.testing.assert_array_equal(load(str(tmp_path / "alias")).x_train, [image, image])


def test_refuses_links_to_nothing_and_to_themselves(tmp_path):
    write(tmp_path / "a.png")
    for target in ("b.png", "missing.png"):
        (tmp_path / "b.png").symlink_to(target)
        assert str(tmp_path / "b.png") in refused(tmp_path)
        (tmp_path / "b.png").unlink()


def test_refuses_a_pipe_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert f"{tmp_path / 'a.png'}: neither a file nor a folder; remove it" in refused(tmp_path)


def test_refuses_sockets_and_devices(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "a.png"))
    assert f"{tmp_path / 'a.png'}: neither a file nor a folder; remove it" in refused(tmp_path)
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").symlink_to("/dev/zero")
    assert "a link that leads out of" in refused(tmp_path)


def test_refuses_a_device_file(tmp_path):
    try:
        os.mknod(tmp_path / "a.png", stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero under another name
    except PermissionError:
        pytest.skip("only root makes device files")
    assert f"{tmp_path / 'a.png'}: neither a file nor a folder; remove it" in refused(tmp_path)


def test_a_folder_that_cannot_be_listed_is_bad_data(tmp_path, monkeypatch):
    def iterdir(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder_module.Path, "iterdir", iterdir)
    assert f"{tmp_path}: the folder cannot be read ([Errno 13] Permission denied)" in refused(tmp_path)


def test_the_sentence_is_one_line_whatever_the_file_is_called(tmp_path):
    write(tmp_path / "a.png")
    (tmp_path / "b\n\x1b[31merror: 0 \u202e.png").write_bytes(b"")
    assert r"b\n\x1b[31merror: 0 \u202e.png: not a readable" in refused(tmp_path)


def test_a_class_is_called_by_what_can_be_printed(tmp_path):
    write(tmp_path / "cat\x1b[2J\n" / "a.png")
    assert load(str(tmp_path)).class_names == (r"cat\x1b[2J\n",)


def many(folder, count, broken):
    """`count` images in two classes, of which those at these positions are cut short."""
    for i in range(count):
        path = folder / "ab"[i % 2] / f"{i:03}.png"
        write(path, i)
        if i in broken:
            path.write_bytes(path.read_bytes()[:40])
    return folder


def test_bad_images_are_skipped_where_that_is_asked_for(tmp_path, caplog):
    many(tmp_path, 200, broken=(0, 3))
    assert str(tmp_path / "a" / "000.png") in refused(tmp_path)
    with caplog.at_level(logging.WARNING, "ganjax"):
        data = load(str(tmp_path), on_bad="skip")
    kept = [i for k in (0, 1) for i in range(k, 200, 2) if i not in (0, 3)]  # class by class
    np.testing.assert_array_equal(data.x_train, [pixels(i) for i in kept])
    np.testing.assert_array_equal(data.y_train, [i % 2 for i in kept])
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(": ")[0] for line in said] == [f"skipped, {k} of 200 images so far" for k in (1, 2)]
    assert "a/000.png" in said[0] and "b/003.png" in said[1]


def test_more_than_one_bad_image_in_a_hundred_is_never_skipped(tmp_path):
    many(tmp_path, 199, broken=(0, 3))
    with pytest.raises(DataError, match=r"b/003\.png: .*; 2 bad of 199 images, more than 1% are never skipped"):
        load(str(tmp_path), on_bad="skip")


def test_an_image_of_another_size_is_never_skipped(tmp_path):
    write(many(tmp_path, 200, broken=()) / "b" / "199.png", shape=(7, 5, 3))
    with pytest.raises(DataError, match=r"199\.png: 5x7 RGB, but 000\.png is 5x6 RGB"):
        load(str(tmp_path), on_bad="skip")
