"""What the rules do on games that can be solved, in closed form (NumPy, float64)."""

from ganjax.dynamics.predictions.bilinear import (
    alternating_invariant,
    alternating_matrix,
    closing_step,
    simultaneous_multiplier,
)

__all__ = ["alternating_invariant", "alternating_matrix", "closing_step", "simultaneous_multiplier"]
