"""What the update rules do on the bilinear game `v(a, b) = ab`, in closed form.

a minimises and b maximises, so the flow is `z' = i z` with `z = a + ib`. A rotation-equivariant rule multiplies z by a
complex number each step; its modulus is the growth per step, its argument the rotation. A rule with a memory has
several such numbers, its roots. A rule that treats the players differently has a 2 x 2 matrix. For `x^T A y` replace
the step eta by `eta sigma` for each singular value sigma of A; the largest modulus decides. Unless said otherwise, both
players move from the same point with SGD of step eta.
"""

from collections.abc import Callable
from math import factorial, inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import iv

from ganjax.checks import check_range

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


# -- one number per step ----------------------------------------------------------------------------------------------


def simultaneous_multiplier(eta: ArrayLike) -> Complex:
    """`1 + i eta`: the norm grows by `sqrt(1 + eta^2)` and turns by `arctan(eta)` each step; never stable."""
    check_range("simultaneous_multiplier", 0, eta=eta)
    return 1 + 1j * np.asarray(eta, float)


def two_time_scale_multiplier(eta_a: ArrayLike, eta_b: ArrayLike) -> Complex:
    """`1 + i sqrt(eta_a eta_b)` and its conjugate: two time scales (Heusel et al. 2017) never stabilise this game."""
    check_range("two_time_scale_multiplier", 0, eta_a=eta_a, eta_b=eta_b)
    return simultaneous_multiplier(np.sqrt(np.asarray(eta_a, float) * np.asarray(eta_b, float)))


def proximal_multiplier(eta: ArrayLike) -> Complex:
    """`1 / (1 - i eta)`, from `z+ = z + i eta z+` (Rockafellar 1976): `1 / sqrt(1 + eta^2)`, stable for every step."""
    check_range("proximal_multiplier", 0, eta=eta)
    return 1 / (1 - 1j * np.asarray(eta, float))


def competitive_multiplier(eta: ArrayLike) -> Complex:
    """The proximal point's: the game is its own bilinear approximation (Schaefer and Anandkumar 2019)."""
    check_range("competitive_multiplier", 0, eta=eta)
    return proximal_multiplier(eta)


def extragradient_multiplier(eta: ArrayLike, gamma: ArrayLike | None = None) -> Complex:
    """`1 - eta gamma + i eta`, from `w = z + i gamma z`, `z+ = z + i eta w` (Korpelevich 1976); gamma is eta if None.

    Then the modulus is `sqrt(1 - eta^2 + eta^4)`. The linearised competitive gradient descent has the same number.
    """
    check_range("extragradient_multiplier", 0, eta=eta, gamma=gamma)
    return consensus_multiplier(eta, eta if gamma is None else gamma)


def consensus_multiplier(eta: ArrayLike, gamma: ArrayLike) -> Complex:
    """`1 - eta gamma + i eta`: the field `gamma z - i z` pulls as well as turns (Mescheder et al. 2017).

    On this game it is also the symplectic adjustment with `lambda = gamma` (Balduzzi et al. 2018), the gradient-norm
    penalty `gamma / 2 |v_j|^2` of both players, and simultaneous play of the regularised game
    `gamma a^2 / 2 + a b - gamma b^2 / 2`.
    """
    check_range("consensus_multiplier", 0, eta=eta, gamma=gamma)
    return simultaneous_multiplier(eta) - np.asarray(eta, float) * np.asarray(gamma, float)


def opponent_lookahead_multiplier(eta: ArrayLike, alpha: ArrayLike) -> Complex:
    """`1 - eta alpha + i eta`: each faces the opponent after a step alpha (Zhang and Lesser 2010)."""
    check_range("opponent_lookahead_multiplier", 0, eta=eta, alpha=alpha)
    return consensus_multiplier(eta, alpha)


def lola_multiplier(eta: ArrayLike, alpha: ArrayLike) -> Complex:
    """`1 - 2 eta alpha + i eta`: the gradient of `a (b + alpha a)` is `b + 2 alpha a` (Foerster et al. 2018)."""
    check_range("lola_multiplier", 0, eta=eta, alpha=alpha)
    return consensus_multiplier(eta, 2 * np.asarray(alpha, float))


def runge_kutta_multiplier(eta: ArrayLike, order: int) -> Complex:
    """`sum_(k <= order) (i eta)^k / k!`, the Taylor polynomial of `exp(i eta)`; orders 1 to 4 (Qin et al. 2020).

    Its squared modulus is `1 + eta^2`, `1 + eta^4 / 4`, `1 - eta^4 / 12 + eta^6 / 36`, `1 - eta^6 / 72 + eta^8 / 576`.
    """
    check_range("runge_kutta_multiplier", 0, eta=eta)
    if not 1 <= order <= 4:
        raise ValueError(f"runge_kutta_multiplier: order is {order}, expected 1 to 4")
    turn = 1j * np.asarray(eta, float)
    return np.asarray(sum(turn**k / factorial(k) for k in range(order + 1)))


def lookahead_multiplier(multiplier: ArrayLike, k: int, alpha: ArrayLike) -> Complex:
    """`1 - alpha + alpha lambda^k` in k steps of a rule that multiplies by lambda (Chavdarova et al. 2021).

    Over simultaneous play with a small eta its modulus is `1 - alpha k eta^2 (k - 1 - alpha k) / 2`: it contracts if
    and only if `alpha < 1 - 1 / k`.
    """
    check_range("lookahead_multiplier", 1, whole=True, k=k)
    check_range("lookahead_multiplier", 0, 1, above=True, alpha=alpha)
    alpha = np.asarray(alpha, float)
    return 1 - alpha + alpha * np.asarray(multiplier, complex) ** k


# -- several roots ----------------------------------------------------------------------------------------------------


def optimistic_roots(eta: ArrayLike) -> Complex:
    """The roots of `l^2 - (1 + 2 i eta) l + i eta`, [..., 2]; those of Popov's past extragradient as well.

    From `z+ = z + 2 i eta z - i eta z_-` (Daskalakis et al. 2018). The larger modulus, first, is
    `sqrt((1 + sqrt(1 - 4 eta^2)) / 2)` up to `eta = 1/2` and `sqrt(1/4 + (eta + sqrt(4 eta^2 - 1) / 2)^2)` beyond.
    """
    check_range("optimistic_roots", 0, eta=eta)
    return _quadratic_roots(1 + 2j * np.asarray(eta, float), 1j * np.asarray(eta, float))


def optimistic_orbit(eta: float, start: complex, steps: int) -> Complex:
    """`z_0 ... z_T` of optimistic play whose first step is that of simultaneous play, [steps + 1].

    `z_t = z_1 c_(t-1) - r s z_0 c_(t-2)` with the roots r, s of `optimistic_roots` and
    `c_n = (r^(n+1) - s^(n+1)) / (r - s)`, which is `(n + 1) r^n` at `eta = 1/2`, where they are one.
    """
    check_range("optimistic_orbit", 0, whole=True, steps=steps)
    r, s = optimistic_roots(eta)
    c = np.append(0, root_quotients(r, s, np.arange(steps)))
    later = simultaneous_multiplier(eta) * c[1:] - r * s * c[:-1]
    return start * np.append(1, later)


def root_quotients(r: complex, s: complex, n: NDArray) -> Complex:
    """`c_n = (r^(n+1) - s^(n+1)) / (r - s)`, `(n + 1) r^n` for equal roots: the answer to a unit push n steps ago."""
    if r == s:
        return (n + 1) * r ** n.astype(float)
    return (r ** (n + 1.0) - s ** (n + 1.0)) / (r - s)


def heavy_ball_roots(eta: ArrayLike, beta: ArrayLike) -> Complex:
    """The roots of `l^2 - (1 + beta + i eta) l + beta`, [..., 2], the larger modulus first.

    From `z+ = z + i eta z + beta (z - z_-)` (Polyak 1964). The larger modulus is above 1 for all `eta != 0` and
    `-1 < beta < 1`: in simultaneous play no momentum helps (Gidel et al. 2019).
    """
    check_range("heavy_ball_roots", 0, eta=eta)
    check_range("heavy_ball_roots", -1, 1, above=True, below=True, beta=beta)
    return _quadratic_roots(1 + np.asarray(beta, float) + 1j * np.asarray(eta, float), np.asarray(beta, complex))


def alternating_momentum_roots(eta: float, beta_a: float, beta_b: float) -> Complex:
    """The roots of `(l - 1)^2 (l - beta_a) (l - beta_b) + eta^2 l^3`, [4]: alternating heavy ball (Gidel et al. 2019).

    They are closed under conjugation, and the same whoever plays first.
    """
    check_range("alternating_momentum_roots", 0, eta=eta)
    check_range("alternating_momentum_roots", -1, 1, above=True, below=True, beta_a=beta_a, beta_b=beta_b)
    quartic = np.poly([1.0, 1.0, beta_a, beta_b])
    quartic[1] += eta**2
    return np.roots(quartic).astype(complex)


def alternating_momentum_converges(beta_a: ArrayLike, beta_b: ArrayLike) -> NDArray[np.bool_]:
    """Whether alternating heavy ball converges for small steps: `beta_a + beta_b < 2 beta_a beta_b`.

    With `p = (1 - beta_a)(1 - beta_b)` and `s = 2 - beta_a - beta_b` the rate is `1 - eta^2 (2 p - s) / (2 p^2)`.
    Larger steps flip at `alternating_momentum_flip`, if not before.
    """
    check_range("alternating_momentum_converges", -1, 1, above=True, below=True, beta_a=beta_a, beta_b=beta_b)
    beta_a, beta_b = np.asarray(beta_a, float), np.asarray(beta_b, float)
    return beta_a + beta_b < 2 * beta_a * beta_b


def alternating_momentum_flip(beta_a: ArrayLike, beta_b: ArrayLike) -> Real:
    """The step `2 sqrt((1 + beta_a)(1 + beta_b))` at which a root passes -1; without momentum the 2 of plain play."""
    check_range("alternating_momentum_flip", -1, 1, above=True, below=True, beta_a=beta_a, beta_b=beta_b)
    return 2 * np.sqrt((1 + np.asarray(beta_a, float)) * (1 + np.asarray(beta_b, float)))


# -- matrices ---------------------------------------------------------------------------------------------------------


def alternating_matrix(eta: float, eta_b: float | None = None) -> Real:
    """The step of alternating play, a first: `[[1, -eta], [eta_b, 1 - eta eta_b]]`, [2, 2]; eta_b is eta by default.

    Its determinant is 1 and, for `0 < eta < 2`, its eigenvalues lie on the unit circle at the angle
    `+-2 arcsin(eta / 2)`: the orbit is bounded, an ellipse, and closed after n steps if `eta = 2 sin(pi / n)`.
    """
    check_range("alternating_matrix", 0, eta=eta, eta_b=eta_b)
    eta_b = eta if eta_b is None else eta_b
    return np.array([[1.0, -eta], [eta_b, 1 - eta * eta_b]])


def turns_matrix(eta: float, turns: int) -> Real:
    """The step in which b makes `turns` steps for each one of a: they add up to one of `turns eta`, [2, 2]."""
    check_range("turns_matrix", 0, eta=eta)
    check_range("turns_matrix", 1, whole=True, turns=turns)
    return alternating_matrix(eta, turns * eta)


def unrolled_matrix(eta: float, steps: int, step: float, *, backpropagate: bool = True) -> Real:
    """a faces b after `steps` of its steps u (Metz et al. 2017): `[[1 - c eta, -eta], [eta, 1]]`, [2, 2].

    `c = 2 steps u` with backpropagation through them, `c = steps u` without. The determinant `1 - c eta + eta^2` is
    the squared modulus while `c < 2`: with `u = eta` it is `1 - (2 steps - 1) eta^2`, or `1 - (steps - 1) eta^2`
    without backpropagation, so that one step without it neither grows nor shrinks. With `u = eta` and backpropagation
    the rule converges until a root passes -1, at `eta = 2 / sqrt(4 steps - 1)`.
    """
    check_range("unrolled_matrix", 0, eta=eta, step=step)
    check_range("unrolled_matrix", 1, whole=True, steps=steps)
    pull = (2 if backpropagate else 1) * steps * step
    return np.array([[1 - pull * eta, -eta], [eta, 1.0]])


# -- what is conserved ------------------------------------------------------------------------------------------------


def alternating_invariant(a: ArrayLike, b: ArrayLike, eta: float, *, a_first: bool = True) -> Real:
    """`a^2 + b^2 - eta a b`, which alternating play conserves exactly; `+ eta a b` if b plays first."""
    check_range("alternating_invariant", 0, eta=eta)
    return weighted_energy(a, b, 1.0, 1.0) - (eta if a_first else -eta) * np.asarray(a) * np.asarray(b)


def two_time_scale_invariant(a: ArrayLike, b: ArrayLike, eta_a: float, eta_b: float) -> Real:
    """`eta_b a^2 + eta_a b^2 - eta_a eta_b a b`, which alternating play with two step sizes conserves, a first."""
    check_range("two_time_scale_invariant", 0, eta_a=eta_a, eta_b=eta_b)
    return weighted_energy(a, b, eta_a, eta_b) - eta_a * eta_b * np.asarray(a) * np.asarray(b)


def weighted_energy(a: ArrayLike, b: ArrayLike, eta_a: float, eta_b: float) -> Real:
    """`eta_b a^2 + eta_a b^2`: simultaneous play multiplies it by exactly `1 + eta_a eta_b` each step."""
    check_range("weighted_energy", 0, eta_a=eta_a, eta_b=eta_b)
    return np.asarray(eta_b * np.asarray(a) ** 2 + eta_a * np.asarray(b) ** 2)


def closing_step(n: int) -> float:
    """The step `2 sin(pi / n)` with which alternating play is back at its start after n >= 3 steps."""
    check_range("closing_step", 3, whole=True, n=n)
    return 2 * float(np.sin(np.pi / n))


# -- the flow that a rule follows -------------------------------------------------------------------------------------


def simultaneous_drift(eta: ArrayLike) -> Complex:
    """`log(1 + i eta) / eta`: simultaneous play is the time-eta map of the flow `z' = drift z`, exactly.

    The real part `log(1 + eta^2) / (2 eta)` is its growth, `eta / 2` at first order (Rosca et al. 2021), the imaginary
    part `arctan(eta) / eta` its angular speed.
    """
    check_range("simultaneous_drift", 0, above=True, eta=eta)
    eta = np.asarray(eta, float)
    return (np.log1p(eta**2) / 2 + 1j * np.arctan(eta)) / eta


def alternating_generator(eta: float) -> Real:
    """G of `alternating_matrix(eta) = exp(eta G)` for `0 < eta < 2`, [2, 2]; its trace is 0, a centre.

    `G = (phi / (eta sin phi)) [[eta^2 / 2, -eta], [eta, -eta^2 / 2]]` with `phi = 2 arcsin(eta / 2)`: from
    `M = cos(phi) I + (M - cos(phi) I)`, whose second part squares to `-sin(phi)^2 I`.
    """
    check_range("alternating_generator", 0, 2, above=True, below=True, eta=eta)
    phi = 2 * np.arcsin(eta / 2)
    return phi / (eta * np.sin(phi)) * np.array([[eta**2 / 2, -eta], [eta, -(eta**2) / 2]])


def average_opponent_flow(t: ArrayLike, start: tuple[float, float] = (1.0, 1.0), *, both: bool = True) -> Complex:
    """`z(t) = a + ib` if players descend against the uniform average of the other's past, in continuous time.

    Both: `z' = i (1/t) int z`, so that `W = int z` obeys `t W'' = i W` and `z = I_0(2 sqrt(i t)) z(0)`: it grows as
    `t^(-1/4) exp(sqrt(2 t))`. Only a: `W = int b` obeys `t W''' + W = 0` and grows as `exp(3/4 t^(2/3))`; the power
    series `W = sum c_k t^k` has `c_k = -c_(k-2) / (k (k-1) (k-2))`. Either way, worse than play against the present.

    Args:
        t: time, eta times the steps; up to about 100 for one player, where the series loses seven digits.
        start: (a, b) at time 0.
        both: both players face the average; otherwise a alone.
    """
    check_range("average_opponent_flow", 0, t=t)
    t = np.asarray(t, float)
    if both:
        return complex(*start) * iv(0, 2 * np.sqrt(1j * t))
    c = [0.0, start[1], start[0] / 2]
    for k in range(3, 200):
        c.append(-c[k - 2] / (k * (k - 1) * (k - 2)))
    w = np.polynomial.Polynomial(c)
    return w.deriv(2)(t) + 1j * w.deriv(1)(t)


def ema_opponent_exponents(tau: float, *, both: bool = False) -> Complex:
    """The growth exponents of the flow in which a descends against the exponential average of b: [3], or [4].

    `tau m' = b - m`, `a' = -m`, `b' = a` give `tau s^3 + s^2 + 1 = 0`; its real root is negative and the pair has a
    positive real part for every tau > 0, so it is unstable. Both players: `tau s^2 + s = +-i`, unstable too.
    """
    check_range("ema_opponent_exponents", 0, above=True, tau=tau)
    if not both:
        return np.roots([tau, 1.0, 0.0, 1.0]).astype(complex)
    return np.concatenate([np.roots([tau, 1.0, -1j]), np.roots([tau, 1.0, 1j])])


# -- tables -----------------------------------------------------------------------------------------------------------


def damped_limit(gamma: float) -> float:
    """`2 gamma / (1 + gamma^2)`, the step up to which `|1 - eta gamma + i eta| < 1`; half of it is the best step.

    The best rate is `1 / sqrt(1 + gamma^2)`. For consensus and its kin gamma is the weight, for extragradient the
    extrapolation, for opponent look-ahead alpha, for LOLA `2 alpha`.
    """
    check_range("damped_limit", 0, gamma=gamma)
    return 2 * gamma / (1 + gamma**2)


# Up to which step a rule of `RATES` converges: 0 never, infinity always.
STABLE_UNTIL: dict[str, float] = {
    "simultaneous": 0.0,
    "alternating": 0.0,  # bounded until 2
    "heavy_ball": 0.0,
    "negative_momentum": 1.0,
    "negative_momentum_of_a": sqrt(2),
    "proximal_point": inf,
    "competitive": inf,
    "extragradient": 1.0,
    "past_extragradient": 1 / sqrt(3),
    "optimistic": 1 / sqrt(3),
    "consensus": damped_limit(1.0),
    "symplectic": damped_limit(1.0),
    "opponent_lookahead": 1.0,
    "lola": sqrt(3) / 2,
    "unrolled": 2 / sqrt(3),  # complex roots until 1, then real ones; one of them passes -1 here
    "runge_kutta_2": 0.0,
    "runge_kutta_3": sqrt(3),
    "runge_kutta_4": 2 * sqrt(2),
}

# The step with the smallest rate, and that rate.
BEST_STEP: dict[str, tuple[float, float]] = {
    "negative_momentum_of_a": (sqrt(3 / 2), 2 ** (-1 / 3)),  # all three roots have the modulus (1/2)^(1/3)
    "extragradient": (1 / sqrt(2), sqrt(3) / 2),
    "past_extragradient": (1 / 2, 1 / sqrt(2)),
    "optimistic": (1 / 2, 1 / sqrt(2)),
    "consensus": (1 / 2, 1 / sqrt(2)),
    "symplectic": (1 / 2, 1 / sqrt(2)),
    "opponent_lookahead": (1 / sqrt(2), sqrt(3) / 2),
    "lola": (sqrt(3 / 8), sqrt(7) / 4),
    "unrolled": (1.0, 0.0),  # the square of the matrix is zero: at the saddle after two steps
    "runge_kutta_3": (sqrt(2), sqrt(8) / 3),
    "runge_kutta_4": (sqrt(6), 1 / 2),
}


def _momentum_rate(beta_a: float, beta_b: float) -> Callable[[ArrayLike], Real]:
    return lambda eta: _radius(np.stack([alternating_momentum_roots(e, beta_a, beta_b) for e in np.ravel(eta)]), eta)


def _matrix_rate(matrix: Callable[[float], Real]) -> Callable[[ArrayLike], Real]:
    return lambda eta: _radius(np.linalg.eigvals(np.stack([matrix(e) for e in np.ravel(eta)])), eta)


# Spectral radius per step as a function of eta, vectorised: what the norm is multiplied by in the long run.
RATES: dict[str, Callable[[ArrayLike], Real]] = {
    "simultaneous": lambda eta: np.abs(simultaneous_multiplier(eta)),
    "alternating": _matrix_rate(alternating_matrix),
    "heavy_ball": lambda eta: np.abs(heavy_ball_roots(eta, 0.5)).max(-1),  # beta 0.5
    "negative_momentum": _momentum_rate(-0.5, -0.5),  # alternating, both players
    "negative_momentum_of_a": _momentum_rate(-0.5, 0.0),  # alternating, a alone
    "proximal_point": lambda eta: np.abs(proximal_multiplier(eta)),
    "competitive": lambda eta: np.abs(competitive_multiplier(eta)),
    "extragradient": lambda eta: np.abs(extragradient_multiplier(eta)),
    "past_extragradient": lambda eta: np.abs(optimistic_roots(eta)).max(-1),
    "optimistic": lambda eta: np.abs(optimistic_roots(eta)).max(-1),
    "consensus": lambda eta: np.abs(consensus_multiplier(eta, 1.0)),  # gamma 1
    "symplectic": lambda eta: np.abs(consensus_multiplier(eta, 1.0)),  # lambda 1
    "opponent_lookahead": lambda eta: np.abs(opponent_lookahead_multiplier(eta, eta)),  # alpha eta
    "lola": lambda eta: np.abs(lola_multiplier(eta, eta)),  # alpha eta
    "unrolled": _matrix_rate(lambda eta: unrolled_matrix(eta, 1, eta)),  # a alone, 1 step of eta
    "runge_kutta_2": lambda eta: np.abs(runge_kutta_multiplier(eta, 2)),
    "runge_kutta_3": lambda eta: np.abs(runge_kutta_multiplier(eta, 3)),
    "runge_kutta_4": lambda eta: np.abs(runge_kutta_multiplier(eta, 4)),
    "lookahead": lambda eta: np.abs(lookahead_multiplier(simultaneous_multiplier(eta), 5, 0.5)) ** (1 / 5),  # k 5
}


def _radius(eigenvalues: NDArray, like: ArrayLike) -> Real:
    """The largest modulus along the last axis, in the shape of `like`."""
    return np.abs(eigenvalues).max(-1).reshape(np.shape(like))


def _quadratic_roots(p: NDArray, q: NDArray) -> Complex:
    """The roots of `l^2 - p l + q`, [..., 2], the larger modulus first; the other is `q / l`, without cancellation."""
    p, q = np.broadcast_arrays(np.asarray(p, complex), np.asarray(q, complex))
    s = np.sqrt(p**2 - 4 * q)
    large = np.where(np.abs(p + s) >= np.abs(p - s), p + s, p - s) / 2
    return np.stack([large, q / np.where(large == 0, 1, large)], axis=-1)
