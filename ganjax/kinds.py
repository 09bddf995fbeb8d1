"""What one array of examples is: how it is checked, and what networks see of it.

A data set stores examples as people keep them, pixels as bytes; networks see floating values of about unit size. Every
other module asks an array's kind, never its rank.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.core import Array


class Kind(NamedTuple):
    """What one array of examples is."""

    name: str  # a singular: "image"
    plural: str  # with its axes: "images [N, H, W, C]"
    check: Callable[[Any], str]  # what is wrong with an array of this rank, in words that follow "has", or nothing
    encode: Callable[[Array], Array]  # as stored -> as networks see it, traced
    decode: Callable[[Any], Any]  # and back: of an array on a device there, else by NumPy
    parse: Callable[[str], Any] | None = None  # a word of the command line as a stored example
    facts: Mapping[str, Any] = MappingProxyType({})  # of examples: samples a second, a vocabulary


MAX_CHANNELS = 4


def _check_images(x: Any) -> str:
    if x.dtype != np.uint8:
        return f"dtype {x.dtype}, expected uint8 for images; store the pixels as uint8, 0 to 255"
    if x.shape[-1] > MAX_CHANNELS:
        first = x.shape[1] <= MAX_CHANNELS
        move = "channels last [N, H, W, C]; move them with x.transpose(0, 2, 3, 1)"
        hint = move if first else f"at most {MAX_CHANNELS}, and last [N, H, W, C]; choose some of them"
        return f"{x.shape[-1]} channels (shape {x.shape}), expected {hint}"
    return ""


def _check_points(x: Any) -> str:
    if x.dtype != np.float32:
        return f"dtype {x.dtype}, expected float32 for points [N, D]; use x.astype('float32')"
    return ""


def from_bytes(x: Array) -> Array:
    """uint8 to float32 in [-1, 1]; 0 becomes -1 and 255 becomes 1."""
    return x.astype(jnp.float32) / 127.5 - 1


def to_bytes(x: Any) -> Any:
    """[-1, 1] to uint8, clipped and rounded, on the device if `x` lies there."""
    return _bytes_on_device(x) if isinstance(x, jax.Array) else _bytes(x, np)


def _bytes(x: Any, xp: Any) -> Any:
    return xp.clip(xp.round((xp.asarray(x, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


_bytes_on_device = jax.jit(partial(_bytes, xp=jnp))


def _as_it_is(x: Any) -> Any:
    return x


IMAGE = Kind("image", "images [N, H, W, C]", _check_images, from_bytes, to_bytes)
POINT = Kind("point", "points [N, D]", _check_points, _as_it_is, _as_it_is)
CLASS = Kind("class", "integer labels [N]", lambda y: "", _as_it_is, _as_it_is, int)
BY_RANK = {2: POINT, 4: IMAGE}


def kind_of(x: Any) -> Kind | None:
    """What an array of examples is, by its rank; None if it is nothing that is known."""
    return BY_RANK.get(x.ndim)
