"""Spectra of a sinusoid, of white noise and of upsampled noise."""

import numpy as np
import pytest

from ganjax.metrics import radial_spectrum, spectral_distance


@pytest.mark.parametrize("cycles", [1, 5, 15])
def test_a_sinusoid(cycles):
    """Amplitude A at k cycles: two of the ring's points have power A^2 H W / 4, all others none."""
    side, amplitude = 32, 0.4
    wave = amplitude * np.sin(2 * np.pi * cycles * np.arange(side) / side)
    images = np.broadcast_to(wave[None, None, :, None], (3, side, side, 2)) + 0.5
    found = radial_spectrum(images)
    k = np.fft.fftfreq(side) * side
    number = (np.rint(np.hypot(k[:, None], k)) == cycles).sum()
    expected = np.zeros(side // 2)
    expected[cycles - 1] = 2 * amplitude**2 * side**2 / 4 / number
    np.testing.assert_allclose(found.power, expected, atol=1e-12)
    np.testing.assert_allclose(found.frequency, np.arange(1, 17) / 32)


def test_white_noise_is_flat():
    """Its power is its variance at all frequencies, also of images that are not square."""
    noise = 0.3 * np.random.default_rng(0).normal(size=(400, 16, 24, 1))
    found = radial_spectrum(noise)
    assert len(found.frequency) == 8
    np.testing.assert_allclose(found.power, 0.09, rtol=0.05)
    np.testing.assert_allclose(spectral_distance(noise, np.sqrt(2) * noise), np.log(2), rtol=1e-9)


def test_brightness_is_left_out_and_uint8_is_scaled():
    rng = np.random.default_rng(0)
    x = rng.integers(256, size=(5, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(radial_spectrum(x).power, radial_spectrum(x / 127.5 - 1).power, rtol=1e-12)
    np.testing.assert_allclose(radial_spectrum(x / 255).power, radial_spectrum(x / 255 + 3).power, rtol=1e-9)


def test_upsampling_is_seen():
    """Repeating pixels loses power at high frequencies; spectra are compared in nats."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(200, 16, 16, 1)) / 3
    fake = np.kron(rng.normal(size=(200, 8, 8, 1)) / 3, np.ones((1, 2, 2, 1)))
    assert spectral_distance(real[:100], real[100:]) < 0.1
    assert spectral_distance(real, fake) > 0.5
    assert radial_spectrum(fake).power[-1] < 0.5 * radial_spectrum(real).power[-1]


def test_flat_images_have_the_power_of_rounding():
    flat, noise = np.zeros((2, 8, 8, 1)), np.random.default_rng(0).normal(size=(300, 8, 8, 1))
    assert spectral_distance(flat, flat + 0.5) == 0
    np.testing.assert_allclose(spectral_distance(flat, noise), np.log(12 * (255 / 2) ** 2), rtol=0.01)


def test_wrong_images():
    with pytest.raises(ValueError, match="expected sides of at least 2 pixels"):
        radial_spectrum(np.zeros((2, 1, 8, 1)))
    with pytest.raises(ValueError, match=r"shapes \(2, 8, 8, 1\) and \(2, 4, 4, 1\), resize one"):
        spectral_distance(np.zeros((2, 8, 8, 1)), np.zeros((2, 4, 4, 1)))
    with pytest.raises(TypeError, match="images has dtype int64"):
        radial_spectrum(np.zeros((2, 8, 8, 1), np.int64))
    with pytest.raises(ValueError, match=r"expected \[N, H, W, C\]"):
        radial_spectrum(np.zeros((2, 8, 8)))
