"""How many modes of a mixture a generator finds, and how well: the protocol of VEEGAN and PacGAN."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammainc

from ganjax.core import Array


class Modes(NamedTuple):
    """What `modes` finds."""

    captured: Array  # scalar int32, modes with at least one high-quality sample
    high_quality: Array  # scalar float, the share of samples near a mode
    reverse_kl: Array  # scalar float, nats; log K if no sample is of high quality
    histogram: Array  # [K] int32, high-quality samples of each mode


def modes(samples: Array, centres: Array, std: float | Array, *, radius: float = 3.0) -> Modes:
    """Count samples by the nearest mode of a mixture of isotropic Gaussians (Srivastava et al. 2017; Lin et al. 2018).

    A sample is of high quality if it lies within `radius` standard deviations of the nearest centre. With h the
    histogram of those over the K modes, the reverse divergence is `KL(h || uniform) = sum_k h_k log(K h_k)`. A
    perfect sampler does not score 1 and 0: see `perfect_modes`.

    Args:
        samples: [N, D] floating; a sample that is not finite is of low quality.
        centres: [K, D] floating.
        std: a scalar, of every mode.
        radius: in standard deviations.

    Returns:
        Modes. Of no high-quality sample the reverse divergence is log K, its largest value, as of a single mode.

    Raises:
        ValueError: samples or centres are not matrices of the same width, or std is not a scalar.
    """
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1] != centres.shape[1]:
        raise ValueError(
            f"modes: samples have shape {samples.shape} and centres {centres.shape}, expected [N, D] and [K, D]"
        )
    if jnp.ndim(std):
        raise ValueError(f"modes: std has shape {jnp.shape(std)}, expected a scalar")
    squares = ((samples[:, None] - centres[None]) ** 2).sum(-1)
    nearest, near = squares.argmin(1), squares.min(1) <= (radius * std) ** 2
    near = near & jnp.isfinite(samples).all(1)
    histogram = jnp.zeros(len(centres), jnp.int32).at[nearest].add(near.astype(jnp.int32))
    total = histogram.sum()
    share = histogram / jnp.maximum(total, 1)
    log_k = jnp.log(jnp.asarray(len(centres), share.dtype))
    divergence = jnp.where(total > 0, (jax.scipy.special.xlogy(share, share)).sum() + log_k, log_k)
    return Modes((histogram > 0).sum().astype(jnp.int32), near.mean(), divergence, histogram)


def perfect_modes(number: int, count: int, *, dimensions: int = 2, radius: float = 3.0) -> tuple[float, float]:
    """What a perfect sampler scores on `number` equally likely modes with `count` samples.

    Returns:
        Its share of high quality, `P(chi^2_D <= radius^2)`, which is `1 - exp(-radius^2 / 2)` = 98.889 % in the plane;
        more means that the modes have shrunk. And its expected reverse divergence, `(K - 1) / (2 N)` nats with
        N high-quality samples (to first order in 1 / N).
    """
    quality = float(gammainc(dimensions / 2, radius**2 / 2))
    return quality, (number - 1) / (2 * count * quality)
