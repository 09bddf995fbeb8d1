"""Images and captions in one space, by a contrast of right and wrong pairs; and R-precision, which judges by it."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from scipy.special import gammaln

from ganjax.checks import check_name, check_range
from ganjax.core import Array, Batch, Game, Key, Measure, Moment, PerPlayer, PyTree, Weights, everyone
from ganjax.games.adaptation import cross_entropy
from ganjax.games.likelihood import CLASSIFIER
from ganjax.games.network import network, owned
from ganjax.games.terms import Term, of_terms

TEXT, IMAGE = "text", "image"  # the players
CAPTION, CLASS = "caption", "class"  # what a batch's y has

Objective = Literal["infonce", "structured"]


class Matched(NamedTuple):
    """What one look shows, of all devices."""

    text: Array  # [N, E] unit vectors
    image: Array  # [N, E]
    same: Array  # [N, N] bool, whether two captions are the same
    logits: Array | None  # [N, K] of classes
    y: Array | None  # [N]


def unit(x: Array) -> Array:
    """Vectors [..., E] of length 1; one of length 0 stays 0, with a finite slope."""
    square = jnp.square(x).sum(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


def contrast(text: Array, image: Array, same: Array, temperature: float = 0.07) -> Array:
    """`-(log softmax_j(t_i v_j / T) + log softmax_j(t_j v_i / T))_i / 2`, symmetric InfoNCE (Radford et al. 2021).

    All vectors equal, it is log N; each pair equal and orthogonal to the others, `log(1 + (N - 1) exp(-1 / T))`. Pairs
    of other examples with the same caption are no negatives.

    Args:
        text: t, [N, E] unit vectors.
        image: v, [N, E], each of the caption in its row.
        same: [N, N] bool, whether two captions are the same.
        temperature: T.

    Returns:
        [N] nats.
    """
    logits = jnp.where(_others(same), -jnp.inf, text @ image.T / temperature)
    right = jnp.diagonal(logits)
    return (jax.nn.logsumexp(logits, 1) + jax.nn.logsumexp(logits, 0)) / 2 - right


def structured(text: Array, image: Array, same: Array, margin: float = 1.0) -> Array:
    """`mean_j (max(0, m + t_j v_i - t_i v_i) + max(0, m + t_i v_j - t_i v_i)) / 2` over wrong pairs j.

    The structured joint embedding, each caption a class of its own: 0 where every right pair leads by the margin, m
    where all vectors are equal. The mean is that of the authors' code; the largest, of equation 4 of the paper (Reed et
    al. 2016, Learning Deep Representations of Fine-Grained Visual Descriptions), draws vectors of length 1 to one
    point: it falls to m by that, and learns no more.

    Args:
        text: as of `contrast`.
        image: as of `contrast`.
        same: as of `contrast`.
        margin: m.

    Returns:
        [N], 0 where no pair is wrong.
    """
    scores = text @ image.T
    right = jnp.diagonal(scores)
    hinges = nn.relu(margin + scores - right[:, None]) + nn.relu(margin + scores.T - right[:, None])
    return jnp.where(same, 0, hinges).sum(1) / jnp.maximum((~same).sum(1), 1) / 2


def _others(same: Array) -> Array:
    """Where two examples have the same caption and are not one."""
    return same & ~jnp.eye(len(same), dtype=bool)


def matching(
    text: nn.Module,
    image: nn.Module,
    classifier: nn.Module | None = None,
    *,
    objective: Objective = "infonce",
    temperature: float = 0.07,
    margin: float = 1.0,
    axis_name: str | None = None,
) -> Game:
    """Two encoders that minimise one contrast, and beside them a classifier of the images by its cross-entropy.

    Args:
        text: module, `tokens [B, L] int32 -> [B, E]`.
        image: module, `x [B, H, W, C] -> [B, E]`.
        classifier: module, `x -> logits [B, K]`; the batch then has classes.
        objective: `contrast` or `structured`, of the vectors of all devices.
        temperature: of `contrast`.
        margin: of `structured`.
        axis_name: the mapped axis that shares the batch, if any.

    Returns:
        A game of "text", "image" and "classifier", as far as they are there, whose batch is a `Batch` with
        `y = {"caption": tokens, "class": int32}`.

    Raises:
        ValueError: an option is out of its range; from `init`, if the encoders make vectors of unlike length.
    """
    check_name("matching", "objective", objective, ("infonce", "structured"))
    check_range("matching", 0, above=True, temperature=temperature, margin=margin)
    nets = {TEXT: network(text), IMAGE: network(image)}
    nets |= {} if classifier is None else {CLASSIFIER: network(classifier)}

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        inputs = {player: batch.y[CAPTION] if player == TEXT else batch.x for player in nets}
        keys = jax.random.split(key, len(nets))
        made = {player: nets[player].init(k, inputs[player]) for player, k in zip(nets, keys, strict=True)}
        shapes = [made[player][2].shape for player in (TEXT, IMAGE)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"matching: text and image make vectors {shapes[0]} and {shapes[1]}, expected one length")
        return owned(made)

    def look(params: PerPlayer, moment: Moment) -> tuple[Matched, PerPlayer]:
        batch, state, said, after = moment.batch, moment.net_state, {}, {}
        for player, net in nets.items():
            x = batch.y[CAPTION] if player == TEXT else batch.x
            said[player], after[player] = net.apply(params[player], state[player], x, train=True)
        vectors = {player: everyone(axis_name, unit(said[player])) for player in (TEXT, IMAGE)}
        tokens = everyone(axis_name, batch.y[CAPTION])
        same = (tokens[:, None] == tokens[None]).all(-1)
        return Matched(vectors[TEXT], vectors[IMAGE], same, said.get(CLASSIFIER), batch.y.get(CLASS)), after

    def apart(s: Matched) -> Array:
        if objective == "infonce":
            return contrast(s.text, s.image, s.same, temperature)
        return structured(s.text, s.image, s.same, margin)

    terms = {player: {"contrast": Term(apart)} for player in (TEXT, IMAGE)}
    terms |= {} if classifier is None else {CLASSIFIER: {"entropy": Term(lambda s: cross_entropy(s.logits, s.y))}}
    return Game(init, of_terms(look, terms))


def measures(text: nn.Module, image: nn.Module, *, candidates: int = 100) -> dict[str, Measure]:
    """R-precision of real held-out images under the encoders.

    Args:
        text: as of `matching`.
        image: as of `matching`.
        candidates: as of `r_precision`.
    """
    t, v = network(text), network(image)

    def values(weights: Weights, batch: Batch, key: Key) -> PyTree:
        return vectors_of(
            t.apply(*weights[TEXT], batch.y[CAPTION], train=False)[0],
            v.apply(*weights[IMAGE], batch.x, train=False)[0],
            batch.y[CAPTION],
        )

    summary = of_candidates(candidates)
    return {"r_precision": Measure(values, (TEXT, IMAGE), "data", "higher", y=(CAPTION,), summary=summary)}


def vectors_of(text: Array, image: Array, tokens: Array) -> dict[str, Array]:
    """What `of_candidates` summarises, of the examples of a batch."""
    return {"text": unit(text), "image": unit(image), "tokens": tokens}


def of_candidates(count: int) -> Any:
    """A measure's summary: `r_precision` among so many candidates."""
    return lambda values: r_precision(values["text"], values["image"], values["tokens"], candidates=count)


def r_precision(text: np.ndarray, image: np.ndarray, tokens: np.ndarray, *, candidates: int = 100) -> float:
    """The share of images whose own caption is nearest among it and `candidates - 1` others (Xu et al. 2018).

    In closed form over all draws of the others: with a of the M other captions at least as near as the own one, its
    share is `C(M - a, candidates - 1) / C(M, candidates - 1)`. So a tie is lost, and no seed is needed. Chance is
    1 / candidates; real images say how much of it can be had.

    Which encoders judge decides what this number means: scored by those that the generator was trained against, it is
    what the generator maximised.

    Args:
        text: [N, E] unit vectors of the captions.
        image: [N, E] of the images of these captions.
        tokens: [N, L] integers, the captions; other images of the same one are no candidates.
        candidates: at most as many as there are captions.

    Raises:
        ValueError: an image has no other caption beside its own, or candidates is less than 2.
    """
    check_range("r_precision", 2, whole=True, candidates=candidates)
    scores = np.asarray(image, np.float64) @ np.asarray(text, np.float64).T
    others = (np.asarray(tokens)[:, None] != np.asarray(tokens)[None]).any(-1)
    count = others.sum(1)
    if count.min(initial=1) < 1 or not len(scores):
        raise ValueError("r_precision: the captions are all the same, expected others to tell them from")
    nearer = (others & (scores >= scores.diagonal()[:, None])).sum(1)
    drawn = np.minimum(candidates - 1, count)
    left = count - nearer

    def log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)

    possible = left >= drawn
    share = np.exp(log_choose(np.where(possible, left, drawn), drawn) - log_choose(count, drawn))
    return float(np.where(possible, share, 0.0).mean())
