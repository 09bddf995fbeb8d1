"""How players move: the vector field of a game, update rules and averages of what they trace."""

from ganjax.dynamics.averaging import Average, AverageState, ema, tail_average
from ganjax.dynamics.field import Field, vector_field
from ganjax.dynamics.updates import alternating, simultaneous

__all__ = [
    "Average",
    "AverageState",
    "Field",
    "alternating",
    "ema",
    "simultaneous",
    "tail_average",
    "vector_field",
]
