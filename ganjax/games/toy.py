"""Games of a few numbers whose dynamics are known in closed form."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_range
from ganjax.core import Array, Game, Key, Moment, Outcome, PerPlayer, PyTree


def zero_sum(value: Callable[[PerPlayer, PyTree, Key], Array], minimiser: str, maximiser: str, init) -> Game:
    """Two players, one value: `minimiser` descends it, `maximiser` ascends it.

    Args:
        value: `(params, batch, key) -> scalar`.
        minimiser: name of the player whose cost is `value`; it plays first.
        maximiser: name of the player whose cost is `-value`.
        init: `(key, batch) -> params`, keyed by player.
    """
    if minimiser == maximiser:
        raise ValueError(f"zero_sum: minimiser and maximiser are both {minimiser!r}, expected two players")

    def cost(sign: int):
        def signed(params: PerPlayer, moment: Moment):
            v = value(params, moment.batch, moment.key)
            return sign * v, Outcome({}, {"value": v})

        return signed

    return Game(
        init=lambda key, batch: (init(key, batch), {minimiser: {}, maximiser: {}}),
        costs={minimiser: cost(+1), maximiser: cost(-1)},
    )


def bilinear(
    matrix: Array | None = None, *, saddle: tuple = (0.0, 0.0), start: tuple = (1.0, 1.0), mu: float | Array = 0.0
) -> Game:
    """`v(a, b) = a b`, or `v(a, b) = a^T A b`, about a saddle: a minimises, b maximises.

    The field turns about the saddle `(a0, b0)`, the only equilibrium (Goodfellow 2016, section 8.2; Mescheder et
    al. 2017). A singular value `s` of A makes a plane that turns at speed `s`. With `mu` the value is
    `a^T A b + mu / 2 |a|^2 - mu / 2 |b|^2`: strongly convex in a, strongly concave in b, a stable focus.

    Args:
        matrix: A, [m, n]; without it a and b are scalars and A is 1.
        saddle: `(a0, b0)`, each broadcast to the shape of its player.
        start: where the players begin, likewise.
        mu: the regularisation.
    """
    if matrix is not None and jnp.ndim(matrix) != 2:
        raise ValueError(f"bilinear: matrix has shape {jnp.shape(matrix)}, expected two axes [m, n]")
    check_range("bilinear", mu=mu, matrix=matrix)
    shapes = [(), ()] if matrix is None else [(n,) for n in jnp.shape(matrix)]

    def value(params: PerPlayer, batch: PyTree, key: Key) -> Array:
        del batch, key
        a, b = params["a"] - jnp.asarray(saddle[0]), params["b"] - jnp.asarray(saddle[1])
        turning = a * b if matrix is None else a @ jnp.asarray(matrix) @ b
        if isinstance(mu, int | float) and mu == 0:  # a compiler keeps 0 x, for the sake of NaN
            return turning
        return turning + mu / 2 * (jnp.vdot(a, a) - jnp.vdot(b, b))

    return zero_sum(value, "a", "b", _starts(start, shapes))


def quadratic(
    spectrum: Sequence[complex] | Array, *, start: tuple = (1.0, 1.0), rotation_seed: int | None = None
) -> Game:
    """The zero-sum quadratic game whose field has the Jacobian eigenvalues `p_k +- i q_k`.

    `v(a, b) = sum_k p_k a_k^2 / 2 + q_k a_k b_k - p_k b_k^2 / 2`: each complex number of the spectrum is a plane of its
    own, attracting if `p_k > 0`, turning at speed `q_k`. A real number p gives the eigenvalue p twice.

    Args:
        spectrum: [n] complex numbers `p_k + i q_k`; their conjugates come by themselves.
        start: where the players begin, each broadcast to [n], before the rotation.
        rotation_seed: turn the coordinates of each player by a random orthogonal matrix of this seed, so that
            the planes lie askew; None leaves them apart.
    """
    eigenvalues = np.asarray(spectrum, complex)
    if eigenvalues.ndim != 1 or eigenvalues.size == 0:
        raise ValueError(f"quadratic: spectrum has shape {eigenvalues.shape}, expected [n] with n >= 1")
    check_range("quadratic, the spectrum", real=eigenvalues.real, imaginary=eigenvalues.imag)
    n = eigenvalues.size
    if rotation_seed is None:
        turn_a = turn_b = np.eye(n)
    else:
        rng = np.random.default_rng(rotation_seed)
        turn_a, turn_b = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in "ab")
    attraction_a = turn_a @ np.diag(eigenvalues.real) @ turn_a.T
    attraction_b = turn_b @ np.diag(eigenvalues.real) @ turn_b.T
    turning = turn_a @ np.diag(eigenvalues.imag) @ turn_b.T

    def value(params: PerPlayer, batch: PyTree, key: Key) -> Array:
        del batch, key
        a, b = params["a"], params["b"]
        p, q, r = (jnp.asarray(m, a.dtype) for m in (attraction_a, turning, attraction_b))
        return a @ p @ a / 2 + a @ q @ b - b @ r @ b / 2

    begin = [turn @ np.broadcast_to(x, n) for turn, x in zip((turn_a, turn_b), start, strict=True)]
    return zero_sum(value, "a", "b", _starts(begin, [(n,), (n,)]))


def matrix_game(payoff: Array, *, start: tuple | None = None) -> Game:
    """`v(x, y) = x^T A y` on mixed strategies: x pays A to y (von Neumann 1928).

    The parameters are the strategies themselves, points of the simplex; keep them there with
    `projected(optimizer, optax.projections.projection_simplex)` or play `fictitious_play(vertex)`.

    Args:
        payoff: A, [m, n].
        start: strategies of x and y, [m] and [n]; uniform by default.
    """
    if jnp.ndim(payoff) != 2:
        raise ValueError(f"matrix_game: payoff has shape {jnp.shape(payoff)}, expected two axes [m, n]")
    check_range("matrix_game", payoff=payoff)
    shapes = [(n,) for n in jnp.shape(payoff)]
    begin = [1 / shape[0] for shape in shapes] if start is None else start

    def value(params: PerPlayer, batch: PyTree, key: Key) -> Array:
        del batch, key
        return params["x"] @ jnp.asarray(payoff, params["x"].dtype) @ params["y"]

    return zero_sum(value, "x", "y", _starts(begin, shapes, ("x", "y")))


def duality_gap(payoff: Array, x: Array, y: Array) -> Array:
    """`max_j (x^T A)_j - min_i (A y)_i`, what both players together could still win: 0 at an equilibrium only."""
    return jnp.max(x @ payoff) - jnp.min(payoff @ y)


def linear_gan(mean: Array, covariance: Array, *, start: tuple | None = None) -> Game:
    """A linear generator learns a Gaussian from a quadratic critic (Daskalakis et al. 2018, section 3).

    Real data `x ~ N(mu, Sigma)`, fakes `G(z) = A z + m` with `z ~ N(0, I)`, critic `D(x) = x^T W x + w^T x`. The
    expectations are exact: `v = E D(x) - E D(G(z)) = <W, Sigma + mu mu^T - A A^T - m m^T> + <w, mu - m>`. At the
    equilibrium `m = mu`, `A A^T = Sigma` and the critic is zero; about it the players circle.

    Args:
        mean: mu, [d].
        covariance: Sigma, [d, d].
        start: `(A [d, d], m [d])`; the standard normal by default. The critic begins at zero.
    """
    d = jnp.size(mean)
    if jnp.shape(mean) != (d,) or jnp.shape(covariance) != (d, d):
        raise ValueError(
            f"linear_gan: mean has shape {jnp.shape(mean)} and covariance {jnp.shape(covariance)}, "
            "expected [d] and [d, d]"
        )
    check_range("linear_gan", mean=mean, covariance=covariance)

    def value(params: PerPlayer, batch: PyTree, key: Key) -> Array:
        del batch, key
        (a, m), (quadratic_form, linear_form) = params["generator"], params["discriminator"]
        mu, sigma = jnp.asarray(mean, m.dtype), jnp.asarray(covariance, m.dtype)
        second = sigma + jnp.outer(mu, mu) - a @ a.T - jnp.outer(m, m)
        return jnp.vdot(quadratic_form, second) + jnp.vdot(linear_form, mu - m)

    def init(key: Key, batch: PyTree) -> dict:
        del key, batch
        a, m = (jnp.eye(d), jnp.zeros(d)) if start is None else start
        zeros = (jnp.zeros((d, d), float), jnp.zeros(d, float))
        return {"generator": (jnp.asarray(a, float), jnp.asarray(m, float)), "discriminator": zeros}

    return zero_sum(value, "generator", "discriminator", init)


def gradient_noise(game: Game, std: float | Array) -> Game:
    """Any game with noise in its gradients: player i sees `v_i + std xi`, `xi ~ N(0, I)` fresh at every step.

    The noise is a term `std <xi, theta_i>` of the player's own cost; all looks at the field within a step see the same.
    """

    check_range("gradient_noise", 0, std=std)

    def noisy(name: str, index: int):
        def cost(params: PerPlayer, moment: Moment):
            value, outcome = game.costs[name](params, moment)
            leaves = jax.tree.leaves(params[game.mover(name)])
            keys = jax.random.split(jax.random.fold_in(moment.key, index), len(leaves))
            xi = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
            return value + std * sum(jnp.vdot(x, leaf) for x, leaf in zip(xi, leaves, strict=True)), outcome

        return cost

    return game._replace(costs={name: noisy(name, i) for i, name in enumerate(game.costs)})


def _starts(start: Sequence, shapes: Sequence[tuple], players: tuple[str, str] = ("a", "b")):
    """An `init` that broadcasts each player's start to its shape."""

    def init(key: Key, batch: PyTree) -> dict:
        del key, batch
        return {
            player: jnp.broadcast_to(jnp.asarray(x, float), shape)
            for player, x, shape in zip(players, start, shapes, strict=True)
        }

    return init
