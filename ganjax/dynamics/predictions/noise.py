"""Noise of the gradients on the bilinear game `v(a, b) = ab`: how far from the saddle the players stay.

Each step adds `std xi` to each player's gradient, `xi ~ N(0, 1)`, the same at all looks within a step
(`ganjax.games.gradient_noise`). The step eta is constant. A floor is the stationary `E |z|^2`, `z = a + ib`; it is
infinite where the rule diverges. From `z+ = lambda z + g eta std xi`, with `E |xi|^2 = 2` over both players,

    E |z|^2 = 2 std^2 eta^2 |g|^2 / (1 - |lambda|^2).

On this game the pull of the rules that look ahead is of the order eta^2, as is the noise that a step adds: their floors
do not vanish with the step size. Regularisation and consensus pull by a multiple of eta, and theirs do. All formulas
are derived here; each docstring says lambda and the gain g.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.checks import check_range
from ganjax.dynamics.predictions.bilinear import (
    lookahead_multiplier,
    optimistic_roots,
    root_quotients,
    simultaneous_multiplier,
)

Real = NDArray[np.float64]


# -- growing ----------------------------------------------------------------------------------------------------------


def simultaneous_noise(eta: ArrayLike, steps: ArrayLike, std: ArrayLike = 1.0) -> Real:
    """`2 std^2 ((1 + eta^2)^T - 1)`: `E |z_T|^2` of simultaneous play from the saddle itself.

    `lambda = 1 + i eta`, g = 1: the sum of `2 std^2 eta^2 (1 + eta^2)^t` over t < T.
    """
    check_range("simultaneous_noise", 0, eta=eta, steps=steps, std=std)
    return 2 * np.square(std) * np.expm1(np.asarray(steps, float) * np.log1p(np.square(eta)))


def alternating_noise(eta: ArrayLike, steps: ArrayLike, std: ArrayLike = 1.0) -> Real:
    """`2 std^2 eta^2 T`: what the noise adds to `E (a^2 + b^2 - eta a b)` in T steps of alternating play.

    A random walk: without noise the quadratic form Q is conserved. The noise of a moves z by `(1, eta)` times
    `eta std xi`, since b answers in the same step, that of b by `(0, 1)`: Q is 1 for either.
    """
    check_range("alternating_noise", 0, eta=eta, steps=steps, std=std)
    return 2 * np.square(std) * np.square(eta) * np.asarray(steps, float)


# -- floors -----------------------------------------------------------------------------------------------------------


def proximal_floor(eta: ArrayLike, std: ArrayLike = 1.0) -> Real:
    """`2 std^2` for every step: `lambda = g = 1 / (1 - i eta)`. Competitive gradient descent has the same."""
    check_range("proximal_floor", 0, eta=eta, std=std)
    return _floor(1.0, np.ones_like(np.asarray(eta, float)), std)


def extragradient_floor(eta: ArrayLike, std: ArrayLike = 1.0) -> Real:
    """`2 std^2 (1 + eta^2) / (1 - eta^2)`: `lambda = 1 - eta^2 + i eta`, `g = 1 + i eta`.

    Both looks see the same noise; were they independent, the floor would be the same, since `xi` and `i eta xi'` would
    add in square as well.
    """
    check_range("extragradient_floor", 0, eta=eta, std=std)
    square = np.square(eta)
    return _floor(1 + square, 1 - square, std)


def past_extragradient_floor(eta: ArrayLike, std: ArrayLike = 1.0) -> Real:
    """`2 std^2 (1 - eta^2) / (1 - 3 eta^2)`, of Popov's iterates z, which are better than the points w it looks at.

    With `g_t = i w_t + std xi_t`, `z+ = z + eta g` and `w+ = z+ + eta g = 2 z+ - z`, so that
    `z+ = (1 + 2 i eta) z - i eta z_- + eta std xi`, whose Yule-Walker equations give this and
    `E z+ conj(z) = (1 - 2 eta^2 + i eta) / (1 - eta^2) E |z|^2`.
    """
    check_range("past_extragradient_floor", 0, eta=eta, std=std)
    square = np.square(eta)
    return _floor(1 - square, 1 - 3 * square, std)


def optimistic_floor(eta: ArrayLike, std: ArrayLike = 1.0) -> Real:
    """`2 std^2 (1 + 3 eta^2) / (1 - 3 eta^2)`, where the gradient remembered is the noisy one.

    Its iterates are the look-ahead points `w = 2 z - z_-` of `past_extragradient_floor`:
    `E |w|^2 = 5 E |z|^2 - 4 Re E z+ conj(z)`.
    """
    check_range("optimistic_floor", 0, eta=eta, std=std)
    square = np.square(eta)
    return _floor(1 + 3 * square, 1 - 3 * square, std)


def lookahead_floor(eta: ArrayLike, k: int, alpha: float, std: ArrayLike = 1.0, *, synchronised: bool = False) -> Real:
    """The floor of lookahead over simultaneous play: the mean over the k phases, or right after a synchronisation.

    In k steps `z+ = L z + alpha n` with `L = 1 - alpha + alpha (1 + i eta)^k` and
    `E |n|^2 = 2 std^2 ((1 + eta^2)^k - 1) = 2 std^2 N`, so after a synchronisation
    `E_0 = 2 std^2 alpha^2 N / (1 - |L|^2)`. In the j-th fast step it is `(1 + eta^2)^j (E_0 + 2 std^2) - 2 std^2`.
    """
    check_range("lookahead_floor", 0, eta=eta, std=std)
    grown = 1 + np.square(np.asarray(eta, float))
    pull = 1 - np.abs(lookahead_multiplier(simultaneous_multiplier(eta), k, alpha)) ** 2
    first = _floor(alpha**2 * (grown**k - 1), pull, std)
    if synchronised:
        return first
    mean = np.mean([grown**j for j in range(k)], axis=0)
    return np.asarray(mean * first + 2 * np.square(std) * (mean - 1))


def lookahead_floor_limit(k: int, alpha: float, std: ArrayLike = 1.0) -> Real:
    """`2 alpha std^2 / (k - 1 - alpha k)`, the limit of `lookahead_floor` for small steps.

    `N = k eta^2` and `1 - |L|^2 = alpha k eta^2 (k - 1 - alpha k)`, a pull if `alpha < 1 - 1 / k`.
    """
    check_range("lookahead_floor_limit", 0, std=std)
    check_range("lookahead_floor_limit", 1, whole=True, k=k)
    check_range("lookahead_floor_limit", 0, 1, above=True, alpha=alpha)
    return _floor(alpha, k - 1 - alpha * k, std)


def regularised_floor(eta: ArrayLike, mu: ArrayLike, std: ArrayLike = 1.0) -> Real:
    """`2 eta std^2 / (2 mu - eta (1 + mu^2))`: simultaneous play of `mu a^2 / 2 + a b - mu b^2 / 2`.

    `lambda = 1 - eta mu + i eta`, g = 1.
    """
    check_range("regularised_floor", 0, eta=eta, mu=mu, std=std)
    eta, mu = np.asarray(eta, float), np.asarray(mu, float)
    return _floor(eta, 2 * mu - eta * (1 + mu**2), std)


def consensus_floor(eta: ArrayLike, gamma: ArrayLike, std: ArrayLike = 1.0) -> Real:
    """`(1 + gamma^2)` times `regularised_floor`, of consensus and of the symplectic adjustment.

    The adjustment is made of the noisy field, `v + gamma J^T v`: `lambda = 1 - eta gamma + i eta` and
    `|g|^2 = 1 + gamma^2`.
    """
    check_range("consensus_floor", 0, eta=eta, gamma=gamma, std=std)
    return (1 + np.square(gamma)) * regularised_floor(eta, gamma, std)


# The floor of a rule as a function of (eta, std), vectorised.
NOISE_FLOORS: dict[str, Callable[..., Real]] = {
    "proximal_point": proximal_floor,
    "competitive": proximal_floor,
    "extragradient": extragradient_floor,
    "past_extragradient": past_extragradient_floor,
    "optimistic": optimistic_floor,
    "lookahead": lambda eta, std=1.0: lookahead_floor(eta, 5, 0.5, std),  # k 5, alpha 0.5
    "regularised": lambda eta, std=1.0: regularised_floor(eta, 0.5, std),  # mu 0.5
    "consensus": lambda eta, std=1.0: consensus_floor(eta, 0.5, std),  # gamma 0.5
    "symplectic": lambda eta, std=1.0: consensus_floor(eta, 0.5, std),  # lambda 0.5
}


# -- on the way there -------------------------------------------------------------------------------------------------


def noise_rise(floor: ArrayLike, multiplier: ArrayLike, steps: ArrayLike) -> Real:
    """`floor (1 - |lambda|^(2T))`: `E |z_T|^2` from the saddle, for a rule with one multiplier that contracts."""
    check_range("noise_rise", 0, steps=steps)
    return np.asarray(floor * (1 - np.abs(multiplier) ** (2 * np.asarray(steps))))


def lookahead_rise(eta: float, k: int, alpha: float, steps: int, std: float = 1.0) -> Real:
    """`E |z_t|^2` of lookahead over simultaneous play from the saddle, t = 0 ... T: [steps + 1].

    After each synchronisation as `noise_rise` with `L` of `lookahead_floor`, and from there as its fast steps.
    """
    check_range("lookahead_rise", 0, eta=eta, std=std)
    check_range("lookahead_rise", 0, whole=True, steps=steps)
    rounds, phase = np.divmod(np.arange(steps + 1), k)
    floor = lookahead_floor(eta, k, alpha, std, synchronised=True)
    first = noise_rise(floor, lookahead_multiplier(simultaneous_multiplier(eta), k, alpha), rounds)
    return (1 + eta**2) ** phase * (first + 2 * std**2) - 2 * std**2


def optimistic_rise(eta: float, steps: int, std: float = 1.0) -> Real:
    """`E |z_t|^2` of optimistic play from the saddle, t = 0 ... T, the first step with `eta v_0`: [steps + 1].

    With the roots r, s of `optimistic_roots` and `c_n = (r^(n+1) - s^(n+1)) / (r - s)`, the noise of a step answers as
    `2 c_n - c_(n-1)` n steps after it, that of the very first step as `c_n - c_(n-1)`.
    """
    check_range("optimistic_rise", 0, eta=eta, std=std)
    check_range("optimistic_rise", 0, whole=True, steps=steps)
    r, s = optimistic_roots(eta)
    n = np.arange(steps)
    response = root_quotients(r, s, n)
    before = np.concatenate([[0], response[:-1]])
    later = np.cumsum(np.abs(2 * response - before) ** 2)
    total = np.concatenate([[0], later[:-1]]) + np.abs(response - before) ** 2
    return 2 * std**2 * eta**2 * np.concatenate([[0], total])


def _floor(noise: ArrayLike, pull: ArrayLike, std: ArrayLike) -> Real:
    """`2 std^2 noise / pull`, infinite where there is no pull."""
    noise, pull = np.broadcast_arrays(np.asarray(noise, float), np.asarray(pull, float))
    ratio = np.divide(noise, pull, out=np.full(noise.shape, np.inf), where=pull > 0)
    return np.asarray(2 * np.square(std) * ratio)
