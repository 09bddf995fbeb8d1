"""Speed of the FID's Inception on a CPU, ganjax against pytorch-fid, interleaved in one run.

    python benchmarks/inception.py --rounds 5 --batch 16 [--threads 2]

Needs PyTorch and pytorch-fid (pip install torch torchvision pytorch-fid). All contenders take the same uint8 images of
32x32x3 to 2,048 features with the same random weights, and agree before they are timed:

    ganjax          `fid_inception`'s apply under jit, with the convolution flag that `launch` sets
    torch eager     pytorch-fid's `InceptionV3` as its command line calls it, in inference mode
    torch tuned     the same, channels-last
    torch compiled  tuned, through torch.compile; takes minutes to start, and is left out with a note where that fails

Rates are medians (range) over rounds of one batch after a warm-up; the ratio is the median of that within a round.
"""

import argparse
import copy
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


def create_torch(threads: int) -> tuple[dict[str, Callable], dict[str, np.ndarray]]:
    """Name -> (images -> features) of PyTorch's variants, and the state that they share."""
    import pytorch_fid.inception as original
    import torch

    torch.set_num_threads(threads)
    published, torch.nn.Module.load_state_dict = torch.nn.Module.load_state_dict, lambda *_, **__: None
    original.load_state_dict_from_url = lambda *_, **__: None  # no download: the weights are filled below
    inception = original.fid_inception_v3()
    torch.nn.Module.load_state_dict = published
    made = runpy.run_path(str(ROOT / "tests" / "evaluation" / "make_references.py"))
    shapes = {name: tuple(t.shape) for name, t in inception.state_dict().items() if "num_batches" not in name}
    state = made["random_state"](shapes)
    inception.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, strict=False)
    original.fid_inception_v3 = lambda: inception
    eager = original.InceptionV3().eval()
    tuned = copy.deepcopy(eager).to(memory_format=torch.channels_last)

    def run(net, layout=torch.channels_last):
        def features(images):
            x = torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous(memory_format=layout) / 255
            with torch.inference_mode():
                return net(x)[0].flatten(1).numpy()

        return features

    return {
        "torch eager": run(eager, torch.contiguous_format),
        "torch tuned": run(tuned),
        "torch compiled": run(torch.compile(tuned)),
    }, state


def create_ganjax(state: dict[str, np.ndarray]) -> Callable:
    """Images -> features, with PyTorch's state."""
    from ganjax.commands import base

    base.prepare_jax()
    import jax
    from safetensors.numpy import save_file

    from ganjax.evaluation import fid_inception

    converter = runpy.run_path(str(ROOT / "scripts" / "convert_weights.py"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.safetensors"
        save_file(converter["convert"]("inception", state), path)
        extractor = fid_inception(path)
    apply = jax.jit(extractor.apply)
    return lambda images: np.asarray(apply(extractor.weights, images).features)


def main() -> None:
    """Compare, measure in turns, print."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="times that every contender is measured (default 5)")
    parser.add_argument("--batch", type=int, default=16, help="images in a batch (default 16)")
    parser.add_argument("--threads", type=int, default=cores, help="cores that a contender may use (default: all)")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds: for a machine that others use too")
    parser.add_argument("--without-compiled", action="store_true", help="leave torch compiled out")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    os.environ |= {
        "OMP_NUM_THREADS": str(options.threads),
        "OMP_WAIT_POLICY": "passive",
    }  # no spinning in others' turns
    contenders, state = create_torch(options.threads)
    contenders = {"ganjax": create_ganjax(state)} | contenders
    if options.without_compiled:
        del contenders["torch compiled"]
    images = np.random.default_rng(0).integers(0, 256, (options.batch, 32, 32, 3)).astype(np.uint8)
    expected, seconds = contenders["torch eager"](images), {}
    for name, run in list(contenders.items()):
        try:
            error = abs(run(images) - expected).max() / abs(expected).max()
        except Exception as reason:
            if name != "torch compiled":
                raise
            print(f"{name} is left out: {str(reason).splitlines()[0]}", file=sys.stderr)
            continue
        if error > 1e-4:
            sys.exit(f"{name}: features differ by {error:.1e} of the largest")
        seconds[name] = []
    clock = time.process_time if options.cpu_time else time.perf_counter
    for _ in range(options.rounds):
        for name, times in seconds.items():
            start = clock()
            contenders[name](images)
            times.append(clock() - start)
    print("| contender | images/s, median (range) | time / ganjax's |\n|---|---|---|")
    for name, times in seconds.items():
        rates = [options.batch / t for t in times]
        ratio = median(t / ours for t, ours in zip(times, seconds["ganjax"], strict=True))
        print(f"| {name} | {median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f}) | {ratio:.2f} |")


if __name__ == "__main__":
    main()
