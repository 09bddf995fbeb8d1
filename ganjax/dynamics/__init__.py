"""How players move: the vector field of a game, update rules, adjustments, averages, predictions and spectra."""

from ganjax.dynamics.adjustments import Adjustment, consensus, gradient_norm, historical_averaging, symplectic
from ganjax.dynamics.averaging import Average, AverageState, ema, tail_average
from ganjax.dynamics.constraints import clipped, projected
from ganjax.dynamics.field import Field, View, vector_field
from ganjax.dynamics.implicit import competitive, proximal_point
from ganjax.dynamics.opponents import (
    against_average,
    corner,
    fictitious_play,
    history_of_opponents,
    lola,
    opponent_lookahead,
    unrolled,
    vertex,
)
from ganjax.dynamics.spectrum import (
    PathAngle,
    field_jacobian,
    leading_eigenvalues,
    path_angle,
    rotation,
    spectral_radius,
    update_jacobian,
)
from ganjax.dynamics.updates import (
    alternating,
    extragradient,
    lookahead,
    optimistic,
    past_extragradient,
    runge_kutta,
    simultaneous,
)

__all__ = [
    "Adjustment",
    "Average",
    "AverageState",
    "Field",
    "PathAngle",
    "View",
    "against_average",
    "alternating",
    "clipped",
    "competitive",
    "consensus",
    "corner",
    "ema",
    "extragradient",
    "fictitious_play",
    "field_jacobian",
    "gradient_norm",
    "historical_averaging",
    "history_of_opponents",
    "leading_eigenvalues",
    "lola",
    "lookahead",
    "opponent_lookahead",
    "optimistic",
    "past_extragradient",
    "path_angle",
    "projected",
    "proximal_point",
    "rotation",
    "runge_kutta",
    "simultaneous",
    "spectral_radius",
    "symplectic",
    "tail_average",
    "unrolled",
    "update_jacobian",
    "vector_field",
    "vertex",
]
