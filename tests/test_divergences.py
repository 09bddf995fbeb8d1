"""f-divergences against numerical suprema, SciPy's quadrature and closed forms of Gaussians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import rel_entr
from scipy.stats import norm

from ganjax import divergences as div
from ganjax.divergences import DIVERGENCES

ROWS = pytest.mark.parametrize("row", DIVERGENCES.values(), ids=DIVERGENCES)
LOGITS = np.linspace(-4.0, 4.0, 17)
# f(1), f'(1), and the supremum of the domain of f*, from the tables of Nowozin et al. 2016.
LOG2 = np.log(2)
TABLE = {
    "total_variation": (0, 0, 0.5),
    "kl": (0, 1, np.inf),
    "reverse_kl": (0, -1, 0),
    "pearson": (0, 0, np.inf),
    "neyman": (0, 0, 1),
    "squared_hellinger": (0, 0, 1),
    "jeffrey": (0, 0, np.inf),
    "jensen_shannon": (0, 0, LOG2),
    "jensen_shannon_0.3": (0, 0, -0.3 * np.log(0.3)),
    "gan": (-2 * LOG2, -LOG2, 0),
    "alpha_0.5": (0, 0, 2),
    "alpha_2": (0, 0, np.inf),
}


def _log_gaussian(mean, std):
    return lambda x: -((x - mean) ** 2) / (2 * std**2) - jnp.log(std * jnp.sqrt(2 * jnp.pi))


def test_there_are_twelve():
    assert set(DIVERGENCES) == set(TABLE) and len(DIVERGENCES) == 12
    assert all(name == row.name for name, row in DIVERGENCES.items())


@ROWS
def test_the_table(row, float64):
    at_one, slope, upper = TABLE[row.name]
    np.testing.assert_allclose(row.f(jnp.ones(())), at_one, atol=1e-12)
    np.testing.assert_allclose(row.threshold, slope, atol=1e-12)
    np.testing.assert_allclose(row.upper, upper, atol=1e-12)
    u = jnp.linspace(0.25, 4.0, 20)
    np.testing.assert_allclose(jax.vmap(jax.grad(row.f))(u), row.derivative(u), rtol=1e-9, atol=1e-12)


@ROWS
def test_the_conjugate_is_the_supremum(row, float64):
    """`sup_u (u t - f(u))` by bounded search over log u, all over the domain, branches included."""
    low = -3.0 if row.lower == -np.inf else row.lower
    high = 2.5 if row.upper == np.inf else row.upper
    for t in np.linspace(low, high, 9)[1:-1]:

        def objective(log_u, t=t):
            u = np.exp(log_u)
            return -(u * t - float(row.f(jnp.asarray(u))))

        found = minimize_scalar(objective, bounds=(-30, 12), method="bounded", options={"xatol": 1e-10})
        np.testing.assert_allclose(row.conjugate(jnp.asarray(t)), -found.fun, rtol=1e-6, atol=1e-6)


@ROWS
def test_the_activation_increases_into_the_domain(row, float64):
    logits = jnp.asarray(LOGITS)
    t = row.activation(logits)
    assert (jnp.diff(t) > 0).all() and (t < row.upper).all() and (t >= row.lower).all()
    np.testing.assert_allclose(row.conjugate_of_activation(logits), row.conjugate(t), rtol=1e-9, atol=1e-12)
    exact = jax.vmap(jax.grad(lambda v: row.conjugate(row.activation(v))))(logits)
    np.testing.assert_allclose(jax.vmap(jax.grad(row.conjugate_of_activation))(logits), exact, rtol=1e-8, atol=1e-12)


@ROWS
@pytest.mark.parametrize("size", [30.0, 1e4])
def test_extreme_logits_give_no_nan(row, size):
    for v in (size, -size):
        for f in (row.activation, row.conjugate_of_activation):
            value, slope = jax.value_and_grad(f)(jnp.float32(v))
            assert not np.isnan(value) and not np.isnan(slope)
            assert abs(v) > 30 or np.isfinite([value, slope]).all()


@ROWS
def test_the_bound_is_tight_at_its_optimum_and_holds_elsewhere(row, float64):
    """`E_p T - E_q f*(T)` for Gaussians, with T* = f'(p / q) and with other T of the right range."""
    log_p, log_q = _log_gaussian(0.0, 1.0), _log_gaussian(0.7, 1.2)
    x, w = div.nodes(-9.0, 9.0)
    p, q = w * jnp.exp(log_p(x)), w * jnp.exp(log_q(x))
    exact = div.by_quadrature(row, log_p, log_q, -9.0, 9.0)
    best = row.derivative(jnp.exp(log_p(x) - log_q(x)))
    np.testing.assert_allclose((p * best).sum() - (q * row.conjugate(best)).sum(), exact, rtol=1e-8, atol=1e-9)
    for logit in (0 * x, jnp.tanh(x), log_p(x) - log_q(x), jnp.sin(3 * x)):
        bound = (p * row.activation(logit)).sum() - (q * row.conjugate_of_activation(logit)).sum()
        assert bound <= exact + 1e-9


@ROWS
def test_quadrature_and_discrete_values_against_scipy(row, float64):
    log_p, log_q = _log_gaussian(0.3, 0.8), _log_gaussian(-0.2, 1.1)

    def integrand(x):
        return norm.pdf(x, -0.2, 1.1) * float(row.f(jnp.asarray(norm.pdf(x, 0.3, 0.8) / norm.pdf(x, -0.2, 1.1))))

    exact = quad(integrand, -7, 7, epsabs=1e-11, limit=200)[0]
    np.testing.assert_allclose(div.by_quadrature(row, log_p, log_q, -7.0, 7.0), exact, rtol=3e-6)
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(6), 2)
    by_hand = sum(b * float(row.f(jnp.asarray(a / b))) for a, b in zip(p, q, strict=True))
    np.testing.assert_allclose(div.discrete(row, jnp.asarray(p), jnp.asarray(q)), by_hand, rtol=1e-12)
    np.testing.assert_allclose(div.discrete(row, jnp.asarray(p), jnp.asarray(p)), TABLE[row.name][0], atol=1e-12)


def test_discrete_values_by_their_own_formulas(float64):
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(5), 2)
    m = (p + q) / 2
    value = lambda name: float(div.discrete(DIVERGENCES[name], jnp.asarray(p), jnp.asarray(q)))  # noqa: E731
    jsd = (rel_entr(p, m).sum() + rel_entr(q, m).sum()) / 2
    expected = {
        "kl": rel_entr(p, q).sum(),
        "reverse_kl": rel_entr(q, p).sum(),
        "jeffrey": rel_entr(p, q).sum() + rel_entr(q, p).sum(),
        "total_variation": np.abs(p - q).sum() / 2,
        "squared_hellinger": ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(),
        "pearson": ((p - q) ** 2 / q).sum(),
        "neyman": ((p - q) ** 2 / p).sum(),
        "jensen_shannon": 2 * jsd,
        "gan": 2 * jsd - np.log(4),
        "alpha_2": ((p - q) ** 2 / q).sum() / 2,
        "alpha_0.5": 2 * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(),
    }
    for name, exact in expected.items():
        np.testing.assert_allclose(value(name), exact, rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(div.jensen_shannon_divergence(jnp.asarray(p), jnp.asarray(q)), jsd, rtol=1e-10)
    half = div.discrete(div.jensen_shannon_weighted(0.5), jnp.asarray(p), jnp.asarray(q))
    np.testing.assert_allclose(half, jsd, rtol=1e-10)
    mixed = 0.3 * p + 0.7 * q
    weighted = 0.3 * rel_entr(p, mixed).sum() + 0.7 * rel_entr(q, mixed).sum()
    np.testing.assert_allclose(value("jensen_shannon_0.3"), weighted, rtol=1e-10)


@ROWS
def test_zeros(row):
    """Disjoint supports: total variation 1, JSD log 2, infinite where the formula is; never NaN."""
    p, q = jnp.array([0.5, 0.5, 0.0, 0.0]), jnp.array([0.0, 0.0, 0.25, 0.75])
    value = div.discrete(row, p, q)
    infinite = {"kl", "reverse_kl", "pearson", "neyman", "jeffrey", "alpha_2"}
    if row.name in infinite:
        assert value == jnp.inf
    else:
        bounded = {
            "total_variation": 1.0, "squared_hellinger": 2.0, "jensen_shannon": 2 * LOG2, "gan": 0.0, "alpha_0.5": 4.0,
            "jensen_shannon_0.3": -0.3 * np.log(0.3) - 0.7 * np.log(0.7),
        }  # fmt: skip
        np.testing.assert_allclose(value, bounded[row.name], rtol=1e-6, atol=1e-6)
    assert np.isfinite(div.discrete(row, q.at[0].set(0.1), q.at[0].set(0.1))), "a state that neither visits"


@pytest.mark.parametrize(
    ("distance", "value"),
    [
        (0.5, 0.0303113005),
        (1, 0.1114214822),
        (2, 0.3368308203),
        (3, 0.5267773065),
        (5, 0.6759425774),
        (10, 0.6931463174),
    ],
)
def test_jensen_shannon_of_gaussians(distance, value, float64):
    row = DIVERGENCES["jensen_shannon"]
    found = div.by_quadrature(row, _log_gaussian(0.0, 1.0), _log_gaussian(float(distance), 1.0), -9.0, 9.0 + distance)
    np.testing.assert_allclose(found / 2, value, atol=1e-10)


def test_closed_forms_of_gaussians(float64):
    """Against quadrature; the multivariate divergence is the sum over independent axes."""
    log_p, log_q = _log_gaussian(0.4, 0.8), _log_gaussian(-0.3, 1.3)
    exact = lambda name, p=log_p, q=log_q: div.by_quadrature(DIVERGENCES[name], p, q, -9.0, 9.0)  # noqa: E731
    one = lambda x: jnp.array([x])  # noqa: E731
    np.testing.assert_allclose(div.kl_gaussians(one(0.4), one(0.8), one(-0.3), one(1.3)), exact("kl"), rtol=1e-10)
    found = div.squared_hellinger_gaussians(0.4, 0.8, -0.3, 1.3)
    np.testing.assert_allclose(found, exact("squared_hellinger"), rtol=1e-10)
    same = {"p": _log_gaussian(0.4, 0.8), "q": _log_gaussian(-0.3, 0.8)}
    np.testing.assert_allclose(
        div.total_variation_gaussians(0.4, -0.3, 0.8), exact("total_variation", **same), rtol=1e-4
    )
    np.testing.assert_allclose(div.pearson_gaussians(0.4, -0.3, 0.8), exact("pearson", **same), rtol=1e-9)
    np.testing.assert_allclose(div.total_variation_gaussians(0.4, -0.3, 0.8), 2 * norm.cdf(0.7 / 1.6) - 1, rtol=1e-10)
    pair = jnp.array([0.1, 0.2]), jnp.array([1.0, 2.0]), jnp.array([0.5, -0.2]), jnp.array([1.5, 0.7])
    parts = sum(div.kl_gaussians(*(x[i : i + 1] for x in pair)) for i in (0, 1))
    np.testing.assert_allclose(div.kl_gaussians(*pair), parts, rtol=1e-12)


def test_guides():
    log_p, log_q = jnp.log(jnp.array([0.6, 0.1])), jnp.log(jnp.array([0.2, 0.3]))
    np.testing.assert_allclose(div.optimal_discriminator(log_p, log_q), [0.75, 0.25], rtol=1e-6)
    np.testing.assert_allclose(div.density_ratio(log_p, log_q), [3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(div.witness(log_p, log_q), [0.4, -0.2], rtol=1e-6)
    kl = DIVERGENCES["kl"]
    bound = div.variational_bound(kl, jnp.array([2.0, 4.0]), jnp.array([1.0, 1.0]))
    np.testing.assert_allclose(bound, 3 - 1, rtol=1e-6)


def test_wrong_members():
    with pytest.raises(ValueError, match=r"use DIVERGENCES\['kl'\]"):
        div.alpha_divergence(1)
    with pytest.raises(ValueError, match=r"use DIVERGENCES\['reverse_kl'\]"):
        div.alpha_divergence(0)
    with pytest.raises(ValueError, match="expected 0 < pi < 1"):
        div.jensen_shannon_weighted(1.0)
    with pytest.raises(ValueError, match="expected the same"):
        div.discrete(DIVERGENCES["kl"], jnp.ones(2) / 2, jnp.ones(3) / 3)
