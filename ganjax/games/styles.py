"""What StyleGAN2 adds to the game of two networks: styles to mix, lengths of paths, styles to draw from."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.checks import check_range
from ganjax.core import (
    Array,
    Draw,
    Game,
    Key,
    Latent,
    Moment,
    Outcome,
    PerPlayer,
    PyTree,
    Sampler,
    Weights,
    noise,
    substream,
)
from ganjax.dynamics.field import average_over
from ganjax.games.adversarial import GENERATOR
from ganjax.games.network import network

_LENGTH = "length"  # the entry of the generator's net_state that is the running mean of path lengths


def style_prior(size: int, layers: int, *, mixing: float = 0.9) -> Callable[[Key], dict[str, Array]]:
    """Latents of `models.stylegan.Generator`: two z of N(0, I), where the second one takes over, a key for noise maps.

    Each example is mixed by itself, with probability `mixing` from a layer on that is drawn from 1 to layers - 1; the
    authors' code draws one layer for a batch (Karras et al. 2019, section 3.1).

    Args:
        size: of z.
        layers: of the synthesis network.
        mixing: the probability.
    """
    check_range("style_prior", 1, whole=True, size=size, layers=layers)
    check_range("style_prior", 0, 1, mixing=mixing)

    def draw(key: Key) -> dict[str, Array]:
        z, other, place, chance, own = jax.random.split(key, 5)
        cut = jax.random.randint(place, (), 1, layers)
        return {
            "z": jax.random.normal(z, (size,)),
            "other": jax.random.normal(other, (size,)),
            "cut": jnp.where(jax.random.bernoulli(chance, mixing), cut, layers),
            "noise": jax.random.key_data(own),
        }

    return draw


def path_lengths(render: Callable[[Array], Array], w: Array, y: Array) -> Array:
    """`sqrt(mean over layers of |d <G(w), y> / d w_l|^2)`, [B], y white noise over the root of the pixels.

    Its square is `|J|_F^2 / pixels` in the mean over y, J the Jacobian (Karras et al. 2020, section 3.2, by the code's
    mean over layers).

    Args:
        render: `w -> images [B, H, W, C]`, each of its own w.
        w: [B, layers, W].
        y: [B, H, W, C] of N(0, 1).
    """
    scale = math.sqrt(y.shape[1] * y.shape[2])
    slope = jax.grad(lambda w: (render(w) * y).sum() / scale)(w)
    return jnp.sqrt(jnp.square(slope).sum(2).mean(1))


def with_path_length(
    game: Game,
    generator: nn.Module,
    prior: Callable[[Key], dict[str, Array]],
    *,
    weight: float = 2.0,
    every: int = 4,
    share: int = 2,
    decay: float = 0.01,
    axis_name: str | None = None,
) -> Game:
    """The game whose generator also pays `weight (length - a)^2`, a the running mean of path lengths, now and then.

    The mean moves by `decay` towards that of the batch at every step when it is due, before it is compared. Even of a
    linear generator with equal singular values the penalty is not 0: lengths of single y vary.

    Args:
        game: of `gan`, played by this generator.
        generator: module with methods `styles`, `mixed` and `render`, as `models.stylegan.Generator`.
        prior: of its latents.
        weight: of the penalty.
        every: lazy: at every k-th step with k times the weight.
        share: of the batch whose paths are measured, one in so many examples.
        decay: of the mean.
        axis_name: the mapped axis that shares the batch, if any.
    """
    check_range("with_path_length", 0, weight=weight)
    check_range("with_path_length", 1, whole=True, every=every, share=share)
    check_range("with_path_length", 0, 1, decay=decay)
    net, base = network(generator), game.costs[GENERATOR]

    def init(key: Key, batch: PyTree) -> tuple[PerPlayer, PerPlayer]:
        params, state = game.init(key, batch)
        return params, {**state, GENERATOR: {**state[GENERATOR], _LENGTH: jnp.zeros(())}}

    def without(moment: Moment) -> Moment:
        """The moment as the game below knows it."""
        own = {name: value for name, value in moment.net_state[GENERATOR].items() if name != _LENGTH}
        return moment._replace(net_state={**moment.net_state, GENERATOR: own})

    def measured(params: PyTree, moment: Moment) -> Array:
        position = moment.batch.position[: max(1, moment.batch.position.shape[0] // share)]
        keys = noise(lambda k: substream(k, Draw.OTHER, 1), moment.key, position)
        latent = jax.vmap(prior)(keys)
        state = without(moment).net_state[GENERATOR]

        def ask(method: str, *args: Array) -> Array:
            return net.apply(params, state, *args, train=False, method=method)[0]

        w = ask("mixed", ask("styles", latent["z"]), ask("styles", latent["other"]), latent["cut"])
        draw_y = lambda k: jax.random.normal(substream(k, Draw.OTHER), moment.batch.x.shape[1:])  # noqa: E731
        y = jax.vmap(draw_y)(keys)
        return path_lengths(lambda w: ask("render", w, latent["noise"]), w, y)

    def of_generator(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        value, (state, metrics) = base(params, without(moment))
        last = moment.net_state[GENERATOR][_LENGTH]

        def due() -> tuple[Array, Array]:
            lengths = measured(params[GENERATOR], moment)
            mean = average_over(axis_name, jax.lax.stop_gradient(lengths).mean())
            a = last + decay * (mean - last)
            return jnp.square(lengths - a).mean(), a

        penalty, a = jax.lax.cond(moment.step % every == 0, due, lambda: (jnp.zeros(()), last))
        parts = {"path": penalty, "path_length": a}
        return value + every * weight * penalty, Outcome({**state, _LENGTH: a}, {**metrics, **parts})

    others = {
        name: (lambda params, moment, cost=cost: cost(params, without(moment)))
        for name, cost in game.costs.items()
        if name != GENERATOR
    }
    return game._replace(init=init, costs={**others, GENERATOR: of_generator})


def samplers(generator: nn.Module, *, size: int) -> dict[str, Sampler]:
    """Draws of the prior through w, which a truncation draws towards its running mean.

    A latent is w [W] and the data of a key for noise maps. `--truncation psi` is `w_avg + psi (w - w_avg)` (Karras et
    al. 2019, appendix B), from 0, one image, to 1, all that there are.

    Args:
        generator: as of `with_path_length`, with a method `truncated`.
        size: of z.
    """
    net = network(generator)

    def ask(weights: Weights, method: str, *args) -> Array:
        params, state = weights[GENERATOR]
        own = {name: value for name, value in state.items() if name != _LENGTH}
        return net.apply(params, own, *args, train=False, method=method)[0]

    def prior(weights: Weights, key: Key, truncation: float | None) -> dict[str, Array]:
        z, own = jax.random.split(key)
        w = ask(weights, "styles", jax.random.normal(z, (1, size)))[0]
        w = w if truncation is None else ask(weights, "truncated", w, truncation)
        return {"w": w, "noise": jax.random.key_data(own)}

    def decode(weights: Weights, latent: dict[str, Array], given: PyTree) -> Array:
        return ask(weights, "render", latent["w"], latent["noise"])

    return {"styles": Sampler((GENERATOR,), "data", latent=Latent(prior, decode), batch=32)}
