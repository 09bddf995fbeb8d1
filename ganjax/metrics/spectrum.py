"""Power spectra of images: upsampling by transposed convolutions leaves too much or too little at high frequencies."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.metrics.sets import blocks, check_images

ROUNDING = (2 / 255) ** 2 / 12  # power of rounding to 8 bits, for images in [-1, 1]


class Spectrum(NamedTuple):
    """Radially averaged; the mean, at frequency 0, is left out."""

    frequency: NDArray[np.float64]  # [R], cycles per pixel, 1 / side to 1/2
    power: NDArray[np.float64]  # [R], squared units of images in [-1, 1]


def radial_spectrum(images: ArrayLike) -> Spectrum:
    """The mean over images, channels and directions of `|FFT|^2 / (H W)` at each distance from frequency 0.

    White noise of variance v has power v everywhere. Rings are one cycle per shorter side wide, from one cycle to half
    as many as there are pixels; the corners beyond are left out (Durall et al. 2020 take them in).

    Args:
        images: [N, H, W, C] uint8, or floating in [-1, 1]; sides of at least 2.

    Raises:
        TypeError: another dtype.
        ValueError: another rank, or values that are not finite.
    """
    check_images("radial_spectrum", images=images)
    x = np.asarray(images)
    height, width = x.shape[1:3]
    side = min(height, width)
    if side < 2:
        raise ValueError(f"radial_spectrum: images have shape {x.shape}, expected sides of at least 2 pixels")
    power = sum((np.abs(np.fft.fft2(_unit(block), axes=(1, 2))) ** 2).sum((0, 3)) for block in blocks(x))
    power = power / (len(x) * x.shape[3] * height * width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    ring = np.rint(radius * side).astype(int).ravel()
    total, number = np.bincount(ring, power.ravel()), np.bincount(ring)
    rings = np.arange(1, side // 2 + 1)
    return Spectrum(rings / side, (total / number)[rings])


def spectral_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Root mean square over frequencies of the difference of log power, in nats: 0.69 for twice the power everywhere.

    Power below that of rounding to 8 bits counts as that: it cannot be seen in an image file.

    Args:
        x: [N, H, W, C] uint8, or floating in [-1, 1].
        y: [M, H, W, C] likewise.

    Raises:
        TypeError: another dtype.
        ValueError: other shapes, or values that are not finite.
    """
    check_images("spectral_distance", x=x, y=y)
    if np.shape(x)[1:] != np.shape(y)[1:]:
        raise ValueError(f"spectral_distance: images have shapes {np.shape(x)} and {np.shape(y)}, resize one")
    logs = [np.log(np.maximum(radial_spectrum(images).power, ROUNDING)) for images in (x, y)]
    return float(np.sqrt(((logs[0] - logs[1]) ** 2).mean()))


def _unit(images: NDArray) -> NDArray[np.float64]:
    """Pixels of uint8 in [-1, 1], others as they are."""
    return images / 127.5 - 1 if images.dtype == np.uint8 else images.astype(np.float64)
