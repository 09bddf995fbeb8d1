"""LAPGAN (Denton et al. 2015): a game for each level of a Laplacian pyramid, and chains through all of them.

A level is the game of two networks whose y is the image of half the side, and the class where there is one: real and
fake images share it, and so do both networks. Levels are independent games: each sees real small images in training. A
chain begins at the smallest level and gives each generator what the one below it drew, so that what is drawn is worse
than what was trained: samplers that begin at true small images say by how much.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
from flax import linen as nn

from ganjax.checks import check_range
from ganjax.core import Array, Batch, Draw, Game, Key, PyTree, Sampler, Weights, noise, substream
from ganjax.games.adversarial import GENERATOR
from ganjax.games.network import network, owned
from ganjax.games.priors import Prior
from ganjax.layers.pyramid import Kernels


class Level(NamedTuple):
    """How images of one size are drawn."""

    generator: nn.Module  # (z [B, ...], y as of `told`) -> [B, H, W, C]
    prior: Prior  # of its z


def noise_map(height: int, width: int) -> Prior:
    """`z ~ U(-1, 1)`, a map of one channel: [height, width, 1]."""
    check_range("noise_map", 1, whole=True, height=height, width=width)
    return lambda key: jax.random.uniform(key, (height, width, 1), minval=-1.0, maxval=1.0)


def told(small: Array | None, label: Array | None) -> PyTree:
    """What both networks of a level are given as y: the small image, but for the smallest level, and the class, if any.

    One of them alone, `{"small": [B, H / 2, W / 2, C], "class": [B]}`, or None.
    """
    if small is None or label is None:
        return label if small is None else small
    return {"small": small, "class": label}


def halving(down: Callable[[Array], Array]) -> Callable[[Key, Batch], Batch]:
    """What a stream does to an example, as `Stream.prepare` takes it: the small image joins its class, if any, as y."""
    return lambda key, one: one._replace(y=told(down(one.x[None])[0], one.y))


def owner(level: int, last: int) -> str:
    """Whose weights the generator of a level are in the game of level `last`: an onlooker's, but for its own."""
    return GENERATOR if level == last else f"{GENERATOR}_{level}"


def above(game: Game, levels: Sequence[Level]) -> Game:
    """The game of the last of these levels with the generators below it as onlookers, the smallest level first.

    They take no part in it, and are to begin with what they ended with in their own games.
    """
    last = len(levels) - 1

    def init(key: Key, batch: PyTree) -> tuple[dict, dict]:
        params, net_state = game.init(key, batch)
        made: dict[str, tuple] = {}
        small, label = None, batch.y["class"][:1] if isinstance(batch.y, Mapping) else None
        for k, level in enumerate(levels[:last]):
            own = substream(key, Draw.OTHER, k)
            made[owner(k, last)] = network(level.generator).init(own, level.prior(own)[None], told(small, label))
            small = made[owner(k, last)][2]
        own_params, own_state = owned(made)
        return {**params, **own_params}, {**net_state, **own_state}

    return game._replace(init=init)


def level_keys(key: Key, count: int) -> list[Key]:
    """A key for the noise of each level, that of the samples itself for the smallest."""
    return [key, *(substream(key, Draw.OTHER, k) for k in range(1, count))]


def chain(
    levels: Sequence[Level],
    weights: Weights,
    keys: Sequence[Key],
    index: Array,
    small: Array | None = None,
    label: Array | None = None,
) -> list[Array]:
    """Images of growing size, each generator given what the one before it drew, in evaluation mode.

    Args:
        levels: all of them, the smallest first.
        weights: by `owner`, of the levels that draw.
        keys: of the noise of each level; of image i, `fold_in(key, i)`.
        index: [B] integers.
        small: [B, h, w, C], the image to begin above; without it the smallest level draws as well.
        label: [B], the class that all levels are told, where they know classes.

    Returns:
        [B, H, W, C] of each level that draws; there are as many as there are keys, and they are the last.
    """
    last, found = len(levels) - 1, []
    for k in range(len(levels) - len(keys), len(levels)):
        params, net_state = weights[owner(k, last)]
        z = noise(levels[k].prior, keys[k - len(levels)], index)
        small, _ = network(levels[k].generator).apply(params, net_state, z, told(small, label), train=False)
        found.append(small)
    return found


def samplers(
    levels: Sequence[Level], kernels: Kernels, height: int, *, conditional: bool = False
) -> dict[str, Sampler]:
    """The chain from the smallest level on, and those that begin at held-out images of each smaller size.

    The latter are called `from_7`, `from_14`, ... by the height of what they begin at: the last one is what its level
    was trained for, and the gap from one to the next is what a level's own errors cost.

    Args:
        levels: up to the one that is drawn, the smallest first.
        kernels: by which true images are made small.
        height: of the images that are drawn.
        conditional: levels know classes. Then there is the whole chain alone: a sampler is given classes or images.
    """
    last = len(levels) - 1
    every = tuple(owner(k, last) for k in range(last + 1))

    def whole(weights: Weights, key: Key, index: Array, given: PyTree) -> Array:
        return chain(levels, weights, level_keys(key, last + 1), index, label=given)[-1]

    def upon(k: int) -> Callable[[Weights, Key, Array, PyTree], Array]:
        def draw(weights: Weights, key: Key, index: Array, x: PyTree) -> Array:
            for _ in range(last - k):
                x = kernels.down(x)
            return chain(levels, weights, level_keys(key, last + 1)[k + 1 :], index, x)[-1]

        return draw

    true = {
        f"from_{height // 2 ** (last - k)}": Sampler(every[k + 1 :], "data", upon(k), given=("data", "x"))
        for k in range(last)
    }
    found = {"chain": Sampler(every, "data", whole, given=("data", "class") if conditional else None)}
    return found if conditional else found | true
