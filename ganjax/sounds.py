"""What is heard in a waveform: its pitch, how far one is from another, and its spectrogram on the scale of the ear."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_range
from ganjax.core import Array

OCTAVE = 1200.0  # cents; also what is counted where there is no pitch, or more is missed
FINER = 4  # the spectrum's bins lie so much closer than those of the waveform itself
NEAR = 4  # bins of the waveform, rate / T apart, that are about a partial at least


class Partial(NamedTuple):
    """The strongest partial of a sound."""

    frequency: Array  # [...] float32, Hz, above 0 and below rate / 2; 0 of silence
    share: Array  # [...] float32, of all power but that of the mean, 0 to 1


def strongest(x: Array, rate: float) -> Partial:
    """The peak of the spectrum under a Hann window, and what part of the power lies about it.

    `P(f) = log |sum_t h(t) x(t) e^(-2 pi i f t / rate)|` on bins four times as close as those of the waveform; the
    parabola through the largest and its neighbours says where between bins its top lies. A tone of at least eight
    periods is found within half a cent. Of a linear chirp whose envelope is even about the middle, P is even about the
    frequency there, which is the one found. About it is within a semitone, or four bins of the waveform if that is
    more: the share of a tone is 1, of white noise small.

    Args:
        x: [..., T] floating.
        rate: samples a second.

    Raises:
        ValueError: fewer than 16 samples, or a rate that is not positive.
        TypeError: x is not floating.
    """
    check_range("pitch", 0, above=True, rate=rate)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"pitch: x is {x.dtype}, expected floating; use x.astype('float32') / 32768")
    if x.ndim < 1 or x.shape[-1] < 16:
        raise ValueError(f"pitch: x has shape {x.shape}, expected [..., T] with at least 16 samples")
    return _strongest(x, rate / (FINER * x.shape[-1]))


@jax.jit
def _strongest(x: Array, spacing: float) -> Partial:
    """On bins of the spectrum that lie so many Hz apart."""
    size = FINER * x.shape[-1]
    power = jnp.abs(jnp.fft.rfft(_under_hann(x), size)) ** 2
    inner = power[..., 1:-1]  # neither a constant nor rate / 2 is a pitch
    peak = inner.argmax(-1, keepdims=True) + 1
    low, top, high = (jnp.log(jnp.take_along_axis(power, peak + k, -1)[..., 0] + 1e-30) for k in (-1, 0, 1))
    bend = low - 2 * top + high
    offset = jnp.where(bend < 0, (low - high) / (2 * jnp.where(bend < 0, bend, -1.0)), 0.0)
    place = peak[..., 0] + jnp.clip(offset, -0.5, 0.5)
    away = jnp.abs(jnp.arange(power.shape[-1]).reshape(*[1] * (x.ndim - 1), -1) - place[..., None])
    about = away <= jnp.maximum(NEAR * FINER, place * (2 ** (1 / 12) - 1))[..., None]
    heard, total = inner.max(-1) > 1e-12, power[..., 2 * FINER :].sum(-1)  # without the main lobe of the mean
    share = jnp.where(about, power, 0)[..., 2 * FINER :].sum(-1) / jnp.maximum(total, 1e-30)
    return Partial(jnp.where(heard, place * spacing, 0.0), jnp.where(heard, share, 0.0))


def pitch(x: Array, rate: float, *, least: float = 0.5) -> Array:
    """The frequency of the strongest partial in Hz, 0 where less than `least` of the power lies about it, as of noise.

    Noise has a strongest partial too, and noise of one colour has it always in one place, which may be a note's.

    Args:
        x: [..., T] floating.
        rate: samples a second.
        least: share of the power that makes a pitch.

    Returns:
        [...] float32.

    Raises:
        ValueError, TypeError: as of `strongest`.
    """
    check_range("pitch", 0, 1, least=least)
    found = strongest(x, rate)
    return jnp.where(found.share >= least, found.frequency, 0.0)


@jax.jit
def cents(f: Array, g: Array) -> Array:
    """`|1200 log2(f / g)|`, how far two pitches lie apart, at most an octave, which no pitch (0 Hz) counts as too.

    A semitone has 100 cents, and who hears well tells about 5 apart.

    Args:
        f: [...] Hz.
        g: [...] Hz, of a shape that goes with it.
    """
    both = (f > 0) & (g > 0)
    apart = jnp.abs(OCTAVE * (jnp.log2(jnp.where(both, f, 1.0)) - jnp.log2(jnp.where(both, g, 1.0))))
    return jnp.where(both, jnp.minimum(apart, OCTAVE), OCTAVE)


def out_of_tune(f: Array, notes: Array) -> Array:
    """`min_k cents(f, note_k)`, how far a pitch is from the nearest note of a scale.

    Pitches at random miss notes that are d cents apart by d / 4 in the median.

    Args:
        f: [...] Hz.
        notes: [K] Hz.
    """
    return cents(f[..., None], notes.reshape(*[1] * f.ndim, -1)).min(-1)


def _under_hann(x: Array) -> Array:
    """[..., T] times `sin(pi t / (T + 1))^2`, t = 1, ..., T, float32."""
    window = np.hanning(x.shape[-1] + 2)[1:-1].astype(np.float32)
    return x.astype(jnp.float32) * window.reshape(*[1] * (x.ndim - 1), -1)


def mel_filters(bands: int, size: int, rate: float) -> np.ndarray:
    """Triangles that sum a power spectrum into bands, equally wide on the mel scale, `m = 2595 log10(1 + f / 700)`.

    Band k rises from the centre of band k - 1 to 1 at its own and falls to 0 at that of band k + 1; the centres are
    equally spaced in mel between 0 and rate / 2.

    Args:
        bands: how many.
        size: samples of a frame, whose spectrum has size // 2 + 1 bins.
        rate: samples a second.

    Returns:
        [size // 2 + 1, bands] float32, none negative.
    """
    check_range("mel_filters", 1, whole=True, bands=bands, size=size)
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.arange(size // 2 + 1)[:, None] * (rate / size)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def log_mel(x: Array, rate: float, *, frame: int = 256, hop: int = 64, bands: int = 40) -> Array:
    """`log(|STFT(x)|^2 M + 1e-6)`: frames under a Hann window, their power in mel bands, logarithms.

    Args:
        x: [B, T] floating in -1..1; frames are at most T long.
        rate: samples a second.
        frame: samples of a frame.
        hop: samples from frame to frame.
        bands: of the mel scale.

    Returns:
        [B, 1 + (T - frame) // hop, bands] float32.
    """
    check_range("log_mel", 1, whole=True, frame=frame, hop=hop, bands=bands)
    frame = min(frame, x.shape[1])
    starts = np.arange(0, x.shape[1] - frame + 1, hop)
    power = jnp.abs(jnp.fft.rfft(_under_hann(x[:, starts[:, None] + np.arange(frame)]))) ** 2
    return jnp.log(power @ mel_filters(bands, frame, rate) + 1e-6)
