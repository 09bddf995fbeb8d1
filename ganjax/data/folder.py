"""Images from a folder that may come from anywhere: no link out of it is followed, no bomb is decoded."""

import warnings
from pathlib import Path

import numpy as np

from ganjax.data.dataset import Dataset, check_size
from ganjax.errors import DataError, reason

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000  # of one image
CHANNELS = {"L": 1, "RGB": 3}  # Pillow's mode -> channels

Split = tuple[np.ndarray, np.ndarray | None, tuple[str, ...] | None]  # x, y, class names


def load_folder(path: str | Path) -> Dataset:
    """Read a folder of PNG, JPEG or WEBP images of one size, all grey or all RGB.

    Images in sub-folders, one level deep, take the sub-folder's name as their class. A folder that holds
    exactly `train` and `test` is read as these two splits. Hidden files are ignored; the order is that of
    the names. Pixels are taken as they are stored: an orientation in the metadata is not applied.

    Raises:
        DataError: names the file that is no such image, damaged, of another size or mode, larger than 50
            megapixels, or a link out of the folder.
    """
    root = Path(path).resolve()
    if not root.is_dir():
        raise DataError(f"{path}: no such folder; give the path of a folder of images")
    if {entry.name for entry in _entries(root, root)} != {"train", "test"}:
        x, y, names = _split(root, root)
        return Dataset(x, y, name=str(path), class_names=names)
    x, y, names = _split(root / "train", root)
    x_test, y_test, test_names = _split(root / "test", root)
    if names != test_names:
        raise DataError(f"{root}: train has the classes {names} and test {test_names}, expected the same")
    return Dataset(x, y, x_test, y_test, name=str(path), class_names=names)


def _split(folder: Path, root: Path) -> Split:
    entries = _entries(folder, root)
    classes = [entry for entry in entries if entry.is_dir()]
    if not classes:
        return _read(_images(folder, root)), None, None
    if len(classes) < len(entries):
        loose = next(entry for entry in entries if not entry.is_dir())
        raise DataError(
            f"{loose}: a file beside sub-folders; put all images into sub-folders (classes), or none of them"
        )
    files = [_images(entry, root) for entry in classes]
    y = np.repeat(np.arange(len(classes), dtype=np.int32), [len(found) for found in files])
    return _read([file for found in files for file in found]), y, tuple(entry.name for entry in classes)


def _entries(folder: Path, root: Path) -> list[Path]:
    """The visible files and folders by name, none of which leads out of `root`."""
    found = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
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


def _images(folder: Path, root: Path) -> list[Path]:
    found = _entries(folder, root)
    for entry in found:
        if entry.is_dir():
            raise DataError(f"{entry}: a folder two levels deep; sub-folders are classes and hold images only")
        if entry.suffix.lower() not in SUFFIXES:
            raise DataError(f"{entry}: not a PNG, JPEG or WEBP image; convert it or remove it from the folder")
    if not found:
        raise DataError(f"{folder}: the folder holds no images, expected PNG, JPEG or WEBP files")
    return found


def _read(files: list[Path]) -> np.ndarray:
    """[N, H, W, C] uint8; the first image says the shape."""
    from tqdm import tqdm

    first = _pixels(files[0])
    check_size(files[0].parent, len(files) * first.size)
    x = np.empty((len(files), *first.shape), np.uint8)
    for i, file in enumerate(tqdm(files, desc="images", delay=2.0, disable=None)):
        image = _pixels(file)
        if image.shape != first.shape:
            raise DataError(
                f"{file}: {_size(image)}, but {files[0].name} is {_size(first)}; "
                "expected images of one size and mode: resize or convert them first"
            )
        x[i] = image
    return x


def _size(image: np.ndarray) -> str:
    height, width, channels = image.shape
    return f"{width}x{height} {'RGB' if channels == 3 else 'grey'}"


def _pixels(file: Path) -> np.ndarray:
    """[H, W, 1 or 3] uint8."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _check_image has a lower limit
            with Image.open(file, formats=FORMATS) as image:
                _check_image(file, image)
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
    if getattr(image, "n_frames", 1) != 1:
        raise DataError(f"{file}: animated, {image.n_frames} frames, expected a still image; save one frame")
    if image.mode not in CHANNELS:
        raise DataError(
            f'{file}: mode {image.mode}, expected L (8-bit grey) or RGB; convert it with Pillow\'s image.convert("RGB")'
        )
