"""Judges of samples: pure functions of arrays."""

from ganjax.metrics.modes import (
    Modes,
    PerfectModes,
    density_tv,
    histogram_modes,
    modes,
    perfect_density_tv,
    perfect_modes,
)
from ganjax.transport import sliced_wasserstein

__all__ = [
    "Modes",
    "PerfectModes",
    "density_tv",
    "histogram_modes",
    "modes",
    "perfect_density_tv",
    "perfect_modes",
    "sliced_wasserstein",
]
