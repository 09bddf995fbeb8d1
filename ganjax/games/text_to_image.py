"""Images from captions: GAN-CLS and GAN-INT (Reed et al. 2016), stages and augmented conditions (Zhang et al. 2017).

A batch is `{"data": Batch, "wrong": Batch}`, two streams of one data set in orders of their own, each with
`y = {"caption": tokens [B, L], ...}`: the captions of the second are the wrong ones. So no example depends on its
batch.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import softplus

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
    Owned,
    PerPlayer,
    PyTree,
    Sampler,
    Weights,
    noise,
    substream,
)
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.latents import normal
from ganjax.games.likelihood import CLASSIFIER
from ganjax.games.matching import CAPTION, CLASS, IMAGE, TEXT, of_candidates, unit, vectors_of
from ganjax.games.network import network, owned
from ganjax.games.terms import Term, of_terms
from ganjax.likelihoods import gaussian_kl

DATA, WRONG = "data", "wrong"  # the streams
BEFORE = "before"  # the onlooker that is the stage before
READERS = {TEXT: "reader_text", IMAGE: "reader_image", CLASSIFIER: "classifier"}  # onlookers who judge


class Pairs(NamedTuple):
    """What a discriminator is told beside `(real, right)`, and by what weights.

    With p(x, t) the real pairs, p_x p_t those of images with wrong captions, q(x, t) the fakes and q_x p_t fakes with
    wrong captions, it tells `P = p + turned q_x p_t` from `N = wrong p_x p_t + fake q`, and the generator minimises
    their Jensen-Shannon divergence, but for weights.
    """

    wrong: float = 0.0  # of (real, wrong caption), as fake
    fake: float = 1.0  # of (fake, right caption), as fake
    turned: float = 0.0  # of (fake, wrong caption): above 0 as real, below 0 as fake
    alone: float = 0.0  # of real and fake images without any caption


PAIRS = {
    "plain": Pairs(),  # q* = p
    "matching_aware": Pairs(wrong=0.5, fake=0.5),  # q* = 2p - p_x p_t, clipped at 0: it overstates what captions say
    "balanced": Pairs(wrong=0.5, turned=0.5),  # q* = p
    "alone": Pairs(wrong=0.5, fake=0.5, alone=1.0),  # 2p - p_x p_t again, whose images are as frequent as the real ones
    "three_fakes": Pairs(wrong=1 / 3, fake=1 / 3, turned=-1 / 3),  # q* = 3p - 2 p_x p_t, further away
}


def densities(p: Array, q: Array, pairs: Pairs) -> tuple[Array, Array]:
    """P and N of `Pairs`, each [X, T], of tables p and q of as much mass."""
    independent = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    turned = abs(pairs.turned) * q.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    real, fake = p, pairs.wrong * independent + pairs.fake * q
    return (real + turned, fake) if pairs.turned > 0 else (real, fake + turned)


def value(p: Array, q: Array, pairs: Pairs) -> Array:
    """`max_D` of what the discriminator maximises, `E_P log D + E_N log(1 - D)`, and with `alone` that of images.

    With "matching_aware" it is `-log 4 + 2 JSD(p, (p_x p_t + q) / 2)`, and -log 4 at `2p - p_x p_t`.
    """
    own = _entropies(*densities(p, q, pairs))
    return own + pairs.alone * _entropies(p.sum(1), q.sum(1)) if pairs.alone else own


def _entropies(real: Array, fake: Array) -> Array:
    """`sum P log(P / (P + N)) + N log(N / (P + N))`."""

    def part(x: Array) -> Array:
        return jnp.where(x > 0, x * jnp.log(jnp.where(x > 0, x, 1) / jnp.where(real + fake > 0, real + fake, 1)), 0)

    return (part(real) + part(fake)).sum()


def tabular(p: Array, pairs: Pairs) -> Game:
    """The game on finitely many images and captions: both players are tables, so that nothing but the cost decides.

    The generator draws image x of caption t with probability `softmax(table[:, t])_x`, the discriminator has a logit
    for each pair and one for each image alone. They play for one value.

    Args:
        p: [X, T], of real pairs; sums to 1.
        pairs: what the discriminator is told.
    """
    p = jnp.asarray(p)

    def paid(params: PerPlayer) -> Array:
        q = table(p, params[GENERATOR])
        logits = params[DISCRIMINATOR]
        real, fake = densities(p, q, pairs)
        cost = (real * softplus(-logits["pair"]) + fake * softplus(logits["pair"])).sum()
        images = p.sum(1) * softplus(-logits["image"]) + q.sum(1) * softplus(logits["image"])
        return cost + pairs.alone * images.sum()

    def init(key: Key, batch: PyTree) -> tuple[dict, dict]:
        zeros = {"pair": jnp.zeros_like(p), "image": jnp.zeros_like(p[:, 0])}
        return {DISCRIMINATOR: zeros, GENERATOR: jnp.zeros_like(p)}, {DISCRIMINATOR: {}, GENERATOR: {}}

    return Game(
        init,
        {
            DISCRIMINATOR: lambda params, moment: (paid(params), Outcome({}, {})),
            GENERATOR: lambda params, moment: (-paid(params), Outcome({}, {})),
        },
    )


def table(p: Array, scores: Array) -> Array:
    """q [X, T] of the generator's scores, with the captions of p."""
    return jax.nn.softmax(scores, 0) * p.sum(0, keepdims=True)


class Before(NamedTuple):
    """A stage whose images the next one is given."""

    module: nn.Module  # (z [B, size], phi [B, E], train) -> (x [B, h, w, C], mean, log_std)
    size: int  # of its z


@dataclasses.dataclass(frozen=True)
class Painter:
    """A generator and what it reads captions with."""

    generator: nn.Module  # (z [B, size], phi [B, E][, x of the stage before], train) -> (x, mean, log_std)
    text: nn.Module  # tokens [B, L] int32 -> [B, E], an onlooker
    size: int  # of the generator's z
    before: Before | None = None

    @property
    def whole(self) -> int:
        """The size of z of all stages, N(0, I)."""
        return self.size + (self.before.size if self.before else 0)

    @property
    def players(self) -> tuple[str, ...]:
        """Whose weights it takes to paint."""
        return (GENERATOR, TEXT, *([BEFORE] if self.before else []))

    def read(self, weights: Weights, tokens: Array) -> Array:
        """phi [B, E], the vector of a caption, whose entries are of about unit size."""
        vectors = unit(network(self.text).apply(*weights[TEXT], tokens, train=False)[0])
        return vectors * vectors.shape[-1] ** 0.5

    def sketch(self, weights: Weights, z: Array, phi: Array) -> Array | None:
        """What the stage before makes of latents [B, whole], in evaluation: not a bit of that stage moves."""
        if self.before is None:
            return None
        return network(self.before.module).apply(*weights[BEFORE], z[:, : self.before.size], phi, train=False)[0][0]

    def inputs(self, weights: Weights, z: Array, phi: Array) -> tuple[Array | None, ...]:
        """What the generator is called with."""
        return z[:, self.whole - self.size :], phi, self.sketch(weights, z, phi)

    def paint(self, weights: Weights, z: Array, phi: Array) -> Array:
        """Images of latents [B, whole] and captions, in evaluation."""
        net = network(self.generator)
        return net.apply(*weights[GENERATOR], *self.inputs(weights, z, phi), train=False)[0][0]


class Judged(NamedTuple):
    """What one look shows: logits [B], and the Gaussians of the conditions."""

    real: Array  # of (real, right)
    wrong: Array  # of (real, wrong)
    fake: Array  # of (fake, right)
    turned: Array  # of (fake, wrong)
    other: Array  # [B] bool, whether the wrong caption is another one
    alone: tuple[Array, Array] | None  # of real and fake images without captions
    between: Array | None  # of (fake, right), of the mean of two captions
    mean: Array  # [B, C]
    log_std: Array


def text_to_image(
    painter: Painter,
    discriminator: nn.Module,
    *,
    pairs: Pairs = PAIRS["matching_aware"],
    kl: float = 2.0,
    interpolation: float = 0.0,
    apart: str = CAPTION,
    augment: Callable[[Key, Array], Array] | None = None,
    readers: Mapping[str, nn.Module] = MappingProxyType({}),
) -> Game:
    """A generator of images from captions, and a discriminator of images with captions.

    - discriminator: `-log D(x, t) - wrong log(1 - D(x, t')) - fake log(1 - D(G(z, t), t))`, t' the wrong caption, and
      what else `Pairs` says;
    - generator: `-log D(G(z, t), t) + kl / C sum_c KL(N(mean_c, std_c^2) || N(0, 1))`, the divergence of its C
      conditions as in StackGAN's code, whose 2 weighs a mean over them; with `turned` also
      `-turned log(1 - D(G(z, t), t'))`, with `interpolation` `-log D(G(z, s), s)` of the mean s of two captions, of
      which there is no image and which the discriminator never pays for (GAN-INT, equation 5).

    The discriminator sees phi(t), which belongs to an onlooker: nothing that the generator owns changes what it is
    conditioned on. The other stages are onlookers too, in evaluation.

    Args:
        painter: the generator, and what reads captions.
        discriminator: module, `(x, phi) -> (logits [B], logits [B] of images alone or None)`, with methods
            `features(x)`, `judge(features, phi)` and `alone(features)`.
        pairs: what the discriminator is told; see `PAIRS` for where it leads.
        kl: weight of the divergence.
        interpolation: weight of captions between two.
        apart: what a wrong pair must differ in, "caption" or "class", which y then has; one that does not counts 0.
        augment: `(key, x [H, W, C]) -> [H, W, C]`, what real and generated images go through before the discriminator
            in both players' turns, such as `augment.diff_augment`.
        readers: onlookers for measures, by `READERS`.

    Returns:
        A game of "discriminator" and "generator", with the onlookers "text", "before" and readers.

    Raises:
        ValueError: an option is out of its range; from `init`, if the networks do not fit.
    """
    check_range("text_to_image", 0, kl=kl, interpolation=interpolation)
    check_name("text_to_image", "apart", apart, (CAPTION, CLASS))
    g, d = network(painter.generator), network(discriminator)

    def init(key: Key, batch: PyTree) -> tuple[dict, dict]:
        keys, data = jax.random.split(key, 4 + len(readers)), batch[DATA]
        made = {TEXT: network(painter.text).init(keys[0], data.y[CAPTION])}
        z, phi, x = jnp.zeros((data.x.shape[0], painter.whole)), made[TEXT][2], None
        if painter.before is not None:
            made[BEFORE] = network(painter.before.module).init(keys[1], z[:, : painter.before.size], phi)
            x = made[BEFORE][2][0]
        made[GENERATOR] = g.init(keys[2], z[:, painter.whole - painter.size :], phi, x)
        if (got := made[GENERATOR][2][0].shape[1:]) != data.x.shape[1:]:
            raise ValueError(f"text_to_image: the generator makes {got}, expected {data.x.shape[1:]}, as the data")
        made[DISCRIMINATOR] = d.init(keys[3], data.x, phi)
        if jax.tree.leaves(made[DISCRIMINATOR][1]):
            raise ValueError("text_to_image: the discriminator has statistics of a batch, expected none")
        for name, k in zip(readers, keys[4:], strict=True):
            made[READERS[name]] = network(readers[name]).init(k, data.y[CAPTION] if name == TEXT else data.x)
        return owned(made)

    def look(params: PerPlayer, moment: Moment) -> tuple[Judged, PerPlayer]:
        data, wrong = moment.batch[DATA], moment.batch[WRONG]
        weights = {player: Owned(params[player], moment.net_state[player]) for player in params}
        z = noise(lambda k: jax.random.normal(k, (painter.whole,), data.x.dtype), moment.key, data.position)
        phi, phi_wrong = (painter.read(weights, batch.y[CAPTION]) for batch in (data, wrong))

        def paint(phi: Array, state: PyTree) -> tuple[tuple[Array, Array, Array], PyTree]:
            return g.apply(params[GENERATOR], state, *painter.inputs(weights, z, phi), train=True)

        def on(method: str, *inputs: Array) -> Array:
            return d.apply(*weights[DISCRIMINATOR], *inputs, train=True, method=method)[0]

        def features(x: Array, draw: int) -> Array:
            if augment is not None:
                keys = noise(lambda k: substream(k, Draw.OTHER, draw), moment.key, data.position)
                x = jax.vmap(augment)(keys, x)
            return on("features", x)

        (fake, mean, log_std), state = paint(phi, moment.net_state[GENERATOR])
        h_real, h_fake = features(data.x, 0), features(fake, 1)
        between = None
        if interpolation:
            middle = (phi + phi_wrong) / 2
            (x, _, _), state = paint(middle, state)
            between = on("judge", features(x, 2), middle)
        seen = Judged(
            real=on("judge", h_real, phi),
            wrong=on("judge", h_real, phi_wrong),
            fake=on("judge", h_fake, phi),
            turned=on("judge", h_fake, phi_wrong),
            other=_differ(data, wrong, apart),
            alone=(on("alone", h_real), on("alone", h_fake)) if pairs.alone else None,
            between=between,
            mean=mean,
            log_std=log_std,
        )
        return seen, {DISCRIMINATOR: moment.net_state[DISCRIMINATOR], GENERATOR: state}

    return Game(init, of_terms(look, {DISCRIMINATOR: _judging(pairs), GENERATOR: _fooling(pairs, kl, interpolation)}))


def _differ(data: Batch, wrong: Batch, apart: str) -> Array:
    """Whether the wrong caption of each example is another one, [B] bool; of another class where that is asked for."""
    differ = (data.y[CAPTION] != wrong.y[CAPTION]).any(-1)
    return differ & (data.y[CLASS] != wrong.y[CLASS]) if apart == CLASS else differ


def _judging(pairs: Pairs) -> dict[str, Term]:
    """What the discriminator pays."""
    found = {
        "real": Term(lambda s: softplus(-s.real)),
        "fake": Term(lambda s: softplus(s.fake), pairs.fake),
        "wrong": Term(lambda s: s.other * softplus(s.wrong), pairs.wrong),
    }
    if pairs.turned:
        sign = -1 if pairs.turned > 0 else 1
        found["turned"] = Term(lambda s: s.other * softplus(sign * s.turned), abs(pairs.turned))
    if pairs.alone:
        found["alone"] = Term(lambda s: softplus(-s.alone[0]) + softplus(s.alone[1]), pairs.alone)
    return found


def _fooling(pairs: Pairs, kl: float, interpolation: float) -> dict[str, Term]:
    """What the generator pays."""
    found = {
        "adversarial": Term(lambda s: softplus(-s.fake)),
        "kl": Term(lambda s: gaussian_kl(s.mean, s.log_std).mean(1), kl),
    }
    if pairs.turned:
        sign = 1 if pairs.turned > 0 else -1
        found["turned"] = Term(lambda s: s.other * softplus(sign * s.turned), abs(pairs.turned))
    if pairs.alone:
        found["alone"] = Term(lambda s: softplus(-s.alone[1]), pairs.alone)
    if interpolation:
        found["interpolation"] = Term(lambda s: softplus(-s.between), interpolation)
    return found


def samplers(painter: Painter, *, small: str = "") -> dict[str, Sampler]:
    """Images of captions, and of the same captions and latents what the stage before makes.

    Args:
        painter: as of `text_to_image`.
        small: the stream of images as large as those of the stage before; "" where there is none.
    """

    def paint(weights: Weights, z: Array, tokens: Array) -> Array:
        return painter.paint(weights, z, painter.read(weights, tokens))

    def sketch(weights: Weights, z: Array, tokens: Array) -> Array:
        return painter.sketch(weights, z, painter.read(weights, tokens))  # type: ignore[return-value]

    def sampler(players: tuple[str, ...], stream: str, decode: Callable[[Weights, Array, Array], Array]) -> Sampler:
        latent = Latent(normal(painter.whole), decode, painter.whole)
        return Sampler(players, stream, latent=latent, given=(DATA, CAPTION), batch=64)

    found = {"image": sampler(painter.players, DATA, paint)}
    return found | ({"sketch": sampler((BEFORE, TEXT), small, sketch)} if small else {})


def measures(painter: Painter, readers: Mapping[str, nn.Module], *, candidates: int = 100) -> dict[str, Measure]:
    """How well images say what their held-out captions ask for, and the same of real images, which is the ceiling.

    - r_precision, r_precision_real: `matching.r_precision` under readers whom no generator was trained against;
    - category, category_real: the share whose class the reader "classifier" names, where there is one.

    Args:
        painter: as of `text_to_image`.
        readers: as of `text_to_image`.
        candidates: as of `matching.r_precision`.
    """
    nets = {name: network(module) for name, module in readers.items()}

    def made(weights: Weights, batch: Batch, key: Key) -> Array:
        z = noise(lambda k: jax.random.normal(k, (painter.whole,)), key, batch.position)
        return painter.paint(weights, z, painter.read(weights, batch.y[CAPTION]))

    def real(weights: Weights, batch: Batch, key: Key) -> Array:
        return batch.x

    def said(name: str, weights: Weights, x: Array) -> Array:
        return nets[name].apply(*weights[READERS[name]], x, train=False)[0]

    def vectors(images: Callable) -> Callable[[Weights, Batch, Key], Any]:
        def values(weights: Weights, batch: Batch, key: Key) -> PyTree:
            x, tokens = images(weights, batch, key), batch.y[CAPTION]
            return vectors_of(said(TEXT, weights, tokens), said(IMAGE, weights, x), tokens)

        return values

    def hits(images: Callable) -> Callable[[Weights, Batch, Key], Any]:
        return lambda weights, batch, key: (
            said(CLASSIFIER, weights, images(weights, batch, key)).argmax(-1) == batch.y[CLASS]
        )

    found: dict[str, Measure] = {}
    summary = of_candidates(candidates)
    for suffix, images, players in (("", made, painter.players), ("_real", real, ())):
        read = (*players, READERS[TEXT], READERS[IMAGE])
        found[f"r_precision{suffix}"] = Measure(
            vectors(images), read, DATA, "higher", y=(CAPTION,), summary=summary, batch=64
        )
        if CLASSIFIER in readers:
            asked = (*players, READERS[CLASSIFIER])
            found[f"category{suffix}"] = Measure(hits(images), asked, DATA, "higher", y=(CAPTION, CLASS), batch=64)
    return found
