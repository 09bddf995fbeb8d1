"""What the variants of the Dirac-GAN do, in closed form.

Real data at 0, one fake at theta, `D(x) = psi x`; the discriminator ascends `f(psi theta) + f(0)`. Eigenvalues are
those of the *flow* `theta' = -v(theta)` at the origin: a negative real part attracts. The Jacobian of the field v,
which `field_jacobian` gives, has their negatives. `slope` is `f'(0)` and `curvature` is `f''(0)`: 1/2 and -1/4 of the
GAN, 1 and 0 of the Wasserstein GAN. SGD has the step h for both players; in alternating play the generator moves first.
"""

from math import pi
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from ganjax.checks import check_name, check_range

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]
Play = Literal["flow", "simultaneous", "alternating"]
PLAYS = get_args(Play)

SLOPE: dict[str, float] = {"gan": 0.5, "wasserstein": 1.0}  # f'(0)
CURVATURE: dict[str, float] = {"gan": -0.25, "wasserstein": 0.0}  # f''(0)


# -- eigenvalues of the flow at the origin ----------------------------------------------------------------------------


def dirac_eigenvalues(slope: float) -> Complex:
    """`+-i f'(0)`, [2]: the plain game, saturating or not, turns and neither attracts nor repels.

    Mescheder et al. 2018, section 2. The relativistic game is the same, and so are weight clipping and the one-sided
    penalty where they don't act.
    """
    check_range("dirac_eigenvalues", 0, slope=slope)
    return _pair(0.0, slope**2)


def penalty_eigenvalues(gamma: ArrayLike, slope: float) -> Complex:
    """`-gamma/2 +- sqrt(gamma^2/4 - f'(0)^2)`, [..., 2]: R1 and R2 (Mescheder et al. 2018, section 3)."""
    check_range("penalty_eigenvalues", 0, gamma=gamma)
    return _pair(-np.asarray(gamma, float) / 2, slope**2)


def critical_gamma(slope: float) -> float:
    """`2 f'(0)`, the weight of R1 above which nothing turns; 1 for the GAN, 2 for the Wasserstein GAN."""
    check_range("critical_gamma", 0, slope=slope)
    return 2 * slope


def instance_noise_eigenvalues(sigma: ArrayLike, slope: float, curvature: float) -> Complex:
    """`f''(0) sigma^2 +- sqrt(f''(0)^2 sigma^4 - f'(0)^2)`, [..., 2] (Mescheder et al. 2018, section 3).

    Noise of standard deviation sigma on real and on fake: each adds `f''(0) sigma^2` to `d^2 L / d psi^2`, near the
    origin an R1 of weight `2 |f''(0)| sigma^2`.
    """
    check_range("instance_noise_eigenvalues", 0, sigma=sigma)
    return _pair(curvature * np.asarray(sigma, float) ** 2, slope**2)


def critical_noise(slope: float, curvature: float) -> float:
    """`sqrt(f'(0) / |f''(0)|)`, the sigma above which nothing turns; `sqrt(2)` for the GAN."""
    check_range("critical_noise", 0, above=True, slope=slope)
    check_range("critical_noise", high=0, below=True, curvature=curvature)
    return float(np.sqrt(slope / abs(curvature)))


def consensus_dirac_eigenvalues(gamma: ArrayLike, slope: float) -> Complex:
    """`-gamma f'(0)^2 +- i f'(0)`, [..., 2]: `v + gamma J^T v` with `J^T J = f'(0)^2 I` (Mescheder et al. 2017).

    It turns with every gamma. JARE (Nie and Patel 2019), the gradient norm in both costs, has the same two.
    """
    check_range("consensus_dirac_eigenvalues", 0, gamma=gamma)
    pull = np.asarray(gamma, float) * slope**2
    return _pair(-pull, pull**2 + slope**2)


def gradient_norm_eigenvalues(gamma: ArrayLike, slope: float) -> Complex:
    """`-gamma f'^2/2 +- sqrt(gamma^2 f'^4/4 - f'^2)` with `f' = f'(0)`, [..., 2]: Nagarajan and Kolter 2017.

    Only the generator pays `gamma/2 |grad_psi L|^2`, which is `gamma f'^2 theta^2 / 2` near the origin: R1 of weight
    `gamma f'^2` with the players exchanged. Critical at `gamma = 2 / f'`.
    """
    check_range("gradient_norm_eigenvalues", 0, gamma=gamma)
    return penalty_eigenvalues(np.asarray(gamma, float) * slope**2, slope)


# -- rates of discrete play near the origin ---------------------------------------------------------------------------


def simultaneous_multipliers(eigenvalues: ArrayLike, h: ArrayLike) -> Complex:
    """`1 + h lambda`, elementwise, for each eigenvalue lambda of the flow; the largest modulus is the rate per step."""
    check_range("simultaneous_multipliers", 0, h=h)
    return 1 + np.asarray(h, float) * np.asarray(eigenvalues, complex)


def alternating_multipliers(
    h: ArrayLike, slope: ArrayLike, generator: ArrayLike = 0.0, discriminator: ArrayLike = 0.0
) -> Complex:
    """The eigenvalues of an alternating step on `theta' = a theta - f' psi`, `psi' = f' theta + d psi`, [..., 2].

    `M = [[1 + ha, -hf'], [hf'(1 + ha), 1 + hd - h^2 f'^2]]`, so the trace is `2 + h(a + d) - h^2 f'^2` and the
    determinant `(1 + ha)(1 + hd)`, without f': while they are complex, the rate is the square root of it. R1: a = 0,
    d = -gamma. Instance noise: a = 0, d = 2 f'' sigma^2. Nagarajan-Kolter: a = -gamma f'^2, d = 0. Consensus:
    a = d = -gamma f'^2.

    Args:
        h: the step.
        slope: `f'(0)`.
        generator: a.
        discriminator: d.
    """
    check_range("alternating_multipliers", 0, h=h)
    h, a, d = np.asarray(h, float), np.asarray(generator, float), np.asarray(discriminator, float)
    trace = 2 + h * (a + d) - (h * np.asarray(slope, float)) ** 2
    return _pair(trace / 2, (1 + h * a) * (1 + h * d))


def turns_multipliers(h: ArrayLike, slope: float, n_g: int = 1, n_d: int = 1) -> Complex:
    """`1 - alpha^2/2 +- sqrt((1 - alpha^2/2)^2 - 1)` with `alpha = sqrt(n_g n_d) h f'(0)`, [..., 2].

    Alternating play of the plain game with n_g and n_d moves a turn (Mescheder et al. 2018, section 2): of modulus 1
    while `alpha <= 2`, beyond it the larger one expands.
    """
    check_range("turns_multipliers", 0, h=h)
    check_range("turns_multipliers", 1, whole=True, n_g=n_g, n_d=n_d)
    return alternating_multipliers(np.asarray(h, float) * np.sqrt(n_g * n_d), slope)


def penalty_simultaneous_rate(h: ArrayLike, gamma: ArrayLike, slope: float) -> Real:
    """`sqrt(1 - h gamma + h^2 f'(0)^2)` of R1 below the critical gamma: the modulus of `1 + h lambda`."""
    check_range("penalty_simultaneous_rate", 0, h=h)
    check_range("penalty_simultaneous_rate", 0, critical_gamma(slope), gamma=gamma)
    h = np.asarray(h, float)
    return np.sqrt(1 - h * np.asarray(gamma, float) + (h * slope) ** 2)


def penalty_alternating_rate(h: ArrayLike, gamma: ArrayLike) -> Real:
    """`sqrt(1 - h gamma)` of R1 in alternating play, whatever f is, for `gamma < 2 f'(0) - h f'(0)^2`."""
    check_range("penalty_alternating_rate", 0, h=h, gamma=gamma)
    return np.sqrt(1 - np.asarray(h, float) * np.asarray(gamma, float))


def penalty_step_limit(gamma: float, slope: float, play: Play = "simultaneous") -> float:
    """The step below which R1 converges.

    Simultaneous: `gamma / f'^2` up to the critical gamma, where `|lambda| = f'`; beyond it the faster of two real
    eigenvalues decides, `2 / |lambda| = (gamma - sqrt(gamma^2 - 4 f'^2)) / f'^2`. Alternating: a root passes -1 at
    `trace = -1 - det`, that is `2 h gamma + h^2 f'^2 = 4`, `h = (sqrt(gamma^2 + 4 f'^2) - gamma) / f'^2`. So
    alternating play bears a longer step than simultaneous play for small gamma, and a shorter one at the critical.
    """
    check_range("penalty_step_limit", 0, gamma=gamma)
    check_range("penalty_step_limit", 0, above=True, slope=slope)
    check_name("penalty_step_limit", "play", play, ("simultaneous", "alternating"))
    if play == "alternating":
        return (np.sqrt(gamma**2 + 4 * slope**2) - gamma) / slope**2
    return (gamma - np.sqrt(max(gamma**2 - 4 * slope**2, 0.0))) / slope**2


# -- away from the origin ---------------------------------------------------------------------------------------------


def logistic_slope(t: ArrayLike) -> Real:
    """`f'(t) = 1 / (1 + e^t)` of the GAN's `f(t) = -log(1 + e^-t)`."""
    return 1 / (1 + np.exp(np.asarray(t, float)))


def simultaneous_growth(theta: ArrayLike, psi: ArrayLike, h: float) -> Real:
    """`1 + h^2 f'(psi theta)^2`, by which a simultaneous step of the saturating GAN multiplies `theta^2 + psi^2`.

    Exact everywhere: the field `f' (-psi, theta)` is at right angles to `(theta, psi)` for every f, so that the flow
    conserves the radius and Euler's method adds a square.
    """
    check_range("simultaneous_growth", 0, h=h)
    return 1 + (h * logistic_slope(np.asarray(theta) * np.asarray(psi))) ** 2


def non_saturating_flow(t: ArrayLike, radius: float) -> Real:
    """`r(t)`, `r^2 = r0^2 / (1 + r0^2 t / 8)`: the flow of the non-saturating GAN converges like `sqrt(8 / t)`.

    `(r^2)' = -2 theta psi tanh(theta psi / 2)`, near the origin `-(theta psi)^2`, and `sin^2 cos^2` is 1/8 on average.
    Alternating play follows it with `t = h n`.
    """
    check_range("non_saturating_flow", 0, t=t, radius=radius)
    return radius / np.sqrt(1 + radius**2 * np.asarray(t, float) / 8)


def non_saturating_radius(h: ArrayLike) -> Real:
    """`sqrt(2 h)`, the limit cycle of the non-saturating GAN in simultaneous play.

    Per step Euler's method adds `h^2 r^2 / 4` to `r^2` and the flow takes `h r^4 / 8`.
    """
    check_range("non_saturating_radius", 0, h=h)
    return np.sqrt(2 * np.asarray(h, float))


# -- the Wasserstein GAN, constrained ---------------------------------------------------------------------------------


def clipping_band(c: float, h: float, play: Play = "simultaneous") -> tuple[float, float]:
    """Between which radii the Wasserstein GAN clipped to `|psi| <= c` ends: it slides along `psi = +-c`, then turns.

    The flow leaves the wall at `theta = 0` and ends on the circle `r = c`; nothing converges to the origin.
    Simultaneous play leaves there too and grows by `kappa = log(1 + h^2) / (2 arctan h)` per radian, until it meets the
    other wall after the angle phi of `cos(phi) = -exp(-kappa phi)`: from c to `c exp(kappa phi)`. Alternating play
    ends on the ellipse `theta^2 + psi^2 - h theta psi` that touches the walls: from `c sqrt(1 - h/2)` to
    `c sqrt(1 + h/2)`. Both up to a relative `h^2`.
    """
    check_name("clipping_band", "play", play, PLAYS)
    check_range("clipping_band", 0, above=True, c=c)
    check_range("clipping_band", 0, 2, above=True, below=True, h=None if play == "flow" else h)
    if play == "flow":
        return c, c
    if play == "alternating":
        return c * np.sqrt(1 - h / 2), c * np.sqrt(1 + h / 2)
    kappa = np.log1p(h**2) / (2 * np.arctan(h))
    phi = brentq(lambda x: np.cos(x) + np.exp(-kappa * x), pi / 2, pi)
    return c, c * float(np.exp(kappa * phi))


def gradient_penalty_amplitude(gamma: float, target: float, h: float = 0.0, play: Play = "flow") -> float:
    """The largest `|theta|` on the limit cycle of WGAN-GP, and of DRAGAN, for `gamma < 2`.

    `theta' = -psi`, `psi' = theta - gamma (|psi| - g0) sgn(psi)`: while psi keeps its sign, a damped oscillation
    about `theta = -+gamma g0`. From one turn at A to the next at -A half a period passes, so that
    `A - gamma g0 = (A + gamma g0) e^(-pi kappa)` with the decay kappa per radian, and
    `A = gamma g0 coth(pi kappa / 2)`. The flow has `kappa = gamma / sqrt(4 - gamma^2)`; as gamma goes to 0, A goes to
    `4 g0 / pi`. A step of multipliers m has `kappa = -log|m| / |arg m|`, and A grows with h.

    Args:
        gamma: the weight of the penalty `gamma/2 (|psi| - g0)^2`.
        target: g0.
        h: the step, of discrete play; A then holds up to a relative `h^2`, since a turn falls between steps.
        play: how it is played.

    Raises:
        ValueError: gamma, or h gamma, is so large that nothing oscillates.
    """
    check_name("gradient_penalty_amplitude", "play", play, PLAYS)
    check_range("gradient_penalty_amplitude", 0, gamma=gamma, target=target, h=h)
    if play == "flow":
        turning, kappa = gamma < 2, gamma / np.sqrt(max(4 - gamma**2, 1e-300))
    else:
        pairs = {
            "simultaneous": simultaneous_multipliers(penalty_eigenvalues(gamma, 1.0), h),
            "alternating": alternating_multipliers(h, 1.0, discriminator=-gamma),
        }
        multiplier = pairs[play][0]
        turning, kappa = abs(multiplier.imag) > 0, -np.log(abs(multiplier)) / max(abs(np.angle(multiplier)), 1e-300)
    if not (turning and kappa > 0):
        raise ValueError(f"gradient_penalty_amplitude: no limit cycle at gamma {gamma}, h {h} ({play}); lower both")
    return float(gamma * target / np.tanh(pi * kappa / 2))


def gradient_penalty_period(gamma: float) -> float:
    """`2 pi / sqrt(1 - gamma^2 / 4)`, the period of the limit cycle of WGAN-GP in the flow, for `gamma < 2`."""
    check_range("gradient_penalty_period", 0, 2, below=True, gamma=gamma)
    return 2 * pi / np.sqrt(1 - gamma**2 / 4)


def gradient_penalty_cycle(gamma: float, target: float, points: int = 400) -> Real:
    """The limit cycle of WGAN-GP in the flow, `(theta, psi)`, [points, 2], closed.

    From the turn at -A, with `w = sqrt(1 - gamma^2/4)`: `theta = gamma g0 - (A + gamma g0) e^(-gamma t/2) (cos wt +
    gamma/(2w) sin wt)` and `psi = -theta' = -(A + gamma g0) e^(-gamma t/2) sin(wt) / w`; then its mirror image.
    """
    check_range("gradient_penalty_cycle", 0, 2, above=True, below=True, gamma=gamma)
    check_range("gradient_penalty_cycle", 0, target=target)
    check_range("gradient_penalty_cycle", 4, whole=True, points=points)
    w = np.sqrt(1 - gamma**2 / 4)
    t = np.linspace(0, pi / w, points // 2)
    size = (gradient_penalty_amplitude(gamma, target) + gamma * target) * np.exp(-gamma * t / 2)
    theta = gamma * target - size * (np.cos(w * t) + gamma / (2 * w) * np.sin(w * t))
    half = np.stack([theta, -size * np.sin(w * t) / w], axis=1)
    return np.concatenate([half, -half])


def one_sided_excess(t: ArrayLike, gamma: float, target: float, excess: float) -> Real:
    """`r - g0` of WGAN-LP in the flow after a long time, when the excess is small: `e = 1/(1/sqrt(e0) + k t/2)^2`.

    The penalty acts while `|psi| > g0`, an arc of half-width `sqrt(2 e / g0)` twice a turn, on average
    `e' = -k e^(3/2)` with `k = 4 sqrt(2) gamma / (3 pi sqrt(g0))`. The flow thus ends on the circle `r = g0`, and stays
    where it started inside. Alternating play ends on the ellipse of `clipping_band` with `c = g0`.
    """
    check_range("one_sided_excess", 0, t=t, gamma=gamma)
    check_range("one_sided_excess", 0, above=True, target=target, excess=excess)
    k = 4 * np.sqrt(2) * gamma / (3 * pi * np.sqrt(target))
    return (excess**-0.5 + k * np.asarray(t, float) / 2) ** -2


def _pair(half_trace: ArrayLike, determinant: ArrayLike) -> Complex:
    """The roots of `l^2 - trace l + determinant`, [..., 2], + first."""
    middle = np.asarray(half_trace, float)
    root = np.sqrt((middle**2 - np.asarray(determinant, float)).astype(complex))
    return np.stack([middle + root, middle - root], axis=-1)
