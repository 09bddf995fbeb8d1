"""Networks of the first-order model of motion, in a small size (Siarohin et al. 2019, section 3)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.core import Array
from ganjax.layers.convolution import Conv
from ganjax.layers.motion import Keypoints, flow, grid, local_maps, soft_argmax, warped
from ganjax.layers.resize import bilinear

TEMPERATURE = 0.1  # of the heat maps
SPREAD = 0.1  # of the Gaussians that show the other network where keypoints are, as a variance in half sides


class Detector(nn.Module):
    """`x [B, H, W, C] -> Keypoints`: places are means of heat maps of half the sides, frames their means of a map."""

    points: int  # K
    width: int = 16

    @nn.compact
    def __call__(self, x: Array) -> Keypoints:
        h = (x + 1) / 2  # black is 0
        for k, stride in ((1, 2), (2, 2), (2, 1)):
            h = nn.relu(Conv(k * self.width, (5, 5), strides=(stride, stride), padding=2)(h))
        h = nn.relu(Conv(2 * self.width, (5, 5), padding=2)(bilinear(h, (2 * h.shape[1], 2 * h.shape[2]))))
        b, rows, columns, _ = h.shape
        logits = Conv(self.points, (1, 1))(h).reshape(b, -1, self.points) / TEMPERATURE
        heat = jax.nn.softmax(logits, 1).reshape(b, rows, columns, self.points)
        own = Conv(4, (1, 1), kernel_init=nn.initializers.zeros)(h)
        mean = jnp.einsum("bhwk,bhwj->bkj", heat, own).reshape(b, self.points, 2, 2)
        return Keypoints(soft_argmax(heat), mean + jnp.eye(2)[None, None])


def bumps(points: Keypoints, z: Array) -> Array:
    """Gaussians around keypoints, [B, H, W, K]."""
    away = z[None, :, :, None] - points.places[:, None, None]
    return jnp.exp(-jnp.square(away).sum(-1) / (2 * SPREAD))


class Painter(nn.Module):
    """`(x [B, H, W, C], source, driving) -> [B, H, W, C]`: `o y + (1 - o) r`, y the image warped by the flow.

    A first network sees the image moved by each local map, and where the keypoints are; it says masks that mix the maps
    and the stillness into a flow, and how far what lies there can be seen, o. A second paints r for what cannot.
    """

    width: int = 16

    @nn.compact
    def __call__(self, x: Array, source: Keypoints, driving: Keypoints) -> Array:
        z = grid(*x.shape[1:3])
        maps = local_maps(source, driving, z)
        candidates = warped(x, maps)  # [B, K, H, W, C]
        told = [x, bumps(driving, z) - bumps(source, z), jnp.moveaxis(candidates, 1, 3).reshape(*x.shape[:3], -1)]
        h = nn.relu(Conv(self.width, (5, 5), padding=2)(jnp.concatenate(told, -1)))
        h = nn.relu(Conv(self.width, (5, 5), padding=2)(h))
        said = Conv(maps.shape[1] + 2, (1, 1))(h)
        seen = nn.sigmoid(said[..., -1:] + 2.0)  # at first most of it
        y = warped(x, flow(maps, jax.nn.softmax(said[..., :-1]), z))
        r = nn.relu(Conv(self.width, (5, 5), padding=2)(jnp.concatenate([y, seen], -1)))
        return seen * y + (1 - seen) * jnp.tanh(Conv(x.shape[-1], (5, 5), padding=2)(r))
