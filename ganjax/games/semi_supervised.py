"""A classifier from few labels and many examples without: the discriminator of K + 1 classes (Salimans et al. 2016).

A batch is `{"labelled": Batch, "unlabelled": Batch}`, of which y of the first alone is read.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.nn import softplus

from ganjax.core import Array, Batch, Critique, Game, Key, Measure, Moment, PerPlayer, Weights, noise
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.network import network, owned, pass_keys
from ganjax.games.priors import Prior
from ganjax.games.terms import Term, of_terms
from ganjax.losses import feature_matching

LABELLED, UNLABELLED = "labelled", "unlabelled"
CLASS = "class"  # the head


class Judged(NamedTuple):
    """What one look shows: what the discriminator says, and the classes that are known."""

    labelled: Critique
    real: Critique  # of examples without labels
    fake: Critique | None
    y: Array  # [B] int32


def semi_supervised(
    generator: nn.Module | None,
    discriminator: nn.Module,
    *,
    prior: Prior,
    absolute: bool = False,
    axis_name: str | None = None,
) -> Game:
    """The classifier is the discriminator, and the generator matches its features.

    - discriminator: `-log softmax(l(x))_y` of labelled examples and `(softplus(-u(x)) + softplus(u(G(z)))) / 2` of the
      others and of generated ones, u = log Z, the logit of "real" among K + 1 classes. Of the second the gradient in l
      is `softmax(l) (D - 1) / 2` and `softmax(l) D / 2`: whether x is real says nothing of its class;
    - generator: `|E h(x) - E h(G(z))|^2` of the features h. A generator that draws perfectly would teach nothing
      (Dai et al. 2017).

    Args:
        generator: module, `z -> x`; None leaves the game out, and the classifier learns from its labels alone.
        discriminator: module, `x -> Critique` with the head "class" [B, K]; logits are u, as by
            `models.semi_supervised.k_plus_one`.
        prior: of z.
        absolute: the generator matches by the mean of `|E h_j(x) - E h_j(G(z))|` instead, as for CIFAR-10.
        axis_name: the mapped axis that shares the batch, if any.

    Returns:
        A game of the players "discriminator" and "generator", in this order.

    Raises:
        ValueError: from `init`, if the networks do not fit the examples or each other.
    """
    g, d = None if generator is None else network(generator), network(discriminator)

    def init(key: Key, batch: Mapping[str, Batch]) -> tuple[dict, dict]:
        keys, x = jax.random.split(key, 3), batch[UNLABELLED].x
        made = {DISCRIMINATOR: d.init(keys[0], x)}
        said = made[DISCRIMINATOR][2]
        if not isinstance(said, Critique) or CLASS not in said.heads:
            raise ValueError(f'semi_supervised: the discriminator has no head "{CLASS}", expected a Critique with it')
        if g is not None:
            made[GENERATOR] = g.init(keys[1], noise(prior, keys[2], batch[UNLABELLED].position))
            if (got := made[GENERATOR][2].shape[1:]) != x.shape[1:]:
                raise ValueError(f"semi_supervised: the generator makes {got}, expected {x.shape[1:]}, of an example")
        return owned(made)

    def look(params: PerPlayer, moment: Moment) -> tuple[Judged, PerPlayer]:
        labelled, unlabelled = moment.batch[LABELLED], moment.batch[UNLABELLED]
        state, after, parts = moment.net_state, {}, [labelled.x, unlabelled.x]
        (keys,) = pass_keys(unlabelled.position, moment.key, axis_name, 1)
        if g is not None:
            z = noise(prior, moment.key, unlabelled.position)
            fake, after[GENERATOR] = g.apply(params[GENERATOR], state[GENERATOR], z, train=True, keys=keys)
            parts.append(fake)
        said, after[DISCRIMINATOR] = d.apply(
            params[DISCRIMINATOR], state[DISCRIMINATOR], jnp.concatenate(parts), train=True, keys=keys
        )
        cuts = [len(labelled.x), len(labelled.x) + len(unlabelled.x)]
        own = [jax.tree.map(lambda leaf, k=k: jnp.split(leaf, cuts)[k], said) for k in range(len(parts))]
        return Judged(own[0], own[1], own[2] if g is not None else None, labelled.y), after

    def entropy(seen: Judged) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(seen.labelled.heads[CLASS], seen.y)

    def unlabelled(seen: Judged) -> Array:
        return (softplus(-seen.real.logits).mean() + softplus(seen.fake.logits).mean()) / 2  # type: ignore[union-attr]

    terms = {DISCRIMINATOR: {"class": Term(entropy)}}
    if g is not None:
        terms[DISCRIMINATOR]["unlabelled"] = Term(unlabelled)
        terms[GENERATOR] = {"matching": Term(feature_matching(absolute=absolute, axis_name=axis_name))}
    return Game(init, of_terms(look, terms))


def errors(discriminator: nn.Module, stream: str = UNLABELLED) -> Measure:
    """The share of examples whose class has not the largest logit."""
    d = network(discriminator)

    def values(weights: Weights, batch: Batch, key: Key) -> Array:
        del key
        return d.apply(*weights[DISCRIMINATOR], batch.x, train=False)[0].heads[CLASS].argmax(-1) != batch.y

    return Measure(values, (DISCRIMINATOR,), stream, "lower", y="class")
