"""What the process that others are forked from has imported and done once, short of a device of JAX."""

import gc
import runpy
from pathlib import Path

import flax.linen  # noqa: F401
import jax
import jaxlib.mlir.dialects.mhlo  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import orbax.checkpoint  # noqa: F401
import sklearn.datasets  # noqa: F401
import tensorboardX  # noqa: F401

import ganjax.gallery
import ganjax.games
import ganjax.models
import ganjax.recipe
import ganjax.report  # noqa: F401
from ganjax import config, launch
from ganjax.data import load
from ganjax.training import setup, train_step

# tyro, Flax and JAX keep what they have found out about classes, layers and functions.
_vanilla = runpy.run_path(str(Path(__file__).parents[1] / "experiments" / "vanilla_gan.py"))["EXPERIMENT"]
_words = ["train", "--workdir", "run", "--data", "ring", "--latent", "8"]
_setup = _vanilla.build(
    config.parse(launch._commands(_vanilla, smoke=True), _words, prog="", description="").config, load, None
)


def _step(state, data, rows):
    batch, key = setup.collate(_setup, data, rows, jax.random.key(0)), jax.random.key(0)
    return train_step(_setup.game, _setup.dynamics, _setup.averages)(state, batch, key)


def _traced():
    """Inside of a trace even a key is no array on a device: after a fork there may be none."""
    return len(jax.eval_shape(_step, setup.state_shapes(_setup), *setup.batch_shapes(_setup)))


jax.eval_shape(_traced)
gc.freeze()
