"""Translation of paired images: pix2pix (Isola et al. 2017), and with maps of labels SPADE (Park et al. 2019)."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ganjax.checks import check_players, check_range
from ganjax.core import Array, Batch, Draw, Game, Key, Measure, Moment, PerPlayer, PyTree, Sampler, Weights, substream
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.network import network, owned
from ganjax.games.terms import Term, of_terms
from ganjax.layers.dropout import SHARED
from ganjax.layers.spade import one_hot
from ganjax.losses import LOSSES, AdversarialLoss
from ganjax.spectral import SpectralNorm

CONTROL = "control"  # a second generator, which pays the distance alone
Scales = tuple[tuple[Array, ...], ...]  # the maps of all layers of a discriminator at each scale, the last of logits


class Translated(NamedTuple):
    """What one look shows."""

    x: Array  # [B, H, W, C], the true images
    fake: Array  # [B, H, W, C]
    control: Array | None  # [B, H, W, C]
    real_maps: Scales  # of the true pairs; () without a game
    fake_maps: Scales  # of the pairs with fakes


def pix2pix(
    generator: nn.Module,
    discriminator: nn.Module | None = None,
    *,
    loss: AdversarialLoss | None = None,
    weight: float = 1.0,
    distance: Callable[[Array], Array] = jnp.abs,
    distance_weight: float = 100.0,
    features: float = 0.0,
    labels: int = 0,
    control: bool = False,
    spectral: Mapping[str, SpectralNorm] = MappingProxyType({}),
) -> Game:
    """A generator `G(y)` of images x from what they are paired with, and a discriminator that sees both joined.

    - discriminator: `loss.discriminator(D(y, x), D(y, G(y)))`;
    - generator: `weight loss.generator(...) + distance_weight mean |x - G(y)| + features mean_k mean |h_k - h_k'|`, h_k
      the maps of the discriminator's layers but the logits, of true pairs and of pairs with fakes;
    - control: `distance_weight mean |x - C(y)|`, a generator like the first one and with its initialisation, which no
      discriminator judges.

    The default is pix2pix as published; SPADE is `LOSSES["hinge"]`, distance_weight 0 and features 10, without its VGG
    term, which needs weights of ImageNet. The distance alone leads to the median of x given y, the square to its mean,
    where the game must choose.

    Dropout draws by the position of an example and is the same in the turns of both players if these see one batch
    (`alternating(..., fresh=False)`), as in the authors' code, whose fakes are made once.

    Args:
        generator: module, `(y [B, H, W, C'], index [B], train) -> x [B, H, W, C]`.
        discriminator: module, `[y, x] [B, H, W, C' + C] -> logits`, with a method `maps` that returns the map of each
            layer [B, h, w, F], the last of logits, or a tuple of those of several scales. None with weight 0.
        loss: of the game, by default `slowed(LOSSES["non_saturating"])`; a cost is the mean over positions and scales.
        weight: of the game in the generator's cost; 0 leaves the discriminator out, and nothing of it is evaluated.
        distance: of the difference of images, entry by entry: `jnp.abs`, `jnp.square`.
        distance_weight: its weight.
        features: weight of feature matching, of all pairs by themselves (Wang et al. 2018, equation 4).
        labels: K, of maps y [B, H, W] int32, which networks get as planes [B, H, W, K]; 0 for images y.
        control: whether there is one.
        spectral: player -> spectral normalisation of its network.

    Returns:
        A game of "discriminator", "generator" and "control", as far as they are there, whose batch is a `Batch`, y
        an image or a map for each x.

    Raises:
        ValueError: an option is out of its range; from `init`, if networks or batch do not fit.
        TypeError: from `init`, if y is neither.
    """
    check_range("pix2pix", 0, weight=weight, distance_weight=distance_weight, features=features)
    check_range("pix2pix", 0, whole=True, labels=labels)
    check_players("pix2pix, spectral", spectral, (DISCRIMINATOR, GENERATOR))
    if (discriminator is None) != (weight == 0) or (features and not weight):
        raise ValueError("pix2pix: expected a discriminator exactly where weight is not 0, and none with features")
    played = slowed(LOSSES["non_saturating"]) if loss is None else loss
    g = network(generator, spectral.get(GENERATOR))
    d = None if discriminator is None else network(discriminator, spectral.get(DISCRIMINATOR))

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        keys, y = jax.random.split(key), conditions(batch, labels)
        made = {GENERATOR: g.init(keys[0], y, batch.position)}
        if (got := made[GENERATOR][2].shape) != batch.x.shape:
            raise ValueError(f"pix2pix: the generator makes {got[1:]}, expected {batch.x.shape[1:]}, as x")
        if control:
            made[CONTROL] = jax.tree.map(jnp.copy, made[GENERATOR])
        if d is not None:
            made[DISCRIMINATOR] = d.init(keys[1], _joined(y, batch.x))
        return owned(made)

    def look(params: PerPlayer, moment: Moment) -> tuple[Translated, PerPlayer]:
        batch, after = moment.batch, {}
        y, keys = conditions(batch, labels), {SHARED: substream(moment.key, Draw.OTHER)}

        def made(player: str) -> Array:
            state = g.advance(params[player], moment.net_state[player])
            own = g.weights(params[player], state)
            x, after[player] = g.apply(own, state, y, batch.position, train=True, keys=keys)
            return x

        fake, other = made(GENERATOR), made(CONTROL) if control else None
        if d is None:
            return Translated(batch.x, fake, other, (), ()), after
        state = d.advance(params[DISCRIMINATOR], moment.net_state[DISCRIMINATOR])
        see = partial(d.apply, d.weights(params[DISCRIMINATOR], state), train=True, method="maps")
        real, state = see(state, _joined(y, batch.x))
        seen, after[DISCRIMINATOR] = see(state, _joined(y, fake))
        return Translated(batch.x, fake, other, _scales(real), _scales(seen)), after

    terms: dict[str, dict[str, Term]] = {
        GENERATOR: {"distance": Term(lambda s: distance(s.x - s.fake), distance_weight)}
    }
    if d is not None:
        judged = {"adversarial": Term(lambda s: _of_logits(played.discriminator, s))}
        terms = {DISCRIMINATOR: judged, **terms}
        terms[GENERATOR]["adversarial"] = Term(lambda s: _of_logits(played.generator, s), weight)
    if features:
        terms[GENERATOR]["features"] = Term(matched, features)
    if control:
        terms[CONTROL] = {"distance": Term(lambda s: distance(s.x - s.control), distance_weight)}
    return Game(init, of_terms(look, terms))


def slowed(loss: AdversarialLoss, share: float = 0.5) -> AdversarialLoss:
    """The loss with this share of the discriminator's cost, so that it learns more slowly (section 3.3)."""
    check_range("slowed", 0, above=True, share=share)
    return loss._replace(discriminator=lambda real, fake: share * loss.discriminator(real, fake))


def conditions(batch: Batch, labels: int = 0) -> Array:
    """What networks see of y, [B, H, W, C]: images as they are, maps of labels as planes.

    Raises:
        TypeError: y is neither.
        ValueError: it has another size than x, or holds a label that there is not.
    """
    y: Any = batch.y
    wanted = f"maps of labels {batch.x.shape[:3]} of integers" if labels else f"images {(*batch.x.shape[:3], 'C')}"
    got = "nothing" if y is None else f"{getattr(y, 'dtype', type(y).__name__)} {np.shape(y)}"
    whole = hasattr(y, "dtype") and jnp.issubdtype(y.dtype, jnp.integer)
    if y is None or not hasattr(y, "dtype") or whole != (labels > 0) or y.ndim != (3 if labels else 4):
        raise TypeError(f"pix2pix: y is {got}, expected {wanted}; name a companion of the data that is one")
    if y.shape[:3] != batch.x.shape[:3]:
        raise ValueError(f"pix2pix: y is {got}, expected {wanted}, as large as x")
    return one_hot(y, labels) if labels else y


def matched(scene: Translated) -> Array:
    """`mean over scales, sum over layers of mean |h(y, x) - h(y, G(y))|`, the logits left out: feature matching."""
    gaps = [
        jnp.abs(one - other).mean()
        for real, fake in zip(scene.real_maps, scene.fake_maps, strict=True)
        for one, other in zip(real[:-1], fake[:-1], strict=True)
    ]
    return sum(gaps, jnp.zeros(())) / len(scene.real_maps)


def _of_logits(cost: Callable[[Array, Array], Array], scene: Translated) -> Array:
    """The mean over scales of a loss's mean over examples and positions."""
    pairs = zip(scene.real_maps, scene.fake_maps, strict=True)
    values = [cost(real[-1], fake[-1]).mean() for real, fake in pairs]
    return sum(values, jnp.zeros(())) / len(values)


def _scales(maps: Any) -> Scales:
    """The maps by scale, of a discriminator of one scale too."""
    return tuple(maps) if isinstance(maps[0], tuple | list) else (tuple(maps),)


def _joined(y: Array, x: Array) -> Array:
    return jnp.concatenate([y.astype(x.dtype), x], -1)


Translate = Callable[[Weights, Key, Array, Array], Array]  # (weights, key, index [B], y [B, H, W, C]) -> x


def _translate(generator: nn.Module, spectral: SpectralNorm | None, player: str, dropout: bool) -> Translate:
    net = network(generator, spectral)

    def translate(weights: Weights, key: Key, index: Array, y: Array) -> Array:
        params, state = weights[player]
        numbers, keys = (index, {SHARED: substream(key, Draw.OTHER)}) if dropout else (None, None)
        return net.apply(net.weights(params, state), state, y, numbers, train=False, keys=keys)[0]

    return translate


def _translators(
    generator: nn.Module, control: bool, dropout: bool, spectral: SpectralNorm | None
) -> dict[str, tuple[str, Translate]]:
    """Name -> player and way of translating, for all that there are."""
    found = {}
    for prefix, player in (("", GENERATOR), ("control_", CONTROL)) if control else (("", GENERATOR),):
        for suffix, drops in (("", True), ("_undropped", False)) if dropout else (("", False),):
            found[f"{prefix}{{}}{suffix}"] = player, _translate(generator, spectral, player, drops)
    return found


def samplers(
    generator: nn.Module,
    *,
    given: str,
    labels: int = 0,
    control: bool = False,
    dropout: bool = True,
    spectral: SpectralNorm | None = None,
) -> dict[str, Sampler]:
    """Translations of held-out y: with dropout, as published, "undropped" without, and those of the control.

    Translation i depends on the key, on i and on its y alone: another number, or another key, is another draw. So
    BatchNorm goes by its running statistics, where the authors' code goes by those of the test batch, one image.

    Args:
        generator: as of `pix2pix`.
        given: the name of y among the companions of the data.
        labels: as of `pix2pix`.
        control: as of `pix2pix`.
        dropout: whether the generator has any.
        spectral: of the generator.
    """

    def draw(translate: Translate) -> Callable[[Weights, Key, Array, PyTree], Array]:
        return lambda weights, key, index, y: translate(weights, key, index, one_hot(y, labels) if labels else y)

    ways = _translators(generator, control, dropout, spectral)
    return {
        name.format("translation"): Sampler((player,), "data", draw(translate), given=("data", given), batch=64)
        for name, (player, translate) in ways.items()
    }


def measures(
    generator: nn.Module,
    *,
    given: str,
    labels: int = 0,
    control: bool = False,
    dropout: bool = True,
    colours: Array | np.ndarray | None = None,
    spectral: SpectralNorm | None = None,
) -> dict[str, Measure]:
    """Numbers of the translations of held-out y, each also as of the control and without dropout.

    - l1: `mean |x - G(y)|` of values from -1 to 1;
    - colourfulness: that of the translations over that of the true images, 1 where they are as colourful;
    - agreement, iou: of the pixels whose nearest colour is the one of their label, the share, and the intersection over
      union of each label, averaged over the labels that there are; both where `colours` are given.

    Args:
        generator: as of `pix2pix`.
        given: the name of y among the companions of the data.
        labels: as of `pix2pix`.
        control: as of `pix2pix`.
        dropout: whether the generator has any.
        colours: [K, C] from -1 to 1, of each label of a map.
        spectral: of the generator.
    """

    def l1(translate: Translate, weights: Weights, batch: Batch, key: Key) -> Array:
        made = translate(weights, key, batch.position, conditions(batch, labels))
        return jnp.abs(batch.x - made).mean((1, 2, 3))

    def colour(translate: Translate, weights: Weights, batch: Batch, key: Key) -> PyTree:
        made = translate(weights, key, batch.position, conditions(batch, labels))
        grey = batch.x.shape[-1] < 3
        return [jnp.ones(x.shape[0]) if grey else colourfulness(x) for x in (made, batch.x)]

    def found(translate: Translate, weights: Weights, batch: Batch, key: Key) -> PyTree:
        made = translate(weights, key, batch.position, conditions(batch, labels))
        return [batch.y, nearest_colour(made, jnp.asarray(colours, made.dtype))]

    kinds: dict[str, tuple] = {"l1": (l1, "lower", None), "colourfulness": (colour, "higher", _ratio)}
    if colours is not None:
        own = {"agreement": (found, "higher", agreement), "iou": (found, "higher", intersection_over_union)}
        kinds = own | kinds
    ways, made = _translators(generator, control, dropout, spectral), {}
    for kind, (values, better, summary) in kinds.items():
        for name, (player, translate) in ways.items():
            extra = {} if summary is None else {"summary": summary}
            made[name.format(kind)] = Measure(
                partial(values, translate), (player,), "data", better, y=given, batch=64, **extra
            )
    return made


def _ratio(values: PyTree) -> float:
    made, true = (float(np.mean(one)) for one in values)
    return made / true if true else float("nan")


def colourfulness(x: Array) -> Array:
    """`sqrt(s_rg^2 + s_yb^2) + 0.3 sqrt(m_rg^2 + m_yb^2)`, of pixels from 0 to 255 (Hasler and Suesstrunk 2003).

    m and s are mean and standard deviation over the pixels of `rg = R - G` and `yb = (R + G) / 2 - B`.

    Args:
        x: [B, H, W, 3] from -1 to 1.

    Returns:
        [B], 0 of grey images.
    """
    red, green, blue = jnp.moveaxis(jnp.clip((x + 1) * 127.5, 0, 255), -1, 0)
    both = jnp.stack([red - green, (red + green) / 2 - blue]).reshape(2, len(x), -1)
    return jnp.sqrt(both.var(-1).sum(0)) + 0.3 * jnp.sqrt(jnp.square(both.mean(-1)).sum(0))


def nearest_colour(x: Array, colours: Array) -> Array:
    """The number of the colour [K, C] nearest to each pixel, [B, H, W, C] to [B, H, W] int32."""
    away = jnp.stack([jnp.square(x - colour).sum(-1) for colour in colours[:, None, None, None]])
    return away.argmin(0).astype(jnp.int32)


def agreement(pair: PyTree) -> float:
    """The share of entries in which two arrays of labels agree."""
    return float(np.mean(np.asarray(pair[0]) == np.asarray(pair[1])))


def intersection_over_union(pair: PyTree) -> float:
    """`|a and b| / |a or b|` of the entries of each label, averaged over the labels that either array has."""
    true, found = (np.asarray(one).ravel() for one in pair)
    count = int(max(true.max(), found.max())) + 1
    table = np.bincount(true * count + found, minlength=count**2).reshape(count, count)
    union = table.sum(0) + table.sum(1) - table.diagonal()
    return float((table.diagonal()[union > 0] / union[union > 0]).mean())
