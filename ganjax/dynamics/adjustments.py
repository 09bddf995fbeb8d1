"""Adjustments of the vector field: terms that are added to the gradients, whatever the update rule does with them.

Each is a triple of pure functions. With several, each term is computed from the unadjusted field `v` and its
Jacobian `J`, and all are added. On the bilinear game `J = [[0, 1], [-1, 0]]`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ganjax.checks import check_players, check_range
from ganjax.core import Array, PerPlayer, PyTree
from ganjax.dynamics.averaging import Average, tail_average
from ganjax.dynamics.field import Field, View, add, dot


class Adjustment(NamedTuple):
    """How to adjust a field."""

    # (view, params, gradients, memory) -> what is added to the gradients, keyed by player
    term: Callable[[View, PerPlayer, dict, PyTree], dict]
    init: Callable[[PerPlayer], PyTree] = lambda params: ()  # params -> memory
    update: Callable[[PerPlayer, PyTree], PyTree] = lambda params, memory: memory  # once after each step


def consensus(gamma: float) -> Adjustment:
    """`v + gamma J^T v = v + gamma grad (|v|^2 / 2)` (Mescheder, Nowozin and Geiger 2017, equation 9).

    On the bilinear game with step eta: the multiplier `1 - eta gamma + i eta`.
    """
    check_range("consensus", 0, gamma=gamma)
    return Adjustment(lambda view, params, v, memory: _scaled(gamma, view.transposed_product(params, v)))


def symplectic(lam: float = 1.0, *, align: bool = False, epsilon: float = 0.1) -> Adjustment:
    """Symplectic gradient adjustment `v + lambda A^T v` with `A = (J - J^T) / 2` (Balduzzi et al. 2018, algorithm 1).

    Args:
        lam: lambda.
        align: multiply lambda by the sign of `<v, J^T v> <A^T v, J^T v> / d + epsilon`, d the number of
            parameters, so that the term leads towards stable fixed points and away from unstable ones.
        epsilon: of the alignment; the paper's 0.1.
    """
    check_range("symplectic", lam=lam)
    check_range("symplectic", 0, epsilon=epsilon)

    def term(view: View, params: PerPlayer, v: dict, memory: PyTree) -> dict:
        up = view.transposed_product(params, v)
        turned = _scaled(0.5, add(up, view.jacobian_product(params, v), -1.0))
        if not align:
            return _scaled(lam, turned)
        size = sum(leaf.size for leaf in jax.tree.leaves(v))
        sign = jnp.where(dot(v, up) * dot(turned, up) / size + epsilon >= 0, 1.0, -1.0)
        return _scaled(lam * sign, turned)

    return Adjustment(term)


def gradient_norm(gamma: float, players: Sequence[str] | None = None) -> Adjustment:
    """Each player's cost gets `gamma / 2` times the squared norm of the other players' gradients.

    Nagarajan and Kolter (2017, equation 7) give it to the generator alone, JARE (Nie and Patel 2019) to both
    players, ODE-GAN (Qin et al. 2020) to the discriminator.

    Args:
        gamma: the weight.
        players: whose costs get the term; all by default.
    """
    check_range("gradient_norm", 0, gamma=gamma)

    def term(view: View, params: PerPlayer, v: dict, memory: PyTree) -> dict:
        terms = jax.tree.map(jnp.zeros_like, v)
        for player in v if players is None else players:
            others = {p: jax.tree.map(jnp.zeros_like, v[p]) if p == player else v[p] for p in v}
            terms[player] = _scaled(gamma, view.transposed_product(params, others)[player])
        return terms

    def init(params: PerPlayer) -> tuple:
        check_players("gradient_norm", players, params)
        return ()

    return Adjustment(term, init)


def historical_averaging(mu: float, average: Average | None = None) -> Adjustment:
    """Each player's cost gets `mu / 2 |theta - m|^2`, m the average of its past (Salimans et al. 2016, section 3.3).

    Args:
        mu: the weight.
        average: how m is formed; by default the uniform mean of all past parameters, as published.
    """
    check_range("historical_averaging", 0, mu=mu)
    past = tail_average() if average is None else average
    return Adjustment(
        term=lambda view, params, v, memory: _scaled(mu, add(view.game.moving(params), past.value(memory), -1.0)),
        init=lambda params: past.update(dict(params), past.init(dict(params))),
        update=lambda params, memory: past.update(dict(params), memory),
    )


def adjusted(
    view: View,
    params: PerPlayer,
    adjustments: Sequence[Adjustment],
    memories: Sequence[PyTree],
    costs: tuple[str, ...] | None = None,
) -> Field:
    """The field of these costs, all of them by default, with the terms of all adjustments added."""
    if not adjustments:
        return view.field(params, costs)
    field = view.field(params)
    terms = [a.term(view, params, field.gradients, memory) for a, memory in zip(adjustments, memories, strict=True)]
    gradients = field.gradients
    for term in terms:
        gradients = add(gradients, term)
    names = tuple(view.game.costs) if costs is None else costs
    chosen = [view.game.mover(name) for name in names]
    return Field(
        gradients={p: gradients[p] for p in chosen},
        net_state={p: (field if p in chosen else view.moment).net_state[p] for p in field.net_state},
        metrics={metric: value for metric, value in field.metrics.items() if metric.split("/")[0] in names},
    )


def _scaled(scale: Array | float, tree: dict) -> dict:
    return jax.tree.map(lambda leaf: (scale * leaf).astype(leaf.dtype), tree)
