"""Adjustments of the field against dense formulas, finite differences and their eigenvalues on v(a, b) = ab."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from ganjax.core import Batch, Game, Moment, Outcome
from ganjax.dynamics import (
    consensus,
    ema,
    gradient_norm,
    historical_averaging,
    simultaneous,
    symplectic,
)
from ganjax.dynamics.adjustments import adjusted
from ganjax.dynamics.field import View, dot
from ganjax.dynamics.spectrum import field_jacobian, update_jacobian
from ganjax.games import bilinear, dirac_gan, gan, normal_prior
from ganjax.losses import LOSSES
from ganjax.models.mlp import Discriminator, Generator, identity
from ganjax.training import init_state, simulate

KEY = jax.random.key(0)
OWN = {"a": slice(0, 2), "b": slice(2, 3)}  # theta = (a_1, a_2, b)


class Cubic:
    """Two players, three parameters: `c_i = <l_i, theta> + Q_i theta^2 / 2 + T_i theta^3 / 6`, random and symmetric."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.linear = {p: rng.normal(size=3) for p in OWN}
        q = {p: rng.normal(size=(3, 3)) for p in OWN}
        self.quadratic = {p: (m + m.T) / 2 for p, m in q.items()}
        t = {p: rng.normal(size=(3, 3, 3)) for p in OWN}
        orders = ["ijk", "ikj", "jik", "jki", "kij", "kji"]
        self.cubic = {p: sum(np.einsum(f"ijk->{o}", m) for o in orders) / 6 for p, m in t.items()}
        self.theta = rng.normal(size=3)

    def game(self):
        def cost(player):
            def c(params, moment):
                x = jnp.concatenate([params["a"], params["b"]])
                second, third = self.quadratic[player] @ x, self.cubic[player] @ x @ x
                return self.linear[player] @ x + x @ second / 2 + x @ third / 6, Outcome({}, {})

            return c

        params = {p: jnp.asarray(self.theta[s]) for p, s in OWN.items()}
        return Game(lambda key, batch: (params, {"a": {}, "b": {}}), {p: cost(p) for p in OWN})

    def field(self, x):
        """v by hand: each player's part of `l + Q x + T x x / 2`."""
        return np.concatenate(
            [(self.linear[p] + self.quadratic[p] @ x + self.cubic[p] @ x @ x / 2)[s] for p, s in OWN.items()]
        )

    def jacobian(self, x):
        """J by hand: each player's rows of `Q + T x`."""
        return np.concatenate([(self.quadratic[p] + self.cubic[p] @ x)[s] for p, s in OWN.items()])


def _term(game, adjustment):
    """What the adjustment adds at the start, flat."""
    params, net_state = game.init(KEY, None)
    view = View(game, Moment(net_state, None, KEY))

    def difference(params):
        plain = view.field(params).gradients
        changed = adjusted(view, params, (adjustment,), (adjustment.init(params),)).gradients
        return ravel_pytree(changed)[0] - ravel_pytree(plain)[0]

    return np.asarray(jax.jit(difference)(params))


def _jacobian(view, params, adjustments=()):
    return np.asarray(jax.jit(lambda p: field_jacobian(view, p, adjustments))(params))


def _slope(f, x, h=1e-5):
    """Central differences of a scalar function."""
    return np.array([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(len(x))])


@pytest.mark.parametrize("seed", [0, 1])
def test_adjustments_of_a_nonlinear_game_are_the_dense_formulas(seed, float64):
    cubic = Cubic(seed)
    game, x = cubic.game(), cubic.theta
    params, net_state = game.init(KEY, None)
    v, j = cubic.field(x), cubic.jacobian(x)
    np.testing.assert_allclose(_jacobian(View(game, Moment(net_state, None, KEY)), params), j, rtol=1e-12)
    assert np.abs(v).min() > 1e-2 and np.abs(j - j.T).max() > 0.1, "a game worth adjusting"

    found = _term(game, consensus(0.7))
    np.testing.assert_allclose(found, 0.7 * j.T @ v, rtol=1e-10)
    half_square = _slope(lambda y: (cubic.field(y) ** 2).sum() / 2, x)
    np.testing.assert_allclose(found, 0.7 * half_square, rtol=1e-6)

    found = _term(game, symplectic(0.7))
    np.testing.assert_allclose(found, 0.7 * (j.T - j) @ v / 2, rtol=1e-10)
    np.testing.assert_allclose(v @ found, 0, atol=1e-12, err_msg="A^T v is orthogonal to v")

    a, b = OWN["a"], OWN["b"]
    both = np.concatenate([j[b, a].T @ v[b], j[a, b].T @ v[a]])
    found = _term(game, gradient_norm(0.7))
    np.testing.assert_allclose(found, 0.7 * both, rtol=1e-10)
    differences = np.concatenate(
        [
            _slope(lambda y: (cubic.field(y)[b] ** 2).sum() / 2, x)[a],
            _slope(lambda y: (cubic.field(y)[a] ** 2).sum() / 2, x)[b],
        ]
    )
    np.testing.assert_allclose(found, 0.7 * differences, rtol=1e-6)
    one = _term(game, gradient_norm(0.7, players=("a",)))
    np.testing.assert_allclose(one, 0.7 * both * [1, 1, 0], rtol=1e-10)


@pytest.mark.parametrize("options", [{}, {"non_saturating": True}, {"f": "wasserstein", "penalty": "r1"}])
def test_adjustments_of_the_dirac_gan_are_finite_differences(options, float64):
    """`c' f''` terms included, with the factor that a public consensus optimiser has by half."""
    start = np.array([-0.9, 1.3])  # (discriminator, generator): by name, as flat vectors are
    game = dirac_gan(start=(start[1], start[0]), **options)
    view = View(game, Moment({"generator": {}, "discriminator": {}}, None, KEY))

    @jax.jit
    def field(x):
        return ravel_pytree(view.field({"discriminator": x[0], "generator": x[1]}).gradients)[0]

    j = np.stack([_slope(lambda y, i=i: field(y)[i], start) for i in range(2)])
    v = np.asarray(field(start))
    assert np.abs(v).min() > 0.05
    np.testing.assert_allclose(_term(game, consensus(0.3)), 0.3 * j.T @ v, rtol=1e-7)
    np.testing.assert_allclose(_term(game, symplectic(0.3)), 0.15 * (j.T - j) @ v, rtol=1e-7)
    expected = 0.3 * np.array([j[1, 0] * v[1], j[0, 1] * v[0]])
    np.testing.assert_allclose(_term(game, gradient_norm(0.3)), expected, rtol=1e-7)
    if not options:  # f' = 1/(1 + e^t), f'' = -f' (1 - f'); |v|^2 / 2 = (psi^2 + theta^2) f'^2 / 2 by hand
        psi, theta = start
        slope = 1 / (1 + np.exp(psi * theta))
        bend = -slope * (1 - slope)
        radius = psi**2 + theta**2
        by_hand = [psi * slope**2 + radius * slope * bend * theta, theta * slope**2 + radius * slope * bend * psi]
        np.testing.assert_allclose(_term(game, consensus(0.3)), 0.3 * np.array(by_hand), rtol=1e-10)


@pytest.mark.parametrize(
    "adjustment, expected",
    [
        (consensus(0.6), 0.6 + 1j),
        (symplectic(0.6), 0.6 + 1j),
        (gradient_norm(0.6), 0.6 + 1j),
        # One player's penalty alone: J = [[gamma, 1], [-1, 0]].
        (gradient_norm(0.6, players=("a",)), 0.3 + 1j * np.sqrt(1 - 0.09)),
        (historical_averaging(0.6), 0.6 + 1j),  # with the past held fixed
    ],
)
def test_eigenvalues_of_the_adjusted_bilinear_field(adjustment, expected, float64):
    game = bilinear()
    params, net_state = game.init(KEY, None)
    j = _jacobian(View(game, Moment(net_state, None, KEY)), params, (adjustment,))
    np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(j)), [np.conj(expected), expected], rtol=1e-10)


def test_several_adjustments_add_up(float64):
    game = Cubic(3).game()
    params, net_state = game.init(KEY, None)
    view = View(game, Moment(net_state, None, KEY))
    both = jax.jit(lambda p: adjusted(view, p, (consensus(0.2), symplectic(0.5)), ((), ())).gradients)(params)
    total = (
        ravel_pytree(jax.jit(lambda p: view.field(p).gradients)(params))[0]
        + _term(game, consensus(0.2))
        + _term(game, symplectic(0.5))
    )
    np.testing.assert_allclose(ravel_pytree(both)[0], total, rtol=1e-12)


def test_alignment_turns_away_from_an_unstable_point(float64):
    """About mu < 0, `<v, J^T v> = mu |v|^2` and `<A^T v, J^T v> = |v|^2`: the sign is that of mu, beyond epsilon."""

    def ratio(mu, start, **options):
        game = bilinear(mu=mu, start=start)
        return _term(game, symplectic(0.7, align=True, **options)) / _term(game, symplectic(0.7))

    np.testing.assert_allclose(ratio(1.0, (1.0, 2.0)), 1)
    np.testing.assert_allclose(ratio(-1.0, (1.0, 2.0)), -1)
    # mu |v|^4 / d = -(2 r^2)^2 / 2 against epsilon: the sign changes at r^2 = sqrt(epsilon / 2).
    border = np.sqrt(np.sqrt(0.1 / 2))
    np.testing.assert_allclose(ratio(-1.0, (0.99 * border, 0.0))[1], 1)
    np.testing.assert_allclose(ratio(-1.0, (1.01 * border, 0.0))[1], -1)
    np.testing.assert_allclose(ratio(-1.0, (0.1, 0.2), epsilon=0.0), -1)


def test_historical_averaging_pulls_to_the_mean_of_the_past(float64):
    """Against a loop: m_t is the mean of theta_0 ... theta_t, or its debiased exponential average."""
    cubic = Cubic(5)
    for average, decay in ((None, None), (ema(0.8), 0.8)):
        optimizers = {p: optax.sgd(0.02) for p in OWN}
        dynamics = simultaneous(optimizers, adjust=historical_averaging(0.9, average))
        _, path = jax.jit(lambda d=dynamics: simulate(cubic.game(), d, 40))()
        played = np.concatenate([path["a"], path["b"]], axis=1)
        x, past = cubic.theta, []
        for got in played:
            np.testing.assert_allclose(got, x, rtol=1e-9, atol=1e-12)
            past.append(x)
            weights = np.ones(len(past)) if decay is None else decay ** np.arange(len(past))[::-1]
            x = x - 0.02 * (cubic.field(x) + 0.9 * (x - np.average(past, axis=0, weights=weights)))
        assert np.abs(played[-1] - played[0]).max() > 0.05


def test_historical_averaging_is_stable_on_the_bilinear_game(float64):
    """`z' = i z - mu (z - m)`, `tau m' = z - m` is stable for every mu, tau > 0, not only for those that were tried.

    Its polynomial `s^2 + (mu + 1/tau - i) s - i / tau` has both roots on the left if and only if `p > 0` and
    `p^2 r + p q u - u^2 > 0` (`s^2 + (p + i q) s + (r + i u)`): here `p = mu + 1/tau > 0` and `mu / tau > 0`.
    The step adds `eta |s|^2 / 2` to the growth: with a short memory and a weak pull, (.02, .05), it wins.
    """
    eta, stable = 1e-3, {}

    def matrix(mu, tau):
        dynamics = simultaneous(
            {p: optax.sgd(eta) for p in "ab"}, adjust=historical_averaging(mu, _traced_ema(1 - eta / tau))
        )
        game = bilinear(start=(0.8, -1.1))
        state = init_state(game, dynamics, KEY, None)
        memory = state.dynamics_state.adjustments[0]
        late = memory._replace(weight=jnp.ones(()))  # as after a long time
        settled = state.dynamics_state._replace(adjustments=(late,))
        return update_jacobian(game, dynamics, state.replace(dynamics_state=settled), None, KEY)

    for mu in (0.02, 0.3, 3.0, 30.0):
        taus = np.array([0.05, 0.5, 5.0, 50.0])
        for tau, j in zip(taus, jax.jit(jax.vmap(lambda tau, mu=mu: matrix(mu, tau)))(taus), strict=True):
            values = np.linalg.eigvals(j)
            flow = np.roots([1, mu + 1 / tau - 1j, -1j / tau])
            assert np.all(flow.real < 0)
            rate, turn = eta / tau, 1 + 1j * eta - eta * mu  # m+ = (1 - rate) m + rate z+
            discrete = np.linalg.eigvals([[turn, eta * mu], [rate * turn, 1 - rate + rate * eta * mu]])
            assert np.abs(values[:, None] - discrete[None, :]).min(0).max() < 1e-9
            stable[mu, tau] = np.abs(values).max() < 1
            assert stable[mu, tau] == np.all(flow.real + eta * np.abs(flow) ** 2 / 2 < 0)
            fastest = max(1, mu, 1 / tau)
            away = np.abs((discrete[:, None] - 1) / eta - flow[None, :])
            assert away.min(0).max() < 2 * eta * fastest**2
    assert [pair for pair, held in stable.items() if not held] == [(0.02, 0.05)]


def _traced_ema(decay):
    """`ema` of a decay that may be traced."""
    average = ema(0.5)

    def update(tree, state):
        total = jax.tree.map(lambda new, old: old + (1 - decay) * (new - old), tree, state.total)
        return state._replace(total=total, weight=state.weight + (1 - decay) * (1 - state.weight), seen=state.seen + 1)

    return average._replace(update=update)


def _flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
def test_jacobian_products_of_a_small_gan_are_those_of_the_dense_jacobian(loss, float64):
    generator = Generator(shape=(2,), hidden=(), output=identity)
    game = gan(generator, Discriminator(hidden=(4,)), LOSSES[loss], prior=normal_prior(2))
    rng = np.random.default_rng(0)
    batch = Batch(jnp.asarray(rng.normal(size=(6, 2))), None, jnp.arange(6, dtype=jnp.int32))
    params, net_state = jax.jit(game.init)(KEY, batch)
    # A network begins with few digits; make it float64 and nonzero throughout, biases included.
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf + 0.3 * rng.normal(size=leaf.shape), float), params)
    view = View(game, Moment(net_state, batch, jax.random.key(1)))
    flat, unravel = ravel_pytree(params)
    owner = np.concatenate([np.full(x.size, p) for p in sorted(params) for x in jax.tree.leaves(params[p])])
    same = owner[:, None] == owner[None, :]

    field = jax.jit(lambda z: ravel_pytree(view.field(unravel(z)).gradients)[0])
    dense = np.asarray(jax.jit(jax.jacfwd(field))(flat))
    h = 1e-6
    flat = np.asarray(flat)
    columns = [
        np.subtract(field(flat + h * e), field(flat - h * e)) / (2 * h) for e in np.eye(flat.size)[:: flat.size // 7]
    ]
    np.testing.assert_allclose(np.stack(columns, 1), dense[:, :: flat.size // 7], atol=1e-7)
    assert np.abs(np.where(same, 0, dense)).max() > 1e-2 and np.abs(np.where(same, dense, 0)).max() > 1e-2

    u, w = (rng.normal(size=flat.size) for _ in "uw")

    @jax.jit
    def products(w, u):
        found = [
            (view.jacobian_product(params, w, interaction=i), view.transposed_product(params, u, interaction=i))
            for i in (False, True)
        ]
        return [(forward, back, (dot(u, forward), dot(back, w))) for forward, back in found]

    for matrix, (forward, back, dots) in zip(
        (dense, np.where(same, 0, dense)), products(unravel(w), unravel(u)), strict=True
    ):
        assert jax.tree.structure(forward) == jax.tree.structure(back) == jax.tree.structure(params)
        scale = np.linalg.norm(matrix, 2)
        np.testing.assert_allclose(_flat(forward), matrix @ w, rtol=1e-9, atol=1e-11 * scale)
        np.testing.assert_allclose(_flat(back), matrix.T @ u, rtol=1e-9, atol=1e-11 * scale)
        np.testing.assert_allclose(*dots, rtol=1e-10)
