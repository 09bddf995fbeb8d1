"""Chirps on the notes of a scale, whose pitch and slope are known exactly: sounds that need no download."""

import numpy as np
from numpy.typing import NDArray

from ganjax.checks import check_range
from ganjax.data.dataset import Companion, Dataset
from ganjax.kinds import VECTOR, waveforms

RATE, LENGTH = 8000, 1024  # samples a second, and of a waveform
NOTES = 220.0 * 2.0 ** (np.arange(8) / 3)  # Hz, major thirds (400 cents) from A3 to C#6
NAMES = ("A3", "C#4", "F4", "A4", "C#5", "F5", "A5", "C#6")
STEEPEST = 0.5  # of the slope, in parts of the pitch a second
TRAIN, TEST = 4096, 1024


def chirp(pitch: NDArray, slope: NDArray, phase: NDArray, spread: NDArray, length: int, rate: int) -> NDArray:
    """`exp(-(t / w)^2 / 2) sin(2 pi (f t + s t^2 / 2) + phase)`, t in seconds from the middle: a linear chirp.

    Its frequency is f + s t. As its envelope is even, so is its spectrum about f, but for the tail of -f.

    Args:
        pitch: [N], f in Hz.
        slope: [N], s in Hz a second.
        phase: [N], in the middle.
        spread: [N], w in seconds.
        length: samples.
        rate: samples a second.

    Returns:
        [N, length] float64 in -1..1.
    """
    check_range("chirp", 1, whole=True, length=length, rate=rate)
    t = (np.arange(length) - (length - 1) / 2) / rate
    f, s, p, w = (np.asarray(one)[:, None] for one in (pitch, slope, phase, spread))
    return np.exp(-((t / w) ** 2) / 2) * np.sin(2 * np.pi * (f * t + s * t**2 / 2) + p)


def chirps(*, length: int = LENGTH, rate: int = RATE, train: int = TRAIN, test: int = TEST, seed: int = 0) -> Dataset:
    """Chirps with a class for each of eight notes, as many of each, and the companions `pitch` and `slope`.

    The pitch in the middle is the note's, the slope -1/2 to 1/2 of it a second, the phase any, the amplitude 0.5 to 0.9
    and the envelope's w an eighth to a quarter of the waveform, each uniform and independent of all else. Notes are 400
    cents apart: pitches at random would miss the nearest by 100 in the median.

    Args:
        length: samples of a waveform.
        rate: samples a second, above twice the highest frequency, 1,386 Hz by default.
        train: training examples.
        test: held-out examples.
        seed: of all that is drawn.
    """
    check_range("chirps", 1, whole=True, length=length, train=train, test=test)
    check_range("chirps", 2 * NOTES[-1] * 1.25, rate=rate)
    (x, y, pitch, slope), (x_test, y_test, pitch_test, slope_test) = (
        _split(np.random.default_rng((seed, stream)), count, length, rate) for stream, count in ((0, train), (1, test))
    )
    return Dataset(
        x,
        y,
        x_test,
        y_test,
        name="chirps",
        licence="none needed, generated",
        class_names=NAMES,
        companions={"pitch": Companion(pitch, pitch_test, VECTOR), "slope": Companion(slope, slope_test, VECTOR)},
        x_kind=waveforms(rate),
    )


def _split(rng: np.random.Generator, count: int, length: int, rate: int) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Waveforms [N, length] int16, notes [N] int32, pitches and slopes [N, 1] float32 in Hz and Hz a second."""
    y = rng.permutation(np.arange(count) % len(NOTES)).astype(np.int32)
    pitch = NOTES[y]
    slope = pitch * rng.uniform(-STEEPEST, STEEPEST, count)
    spread = rng.uniform(1 / 8, 1 / 4, count) * length / rate
    x = chirp(pitch, slope, rng.uniform(0, 2 * np.pi, count), spread, length, rate)
    x *= rng.uniform(0.5, 0.9, (count, 1))
    beside = (pitch[:, None].astype(np.float32), slope[:, None].astype(np.float32))
    return np.round(32767 * x).astype(np.int16), y, *beside
