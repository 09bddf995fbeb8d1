"""The scaling law on paper: what each recipe computes and all-reduces in a step, and how long that takes on 1 to 1,024
accelerators; held against this machine by --measure.

.venv/bin/python scripts/scaling.py                                  # Markdown tables, for an H100 cluster
.venv/bin/python scripts/scaling.py --machine tpu_v4 --plot law.png
.venv/bin/python scripts/scaling.py --recipes dcgan vanilla_gan --measure --devices 1 2 4   # held against this machine
"""

import argparse
import dataclasses
import importlib.util
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
COUNTS = tuple(2**k for k in range(11))
SHAPES = {  # of sets that are far
    "tfds:mnist": ((28, 28, 1), 10),
    "tfds:cifar10": ((32, 32, 3), 10),
    "stacked:tfds:mnist": ((28, 28, 3), 1000),
}


@dataclasses.dataclass(frozen=True)
class Machine:
    """What an accelerator and its network can do. Figures of data sheets, not measured here, but for `latency`."""

    name: str
    rate: float  # FLOP/s of the number format in use, at best
    memory: float  # bytes/s
    launch: float  # s, that a kernel takes however small it is
    node: int  # accelerators that the fast links join
    near: float  # bytes/s, each way, of one accelerator within its node
    far: float  # and beyond it
    latency_near: float  # s, of one message within the node; an assumption
    latency_far: float  # and beyond it


MACHINES = {
    # NVIDIA H100 SXM: 494 TFLOP/s dense TF32, which is what float32 products are; 3.35 TB/s; NVLink 450 GB/s each way;
    # one 400 Gb/s InfiniBand port each.
    "h100": Machine("h100", 494e12, 3.35e12, 4e-6, 8, 450e9, 50e9, 2e-6, 5e-6),
    "h100_bf16": Machine("h100_bf16", 989e12, 3.35e12, 4e-6, 8, 450e9, 50e9, 2e-6, 5e-6),
    # Google TPU v4: 275 TFLOP/s bfloat16, 1.2 TB/s, six links of 50 GB/s in a torus, two of which a ring uses.
    "tpu_v4": Machine("tpu_v4", 275e12, 1.2e12, 2e-6, 4096, 100e9, 100e9, 1e-6, 1e-6),
}


class Recipe(NamedTuple):
    """What one step of an experiment needs, on a device that takes the whole batch."""

    name: str
    batch: int  # examples of a turn
    parameters: dict[str, int]  # of each player
    turns: int  # slices of data that a step consumes
    flops: float
    products: int
    bytes_of_products: float
    state: float  # bytes: parameters, optimisers, averages
    leaves: int  # arrays of parameters, each a kernel of an optimiser
    reduced: float  # bytes that are summed over the devices
    rounds: int  # sums that wait for each other


def step_seconds(recipe: Recipe, machine: Machine, devices: int, utilisation: float, *, weak: bool) -> float:
    """Time of a step on n devices: products, by arithmetic or memory, updates, launches, sums over devices.

        max(F s / (rate u), B s / memory) + 2 S / memory + K launch + T_sum,   s = 1 if weak, else 1/n

    F FLOP and B bytes of the factors and results of all products of a batch, S bytes of state, which is read and
    written once, K = 2 kernels for each product and one for each array of parameters.
    """
    share = 1.0 if weak else 1 / devices
    arithmetic = recipe.flops * share / (machine.rate * utilisation)
    products = max(arithmetic, recipe.bytes_of_products * share / machine.memory)
    update = 2 * recipe.state / machine.memory
    kernels = (2 * recipe.products + recipe.leaves) * machine.launch
    return products + update + kernels + sum_seconds(recipe.reduced, recipe.rounds, machine, devices)


def sum_seconds(size: float, rounds: int, machine: Machine, devices: int) -> float:
    """Of `rounds` all-reduces with `size` bytes together (alpha-beta model): within the node, then between nodes.

        rounds * 2 log2(n) alpha + 2 (n - 1) / n * size / beta

    Each of k nodes reduces within itself first, so that the slow links carry the bytes of one of m devices.
    """
    inside = min(devices, machine.node)
    nodes = devices // inside
    latency = 2 * (math.log2(inside) * machine.latency_near + math.log2(nodes) * machine.latency_far)
    near = 2 * (inside - 1) / inside * size / machine.near
    far = 2 * (nodes - 1) / nodes * size / inside / machine.far
    return rounds * latency + near + far


def experiments() -> dict[str, Any]:
    """Those that train networks, by name."""
    found = {}
    for path in sorted((ROOT / "experiments").glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        sys.modules[path.stem] = module  # dataclasses look their module up
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        if module.EXPERIMENT.build:
            found[path.stem] = module.EXPERIMENT
    return found


def data_of(config: Any) -> Any:
    """The data set of a config, or two examples of its shape where it is not at hand."""
    from ganjax.data import load, stand_in
    from ganjax.errors import GanjaxError

    try:
        return load(config.data, config.data_dir)
    except GanjaxError:
        shape, classes = SHAPES[config.data]
        return stand_in({"name": config.data, "shape": shape, "classes": classes, "class_names": None}, "")


def as_on_accelerators() -> None:
    """Count the convolutions that accelerators run, wherever they are counted: a CPU has forms of its own."""
    from ganjax.layers import convolution
    from ganjax.models import r3gan

    convolution.use_trio = r3gan.use_trio = lambda: False  # type: ignore[assignment]


def recipe_of(experiment: Any, config: Any) -> Recipe:
    """Counted on the program of a step; nothing runs."""
    import jax

    from ganjax.training.flops import step_flops, step_load
    from ganjax.training.setup import state_shapes

    data = data_of(config)
    alone, shared = (experiment.build(config, lambda name: data, axis) for axis in (None, "data"))
    state, one, two = state_shapes(alone), step_load(alone), step_load(shared, "data", 2)

    def size(tree: Any) -> int:
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    return Recipe(
        name=experiment.name,
        batch=sum(stream.batch_size for stream in alone.played.values()),
        parameters={player: sum(x.size for x in jax.tree.leaves(tree)) for player, tree in state.params.items()},
        turns=alone.dynamics.slices,
        flops=step_flops(alone),
        products=one.products,
        bytes_of_products=one.bytes_of_products,
        state=size(state),
        leaves=len(jax.tree.leaves(state.params)),
        reduced=two.bytes_reduced,
        rounds=two.rounds,
    )


def markdown(rows: list[list[str]]) -> str:
    """Rows as a Markdown table, the first one its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def needs(recipes: list[Recipe]) -> str:
    """What a step of each recipe needs."""
    rows = [["recipe", "batch", "turns", "parameters", "GFLOP", "products", "MB of products", "MB reduced", "rounds"]]
    for r in recipes:
        parameters = ", ".join(f"{player[0].upper()} {count:,}" for player, count in r.parameters.items())
        rows.append([r.name, str(r.batch), str(r.turns), parameters, f"{r.flops / 1e9:,.2f}", str(r.products),
                     f"{r.bytes_of_products / 1e6:,.1f}", f"{r.reduced / 1e6:,.2f}", str(r.rounds)])  # fmt: skip
    return markdown(rows)


def law(recipes: list[Recipe], machine: Machine, utilisation: float, *, weak: bool) -> str:
    """Milliseconds of a step and efficiency, over the number of accelerators."""
    rows = [["recipe", *map(str, COUNTS)]]
    for r in recipes:
        alone, cells = step_seconds(r, machine, 1, utilisation, weak=weak), []
        for n in COUNTS:
            if not weak and r.batch % n:
                cells.append("-")
                continue
            took = step_seconds(r, machine, n, utilisation, weak=weak)
            cells.append(f"{1e3 * took:.3g} ({100 * alone / took / (1 if weak else n):.0f} %)")
        rows.append([r.name, *cells])
    return markdown(rows)


def assumptions(machine: Machine, utilisation: float) -> str:
    """What the tables rest on."""
    m = machine
    return "\n".join(
        [
            f"Assumptions, machine `{m.name}` (data sheets and guesses; nothing here was measured on it):",
            "",
            f"- {m.rate / 1e12:g} TFLOP/s at best, of which {100 * utilisation:g} % are reached; "
            f"{m.memory / 1e12:g} TB/s of memory. A product takes the longer of its arithmetic and its bytes; the "
            "state is read and written once; nothing else overlaps.",
            f"- A kernel takes at least {1e6 * m.launch:g} us; 2 kernels for a product, one for an optimiser's array.",
            f"- {m.node} accelerators in a node, joined by {m.near / 1e9:g} GB/s each way; {m.far / 1e9:g} GB/s each "
            f"beyond; {1e6 * m.latency_near:g} and {1e6 * m.latency_far:g} us for a "
            "message, 2 log2(n) messages for a sum.",
            "- Sums over devices: ring bandwidth 2 (n - 1) / n, first in the node, then between nodes. Those that no "
            "other waits for are merged; their bytes are those of gradients, BatchNorm statistics and metrics.",
            "- Weak: the batch of the table on each accelerator. Strong: the batch of the table shared by all.",
        ]
    )


def measured(experiment: Any, config: Any, chunks: int) -> dict[str, Any]:
    """What `profile` measures in the loop of `train`, on the devices that there are; steps are medians over chunks."""
    from ganjax import profile
    from ganjax.training import Schedule, parallel

    setup = experiment.build(config, lambda name: data_of(config), parallel.axis_name())
    steps = max(2, min(10, config.chunk))
    schedule = Schedule(steps * (chunks + 1), log_every=steps, sample_every=10**6, checkpoint_every=10**6, chunk=steps)
    with tempfile.TemporaryDirectory() as workdir:
        return profile.measure(setup, Path(workdir), seed=0, schedule=schedule, rates={"matmul float32": 1.0})


def memory_rate() -> float:
    """Bytes/s of this machine's memory, by reading and writing 64 MiB."""
    import jax
    import jax.numpy as jnp

    x = jnp.zeros(2**24, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        copy(x).block_until_ready()
        times.append(time.perf_counter() - began)
    return 2 * x.nbytes / min(times)


def forced_seconds(recipe: Recipe, machine: Machine, devices: int, utilisation: float) -> float:
    """Of a step on n devices that share the cores and the memory of one: the work of the whole batch, n updates, and
    sums that read and write n copies."""
    copies = 2 * recipe.state * (devices - 1) + (2 * recipe.reduced * devices if devices > 1 else 0)
    return step_seconds(recipe, machine, 1, utilisation, weak=True) + copies / machine.memory


def compare(names: list[str], counts: list[int], utilisation: float, chunks: int) -> str:
    """Predicted beside measured: each count of forced CPU devices in a process of its own."""
    from ganjax.profile import measured_rates

    chosen = {name: experiment for name, experiment in experiments().items() if name in names}
    rates, memory, took = measured_rates(), memory_rate(), {}
    for name in chosen:
        for count in counts:
            flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
            command = [sys.executable, __file__, "--child", name, "--chunks", str(chunks)]
            environment = os.environ | ({"XLA_FLAGS": flags} if count > 1 else {})
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            took[name, count] = float(done.stdout.split()[-1])
        # Others may use the machine too: the best that it was seen to do, between the runs.
        rates = {kind: max(rate, rates[kind]) for kind, rate in measured_rates().items()}
        memory = max(memory, memory_rate())
    rate = max(found for kind, found in rates.items() if kind.endswith("float32"))
    machine = Machine("this", rate, memory, 5e-6, 1, 1, 1, 0, 0)  # one node, no links
    rows = [["recipe", "devices", "predicted ms", "measured ms", "predicted / measured"]]
    for name, experiment in chosen.items():
        recipe = recipe_of(experiment, experiment.config)
        for count in counts:
            t, found = forced_seconds(recipe, machine, count, utilisation), took[name, count]
            rows.append([name, str(count), f"{1e3 * t:.1f}", f"{1e3 * found:.1f}", f"{t / found:.2f}"])
    shown = ", ".join(f"{kind} {found / 1e9:.1f}" for kind, found in rates.items())
    head = (
        f"This machine, measured: GFLOP/s {shown}; memory {memory / 1e9:.1f} GB/s. Assumed: "
        f"{100 * utilisation:g} % of the best float32 rate, 5 us for a kernel; forced devices share cores and memory."
    )
    return f"{head}\n\n{markdown(rows)}"


def plot(recipes: list[Recipe], machine: Machine, utilisation: float, path: Path) -> None:
    """Efficiency over the number of accelerators, weak and strong."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, weak in zip(axes, (True, False), strict=True):
        for r in recipes:
            counts = [n for n in COUNTS if weak or not r.batch % n]
            alone = step_seconds(r, machine, 1, utilisation, weak=weak)
            took = [step_seconds(r, machine, n, utilisation, weak=weak) * (1 if weak else n) for n in counts]
            axis.plot(counts, [alone / t for t in took], "o-", label=r.name)
        axis.set(
            xscale="log", xlabel="accelerators", title="weak scaling" if weak else "strong scaling", ylim=(0, 1.05)
        )
        axis.set_xscale("log", base=2)
    axes[0].set_ylabel(f"efficiency, predicted ({machine.name})")
    axes[0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", choices=sorted(MACHINES), default="h100")
    for field in dataclasses.fields(Machine)[1:]:
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=field.type, help=f"instead of the {field.name} of --machine")  # fmt: skip  # noqa: E501
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of the rate that products reach")
    parser.add_argument("--recipes", nargs="+", help="which experiments; all that train by default")
    parser.add_argument("--plot", type=Path, help="write a figure, .png")
    parser.add_argument("--measure", action="store_true", help="predicted and measured on this machine, no tables")
    parser.add_argument("--devices", type=int, nargs="+", default=[1], help="forced CPU devices for --measure")
    parser.add_argument("--chunks", type=int, default=3, help="chunks of up to 10 steps for --measure")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    known = experiments()
    if options.child:
        experiment = known[options.child]
        print(measured(experiment, experiment.config, options.chunks)["step_seconds"])
        return
    names = options.recipes or list(known)
    if options.measure:
        print(compare(names, options.devices, options.utilisation, options.chunks))
        return
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(Machine)[1:]}
    machine = dataclasses.replace(
        MACHINES[options.machine], **{name: value for name, value in given.items() if value is not None}
    )
    as_on_accelerators()
    recipes = []
    for name in names:
        try:
            recipes.append(recipe_of(known[name], known[name].config))
        except Exception as error:  # of one recipe, which leaves the others
            print(f"{name} is left out: {type(error).__name__}: {error}", file=sys.stderr)
    print(assumptions(machine, options.utilisation), needs(recipes), sep="\n\n")
    for weak in (True, False):
        title = "Weak scaling" if weak else "Strong scaling"
        print(f"\n{title}, ms for a step (efficiency), over accelerators:\n")
        print(law(recipes, machine, options.utilisation, weak=weak))
    if options.plot:
        plot(recipes, machine, options.utilisation, options.plot)
        print(f"\n{options.plot}")


if __name__ == "__main__":
    main()
