"""What a discriminator has learned about images, as features: its maps, each pooled to a few cells."""

import hashlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from ganjax.core import Array, Owned
from ganjax.evaluation.extractor import Extractor, Features
from ganjax.layers.mode import mode
from ganjax.training import digest

SIDE = 4  # cells along either side


def max_pooled(x: Array, side: int = SIDE) -> Array:
    """The maximum of each of `side` times `side` cells that cover a map.

    Cell i of n rows or columns holds those from `floor(i n / side)` to `ceil((i + 1) n / side) - 1`: neighbours share
    one where n is no multiple of `side`, and where n is smaller, several cells hold the same.

    Args:
        x: [B, H, W, C].
        side: at least 1.

    Returns:
        [B, side, side, C].
    """
    for axis in (1, 2):
        size = x.shape[axis]
        cells = [jnp.arange(i * size // side, -(-(i + 1) * size // side)) for i in range(side)]
        x = jnp.stack([jnp.take(x, cell, axis).max(axis) for cell in cells], axis)
    return x


def discriminator_maps(module: nn.Module, weights: Owned, encode: Callable[[Array], Array]) -> Extractor:
    """All hidden maps of a discriminator, max-pooled to 4x4 and joined (Radford et al. 2016, section 5.1).

    With 256, 512 and 1,024 channels they are `16 (256 + 512 + 1024) = 28,672` features. The discriminator is in
    evaluation mode: BatchNorm goes by its running statistics, so that the features of an image depend on no other.

    Args:
        module: a discriminator that hands its maps to who asks for intermediates, such as `models.dcgan`'s.
        weights: of the discriminator.
        encode: from images as stored to what it sees.

    Raises:
        ValueError: when applied, if the module hands out no maps.
    """

    def apply(weights: Owned, x: Array) -> Features:
        variables = {"params": weights.params, **weights.net_state}
        told: dict[str, Any] = {"mutable": ["intermediates"], **mode(module, train=False)}
        _, seen = module.apply(variables, encode(x), **told)
        maps = seen.get("intermediates", {}).get("maps", ())
        if not maps:
            raise ValueError(f"discriminator_maps: {type(module).__name__} hands out no maps; take one of models.dcgan")
        return Features(jnp.concatenate([max_pooled(one).reshape(len(x), -1) for one in maps], -1), None)

    sha = hashlib.sha256(f"maps of {type(module).__name__} to {SIDE}x{SIDE} {digest(weights)}".encode()).hexdigest()
    return Extractor("discriminator", sha, apply, weights, "none")
