"""Prepared TensorFlow Datasets, read without TensorFlow. Nothing is downloaded: preparing comes before."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from ganjax.data.dataset import Dataset, integer_labels
from ganjax.data.memory import LazyImages, fits
from ganjax.errors import DataError, did_you_mean, reason

# set, set/config, either with :1.0.0; TFDS would look for "hub:set" on the network
_NAME = re.compile(r"\w{1,80}(/\w[\w.-]{0,80})?(:\d+\.\d+\.\d+)?")
_FORMAT = "array_record"  # parquet loses examples in TFDS 4.9.10, tfrecord needs TensorFlow


def load_tfds(name: str, data_dir: str | None = None, *, lazy: bool = False) -> Dataset:
    """Read the splits `train` and, where it is there, `test` of a prepared image data set into memory.

    The images of a split of more than 8 GiB are left on disk, and are read and checked where they are asked for; the
    labels are read at once.

    Args:
        name: as TFDS spells it: `mnist`, `emnist/letters`.
        data_dir: where it was prepared; None for TFDS's own default, `~/tensorflow_datasets`.
        lazy: leave the images of a smaller split on disk too.

    Raises:
        DataError: TFDS is missing, does not know the name, or the set is not prepared as array_record, has no
            `train` split, is damaged, or its images are of several sizes.
    """
    builder = _builder(name, data_dir)
    _check_prepared(builder, name, data_dir)
    info = builder.info
    if "train" not in info.splits:
        found = ", ".join(info.splits) or "none"
        raise DataError(f"tfds:{name}: there is no split train, found {found}; use another data set")
    image, label = _image_feature(info, name), _label_feature(info)
    x_train, y_train = _split(builder, "train", image, label, name, lazy)
    x_test, y_test = _split(builder, "test", image, label, name, lazy) if "test" in info.splits else (None, None)
    return Dataset(
        x_train,
        y_train,
        x_test,
        y_test,
        name=f"tfds:{name}",
        licence=info.redistribution_info.license or "unknown",
        class_names=tuple(info.features[label].names) if label else None,
    )


def _builder(name: str, data_dir: str | None) -> Any:
    if not _NAME.fullmatch(name):
        raise DataError(f'tfds:{name[:200]}: not a name; expected for example "tfds:mnist" or "tfds:emnist/letters"')
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(
            f"tfds:{name}: tensorflow_datasets cannot be imported ({reason(error)}); pip install tensorflow-datasets"
        ) from error
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        hint = did_you_mean(re.split("[/:]", name)[0], known) or "; see tensorflow.org/datasets"
        raise DataError(f"tfds:{name}: TFDS knows no such data set{hint}") from None
    except Exception as error:  # a builder may fail in its own constructor, say for an unknown config
        raise DataError(f"tfds:{name}: TFDS cannot open it ({reason(error)}); see tensorflow.org/datasets") from error


def _check_prepared(builder: Any, name: str, data_dir: str | None) -> None:
    where = "" if data_dir is None else f', data_dir="{data_dir}"'
    command = f'tfds.builder("{name}", file_format="{_FORMAT}"{where}).download_and_prepare()'
    python = f"python -c 'import tensorflow_datasets as tfds; {command}'"
    how = f'prepare it once: pip install "ganjax[prepare]" && {python}'
    if not builder.is_prepared():
        raise DataError(f"tfds:{name}: not prepared, nothing in {builder.data_path}; {how}")
    formats = {found.value for found in builder.info.available_file_formats()}
    if _FORMAT not in formats:
        found = ", ".join(sorted(formats))
        raise DataError(f"tfds:{name}: {builder.data_path} is prepared as {found}, not {_FORMAT}; remove it and {how}")


def _features(info: Any, kind: str) -> list[str]:
    """The names of the features of a kind, such as Image; a set whose examples are no dictionary has none."""
    import tensorflow_datasets as tfds

    if not isinstance(info.features, tfds.features.FeaturesDict):
        return []
    wanted = getattr(tfds.features, kind)
    return [key for key, feature in info.features.items() if isinstance(feature, wanted)]


def _image_feature(info: Any, name: str) -> str:
    found = _features(info, "Image")
    if "image" in found:
        return "image"
    if len(found) != 1:
        names = ", ".join(found) or "none"
        raise DataError(f"tfds:{name}: image features {names}, expected one, or one named image; use another data set")
    return found[0]


def _label_feature(info: Any) -> str | None:
    return "label" if "label" in _features(info, "ClassLabel") else None


def _split(
    builder: Any, split: str, image: str, label: str | None, name: str, lazy: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    where = f"tfds:{name} {split}"
    with _damage_named(builder, where):
        source = builder.as_data_source(split=split, file_format=_FORMAT)
        first = source[0][image]
        if lazy or not fits(len(source) * first.size):
            return _on_disk(builder, split, source, image, where), _labels(builder, split, image, label, where)
        return _arrays(source, image, label, where)


@contextlib.contextmanager
def _damage_named(builder: Any, where: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # array_record, protobuf and Pillow raise their own kinds on damaged bytes
        raise DataError(
            f"{where}: cannot be read ({reason(error)}); remove {builder.data_path} and prepare it again"
        ) from error


def _on_disk(builder: Any, split: str, source: Any, image: str, where: str) -> np.ndarray:
    """The images of a split as `LazyImages`."""
    shape = source[0][image].shape

    def read(row: int) -> np.ndarray:
        with _damage_named(builder, where):
            found = source[row][image]
        _check_example(found, shape, f"{where} example {row}")
        return found

    _check_example(source[0][image], shape, f"{where} example 0")
    info = builder.info.splits[split]
    identity = f"{builder.info.full_name} {split} {info.num_bytes} bytes {info.shard_lengths}"
    return cast(np.ndarray, LazyImages(read, (len(source), *shape), where, identity))


def _labels(builder: Any, split: str, image: str, label: str | None, where: str) -> np.ndarray | None:
    """[N] int32, without decoding an image."""
    import tensorflow_datasets as tfds
    from tqdm import tqdm

    if label is None:
        return None
    decoders = {image: tfds.decode.SkipDecoding()}
    source = builder.as_data_source(split=split, decoders=decoders, file_format=_FORMAT)
    rows = tqdm(range(len(source)), desc=f"{where} labels", delay=2.0, disable=None)
    return integer_labels(np.array([source[i][label] for i in rows], np.int64))


def _arrays(source: Any, image: str, label: str | None, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """All of a split: x [N, H, W, C] uint8 and y [N] int32 or None."""
    from tqdm import tqdm

    first = source[0][image]
    x, y = np.empty((len(source), *first.shape), np.uint8), np.zeros(len(source), np.int64)
    for i in tqdm(range(len(source)), desc=where, delay=2.0, disable=None):
        example = source[i]
        _check_example(example[image], first.shape, f"{where} example {i}")
        x[i] = example[image]
        if label:
            y[i] = example[label]
    return x, integer_labels(y) if label else None


def _check_example(image: np.ndarray, shape: tuple[int, ...], where: str) -> None:
    if image.dtype != np.uint8:
        raise DataError(f"{where}: the image has dtype {image.dtype}, expected uint8; use another data set")
    if image.shape != shape:
        raise DataError(
            f"{where}: the image has shape {image.shape}, the first {shape}; expected images of one size: "
            "resize them into a folder and give its path"
        )
