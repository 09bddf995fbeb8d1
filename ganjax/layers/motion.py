"""The first-order model of motion: keypoints, local affine maps, backward warping (Siarohin et al. 2019).

Places are (column, row) in units of the half sides of an image, from -1 to 1 at the centres of its outermost pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ganjax.core import Array


class Keypoints(NamedTuple):
    """What a detector says of an image: K places and the frames around them."""

    places: Array  # [B, K, 2]
    frames: Array  # [B, K, 2, 2], the Jacobian of the way from an abstract reference to the image


class Affine(NamedTuple):
    """`z -> matrix z + shift`."""

    matrix: Array  # [B, 2, 2]
    shift: Array  # [B, 2]

    def __call__(self, z: Array) -> Array:
        """Of places [B, ..., 2]."""
        flat = z.reshape(z.shape[0], -1, 2)
        return (jnp.einsum("bij,bnj->bni", self.matrix, flat) + self.shift[:, None]).reshape(z.shape)


def grid(height: int, width: int) -> Array:
    """The places of all pixels, [H, W, 2]."""
    rows, columns = (jnp.linspace(-1, 1, n) if n > 1 else jnp.zeros(1) for n in (height, width))
    return jnp.stack(jnp.meshgrid(columns, rows), -1)


def soft_argmax(heat: Array) -> Array:
    """The mean place of heat maps [B, H, W, K] that sum to one, [B, K, 2]."""
    return jnp.einsum("bhwk,hwc->bkc", heat, grid(*heat.shape[1:3]).astype(heat.dtype))


def inverse(matrix: Array) -> Array:
    """Of [..., 2, 2]; a determinant nearer to 0 than 1e-4 counts as 1e-4."""
    a, b, c, d = (matrix[..., i, j] for i in (0, 1) for j in (0, 1))
    determinant = a * d - b * c
    safe = jnp.where(determinant < 0, -1, 1) * jnp.maximum(jnp.abs(determinant), 1e-4)
    return jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], -2) / safe[..., None, None]


def local_maps(source: Keypoints, driving: Keypoints, z: Array) -> Array:
    """`T_k(z) = p_k + J_k J'_k^-1 (z - p'_k)`, [B, K, H, W, 2]: from the driving image's places to the source's.

    To first order around each keypoint (equations 3 and 4). If the motion is one affine map of the whole image and the
    keypoints follow it, all of them are that map, wherever the keypoints are.

    Args:
        source: p, J.
        driving: p', J'.
        z: [H, W, 2].
    """
    linear = source.frames @ inverse(driving.frames)
    away = z[None, None] - driving.places[:, :, None, None]
    return jnp.einsum("bkij,bkhwj->bkhwi", linear, away) + source.places[:, :, None, None]


def flow(maps: Array, masks: Array, z: Array) -> Array:
    """`m_0 z + sum_k m_k T_k(z)`, [B, H, W, 2], of masks [B, H, W, K + 1] that sum to one, the still one first."""
    still = jnp.broadcast_to(z[None, None], (maps.shape[0], 1, *z.shape))
    return jnp.einsum("bhwk,bkhwc->bhwc", masks, jnp.concatenate([still, maps], 1))


def warped(x: Array, places: Array) -> Array:
    """`y(z) = x(places(z))`, bilinear, with the outermost pixels going on for ever: backward warping.

    Args:
        x: [B, H, W, C].
        places: [B, ..., 2].

    Returns:
        [B, ..., C].
    """
    _, h, w, _ = x.shape
    middle, most = jnp.array([w - 1, h - 1]) / 2, jnp.array([w - 1, h - 1])

    def one(x: Array, places: Array) -> Array:
        like = (*[1] * (places.ndim - 1), 2)
        at = jnp.clip((places + 1) * middle.reshape(like), 0, most.reshape(like))
        low = jnp.floor(at).astype(jnp.int32)
        share = at - low
        (j, i), (s, t) = jnp.moveaxis(low, -1, 0), jnp.moveaxis(share[..., None], -2, 0)
        right, below = jnp.minimum(j + 1, w - 1), jnp.minimum(i + 1, h - 1)
        return (x[i, j] * (1 - s) + x[i, right] * s) * (1 - t) + (x[below, j] * (1 - s) + x[below, right] * s) * t

    return jax.vmap(one)(x, places)


def moved(x: Array, places: Array, sides: tuple[int, int]) -> Array:
    """A picture at every place of its way through a frame, by pixels and parts of pixels; what leaves it is gone.

    Bilinear: `y_t(r, c) = sum_ij hat(r - i - p_t) hat(c - j - q_t) x(i, j)` with `hat(d) = max(0, 1 - |d|)`, by which a
    shift along each axis is a matrix. Derivatives by p and q are those of the interpolation, at whole pixels the means
    of both sides': central differences.

    Args:
        x: [B, h, w, C], 0 where there is nothing.
        places: [B, T, 2], (p, q), how far its first pixel is from the frame's, downwards and to the right.
        sides: H and W of the frame.

    Returns:
        [B, T, H, W, C].
    """

    def shift(side: int, size: int, by: Array) -> Array:
        """[B, T, side, size], where to and from where."""
        apart = jnp.subtract.outer(jnp.arange(side), jnp.arange(size))[None, None] - by[..., None, None]
        return jnp.maximum(0, jnp.minimum(1 + apart, 1 - apart)).astype(x.dtype)

    down, right = (shift(sides[axis], x.shape[1 + axis], places[..., axis]) for axis in (0, 1))
    return jnp.einsum("btri,btcj,bijk->btrck", down, right, x)
