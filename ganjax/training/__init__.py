"""Training: a game, a dynamics and data, from a seed to a run directory."""

from ganjax.options import Schedule
from ganjax.rundir import latest_step
from ganjax.training.fit import beginning, fit
from ganjax.training.loop import train
from ganjax.training.sampling import Given, draw, in_turn, name_of_weights, weights_of
from ganjax.training.setup import Keys, Setup, check, check_classes, load_state
from ganjax.training.simulate import population, rejected, simulate, states_at
from ganjax.training.start import From
from ganjax.training.state import Averaged, digest, init_state
from ganjax.training.step import train_step
from ganjax.training.streams import Stream, drawn

__all__ = [
    "Averaged",
    "From",
    "Given",
    "Keys",
    "Schedule",
    "Setup",
    "Stream",
    "beginning",
    "check",
    "check_classes",
    "digest",
    "draw",
    "drawn",
    "fit",
    "in_turn",
    "init_state",
    "latest_step",
    "load_state",
    "name_of_weights",
    "population",
    "rejected",
    "simulate",
    "states_at",
    "train",
    "train_step",
    "weights_of",
]
