"""Systems that the contracts must carry, in toy size, each as an experiment with a command line of its own.

python setups.py NAME COMMAND ... runs a command of one of them, as tests do in other processes.
"""

import dataclasses
import sys
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.lax import stop_gradient
from jax.nn import softplus

from ganjax import launch
from ganjax.core import (
    Draw,
    Game,
    Latent,
    Measure,
    Outcome,
    Sampler,
    noise,
    substream,
)
from ganjax.dynamics import alternating, ema, simultaneous
from ganjax.dynamics.field import average_over
from ganjax.games import Term, adaptation, of_terms, translation
from ganjax.games.cyclegan import cyclegan as cyclegan_game
from ganjax.games.network import network, owned
from ganjax.options import TrainConfig
from ganjax.training import Averaged, From, Setup, Stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """Two data sets."""

    target: str = "digits"
    """The second one."""
    source_steps: int = 4
    """Of the first stage."""


class Dense(nn.Module):
    """One layer to examples of this shape, or to vectors."""

    shape: tuple[int, ...]
    bound: bool = False

    @nn.compact
    def __call__(self, x):
        size = 1
        for n in self.shape:
            size *= n
        y = nn.Dense(size)(x.reshape(x.shape[0], -1)).reshape(x.shape[0], *self.shape)
        return jnp.tanh(y) if self.bound else y


def sgds(*players):
    return dict.fromkeys(players, optax.sgd(0.01))


def hypot(x):
    return jnp.square(x).reshape(x.shape[0], -1).sum(1)


# A single player of a strange name, without anything to sample: it follows the mean of its data.
def build_follower(c, load, axis_name):
    data = load(c.data)

    def cost(params, moment):
        return hypot(params["wanderer"][None] - moment.batch.x).mean(), Outcome({}, {})

    shape = data.shape
    game = Game(lambda key, batch: ({"wanderer": jnp.zeros(shape)}, {"wanderer": {}}), {"wanderer": cost})
    far = Measure(lambda w, b, key: hypot(w["wanderer"].params[None] - b.x), ("wanderer",), "data", "lower")
    return Setup(
        game,
        simultaneous(sgds("wanderer"), axis_name=axis_name),
        {"data": Stream(data, c.batch_size)},
        measures={"far": far},
    )


# The same with nothing to measure either.
def build_mute(c, load, axis_name):
    return build_follower(c, load, axis_name)._replace(measures={})


# VAE-GAN (Larsen et al. 2016): an encoder, a decoder and a discriminator, one look.
class Coded(NamedTuple):
    mean: jax.Array
    log_std: jax.Array
    real: jax.Array
    rec: jax.Array
    new: jax.Array


def build_vae_gan(c, load, axis_name):
    data, size = load(c.data), 3
    e, f, d = network(Dense((2, size))), network(Dense(data.shape, True)), network(Dense((4,)))

    def init(key, batch):
        k = jax.random.split(key, 3)
        made = {"encoder": e.init(k[0], batch.x), "decoder": f.init(k[1], jnp.zeros((len(batch.x), size)))}
        return owned(made | {"discriminator": d.init(k[2], batch.x)})

    def look(p, m):
        x, xi = m.batch.x, noise(lambda k: jax.random.normal(k, (2, size)), m.key, m.batch.position)
        on = lambda net, player, x: net.apply(p[player], {}, x, train=True)[0]  # noqa: E731
        mean, log_std = jnp.moveaxis(on(e, "encoder", x), 1, 0)
        x_hat, x_new = on(f, "decoder", mean + jnp.exp(log_std) * xi[:, 0]), on(f, "decoder", xi[:, 1])
        said = [on(d, "discriminator", x) for x in (x, x_hat, x_new)]
        return Coded(mean, log_std, *said), m.net_state

    logits = lambda features: features.sum(-1)  # noqa: E731
    feature = lambda s: hypot(s.real - s.rec) / 2  # noqa: E731
    kl = lambda s: (jnp.exp(2 * s.log_std) + s.mean**2 - 1 - 2 * s.log_std).sum(1) / 2  # noqa: E731
    judge = lambda s: softplus(-logits(s.real)) + (softplus(logits(s.rec)) + softplus(logits(s.new))) / 2  # noqa: E731
    fool = lambda s: (softplus(-logits(s.rec)) + softplus(-logits(s.new))) / 2  # noqa: E731
    terms = {
        "encoder": {"kl": Term(kl), "feature": Term(feature)},
        "decoder": {"feature": Term(feature, 0.1), "adversarial": Term(fool)},
        "discriminator": {"adversarial": Term(judge)},
    }
    game = Game(init, of_terms(look, terms))

    def prior(weights, key, truncation):
        return jax.random.normal(key, (size,))

    def decode(weights, z, given):
        return f.apply(*weights["decoder"], z, train=False)[0]

    def rebuilt(weights, x):
        return decode(weights, e.apply(*weights["encoder"], x, train=False)[0][:, 0], None)

    samplers = {
        "prior": Sampler(("decoder",), "data", latent=Latent(prior, decode, size)),
        "reconstruction": Sampler(
            ("encoder", "decoder"), "data", lambda w, key, index, x: rebuilt(w, x), given=("data", "x")
        ),
    }
    error = Measure(lambda w, b, key: hypot(b.x - rebuilt(w, b.x)), ("encoder", "decoder"), "data", "lower")
    return Setup(
        game, simultaneous(sgds("encoder", "decoder", "discriminator"), axis_name=axis_name),
        {"data": Stream(data, c.batch_size)},
        {"ema": Averaged(("encoder", "decoder"), ema(0.5))}, samplers, {"error": error},
    )  # fmt: skip


# CycleGAN (Zhu et al. 2017): two translators, two critics, two streams of unequal size, two pools.
def jitter(key, one):
    return one._replace(x=jnp.where(jax.random.bernoulli(key), one.x[:, ::-1], one.x))


def cyclegan(shapes, axis_name=None):
    g, f = Dense(shapes["b"], True), Dense(shapes["a"], True)
    return cyclegan_game(g, f, Dense((1,)), identity=0.0, pool=32, axis_name=axis_name), (g, f)


def build_cyclegan(c, load, axis_name):
    a, b = load(c.data), load(c.target)
    game, translators = cyclegan({"a": a.shape, "b": b.shape}, axis_name)
    streams = {"a": Stream(a, c.batch_size, prepare=jitter), "b": Stream(b, c.batch_size)}
    dynamics = simultaneous(sgds("g", "f", "d_a", "d_b"), axis_name=axis_name)
    averages = {"ema": Averaged(("g", "f"), ema(0.5))}
    return Setup(game, dynamics, streams, averages, translation.samplers(*translators))


# ADDA (Tzeng et al. 2017): a classifier of the source, then a target encoder against a critic; two stages.
E, C, D = Dense((6,)), Dense((10,)), Dense(())


def build_adda(c, load, axis_name):
    source, target = Stream(load(c.data), c.batch_size, y="class"), load(c.target)
    play, took = partial(simultaneous, axis_name=axis_name), partial(From, "source_only")
    after = adaptation.judge(E, C, adaptation.owners_of("features"))
    return {
        "source_only": Setup(
            adaptation.supervised(E, C), play(sgds("encoder", "classifier")),
            {"source": source, "target": Stream(target, 0)},
            measures={"accuracy": adaptation.accuracy(adaptation.judge(E, C), "target")}, steps=c.source_steps,
        ),
        "adapt": Setup(
            adaptation.adda(E, C, D), play(sgds("critic", "target")),
            {"source": source, "target": Stream(target, c.batch_size // 2)},
            measures={"accuracy": adaptation.accuracy(after, "target")},
            start={"source": took("encoder"), "target": took("encoder"), "classifier": took("classifier")},
        ),
    }  # fmt: skip


# MCD (Saito et al. 2018): features and a pair of classifiers in three steps, of which the third is taken four times.
def build_mcd(c, load, axis_name):
    heads, order = Dense((2, 10)), adaptation.ORDER_OF_MCD
    dynamics = alternating(sgds("encoder", "classifiers"), order=order, fresh=False, axis_name=axis_name)
    streams = {"source": Stream(load(c.data), c.batch_size, y="class"), "target": Stream(load(c.target), c.batch_size)}
    hit = adaptation.accuracy(adaptation.judge(E, heads, adaptation.JOINT_PAIR), "target")
    game = adaptation.mcd(E, heads, axis_name=axis_name)
    return Setup(game, dynamics, streams, measures={"accuracy": hit})


# The generator of StyleGAN2 (Karras et al. 2020): styles, their running mean, and the length of a path.
def build_styles(c, load, axis_name):
    data, width = load(c.data), 5
    f, g, d = network(Dense((width,))), network(Dense(data.shape, True)), network(Dense((1,)))

    def init(key, batch):
        k = jax.random.split(key, 3)
        z = jnp.zeros((len(batch.x), width))
        params = {"mapping": f.init(k[0], z)[0], "synthesis": g.init(k[1], z)[0]}
        state = {"w_avg": jnp.zeros(width), "length": jnp.zeros(())}
        return {"discriminator": d.init(k[2], batch.x)[0], "generator": params}, {
            "discriminator": {},
            "generator": state,
        }

    def fake(own, m):
        z = noise(lambda k: jax.random.normal(k, (width,)), m.key, m.batch.position)
        w = f.apply(own["mapping"], {}, z, train=True)[0]
        return g.apply(own["synthesis"], {}, w, train=True)[0], w

    say = lambda p, x: d.apply(p["discriminator"], {}, x, train=True)[0]  # noqa: E731

    def path_lengths(own, w, m):
        shape = (len(w), *data.shape)
        y = noise(lambda k: jax.random.normal(substream(k, Draw.OTHER), shape[1:]), m.key, m.batch.position[: len(w)])
        slope = jax.grad(lambda w: (g.apply(own, {}, w, train=True)[0] * y).sum())(w)
        return jnp.sqrt(hypot(slope))

    def generator(p, m):
        own, s = p["generator"], m.net_state["generator"]
        x, w = fake(own, m)
        half = len(x) // 2
        found = jax.lax.cond(
            m.step % 4 == 0, lambda: path_lengths(own["synthesis"], w[:half], m), lambda: jnp.full(half, s["length"])
        )  # where it is not due, it costs nothing and moves nothing
        length = s["length"] + 0.01 * (average_over(axis_name, stop_gradient(found).mean()) - s["length"])
        parts = {"adversarial": softplus(-say(p, x)).mean(), "path": ((found - length) ** 2).mean()}
        w_avg = stop_gradient(0.9 * s["w_avg"] + 0.1 * w.mean(0))
        return parts["adversarial"] + 8 * parts["path"], Outcome({"w_avg": w_avg, "length": length}, parts)

    def look(p, m):
        return (m.batch.x, fake(p["generator"], m)[0], partial(say, p)), m.net_state

    def r1(s):
        x, _, on = s
        return hypot(jax.grad(lambda x: on(x).sum())(x)) / 2

    judge = lambda s: softplus(-s[2](s[0])) + softplus(s[2](s[1]))  # noqa: E731
    terms = {"discriminator": {"adversarial": Term(judge), "r1": Term(r1, 0.1, every=4)}}
    game = Game(init, {**of_terms(look, terms), "generator": generator})

    def prior(weights, key, truncation):
        own, state = weights["generator"]
        w = f.apply(own["mapping"], {}, jax.random.normal(key, (1, width)), train=False)[0][0]
        psi = 1.0 if truncation is None else truncation
        return state["w_avg"] + psi * (w - state["w_avg"])

    def decode(weights, w, given):
        return g.apply(weights["generator"].params["synthesis"], {}, w, train=False)[0]

    dynamics = alternating(sgds("discriminator", "generator"), axis_name=axis_name)
    samplers = {"styles": Sampler(("generator",), "data", latent=Latent(prior, decode))}
    return Setup(
        game, dynamics, {"data": Stream(data, c.batch_size)}, {"ema": Averaged("generator", ema(0.5))}, samplers
    )


# The follower again, of data of any kind, with a sampler that strays from its mean.
def build_stray(c, load, axis_name):
    data = load(c.data)
    whole = jnp.issubdtype(data.kind.encode(jnp.asarray(data.x_train[:1])).dtype, jnp.integer)

    def cost(params, moment):
        return hypot(params["stray"][None] - moment.batch.x).mean(), Outcome({}, {})

    def draw(weights, key, index, given):
        mean = weights["stray"].params[None]
        x = mean + 0.1 * noise(lambda k: jax.random.normal(k, mean.shape[1:]), key, index)
        return jnp.round(jnp.abs(x)).astype(jnp.int32) if whole else x

    game = Game(lambda key, batch: ({"stray": jnp.zeros(data.shape)}, {"stray": {}}), {"stray": cost})
    play = simultaneous(sgds("stray"), axis_name=axis_name)
    streams = {"data": Stream(data, c.batch_size)}
    return Setup(game, play, streams, samplers={"stray": Sampler(("stray",), "data", draw)})


# A run that begins from another one: the follower from where the follower came to, by `--data` of its own.
def build_from(c, load, axis_name):
    setup = build_follower(c, load, axis_name)
    return setup._replace(start={"wanderer": From(c.target, "wanderer")})


SYSTEMS = {
    "follower": build_follower,
    "mute": build_mute,
    "vae_gan": build_vae_gan,
    "cyclegan": build_cyclegan,
    "adda": build_adda,
    "mcd": build_mcd,
    "styles": build_styles,
    "stray": build_stray,
    "from": build_from,
}
DEFAULTS = Config(
    steps=6, batch_size=16, chunk=3, log_every=1, sample_every=6, checkpoint_every=3, resident_megabytes=64
)
EXPERIMENTS = {
    name: launch.Experiment(name, f"The system {name}.", DEFAULTS, {}, build) for name, build in SYSTEMS.items()
}


if __name__ == "__main__":
    launch.main(EXPERIMENTS[sys.argv[1]], sys.argv[2:])
