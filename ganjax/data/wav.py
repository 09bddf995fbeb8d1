"""WAV files that may come from anywhere, as waveforms, and waveforms as WAV files: 16-bit PCM, one channel."""

import io
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.data.dataset import Dataset
from ganjax.data.folder import Medium, arranged
from ganjax.data.memory import check_size
from ganjax.errors import DataError, reason
from ganjax.files import write_atomically
from ganjax.kinds import waveforms

SUFFIX = ".wav"
RECORDINGS = Medium("recording", "WAV", (SUFFIX,))
LEVELS = 2  # of sub-folders: split and class
_CONVERT = "convert it, such as by ffmpeg -i in.wav -ac 1 -c:a pcm_s16le out.wav"


def holds_recordings(path: Path) -> bool:
    """Whether the first file of a folder, by name and sub-folders first, is called a WAV file."""
    first = next(_visible(path, LEVELS), None) if path.is_dir() else None
    return first is not None and first.suffix.lower() == SUFFIX


def _visible(folder: Path, levels: int) -> Iterator[Path]:
    """Files that are not hidden, those of sub-folders first; none of a folder that cannot be read."""
    try:
        found = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        folders = [entry for entry in found if entry.is_dir() and not entry.is_symlink()]
    except OSError:
        return
    for entry in folders if levels else []:
        yield from _visible(entry, levels - 1)
    yield from (entry for entry in found if entry not in folders)


def load_recordings(path: str | Path) -> Dataset:
    """Read a folder of WAV files, 16-bit PCM of one channel, all of one rate and one length.

    Sub-folders are classes, or a training and a held-out split, as of `folder.load_folder`.

    Raises:
        DataError: names the file that is no such recording, damaged, empty, or of another rate or length than the
            first; or what `folder.load_folder` refuses of a folder.
    """
    rates: list[tuple[int, Path]] = []

    def read(folder: Path, files: list[Path]) -> tuple[NDArray, list[int]]:
        check_size(folder, sum(file.stat().st_size for file in files))
        found: list[NDArray] = []
        for file in files:
            x, rate = read_wav(file)
            first_rate, first = rates[0] if rates else (rate, file)
            rates.append((rate, file))
            if rate != first_rate:
                raise DataError(
                    f"{file}: {rate:,} samples a second, but {first.name} has {first_rate:,}; expected recordings of "
                    "one rate: resample them first"
                )
            if found and len(x) != len(found[0]):
                raise DataError(
                    f"{file}: {len(x):,} samples, but {files[0].name} has {len(found[0]):,}; expected recordings of "
                    "one length: cut or pad them first"
                )
            found.append(x)
        return np.stack(found), list(range(len(files)))

    fields = arranged(path, RECORDINGS, read)
    return Dataset(**fields, x_kind=waveforms(rates[0][0]))


def read_wav(file: Path) -> tuple[NDArray[np.int16], int]:
    """The samples of a WAV file, [T] int16, and how many there are in a second.

    Raises:
        DataError: it cannot be read, is empty, cut short, not of 16 bits or not of one channel.
    """
    try:
        size = file.stat().st_size
        if not size:
            raise DataError(f"{file}: an empty file, expected a WAV file; replace or remove it")
        with wave.open(str(file), "rb") as content:
            channels, width, rate, count = content.getparams()[:4]
            _check_form(file, channels, width)
            if not 0 < 2 * count <= size:
                says = f"says that it holds {count:,} samples in {size:,} bytes" if count else "holds no samples"
                raise DataError(f"{file}: {says}, expected some and all of them; record it again or remove it")
            held = content.readframes(count)
            x = np.frombuffer(held[: len(held) // 2 * 2], "<i2").astype(np.int16)
        waveforms(rate)
    except DataError:
        raise
    except Exception as error:  # wave raises its own errors, EOFError and struct.error on damaged bytes
        raise DataError(
            f"{file}: not a readable WAV file of 16-bit PCM ({reason(error)}); {_CONVERT}, or remove it"
        ) from error
    if len(x) != count:
        raise DataError(f"{file}: cut short, {len(x):,} of {count:,} samples; record it again or remove it")
    return x, rate


def _check_form(file: Path, channels: int, width: int) -> None:
    if width != 2:
        raise DataError(f"{file}: {8 * width} bits a sample, expected 16; {_CONVERT}")
    if channels != 1:
        raise DataError(f"{file}: {channels} channels, expected one; {_CONVERT}")


def wav(x: ArrayLike, rate: int) -> bytes:
    """The content of a WAV file.

    Args:
        x: [T] int16.
        rate: samples a second.

    Raises:
        TypeError: x is not int16.
        ValueError: x has another rank, or no samples.
    """
    x = np.asarray(x)
    if x.dtype != np.int16:
        raise TypeError(f"wav: x is {x.dtype}, expected int16; use kinds.to_samples")
    if x.ndim != 1 or not x.size:
        raise ValueError(f"wav: x has shape {x.shape}, expected [T] with at least one sample")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as content:
        content.setnchannels(1)
        content.setsampwidth(2)
        content.setframerate(rate)
        content.writeframes(x.astype("<i2").tobytes())
    return buffer.getvalue()


def save_recordings(folder: Path, x: ArrayLike, rate: int) -> list[Path]:
    """Write waveforms [N, T] int16 as `folder/000.wav` and so on, each whole or not at all; returns the paths."""
    paths = []
    for number, one in enumerate(np.asarray(x)):
        paths.append(folder / f"{number:03}{SUFFIX}")
        write_atomically(paths[-1], wav(one, rate))
    return paths
