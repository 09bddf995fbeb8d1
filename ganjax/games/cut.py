"""CUT: translation one way, by patches that can be told from others of the same image (Park et al. 2020)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import stop_gradient

from ganjax.checks import check_range
from ganjax.core import Array, Batch, Draw, Game, Key, Moment, PerPlayer, PyTree, noise, substream
from ganjax.games.network import network, owned
from ganjax.games.terms import Term, of_terms
from ganjax.games.translation import D_B, A, B, G, check_made, check_stateless, fooling, judging

HEADS = "heads"
Maps = tuple[Array, ...]  # of each layer, [B, h, w, C], or patches of it, [B, S, C]


class Patches(NamedTuple):
    """What one look shows: what the discriminator says, and what the contrasts are."""

    real_logits: Array
    fake_logits: Array
    translated: Array  # [B], of G(a) with a
    kept: Array | None  # [B], of G(b) with b


def patch_nce(query: Array, key: Array, temperature: float = 0.07) -> Array:
    """`-log exp(q_s k_s / T) / sum_t exp(q_s k_t / T)`, the contrast of each patch with all of its own image.

    All vectors equal, it is log S; each query its key and orthogonal to the others, `log(1 + (S - 1) exp(-1 / T))`.

    Args:
        query: [B, S, E] unit vectors of S patches of a translation.
        key: [B, S, E] of the same places of what was translated; no gradient is taken in them.
        temperature: T.

    Returns:
        [B, S] nats.
    """
    logits = jnp.einsum("bse,bte->bst", query, stop_gradient(key)) / temperature
    return jax.nn.logsumexp(logits, -1) - jnp.diagonal(logits, axis1=1, axis2=2)


def places(key: Key, position: Array, sizes: list[int], count: int) -> tuple[Array, ...]:
    """Which places of each map are compared, [B, min(count, n)] for n places: other ones for each image.

    Args:
        key: of the step.
        position: [B], of the images in the global batch.
        sizes: n, of each map.
        count: how many at most.
    """
    own = substream(key, Draw.OTHER)

    def of(k: Key) -> tuple[Array, ...]:
        keys = jax.random.split(k, len(sizes))
        return tuple(jax.random.permutation(k, n)[: min(count, n)] for k, n in zip(keys, sizes, strict=True))

    return noise(of, own, position)


def cut(
    g: nn.Module,
    heads: nn.Module,
    discriminator: nn.Module,
    *,
    contrast: float = 1.0,
    identity: float = 1.0,
    temperature: float = 0.07,
    patches: int = 256,
) -> Game:
    """Three players: contrastive unpaired translation (section 3).

    - G: A -> B: `(D_B(G(a)) - 1)^2 + contrast NCE(a) + identity NCE(b)`, where `NCE(x)` is the mean of `patch_nce` over
      layers and patches, of `H(features(G(x)))` as queries against `H(features(x))` as keys;
    - heads H, two layers for each map of features: `contrast NCE(a) + identity NCE(b)`;
    - D_B: `((D_B(b) - 1)^2 + D_B(G(a))^2) / 2`.

    Negatives are of the same image and places are drawn for each image by itself, so that no example depends on the
    batch. NCE(b) asks G to leave alone what is of B already.

    Args:
        g: module, `a -> b`, with a method `features`, images to maps [B, h, w, C] of several layers.
        heads: module, `tuple of [B, S, C] -> tuple of unit vectors [B, S, E]`.
        discriminator: module, `x -> logits [B, ...]`.
        contrast: weight of NCE(a).
        identity: weight of NCE(b); 0 translates no b.
        temperature: of the contrast.
        patches: of each map that are compared, all where it has fewer.

    Returns:
        A game of the players "g", "heads" and "d_b", whose batch is `{"a": Batch, "b": Batch}`.

    Raises:
        ValueError: an option is out of its range; from `init`, if a and b differ in shape or the networks do not fit.
    """
    check_range("cut", 0, contrast=contrast, identity=identity)
    check_range("cut", 0, above=True, temperature=temperature)
    check_range("cut", 1, whole=True, patches=patches)
    net, h, d = network(g), network(heads), network(discriminator)

    def compared(maps: Maps, batch: Batch, key: Key) -> Maps:
        """The patches of one set of places, the same of an image and of its translation."""
        flat = [m.reshape(m.shape[0], -1, m.shape[-1]) for m in maps]
        chosen = places(key, batch.position, [m.shape[1] for m in flat], patches)
        return tuple(jnp.take_along_axis(m, at[..., None], axis=1) for m, at in zip(flat, chosen, strict=True))

    def init(key: Key, batch: PyTree) -> tuple[dict, dict]:
        a, b = batch[A].x, batch[B].x
        if a.shape[1:] != b.shape[1:]:
            raise ValueError(
                f"cut: examples of a and b have shapes {a.shape[1:]} and {b.shape[1:]}, expected one, for G looks at "
                "its translations as it looks at a; bring both to one size and as many channels"
            )
        keys = jax.random.split(key, 3)
        made = {G: net.init(keys[0], a), D_B: d.init(keys[1], b)}
        seen = net.apply(*made[G][:2], a, train=True, method="features")[0]
        made[HEADS] = h.init(keys[2], compared(seen, batch[A], key))
        check_made("cut", G, made[G], b.shape[1:])
        for player in (D_B, HEADS):
            check_stateless("cut", player, made[player][1])
        return owned(made)

    def look(params: PerPlayer, moment: Moment) -> tuple[Patches, PerPlayer]:
        state = moment.net_state

        def on(network, player: str, x, method: str = "__call__"):
            return network.apply(params[player], state[player], x, train=True, method=method)[0]

        def contrasted(batch: Batch, made: Array) -> Array:
            vectors = [on(h, HEADS, compared(on(net, G, x, "features"), batch, moment.key)) for x in (made, batch.x)]
            layers = [patch_nce(q, k, temperature).mean(1) for q, k in zip(*vectors, strict=True)]
            return jnp.stack(layers).mean(0)

        a, b = moment.batch[A], moment.batch[B]
        fake = on(net, G, a.x)
        kept = contrasted(b, on(net, G, b.x)) if identity else None
        return Patches(on(d, D_B, b.x), on(d, D_B, fake), contrasted(a, fake), kept), state

    nce = {"contrast": Term(lambda s: s.translated, contrast)}
    if identity:
        nce["identity"] = Term(lambda s: s.kept, identity)
    terms = {
        G: {"adversarial": Term(lambda s: fooling(s.fake_logits)), **nce},
        HEADS: nce,
        D_B: {"adversarial": Term(lambda s: judging(s.real_logits, s.fake_logits))},
    }
    return Game(init, of_terms(look, terms))
