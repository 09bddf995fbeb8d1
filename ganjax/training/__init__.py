"""Training: a game, a dynamics and data, from a seed to a run directory."""

from ganjax.training.loop import Keys, Schedule, Setup, check, load_state, train
from ganjax.training.sampling import draw, weights_of
from ganjax.training.simulate import simulate
from ganjax.training.state import Averaged, digest, init_state
from ganjax.training.step import train_step

__all__ = [
    "Averaged",
    "Keys",
    "Schedule",
    "Setup",
    "check",
    "digest",
    "draw",
    "init_state",
    "load_state",
    "simulate",
    "train",
    "train_step",
    "weights_of",
]
