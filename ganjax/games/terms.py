"""Costs from named terms: what is seen once, and what each player makes of it.

A *scene* is whatever a look at the game returns; a term takes numbers from it. A hand-written cost stands beside those
made of terms: `Game(init, {**of_terms(look, ...), "apart": cost})`. A game with lazy terms says so to the log,
`Game(..., taken_every=lazily(terms))`.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ganjax.checks import check_kind, check_range
from ganjax.core import Array, Cost, Metrics, Moment, Outcome, PerPlayer

Scene = Any


class Term(NamedTuple):
    """A part of a cost: `weight * mean(values)`."""

    values: Callable[[Scene], Array]  # [B, ...] or a scalar; its mean is logged, unweighted
    weight: float | Callable[[Array | int], Array | float] = (
        1.0  # or of the step; a weight of 0.0 is logged and not paid
    )
    every: int = 1  # lazy: at every k-th step with k times the weight (Karras et al. 2020, 3.1); 0, unlogged, elsewhere


Terms = Mapping[str, Mapping[str, Term]]  # keyed by cost, and by the term's name


def weighed(terms: Mapping[str, Term], scene: Scene, step: Array | int) -> tuple[Array, Metrics]:
    """`sum_k w_k mean(values_k)`, and each mean by its name.

    Where the values are of single examples, devices and micro-batches that share a batch pay what the whole batch pays,
    the mean of means. What couples examples must average over the axis itself.

    Args:
        terms: keyed by name.
        scene: what they look at.
        step: scalar int32, of schedules and lazy terms.
    """
    cost, metrics = jnp.zeros(()), {}
    for name, term in terms.items():

        def mean(term: Term = term) -> Array:
            return jnp.mean(term.values(scene))

        if term.every == 1:
            metrics[name] = mean()
        else:
            nothing = partial(jnp.zeros_like, jax.eval_shape(mean))
            metrics[name] = jax.lax.cond(step % term.every == 0, mean, nothing)
        if callable(term.weight):
            cost += term.every * term.weight(step) * metrics[name]
        elif term.weight != 0:
            cost += term.every * term.weight * metrics[name]
    return cost, metrics


def of_terms(
    look: Callable[[PerPlayer, Moment], tuple[Scene, PerPlayer]],
    terms: Terms,
    movers: Mapping[str, str] | None = None,
) -> dict[str, Cost]:
    """The costs that are sums of terms, keyed by name.

    Each player differentiates its own cost in its own parameters: so a scene that all share needs no `stop_gradient`,
    and a compiler computes once what they have in common.

    Args:
        look: `(params, moment) -> (scene, net_state after it, keyed by player)`.
        terms: cost -> its terms, keyed by name; metrics are "cost/term".
        movers: as of `Game`, cost -> player where that is not its name: whose `net_state` the cost keeps.

    Raises:
        ValueError: a term's `every` is not at least 1, or its weight not finite.
    """
    owners = movers or {}
    check_terms("of_terms", terms)

    def cost(name: str) -> Cost:
        def of(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
            scene, after = look(params, moment)
            value, metrics = weighed(terms[name], scene, moment.step)
            return value, Outcome(after[owners.get(name, name)], metrics)

        return of

    return {name: cost(name) for name in terms}


def lazily(terms: Terms) -> dict[str, int]:
    """What `Game.taken_every` says of these terms."""
    return {
        f"{cost}/{name}": term.every for cost, parts in terms.items() for name, term in parts.items() if term.every > 1
    }


def check_terms(where: str, terms: Terms, low: float = -math.inf) -> None:
    """Raise about the first term that is none, is due at no step, or weighs less than this or is not finite."""
    for name, parts in terms.items():
        for label, term in parts.items():
            check_kind(where, Term, **{f"{name}/{label}": term})
            check_range(where, 1, whole=True, **{f"every of {name}/{label}": term.every})  # type: ignore[arg-type]
            check_range(where, low, **{f"the weight of {name}/{label}": term.weight})  # type: ignore[arg-type]
