"""Distributions in the plane whose density is known: two mixtures of Gaussians and the swiss roll.

Each is a pure function of its arguments, so a test, a notebook and a training run see the same samples.
"""

from collections.abc import Callable

import numpy as np

from ganjax.checks import check_range
from ganjax.data.dataset import Dataset, Mixture

TRAIN, TEST = 100_000, 10_000  # samples of the data sets
RING_SIGMA, GRID_SIGMA = 0.02, 0.05
LICENCE = "none needed, generated"


def ring_centres(*, modes: int = 8, radius: float = 2.0) -> np.ndarray:
    """[modes, 2] float32: centre k lies on the circle at angle 2 pi k / modes."""
    check_range("ring_centres", 1, whole=True, modes=modes)
    check_range("ring_centres", 0, radius=radius)
    angle = 2 * np.pi * np.arange(modes) / modes
    return (radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)).astype(np.float32)


def grid_centres(*, side: int = 5, spacing: float = 2.0) -> np.ndarray:
    """[side^2, 2] float32: a square grid around the origin, row by row of the first coordinate."""
    check_range("grid_centres", 1, whole=True, side=side)
    check_range("grid_centres", 0, spacing=spacing)
    ticks = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)


def ring(
    count: int, *, modes: int = 8, radius: float = 2.0, sigma: float = RING_SIGMA, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Samples of equally likely Gaussians on a circle.

    Unrolled GAN (Metz et al., 2017), appendix A.

    Returns:
        Points [count, 2] float32 and the mode of each, [count] int32, numbered as in `ring_centres`.
    """
    return _mixture(ring_centres(modes=modes, radius=radius), sigma, count, seed)


def grid(
    count: int, *, side: int = 5, spacing: float = 2.0, sigma: float = GRID_SIGMA, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Samples of equally likely Gaussians on a square grid, by default from -4 to 4 in steps of 2.

    Returns:
        Points [count, 2] float32 and the mode of each, [count] int32, numbered as in `grid_centres`.
    """
    return _mixture(grid_centres(side=side, spacing=spacing), sigma, count, seed)


def swiss_roll(count: int, *, noise: float = 0.25, seed: int = 0) -> np.ndarray:
    """Samples of a noisy spiral: the first and last coordinate of scikit-learn's swiss roll, over 7.5.

    One of the toy sets of WGAN-GP (Gulrajani et al., 2017).

    Returns:
        Points [count, 2] float32, between about -2 and 2.
    """
    check_range("swiss_roll", 1, whole=True, count=count)
    check_range("swiss_roll", 0, noise=noise)
    from sklearn.datasets import make_swiss_roll

    roll = make_swiss_roll(n_samples=count, noise=noise, random_state=seed)[0]
    return (roll[:, [0, 2]] / 7.5).astype(np.float32)


def ring_set() -> Dataset:
    """The ring as a data set; the label is the mode."""
    return _set("ring", ring, Mixture(ring_centres(), RING_SIGMA))


def grid_set() -> Dataset:
    """The grid as a data set; the label is the mode."""
    return _set("grid", grid, Mixture(grid_centres(), GRID_SIGMA))


def swiss_roll_set() -> Dataset:
    """The swiss roll as a data set, without labels."""
    return Dataset(swiss_roll(TRAIN), None, swiss_roll(TEST, seed=1), name="swiss_roll", licence=LICENCE)


def _set(name: str, draw: Callable[..., tuple[np.ndarray, np.ndarray]], mixture: Mixture) -> Dataset:
    names = tuple(f"mode {k}" for k in range(len(mixture.centres)))
    train, test = draw(TRAIN), draw(TEST, seed=1)
    return Dataset(*train, *test, name=name, licence=LICENCE, class_names=names, mixture=mixture)


def _mixture(centres: np.ndarray, sigma: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    check_range("a mixture", 1, whole=True, count=count)
    check_range("a mixture", 0, sigma=sigma)
    rng = np.random.default_rng(seed)
    mode = rng.integers(len(centres), size=count, dtype=np.int32)
    x = centres[mode] + sigma * rng.standard_normal((count, centres.shape[1]))
    return x.astype(np.float32), mode
