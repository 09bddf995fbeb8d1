"""What StyleGAN2 adds to the game of two networks: styles to mix, to draw from and to find, and the lengths of paths.

A generator of styles is a module like `models.stylegan.Generator`, with the methods

    styles(z [B, Z]) -> w [B, W]
    mixed(w, other, cut [B]) -> [B, layers, W], those of `other` from a layer on
    truncated(w, psi) -> w drawn towards its running mean
    render(w [B, layers, W] or [B, W], noise [B, 2] or None) -> images
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from ganjax.checks import check_name, check_range
from ganjax.core import (
    Array,
    Batch,
    Draw,
    Game,
    Key,
    Latent,
    Measure,
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
from ganjax.games.latents import normal as normal_latent
from ganjax.games.latents import on_the_arc
from ganjax.games.network import network
from ganjax.layers.equalised import pixel_norm

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

    Loss and penalty are paid in one step, so that k steps are k updates, however lazy. The authors' code takes steps of
    Adam for a penalty alone, k + 1 for k, and makes all of them smaller for that, by k / (k + 1).

    Args:
        game: of `gan`, played by this generator.
        generator: of styles.
        prior: of its latents.
        weight: of the penalty.
        every: lazy: at every k-th step with k times the weight.
        share: of the batch whose paths are measured, one in so many examples, which a device's batch is a multiple of.
        decay: of the mean.
        axis_name: the mapped axis that shares the batch, if any.
    """
    check_range("with_path_length", 0, weight=weight)
    check_range("with_path_length", 1, whole=True, every=every, share=share)
    check_range("with_path_length", 0, 1, decay=decay)
    net, base = network(generator), game.costs[GENERATOR]

    def init(key: Key, batch: PyTree) -> tuple[dict, dict]:
        params, state = game.init(key, batch)
        return params, {**state, GENERATOR: {**state[GENERATOR], _LENGTH: jnp.zeros(())}}

    def without(moment: Moment) -> Moment:
        """The moment as the game below knows it."""
        own = {name: value for name, value in moment.net_state[GENERATOR].items() if name != _LENGTH}
        return moment._replace(net_state={**moment.net_state, GENERATOR: own})

    def measured(params: PyTree, moment: Moment) -> Array:
        position = moment.batch.position[: moment.batch.position.shape[0] // share]
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
    group = math.lcm(game.group, share)
    taken = {**game.taken_every, f"{GENERATOR}/path": every}
    return game._replace(init=init, costs={**others, GENERATOR: of_generator}, group=group, taken_every=taken)


def samplers(generator: nn.Module, *, size: int) -> dict[str, Sampler]:
    """Draws through w, which a truncation draws towards its running mean, and draws of z itself without noise maps.

    - styles: a latent is w, [W], or of every layer its own, [layers, W], and the data of a key for noise maps, "noise",
      without which there are none. `--truncation psi` is `w_avg + psi (w - w_avg)` (Karras et al. 2019, appendix B),
      from 0, one image, to 1, all that there are.
    - z: a latent is z of N(0, I), as `latent` looks for one.

    Args:
        generator: of styles.
        size: of z.
    """
    ask = _asked(generator)

    def prior(weights: Weights, key: Key, truncation: float | None) -> dict[str, Array]:
        z, own = jax.random.split(key)
        w = ask(weights, "styles", jax.random.normal(z, (1, size)))[0]
        w = w if truncation is None else ask(weights, "truncated", w, truncation)
        return {"w": w, "noise": jax.random.key_data(own)}

    def decode(weights: Weights, latent: dict[str, Array], given: PyTree) -> Array:
        return ask(weights, "render", latent["w"], latent.get("noise"))

    def of_z(weights: Weights, z: Array, given: PyTree) -> Array:
        return ask(weights, "render", ask(weights, "styles", z))

    return {
        "styles": Sampler((GENERATOR,), "data", latent=Latent(prior, decode), batch=32),
        "z": Sampler((GENERATOR,), "data", latent=Latent(normal_latent(size), of_z, size), batch=32),
    }


def _asked(generator: nn.Module) -> Callable[..., Array]:
    """`(weights, method, *arguments) -> what the method says`, in evaluation mode."""
    net = network(generator)

    def ask(weights: Weights, method: str, *args: Array | float | None) -> Array:
        params, state = weights[GENERATOR]
        own = {name: value for name, value in state.items() if name != _LENGTH}
        return net.apply(params, own, *args, train=False, method=method)[0]

    return ask


def speed(path: Callable[[Array], Array], t: Array) -> Array:
    """`|d path(t) / dt|^2`, [B], exactly: what `|path(t + e) - path(t)|^2 / e^2` tends to as e goes to 0.

    That quotient is the perceptual path length where the path goes on to features that see as people do (Karras et al.
    2019, section 4.1, with e = 1e-4, of which float32 keeps about three digits). Taken by reverse mode twice, which all
    convolutions have.

    Args:
        path: `t [B] -> [B, ...]`, each of its own t.
        t: [B], where.
    """
    x, pull = jax.vjp(path, t)
    (slope,) = jax.vjp(lambda y: pull(y)[0], jnp.zeros_like(x))[1](jnp.ones_like(t))
    return jnp.square(slope).reshape(len(t), -1).sum(1)


def path_speeds(
    generator: nn.Module,
    *,
    size: int,
    space: Literal["w", "z"] = "w",
    ends: bool = False,
    feature: Callable[[Array], Array] = lambda x: x,
) -> Callable[[Weights, Key, Array], Array]:
    """`(weights, key, index [B]) -> speed of f(G(path)) a feature`, [B], on the way from one latent to another.

    Their mean is the path length of Karras et al. 2019, section 4.1. Of a generator `G(z) = A z` it is
    `2 |A|_F^2 / F` where w is z, at any t, and in z `|A|_F^2 / F` times the mean of the squared angle between two z.

    Args:
        generator: of styles.
        size: of z.
        space: "w", straight from the w of one z to that of another; or "z", the arc between both on the sphere that the
            mapping network brings z to.
        ends: at t = 0, where the way begins, rather than at t of U(0, 1).
        feature: f, `images [B, H, W, C] -> [B, ...]`; the images themselves by default, with values from -1 to 1.
    """
    check_name("path_speeds", "space", space, ("w", "z"))
    ask = _asked(generator)

    def drawn(key: Key) -> tuple[Array, ...]:
        both, place, own = jax.random.split(key, 3)
        return jax.random.normal(both, (2, size)), jax.random.uniform(place), jax.random.key_data(own)

    def speeds(weights: Weights, key: Key, index: Array) -> Array:
        z, t, own = noise(drawn, key, index)
        if space == "w":
            first, last = (ask(weights, "styles", z[:, i]) for i in range(2))
            way = lambda t: first + t[:, None] * (last - first)  # noqa: E731
        else:
            first, last = (pixel_norm(z[:, i]) for i in range(2))
            way = lambda t: ask(weights, "styles", on_the_arc(first, last, t[:, None]))  # noqa: E731
        path = lambda t: feature(ask(weights, "render", way(t), own))  # noqa: E731
        return speed(path, jnp.zeros_like(t) if ends else t) / math.prod(jax.eval_shape(path, t).shape[1:])

    return speeds


def measures(generator: nn.Module, *, size: int, trim: float = 0.01) -> dict[str, Measure]:
    """How fast images change between two styles: `path_length`, the mean of `path_speeds` in w.

    Of pixels from -1 to 1, noise maps the same all along the way. The largest and the smallest values, `trim` of them
    each, are left out, as in the authors' code. It depends on held-out data by their number alone.

    Args:
        generator: of styles.
        size: of z.
        trim: the share.
    """
    check_range("measures", 0, 0.5, below=True, trim=trim)
    speeds = path_speeds(generator, size=size)

    def values(weights: Weights, batch: Batch, key: Key) -> Array:
        return speeds(weights, key, batch.position)

    def summary(values: PyTree) -> float:
        from scipy.stats import trim_mean

        return float(trim_mean(values, trim))

    return {"path_length": Measure(values, (GENERATOR,), "data", "lower", summary=summary, batch=32)}


class Projection(NamedTuple):
    """The styles whose images come nearest to given ones."""

    w: Array  # [B, W] or [B, layers, W], as they began
    x_hat: Array  # [B, ...], render(w)
    losses: Array  # [steps + 1, B], before each step, of w with its noise, and last that of x_hat


def project(
    render: Callable[[Array], Array],
    x: Array,
    key: Key,
    start: Array,
    spread: Array,
    *,
    steps: int = 300,
    learning_rate: float = 0.1,
    wander: float = 0.05,
    feature: Callable[[Array], Array] = lambda x: x,
) -> Projection:
    """`argmin_w mean_j (f(G(w))_j - f(x)_j)^2` by Adam from a mean style (Karras et al. 2020, section 5).

    The step size rises over the first twentieth of the steps and falls along a cosine over the last quarter; w is seen
    with Gaussian noise of `wander spread (1 - t / 0.75)^2`, which ends at t = 3/4. Each image is projected by itself.
    The images are rendered from the w that is returned: the authors' code optimises noise maps too, and loses them.

    Args:
        render: `w -> x`, of w alone.
        x: [B, ...] floating, the images.
        key: the noise of image i comes from `fold_in(key, i)`.
        start: [W] for one style of all layers, [layers, W] for one of each.
        spread: the deviation of w, a scalar or [W].
        steps: of Adam.
        learning_rate: of Adam at most.
        wander: deviation of the noise at first, in units of `spread`.
        feature: `[B, ...] -> [B, ...]`, what is compared; the images themselves by default.
    """
    check_range("project", 1, whole=True, steps=steps)
    check_range("project", 0, above=True, learning_rate=learning_rate)
    check_range("project", 0, wander=wander)
    wanted, done = feature(x), lambda i: (i + 0.5) / steps

    def rate(i: Array) -> Array:
        falling = jnp.minimum(1.0, (1 - done(i)) / 0.25)
        return learning_rate * jnp.minimum(1.0, done(i) / 0.05) * (1 - jnp.cos(jnp.pi * falling)) / 2

    def away(images: Array) -> Array:
        return jnp.square(feature(images) - wanted).reshape(len(x), -1).mean(1)

    def loss(w: Array) -> tuple[Array, Array]:
        """The sum over images, none of which sees another, and [B]."""
        each = away(render(w))
        return each.sum(), each

    adam = optax.adam(rate)

    def step(carry: tuple, i: Array) -> tuple[tuple, Array]:
        w, state = carry
        draw = lambda k: jax.random.normal(jax.random.fold_in(k, i), start.shape, start.dtype)  # noqa: E731
        far = wander * jnp.square(jnp.maximum(0.0, 1 - done(i) / 0.75)) * jnp.asarray(spread, start.dtype)
        seen = w + far.reshape(*[1] * (w.ndim - far.ndim), *far.shape) * noise(draw, key, jnp.arange(len(x)))
        (_, each), slope = jax.value_and_grad(loss, has_aux=True)(seen)
        updates, state = adam.update(slope, state)
        return (w + updates, state), each

    first = jnp.broadcast_to(start, (len(x), *start.shape))
    (w, _), curve = jax.lax.scan(step, (first, adam.init(first)), jnp.arange(steps))
    x_hat = render(w)
    return Projection(w, x_hat, jnp.concatenate([curve, away(x_hat)[None]]))
