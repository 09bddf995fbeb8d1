"""Judges of samples: pure functions of arrays."""

from ganjax.metrics.modes import Modes, modes, perfect_modes
from ganjax.metrics.transport import sliced_wasserstein

__all__ = ["Modes", "modes", "perfect_modes", "sliced_wasserstein"]
