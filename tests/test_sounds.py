"""Pitch on exact tones, cents by hand, mel bands and spectrograms against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.data.chirps import chirp
from ganjax.sounds import cents, log_mel, mel_filters, out_of_tune, pitch, strongest

RATE = 8000


def tones(frequencies, length=1024):
    t = np.arange(length)[None] / RATE
    return np.sin(2 * np.pi * np.asarray(frequencies)[:, None] * t + 0.3).astype(np.float32)


def test_the_pitch_of_exact_tones_is_found_within_half_a_cent():
    f = np.array([63.0, 100.3, 219.9, 440.0, 441.7, 1000.0, 3333.3])
    x = np.concatenate([tones(f), 0.01 * tones(f), np.zeros((1, 1024), np.float32), np.ones((1, 1024), np.float32)])
    found = np.asarray(jax.jit(lambda x: pitch(x, RATE))(x), np.float64)
    np.testing.assert_array_less(np.abs(1200 * np.log2(found[:14] / np.tile(f, 2))), 0.5)
    assert found[14] == 0  # silence


def test_what_has_no_partial_that_holds_half_of_the_power_has_no_pitch():
    """Noise of one colour has its strongest partial in one place, which must not pass for a note."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(50, 1024))
    coloured = sum(np.roll(noise, k, 1) * np.sin(2 * np.pi * 440 * k / RATE) * np.exp(-k / 20) for k in range(100))
    over = tones([440.0]) + 0.5 * tones([880.0]) + 0.2 * rng.normal(size=(50, 1024)) + 0.3
    over /= np.abs(over).max()
    x = np.concatenate([noise, coloured, over]).astype(np.float32)
    f, (frequency, share) = jax.jit(lambda x: (pitch(x, RATE), strongest(x, RATE)))(x)
    assert (np.asarray(f[:100]) > 0).mean() < 0.1 and np.median(share[:50]) < 0.1
    assert abs(np.median(frequency[50:100]) - 440) < 40  # in tune, were it a tone
    assert (abs(f[100:] - 440) < 2).all()
    whole = np.asarray(strongest(jnp.asarray(tones([440.0])), RATE).share)
    np.testing.assert_allclose(whole, 1, atol=1e-3)


def test_the_pitch_of_a_chirp_is_that_of_its_middle():
    f = np.array([220.0, 440.0, 1109.0])
    n = np.ones(3)
    x = chirp(f, 0.5 * f, 0.7 * n, 0.02 * n, 1024, RATE).astype(np.float32)
    assert jax.jit(lambda x, f: cents(pitch(x, RATE), f))(x, f.astype(np.float32)).max() < 0.5


def test_cents_by_hand():
    f = np.array([440.0, 440.0 * 2 ** (1 / 12), 220.0, 440.0, 0.0, 440.0], np.float32)
    g = np.array([440.0, 440.0, 440.0, 3000.0, 440.0, 0.0], np.float32)
    np.testing.assert_allclose(jax.jit(cents)(f, g), [0, 100, 1200, 1200, 1200, 1200], atol=1e-3)


def test_pitches_at_random_miss_notes_by_a_quarter_of_what_lies_between():
    octaves = np.concatenate([[0.25, 0.6], np.random.default_rng(0).uniform(0, 2, 20_000)])
    f, notes = (220 * 2.0 ** np.asarray(of) for of in (octaves, np.arange(7) / 3))
    found = np.asarray(jax.jit(out_of_tune)(f.astype(np.float32), notes.astype(np.float32)))
    np.testing.assert_allclose(found[:2], [100, 80], atol=1e-2)
    assert abs(np.median(found) - 100) < 3


def test_mel_filters_are_triangles_that_sum_to_one_between_the_outer_centres():
    filters = mel_filters(10, 512, RATE)
    assert filters.shape == (257, 10) and filters.min() == 0 and filters.max() <= 1
    first, last = filters[:, 0].argmax(), filters[:, -1].argmax()
    np.testing.assert_allclose(filters[first + 1 : last].sum(1), 1, atol=1e-6)
    assert (np.diff(filters.argmax(0)) > 0).all()


def test_a_tone_lies_in_the_mel_band_and_the_frames_that_it_should():
    found = np.asarray(log_mel(jnp.asarray(tones([1000.0])), RATE, frame=256, hop=64, bands=40))[0]
    assert found.shape == (13, 40)
    centres = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 42)[1:-1] / 2595) - 1)
    assert (found.argmax(1) == np.abs(centres - 1000).argmin()).all()
    x = tones([1000.0])
    frame = np.abs(np.fft.rfft(x[0, 64:320] * np.hanning(258)[1:-1])) ** 2
    np.testing.assert_allclose(found[1], np.log(frame @ mel_filters(40, 256, RATE) + 1e-6), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("x", "rate", "error"),
    [
        (np.zeros((1, 64), np.int16), RATE, TypeError),
        (np.zeros((1, 8), np.float32), RATE, ValueError),
        (np.zeros((1, 64), np.float32), 0, ValueError),
    ],
)
def test_what_has_no_pitch_in_hertz(x, rate, error):
    with pytest.raises(error, match="pitch: "):
        pitch(x, rate)
