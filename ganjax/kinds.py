"""What one array of examples is: how it is checked, and what networks see of it.

A data set stores examples as people keep them, pixels as bytes; networks see floating values of about unit size. Every
other module asks an array's kind, by its name, and never its rank. Data are read and checked without JAX.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ganjax.errors import did_you_mean

if TYPE_CHECKING:
    from ganjax.core import Array


class Kind(NamedTuple):
    """What one array of examples is."""

    name: str  # a singular: "image"
    plural: str  # with its axes: "images [N, H, W, C]"
    check: Callable[[Any], str]  # what is wrong with an array of this rank, in words that follow "has", or nothing
    encode: Callable[["Array"], "Array"]  # as stored -> as networks see it, traced
    decode: Callable[[Any], Any]  # and back: of an array on a device there, else by NumPy
    parse: Callable[[str], Any] | None = None  # a word of the command line as a stored example, or ValueError
    # of examples: "rate" (samples a second) of waveforms, "vocabulary" of tokens, "names" of classes
    facts: Mapping[str, Any] = MappingProxyType({})


MAX_CHANNELS = 4
MAX_CLASSES = 2**16  # a larger label is an identifier, not a class: players hold a row of weights for each
MAX_RATE = 10**7


def _check_pixels(x: Any, what: str, axes: str, move: str) -> str:
    if x.dtype != np.uint8:
        return f"dtype {x.dtype}, expected uint8 for {what}; store the pixels as uint8, 0 to 255"
    if x.shape[-1] > MAX_CHANNELS:
        hint = f"at most {MAX_CHANNELS}, and last {axes}; choose some of them"
        return f"{x.shape[-1]} channels (shape {x.shape}), expected {move or hint}"
    return ""


def _check_images(x: Any) -> str:
    axes = "[N, H, W, C]"
    first = x.shape[1] <= MAX_CHANNELS
    move = f"channels last {axes}; move them with x.transpose(0, 2, 3, 1)" if first else ""
    return _check_pixels(x, "images", axes, move)


def _check_clips(x: Any) -> str:
    axes = "[N, T, H, W, C]"
    place = next((axis for axis in (2, 1) if x.shape[axis] <= MAX_CHANNELS), 0)
    order = {0: "", 1: "0, 2, 3, 4, 1", 2: "0, 1, 3, 4, 2"}[place]
    move = f"channels last {axes}; move them with x.transpose({order})" if place else ""
    return _check_pixels(x, "clips", axes, move)


def _check_type(x: Any, dtype: str, plural: str) -> str:
    if x.dtype != np.dtype(dtype):
        return f"dtype {x.dtype}, expected {dtype} for {plural}; use x.astype('{dtype}')"
    return ""


def _check_numbers(x: Any, plural: str, end: int, end_is: str) -> str:
    """What is wrong with whole numbers from 0 to less than `end`, if anything."""
    if wrong := _check_type(x, "int32", plural):
        return wrong
    low, high = (int(x.min()), int(x.max())) if x.size else (0, 0)
    if low < 0 or high >= end:
        return f"the number {low if low < 0 else high}, expected 0 to {end - 1:,} for {plural}{end_is}"
    return ""


def _check_points(x: Any) -> str:
    if x.dtype.kind in "iu":
        return (
            f"dtype {x.dtype}, expected float32 for points [N, D] (use x.astype('float32')), "
            "int32 for tokens [N, L] or int16 for waveforms [N, T]"
        )
    return _check_type(x, "float32", "points [N, D]")


def from_bytes(x: "Array") -> "Array":
    """uint8 to float32 in [-1, 1]; 0 becomes -1 and 255 becomes 1."""
    return x.astype(np.float32) / 127.5 - 1


def to_bytes(x: Any) -> Any:
    """[-1, 1] to uint8, clipped and rounded, on the device if `x` lies there."""
    return _where_it_is(_bytes, x)


def _bytes(x: Any, xp: Any) -> Any:
    return xp.clip(xp.round((xp.asarray(x, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


def from_samples(x: "Array") -> "Array":
    """int16 to float32 in [-1, 1), by 1 / 32768: 0 stays 0, and the step is the same everywhere."""
    return x.astype(np.float32) / 32768


def to_samples(x: Any) -> Any:
    """[-1, 1) to int16, clipped and rounded, on the device if `x` lies there."""
    return _where_it_is(_samples, x)


def _samples(x: Any, xp: Any) -> Any:
    return xp.clip(xp.round(xp.asarray(x, np.float32) * 32768), -32768, 32767).astype(np.int16)


def _where_it_is(formula: Callable[..., Any], x: Any) -> Any:
    """The formula of `x`, by JAX if it is an array of JAX, which nobody has who did not import it."""
    jax = sys.modules.get("jax")
    return _compiled(formula)(x) if jax and isinstance(x, jax.Array) else formula(x, np)


@cache
def _compiled(formula: Callable[..., Any]) -> Callable[[Any], Any]:
    import jax

    return jax.jit(partial(formula, xp=jax.numpy))


def _as_it_is(x: Any) -> Any:
    return x


def _vector(text: str) -> np.ndarray:
    """[E] float32 of numbers with commas between them."""
    try:
        found = np.array([float(part) for part in text.split(",")], np.float32)
    except ValueError:
        raise ValueError(f"{text!r} is no vector, expected numbers with commas between them, such as 0.1,0.2") from None
    if not np.isfinite(found).all():
        raise ValueError(f"{text!r} is no vector, expected finite numbers")
    return found


def _class(text: str, names: Sequence[str] = ()) -> int:
    """A class by its number, or by its name where it has one."""
    if text in names:
        return list(names).index(text)
    end = len(names) or MAX_CLASSES
    if text.isdecimal() and len(text) < 10 and int(text) < end:
        return int(text)
    named = f" or a name{did_you_mean(text, names)}" if names else ""
    raise ValueError(f"{text!r} is no class, expected a number from 0 to {end - 1}{named}")


IMAGE = Kind("image", "images [N, H, W, C]", _check_images, from_bytes, to_bytes)
CLIP = Kind("clip", "clips [N, T, H, W, C]", _check_clips, from_bytes, to_bytes)
POINT = Kind("point", "points [N, D]", _check_points, _as_it_is, _as_it_is, _vector)
WAVEFORM = Kind(
    "waveform",
    "waveforms [N, T]",
    partial(_check_type, dtype="int16", plural="waveforms [N, T]"),
    from_samples,
    to_samples,
)
TOKENS = Kind(  # 0 is padding; `ganjax.data.text.tokens` gives them a vocabulary
    "tokens",
    "tokens [N, L]",
    partial(_check_numbers, plural="tokens [N, L]", end=2**31, end_is=""),
    _as_it_is,
    _as_it_is,
)
VECTOR = Kind(
    "vector",
    "vectors [N, E]",
    partial(_check_type, dtype="float32", plural="vectors [N, E]"),
    _as_it_is,
    _as_it_is,
    _vector,
)
CLASS = Kind(
    "class",
    "integer labels [N]",
    partial(_check_numbers, plural="labels [N]", end=MAX_CLASSES, end_is="; number the classes from 0"),
    _as_it_is,
    _as_it_is,
    _class,
)
MAP = Kind(
    "map",
    "maps of labels [N, H, W]",
    partial(_check_numbers, plural="maps of labels [N, H, W]", end=MAX_CLASSES, end_is="; number the classes from 0"),
    _as_it_is,
    _as_it_is,
)
KINDS = {kind.name: kind for kind in (IMAGE, CLIP, POINT, WAVEFORM, TOKENS, VECTOR, CLASS, MAP)}
STORED = {  # dtype and rank of an array of each kind
    "image": ("uint8", 4),
    "clip": ("uint8", 5),
    "point": ("float32", 2),
    "waveform": ("int16", 2),
    "tokens": ("int32", 2),
    "vector": ("float32", 2),
    "class": ("int32", 1),
    "map": ("int32", 3),
}
_GUESSES = {2: {"int16": WAVEFORM, "int32": TOKENS}, 3: {"int32": MAP}}
_BY_RANK = {1: CLASS, 2: POINT, 4: IMAGE, 5: CLIP}


def kind_of(x: Any) -> Kind | None:
    """What an array of examples is, by its rank and dtype; None if it is nothing that is known.

    A `VECTOR` looks like a `POINT`, which is what is said: who stores attributes says so.

    >>> [kind_of(x).name for x in (np.zeros((9, 2), "f4"), np.zeros((9, 2), "i4"), np.zeros((9, 8, 8, 3), "u1"))]
    ['point', 'tokens', 'image']
    """
    return _GUESSES.get(x.ndim, {}).get(np.dtype(x.dtype).name) or _BY_RANK.get(x.ndim)


def classes(names: Sequence[str]) -> Kind:
    """Classes that have names, one for each number from 0."""
    names = tuple(names)
    check = partial(_check_numbers, plural="labels [N]", end=len(names), end_is=", the classes that have names")
    return CLASS._replace(check=check, parse=partial(_class, names=names), facts={"names": names})


def waveforms(rate: int) -> Kind:
    """Waveforms of `rate` samples a second.

    Raises:
        ValueError: the rate is no whole number of samples from 1 to 10,000,000.
    """
    if not isinstance(rate, int | np.integer) or not 1 <= rate <= MAX_RATE:
        raise ValueError(f"rate is {rate!r}, expected a whole number of samples a second, 1 to {MAX_RATE:,}")
    return WAVEFORM._replace(facts={"rate": int(rate)})
