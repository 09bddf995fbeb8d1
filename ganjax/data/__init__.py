"""Sources of real samples, and the order in which training sees them."""

from ganjax.data.catalogue import KNOWN, load
from ganjax.data.dataset import Companion, Dataset, Mixture
from ganjax.data.memory import LazyImages
from ganjax.data.order import positions, positions_of_steps, subsample
from ganjax.data.outline import outline, stand_in, stand_ins
from ganjax.data.points import grid, grid_centres, ring, ring_centres, swiss_roll
from ganjax.data.sizes import halved

__all__ = [
    "KNOWN",
    "Companion",
    "Dataset",
    "LazyImages",
    "Mixture",
    "grid",
    "grid_centres",
    "halved",
    "load",
    "outline",
    "positions",
    "positions_of_steps",
    "ring",
    "ring_centres",
    "stand_in",
    "stand_ins",
    "subsample",
    "swiss_roll",
]
