"""Translation without pairs on a few numbers, where its equilibria are known: why colours come out inverted."""

import jax.numpy as jnp
import numpy as np
from scipy.linalg import sqrtm

from ganjax.checks import check_range
from ganjax.core import Array, Game, PerPlayer, plain
from ganjax.games.translation import D_A, D_B, F, G


def four_scalars(
    *,
    cycle: float | Array = 1.0,
    penalty: float | Array = 0.0,
    identity: float | Array = 0.0,
    start: tuple = (1.0, 1.0, 0.0, 0.0),
) -> Game:
    """CycleGAN between N(0, 1) and N(0, 1): `G(a) = w a`, `F(b) = v b`, critics `psi x^2`, a quadratic cycle.

        cost(w) = -psi_B w^2 + lambda (v w - 1)^2 + mu / 2 (w - 1)^2
        cost(psi_B) = psi_B (w^2 - 1) + gamma / 2 psi_B^2

    and likewise v and psi_A. Both (1, 1) and the inversion (-1, -1) pay nothing. There the flow has the eigenvalues
    `+-2i` of the mode w - v, which the cycle never damps, and `-2 lambda +- 2 sqrt(lambda^2 - 1)` of w + v. With mu the
    inversion moves to `inverted` and is gone from `mu = (lambda + 1 / gamma) / 2` on; its basin closes before, for some
    weights because it loses its stability (at 0.92 of that with lambda = 1, gamma = 0.5).

    Args:
        cycle: lambda.
        penalty: gamma, of the critics' weights.
        identity: mu; pays for translating what is of the other domain already.
        start: (w, v, psi_A, psi_B) at step 0.
    """
    check_range("four_scalars", 0, cycle=cycle, penalty=penalty, identity=identity)

    def translator(own: str, critic: str):
        def cost(p: PerPlayer) -> Array:
            there_and_back = cycle * (p[G] * p[F] - 1) ** 2
            return -p[critic] * p[own] ** 2 + there_and_back + identity / 2 * (p[own] - 1) ** 2

        return cost

    def critic(own: str, translator: str):
        return lambda p: p[own] * (p[translator] ** 2 - 1) + penalty / 2 * p[own] ** 2

    begin = {player: jnp.asarray(x, float) for player, x in zip((G, F, D_A, D_B), start, strict=True)}
    costs = {G: translator(G, D_B), F: translator(F, D_A), D_A: critic(D_A, F), D_B: critic(D_B, G)}
    return plain(begin, costs)


def inverted(cycle: float, penalty: float, identity: float) -> float:
    """Where the inversion of `four_scalars` lies: `w = v = (-1 - sqrt(1 - 2 mu / K)) / 2`, `K = lambda + 1 / gamma`.

    NaN where there is none, beyond `mu = K / 2`. The critics are then at `(1 - w^2) / gamma`.
    """
    check_range("inverted", 0, above=True, penalty=penalty)
    k = cycle + 1 / penalty
    return float((-1 - np.sqrt(1 - 2 * identity / k)) / 2) if identity <= k / 2 else float("nan")


def linear_gaussian(
    covariance_a: Array,
    covariance_b: Array,
    *,
    cycle: float = 1.0,
    penalty: float = 0.1,
    identity: float = 0.0,
    displacement: float = 0.0,
    start: tuple | None = None,
) -> Game:
    """CycleGAN between N(0, A) and N(0, B): `G(a) = W a`, `F(b) = V b`, critics `x^T Psi x`, expectations exact.

    Without the last two terms every `W = B^(1/2) Q A^(-1/2)`, Q orthogonal, with V its inverse, is an equilibrium: a
    group of d (d - 1) / 2 dimensions and two components. What G pays beside picks one of them:
    `displacement E|W a - a|^2` the optimal transport (`transport_map`), `identity E|W b - b|^2`, of which `E|W b|^2`
    depends on Q too, another one. That is the transport where covariances commute and are not too unlike: with
    `P = (b1 - b2) (b1/a1 - b2/a2)` and `L = b1 (b1/a1)^(1/2) + b2 (b2/a2)^(1/2)` the map from diag(a1, a2) to
    diag(b1, b2) is turned by `theta`, `cos theta = L / P`, if P > L.

    Args:
        covariance_a: A, [d, d], positive definite.
        covariance_b: B, likewise.
        cycle: weight of `E|V W a - a|^2 + E|W V b - b|^2`.
        penalty: gamma, weight of `|Psi|^2 / 2` of each critic.
        identity: weight of `E|W b - b|^2`, which G pays.
        displacement: weight of `E|W a - a|^2`, which G pays.
        start: (W, V) at step 0; the identity by default. Critics begin at 0.
    """
    check_range("linear_gaussian", 0, cycle=cycle, penalty=penalty, identity=identity, displacement=displacement)
    a, b = jnp.asarray(covariance_a), jnp.asarray(covariance_b)
    if a.ndim != 2 or a.shape != b.shape or a.shape[0] != a.shape[1]:
        raise ValueError(f"linear_gaussian: the covariances have shapes {a.shape} and {b.shape}, expected one [d, d]")
    eye = jnp.eye(len(a))

    def length(m: Array, covariance: Array) -> Array:
        """`E|M x|^2` of x ~ N(0, covariance)."""
        return jnp.vdot(m @ covariance, m)

    def cycles(p: PerPlayer) -> Array:
        return cycle * (length(p[F] @ p[G] - eye, a) + length(p[G] @ p[F] - eye, b))

    def game(p: PerPlayer, critic: str, translator: str, there: Array, here: Array) -> Array:
        """`E psi(translated) - E psi(real)`."""
        w = p[translator]
        return jnp.vdot(p[critic], w @ there @ w.T - here)

    def g(p: PerPlayer) -> Array:
        stays = identity * length(p[G] - eye, b) + displacement * length(p[G] - eye, a)
        return -game(p, D_B, G, a, b) + cycles(p) + stays

    costs = {
        G: g,
        F: lambda p: -game(p, D_A, F, b, a) + cycles(p),
        D_A: lambda p: game(p, D_A, F, b, a) + penalty / 2 * jnp.vdot(p[D_A], p[D_A]),
        D_B: lambda p: game(p, D_B, G, a, b) + penalty / 2 * jnp.vdot(p[D_B], p[D_B]),
    }
    w, v = (eye, eye) if start is None else map(jnp.asarray, start)
    return plain({G: w, F: v, D_A: 0 * eye, D_B: 0 * eye}, costs)


def transport_map(covariance_a: np.ndarray, covariance_b: np.ndarray) -> np.ndarray:
    """The optimal transport of N(0, A) to N(0, B), `A^(-1/2) (A^(1/2) B A^(1/2))^(1/2) A^(-1/2)`, [d, d] float64."""
    root = sqrtm(np.asarray(covariance_a, np.float64))
    back = np.linalg.inv(root)
    return back @ sqrtm(root @ covariance_b @ root) @ back
