"""Spectra: the Jacobian of a field, exact for toy games and matrix-free for networks, and how much it rotates.

The flow `theta' = -v(theta)` is attracted to an equilibrium where every eigenvalue of `J` has a positive real part; an
imaginary part is rotation.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpy.typing import NDArray

from ganjax.checks import check_name, check_range
from ganjax.core import Array, Dynamics, Game, GameState, Key, Moment, PerPlayer, PyTree
from ganjax.dynamics.adjustments import Adjustment, adjusted
from ganjax.dynamics.field import View, add, dot


def field_jacobian(view: View, params: PerPlayer, adjustments: Sequence[Adjustment] = ()) -> Array:
    """`J = d v / d theta`, [n, n], of a toy game's field, adjusted if wished.

    Args:
        view: the game at one batch and key.
        params: where; rows and columns are in the order of the players' names, then of their leaves.
        adjustments: of the field; with memories as at the start.
    """
    flat, unravel = ravel_pytree(dict(params))
    memories = tuple(a.init(params) for a in adjustments)
    return jax.jacrev(lambda z: ravel_pytree(adjusted(view, unravel(z), adjustments, memories).gradients)[0])(flat)


def update_jacobian(game: Game, dynamics: Dynamics, state: GameState, batch: PyTree, key: Key) -> Array:
    """The Jacobian of one step in everything that the step moves: parameters and the dynamics' floating memory.

    At an equilibrium its spectral radius is the local rate per step of the rule, whatever the rule remembers; on
    games with a linear field it is the whole truth. It is taken by central differences of fourth order, exact to
    rounding for a linear step: autodiff would be blind to what a rule holds fixed with `stop_gradient`. Use float64.

    Args:
        game: a toy game.
        dynamics: the rule.
        state: where; take a state after a few steps if the rule treats its first ones differently.
        batch: of the step.
        key: of the step.

    Returns:
        [n, n], n numbers of parameters and memory together.
    """
    moving, rest = _split((state.params, state.dynamics_state))
    flat, unravel = ravel_pytree(moving)

    def step(z: Array) -> Array:
        params, memory = _join(unravel(z), rest)
        new, _ = dynamics.step(game, replace(state, params=params, dynamics_state=memory), batch, key)
        return ravel_pytree(_split((new.params, new.dynamics_state))[0])[0]

    h = float(jnp.finfo(flat.dtype).eps) ** 0.2  # where rounding and truncation are equally small

    places = h * jnp.array([1.0, -1.0, 2.0, -2.0], flat.dtype)

    def column(direction: Array) -> Array:
        after, before, far_after, far_before = jax.vmap(lambda place: step(flat + place * direction))(places)
        return (8 * (after - before) - (far_after - far_before)) / (12 * h)

    return jax.vmap(column, out_axes=1)(jnp.eye(flat.size, dtype=flat.dtype))


def spectral_radius(matrix: Array) -> float:
    """The largest modulus of the eigenvalues."""
    return float(np.abs(np.linalg.eigvals(np.asarray(matrix))).max())


def leading_eigenvalues(
    view: View,
    params: PerPlayer,
    count: int = 8,
    *,
    which: str = "LM",
    adjustments: Sequence[Adjustment] = (),
    tolerance: float = 1e-4,
    seed: int = 0,
) -> NDArray[np.complex128]:
    """The `count` leading eigenvalues of the field's Jacobian, from products alone (Arnoldi, ARPACK).

    Args:
        view: the game at one batch and key.
        params: of all players.
        count: how many; at most the number of parameters minus 2.
        which: "LM" largest modulus, "LR" / "SR" largest / smallest real part, "LI" largest imaginary part.
        adjustments: of the field; with memories as at the start.
        tolerance: relative, of the eigenvalues.
        seed: of the first vector.

    Returns:
        [count] complex128, largest modulus first. Complex ones come in conjugate pairs.

    Raises:
        ValueError: too many were asked for, or of an unknown kind.
    """
    from scipy.sparse.linalg import LinearOperator, eigs

    flat, _ = ravel_pytree(dict(params))
    check_name("leading_eigenvalues", "which", which, ("LM", "LR", "SR", "LI"))
    check_range("leading_eigenvalues", 0, tolerance=tolerance)
    if not 1 <= count <= flat.size - 2:
        raise ValueError(f"leading_eigenvalues: count is {count}, expected 1 to {flat.size - 2}")
    place = (dict(params), view.moment, tuple(a.init(params) for a in adjustments))

    product = _product(_Same(view.game, *adjustments), view.axis_name)

    def multiply(w: NDArray) -> NDArray:
        return np.asarray(product(place, jnp.asarray(w.ravel(), flat.dtype)), np.float64)

    operator = LinearOperator((flat.size, flat.size), matvec=multiply, dtype=np.float64)
    first = np.random.default_rng(seed).normal(size=flat.size)
    values = eigs(
        operator, k=count, which=which, tol=tolerance, v0=first, ncv=min(flat.size, max(4 * count, 40)),
        return_eigenvectors=False,
    )  # fmt: skip
    return values[np.lexsort((values.imag, -np.abs(values)))]


class _Same:
    """A game and adjustments, which have no hash, told from others by what they are and not by what they hold."""

    def __init__(self, *parts: Any):
        self.parts = parts

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.parts)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and [*map(id, self.parts)] == [*map(id, other.parts)]


@lru_cache(maxsize=4)
def _product(same: _Same, axis_name: str | None) -> Callable[[PyTree, Array], Array]:
    """`(place, w) -> J w` of the field, adjusted if wished: one program for all places of a game."""
    game, *adjustments = same.parts

    @jax.jit
    def product(place: PyTree, w: Array) -> Array:  # no constant of the program, which another place can use again
        params, moment, memories = place
        here, unravel = View(game, moment, axis_name), ravel_pytree(params)[1]
        if not adjustments:
            return ravel_pytree(here.jacobian_product(params, unravel(w)))[0]
        # The products of an adjusted field with its transposed Jacobian, whose eigenvalues are the same.
        pull = jax.vjp(lambda p: adjusted(here, p, adjustments, memories).gradients, params)[1]
        return ravel_pytree(pull(unravel(w))[0])[0]

    return product


def rotation(view: View, params: PerPlayer, key: Key, *, probes: int = 8) -> Array:
    """The share of rotation in the field's Jacobian: `|A|^2 / (|S|^2 + |A|^2)` with `S, A = (J +- J^T) / 2`.

    0 for a potential (every player minimises one function), 1 for a pure rotation (the bilinear game). Frobenius
    norms, matrix-free by Hutchinson's estimator, `|A|^2 = E |A w|^2` over random signs w.

    Args:
        view: the game at one batch and key.
        params: of all players.
        key: of the signs.
        probes: how many w; exact for every w where n = 2.

    Returns:
        A scalar in [0, 1].
    """
    check_range("rotation", 1, whole=True, probes=probes)
    leaves, structure = jax.tree.flatten(dict(params))

    def probe(key: Key) -> Array:
        keys = jax.random.split(key, len(leaves))
        signs = [jax.random.rademacher(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        w = jax.tree.unflatten(structure, signs)
        forward, back = view.jacobian_product(params, w), view.transposed_product(params, w)
        odd, even = add(forward, back, -1.0), add(forward, back)
        return jnp.stack([dot(odd, odd), dot(even, even)])

    odd, even = jax.lax.map(probe, jax.random.split(key, probes)).sum(0)
    return odd / (odd + even)


class PathAngle(NamedTuple):
    """The field along the straight line between two points."""

    alpha: Array  # [T], 0 at the start, 1 at the end
    cosine: Array  # [T], of the angle between the descent direction -v and end - start
    norm: Array  # [T], of v


def path_angle(view: View, start: PerPlayer, end: PerPlayer, alphas: Array) -> PathAngle:
    """The path-angle of Berard et al. (2020, section 4): where does the field point on the way to where training ended?

    `theta(alpha) = (1 - alpha) start + alpha end`. A change of sign at alpha = 1 is attraction to a stable point; a
    bump there is rotation about it.

    Args:
        view: the game at one batch and key.
        start: parameters, those of the initialisation.
        end: parameters, those after training.
        alphas: [T], from below 0 to above 1.
    """

    @jax.jit
    def along(start: PerPlayer, end: PerPlayer, moment: Moment, alphas: Array) -> PathAngle:
        here, way = view._replace(moment=moment), add(end, start, -1.0)
        length = jnp.sqrt(dot(way, way))

        def at(alpha: Array) -> tuple[Array, Array]:
            v = here.field(add(start, way, alpha)).gradients
            norm = jnp.sqrt(dot(v, v))
            return -dot(v, way) / (norm * length), norm

        return PathAngle(alphas, *jax.lax.map(at, alphas))

    return along(dict(start), dict(end), view.moment, jnp.asarray(alphas))


def _split(tree: PyTree) -> tuple[PyTree, PyTree]:
    """Floating leaves and the rest, None in each other's place."""
    floating = jax.tree.map(lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact), tree)
    return (
        jax.tree.map(lambda leaf, chosen: leaf if chosen else None, tree, floating),
        jax.tree.map(lambda leaf, chosen: None if chosen else leaf, tree, floating),
    )


def _join(moving: PyTree, rest: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: b if a is None else a, moving, rest, is_leaf=lambda leaf: leaf is None)
