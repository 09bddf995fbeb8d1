"""Images from a folder that may come from anywhere: no link out of it is followed, no bomb is decoded.

How a folder says splits and classes is the same for recordings (`ganjax.data.wav`).
"""

import contextlib
import hashlib
import logging
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np

from ganjax.checks import check_name
from ganjax.data.dataset import Dataset
from ganjax.data.memory import LazyImages, fits
from ganjax.errors import DataError, printable, reason

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000  # of one image
MAX_BAD = 0.01  # of the images of a split, where bad ones are skipped
CHANNELS = {"L": 1, "RGB": 3}  # Pillow's mode -> channels
ENDS = 4096  # bytes of a file, from either end, that tell it from another of its name and size
# What sub-folders that are splits are called, in any case.
TRAINING = ("train", "training")
HELD_OUT = ("test", "testing", "val", "valid", "validation", "eval", "evaluation", "dev", "holdout")
# Pillow's mode -> how its images become L or RGB and lose nothing that they show; `image` is what Image.open gives
_OPAQUE = 'Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))'
_EIGHT_BITS = 'Image.fromarray((np.asarray(image) / 257).astype("uint8"))'
_RANGE = "with the largest value of all images / 255 for 257 if they do not use the whole range"
REMEDIES = {
    "1": 'image.convert("L")',
    "LA": f'{_OPAQUE}.convert("L")',
    **dict.fromkeys(("RGBA", "PA"), f'{_OPAQUE}.convert("RGB")'),
    **dict.fromkeys(("I;16", "I;16B", "I"), f"{_EIGHT_BITS}, {_RANGE}"),
}

OnBad = Literal["error", "skip"]


class Medium(NamedTuple):
    """What lies in a folder, in the words of its errors."""

    name: str  # of one file
    formats: str
    suffixes: tuple[str, ...]


IMAGES = Medium("image", "PNG, JPEG or WEBP", SUFFIXES)

Read = Callable[[Path, list[Path]], tuple[Any, list[int]]]  # (folder, files) -> x, and which files they are from
Split = tuple[np.ndarray, np.ndarray | None, tuple[str, ...] | None]  # x, y, class names


def load_folder(path: str | Path, *, on_bad: OnBad = "error", lazy: bool = False) -> Dataset:
    """Read a folder of PNG, JPEG or WEBP images of one size, all grey or all RGB.

    Images in sub-folders, one level deep, take the sub-folder's name as their class. A folder that holds
    exactly a training split (`train`, `Training`) and a held-out one (`test`, `val`, `Validation`, `eval` and the
    like) is read as these two. Hidden files are ignored; the order is that of the names. Images are turned upright as
    their EXIF data say, and of the several pictures in a phone's JPEG file the first is read. The content of a file
    says its format, not the suffix.

    A split of more than 8 GiB is left on disk, and its images are read and checked where they are asked for.

    Args:
        path: the folder.
        on_bad: what a bad image does, one that is damaged, animated, of another mode, of 16 bits or too large:
            `error` refuses the folder, `skip` logs a warning and leaves the image out, which only a folder that is
            read whole can do.
        lazy: leave a smaller split on disk too.

    Raises:
        DataError: names the file that is no such image or bad, of another size or mode than the first, a link
            out of the folder, a pipe or a device; or sub-folders may be splits or classes, or more than 1 % of the
            images are skipped.
    """
    check_name("load_folder", "on_bad", on_bad, get_args(OnBad))
    return Dataset(**arranged(path, IMAGES, partial(_read, on_bad=on_bad, lazy=lazy)))


def arranged(path: str | Path, medium: Medium, read: Read) -> dict[str, Any]:
    """The splits and classes that a folder says by its sub-folders, as fields of a `Dataset`.

    Args:
        path: the folder.
        medium: what its files are.
        read: reads the files of a split.

    Raises:
        DataError: as `load_folder` says, of what lies there; and what `read` raises.
    """
    root = Path(path).resolve()
    if not root.is_dir():
        raise DataError(f"{path}: no such folder; give the path of a folder of {medium.name}s")
    splits = _splits(root)
    if splits is None:
        x, y, names = _split(root, root, medium, read)
        return {"x_train": x, "y_train": y, "name": str(path), "class_names": names}
    train, test = splits
    x, y, names = _split(train, root, medium, read)
    x_test, y_test, test_names = _split(test, root, medium, read)
    if names != test_names:
        raise DataError(f"{root}: {train.name} has the classes {names} and {test.name} {test_names}, expected the same")
    fields = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}
    return {**fields, "name": str(path), "class_names": names}


def _splits(root: Path) -> tuple[Path, Path] | None:
    """The folders of the training and of the held-out split; None where sub-folders are classes."""
    entries = _entries(root, root)
    folders = [entry for entry in entries if entry.is_dir()]
    train, test = ([entry for entry in folders if entry.name.lower() in names] for names in (TRAINING, HELD_OUT))
    if not train and not test:
        return None
    if len(train) == len(test) == 1 and len(entries) == 2:
        return train[0], test[0]
    name = (train + test)[0].name
    rest = [entry.name for entry in entries if entry.name != name]
    beside = f"beside {', '.join(rest[:10])}{', ...' * (len(rest) > 10)}" if rest else "and is alone"
    raise DataError(
        f"{root}: {name} may be a split or a class {beside}; expected one "
        "training and one held-out split and nothing else, or classes of other names: move or rename folders, or give "
        f"the path of one, such as {root / name}"
    )


def _split(folder: Path, root: Path, medium: Medium, read: Read) -> Split:
    entries = _entries(folder, root)
    classes = [entry for entry in entries if entry.is_dir()]
    if not classes:
        return read(folder, _files(folder, root, medium))[0], None, None
    if len(classes) < len(entries):
        loose = next(entry for entry in entries if not entry.is_dir())
        raise DataError(
            f"{loose}: a file beside sub-folders; put all {medium.name}s into sub-folders (classes), or none of them"
        )
    files = [_files(entry, root, medium) for entry in classes]
    y = np.repeat(np.arange(len(classes), dtype=np.int32), [len(found) for found in files])
    x, kept = read(folder, [file for found in files for file in found])
    return x, y[kept], tuple(printable(entry.name) for entry in classes)


def _entries(folder: Path, root: Path) -> list[Path]:
    """The visible files and folders by name, none of which leads out of `root`."""
    try:
        found = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({reason(error)}); make it readable") from error
    for entry in found:
        _check_inside(entry, root)
    return found


def _check_inside(entry: Path, root: Path) -> None:
    try:
        inside = entry.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a link to itself
        inside = False
    if not inside:
        raise DataError(f"{entry}: a link that leads out of {root} is not followed; copy the file into the folder")
    if not (entry.is_file() or entry.is_dir()):
        raise DataError(f"{entry}: neither a file nor a folder; remove it")


def _files(folder: Path, root: Path, medium: Medium) -> list[Path]:
    found = _entries(folder, root)
    for entry in found:
        if entry.is_dir():
            raise DataError(f"{entry}: a folder two levels deep; sub-folders are classes and hold {medium.name}s only")
        if entry.suffix.lower() not in medium.suffixes:
            raise DataError(f"{entry}: not a {medium.formats} {medium.name}; convert it or remove it from the folder")
    if not found:
        raise DataError(f"{folder}: the folder holds no {medium.name}s, expected {medium.formats} files")
    return found


def _read(folder: Path, files: list[Path], on_bad: OnBad, lazy: bool) -> tuple[np.ndarray, list[int]]:
    """[N, H, W, C] uint8 and which files they are from; the first image says the shape."""
    from tqdm import tqdm

    x, kept = np.zeros((0, 0, 0, 0), np.uint8), list[int]()
    for i, file in enumerate(tqdm(files, desc="images", delay=2.0, disable=None)):
        try:
            image = _pixels(file)
        except DataError as error:
            if on_bad != "skip":
                raise
            _skip(error, i + 1 - len(kept), len(files))
            continue
        if not kept:
            if lazy or not fits(len(files) * image.size):
                return _on_disk(folder, files, image, on_bad), list(range(len(files)))
            x = np.empty((len(files), *image.shape), np.uint8)
        _check_same(file, image, files[kept[0]] if kept else file, x.shape[1:])
        x[len(kept)] = image
        kept.append(i)
    return x[: len(kept)], kept


def _on_disk(folder: Path, files: list[Path], first: np.ndarray, on_bad: OnBad) -> np.ndarray:
    """The images of these files, like the first, as `LazyImages`."""
    if on_bad == "skip":
        raise DataError(f"{folder}: which images are bad is not known before all are read; remove them from the folder")

    def read(row: int) -> np.ndarray:
        image = _pixels(files[row])
        _check_same(files[row], image, files[0], first.shape)
        return image

    identity = hashlib.sha256()
    for file in files:
        size, ends = _ends(file)
        identity.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode(errors="surrogateescape") + ends)
    return cast(np.ndarray, LazyImages(read, (len(files), *first.shape), str(folder), identity.hexdigest()))


def _ends(file: Path) -> tuple[int, bytes]:
    """The size of a file and the bytes at its ends: metadata, and of a PNG the checksum of all pixels."""
    try:
        with open(file, "rb") as content:
            size = content.seek(0, os.SEEK_END)
            content.seek(max(0, size - ENDS))
            tail = content.read()
            content.seek(0)
            return size, content.read(ENDS) + tail
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({reason(error)}); make it readable or remove it") from error


def _check_same(file: Path, image: np.ndarray, first: Path, shape: tuple[int, ...]) -> None:
    if image.shape != shape:
        raise DataError(
            f"{file}: {_size(image.shape)}, but {first.name} is {_size(shape)}; "
            "expected images of one size and mode: resize or convert them first"
        )


def _skip(error: DataError, bad: int, total: int) -> None:
    if bad > MAX_BAD * total:
        raise DataError(f"{error}; {bad} bad of {total} images, more than {MAX_BAD:.0%} are never skipped") from error
    logging.getLogger(__name__).warning("skipped, %d of %d images so far: %s", bad, total, error)


def _size(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{width}x{height} {'RGB' if channels == 3 else 'grey'}"


def _pixels(file: Path) -> np.ndarray:
    """[H, W, 1 or 3] uint8."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; and of the size, where _check_image is stricter
            with Image.open(file, formats=FORMATS) as image:
                _check_image(file, image)
                image.load()
                with contextlib.suppress(Exception):  # metadata that cannot be read say nothing
                    ImageOps.exif_transpose(image, in_place=True)
                return np.asarray(image, np.uint8).reshape(image.height, image.width, -1)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged bytes
        raise DataError(
            f"{file}: not a readable PNG, JPEG or WEBP image ({reason(error)}); replace or remove it"
        ) from error


def _check_image(file: Path, image) -> None:
    """Refuse by the header, before a pixel is decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{file}: {image.width}x{image.height} pixels, more than {MAX_PIXELS:,}; make it smaller")
    if image.format != "MPO" and getattr(image, "n_frames", 1) != 1:  # the others of an MPO are previews and the like
        raise DataError(f"{file}: animated, {image.n_frames} frames, expected a still image; save one frame")
    if image.mode not in CHANNELS:
        shows = "RGBA" if image.mode == "P" and "transparency" in image.info else image.mode
        remedy = REMEDIES.get(shows, 'image.convert("RGB")')
        raise DataError(f"{file}: mode {image.mode}, expected L (8-bit grey) or RGB; convert it with Pillow: {remedy}")
    if "transparency" in image.info:
        remedy = REMEDIES["LA" if image.mode == "L" else "RGBA"]
        raise DataError(f"{file}: a transparent colour, expected opaque pixels; convert it with Pillow: {remedy}")
    if ";16" in str(image.tile):  # the raw mode; Pillow would drop the lower half of 16-bit colours without a word
        raise DataError(
            f"{file}: 16 bits a channel, expected 8; convert it to 8 bits: Image.open(file).save(file) keeps the upper"
        )
