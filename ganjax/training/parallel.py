"""The only module that knows about devices: `pmap` over those of one process or of many.

Without a second device everything is a plain `jit`. With n devices the global batch is dealt like cards: device d
takes the examples d, d + n, d + 2n, ... of each step. So every contiguous slice of the global batch (a turn of an
alternating dynamics) is shared evenly too, and its example i sees the noise of i wherever it is computed.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ganjax.core import PyTree
from ganjax.errors import ConfigError, GanjaxError, reason

AXIS = "data"
HEARTBEAT = 30  # seconds after which a silent process counts as dead, and ends the others


AUTO = "auto"  # the coordinator that a launcher knows


def join(coordinator: str, process_count: int = 1, process_id: int = 0) -> None:
    """Join a run of several processes; call it before any other use of JAX.

    Args:
        coordinator: `host:port` of process 0, the same for all; or "auto", where the launcher (SLURM, Open MPI, a TPU
            pod, Kubernetes) says in the environment who is who.
        process_count: how many processes there are.
        process_id: which one this is, from 0.

    Raises:
        ConfigError: no launcher is found, or the others cannot be reached.
    """
    names = ("coordinator_address", "num_processes", "process_id")
    told = {} if coordinator == AUTO else dict(zip(names, (coordinator, process_count, process_id), strict=True))
    initialize: Callable = jax.distributed.initialize
    try:
        initialize(**told, heartbeat_timeout_seconds=HEARTBEAT)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        if coordinator == AUTO:
            raise ConfigError(
                f"--coordinator auto cannot find the other processes ({reason(error)}); start them with SLURM's srun, "
                "Open MPI's mpirun, on a TPU pod or in a Kubernetes job, or give --coordinator HOST:PORT, "
                "--process-count and --process-id"
            ) from error
        raise ConfigError(f"process {process_id} cannot join --coordinator {coordinator}: {reason(error)}") from error


def axis_name() -> str | None:
    """The mapped axis to average over: None on one device."""
    return AXIS if jax.device_count() > 1 else None


def is_primary() -> bool:
    """Whether this process writes the run directory."""
    return jax.process_index() == 0


def on_primary(act: Callable[[], None]) -> None:
    """Do something on process 0 alone; if it fails there, every process raises, and none waits for another."""
    error = None
    if is_primary():
        try:
            act()
        except (GanjaxError, OSError) as caught:
            error = caught
    if jax.process_count() > 1:
        failed = multihost_utils.broadcast_one_to_all(np.int32(error is not None))
        if failed and error is None:
            error = ConfigError("process 0 refused to start; its message says why")
    if error is not None:
        raise error


def from_primary(value: float) -> float:
    """The number that process 0 has, rounded to float32, on every process."""
    value32 = np.float32(value)
    return float(value32 if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(value32))


def any_process(condition: bool) -> bool:
    """Whether it holds on any process; all must ask."""
    if jax.process_count() == 1:
        return condition
    return bool(multihost_utils.process_allgather(np.int32(condition)).any())


def check_batch(batch_size: int, parts: int = 1, group: int = 1) -> None:
    """Raise `ConfigError` unless the devices share the batch evenly, and each cuts it into micro-batches of groups."""
    if batch_size % jax.device_count():
        raise ConfigError(
            f"a batch of {batch_size} examples per step cannot be shared by {jax.device_count()} devices; "
            f"use a multiple of {jax.device_count()} for --batch-size"
        )
    share = batch_size // jax.device_count()
    if share % parts:
        raise ConfigError(
            f"the {share} examples of a device cannot be divided into {parts} micro-batches; use a multiple of "
            f"{jax.device_count() * parts} for --batch-size, or another --accumulate"
        )
    if share % (parts * group):
        raise ConfigError(
            f"the {share // parts} examples that a device judges at a time cannot be divided into packs of {group}; "
            f"use a multiple of {jax.device_count() * parts * group} for --batch-size, or smaller packs or groups"
        )


def compiled(function: Callable) -> Callable:
    """Compile `(state, data, positions, key, i) -> (state, ...)`, donating the state."""
    if jax.device_count() == 1:
        return jax.jit(function, donate_argnums=0)
    return jax.pmap(function, AXIS, in_axes=(0, 0, 0, None, None), donate_argnums=0)


def replicate(tree: PyTree) -> PyTree:
    """Place a host tree on every local device."""
    if jax.device_count() == 1:
        return jax.device_put(tree)
    return jax.tree.map(lambda leaf: _per_device(np.stack([leaf] * jax.local_device_count())), tree)


def fetch(tree: PyTree) -> PyTree:
    """The host copy (NumPy) of a replicated tree, from one local device.

    Always a copy: on a CPU the plain view would share memory with a buffer that the next step is given to reuse.
    """
    if jax.device_count() == 1:
        return jax.tree.map(np.array, tree)
    return jax.tree.map(lambda leaf: np.array(leaf.addressable_shards[0].data)[0], tree)


def deal(positions: np.ndarray) -> jax.Array:
    """Deal the global batch to this process's devices.

    Args:
        positions: [steps, batch] integers, the same on every process.

    Returns:
        [steps, batch] on one device, else [local devices, steps, batch / devices].
    """
    return place(shares(positions))


def shares(positions: np.ndarray) -> np.ndarray:
    """[steps, batch] to [local devices, steps, batch / devices] on the host: what each of this process's is dealt."""
    everyone = jax.devices()
    mine = [everyone.index(device) for device in jax.local_devices()]
    return np.stack([positions[:, first :: len(everyone)] for first in mine])


def place(shares: np.ndarray) -> jax.Array:
    """Row i of [local devices, ...] on local device i; on a single device without that axis."""
    return jnp.asarray(shares[0]) if jax.device_count() == 1 else _per_device(shares)


def _per_device(rows: np.ndarray) -> jax.Array:
    """Row i on local device i, placed as `pmap` places its results, so that it compiles once."""
    sharding = NamedSharding(Mesh(np.array(jax.devices()), (AXIS,)), PartitionSpec(AXIS))
    return jax.make_array_from_process_local_data(sharding, rows)


def shared(function: Callable, weights: PyTree, size: int) -> tuple[Callable, int]:
    """`x [size, ...] -> function(weights, x)`, the examples shared by this process's devices.

    Other processes take no part in it, so that the primary one can judge by itself.

    Args:
        function: `(weights, x [B, ...]) -> tree of [B, ...]`, of each example by itself.
        weights: a host tree, placed on every local device once.
        size: the examples of a call.

    Returns:
        The compiled function, and `size` rounded up to a multiple of the devices.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return partial(jax.jit(function), jax.device_put(weights)), size
    rows = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))
    weights = jax.tree.map(lambda leaf: jax.device_put(np.stack([leaf] * len(devices)), rows), weights)
    mapped = jax.pmap(function, AXIS, devices=devices)

    def apply(x: np.ndarray) -> PyTree:
        outputs = mapped(weights, x.reshape(len(devices), -1, *x.shape[1:]))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), outputs)

    return apply, -(-size // len(devices)) * len(devices)
