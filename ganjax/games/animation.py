"""Animation: an image moves as a clip does, by keypoints that nobody named (Siarohin et al. 2019)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.checks import check_range
from ganjax.core import Array, Batch, Draw, Game, Key, Measure, Moment, PerPlayer, Sampler, Weights, noise, substream
from ganjax.games.network import network, owned
from ganjax.games.terms import Term, of_terms
from ganjax.layers.motion import Affine, Keypoints, grid, inverse, soft_argmax, warped

DETECTOR, GENERATOR = "detector", "generator"
SCALES = 3  # of the pyramid in which images are compared
TURN, STRETCH, SHIFT = 0.5, 0.2, 0.2  # the standard deviations of a random affine map: radians, entries, half sides


def random_affine(key: Key) -> Affine:
    """A turn, a stretch and a shift: without the axis of a batch."""
    u = jax.random.normal(key, (7,))
    cos, sin = jnp.cos(TURN * u[0]), jnp.sin(TURN * u[0])
    turn = jnp.array([[cos, -sin], [sin, cos]])
    return Affine(turn @ (jnp.eye(2) + STRETCH * u[1:5].reshape(2, 2) / 2), SHIFT * u[5:7])


def equivariance(here: Keypoints, there: Keypoints, moved: Affine) -> Array:
    """`mean_k |p_k - V(p'_k)|_1 + |1 - J_k^-1 V J'_k|_1`, [B], of images x and `y(z) = x(V z)` (equations 10 and 11).

    0 for a detector that follows every affine map. The second summand, with J and not its inverse, would be minimised
    by frames of length 0.

    Args:
        here: of x.
        there: of y.
        moved: V.
    """
    places = jnp.abs(here.places - moved(there.places)).sum(-1)
    ratio = inverse(here.frames) @ (moved.matrix[:, None] @ there.frames)
    frames = jnp.abs(jnp.eye(2)[None, None] - ratio).sum((-2, -1))
    return (places + frames).mean(1)


def pyramid_distance(x: Array, y: Array) -> Array:
    """The mean absolute difference of images, added over scales that halve, [B]."""
    gap = jnp.zeros(x.shape[0])
    for _ in range(SCALES):
        gap = gap + jnp.abs(x - y).reshape(x.shape[0], -1).mean(1)
        x, y = (nn.avg_pool(one, (2, 2), (2, 2)) for one in (x, y))
    return gap


class Moved(NamedTuple):
    """What one look shows."""

    driving: Array  # [B, H, W, C]
    made: Array  # [B, H, W, C], of the source
    equivariance: Array  # [B]


def animation(detector: nn.Module, generator: nn.Module, *, weight: float = 1.0) -> Game:
    """Two frames of a clip: the first is moved to look like the second, by keypoints that nobody was told of.

    Detector and generator pay `sum_scales mean |D - G(S)| + weight E`, E the `equivariance` of the detector under a
    random affine map of the driving frame.

    Args:
        detector: module, `x [B, H, W, C] -> Keypoints`.
        generator: module, `(x [B, H, W, C], source, driving) -> x [B, H, W, C]`, both `Keypoints`.
        weight: of E.

    Returns:
        A game of the players "detector" and "generator", whose batch is a `Batch` of clips [B, T, H, W, C].

    Raises:
        ValueError: the weight is out of its range; from `init`, if examples are no clips of two frames at least.
    """
    check_range("animation", 0, weight=weight)
    d, g = network(detector), network(generator)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        if batch.x.ndim != 5 or batch.x.shape[1] < 2:
            raise ValueError(f"animation: examples have shape {batch.x.shape[1:]}, expected clips (T, H, W, C), T > 1")
        keys, x = jax.random.split(key), batch.x[:, 0]
        found = d.init(keys[0], x)
        made = g.init(keys[1], x, found[2], found[2])
        if made[2].shape != x.shape:
            raise ValueError(f"animation: the generator makes {made[2].shape[1:]}, expected {x.shape[1:]}, of a frame")
        return owned({DETECTOR: found, GENERATOR: made})

    def look(params: PerPlayer, moment: Moment) -> tuple[Moved, PerPlayer]:
        x, state = moment.batch.x, moment.net_state

        def choice(key: Key) -> Array:
            return jax.random.choice(key, x.shape[1], (2,), replace=False)

        one, other = noise(choice, moment.key, moment.batch.position).T
        each = jnp.arange(x.shape[0])
        source, driving = x[each, one], x[each, other]
        moved = noise(random_affine, substream(moment.key, Draw.OTHER), moment.batch.position)
        turned = warped(driving, moved(jnp.broadcast_to(grid(*x.shape[2:4])[None], (x.shape[0], *x.shape[2:4], 2))))
        found, after = d.apply(
            params[DETECTOR], state[DETECTOR], jnp.concatenate([source, driving, turned]), train=True
        )
        first, second, third = (jax.tree.map(lambda leaf, k=k: jnp.split(leaf, 3)[k], found) for k in range(3))
        made, own = g.apply(params[GENERATOR], state[GENERATOR], source, first, second, train=True)
        return Moved(driving, made, equivariance(second, third, moved)), {DETECTOR: after, GENERATOR: own}

    terms = {
        "distance": Term(lambda s: pyramid_distance(s.driving, s.made)),
        "equivariance": Term(lambda s: s.equivariance, weight),
    }
    return Game(init, of_terms(look, {DETECTOR: terms, GENERATOR: terms}))


# -- what is drawn and measured ---------------------------------------------------------------------------------------


def relative(still: Keypoints, first: Keypoints, now: Keypoints) -> Keypoints:
    """Keypoints of a source that moves as a driving clip has moved since its first frame (section 3.4)."""
    return Keypoints(still.places + now.places - first.places, now.frames @ inverse(first.frames) @ still.frames)


def animated(detector: nn.Module, generator: nn.Module, weights: Weights, source: Array, driving: Array) -> Array:
    """A clip [B, T, H, W, C] of a source [B, H, W, C] that moves as a driving clip [B, T, H, W, C] does, relatively."""
    find = partial(network(detector).apply, *weights[DETECTOR], train=False)
    paint = partial(network(generator).apply, *weights[GENERATOR], train=False)
    still, first = find(source)[0], find(driving[:, 0])[0]

    def frame(now: Array) -> Array:
        return paint(source, still, relative(still, first, find(now)[0]))[0]

    return jax.lax.map(frame, jnp.moveaxis(driving, 1, 0)).swapaxes(0, 1)


def samplers(detector: nn.Module, generator: nn.Module, sources: Array | None = None) -> dict[str, Sampler]:
    """Held-out clips from their first frames: moved as they move, "reconstruction", or as in a mirror, "mirrored".

    Args:
        detector: of the game.
        generator: of the game.
        sources: [M, H, W, C] images that are moved in the place of first frames, sample i the image i mod M.
    """

    def draw(mirrored: bool, weights: Weights, key: Key, index: Array, x: Array) -> Array:
        source = x[:, 0] if sources is None else sources[index % sources.shape[0]]
        return animated(detector, generator, weights, source, x[:, :, :, ::-1] if mirrored else x)

    return {
        name: Sampler((DETECTOR, GENERATOR), "data", partial(draw, mirrored), given=("data", "x"), batch=32)
        for name, mirrored in (("reconstruction", False), ("mirrored", True))
    }


def measures(detector: nn.Module, generator: nn.Module) -> dict[str, Measure]:
    """Of held-out clips: mean absolute error of all frames made of the first, that of the first left where it is, and
    by how many pixels keypoints miss the way of the centre of what is bright."""

    def error(weights: Weights, batch: Batch, key: Key) -> Array:
        made = animated(detector, generator, weights, batch.x[:, 0], batch.x)
        return jnp.abs(made - batch.x).reshape(batch.x.shape[0], -1).mean(1)

    def still(weights: Weights, batch: Batch, key: Key) -> Array:
        return jnp.abs(batch.x[:, :1] - batch.x).reshape(batch.x.shape[0], -1).mean(1)

    def drift(weights: Weights, batch: Batch, key: Key) -> Array:
        b, t, h, w, _ = batch.x.shape
        frames = batch.x.reshape(b * t, h, w, -1)
        found = network(detector).apply(*weights[DETECTOR], frames, train=False)[0].places.reshape(b, t, -1, 2)
        ink = (frames.mean(-1) + 1) / 2
        share = ink / jnp.maximum(ink.sum((1, 2), keepdims=True), 1e-6)
        centre = soft_argmax(share[..., None]).reshape(b, t, 1, 2)
        gap = (found - found[:, :1]) - (centre - centre[:, :1])
        pixels = gap * (jnp.array([w - 1, h - 1]) / 2).reshape(1, 1, 1, 2)
        return jnp.sqrt(jnp.square(pixels).sum(-1)).mean((1, 2))

    both = (DETECTOR, GENERATOR)
    return {
        "l1": Measure(error, both, "data", "lower", batch=32),
        "l1_still": Measure(still, both, "data", "lower", batch=32),
        "drift": Measure(drift, both, "data", "lower", batch=32),
    }
