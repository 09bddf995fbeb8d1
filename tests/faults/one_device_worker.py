"""A child process of test_values.py: four devices, one of which meets a value that is not finite in step 2 of 4.

python one_device_worker.py DEVICE exits with 0 if all four reject that step and stay bit for bit the same, step by step
and in one chunk, also where only that device sees the value.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax.core import Batch, Game, Outcome, global_index
from ganjax.dynamics import alternating, ema
from ganjax.training import Averaged, init_state, parallel, train_step
from ganjax.training.chunk import compile_chunk
from ganjax.training.step import unguarded_step


def main(device: int) -> None:
    assert jax.device_count() == 4
    axis = parallel.axis_name()

    def cost(params, moment):
        mine = global_index(2, axis) % 4 == device
        bad = jnp.where(mine.any() & (moment.net_state["one"]["seen"] == 2), jnp.nan, 0.0)
        value = jnp.square(params["one"] - batch.x).mean() + bad * params["one"].sum()
        seen = jax.lax.pmean(moment.net_state["one"]["seen"] + 1, axis)
        return value, Outcome({"seen": seen}, {})

    game = Game(lambda key, batch: ({"one": jnp.ones(3)}, {"one": {"seen": jnp.zeros(())}}), {"one": cost})
    dynamics = alternating({"one": optax.adam(0.1)}, axis_name=axis)
    averages = {"ema": Averaged("one", ema(0.9))}
    step = jax.pmap(train_step(game, dynamics, averages, axis_name=axis), axis, in_axes=(0, 0, None))
    start = jax.device_get(init_state(game, dynamics, jax.random.key(0), None, averages))
    state, x = parallel.replicate(start), np.arange(8.0, dtype=np.float32)[:, None] % 4 * np.ones((8, 3), np.float32)
    batch = Batch(x.reshape(2, 4, 3).swapaxes(0, 1), None, None)
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
    data, rows = (
        parallel.replicate({"data": {"x": x}}),
        {"data": parallel.deal(np.arange(8, dtype=np.int32)[None].repeat(4, 0))},
    )
    move = unguarded_step(game, dynamics, averages)

    def collate(data, rows, key):
        return Batch(data["data"]["x"][rows["data"]], None, None)

    def alone(state, batch, key):
        """Nothing but one device's parameters tells, and nothing averages them."""
        new, metrics = move(state, batch, key)
        bad = jnp.where((jax.lax.axis_index(axis) == device) & (state.step % 3 == 1), jnp.inf, 0.0)
        return new.replace(params={"one": new.params["one"] + bad}), metrics

    for one, rejected in (
        (move, [2, 3]),
        (alone, [1, 3]),
    ):  # 1; then the counter reaches 2, so that step 3 is as before
        end, metrics = compile_chunk(one, collate, scan=True, length=4)(
            parallel.replicate(start), data, rows, jax.random.key(1), 4
        )
        finite = np.asarray(metrics["finite"])
        assert (finite == [float(k not in rejected) for k in range(4)]).all(), finite
        assert np.asarray(end.skipped).tolist() == [2] * 4
        for got, expected in zip(jax.tree.leaves(end), jax.tree.leaves(state), strict=True):
            copies = np.asarray(got)
            assert all(np.array_equal(copies[0], copy) for copy in copies), "the devices differ"
            assert one is alone or np.array_equal(copies, expected), "a chunk is not its steps"


if __name__ == "__main__":
    main(int(sys.argv[1]))
