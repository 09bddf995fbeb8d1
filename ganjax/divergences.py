"""f-divergences `D_f(p, q) = E_q f(p / q)`: their conjugates, their variational bounds, and their exact values.

Each `FDivergence` is a row of the f-GAN tables (Nowozin et al. 2016, tables 1 to 3 and 6). The activations here all
increase: a large logit means "real", which some of the published ones reverse. Values are in nats.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import softplus
from jax.scipy.special import xlogy

from ganjax.checks import check_range
from ganjax.core import Array

Function = Callable[[Array], Array]
_LOG2 = float(np.log(2.0))


class FDivergence(NamedTuple):
    """A convex f and all that its variational game needs; every function maps arrays value by value."""

    name: str
    f: Function  # u = p / q >= 0
    derivative: Function  # f'(u)
    conjugate: Function  # f*(t) = sup_(u >= 0) (u t - f(u)), for t in the domain
    activation: Function  # g_f: the logit, any number, to T in the domain of f*; increasing
    conjugate_of_activation: Function  # f*(g_f(logit)), stable where the two one after the other are not
    lower: float = -np.inf  # the domain of f*: lower <= t, t < upper
    upper: float = np.inf

    @property
    def threshold(self) -> Array:
        """`f'(1)`: T above it means that an example is more likely real than generated."""
        return self.derivative(jnp.ones(()))


@jax.custom_jvp
def _omega(x: Array) -> Array:
    """The w > 0 with `w + log w = x` (Wright's omega, `W(e^x)`)."""
    w = jnp.where(x > 1, jnp.maximum(x - jnp.log(jnp.maximum(x, 1)), 1e-3), jnp.exp(jnp.minimum(x, 1)) / 2)
    w = jnp.maximum(w, jnp.finfo(w.dtype).tiny)
    for _ in range(6):  # Newton on log w, which cannot leave w > 0: v + e^v = x
        w = w * jnp.exp((x - w - jnp.log(w)) / (1 + w))
        w = jnp.maximum(w, jnp.finfo(w.dtype).tiny)
    return w


@_omega.defjvp
def _omega_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    w = _omega(*primals)
    return w, w / (1 + w) * tangents[0]


def _jeffrey_conjugate(t: Array) -> Array:
    w = _omega(1 - t)
    return w + 1 / w + t - 2


def jensen_shannon_weighted(pi: float = 0.5) -> FDivergence:
    """`pi KL(p, m) + (1 - pi) KL(q, m)` with `m = pi p + (1 - pi) q`; at pi = 1/2 the Jensen-Shannon divergence.

    Its activation is `-pi (log pi + softplus(-v))`, for which f* of it is a softplus.
    """
    if not 0 < pi < 1:
        raise ValueError(f"jensen_shannon_weighted: pi is {pi}, expected 0 < pi < 1")
    rest = 1 - pi
    return FDivergence(
        f"jensen_shannon_{pi:g}",
        lambda u: pi * xlogy(u, u) - (rest + pi * u) * jnp.log(rest + pi * u),
        lambda u: pi * (jnp.log(u) - jnp.log(rest + pi * u)),
        lambda t: rest * (jnp.log(rest) - jnp.log(1 - pi * jnp.exp(t / pi))),
        lambda v: -pi * (jnp.log(pi).astype(v.dtype) + softplus(-v)),
        lambda v: rest * (jnp.log(rest).astype(v.dtype) + softplus(v)),
        upper=float(-pi * np.log(pi)),
    )


def alpha_divergence(alpha: float) -> FDivergence:
    """`f(u) = (u^a - 1 - a (u - 1)) / (a (a - 1))` (Cichocki and Amari 2010); its limits at 0 and 1 are the KLs.

    a = 2 is half of Pearson's, a = 1/2 twice the squared Hellinger distance, a = -1 half of Neyman's.
    """
    check_range("alpha_divergence", alpha=alpha)
    if alpha in (0, 1):
        limit = "kl" if alpha == 1 else "reverse_kl"
        raise ValueError(f"alpha_divergence: alpha is {alpha}; use DIVERGENCES[{limit!r}], the limit there")
    a, b = alpha, alpha - 1
    f = lambda u: (u**a - 1 - a * (u - 1)) / (a * b)  # noqa: E731
    derivative = lambda u: (u**b - 1) / b  # noqa: E731
    if a > 1:
        power = lambda t: jnp.maximum(b * t + 1, 0) ** (a / b) / a - 1 / a  # noqa: E731
        return FDivergence(f"alpha_{a:g}", f, derivative, power, lambda v: v, power)

    def fused(v: Array) -> Array:
        # log softplus(-v), which is -v to rounding where softplus underflows
        base = jnp.log(-b) + jnp.where(v > 30, -v, jnp.log(softplus(-jnp.minimum(v, 30))))
        return (jnp.exp(a / b * base) - 1) / a

    return FDivergence(
        f"alpha_{a:g}", f, derivative, lambda t: ((b * t + 1) ** (a / b) - 1) / a,
        lambda v: -1 / b - softplus(-v), fused, upper=-1 / b,
    )  # fmt: skip


def _same(v: Array) -> Array:
    return v


_ROWS = (
    FDivergence(
        "total_variation", lambda u: jnp.abs(u - 1) / 2, lambda u: jnp.sign(u - 1) / 2, _same,
        lambda v: jnp.tanh(v) / 2, lambda v: jnp.tanh(v) / 2, lower=-0.5, upper=0.5,
    ),
    FDivergence(
        "kl", lambda u: xlogy(u, u), lambda u: jnp.log(u) + 1, lambda t: jnp.exp(t - 1), _same, lambda v: jnp.exp(v - 1)
    ),
    FDivergence(
        "reverse_kl", lambda u: -jnp.log(u), lambda u: -1 / u, lambda t: -1 - jnp.log(-t),
        lambda v: -jnp.exp(-v), lambda v: v - 1, upper=0.0,
    ),
    FDivergence(
        "pearson", lambda u: (u - 1) ** 2, lambda u: 2 * (u - 1),
        (_pearson := lambda t: jnp.where(t < -2, -1.0, t**2 / 4 + t).astype(t.dtype)), _same, _pearson,
    ),
    FDivergence(
        "neyman", lambda u: (1 - u) ** 2 / u, lambda u: 1 - 1 / u**2, lambda t: 2 - 2 * jnp.sqrt(1 - t),
        lambda v: 1 - jnp.exp(-v), lambda v: 2 - 2 * jnp.exp(-v / 2), upper=1.0,
    ),
    FDivergence(
        "squared_hellinger", lambda u: (jnp.sqrt(u) - 1) ** 2, lambda u: 1 - 1 / jnp.sqrt(u), lambda t: t / (1 - t),
        lambda v: 1 - jnp.exp(-v), jnp.expm1, upper=1.0,
    ),
    FDivergence(
        "jeffrey", lambda u: (u - 1) * jnp.log(u), lambda u: jnp.log(u) + 1 - 1 / u, _jeffrey_conjugate,
        _same, _jeffrey_conjugate,
    ),
    FDivergence(  # twice the Jensen-Shannon divergence
        "jensen_shannon", lambda u: -(u + 1) * jnp.log((1 + u) / 2) + xlogy(u, u), lambda u: jnp.log(2 * u / (1 + u)),
        lambda t: -jnp.log(2 - jnp.exp(t)), lambda v: _LOG2 - softplus(-v), lambda v: softplus(v) - _LOG2, upper=_LOG2,
    ),
    jensen_shannon_weighted(0.3),
    FDivergence(  # twice the Jensen-Shannon divergence, less log 4
        "gan", lambda u: xlogy(u, u) - (u + 1) * jnp.log(u + 1), lambda u: jnp.log(u / (1 + u)),
        lambda t: -jnp.log(-jnp.expm1(t)), lambda v: -softplus(-v), softplus, upper=0.0,
    ),
    alpha_divergence(0.5),
    alpha_divergence(2.0),
)  # fmt: skip
DIVERGENCES = {row.name: row for row in _ROWS}


def discrete(divergence: FDivergence, p: Array, q: Array) -> Array:
    """`sum q f(p / q)` of two probability vectors.

    Where q = 0 < p a state contributes `p lim f(u) / u`, which is infinite for some f; where both are 0, nothing.

    Args:
        divergence: which one.
        p: [..., K] floating, sums to 1.
        q: like p.

    Returns:
        [...]
    """
    if p.shape != q.shape:
        raise ValueError(f"discrete: p has shape {p.shape} and q {q.shape}, expected the same")
    check_range("discrete", 0, p=p, q=q)
    both, only_p = q > 0, (q == 0) & (p > 0)
    ratio = jnp.where(both, p / jnp.where(both, q, 1), 1)
    # f(u) / u tends to the supremum of the domain of f*.
    return jnp.where(both, q * divergence.f(ratio), jnp.where(only_p, p * divergence.upper, 0)).sum(-1)


def by_quadrature(
    divergence: FDivergence, log_p: Function, log_q: Function, lower: float, upper: float, *, panels: int = 256
) -> Array:
    """`D_f(p, q)` of two densities on the line, by Gauss-Legendre quadrature of `q f(p / q)`.

    Args:
        divergence: which one.
        log_p: logarithm of the first density, value by value.
        log_q: of the second.
        lower: both densities are negligible below.
        upper: both densities are negligible above.
        panels: intervals of 16 nodes each; the default is exact to rounding for Gaussians of width above a hundredth
            of the range.
    """
    x, w = nodes(lower, upper, panels)
    return (w * jnp.exp(log_q(x)) * divergence.f(jnp.exp(log_p(x) - log_q(x)))).sum()


def nodes(lower: float, upper: float, panels: int = 256) -> tuple[Array, Array]:
    """Nodes and weights of a quadrature on [lower, upper], [16 * panels] each."""
    check_range("nodes", 1, whole=True, panels=panels)
    check_range("nodes", lower, above=True, upper=upper)
    x, w = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(lower, upper, panels + 1)
    half, middle = np.diff(edges)[:, None] / 2, (edges[:-1, None] + edges[1:, None]) / 2
    return jnp.asarray((middle + half * x).ravel()), jnp.asarray((half * w).ravel())


def jensen_shannon_divergence(p: Array, q: Array) -> Array:
    """`KL(p, m) / 2 + KL(q, m) / 2` with `m = (p + q) / 2`, of probability vectors [..., K]; at most log 2."""
    return discrete(DIVERGENCES["jensen_shannon"], p, q) / 2


def kl_gaussians(mean_p: Array, std_p: Array, mean_q: Array, std_q: Array) -> Array:
    """`KL(p, q) = sum log(s_q / s_p) + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1/2` over the axes [..., D]."""
    check_range("kl_gaussians", 0, above=True, std_p=std_p, std_q=std_q)
    return (jnp.log(std_q / std_p) + (std_p**2 + (mean_p - mean_q) ** 2) / (2 * std_q**2) - 0.5).sum(-1)


def total_variation_gaussians(mean_p: Array, mean_q: Array, std: Array) -> Array:
    """`2 Phi(|m_p - m_q| / (2 s)) - 1`, of one common standard deviation."""
    check_range("total_variation_gaussians", 0, above=True, std=std)
    return jax.scipy.special.erf(jnp.abs(mean_p - mean_q) / (2 * np.sqrt(2) * std))


def squared_hellinger_gaussians(mean_p: Array, std_p: Array, mean_q: Array, std_q: Array) -> Array:
    """`2 - 2 sqrt(2 s_p s_q / (s_p^2 + s_q^2)) exp(-(m_p - m_q)^2 / (4 (s_p^2 + s_q^2)))`."""
    check_range("squared_hellinger_gaussians", 0, above=True, std_p=std_p, std_q=std_q)
    square = std_p**2 + std_q**2
    return 2 - 2 * jnp.sqrt(2 * std_p * std_q / square) * jnp.exp(-((mean_p - mean_q) ** 2) / (4 * square))


def pearson_gaussians(mean_p: Array, mean_q: Array, std: Array) -> Array:
    """`exp((m_p - m_q)^2 / s^2) - 1`, of one common standard deviation."""
    check_range("pearson_gaussians", 0, above=True, std=std)
    return jnp.expm1((mean_p - mean_q) ** 2 / std**2)


def variational_bound(divergence: FDivergence, real_logits: Array, fake_logits: Array) -> Array:
    """`mean T(x) - mean f*(T(G(z)))` with `T = g_f(logit)`: at most `D_f(p, q)` for expectations (Nguyen et al. 2010).

    Tight at `T* = f'(p / q)`. A mean over samples has their error.
    """
    return divergence.activation(real_logits).mean() - divergence.conjugate_of_activation(fake_logits).mean()


def optimal_discriminator(log_p: Array, log_q: Array) -> Array:
    """`D* = p / (p + q)` (Goodfellow et al. 2014, proposition 1)."""
    return jax.nn.sigmoid(log_p - log_q)


def density_ratio(log_p: Array, log_q: Array) -> Array:
    """`p / q`, which guides a generator under an f-divergence: `exp(logit D*)`."""
    return jnp.exp(log_p - log_q)


def witness(log_p: Array, log_q: Array) -> Array:
    """`p - q`, which guides a generator under an integral probability metric."""
    return jnp.exp(log_p) - jnp.exp(log_q)
