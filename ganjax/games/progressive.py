"""What progressive growing adds to the game of two networks: time, by which new layers fade in (Karras et al. 2018)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ganjax.checks import check_range
from ganjax.core import Array, Cost, Game, Moment, Outcome, PerPlayer, PyTree
from ganjax.layers.fading import FADE, faded, share
from ganjax.layers.resampling import double, mean_pool


def fading(game: Game, steps: int) -> Game:
    """The game in which networks and real images fade from half the side to their own in so many steps.

    At step k the share of the new is `alpha = min(k / steps, 1)`: in both networks, which read k from their variable in
    the collection `layers.fading.FADE`, and in real images, which are `(1 - alpha) u(d(x)) + alpha x`. What a player
    keeps in its `net_state` is the number of steps that were taken, by which samples are drawn with the alpha of the
    weights that they are drawn from; it is an integer, which averages of weights leave as it is.

    Args:
        game: of `gan`, whose networks have that variable; its batch is a `Batch` of images of even sides.
        steps: after which the new layers stand alone.
    """
    check_range("fading", 1, whole=True, steps=steps)

    def at(moment: Moment) -> Moment:
        state = {player: _told(own, moment.step) for player, own in moment.net_state.items()}
        x = real(moment.batch.x, share(moment.step, steps))
        return moment._replace(net_state=state, batch=moment.batch._replace(x=x))

    def of(cost: Cost) -> Cost:
        def timed(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
            value, outcome = cost(params, at(moment))
            return value, outcome._replace(net_state=_told(outcome.net_state, moment.step + 1))

        return timed

    return game._replace(costs={name: of(cost) for name, cost in game.costs.items()})


def real(x: Array, alpha: Array) -> Array:
    """`(1 - alpha) u(d(x)) + alpha x`, with means over 2x2 pixels and copies of a pixel; [B, H, W, C]."""
    return faded(double(mean_pool(x)), x, alpha)


def _told(own: Mapping[str, PyTree], step: Array | int) -> dict[str, PyTree]:
    """A player's net_state with this step in its variable."""
    return {**own, FADE: jax.tree.map(lambda _: jnp.asarray(step, jnp.int32), own[FADE])}
