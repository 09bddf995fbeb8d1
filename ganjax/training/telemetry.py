"""What is logged of a state now and then, beside the metrics of every step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.core import GameState, Metrics, Moment
from ganjax.dynamics.field import View, dot
from ganjax.training import parallel
from ganjax.training.setup import Keys, Setup, arrays, collate

# It runs once in hundreds of steps: compiling it quickly is what counts.
_QUICK_COMPILE = {"xla_backend_optimization_level": 0}


def telemetry(setup: Setup) -> Callable[[GameState], Metrics]:
    """The gradients' lengths and whatever the setup itself wants to see, compiled, of a state on the host."""
    own = setup.telemetry or (lambda state: {})
    gradients = gradient_norms(setup)
    return jax.jit(lambda state: gradients(state) | own(state), compiler_options=_QUICK_COMPILE)


def gradient_norms(setup: Setup) -> Callable[[GameState], Metrics]:
    """`|grad_i c|` of each cost c in the parameters of its player i, on the first examples of the data.

    The noise is the same every time. The examples are as many as a device takes of a batch, so that it takes no more
    memory than a step.

    Returns:
        `state -> {"<cost>/gradient": scalar}`.
    """
    axis_name = parallel.axis_name()
    devices = 1 if axis_name is None else jax.device_count()
    rows = {name: np.arange(min(len(s.dataset.x_train), s.batch_size // devices)) for name, s in setup.played.items()}
    data = {name: jax.tree.map(lambda x, own=rows[name]: x[own], own) for name, own in arrays(setup).items()}
    key = Keys.of(0).steps

    def measure(state: GameState) -> Metrics:
        moment = Moment(state.net_state, collate(setup, data, rows, key), key, state.step)
        view = View(setup.game, moment)
        slopes = {name: view.field(state.params, (name,)).gradients for name in setup.game.costs}
        return {f"{name}/gradient": jnp.sqrt(dot(slope, slope)) for name, slope in slopes.items()}

    if axis_name is None:
        return measure
    # The networks average over the devices' axis: here it has one device, which sees them all.
    one = jax.vmap(measure, axis_name=axis_name, axis_size=1, in_axes=None)
    return lambda state: jax.tree.map(lambda value: value[0], one(state))
