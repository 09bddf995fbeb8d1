"""Convolutions by fewer products: one layer at a time, whole training steps, and sampling, raced in one process.

    python benchmarks/convolutions.py layers [--only 16x16x64] [--rounds 5] [--save]     # PyTorch too, if installed
    python benchmarks/convolutions.py steps --workloads dcgan32 sngan32_s wgangp_res_s [--save]
    python benchmarks/convolutions.py samples --workloads sample_dcgan [--save]

layers   each contraction (y, dx, dw) of the layers below in a compiled loop: by the direct forms of
         `ganjax.layers.convolution`, by those of `ganjax.layers.few_products` and `winograd`, chosen there or not, and
         one call at a time by `jax.lax` (whose derivatives are slow in loops on a CPU) and PyTorch's channels-last
         operators. Milliseconds of the fastest round, GFLOP/s of the plain formulation (zeros of the padding included),
         and the error against float64, relative in norm.
steps    the training step of workloads of speed.py: direct; with fewer products where they are chosen, the pooling and
         doubling that residual networks fold into 4x4 kernels included; and from 128 output channels on alone.
samples  milliseconds per 64 images of `draw`, by latents in a call, and of the plain way: 64 float32 images in a call,
         waited for, made bytes by NumPy.

Everything runs on a GPU as well, if JAX finds one; what the package chooses there is the stock form.
"""

import argparse
import datetime
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import ours
import speed
from tqdm import tqdm
from workloads import SAMPLES, WORKLOADS, data_file

from ganjax.commands import base

Times = dict[str, list[float]]  # contender -> seconds of one call, by round


class Layer(NamedTuple):
    """A convolution of square maps, padded by half of what the kernel has beyond the stride."""

    side: int
    channels: int
    features: int
    kernel: int = 4
    stride: int = 2

    def __str__(self) -> str:
        kind = f"{self.kernel}x{self.kernel}" + (f"/{self.stride}" if self.stride > 1 else "")
        return f"{self.side}x{self.side}x{self.channels} > {self.features}, {kind}"

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """(low, high) of both axes."""
        whole = self.kernel - self.stride
        return ((whole // 2, whole - whole // 2),) * 2


LAYERS = (
    *(Layer(side, channels, 2 * channels) for side, channels in ((32, 32), (32, 64), (16, 32), (16, 64))),
    *(Layer(side, channels, 2 * channels) for side, channels in ((14, 64), (8, 64), (8, 128), (8, 256), (4, 256))),
    *(Layer(side, 64, 64) for side in (32, 16, 8)),  # pooling folded into the last convolution of a block
    *(Layer(side, channels, 64) for side, channels in ((28, 1), (32, 3), (64, 3), (32, 4), (32, 8))),
    *(Layer(32, 3, features) for features in (8, 16, 32, 128)),
    *(Layer(32, 3, 64, kernel, stride) for kernel, stride in ((6, 2), (3, 3))),
    *(Layer(32, channels, 3, kernel, 1) for channels, kernel in ((64, 3), (128, 3), (32, 7), (64, 1))),  # last layers
    *(Layer(32, 3, features, kernel, 1) for features, kernel in ((64, 3), (128, 3), (32, 7), (64, 1))),  # and first
    *(Layer(28, *channels, 3, 1) for channels in ((32, 1), (1, 32))),
    *(Layer(side, channels, channels, 3, 1) for side, channels in ((32, 64), (32, 128), (16, 64), (16, 128))),
    *(Layer(side, channels, channels, 3, 1) for side, channels in ((8, 128), (8, 256), (4, 256), (2, 256))),
)


def race(contenders: dict[str, Callable[[], None]], rounds: int) -> Times:
    """Seconds of every contender in turns, after a call of each."""
    for run in contenders.values():
        run()
    times: Times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return times


def looped(function: Callable, *operands: Any, calls: int) -> Callable[[], None]:
    """`function(*operands)`, called so often in one compiled loop."""
    import jax
    from jax import lax

    @jax.jit
    def loop(operands):
        def body(_, operands):
            result = lax.optimization_barrier(function(*lax.optimization_barrier(operands)))
            one = result.reshape(-1)[:1] * 1e-30  # the next call waits for this one
            first = operands[0].reshape(-1)
            return (first.at[:1].add(one).reshape(operands[0].shape), *operands[1:])

        return lax.fori_loop(0, calls, body, operands)

    return lambda: jax.block_until_ready(loop(operands))


def dispatched(function: Callable, *operands: Any, calls: int) -> Callable[[], None]:
    """`function(*operands)`, so many calls one after another."""
    import jax

    compiled = jax.jit(function)

    def run() -> None:
        for _ in range(calls):
            jax.block_until_ready(compiled(*operands))

    return run


def forms(layer: Layer, x: Any, w: Any, y: Any) -> dict[str, dict[str, tuple[Callable, tuple]]]:
    """Contraction -> contender -> function and operands."""
    import jax
    from jax import lax

    from ganjax.layers import convolution as trio
    from ganjax.layers import few_products, winograd

    strides, padding = (layer.stride,) * 2, layer.padding
    geometry = trio.Geometry.create(x.shape[1:3], w.shape[:2], strides, padding)._replace(few=False)
    stock = partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    found: dict[str, dict[str, tuple[Callable, tuple]]] = {
        "y": {"jax": (stock, (x, w)), "direct": (partial(trio.convolution, geometry=geometry), (x, w))},
        "dx": {
            "jax": (lambda w, y: jax.vjp(lambda x: stock(x, w), x)[1](y)[0], (w, y)),
            "direct": (partial(trio.input_gradient, geometry=geometry), (w, y)),
        },
        "dw": {
            "jax": (lambda x, y: jax.vjp(lambda w: stock(x, w), w)[1](y)[0], (x, y)),
            "direct": (partial(trio.weight_gradient, geometry=geometry), (x, y)),
        },
    }
    if layer.kernel == 2 * layer.stride == 4 and y.shape[1] % 2 == 0 and layer.channels >= 8:
        found["y"]["few"] = partial(few_products.convolution, padding=padding), (x, w)
        found["dx"]["few"] = partial(few_products.input_gradient, padding=padding), (w, y)
        found["dw"]["few"] = partial(few_products.weight_gradient, padding=padding), (x, y)
    elif (layer.kernel, layer.stride) == (3, 1) and min(layer.channels, layer.features) >= 8:
        found["y"]["few"] = partial(winograd.convolution, padding=padding), (x, w)
        found["dx"]["few"] = partial(winograd.input_gradient, padding=padding, x_size=x.shape[1:3]), (w, y)
        found["dw"]["few"] = partial(winograd.weight_gradient, padding=padding), (x, y)
    elif layer.stride == 1 and layer.features <= 4:
        found["y"]["few"] = partial(few_products.convolution_to_few, padding=padding), (x, w)
        found["dw"]["few"] = partial(trio.weight_gradient, geometry=geometry._replace(few=True)), (x, y)
    elif layer.stride == 1 and layer.channels <= 4:
        found["dx"]["few"] = partial(trio.input_gradient, geometry=geometry._replace(few=True)), (w, y)
    elif layer.kernel % layer.stride == 0 and layer.channels <= 8:
        own = {"strides": strides, "padding": padding}
        found["y"]["few"] = partial(few_products.convolution_of_windows, **own), (x, w)
        found["dw"]["few"] = partial(few_products.weight_gradient_of_windows, w_size=w.shape[:2], **own), (x, y)
    return found


def of_torch(layer: Layer, x: Any, w: Any, y: Any, *, calls: int) -> dict[str, Callable[[], None]]:
    """Contraction -> so many calls of PyTorch's; empty where it is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    order = {"x": (0, 3, 1, 2), "w": (3, 2, 0, 1), "y": (0, 3, 1, 2)}
    maps = {
        name: torch.from_numpy(a).permute(order[name]).to(device).contiguous(memory_format=torch.channels_last)
        for name, a in (("x", x), ("w", w), ("y", y))
    }
    x, w, y = (maps[name] for name in "xwy")
    pad = layer.padding[0][0]
    if any(low != high for low, high in layer.padding):
        return {}

    def gradient(mask):
        arguments = (None, [layer.stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, mask)
        return lambda: torch.ops.aten.convolution_backward(y, x, w, *arguments)

    functions = {
        "y": lambda: torch.nn.functional.conv2d(x, w, None, layer.stride, pad),
        "dx": gradient([True, False, False]),
        "dw": gradient([False, True, False]),
    }

    def often(function):
        def run():
            with torch.inference_mode():
                for _ in range(calls):
                    function()
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    return {name: often(function) for name, function in functions.items()}


def measure_layer(layer: Layer, batch: int, rounds: int, calls: int) -> list[dict[str, Any]]:
    """A record for each contraction and contender."""
    import jax
    import numpy as np

    rng = np.random.default_rng(0)
    side = (layer.side + sum(layer.padding[0]) - layer.kernel) // layer.stride + 1
    shapes = (
        (batch, layer.side, layer.side, layer.channels),
        (layer.kernel, layer.kernel, layer.channels, layer.features),
        (batch, side, side, layer.features),
    )
    exact = [rng.standard_normal(shape) for shape in shapes]
    x, w, y = (a.astype(np.float32) for a in exact)
    with jax.enable_x64(True):
        wide = forms(layer, *(jax.numpy.asarray(a, jax.numpy.float64) for a in (x, w, y)))
        expected = {name: np.asarray(jax.jit(of["jax"][0])(*of["jax"][1])) for name, of in wide.items()}
    gigaflop = 2 * batch * side**2 * layer.kernel**2 * layer.channels * layer.features / 1e9
    peer, records = of_torch(layer, x, w, y, calls=calls), []
    for contraction, contenders in forms(layer, *map(jax.numpy.asarray, (x, w, y))).items():
        runs = {
            name: (dispatched if name == "jax" else looped)(function, *args, calls=calls)
            for name, (function, args) in contenders.items()
        }
        if peer:
            runs["torch"] = peer[contraction]
        for name, seconds in race(runs, rounds).items():
            record = {"layer": str(layer), "contraction": contraction, "contender": name}
            record |= {"milliseconds": [1e3 * s / calls for s in seconds]}
            record |= {"gflops": gigaflop * calls / min(seconds)}
            if name in contenders:
                function, args = contenders[name]
                found, target = np.asarray(jax.jit(function)(*args), np.float64), expected[contraction]
                record |= {"error": float(np.linalg.norm(found - target) / np.linalg.norm(target))}
            records.append(record)
    return records


def table_of_layers(records: list[dict[str, Any]]) -> str:
    """The records in Markdown."""
    names = list(dict.fromkeys(r["contender"] for r in records))
    heads = ["layer", "", *(f"{name}: ms, GFLOP/s" for name in names), "direct / few", "error of direct, few"]
    rows = [heads, ["---"] * len(heads)]
    for layer, contraction in dict.fromkeys((r["layer"], r["contraction"]) for r in records):
        own = {r["contender"]: r for r in records if (r["layer"], r["contraction"]) == (layer, contraction)}
        cells = [f"{min(r['milliseconds']):.2f}, {r['gflops']:.0f}" if (r := own.get(name)) else "" for name in names]
        ratio, errors = "", f"{own['direct']['error']:.1e}"
        if "few" in own:
            ratio = f"{min(own['direct']['milliseconds']) / min(own['few']['milliseconds']):.2f}"
            errors += f", {own['few']['error']:.1e}"
        rows.append([layer, contraction, *cells, ratio, errors])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def measure_steps(name: str, folder: Path, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A record for each variant of the training step of a workload."""
    import jax

    from ganjax.layers import few_products
    from ganjax.training import setup as training

    workload, keys, runs = WORKLOADS[name], training.Keys.of(0), {}
    data, chosen = data_file(workload, folder), (few_products.LEAST, few_products.THIN)
    variants = {
        "direct": ((float("inf"),) * 2, 0),
        "few": chosen,
        "few from 64 to 128": ((64, 128), chosen[1]),
    }
    for variant, switches in variants.items():
        few_products.LEAST, few_products.THIN = switches
        setup, config = ours.build(workload, data)
        state = jax.device_get(training.initial_state(setup, 0))
        runs[variant] = ours._training(setup, state, keys, config.chunk)
        runs[variant](1)  # traced while the switches stand
    few_products.LEAST, few_products.THIN = chosen
    once = race({"direct": lambda: runs["direct"](1)}, 1)["direct"][0]
    count = max(1, round(seconds / once))
    times = race({variant: partial(run, count) for variant, run in runs.items()}, rounds)
    return [_record(name, variant, 1e3 / count, seconds) for variant, seconds in times.items()]


def measure_samples(name: str, folder: Path, rounds: int, images: int) -> list[dict[str, Any]]:
    """A record for each way to draw so many images."""
    import jax
    import numpy as np

    from ganjax.kinds import to_bytes
    from ganjax.training import draw, weights_of
    from ganjax.training import setup as training

    workload, keys = WORKLOADS[name], training.Keys.of(0)
    setup, _ = ours.build(workload, data_file(workload, folder))
    state = jax.device_get(training.initial_state(setup, 0))
    draws = setup.sampler()
    weights, sample = jax.device_put(weights_of(setup, state, draws.players)), jax.jit(draws.__call__)

    def plainly() -> None:
        parts = [
            np.asarray(sample(weights, keys.samples, np.arange(start, start + SAMPLES, dtype=np.int32)))
            for start in range(0, images, SAMPLES)
        ]
        to_bytes(np.concatenate(parts)[:images])

    def by(batch: int) -> None:
        own = setup._replace(samplers={"prior": draws._replace(batch=batch)})
        draw(own, state, keys.samples, images)

    ways: dict[str, Callable[[], None]] = {"plain, 64": plainly}
    ways |= {
        f"draw, {batch}{' (chosen)' * (batch == draws.batch)}": partial(by, batch) for batch in (64, 128, 256, 512)
    }
    times = race(ways, rounds)
    return [_record(name, way, 1e3 * SAMPLES / images, seconds) for way, seconds in times.items()]


def _record(workload: str, variant: str, scale: float, seconds: list[float]) -> dict[str, Any]:
    return {"workload": workload, "contender": variant, "milliseconds": [scale * s for s in seconds]}


def table_of_workloads(records: list[dict[str, Any]], what: str) -> str:
    """The records in Markdown; ratios are medians over rounds, to the first contender of each workload."""
    rows = [["workload", "", f"ms per {what}, median (range)", "first / this"], ["---"] * 4]
    for r in records:
        base = next(one for one in records if one["workload"] == r["workload"])["milliseconds"]
        own = r["milliseconds"]
        ratio = median(a / b for a, b in zip(base, own, strict=True))
        spread = f"{median(own):.3g} ({min(own):.3g} to {max(own):.3g})"
        rows.append([r["workload"], r["contender"], spread, f"{ratio:.2f}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("layers", "steps", "samples"))
    parser.add_argument("--rounds", type=int, default=5, help="times that every contender is measured (default 5)")
    parser.add_argument("--batch", type=int, default=64, help="of layers (default 64)")
    parser.add_argument("--calls", type=int, default=10, help="of a layer in one measurement (default 10)")
    parser.add_argument("--only", default="", help="layers whose name holds this, such as 16x16x64")
    parser.add_argument("--seconds", type=float, default=2, help="of steps in one measurement (default 2)")
    parser.add_argument("--images", type=int, default=5120, help="drawn in one measurement (default 5120)")
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), help="of speed.py")
    parser.add_argument("--save", action="store_true", help="keep numbers and table in benchmarks/results")
    args = parser.parse_args()
    base.prepare_jax()
    import jax

    gpu = jax.default_backend() != "cpu"
    if gpu:
        jax.config.update("jax_default_matmul_precision", "float32")  # no TF32, as in PyTorch
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.what == "layers":
            for layer in tqdm([layer for layer in LAYERS if args.only in str(layer)], file=sys.stderr):
                records += measure_layer(layer, args.batch, args.rounds, args.calls)
            markdown = table_of_layers(records)
        elif args.what == "steps":
            for title in args.workloads or ("dcgan28", "dcgan32", "sngan32_s", "wgangp_res_s"):
                records += measure_steps(title, folder, args.rounds, args.seconds)
            markdown = table_of_workloads(records, "step")
        else:
            for title in args.workloads or ("sample_dcgan",):
                records += measure_samples(title, folder, args.rounds, args.images)
            markdown = table_of_workloads(records, f"{SAMPLES} images")
    device = jax.devices()[0].device_kind if gpu else speed.processor(len(os.sched_getaffinity(0)))
    report = {
        "date": datetime.date.today().isoformat(),
        "device": device,
        "versions": {package: speed._version(package) for package in ("jax", "jaxlib", "torch")},
        "settings": {key: getattr(args, key) for key in ("what", "rounds", "batch", "calls", "seconds", "images")},
        "runs": records,
    }
    versions = ", ".join(f"{package} {number}" for package, number in report["versions"].items())
    markdown = f"{report['date']}, {device}; {versions}; float32, {args.rounds} rounds.\n\n{markdown}"
    print(markdown)
    if args.save:
        print(f"\n{speed.save(report, markdown, f'convolutions-{args.what}')}")


if __name__ == "__main__":
    main()
