"""Domain adaptation: features that a classifier of one domain can use in another, whose labels nobody sees.

A batch is `{"source": Batch, "target": Batch}`, of which y of the source alone is read. Encoders are modules `x -> h
[B, F]`, classifiers `h -> logits [B, K]`, critics `h or logits -> u [B]`, log-odds of the source.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from ganjax import alignment as how
from ganjax.checks import check_name
from ganjax.core import Array, Batch, Cost, Game, Key, Measure, Moment, Outcome, PerPlayer, Weights, everyone
from ganjax.games.network import Network, Rngs, network, owned, pass_keys
from ganjax.games.terms import Term, of_terms

SOURCE, TARGET = "source", "target"  # the domains; and of `adda` the players that are their encoders
ENCODER, CLASSIFIER, CRITIC = "encoder", "classifier", "critic"
TARGET_CLASSIFIER = "target_classifier"  # of `adda` on logits
CLASSIFIERS = "classifiers"  # both of `mcd`
DOMAINS = (SOURCE, TARGET)

Sees = Literal["features", "logits"]  # what is to be alike in both domains
Alignment = Literal["none", "reversal", "confusion", "coral", "mmd"]


class Said(NamedTuple):
    """What networks make of the examples of a domain."""

    logits: Array  # [B, K] of classes
    code: Array  # [B, F], what is to be aligned
    u: Array | None  # [B], what the critic says of it


class Seen(NamedTuple):
    """What one look shows."""

    source: Said
    target: Said
    y: Array  # [B] int32, of the source


def cross_entropy(logits: Array, y: Array) -> Array:
    """`-log softmax(logits)_y`, [B]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)


def supervised(encoder: nn.Module, classifier: nn.Module, *, axis_name: str | None = None) -> Game:
    """Both minimise the cross-entropy of one domain: "source only", and the first stage of `adda`.

    Args:
        encoder: of the images.
        classifier: of its features.
        axis_name: the mapped axis that shares the batch, if any; dropout needs it.

    Returns:
        A game of the players "encoder" and "classifier", whose batch is a `Batch` with classes.
    """
    e, c = network(encoder), network(classifier)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        keys = jax.random.split(key)
        made = e.init(keys[0], batch.x)
        return owned({ENCODER: made, CLASSIFIER: c.init(keys[1], made[2])})

    def look(params: PerPlayer, moment: Moment) -> tuple[tuple[Array, Array], PerPlayer]:
        batch, after, state = moment.batch, {}, moment.net_state
        (keys,) = pass_keys(batch.position, moment.key, axis_name, 1)
        h, after[ENCODER] = e.apply(params[ENCODER], state[ENCODER], batch.x, train=True, keys=keys)
        logits, after[CLASSIFIER] = c.apply(params[CLASSIFIER], state[CLASSIFIER], h, train=True, keys=keys)
        return (logits, batch.y), after

    entropy = {"class": Term(lambda seen: cross_entropy(*seen))}
    return Game(init, of_terms(look, {ENCODER: entropy, CLASSIFIER: entropy}))


ADVERSARIAL: Mapping[str, Callable[[Array, Array], Array]] = MappingProxyType(
    {"reversal": lambda u_s, u_t: -how.domain_entropy(u_s, u_t), "confusion": how.domain_confusion}
)


def aligned(
    encoder: nn.Module,
    classifier: nn.Module,
    alignment: Alignment,
    *,
    critic: nn.Module | None = None,
    sees: Sees = "features",
    weight: float | Callable[[Array | int], Array | float] = 1.0,
    axis_name: str | None = None,
) -> Game:
    """One encoder of both domains, which pays the cross-entropy of the source and `weight * alignment`.

    - "reversal": minus the critic's cost, which is gradient reversal (DANN): descending both at once from the same
      point gives the encoder `-weight` times the gradient of the critic's cost, and the critic its own, unscaled;
    - "confusion": fair coins under the critic (Tzeng et al. 2015);
    - "coral", "mmd": of `ganjax.alignment`, with five Gaussian kernels around the features' mean distance;
    - "none": nothing. With BatchNorm in the encoder this is AdaBN (Li et al. 2017), since statistics are those of each
      domain by itself, in training and afterwards.

    Args:
        encoder: of both domains; its `net_state` is kept for each domain.
        classifier: of the features, trained on the source.
        alignment: what else the encoder pays for.
        critic: of "reversal" and "confusion".
        sees: what is aligned, features or the classifier's logits.
        weight: of the alignment, or a function of the step such as `alignment.reversal_weight`.
        axis_name: the mapped axis that shares the batch, if any; "coral" and "mmd" compare all of it.

    Returns:
        A game of the players "critic", if there is one, "encoder" and "classifier", who move at once.

    Raises:
        ValueError: an unknown name, or a critic is missing or has nothing to say.
    """
    check_name("aligned", "alignment", alignment, ("none", "reversal", "confusion", "coral", "mmd"))
    check_name("aligned", "sees", sees, ("features", "logits"))
    if (critic is not None) != (alignment in ADVERSARIAL):
        raise ValueError(f"aligned: the critic is {critic}, expected one for {list(ADVERSARIAL)} and for no other")
    e, c, d = network(encoder), network(classifier), None if critic is None else network(critic)

    def init(key: Key, batch: Mapping[str, Batch]) -> tuple[dict, dict]:
        k = jax.random.split(key, 3)
        made = {ENCODER: e.init(k[0], batch[SOURCE].x)}
        made[CLASSIFIER] = c.init(k[1], made[ENCODER][2])
        if d is not None:
            made[CRITIC] = d.init(k[2], made[ENCODER if sees == "features" else CLASSIFIER][2])
        params, state = owned(made)
        return params, {**state, ENCODER: dict.fromkeys(DOMAINS, state[ENCODER])}

    def look(params: PerPlayer, moment: Moment) -> tuple[Seen, PerPlayer]:
        state, after, said = moment.net_state, dict(moment.net_state), {}
        keys = pass_keys(moment.batch[SOURCE].position, moment.key, axis_name, 2)
        for domain, own in zip(DOMAINS, keys, strict=True):
            on = {"train": True, "keys": own}
            h, of_domain = e.apply(params[ENCODER], state[ENCODER][domain], moment.batch[domain].x, **on)
            after[ENCODER] = {**after[ENCODER], domain: of_domain}
            logits = c.apply(params[CLASSIFIER], state[CLASSIFIER], h, **on)[0]
            code = h if sees == "features" else logits
            u = None if d is None else d.apply(params[CRITIC], state[CRITIC], code, **on)[0]
            said[domain] = Said(logits, code, u)
        return Seen(**said, y=moment.batch[SOURCE].y), after

    def apart(seen: Seen) -> Array:
        if alignment in ADVERSARIAL:
            return ADVERSARIAL[alignment](seen.source.u, seen.target.u)  # type: ignore[arg-type]
        source, target = (everyone(axis_name, said.code) for said in (seen.source, seen.target))
        if alignment == "coral":
            return how.coral(source, target)
        return how.mmd(source, target, how.widths(source, target))

    entropy = {"class": Term(lambda seen: cross_entropy(seen.source.logits, seen.y))}
    paid = {} if alignment == "none" else {"alignment": Term(apart, weight)}
    terms = {} if d is None else {CRITIC: _of_critic()}
    return Game(init, of_terms(look, {**terms, ENCODER: {**entropy, **paid}, CLASSIFIER: entropy}))


def _of_critic() -> dict[str, Term]:
    """What a critic pays for, and how often it is right, each domain half."""

    def right(seen: Seen) -> Array:
        return (jnp.mean(seen.source.u > 0, dtype=jnp.float32) + jnp.mean(seen.target.u <= 0, dtype=jnp.float32)) / 2  # type: ignore[operator]

    return {
        "domain": Term(lambda seen: how.domain_entropy(seen.source.u, seen.target.u)),
        "domain_accuracy": Term(right, 0.0),
    }


def adda(encoder: nn.Module, classifier: nn.Module, critic: nn.Module, *, sees: Sees = "features") -> Game:
    """The second stage of ADDA: the target's encoder against a critic of both (Tzeng et al. 2017, equation 9).

    The critic descends the cross-entropy of the domains, the target's encoder the same with inverted labels; the
    source's encoder and the classifier look on, not a bit of them moves. On "features", as the paper's text reads, that
    is all, and targets are classified by the source's classifier. On "logits", as its code does, the target has a
    classifier of its own, which moves like its encoder. Networks are in evaluation mode in both domains alike: what
    dropout or statistics of a batch did to one of them alone, the critic could tell it by.

    Args:
        encoder: of each domain; all begin with fresh weights here, and by `Setup.start` with those of `supervised`.
        classifier: of features.
        critic: of features or logits.
        sees: what the critic sees.

    Returns:
        A game of the players "critic", "target" and on logits "target_classifier", with the onlookers "source" and
        "classifier".

    Raises:
        ValueError: `sees` is neither.
    """
    check_name("adda", "sees", sees, ("features", "logits"))
    e, c, d = network(encoder), network(classifier), network(critic)
    owners = owners_of(sees)
    moving = [TARGET] + [TARGET_CLASSIFIER] * (sees == "logits")

    def init(key: Key, batch: Mapping[str, Batch]) -> tuple[dict, dict]:
        k = jax.random.split(key, 5)
        made = {domain: e.init(k[i], batch[domain].x) for i, domain in enumerate(DOMAINS)}
        for i, name in enumerate(dict.fromkeys(head for _, head in owners.values())):
            made[name] = c.init(k[2 + i], made[SOURCE][2])
        made[CRITIC] = d.init(k[4], made[SOURCE if sees == "features" else CLASSIFIER][2])
        return owned(made)

    def look(params: PerPlayer, moment: Moment) -> tuple[Seen, PerPlayer]:
        state, said = moment.net_state, {}
        for domain, (body, head) in owners.items():
            h = e.apply(params[body], state[body], moment.batch[domain].x, train=False)[0]
            logits = c.apply(params[head], state[head], h, train=False)[0]
            code = h if sees == "features" else logits
            u = d.apply(params[CRITIC], state[CRITIC], code, train=False)[0]
            said[domain] = Said(logits, code, u)
        return Seen(**said, y=moment.batch[SOURCE].y), state

    inverted = {"inverted": Term(lambda seen: how.inverted_labels(seen.source.u, seen.target.u))}
    return Game(init, of_terms(look, {CRITIC: _of_critic(), **dict.fromkeys(moving, inverted)}))


def mcd(encoder: nn.Module, classifiers: nn.Module, *, axis_name: str | None = None) -> Game:
    """Maximum classifier discrepancy (Saito et al. 2018, section 3.3): three costs of two players, one after another.

    1. "encoder" and "classifiers": the cross-entropy of the source, both classifiers;
    2. "apart", of the classifiers: the same minus the discrepancy on the target;
    3. "together", of the encoder: the discrepancy on the target.

    `ORDER_OF_MCD` is the order of play, for `alternating(order=, fresh=False)`: the third step is taken four times.

    Args:
        encoder: of both domains; its `net_state` is kept for each domain.
        classifiers: module, `h -> logits [B, 2, K]`.
        axis_name: the mapped axis that shares the batch, if any; dropout needs it.

    Returns:
        A game of the players "encoder" and "classifiers".
    """
    e, c = network(encoder), network(classifiers)

    def init(key: Key, batch: Mapping[str, Batch]) -> tuple[dict, dict]:
        k = jax.random.split(key)
        made = e.init(k[0], batch[SOURCE].x)
        params, state = owned({ENCODER: made, CLASSIFIERS: c.init(k[1], made[2])})
        return params, {**state, ENCODER: dict.fromkeys(DOMAINS, state[ENCODER])}

    def said(params: PerPlayer, moment: Moment, domain: str, keys: Rngs) -> tuple[Array, PerPlayer]:
        """Logits [B, 2, K], and the net_state after it."""
        state, on = moment.net_state, {"train": True, "keys": keys}
        h, own = e.apply(params[ENCODER], state[ENCODER][domain], moment.batch[domain].x, **on)
        logits, pair = c.apply(params[CLASSIFIERS], state[CLASSIFIERS], h, **on)
        return logits, {ENCODER: {**state[ENCODER], domain: own}, CLASSIFIERS: pair}

    def cost(player: str, named: bool, apart: float) -> Cost:
        """`named * (entropy of both) + apart * discrepancy`, of the statistics of the domain that comes last."""

        def of(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
            keys = pass_keys(moment.batch[SOURCE].position, moment.key, axis_name, 2)
            value, metrics, after = jnp.zeros(()), {}, moment.net_state
            if named:
                logits, after = said(params, moment, SOURCE, keys[0])
                y = moment.batch[SOURCE].y
                metrics["class"] = cross_entropy(logits[:, 0], y).mean() + cross_entropy(logits[:, 1], y).mean()
                value += metrics["class"]
            if apart:
                logits, after = said(params, moment, TARGET, keys[1])
                metrics["discrepancy"] = how.discrepancy(logits).mean()
                value += apart * metrics["discrepancy"]
            return value, Outcome(after[player], metrics)

        return of

    costs = {
        ENCODER: cost(ENCODER, True, 0.0),
        CLASSIFIERS: cost(CLASSIFIERS, True, 0.0),
        "apart": cost(CLASSIFIERS, True, -1.0),
        "together": cost(ENCODER, False, 1.0),
    }
    return Game(init, costs, movers={"apart": CLASSIFIERS, "together": ENCODER})


ORDER_OF_MCD: tuple[str | tuple[str, ...], ...] = ((ENCODER, CLASSIFIERS), "apart", *["together"] * 4)


class Judge(NamedTuple):
    """What was trained, as a function of images."""

    players: tuple[str, ...]  # whose weights it reads
    said: Callable[[Weights, Array, str], tuple[Array, Array]]  # (weights, x, domain) -> features [B, F], logits [B, K]


Owners = Mapping[str, tuple[str, str]]  # domain -> the players who are its encoder and its classifier
JOINT: Owners = MappingProxyType(dict.fromkeys(DOMAINS, (ENCODER, CLASSIFIER)))
JOINT_PAIR: Owners = MappingProxyType(dict.fromkeys(DOMAINS, (ENCODER, CLASSIFIERS)))


def owners_of(sees: Sees) -> Owners:
    """Those of `adda`."""
    return {SOURCE: (SOURCE, CLASSIFIER), TARGET: (TARGET, TARGET_CLASSIFIER if sees == "logits" else CLASSIFIER)}


def judge(encoder: nn.Module, classifier: nn.Module, owners: Owners = JOINT) -> Judge:
    """What these networks say in evaluation mode; of a pair of classifiers the mean of the logits.

    Statistics are those of the domain, where they are kept apart.
    """
    e, c = network(encoder), network(classifier)
    players = tuple(dict.fromkeys(name for pair in owners.values() for name in pair))

    def said(weights: Weights, x: Array, domain: str) -> tuple[Array, Array]:
        body, head = (weights[player] for player in owners[domain])
        h = _of_domain(e, body, x, domain)
        logits = c.apply(head.params, head.net_state, h, train=False)[0]
        return h, logits.mean(1) if logits.ndim == 3 else logits

    return Judge(players, said)


def _of_domain(net: Network, own, x: Array, domain: str) -> Array:
    apart = set(own.net_state) == set(DOMAINS)
    return net.apply(own.params, own.net_state[domain] if apart else own.net_state, x, train=False)[0]


def accuracy(judged: Judge, domain: str, stream: str = "") -> Measure:
    """The share of examples of a domain whose class has the largest logit, of the stream of that name."""

    def values(weights: Weights, batch: Batch, key: Key) -> Array:
        del key
        return judged.said(weights, batch.x, domain)[1].argmax(-1) == batch.y

    return Measure(values, judged.players, stream or domain, "higher", y="class")
