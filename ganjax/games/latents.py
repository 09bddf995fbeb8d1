"""Ways through the latent space of a trained generator: paths, sums of means, truncation, projection."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ganjax.checks import check_range
from ganjax.core import Array, Key, Weights, noise


def linear(z_0: Array, z_1: Array, count: int) -> Array:
    """`z_t = (1 - t) z_0 + t z_1`.

    Between two draws of N(0, I) in d dimensions the middle has length `sqrt(d / 2)`, where the prior hardly ever is.

    Args:
        z_0: [..., Z] floating, where the path begins.
        z_1: [..., Z], where it ends.
        count: points of the path, both ends included, at least 2.

    Returns:
        [..., count, Z], at equally spaced t; the ends are `z_0` and `z_1` themselves.
    """
    t = _times(z_0, z_1, count)
    return (1 - t) * z_0[..., None, :] + t * z_1[..., None, :]


def spherical(z_0: Array, z_1: Array, count: int) -> Array:
    """`z_t = |z_t| (cos(t theta) u + sin(t theta) w)`, with `|z_t| = (1 - t) |z_0| + t |z_1|` (White 2016, slerp).

    u is the direction of `z_0`, w the one orthogonal to it in the plane of both, theta the angle between them: the
    path turns at constant speed along a great circle. Ends of equal length give White's
    `(sin((1 - t) theta) z_0 + sin(t theta) z_1) / sin theta`; others he scales apart, and as they become opposite his
    path leaves all bounds. Between parallel ends the path is straight, between opposite ones w is any direction
    orthogonal to u, and from or to zero the path is the ray.

    Args:
        z_0: [..., Z] floating, where the path begins.
        z_1: [..., Z], where it ends.
        count: points of the path, both ends included, at least 2.

    Returns:
        [..., count, Z], at equally spaced t; the ends are `z_0` and `z_1` themselves.
    """
    t = _times(z_0, z_1, count)
    path = on_the_arc(z_0[..., None, :], z_1[..., None, :], t)
    return path.at[..., 0, :].set(z_0).at[..., -1, :].set(z_1)


def on_the_arc(z_0: Array, z_1: Array, t: Array) -> Array:
    """Where the path of `spherical` is at any time.

    Args:
        z_0: [..., Z] floating, where it begins.
        z_1: [..., Z], where it ends.
        t: [..., 1], from 0 to 1.

    Returns:
        [..., Z]
    """
    (u, length_0), (v, length_1) = _direction(z_0), _direction(z_1)
    u, v = jnp.where(length_0 > 0, u, v), jnp.where(length_1 > 0, v, u)
    cosine = (u * v).sum(-1, keepdims=True)
    across, sine = _direction(v - cosine * u)
    w = jnp.where(sine > 1e-5, across, _orthogonal(u))
    theta = jnp.arctan2(sine, cosine)
    return ((1 - t) * length_0 + t * length_1) * (jnp.cos(t * theta) * u + jnp.sin(t * theta) * w)


def truncated(key: Key, shape: tuple[int, ...], threshold: float) -> Array:
    """`z ~ N(0, I)` given `|z_j| <= threshold` in every coordinate (Brock et al. 2019, the truncation trick).

    Redrawing every value beyond the threshold until it lies within has this distribution. Equal keys give latents
    that shrink together with the threshold.

    Args:
        key: a PRNG key.
        shape: of the latents.
        threshold: positive; `inf` truncates nothing and gives `jax.random.normal(key, shape)`.
    """
    if not threshold > 0:
        raise ValueError(f"truncated: threshold is {threshold}, expected a positive number")
    if math.isinf(threshold):
        return jax.random.normal(key, shape)
    return jax.random.truncated_normal(key, -threshold, threshold, shape)


def normal(size: int) -> Callable[[Weights, Key, float | None], Array]:
    """`z ~ N(0, I)`, shape [size], or cut at a truncation: the prior of a `core.Latent`."""
    check_range("normal", 1, whole=True, size=size)
    return lambda weights, key, truncation: truncated(key, (size,), math.inf if truncation is None else truncation)


def group_means(z: Array, group: Array, *, groups: int) -> Array:
    """`m_g`, the mean of the latents of group g: where the generator keeps what the group has in common.

    Args:
        z: [N, Z] floating.
        group: [N] integers from 0 to groups - 1, such as the class that a classifier sees in `G(z)`.
        groups: how many there are.

    Returns:
        [groups, Z]; NaN for a group that nobody is in.
    """
    if z.ndim != 2 or group.shape != z.shape[:1]:
        raise ValueError(f"group_means: z has shape {z.shape} and group {group.shape}, expected [N, Z] and [N]")
    check_range("group_means", 1, whole=True, groups=groups)
    check_range("group_means", 0, groups - 1, whole=True, group=group)
    member = jax.nn.one_hot(group, groups, dtype=z.dtype, axis=0)
    return member @ z / member.sum(1, keepdims=True)


def arithmetic(a: Array, b: Array, c: Array) -> Array:
    """`a - b + c` of mean latents: what a has and b lacks, added to c (Radford et al. 2016, section 6.3.2)."""
    return a - b + c


class Projection(NamedTuple):
    """The latents whose images come nearest to given ones."""

    z: Array  # [B, Z], the best of the starts
    x_hat: Array  # [B, ...], decode(z)
    losses: Array  # [steps + 1, B], of that start, before each step and after the last
    ends: Array  # [starts, B], after the last step of every start


def project(
    decode: Callable[[Array], Array],
    x: Array,
    key: Key,
    *,
    size: int,
    starts: int = 4,
    steps: int = 300,
    learning_rate: float = 0.1,
    prior_weight: float = 1e-3,
    feature: Callable[[Array], Array] = lambda x: x,
) -> Projection:
    """`argmin_z mean_j (f(G(z))_j - f(x)_j)^2 + prior_weight |z|^2`, by Adam from several draws of N(0, I).

    It is the most likely z if `f(x) = f(G(z))` plus Gaussian noise of variance `prior_weight` times the number of
    features (Bora et al. 2017, with restarts; Zhu et al. 2016, with features). Each image is projected by itself,
    whatever else is in the batch.

    Args:
        decode: `z [B, size] -> x [B, ...]`, the generator in evaluation mode.
        x: [B, ...] floating, the images.
        key: the starts of image i come from `fold_in(key, i)`.
        size: of z.
        starts: how many.
        steps: of Adam.
        learning_rate: of Adam.
        prior_weight: of the squared length of z.
        feature: `[B, ...] -> [B, ...]`, what is compared; the images themselves by default.
    """
    if min(size, starts, steps) < 1:
        raise ValueError(f"project: expected size, starts and steps of at least 1, got {size=}, {starts=}, {steps=}")
    check_range("project", 0, above=True, learning_rate=learning_rate)
    check_range("project", 0, prior_weight=prior_weight)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"project: x is {x.dtype}, expected floating values as the generator makes them")
    wanted = feature(x)

    def loss(z: Array) -> Array:
        """[B, size] -> [B]"""
        away = jnp.square(feature(decode(z)) - wanted)
        return away.reshape(len(x), -1).mean(1) + prior_weight * jnp.square(z).sum(1)

    def total(z: Array) -> tuple[Array, Array]:
        """[starts, B, size] -> scalar, [starts, B]; no start and no image sees another."""
        each = jax.vmap(loss)(z)
        return each.sum(), each

    adam = optax.adam(learning_rate)

    def step(carry, _):
        z, state = carry
        (_, each), gradient = jax.value_and_grad(total, has_aux=True)(z)
        updates, state = adam.update(gradient, state)
        return (z + updates, state), each

    first = noise(lambda k: jax.random.normal(k, (starts, size), x.dtype), key, jnp.arange(len(x))).swapaxes(0, 1)
    (last, _), curve = jax.lax.scan(step, (first, adam.init(first)), None, steps)
    curve = jnp.concatenate([curve, total(last)[1][None]])
    best, image = curve[-1].argmin(0), jnp.arange(len(x))
    z = last[best, image]
    return Projection(z, decode(z), curve[:, best, image], curve[-1])


def _times(z_0: Array, z_1: Array, count: int) -> Array:
    """[..., count, 1] from 0 to 1."""
    if z_0.shape != z_1.shape or z_0.ndim == 0 or count < 2:
        raise ValueError(
            f"a path has ends of one shape [..., Z] and at least 2 points, got {z_0.shape}, {z_1.shape} and {count=}"
        )
    if not all(jnp.issubdtype(z.dtype, jnp.floating) for z in (z_0, z_1)):
        raise TypeError(f"a path has floating ends, got {z_0.dtype} and {z_1.dtype}")
    return jnp.linspace(0, 1, count, dtype=z_0.dtype).reshape(*[1] * (z_0.ndim - 1), count, 1)


def _direction(z: Array) -> tuple[Array, Array]:
    """The unit vector along z, or zero, and the length, [..., 1]."""
    length = jnp.linalg.norm(z, axis=-1, keepdims=True)
    return z / jnp.where(length > 0, length, 1), length


def _orthogonal(u: Array) -> Array:
    """A unit vector orthogonal to the unit vector u, from the axis that u follows least; zero on the line."""
    axis = jax.nn.one_hot(jnp.abs(u).argmin(-1), u.shape[-1], dtype=u.dtype)
    return _direction(axis - (axis * u).sum(-1, keepdims=True) * u)[0]
