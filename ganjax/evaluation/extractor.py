"""The protocol of what turns images into features, for every distance and score that is computed from features."""

from collections.abc import Callable
from typing import NamedTuple

from ganjax.core import Array, PyTree


class Features(NamedTuple):
    """What an extractor makes of a batch."""

    features: Array  # [B, F] float32
    logits: Array | None  # [B, K] float32 of its classes


class Extractor(NamedTuple):
    """Images to features, with a fingerprint."""

    name: str  # "fid_inception_v3", "efficientnet_lite0", "classifier", "pixels"
    digest: str  # sha256 in hex of its weights and of what it does before them
    # (weights, images [B, H, W, C] uint8 or float32 in 0..255) -> Features; pure, jit-able, batch size free
    apply: Callable[[PyTree, Array], Features]
    weights: PyTree
    resize: str  # how images are brought to size, in words: "bilinear to 299 x 299, align_corners=False, ..."
