"""Rules that solve an equation in every step: the proximal point and competitive gradient descent."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ganjax.checks import check_range
from ganjax.core import Array, Dynamics, GameState, Metrics, PerPlayer
from ganjax.dynamics.field import dot
from ganjax.dynamics.rule import Adjust, Look, Rates, rule, settle, shifted

DENSE_LIMIT = 2048  # parameters: a dense Jacobian is for toy games
_traced_once = partial(jax.jit, inline=True)  # not at each use, of which conjugate gradients have many


def proximal_point(
    step: Rates, *, iterations: int = 8, adjust: Adjust = None, axis_name: str | None = None
) -> Dynamics:
    """The implicit step `theta_(t+1) = theta_t - eta v(theta_(t+1))` (Rockafellar 1976), for toy games.

    Solved by Newton's method with the dense Jacobian. On `v(a, b) = ab`: the multiplier `1 / (1 - i eta)`, stable for
    every eta.

    Args:
        step: eta, one for all or keyed by player.
        iterations: of Newton's method; one is exact where the field is linear.
        adjust: adjustments of the field.
        axis_name: the mapped axis that shares the batch, if any.
    """
    check_range("proximal_point", 1, whole=True, iterations=iterations)

    def move(look: Look, state: GameState) -> tuple[GameState, Metrics]:
        field = look(state.params)
        start, unravel = ravel_pytree(look.view.game.moving(state.params))
        _check_size("proximal_point", start.size)
        eta = _spread(step, look.view.game.moving(state.params))

        def residual(z: Array) -> Array:
            return z - start + eta * ravel_pytree(look({**state.params, **unravel(z)}).gradients)[0]

        def newton(_, z: Array) -> Array:
            return z - jnp.linalg.solve(jax.jacrev(residual)(z), residual(z))

        end = jax.lax.fori_loop(0, iterations, newton, start)
        return settle(state, {**state.params, **unravel(end)}, field), field.metrics | {
            "residual": jnp.linalg.norm(residual(end))
        }

    return rule(None, move, adjust=adjust, rates=step, axis_name=axis_name)


def competitive(
    step: Rates,
    *,
    tolerance: float | None = None,
    iterations: int = 20,
    adjust: Adjust = None,
    axis_name: str | None = None,
) -> Dynamics:
    """Competitive gradient descent (Schaefer and Anandkumar 2019, equation 4).

    Each player plays the equilibrium of the game's bilinear approximation: `(I + eta A) d = -eta v`, where A holds the
    mixed second derivatives of the costs (the Jacobian without its diagonal blocks) and `theta <- theta + d`. On
    `v(a, b) = ab` it is the proximal point. It takes any number of players, zero-sum or not.

    Args:
        step: eta, one for all or keyed by player.
        tolerance: None solves exactly with a dense matrix, for toy games. A number solves by conjugate gradients on the
            normal equations, matrix-free, to this relative residual; in a zero-sum game they are the
            paper's `I + eta^2 D_xy D_yx`. The metric `residual` says what was reached.
        iterations: of conjugate gradients, at most.
        adjust: adjustments of v; A stays that of the costs.
        axis_name: the mapped axis that shares the batch, if any.
    """
    check_range("competitive", 0, above=True, tolerance=tolerance)
    check_range("competitive", 1, whole=True, iterations=iterations)
    solve = _dense if tolerance is None else _conjugate_gradients(tolerance, iterations)

    def move(look: Look, state: GameState) -> tuple[GameState, Metrics]:
        field = look(state.params)

        @_traced_once
        def forward(d: PerPlayer) -> dict:
            return shifted(d, look.view.jacobian_product(state.params, d, interaction=True), step, -1.0)

        @_traced_once
        def transposed(d: PerPlayer) -> dict:
            product = look.view.transposed_product(state.params, _scaled(step, d), interaction=True)
            return shifted(d, product, 1.0, -1.0)

        right = _scaled(step, field.gradients)
        d = solve(forward, transposed, right)
        missed = shifted(right, forward(d), 1.0)
        relative = jnp.sqrt(dot(missed, missed) / jnp.maximum(dot(right, right), jnp.finfo(jnp.float32).tiny))
        return settle(state, shifted(state.params, d, 1.0), field), field.metrics | {"residual": relative}

    return rule(None, move, adjust=adjust, rates=step, axis_name=axis_name)


def _dense(forward: Callable, transposed: Callable, right: dict) -> dict:
    """`forward(d) = right` by Gaussian elimination."""
    flat, unravel = ravel_pytree(right)
    _check_size("competitive", flat.size)
    matrix = jax.vmap(lambda e: ravel_pytree(forward(unravel(e)))[0], out_axes=1)(jnp.eye(flat.size, dtype=flat.dtype))
    return unravel(jnp.linalg.solve(matrix, flat))


def _conjugate_gradients(tolerance: float, iterations: int) -> Callable:
    def solve(forward: Callable, transposed: Callable, right: dict) -> dict:
        normal = lambda d: transposed(forward(d))  # noqa: E731
        return jax.scipy.sparse.linalg.cg(normal, transposed(right), tol=tolerance, maxiter=iterations)[0]

    return solve


def _scaled(rates: Rates, tree: PerPlayer) -> dict:
    """`eta_i x_i` for each player."""
    zeros = jax.tree.map(jnp.zeros_like, dict(tree))
    return shifted(zeros, tree, rates, -1.0)


def _spread(rates: Rates, params: PerPlayer) -> Array:
    """Each parameter's step size, flat."""
    return ravel_pytree(_scaled(rates, jax.tree.map(jnp.ones_like, dict(params))))[0]


def _check_size(name: str, size: int) -> None:
    if size > DENSE_LIMIT:
        raise ValueError(
            f"{name}: a dense Jacobian of {size} parameters, at most {DENSE_LIMIT}; for networks use competitive with "
            "a tolerance, or extragradient"
        )
