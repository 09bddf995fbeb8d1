"""Augmentation of what the discriminator sees, real and generated alike: DiffAugment and ADA.

Images are [H, W, C] of one example with values in [-1, 1]; whoever calls gives each example a key of its own, so that
the result does not depend on how many devices share the batch. Everything is differentiable in x, and works with any
number of channels: what acts on colour treats the channels as coordinates around the grey axis (1, ..., 1), which for
one and three channels is what the papers do; only the rotation of hue needs three.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ganjax.checks import check_range
from ganjax.core import Array, Batch, Key, PyTree

# --- transforms with given parameters --------------------------------------------------------------------------------


def brightness(x: Array, shift: Array | float) -> Array:
    """`x + shift`."""
    return x + shift


def contrast(x: Array, scale: Array | float, centre: Array | float = 0.0) -> Array:
    """`centre + scale (x - centre)`."""
    return x + (scale - 1) * (x - centre)


def saturation(x: Array, scale: Array | float) -> Array:
    """Distances from the grey axis times `scale`."""
    return x + (scale - 1) * (x - x.mean(-1, keepdims=True))


def luma_flip(x: Array, flip: Array | bool) -> Array:
    """Reflection along the grey axis: the colour stays, light becomes dark."""
    return jnp.where(flip, x - 2 * x.mean(-1, keepdims=True), x)


def hue(x: Array, angle: Array | float) -> Array:
    """Rotation around the grey axis (Rodrigues' formula); x itself unless there are three channels."""
    if x.shape[-1] != 3:
        return x
    grey, sin, cos = x.mean(-1, keepdims=True), jnp.sin(angle), jnp.cos(angle)
    across = (jnp.roll(x, 1, -1) - jnp.roll(x, -1, -1)) / math.sqrt(3)  # (1, 1, 1) / sqrt(3) times x, as vectors
    return x + (cos - 1) * (x - grey) + sin * across


def translate(x: Array, rows: Array | int, columns: Array | int) -> Array:
    """`y[i, j] = x[i + rows, j + columns]`, and 0 outside; shifts of at most the sides."""
    h, w, _ = x.shape
    padded = jnp.pad(x, ((h, h), (w, w), (0, 0)))
    return jax.lax.dynamic_slice(padded, (h + rows, w + columns, 0), x.shape)


def jitter(shift: int, *, flip: bool = True) -> Callable[[Key, Batch], Batch]:
    """A flip from left to right in half of all cases and a shift, of an image and of what it is paired with alike.

    What `Stream(prepare=...)` takes (Isola et al. 2017, appendix 6.2, enlarge and crop): rows and columns move by whole
    pixels from -shift to shift, each equally likely, and edges repeat.

    Args:
        shift: in pixels; x and all of y must have sides of x's, but for tokens, classes and vectors, which stay.
        flip: False where left and right mean something.
    """
    check_range("jitter", 0, whole=True, shift=shift)

    def moved(key: Key, one: Batch) -> Batch:
        flip_key, shift_key = jax.random.split(key)
        flipped, first = jax.random.bernoulli(flip_key), jax.random.randint(shift_key, (2,), 0, 2 * shift + 1)

        def of(x: Array) -> Array:
            if x.ndim < 2:
                return x
            padded = jnp.pad(x, [(shift, shift)] * 2 + [(0, 0)] * (x.ndim - 2), mode="edge")
            cut = jax.lax.dynamic_slice(padded, (*first, *[0] * (x.ndim - 2)), x.shape)
            return jnp.where(flipped, cut[:, ::-1], cut) if flip else cut

        return one._replace(x=of(one.x), y=jax.tree.map(of, one.y))

    return moved


def cutout(x: Array, row: Array | int, column: Array | int, *, share: float = 0.5) -> Array:
    """Zeros in a rectangle of `share` of each side that is centred at (row, column) and may reach out."""
    check_range("cutout", 0, 1, share=share)

    def inside(size: int, centre: Array | int) -> Array:
        length = int(size * share + 0.5)
        place = jnp.arange(size) - centre + length // 2
        return (place >= 0) & (place < length)

    mask = inside(x.shape[0], row)[:, None] & inside(x.shape[1], column)[None]
    return jnp.where(mask[..., None], 0, x)


def warp(x: Array, matrix: Array) -> Array:
    """`y(p) = x(matrix p)`: bilinear, the image mirrored at its outermost pixels.

    Args:
        x: [H, W, C].
        matrix: [3, 3] or [2, 3], from places (column, row, 1) of y to places of x, in pixels from the image's centre.
    """
    h, w, _ = x.shape
    rows, columns = jnp.arange(h) - (h - 1) / 2, jnp.arange(w) - (w - 1) / 2
    there = matrix[:2, 0, None, None] * columns[None, None] + matrix[:2, 1, None, None] * rows[None, :, None]
    there = there + matrix[:2, 2, None, None]
    (column, column_share), (row, row_share) = (_split(u + (n - 1) / 2) for u, n in zip(there, (w, h), strict=True))

    def at(i: Array, j: Array) -> Array:
        return x[_mirror(i, h), _mirror(j, w)]

    s, t = row_share[..., None], column_share[..., None]
    above = at(row, column) * (1 - t) + at(row, column + 1) * t
    below = at(row + 1, column) * (1 - t) + at(row + 1, column + 1) * t
    return (above * (1 - s) + below * s).astype(x.dtype)


def _split(place: Array) -> tuple[Array, Array]:
    whole = jnp.floor(place)
    return whole.astype(jnp.int32), place - whole


def _mirror(i: Array, size: int) -> Array:
    """Any whole place to one of the image's, by reflection at the first and at the last."""
    if size == 1:
        return jnp.zeros_like(i)
    period = 2 * (size - 1)
    return size - 1 - jnp.abs(size - 1 - i % period)


# --- random transforms -----------------------------------------------------------------------------------------------


def _uniform(key: Key, size: int) -> Array:
    """[size] from U(0, 1), never 0. All that an example needs at once: each draw takes a second to compile on a CPU."""
    return jax.random.uniform(key, (size,), minval=1e-7)


def _normal(u: Array) -> Array:
    """N(0, 1) by the quantiles of U(0, 1)."""
    return math.sqrt(2) * jax.lax.erf_inv(2 * u - 1)


def diff_augment(key: Key, x: Array, p: Array | float = 1.0) -> Array:
    """DiffAugment, the policy "color,translation,cutout" (Zhao et al. 2020, section 4 and appendix).

    In this order: brightness `+ U(-1/2, 1/2)`, saturation times `U(0, 2)`, contrast around the image's mean times
    `U(1/2, 3/2)`, a shift by up to an eighth of each side with zeros behind, zeros in a rectangle of half of each side.

    Args:
        key: of this example.
        x: [H, W, C].
        p: the probability of each of the five; 1 as published. 0 gives x itself.

    Returns:
        [H, W, C].
    """
    check_range("diff_augment", 0, 1, p=p)
    h, w, _ = x.shape
    random = _uniform(key, 12)
    chosen, u = random[:5] < jnp.asarray(p, jnp.float32), random[5:8].astype(x.dtype)
    reach = jnp.array([int(n / 8 + 0.5) for n in (h, w)])
    shift = jnp.floor(random[8:10] * (2 * reach + 1)).astype(jnp.int32) - reach
    # An odd rectangle has a pixel in the middle, an even one a corner of pixels, of which there is one more.
    centres = jnp.array([n + 1 - int(n / 2 + 0.5) % 2 for n in (h, w)])
    centre = jnp.floor(random[10:] * centres).astype(jnp.int32)
    x = jnp.where(chosen[0], brightness(x, u[0] - 0.5), x)
    x = jnp.where(chosen[1], saturation(x, 2 * u[1]), x)
    x = jnp.where(chosen[2], contrast(x, u[2] + 0.5, x.mean()), x)
    x = jnp.where(chosen[3], translate(x, *shift), x)
    return jnp.where(chosen[4], cutout(x, *centre), x)


def ada_augment(
    key: Key, x: Array, p: Array | float, *, colour: Array | float = 1.0, cut: Array | float = 0.0
) -> Array:
    """The pipeline of ADA: pixel blitting, geometry and colour, "bgc" (Karras et al. 2020, appendix B).

    Each transform acts with probability p, a rotation before or after the unequal scaling together with p:

        blitting   left-right flip (half of the time); 0 to 3 quarter turns; shift by U(-1/8, 1/8) of each side, rounded
        geometry   scaling by 2^N(0, 0.2^2); rotation by U(-pi, pi); scaling of width and height by s and 1 / s,
                   s = 2^N(0, 0.2^2); rotation again; shift by N(0, (1/8)^2) of each side
        colour     brightness + N(0, 0.2^2); contrast times 2^N(0, 0.5^2); luma flip (half of the time); hue by
                   U(-pi, pi); saturation times 2^N(0, 1)

    All geometry is one affine map, hence one interpolation. That is bilinear at the image's own resolution; the authors
    double the resolution with an orthogonal wavelet before it and halve it after, which keeps finer detail.

    Args:
        key: of this example.
        x: [H, W, C].
        p: the probability, a scalar.
        colour: the probability of a transform of colour, divided by p; R3GAN has 1/2.
        cut: that of zeros in a rectangle of half of each side around U(0, 1) of each, divided by p; R3GAN has 1.

    Returns:
        [H, W, C]; x itself with p = 0.
    """
    check_range("ada_augment", 0, 1, p=p)
    check_range("ada_augment", 0, colour=colour, cut=cut)
    h, w, _ = x.shape
    random = _uniform(key, 31)
    x = warp(x, ada_geometry(random[:18], x.shape, p))
    x = ada_colour(random[18:28], x, colour * p)
    chosen, centre = random[28] < cut * p, random[29:]
    rows, columns = (jnp.abs((jnp.arange(n) + 0.5) / n - c) < 0.25 for n, c in zip((h, w), centre, strict=True))
    return jnp.where((chosen & rows[:, None] & columns[None])[..., None], 0, x)


def ada_geometry(random: Array, shape: tuple[int, ...], p: Array | float) -> Array:
    """The affine map of one example, [3, 3] float32, from places of the output to places of the input.

    Args:
        random: [18] from U(0, 1): which transforms act, and what they draw.
        shape: of the example.
        p: probability of each.
    """
    h, w = shape[:2]
    side = jnp.array([w, h], jnp.float32)
    p = jnp.clip(jnp.asarray(p, jnp.float32), 0, 1)
    either = 1 - jnp.sqrt(1 - p)  # of each of the two rotations: P(before or after) = p
    chosen = random[:8] < jnp.stack([p, p, p, p, either, p, either, p])
    u, g = random[8:14], _normal(random[14:])

    def maybe(i: int, value: Array) -> Array:
        return jnp.where(chosen[i], value, 0)

    def shift(by: Array) -> Array:
        return jnp.eye(3).at[:2, 2].set(-by)

    def scale(x: Array, y: Array) -> Array:
        return jnp.diag(jnp.stack([1 / x, 1 / y, jnp.ones(())]))

    def turn(cos: Array, sin: Array) -> Array:
        return jnp.stack([cos, -sin, 0 * cos, sin, cos, 0 * cos, 0 * cos, 0 * cos, 1 + 0 * cos]).reshape(3, 3)

    flip = maybe(0, jnp.floor(2 * u[0]))
    quarters = maybe(1, jnp.floor(4 * u[1])).astype(jnp.int32)
    whole = maybe(2, jnp.round((2 * u[2:4] - 1) / 8 * side))
    isotropic, unequal = 2 ** maybe(3, 0.2 * g[0]), 2 ** maybe(5, 0.2 * g[1])
    before, after = (maybe(i, (2 * v - 1) * jnp.pi) for i, v in ((4, u[4]), (6, u[5])))
    fraction = maybe(7, g[2:] / 8 * side)
    maps = (
        scale(1 - 2 * flip, jnp.ones(())),
        turn(jnp.array([1.0, 0, -1, 0])[quarters], jnp.array([0.0, 1, 0, -1])[quarters]),
        shift(whole),
        scale(isotropic, isotropic),
        turn(jnp.cos(before), jnp.sin(before)),
        scale(unequal, 1 / unequal),
        turn(jnp.cos(after), jnp.sin(after)),
        shift(fraction),
    )
    return reduce(partial(jnp.matmul, precision="highest"), maps)


def ada_colour(random: Array, x: Array, p: Array | float) -> Array:
    """The transforms of colour of one example, [H, W, C], by [10] numbers from U(0, 1)."""
    chosen = random[:5] < jnp.asarray(p, jnp.float32)
    u, g = random[5:7].astype(x.dtype), _normal(random[7:]).astype(x.dtype)

    def maybe(i: int, value: Array) -> Array:
        return jnp.where(chosen[i], value, 0)

    x = brightness(x, maybe(0, 0.2 * g[0]))
    x = contrast(x, 2 ** maybe(1, 0.5 * g[1]))
    x = luma_flip(x, maybe(2, u[0]) > 0.5)
    x = hue(x, maybe(3, (2 * u[1] - 1) * jnp.pi))
    return saturation(x, 2 ** maybe(4, g[2]))


# --- with memory -----------------------------------------------------------------------------------------------------


class Augmentation(NamedTuple):
    """How a discriminator's inputs are augmented, and what that remembers; `update` follows each of its turns."""

    init: Callable[[], PyTree]
    apply: Callable[[PyTree, Key, Array], Array]  # (state, key of the example, x [H, W, C]) -> [H, W, C]
    update: Callable[..., PyTree]  # (state, real_logits [B, ...], axis_name, images of a logit) -> state


class Strength(NamedTuple):
    """The probability of ADA's transforms and what it is set by."""

    p: Array  # scalar float32, 0 to 1
    signs: Array  # scalar float32, sum of the signs of real logits since p last moved
    seen: Array  # scalar int32, real examples since p last moved; of a schedule, all of them


def ada(*, target: float = 0.6, images: int = 500_000, interval: int = 4) -> Augmentation:
    """ADA: p rises while the discriminator is too sure of real examples, and falls while it is not.

        r_t = mean sign(D(x_real)),    p <- clip(p + sign(r_t - target) n / images, 0, 1)

    after every `interval` turns of the discriminator, whose n real examples r_t is taken over (Karras et al. 2020,
    section 3.1, equation 1). r_t is 1 where all of the training set is told from fakes, 0 where nothing is known. With
    micro-batches p moves by the mean of what each of them says.

    Args:
        target: of r_t.
        images: real examples after which p is 1 if it rises all the time.
        interval: turns between two moves.
    """
    check_range("ada", -1, 1, target=target)
    check_range("ada", 1, whole=True, images=images, interval=interval)

    def update(state: Strength, real_logits: Array, axis_name: str | None, images_each: int = 1) -> Strength:
        size = len(real_logits) * images_each
        signs = jnp.sign(real_logits.astype(jnp.float32)).mean() * size
        if axis_name is not None:
            signs, size = jax.lax.psum(signs, axis_name), size * jax.lax.axis_size(axis_name)
        signs, seen = state.signs + jax.lax.stop_gradient(signs), state.seen + size
        move = jnp.sign(signs / seen - target) * seen / images
        due = seen >= interval * size
        return Strength(
            jnp.where(due, jnp.clip(state.p + move, 0, 1), state.p), jnp.where(due, 0, signs), jnp.where(due, 0, seen)
        )

    return Augmentation(_zero, lambda state, key, x: ada_augment(key, x, state.p), update)


def scheduled(p: Callable[[Array], Array | float], *, colour: float = 1.0, cut: float = 0.0) -> Augmentation:
    """ADA's transforms with a probability that depends on how many real examples the discriminator has seen.

    Args:
        p: scalar int32 -> scalar probability.
        colour: as of `ada_augment`.
        cut: as of `ada_augment`.
    """
    check_range("scheduled", 0, colour=colour, cut=cut)

    def apply(state: Strength, key: Key, x: Array) -> Array:
        return ada_augment(key, x, state.p, colour=colour, cut=cut)

    def update(state: Strength, real_logits: Array, axis_name: str | None, images_each: int = 1) -> Strength:
        size = len(real_logits) * images_each * (1 if axis_name is None else jax.lax.axis_size(axis_name))
        seen = state.seen + size
        return state._replace(p=jnp.asarray(p(seen), jnp.float32), seen=seen)

    def init() -> Strength:
        return _zero()._replace(p=jnp.asarray(p(jnp.zeros((), jnp.int32)), jnp.float32))

    return Augmentation(init, apply, update)


def _zero() -> Strength:
    return Strength(jnp.zeros(()), jnp.zeros(()), jnp.zeros((), jnp.int32))


def _stateless(apply: Callable[[Key, Array], Array]) -> Augmentation:
    return Augmentation(lambda: (), lambda state, key, x: apply(key, x), lambda state, *_: state)


AUGMENTATIONS: dict[str, Augmentation] = {
    "diffaugment": _stateless(partial(diff_augment, p=1.0)),
    "ada": ada(),
}
