"""Optimal transport: the Wasserstein distance in one dimension, as a linear programme, entropic and sliced.

`W1(p, q) = min E |x - y|` over couplings of p and q, and by Kantorovich-Rubinstein duality
`W1(p, q) = max E_p f - E_q f` over 1-Lipschitz f, which a Wasserstein GAN's critic approximates.
"""

import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf
from numpy.typing import ArrayLike, NDArray

from ganjax.checks import check_range
from ganjax.core import Array, Key


class Plan(NamedTuple):
    """A solution of Kantorovich's primal problem, in float64."""

    value: float  # sum of plan * cost
    plan: NDArray[np.float64]  # [N, M], the mass that goes from i to j


class Potentials(NamedTuple):
    """A solution of its dual, in float64."""

    value: float  # <a, f> + <b, g>
    f: NDArray[np.float64]  # [N]
    g: NDArray[np.float64]  # [M]


class Potential(NamedTuple):
    """An optimal critic on points, in float64."""

    value: float  # <a - b, f>
    f: NDArray[np.float64]  # [N], slopes between points at most 1


def wasserstein_1d(x: Array, y: Array, *, x_weights: Array | None = None, y_weights: Array | None = None) -> Array:
    """`W1 = int |F(t) - G(t)| dt` of two samples on the line, F and G their distribution functions (Vallender 1974).

    Differentiable in the positions and the weights.

    Args:
        x: [N] floating.
        y: [M] floating.
        x_weights: [N] positive; divided by their sum. Equal by default.
        y_weights: [M], likewise.

    Returns:
        A scalar in the units of x.
    """
    if x.ndim != 1 or y.ndim != 1:
        raise ValueError(f"wasserstein_1d: x has shape {x.shape} and y {y.shape}, expected [N] and [M]")
    masses = []
    for name, points, weights in (("x", x, x_weights), ("y", y, y_weights)):
        w = jnp.ones_like(points) if weights is None else weights
        if w.shape != points.shape:
            raise ValueError(f"wasserstein_1d: {name}_weights has shape {w.shape}, expected {points.shape}")
        check_range("wasserstein_1d", 0, **{f"{name}_weights": w})  # type: ignore[arg-type]
        check_range("wasserstein_1d", 0, above=True, **{f"the sum of {name}_weights": w.sum()})  # type: ignore[arg-type]
        masses.append(w / w.sum())
    both = jnp.concatenate([x, y])
    order = jnp.argsort(both)
    gap = jnp.cumsum(jnp.concatenate([masses[0], -masses[1]])[order])  # F - G to the right of each point
    return (jnp.abs(gap[:-1]) * jnp.diff(both[order])).sum()


def wasserstein_gaussians_1d(mean_1: Array, std_1: Array, mean_2: Array, std_2: Array) -> Array:
    """W1 of two Gaussians on the line: the mean of |N(m, s^2)| with m = |m_1 - m_2| and s = |s_1 - s_2|.

    `s sqrt(2 / pi) exp(-m^2 / 2 s^2) + m (1 - 2 Phi(-m / s))`, and m where s = 0.
    """
    check_range("wasserstein_gaussians_1d", 0, std_1=std_1, std_2=std_2)
    m, s = jnp.abs(mean_1 - mean_2), jnp.abs(std_1 - std_2)
    safe = jnp.where(s > 0, s, 1.0)
    folded = s * np.sqrt(2 / np.pi) * jnp.exp(-(m**2) / (2 * safe**2)) + m * erf(m / (safe * np.sqrt(2)))
    return jnp.where(s > 0, folded, m)


def kantorovich(a: ArrayLike, b: ArrayLike, cost: ArrayLike) -> Plan:
    """The cheapest coupling: minimise `<plan, cost>` with the marginals a and b, by linear programming (HiGHS).

    Args:
        a: [N] non-negative, sums to 1.
        b: [M] likewise.
        cost: [N, M].

    Raises:
        ValueError: shapes that do not fit, or masses that are negative or do not sum to the same.
    """
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, kron, vstack

    a, b, c = _problem("kantorovich", a, b, cost)
    n, m = c.shape
    rows, columns = kron(eye_array(n), np.ones((1, m))), kron(np.ones((1, n)), eye_array(m))
    found = linprog(c.ravel(), A_eq=vstack([rows, columns]).tocsr(), b_eq=np.concatenate([a, b]), method="highs")
    _solved("kantorovich", found)
    return Plan(float(found.fun), found.x.reshape(n, m))


def kantorovich_dual(a: ArrayLike, b: ArrayLike, cost: ArrayLike) -> Potentials:
    """The dual problem, solved by itself: maximise `<a, f> + <b, g>` with `f_i + g_j <= cost_ij`.

    Its value is that of `kantorovich`, and `f_i + g_j = cost_ij` wherever an optimal plan moves mass. Where a point has
    no mass, its potential is known from above only. Arguments as in `kantorovich`.
    """
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, hstack, kron

    a, b, c = _problem("kantorovich_dual", a, b, cost)
    n, m = c.shape
    sums = hstack([kron(eye_array(n), np.ones((m, 1))), kron(np.ones((n, 1)), eye_array(m))]).tocsr()
    bounds = [(0, 0), *[(None, None)] * (n + m - 1)]  # f_0 = 0: a constant can move between f and g
    found = linprog(-np.concatenate([a, b]), A_ub=sums, b_ub=c.ravel(), bounds=bounds, method="highs")
    _solved("kantorovich_dual", found)
    return Potentials(float(-found.fun), found.x[:n], found.x[n:])


def kantorovich_rubinstein(points: ArrayLike, a: ArrayLike, b: ArrayLike) -> Potential:
    """`W1 = max <a - b, f>` with `f_i - f_j <= |x_i - x_j|`, the perfect critic (Arjovsky et al. 2017, eq. 2).

    Two samples are measures on the points of both, joined. `f_i - f_j = |x_i - x_j|` wherever an optimal plan moves
    mass from i to j; f is 0 at the first point.

    Args:
        points: [N, D].
        a: [N] non-negative, sums to 1; zero where only b has mass.
        b: [N] likewise.

    Raises:
        ValueError: shapes that do not fit, or masses that are negative or do not sum to the same.
    """
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, kron

    x = np.asarray(points, np.float64)
    if x.ndim != 2:
        raise ValueError(f"kantorovich_rubinstein: points have shape {x.shape}, expected [N, D]; join two samples")
    n, distance = len(x), _distances(x, x)
    a, b, distance = _problem("kantorovich_rubinstein", a, b, distance)
    rises = kron(eye_array(n), np.ones((n, 1))) - kron(np.ones((n, 1)), eye_array(n))  # f_i - f_j
    bounds = [(0, 0), *[(None, None)] * (n - 1)]
    found = linprog(b - a, A_ub=rises.tocsr(), b_ub=distance.ravel(), bounds=bounds, method="highs")
    _solved("kantorovich_rubinstein", found)
    return Potential(float(-found.fun), found.x)


def entropic(
    x: ArrayLike,
    y: ArrayLike,
    *,
    epsilon: float,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
) -> Plan:
    """`min <plan, |x - y|> + epsilon KL(plan, a b)` of two samples by Sinkhorn's algorithm (Cuturi 2013), by ott-jax.

    The value is the transport cost of the plan alone, which falls to W1 as epsilon goes to 0.

    Args:
        x: [N, D].
        y: [M, D].
        epsilon: positive, in the units of x.
        x_weights: [N] non-negative; divided by their sum. Equal by default.
        y_weights: [M], likewise.

    Raises:
        ImportError: ott-jax is not installed.
        ValueError: shapes or weights that do not fit, or Sinkhorn's algorithm did not converge.
    """
    x, y = jnp.asarray(x, float), jnp.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"entropic: x has shape {x.shape} and y {y.shape}, expected [N, D] and [M, D]")
    if not epsilon > 0:
        raise ValueError(f"entropic: epsilon is {epsilon}, expected a positive number; kantorovich is the limit 0")
    distance = _distances(np.asarray(x, np.float64), np.asarray(y, np.float64))
    masses = [np.ones(len(p)) if w is None else np.asarray(w) for p, w in ((x, x_weights), (y, y_weights))]
    a, b, distance = _problem("entropic", masses[0] / abs(masses[0].sum()), masses[1] / abs(masses[1].sum()), distance)
    try:
        with warnings.catch_warnings():  # ott-jax 0.6.0 imports jaxopt, which says so at every import
            warnings.filterwarnings("ignore", "JAXopt is no longer maintained", DeprecationWarning)
            from ott.geometry import costs, pointcloud
            from ott.problems.linear import linear_problem
            from ott.solvers.linear import sinkhorn
    except ImportError:
        raise ImportError("entropic transport needs ott-jax: pip install 'ganjax[transport]'") from None
    geometry = pointcloud.PointCloud(x, y, cost_fn=costs.Euclidean(), epsilon=epsilon)
    solve = sinkhorn.Sinkhorn(threshold=1e-6 if x.dtype == jnp.float64 else 1e-4, max_iterations=50_000)
    with jax.numpy_rank_promotion("allow"):  # as ott-jax is written
        found = jax.jit(solve)(linear_problem.LinearProblem(geometry, jnp.asarray(a, x.dtype), jnp.asarray(b, x.dtype)))
        plan = np.asarray(found.matrix, np.float64)
    if not bool(found.converged):
        raise ValueError(f"entropic: no convergence with epsilon {epsilon}; use a larger one, or float64")
    return Plan(float((plan * distance).sum()), plan)


def sliced_wasserstein(x: Array, y: Array, key: Key, *, projections: int = 128) -> Array:
    """`E_u W1(<u, x>, <u, y>)` over random unit directions u (Rabin et al. 2011; Bonneel et al. 2015).

    In one dimension W1 of two samples of equal size is the mean distance of their sorted values. Between two samples of
    one distribution it is not zero: print that floor beside it.

    Args:
        x: [N, ...] floating; further axes are flattened.
        y: the same shape.
        key: of the directions; distances are comparable under one key.
        projections: how many directions.

    Returns:
        A scalar in the units of x.

    Raises:
        ValueError: the shapes differ or have no axis beside N, or projections is not positive.
    """
    if x.shape != y.shape or x.ndim < 2:
        raise ValueError(
            f"sliced_wasserstein: x has shape {x.shape} and y {y.shape}, expected two equal shapes [N, ...]; "
            "draw as many samples of each"
        )
    check_range("sliced_wasserstein", 1, whole=True, projections=projections)
    return _sliced(x.reshape(len(x), -1), y.reshape(len(y), -1), key, projections)


@partial(jax.jit, static_argnums=3)
def _sliced(x: Array, y: Array, key: Key, projections: int) -> Array:
    directions = jax.random.normal(key, (x.shape[1], projections), x.dtype)
    directions /= jnp.linalg.norm(directions, axis=0, keepdims=True)
    return jnp.abs(jnp.sort(x @ directions, axis=0) - jnp.sort(y @ directions, axis=0)).mean()


def _distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean, [N, M]."""
    return np.linalg.norm(x[:, None] - y[None], axis=-1)


def _problem(name: str, a: ArrayLike, b: ArrayLike, cost: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    a, b, c = (np.asarray(array, np.float64) for array in (a, b, cost))
    if a.ndim != 1 or b.ndim != 1 or c.shape != (len(a), len(b)) or not c.size:
        raise ValueError(f"{name}: a has shape {a.shape}, b {b.shape} and cost {c.shape}, expected [N], [M] and [N, M]")
    if not (min(a.min(), b.min()) >= 0 < a.sum() and np.isclose(a.sum(), b.sum(), rtol=1e-6, atol=0)):
        raise ValueError(
            f"{name}: the masses sum to {a.sum():g} and {b.sum():g}, the least is {min(a.min(), b.min()):g}; expected "
            "non-negative masses with equal, positive sums, divide each by its own"
        )
    return a, b * (a.sum() / b.sum()), c


def _solved(name: str, found) -> None:
    if found.status:
        raise ValueError(f"{name}: the linear programme was not solved: {found.message}")
