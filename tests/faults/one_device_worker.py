"""A child process of test_values.py: four devices, one of which meets a value that is not finite in step 2 of 4.

python one_device_worker.py DEVICE exits with 0 if all four reject that step and stay bit for bit the same.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax.core import Game, Outcome, global_index
from ganjax.dynamics import alternating, ema
from ganjax.training import Averaged, init_state, parallel, train_step


def main(device: int) -> None:
    assert jax.device_count() == 4
    axis = parallel.axis_name()

    def cost(params, net_state, batch, key):
        mine = global_index(2, axis) % 4 == device
        bad = jnp.where(mine.any() & (net_state["one"]["seen"] == 2), jnp.nan, 0.0)
        value = jnp.square(params["one"] - batch).mean() + bad * params["one"].sum()
        seen = jax.lax.pmean(net_state["one"]["seen"] + 1, axis)
        return value, Outcome({"seen": seen}, {})

    game = Game(lambda key, batch: ({"one": jnp.ones(3)}, {"one": {"seen": jnp.zeros(())}}), {"one": cost})
    dynamics = alternating({"one": optax.adam(0.1)}, axis_name=axis)
    averages = {"ema": Averaged("one", ema(0.9))}
    step = jax.pmap(train_step(game, dynamics, averages, axis_name=axis), axis, in_axes=(0, 0, None))
    state = parallel.replicate(jax.device_get(init_state(game, dynamics, jax.random.key(0), None, averages)))
    batch = jnp.arange(4.0)[:, None, None] * jnp.ones((4, 2, 3))
    for k in range(4):
        before = state
        state, metrics = step(state, batch, jax.random.key(1))
        rejected = k >= 2  # the counter in the state does not move either, so that the value comes again
        assert (np.asarray(metrics["finite"]) == (not rejected)).all(), f"step {k}: {metrics['finite']}"
        for leaf in jax.tree.leaves(state):
            copies = np.asarray(leaf)
            assert all(np.array_equal(copies[0], copy) for copy in copies), "the devices differ"
        same = jax.tree.map(lambda a, b: np.array_equal(a, b), state.params, before.params)
        assert jax.tree.all(same) == rejected
    assert np.asarray(state.skipped).tolist() == [2] * 4


if __name__ == "__main__":
    main(int(sys.argv[1]))
