"""How many modes of a mixture a generator finds, and how well: the protocols of VEEGAN, PacGAN and their successors.

A perfect sampler does not score 100 % and 0: `perfect_modes` and `perfect_density_tv` say what it scores with as many
samples, and a score without that figure beside it cannot be read.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammainc
from jax.scipy.stats import norm

from ganjax.checks import check_range
from ganjax.core import Array


class Modes(NamedTuple):
    """What `modes` and `histogram_modes` find."""

    captured: Array  # scalar int32, modes with enough samples of high quality
    high_quality: Array  # scalar float, the share of samples near a mode
    reverse_kl: Array  # scalar float, nats; log K if no sample is of high quality
    tv: Array  # scalar float, 1/2 sum |h_k - 1/K|; 1 - 1/K if no sample is of high quality
    histogram: Array  # [K] int32, high-quality samples of each mode


class PerfectModes(NamedTuple):
    """What a perfect sampler is expected to score on equally likely modes."""

    high_quality: float
    reverse_kl: float  # nats, to first order in 1 / N
    tv: float


def modes(
    samples: Array, centres: Array, std: float | Array, *, radius: float = 3.0, least: float | Array = 0.0
) -> Modes:
    """Count samples by the nearest mode of a mixture of isotropic Gaussians (Srivastava et al. 2017; Lin et al. 2018).

    A sample is of high quality if it lies within `radius` standard deviations of the nearest centre; the other figures
    are those of `histogram_modes` on these samples.

    Args:
        samples: [N, D] floating; a sample that is not finite is of low quality.
        centres: [K, D] floating.
        std: a scalar, of every mode.
        radius: in standard deviations.
        least: share of all N samples that a captured mode holds; with 0, one sample is enough (VEEGAN, PacGAN).

    Raises:
        ValueError: samples or centres are not matrices of the same width, or std is not a scalar.
    """
    check_range("modes", 0, above=True, std=std, radius=radius)
    _check("modes", samples, centres, std)
    return histogram_modes(_of_points(samples, centres, (radius * std) ** 2), len(samples), least=least)


@jax.jit
def _of_points(samples: Array, centres: Array, reach: float | Array) -> Array:
    """[K] the samples whose nearest centre is this one and lies within a distance whose square is `reach`."""
    squares = ((samples[:, None] - centres[None]) ** 2).sum(-1)
    nearest, near = squares.argmin(1), squares.min(1) <= reach
    near = near & jnp.isfinite(samples).all(1)
    return jnp.zeros(len(centres), jnp.int32).at[nearest].add(near.astype(jnp.int32))


def histogram_modes(histogram: Array, count: int, *, least: float | Array = 0.0) -> Modes:
    """Score a histogram over K modes that should be equally likely.

    With h its shares, the reverse divergence is `KL(h || uniform) = sum_k h_k log(K h_k)` and the total variation
    `1/2 sum_k |h_k - 1/K|`. Of an empty histogram both have their largest values, as of a single mode.

    Args:
        histogram: [K] integers, the samples of high quality in each mode.
        count: N, all samples.
        least: share of all samples that a captured mode holds; with 0, one is enough.
    """
    check_range("histogram_modes", 1, whole=True, count=count)
    check_range("histogram_modes", 0, 1, least=least)
    check_range("histogram_modes", 0, whole=True, histogram=histogram)
    check_range("histogram_modes", high=count, **{"the sum of the histogram": histogram.sum()})  # type: ignore[arg-type]
    return _scores(histogram, count, least * count)


@jax.jit
def _scores(histogram: Array, count: int, fewest: float | Array) -> Modes:
    total, k = histogram.sum(), histogram.shape[-1]
    share = histogram / jnp.maximum(total, 1)
    log_k = jnp.log(jnp.asarray(k, share.dtype))
    divergence = jax.scipy.special.xlogy(share, share).sum() + log_k
    captured = histogram >= jnp.maximum(fewest, 1)
    return Modes(
        captured.sum().astype(jnp.int32),
        total / count,
        jnp.where(total > 0, divergence, log_k),
        jnp.where(total > 0, jnp.abs(share - 1 / k).sum() / 2, 1 - 1 / k),
        histogram,
    )


def label_modes(labels: Array, classes: int, *, least: float | Array = 0.0) -> Modes:
    """Score a classifier's predictions as a histogram over classes that should be equally likely.

    Stacked MNIST has three digits in an image and thus 10^3 modes (Metz et al. 2017; Srivastava et al. 2017). Where the
    classifier is not sure, -1 as label makes the sample of low quality; a threshold changes the count of modes, so
    that it belongs beside it: `jnp.where(p.max(-1) >= 0.99, p.argmax(-1), -1)`.

    Args:
        labels: [N] integers, or [N, S] for S labels that make one mode together; a negative one is of low quality.
        classes: of each label, so that there are `K = classes^S` modes; what is not below is of low quality too.
        least: as in `histogram_modes`.

    Raises:
        TypeError: labels are not integers.
        ValueError: labels have another rank.
    """
    check_range("label_modes", 1, whole=True, classes=classes)
    if labels.ndim not in (1, 2) or not labels.size:
        raise ValueError(f"label_modes: labels have shape {labels.shape}, expected [N] or [N, S], not empty")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"label_modes: labels have dtype {labels.dtype}, expected integers; take the argmax of logits")
    return histogram_modes(_of_labels(labels, classes), len(labels), least=least)


@partial(jax.jit, static_argnums=1)
def _of_labels(labels: Array, classes: int) -> Array:
    """[classes^S] the samples of each mode."""
    digits = labels.reshape(len(labels), -1)
    number = classes ** digits.shape[1]
    known = ((digits >= 0) & (digits < classes)).all(1)
    mode = digits @ (classes ** np.arange(digits.shape[1])[::-1])
    return jnp.zeros(number, jnp.int32).at[jnp.where(known, mode, number)].add(1, mode="drop")


def perfect_modes(number: int, count: int, *, dimensions: int = 2, radius: float = 3.0) -> PerfectModes:
    """What a perfect sampler scores on `number` equally likely modes with `count` samples.

    Returns:
        Its share of high quality, `P(chi^2_D <= radius^2)`, which is `1 - exp(-radius^2 / 2)` = 98.889 % in the plane;
        more means that the modes have shrunk. Its expected reverse divergence, `(K - 1) / (2 N)` nats with N
        high-quality samples, and its expected total variation, from the mean absolute deviation of the binomial.
    """
    check_range("perfect_modes", 1, whole=True, number=number, count=count, dimensions=dimensions)
    check_range("perfect_modes", 0, above=True, radius=radius)
    quality = float(gammainc(dimensions / 2, radius**2 / 2))
    near = count * quality
    return PerfectModes(quality, (number - 1) / (2 * near), _deviation(round(near), np.full(number, 1 / number)))


def density_tv(samples: Array, centres: Array, std: float | Array, *, reach: int = 4) -> Array:
    """`1/2 sum_cells |share - probability|`: how far the samples are from the mixture in place and in shape.

    Cells are squares of side `std`, `2 reach` by `2 reach` of them around each centre; all else is one more cell.
    The probabilities are exact for modes that lie more than `2 reach` standard deviations apart.

    Args:
        samples: [N, D] floating; those that are not finite lie outside.
        centres: [K, D] floating.
        std: a scalar, of every mode.
        reach: half the side of the squares in standard deviations.

    Raises:
        ValueError: samples or centres are not matrices of the same width, or std is not a scalar.
    """
    check_range("density_tv", 0, above=True, std=std)
    check_range("density_tv", 1, whole=True, reach=reach)
    _check("density_tv", samples, centres, std)
    side, dimensions = 2 * reach, samples.shape[1]
    offset = samples[:, None] - centres[None]
    nearest = jnp.abs(offset).max(-1).argmin(1)
    cell = jnp.floor(offset[jnp.arange(len(samples)), nearest] / std).astype(jnp.int32) + reach
    inside = ((cell >= 0) & (cell < side)).all(1) & jnp.isfinite(samples).all(1)
    index = nearest
    for axis in range(dimensions):
        index = index * side + cell[:, axis]
    number = len(centres) * side**dimensions
    counts = jnp.zeros(number + 1, jnp.int32).at[jnp.where(inside, index, number)].add(1)
    return jnp.abs(counts / len(samples) - _cells(len(centres), reach, dimensions)).sum() / 2


def perfect_density_tv(number: int, count: int, *, dimensions: int = 2, reach: int = 4) -> float:
    """The `density_tv` that a perfect sampler is expected to score on `number` modes with `count` samples."""
    check_range("perfect_density_tv", 1, whole=True, number=number, count=count, dimensions=dimensions, reach=reach)
    return _deviation(count, np.asarray(_cells(number, reach, dimensions), np.float64))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _cells(number: int, reach: int, dimensions: int) -> Array:
    """[number * (2 reach)^D + 1] the probability of each cell, the outside last."""
    line = jnp.diff(norm.cdf(jnp.arange(-reach, reach + 1.0)))
    cells = jnp.ones(1)
    for _ in range(dimensions):
        cells = jnp.outer(cells, line).ravel()
    inside = jnp.tile(cells / number, number)
    return jnp.append(inside, 1 - inside.sum())


def _deviation(count: int, probability: np.ndarray) -> float:
    """`1/2 sum_k E |X_k / N - p_k|` of multinomial counts X, by de Moivre's mean absolute deviation."""
    from scipy.stats import binom

    m = np.floor(count * probability) + 1
    return float((m * (1 - probability) * binom.pmf(m, count, probability)).sum() / count)


def _check(name: str, samples: Array, centres: Array, std: float | Array) -> None:
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1] != centres.shape[1]:
        raise ValueError(
            f"{name}: samples have shape {samples.shape} and centres {centres.shape}, expected [N, D] and [K, D]"
        )
    if jnp.ndim(std):
        raise ValueError(f"{name}: std has shape {jnp.shape(std)}, expected a scalar")
