"""Feature extractors: what a judge of samples looks at, with a digest that says which one it was."""

import hashlib
from collections.abc import Callable, Iterator
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.core import Array, PyTree
from ganjax.kinds import kind_of
from ganjax.metrics import Moments, merge, moments
from ganjax.training import parallel

BATCH = 256  # examples per compiled call
PAIRS = 256  # features of a text


class Features(NamedTuple):
    """What an extractor makes of a batch."""

    features: Array  # [B, F] float32
    logits: Array | None  # [B, K] float32 of its classes


class Extractor(NamedTuple):
    """A pure function of weights and examples, and what tells it from others."""

    name: str
    digest: str  # sha256 in hex of its weights and of what it does before them
    apply: Callable[[PyTree, Array], Features]  # (weights, images [B, H, W, C] uint8 or float32 in 0..255), pure
    weights: PyTree
    resize: str  # what becomes of an image before the weights, in words
    frames: "Extractor | None" = None  # what looks at the frames of clips, where that is something else


# In the receipt of measures, of which none looks at samples.
NOTHING = Extractor("none", "", lambda weights, x: Features(x, None), (), "none")


def pixels() -> Extractor:
    """The examples themselves, flattened: images as 0..1, points as they are; no weights and no classes."""

    def apply(weights: PyTree, x: Array) -> Features:
        del weights
        scale = 255.0 if x.dtype == jnp.uint8 else 1.0
        return Features(x.reshape(len(x), -1).astype(jnp.float32) / scale, None)

    digest = hashlib.sha256(b"pixels: x / 255 of images, x of points, flattened").hexdigest()
    return Extractor("pixels", digest, apply, (), "none")


def pairs_of_tokens() -> Extractor:
    """How often each pair of neighbouring tokens stands in a text, pairs being sorted into `PAIRS` bins by a hash."""

    def apply(weights: PyTree, x: Array) -> Features:
        del weights
        pair = x[:, :-1].astype(jnp.uint32) * jnp.uint32(2654435761) + x[:, 1:].astype(jnp.uint32) * jnp.uint32(40503)
        bins = (pair >> 8) % PAIRS
        return Features(jax.nn.one_hot(bins, PAIRS).mean(1), None)

    digest = hashlib.sha256(f"shares of hashed pairs of tokens, {PAIRS} bins".encode()).hexdigest()
    return Extractor("pairs", digest, apply, (), "none")


def extract(extractor: Extractor, x: np.ndarray, *, batch: int = BATCH) -> tuple[np.ndarray, np.ndarray | None]:
    """The features of all examples, a batch at a time; the local devices share a batch.

    Args:
        extractor: what to apply.
        x: [N, H, W, C] uint8 images, or [N, D] float32 points.
        batch: examples per compiled call, rounded up to a multiple of the devices.

    Returns:
        Features [N, F] float32 in the order of `x`, and the logits [N, K] float32 if the extractor has classes.

    Raises:
        TypeError: images are not uint8: in what units floating ones are, nobody could tell.
        ValueError: `x` is empty or of another rank, or `batch` is not positive.
    """
    batches = list(_batches(extractor, x, batch))
    logits = None if batches[0].logits is None else np.concatenate([part.logits for part in batches])
    return np.concatenate([part.features for part in batches]), logits


def extract_moments(extractor: Extractor, x: np.ndarray, *, batch: int = BATCH) -> Moments:
    """The moments of the features of all examples, of which no more than a batch is held; arguments as of `extract`."""
    return reduce(merge, (moments(part.features) for part in _batches(extractor, x, batch)))


def _batches(extractor: Extractor, x: np.ndarray, batch: int) -> Iterator[Features]:
    """Batch after batch on the host; the last is filled up with copies, so that one program does for all."""
    kind = kind_of(x)
    if kind is None or not len(x):
        raise ValueError(f"extract: x has shape {x.shape}, expected images [N, H, W, C] or points [N, D]")
    if kind.name in ("image", "clip") and x.dtype != np.uint8:
        raise TypeError(f"extract: x holds images of {x.dtype}, expected uint8; convert those in 0..255")
    if batch < 1:
        raise ValueError(f"extract: batch is {batch}, expected at least 1")
    apply, size = parallel.shared(extractor.apply, extractor.weights, batch)
    for start in range(0, len(x), size):
        rows = x[start : start + size]
        extracted = jax.device_get(apply(_filled(rows, size)))
        yield jax.tree.map(lambda leaf: leaf[: len(rows)], extracted)  # noqa: B023  (called at once)


def classes(extractor: Extractor, x: np.ndarray) -> int | None:
    """How many classes the extractor has for examples like these, without computing anything; None if it has none."""
    logits = jax.eval_shape(extractor.apply, extractor.weights, x[:1]).logits
    return None if logits is None else logits.shape[-1]


def _filled(x: np.ndarray, size: int) -> np.ndarray:
    """[b, ...] to [size, ...]."""
    return np.concatenate([x, np.repeat(x[:1], size - len(x), axis=0)])
