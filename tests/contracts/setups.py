"""Systems that the contracts must carry, in toy size, each as an experiment with a command line of its own.

python setups.py NAME COMMAND ... runs a command of one of them, as tests do in other processes.
"""

import dataclasses
import math
import sys
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.nn import softplus

from ganjax import launch
from ganjax.core import Game, Latent, Measure, Outcome, Sampler, noise
from ganjax.data import halved
from ganjax.dynamics import alternating, ema, simultaneous
from ganjax.games import (
    Term,
    adaptation,
    gan,
    lapgan,
    normal_prior,
    of_terms,
    sampler,
    styles,
    text_to_image,
    translation,
)
from ganjax.games.cyclegan import cyclegan as cyclegan_game
from ganjax.games.network import network, owned
from ganjax.games.progressive import fading
from ganjax.layers.fading import faded, share_now
from ganjax.layers.pyramid import KERNELS
from ganjax.layers.resampling import double, mean_pool
from ganjax.losses import LOSSES
from ganjax.models.stylegan import Generator
from ganjax.options import TrainConfig
from ganjax.penalties import r1
from ganjax.training import Averaged, From, Setup, Stream

BOX = KERNELS["box"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """Two data sets."""

    target: str = "digits"
    """The second one."""
    source_steps: int = 4
    """Of the first stage."""


class Dense(nn.Module):
    """One layer to examples of this shape, or to vectors, from all that it is given."""

    shape: tuple[int, ...]
    bound: bool = False

    @nn.compact
    def __call__(self, *given):
        flat = [x.reshape(x.shape[0], -1).astype(jnp.result_type(x, jnp.float32)) for x in jax.tree.leaves(given)]
        x = jnp.concatenate(flat, -1)
        y = nn.Dense(math.prod(self.shape))(x).reshape(x.shape[0], *self.shape)
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
class Painted(nn.Module):
    shape: tuple[int, ...]
    layers = 2

    @nn.compact
    def __call__(self, w, keys=None):
        strength = self.param("noise", nn.initializers.constant(0.1), ())
        x = 0 if keys is None else strength * jax.vmap(lambda key: jax.random.normal(key, self.shape))(keys)
        return jnp.tanh(Dense(self.shape)(w) + x)


class Styles(Generator):
    def setup(self):
        self.mapping, self.synthesis = Dense((self.size,)), Painted(self.shape)
        self.w_avg = self.variable("styles", "w_avg", jnp.zeros, (self.size,))


def build_styles(c, load, axis_name):
    data, prior = load(c.data), styles.style_prior(5, 2)
    g, lazy = Styles(data.shape, 5), {"r1": Term(r1(), 0.1, every=4)}
    game = gan(g, Dense(()), LOSSES["non_saturating"], prior=prior, terms={"discriminator": lazy}, axis_name=axis_name)
    game = styles.with_path_length(game, g, prior, axis_name=axis_name)
    dynamics = alternating(sgds("discriminator", "generator"), axis_name=axis_name)
    streams, averages = {"data": Stream(data, c.batch_size)}, {"ema": Averaged("generator", ema(0.5))}
    return Setup(game, dynamics, streams, averages, styles.samplers(g, size=5), styles.measures(g, size=5), "styles")


# LAPGAN (Denton et al. 2015): a game for each size, told the class, above the generators of smaller sizes.
def build_lapgan(c, load, axis_name):
    sets = halves(load(c.data))
    drawn = [lapgan.Level(Dense(own.shape, True), normal_prior(3)) for own in sets]

    def level(k, data, **how):
        game = gan(drawn[k].generator, Dense(()), LOSSES["non_saturating"], prior=drawn[k].prior, axis_name=axis_name)
        stream = Stream(data, c.batch_size, y="class", prepare=lapgan.halving(BOX.down) if k else None)
        return Setup(
            lapgan.above(game, drawn[: k + 1]), alternating(sgds("discriminator", "generator"), axis_name=axis_name),
            {"data": stream}, {"ema": Averaged("generator", ema(0.5))}, **how,
        )  # fmt: skip

    chain = lapgan.samplers(drawn, BOX, sets[1].shape[0], conditional=True)
    below = {"generator_0": From("level_0", "generator", "ema")}
    first = level(0, sets[0], steps=c.source_steps)
    return {"level_0": first, "level_1": level(1, sets[1], samplers=chain, start=below)}


def halves(data):
    """Images of half the side, and of the whole one."""
    return halved(data, BOX.down), data


# Progressive growing (Karras et al. 2018): players of small images, whose layers for large ones fade in.
class Growing(nn.Module):
    """A layer to or from images of a side, for so many steps together with that of half the side."""

    shape: tuple[int, ...]  # what comes out
    fade: int

    @nn.compact
    def __call__(self, x):
        side = (self.shape or x.shape[1:])[0]
        new = Dense(self.shape, bool(self.shape), name=f"layer_{side}")(x)
        if not self.fade:
            return new
        small, half = (side // 2, side // 2, 1), f"layer_{side // 2}"
        old = double(Dense(small, True, name=half)(x)) if self.shape else Dense((), name=half)(mean_pool(x))
        return faded(old, new, share_now(self, side, self.fade))


def build_growing(c, load, axis_name):
    def phase(data, fade, **how):
        g, d, prior = Growing(data.shape, fade), Growing((), fade), normal_prior(3)
        game = gan(g, d, LOSSES["non_saturating"], prior=prior, axis_name=axis_name)
        return Setup(
            fading(game, fade) if fade else game,
            alternating(sgds("discriminator", "generator"), axis_name=axis_name), {"data": Stream(data, c.batch_size)},
            {"ema": Averaged("generator", ema(0.5))}, {"prior": sampler(g, prior)} if fade else {}, **how,
        )  # fmt: skip

    small, large = halves(load(c.data))
    grown = {player: From("small", player, grown=True) for player in ("discriminator", "generator")}
    return {"small": phase(small, 0, steps=c.source_steps), "large": phase(large, 5, start=grown)}


# The second stage of StackGAN (Zhang et al. 2017): from a caption and a sketch, of onlookers both, to an image.
class Drawing(nn.Module):
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z, phi, x=None):
        mean, log_std = Dense((2, 2))(phi).swapaxes(0, 1)
        return Dense(self.shape, True)(z, phi, x), mean, log_std


class Matching(nn.Module):
    def setup(self):
        self.trunk, self.logit = Dense((4,)), Dense(())

    def features(self, x):
        return self.trunk(x)

    def judge(self, h, phi):
        return self.logit(h, phi)

    def __call__(self, x, phi):
        return self.judge(self.features(x), phi), None


def build_stackgan(c, load, axis_name):
    text, (small, large) = Dense((3,)), halves(load(c.data))
    readers = {"text": text, "image": Dense((3,))}
    painter = text_to_image.Painter(Drawing(large.shape), text, 2, text_to_image.Before(Drawing(small.shape), 5))
    game = text_to_image.text_to_image(painter, Matching(), readers=readers)
    play = alternating(sgds("discriminator", "generator"), fresh=False, axis_name=axis_name)
    streams = {name: Stream(large, c.batch_size, y=("caption",)) for name in ("data", "wrong")}
    asked = {"r_precision": text_to_image.measures(painter, readers, candidates=5)["r_precision"]}
    averages = {"ema": Averaged("generator", ema(0.5))}
    return Setup(game, play, streams, averages, text_to_image.samplers(painter), asked)


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
    "lapgan": build_lapgan,
    "growing": build_growing,
    "stackgan": build_stackgan,
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
