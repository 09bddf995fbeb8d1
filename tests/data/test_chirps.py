"""Chirps: pitches, slopes and classes are what they say."""

import numpy as np
import pytest

from ganjax.data import load
from ganjax.data.chirps import NOTES, chirp, chirps


def test_the_phase_turns_at_the_frequency_and_the_envelope_is_even():
    """By the analytic signal of two chirps a quarter turn apart, whose phase is the chirp's own."""
    f, s, w, rate, n = 500.0, 200.0, 0.02, 8000, 801
    real, imaginary = (chirp(*np.array([[f], [s], [p], [w]]), n, rate)[0] for p in (np.pi / 2, 0.0))
    t = (np.arange(n) - 400) / rate
    np.testing.assert_allclose(np.hypot(real, imaginary), np.exp(-((t / w) ** 2) / 2), atol=1e-12)
    turning = np.diff(np.unwrap(np.angle(real + 1j * imaginary))) * rate / (2 * np.pi)
    np.testing.assert_allclose(turning, f + s * (t[1:] + t[:-1]) / 2, rtol=1e-9)


def test_the_embedded_set_has_as_many_of_each_note_and_says_which():
    data = load("chirps")
    assert data.shape == (1024,) and data.kind.name == "waveform" and data.kind.facts == {"rate": 8000}
    for split in ("train", "test"):
        y, pitch, slope = (data.y(name, split) for name in ("class", "pitch", "slope"))
        assert (np.bincount(y) == len(y) // 8).all()
        np.testing.assert_allclose(pitch[:, 0], NOTES[y], rtol=1e-6)
        steepest = (np.abs(slope) / pitch).max()
        assert steepest > 0.45 and steepest < 0.5001 and abs(np.mean(slope / pitch)) < 0.03
        peak = np.abs(getattr(data, f"x_{split}").astype(int)).max(1) / 32767
        assert peak.min() > 0.4 and peak.max() <= 0.9
    np.testing.assert_allclose(np.diff(1200 * np.log2(NOTES)), 400)
    small = chirps(train=16, test=8)
    other, again = chirps(train=16, test=8, seed=1), chirps(train=16, test=8)
    assert (again.digest == small.digest, other.digest == small.digest) == (True, False)


@pytest.mark.parametrize("how", [{"rate": 2000}, {"length": 0}, {"train": 0}])
def test_out_of_range(how):
    with pytest.raises(ValueError, match=f"chirps: {next(iter(how))} is"):
        chirps(**how)
