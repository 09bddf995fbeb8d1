"""Training: a game, a dynamics and data, from a seed to a run directory."""

from ganjax.training.checkpoint import latest_step
from ganjax.training.loop import Schedule, train
from ganjax.training.sampling import classes_of, draw, drawn_labels, name_of_weights, weights_of
from ganjax.training.setup import Keys, Setup, check, check_classes, load_state
from ganjax.training.simulate import population, rejected, simulate
from ganjax.training.state import Averaged, digest, init_state
from ganjax.training.step import train_step

__all__ = [
    "Averaged",
    "Keys",
    "Schedule",
    "Setup",
    "check",
    "check_classes",
    "classes_of",
    "digest",
    "draw",
    "drawn_labels",
    "init_state",
    "latest_step",
    "load_state",
    "name_of_weights",
    "population",
    "rejected",
    "simulate",
    "train",
    "train_step",
    "weights_of",
]
