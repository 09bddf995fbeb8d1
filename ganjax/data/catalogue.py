"""One entry point for every source of real samples."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from ganjax.checks import check_name
from ganjax.data import bundled, points
from ganjax.data.bouncing import bouncing
from ganjax.data.chirps import chirps
from ganjax.data.dataset import Dataset
from ganjax.data.folder import OnBad, load_folder
from ganjax.data.npz import load_npz
from ganjax.data.oracle import PREFIX, named_oracle
from ganjax.data.spinning import spinning
from ganjax.data.stacked import stacked
from ganjax.data.tfds import load_tfds
from ganjax.data.wav import holds_recordings, load_recordings
from ganjax.errors import DataError, did_you_mean, reason

KNOWN: dict[str, Callable[[], Dataset]] = {
    "chirps": chirps,
    "digits": bundled.digits,
    "fashion_mnist": bundled.fashion_mnist,
    "fluent_emoji": bundled.fluent_emoji,
    "glyphs": bundled.glyphs,
    "grid": points.grid_set,
    "ring": points.ring_set,
    "swiss_roll": points.swiss_roll_set,
}


def load(name: str, data_dir: str | None = None, *, on_bad: OnBad = "error", lazy: bool = False) -> Dataset:
    """The data set of that name.

    Args:
        name: one of `KNOWN`, `tfds:NAME`, `stacked:`, `bouncing:` or `spinning:` and the name of grey images, `oracle:`
            and a number of words, or the path of an .npz file or of a folder of images or of WAV files. A known name
            wins over a folder; write `./digits` for a folder that is called so.
        data_dir: where TFDS sets are prepared; used by `tfds:NAME` alone.
        on_bad: what a bad image of a folder does, `error` or `skip`; see `load_folder`.
        lazy: leave the images of a folder or of TFDS on disk and read them where they are asked for, which is done
            anyhow if they take more than 8 GiB.

    Raises:
        DataError: says what is wrong with the name or the data, and what to do.

    >>> load("digits")
    Dataset(digits: 1500 train, 297 test, uint8 (8, 8, 1), 10 classes)
    """
    check_name("load", "on_bad", on_bad, get_args(OnBad))
    if not name:
        raise DataError(f"the name of the data set is empty; known: {', '.join(KNOWN)}")
    if name in KNOWN:
        return KNOWN[name]()
    for prefix, made in (("stacked:", stacked), ("bouncing:", bouncing), ("spinning:", spinning)):
        if name.startswith(prefix):
            return made(load(name.removeprefix(prefix), data_dir, on_bad=on_bad, lazy=lazy))
    if name.startswith(PREFIX):
        return named_oracle(name)
    if name.startswith("tfds:"):
        return load_tfds(name.removeprefix("tfds:"), data_dir and os.path.expanduser(data_dir), lazy=lazy)
    try:
        path = Path(name).expanduser()
        if path.suffix.lower() == ".npz":
            return load_npz(path)
        if holds_recordings(path):
            return load_recordings(path)
        if path.is_dir() or "/" in name:
            return load_folder(path, on_bad=on_bad, lazy=lazy)
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, no such home, a NUL
        raise DataError(f"{name[:200]}: not a path that can be read ({reason(error)}); give another") from error
    hint = did_you_mean(name, KNOWN)
    raise DataError(
        f'unknown data set "{name[:200]}"{hint or "."} Known: {", ".join(KNOWN)}, tfds:NAME, stacked:NAME, '
        "bouncing:NAME, spinning:NAME, oracle:WORDS, a path to an .npz file or a folder of images or WAV files"
    )
