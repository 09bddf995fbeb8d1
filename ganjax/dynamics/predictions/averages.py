"""What averages do to the orbits of games, in closed form.

A mode of a linear game is a number lambda: the orbit is `lambda^t`, t = 0, 1, 2, ... Where an average of the first n
points is meant, these are `lambda^0, ..., lambda^(n-1)`. Points of the plane are complex, `z = a + ib`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from ganjax.checks import check_range

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


# -- exponential ------------------------------------------------------------------------------------------------------


def ema_gain(decay: ArrayLike, multiplier: ArrayLike) -> Complex:
    """`(1 - beta) lambda / (lambda - beta)`: the EMA over the present point, once `beta^t` is gone.

    Derived here: `m_t = (1 - beta) sum_j beta^j lambda^(t-j)`, a geometric series in `beta / lambda`. The EMA of an
    orbit grows or shrinks by `|lambda|` a step like the orbit itself.
    """
    check_range("ema_gain", 0, 1, below=True, decay=decay)
    decay, multiplier = np.asarray(decay, float), np.asarray(multiplier, complex)
    return (1 - decay) * multiplier / (multiplier - decay)


def ema_attenuation(decay: ArrayLike, angle: ArrayLike) -> Real:
    """`(1 - beta) / sqrt(1 - 2 beta cos(phi) + beta^2)`: the EMA's amplitude on a mode that turns by phi per step.

    The modulus of `ema_gain` at `lambda = exp(i phi)`. Alternating play with step eta turns by
    `phi = 2 arcsin(eta / 2)`: its EMA runs on the same ellipse, smaller by this factor. It never converges: "limit
    cycles of vanishing amplitude as the discount approaches one" (Yazici et al. 2019, abstract).
    """
    check_range("ema_attenuation", 0, 1, below=True, decay=decay)
    decay, angle = np.asarray(decay, float), np.asarray(angle, float)
    return (1 - decay) / np.sqrt(1 - 2 * decay * np.cos(angle) + decay**2)


def ema_lag(decay: ArrayLike, angle: ArrayLike) -> Real:
    """`arctan(beta sin(phi) / (1 - beta cos(phi)))`, the angle by which the EMA of that mode is behind it.

    Minus the argument of `ema_gain` at `lambda = exp(i phi)`. Divided by phi it is a number of steps,
    `beta / (1 - beta)` for a slow mode.
    """
    check_range("ema_lag", 0, 1, below=True, decay=decay)
    decay, angle = np.asarray(decay, float), np.asarray(angle, float)
    return np.arctan2(decay * np.sin(angle), 1 - decay * np.cos(angle))


def ema_spiral_ratio(decay: ArrayLike, eta: ArrayLike) -> Real:
    """`(1 - beta) sqrt(1 + eta^2) / sqrt((1 - beta)^2 + eta^2)`: |EMA| over |z| in simultaneous play of `v = ab`.

    The modulus of `ema_gain` at `lambda = 1 + i eta`, since `|lambda - beta|^2 = (1 - beta)^2 + eta^2`. The ratio is
    constant, so the EMA diverges with the spiral.
    """
    check_range("ema_spiral_ratio", 0, 1, below=True, decay=decay)
    check_range("ema_spiral_ratio", 0, eta=eta)
    return np.abs(ema_gain(decay, 1 + 1j * np.asarray(eta, float)))


def ema_flow_attenuation(tau: ArrayLike, speed: ArrayLike = 1.0) -> Real:
    """`1 / sqrt(1 + (tau w)^2)`: the amplitude of `tau m' = z - m` under a turn at the speed w, a low-pass filter.

    The limit of `ema_attenuation` for `beta = 1 - eta / tau`, `phi = w eta` and eta to 0.
    """
    check_range("ema_flow_attenuation", 0, tau=tau)
    check_range("ema_flow_attenuation", speed=speed)
    return 1 / np.sqrt(1 + (np.asarray(tau, float) * np.asarray(speed, float)) ** 2)


def ema_mean(decay: ArrayLike, multiplier: ArrayLike, count: ArrayLike) -> Complex:
    """The debiased EMA of the first n points, exactly.

    `(1 - beta)(lambda^n - beta^n) / ((lambda - beta)(1 - beta^n))`, derived here: the weights `beta^j` of
    `lambda^(n-1-j)` are a geometric series, and they add up to `(1 - beta^n) / (1 - beta)`.
    """
    check_range("ema_mean", 0, 1, below=True, decay=decay)
    check_range("ema_mean", 1, count=count)
    decay, multiplier, count = np.asarray(decay, float), np.asarray(multiplier, complex), np.asarray(count, float)
    grown = (multiplier**count - decay**count) / (multiplier - decay)
    return (1 - decay) * grown / (1 - decay**count)


# -- uniform ----------------------------------------------------------------------------------------------------------


def uniform_mean(multiplier: ArrayLike, count: ArrayLike) -> Complex:
    """`(lambda^n - 1) / (n (lambda - 1))`, the mean of the first n points; lambda is not 1.

    A geometric series. It vanishes where `lambda^n = 1`, and goes to zero as 1/n where `|lambda| = 1`.
    """
    check_range("uniform_mean", 1, count=count)
    multiplier, count = np.asarray(multiplier, complex), np.asarray(count, float)
    return (multiplier**count - 1) / (count * (multiplier - 1))


def tail_mean(multiplier: ArrayLike, start: int, count: ArrayLike) -> Complex:
    """`lambda^s (lambda^(n-s) - 1) / ((n-s)(lambda - 1))`, the mean of the points s to n - 1.

    `uniform_mean` from the point s on (averaging: Polyak and Juditsky 1992).
    """
    check_range("tail_mean", 0, whole=True, start=start)
    if np.any(np.asarray(count) <= start):
        raise ValueError(f"tail_mean: count is {count!r}, expected more than start, {start}")
    return np.asarray(multiplier, complex) ** start * uniform_mean(multiplier, np.asarray(count) - start)


def simultaneous_mean(eta: float, start: ArrayLike, end: ArrayLike, steps: ArrayLike) -> Complex:
    """`-i (z_T - z_0) / (eta T)`, the mean of `z_0, ..., z_(T-1)` in simultaneous play of `v = ab`.

    Derived here: `z_(t+1) - z_t = i eta z_t` summed over t. Since `z_T` grows exponentially the mean diverges: averages
    of simultaneous play converge only if the step size falls.
    """
    check_range("simultaneous_mean", 0, above=True, eta=eta)
    check_range("simultaneous_mean", 1, steps=steps)
    return -1j * (np.asarray(end, complex) - np.asarray(start, complex)) / (eta * np.asarray(steps, float))


def alternating_mean(eta: float, start: ArrayLike, end: ArrayLike, steps: ArrayLike) -> Complex:
    """The mean of `z_0, ..., z_(T-1)` in alternating play of `v = ab`, a first; `O(1/T)` on its bounded orbit.

    Derived here: `a_(t+1) - a_t = -eta b_t` and `b_(t+1) - b_t = eta a_(t+1)` summed over t give `sum b = -da / eta`
    and `sum a = db / eta - da`, with `da = a_T - a_0`, `db = b_T - b_0`. Zero where the orbit closes, as it does after
    n steps of the size `2 sin(pi / n)`.
    """
    check_range("alternating_mean", 0, above=True, eta=eta)
    check_range("alternating_mean", 1, steps=steps)
    moved = np.asarray(end, complex) - np.asarray(start, complex)
    return (-1j * moved / eta - moved.real) / np.asarray(steps, float)


# -- falling steps ----------------------------------------------------------------------------------------------------


def decaying_step_exponents(c: ArrayLike) -> tuple[Real, Real]:
    """`(c^2 / 2, (c^2 - 1) / 2)`: with steps `c / sqrt(t)` the norm grows as `T^(c^2/2)`, the mean as `T^((c^2-1)/2)`.

    In simultaneous play of `v = ab`, t = 1, 2, ...: the exponents of `decaying_step_norm` and `decaying_step_mean`. The
    mean converges if and only if `c < 1`, though the players never do.
    """
    check_range("decaying_step_exponents", 0, c=c)
    square = np.asarray(c, float) ** 2
    return square / 2, (square - 1) / 2


def decaying_step_norm(c: ArrayLike, steps: ArrayLike) -> Real:
    """`|z_T| / |z_0|` exactly, for T steps `c / sqrt(t)`: `sqrt(Gamma(T+1+c^2) / (Gamma(T+1) Gamma(1+c^2)))`.

    Derived here: the square is `prod_(t <= T) (1 + c^2 / t)`, which goes to `T^(c^2) / Gamma(1 + c^2)`.
    """
    check_range("decaying_step_norm", 0, c=c, steps=steps)
    square, steps = np.asarray(c, float) ** 2, np.asarray(steps, float)
    return np.exp((gammaln(steps + 1 + square) - gammaln(steps + 1) - gammaln(1 + square)) / 2)


def decaying_step_mean(c: ArrayLike, steps: ArrayLike) -> Real:
    """`|mean of z_0, ..., z_(T-1)| / |z_0|` for large T: `|z_T| / (c sqrt(T) |z_0|)`.

    Derived here: summing `c z_(t-1) = -i sqrt(t) (z_t - z_(t-1))` by parts, `c sum z = -i sqrt(T) z_T` plus
    `i sum z_t / (2 sqrt(t))`, which turns as fast and is smaller by `1 / sqrt(T)`.
    """
    check_range("decaying_step_mean", 0, above=True, c=c)
    check_range("decaying_step_mean", 1, steps=steps)
    return decaying_step_norm(c, steps) / (np.asarray(c, float) * np.sqrt(np.asarray(steps, float)))
