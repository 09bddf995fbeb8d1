"""Estimators of the gradient of a mean reward, where their means and variances have closed forms (NumPy, float64).

`grad E_q f` is `E f(x) grad log q(x)`, the score function (Williams 1992), or `E f'(x) dx / dtheta`, a path.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from ganjax.checks import check_range


def gaussian_score_variance(theta: ArrayLike, baseline: ArrayLike = 0.0, dimensions: ArrayLike = 1) -> NDArray:
    """Variance of `(x^2 - b)(x - theta)`, x ~ N(theta, 1), whose mean is 2 theta whatever b.

    `theta^4 + 14 theta^2 + 15` without a baseline; the best, `b = theta^2 + 3`, leaves `8 theta^2 + 6`, the mean
    reward, `b = theta^2 + 1`, `8 theta^2 + 10`.

    In d dimensions it is that of the estimate of one coordinate, the reward |x|^2, the others' means 0: at theta = 0
    `(d + 2)(d + 4)`, and `2 d + 4` with the best baseline, which is `theta^2 + d + 2`.
    """
    theta, b = np.asarray(theta, float), np.asarray(baseline, float)
    away = b - theta**2  # E (x^2 - b)^2 (x - theta)^2 by moments of a standard normal
    others = np.asarray(dimensions, float) - 1  # the mean of what they add, a chi squared, of variance 2 (d - 1)
    return 15 + 12 * theta**2 - 6 * away + away**2 - 4 * theta**2 + others * (2 * (3 - away) + others + 2)


def gaussian_path_variance(theta: ArrayLike) -> NDArray:
    """Variance of `2 x`, x = theta + N(0, 1): the estimate of the same gradient along a path is 4 everywhere.

    So it is of each coordinate in any number of dimensions, of which the score function's is a polynomial.
    """
    return np.full_like(np.asarray(theta, float), 4.0)


def bernoulli_score_variance(p: ArrayLike, rewards: tuple[float, float], baseline: ArrayLike = 0.0) -> NDArray:
    """Variance of `(f(x) - b)(x - p)`, the estimate in the logit, x ~ Bernoulli(p), rewards `(f(0), f(1))`.

    `p (1 - p) ((1 - p)(f_1 - b) + p (f_0 - b))^2`, which the baseline `(1 - p) f_1 + p f_0` makes 0: the weights are
    not those of the mean reward.
    """
    p, b, (f0, f1) = np.asarray(p, float), np.asarray(baseline, float), rewards
    return p * (1 - p) * ((1 - p) * (f1 - b) + p * (f0 - b)) ** 2


def bernoulli_gradient(p: ArrayLike, target: float) -> NDArray:
    """`d E (x - t)^2 / d logit = p (1 - p)(1 - 2 t)`, x ~ Bernoulli(p)."""
    p = np.asarray(p, float)
    return p * (1 - p) * (1 - 2 * target)


def straight_through_gradient(p: ArrayLike, target: float) -> NDArray:
    """What straight-through estimates of `bernoulli_gradient` on average: `2 (p - t) p (1 - p)`.

    The bias, `p (1 - p)(2 p - 1)`, can turn the sign.
    """
    p = np.asarray(p, float)
    return 2 * (p - target) * p * (1 - p)


def concrete_gradient(p: float, target: float, temperature: float, points: int = 200_001) -> float:
    """The same of a binary concrete variable `y = sigmoid((logit p + L) / tau)`, L logistic (Maddison et al. 2017).

    `E 2 (y - t) y (1 - y) / tau`, by the midpoints of as many equally likely values of L; it tends to the true gradient
    as tau goes to 0, where its variance has no limit.
    """
    return float(np.mean(_concrete("concrete_gradient", p, target, temperature, points)))


def concrete_deviation(p: float, target: float, temperature: float, points: int = 200_001) -> float:
    """The standard deviation of that estimate, of one draw."""
    return float(np.std(_concrete("concrete_deviation", p, target, temperature, points)))


def concrete_deviation_limit(p: ArrayLike, target: float, temperature: ArrayLike) -> NDArray:
    """What it tends to as tau goes to 0, `sqrt(2/3 p (1 - p)(1/20 + (1/2 - t)^2) / tau)`.

    y is hardly ever between 0 and 1, and its slope is great there: `p (1 - p) / tau int 4 (y - t)^2 y (1 - y) dy`.
    """
    p, tau = np.asarray(p, float), np.asarray(temperature, float)
    return np.sqrt(2 / 3 * p * (1 - p) * (1 / 20 + (0.5 - target) ** 2) / tau)


def _concrete(where: str, p: float, target: float, temperature: float, points: int) -> NDArray:
    """The estimate at so many equally likely values of L."""
    check_range(where, 0, 1, p=p)
    check_range(where, 1e-6, temperature=temperature)
    u = (np.arange(points) + 0.5) / points
    y = expit((np.log(p / (1 - p)) + np.log(u / (1 - u))) / temperature)
    return 2 * (y - target) * y * (1 - y) / temperature


def bilevel_gradients(x: ArrayLike) -> tuple[NDArray, NDArray]:
    """`dF / dx` with the critic's answer, and with the critic held, of the toy of an actor and a critic.

    The actor minimises `F = (y - 1)^2 / 2 + x y` at the critic's best `y*(x) = 2 x`, where `f = (y - 2 x)^2 / 2` is
    least. As in Pfau and Vinyals (2016), `dF / dx = F_x - f_xy f_yy^-1 F_y = 8 x - 2`, whose zero is 1/4; an actor who
    holds the critic follows `F_x = 2 x` to 0. Of a zero-sum cost the second term vanishes (envelope theorem).
    """
    x = np.asarray(x, float)
    y = 2 * x
    held, of_y, cross, curvature = y, y - 1 + x, -2.0, 1.0
    return held - cross / curvature * of_y, held
