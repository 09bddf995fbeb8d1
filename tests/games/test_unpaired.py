"""Translation on numbers: spectra, roots, thresholds and maps in closed form."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.linalg import expm, sqrtm
from scipy.optimize import minimize

from ganjax.core import Moment
from ganjax.dynamics import View, extragradient, field_jacobian, predictions, simultaneous
from ganjax.games import four_scalars, linear_gaussian
from ganjax.games.translation import D_A, D_B, F, G
from ganjax.games.unpaired import inverted, transport_map
from ganjax.training import population, simulate

PLAYERS = (G, F, D_A, D_B)
PAIRS = [(1, 0.5), (1, 1), (3, 0.5), (10, 0.5)]  # (lambda, gamma)
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _double(float64):
    """Closed forms need it."""


@cache
def _compiled(function):
    return jax.jit(function)


def _jacobian(cycle, penalty, identity, start):
    """Of the flow, at a point."""
    game = four_scalars(cycle=cycle, penalty=penalty, identity=identity, start=start)
    params, state = game.init(KEY, None)
    return -field_jacobian(View(game, Moment(state, None, KEY)), params)


def _eigenvalues(cycle, penalty, identity, start):
    told = jax.tree.map(lambda x: jnp.asarray(x, float), (cycle, penalty, identity, start))
    return np.linalg.eigvals(_compiled(_jacobian)(*told))


def _sorted(values):
    values = np.asarray(values, complex)
    return values[np.lexsort((values.imag.round(5), values.real.round(5)))]


@pytest.mark.parametrize("cycle", [0, 0.5, 2, 10])
def test_the_cycle_damps_one_mode_and_the_other_circles(cycle):
    """+-2i whatever lambda, and -2 lambda +- 2 sqrt(lambda^2 - 1); at the inversion too."""
    root = 2 * np.sqrt(complex(cycle**2 - 1))
    expected = _sorted([2j, -2j, -2 * cycle + root, -2 * cycle - root])
    for sign in (1.0, -1.0):
        found = _sorted(_eigenvalues(cycle, 0.0, 0.0, (sign, sign, 0.0, 0.0)))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_identity_loss_damps_both():
    pair = -1 / 4 + 1j * np.sqrt(4 - 1 / 16)
    found = _sorted(_eigenvalues(0.0, 0.0, 0.5, (1.0, 1.0, 0.0, 0.0)))
    np.testing.assert_allclose(found, _sorted([pair, pair, np.conj(pair), np.conj(pair)]), atol=1e-6)


@pytest.mark.parametrize(
    ("cycle", "penalty", "identity"), [(0, 0, 0), (3, 0, 0), (0, 0, 0.5), (0.7, 0.5, 0.3), (2, 5, 1)]
)
def test_the_spectrum_at_the_solution_is_predicted(cycle, penalty, identity):
    found = _sorted(_eigenvalues(cycle, penalty, identity, (1.0, 1.0, 0.0, 0.0)))
    expected = predictions.four_scalars_eigenvalues(cycle, penalty, identity)
    assert expected.shape == (4,)
    np.testing.assert_allclose(found, _sorted(expected), atol=1e-6)


@pytest.mark.parametrize(("cycle", "penalty"), PAIRS)
def test_the_inversion_is_moved_and_stays_stable_at_half_of_the_threshold(cycle, penalty):
    identity = (cycle + 1 / penalty) / 4
    w = inverted(cycle, penalty, identity)
    assert w == pytest.approx(-0.8536, abs=1e-4)
    psi = (1 - w**2) / penalty
    assert _eigenvalues(cycle, penalty, identity, (w, w, psi, psi)).real.max() <= -0.35
    assert np.isnan(inverted(cycle, penalty, 2.01 * identity))


def test_opposite_signs_balance_at_a_saddle():
    """Forces of game and cycle cancel at (-0.577, 0.577) with critics at 4/3; lambda 1, gamma 0.5."""
    w = 1 / np.sqrt(3)
    assert _eigenvalues(1.0, 0.5, 0.0, (-w, w, 4 / 3, 4 / 3)).real.max() == pytest.approx(5.1, abs=0.05)
    game = four_scalars(cycle=1.0, penalty=0.5, start=(-w, w, 4 / 3, 4 / 3))
    params, state = game.init(KEY, None)
    slopes = View(game, Moment(state, None, KEY)).field(params).gradients
    np.testing.assert_allclose([slopes[p] for p in PLAYERS], 0, atol=1e-12)


def test_where_trajectories_end():
    """Starts in the basin of the inversion, with and without the identity loss, on both sides of its threshold."""

    def end(case):
        start = (case["w"], case["v"], case["psi"], case["psi"])
        game = four_scalars(cycle=case["cycle"], penalty=case["penalty"], identity=case["identity"], start=start)
        state, _ = simulate(game, simultaneous(dict.fromkeys(PLAYERS, optax.sgd(0.02))), 6_000, keep=None)
        return jnp.stack([state.params[G], state.params[F]])

    rows = [  # lambda, gamma, mu, w, v, psi, where it ends
        (1, 0.5, 0, -0.5, -0.5, 0, -1),
        (1, 0.5, 0, 0.3, -0.6, 0, -1),
        (1, 0.5, 0.5, 0.3, -0.6, 0, 1),
        (1, 0.5, 0.5, -0.5, -0.5, 0, -0.9082),
    ]
    for cycle, penalty in PAIRS:
        threshold = (cycle + 1 / penalty) / 2
        root = inverted(cycle, penalty, 0.98 * threshold)
        near = (root - 0.01, root - 0.01, (1 - root**2) / penalty)  # its basin closes towards the threshold
        stays = (cycle, penalty) != (1, 0.5)  # where it is no longer stable
        stable = _eigenvalues(cycle, penalty, 0.98 * threshold, (root, root, *near[2:] * 2)).real.max() < 0
        assert stable == stays
        rows += [
            (cycle, penalty, share * threshold, *near, w) for share, w in ((0.98, root if stays else 1), (1.02, 1))
        ]
    columns = dict(zip(("cycle", "penalty", "identity", "w", "v", "psi"), np.array(rows, float).T, strict=False))
    ends = np.asarray(population(end)(case=columns))
    np.testing.assert_allclose(ends, np.array(rows)[:, [6, 6]], atol=1e-3)


def test_an_adam_of_both_translators_and_one_of_both_critics_are_four():
    """As the PyTorch code has them: Adam works entry by entry, so players that move at once may share one."""
    game = four_scalars(penalty=0.5, identity=0.5, start=(0.3, -0.6, 0.1, 0.2))
    adam, sides = optax.adam(0.01), [(G, F), (D_A, D_B)]
    end, _ = simulate(game, simultaneous(dict.fromkeys(PLAYERS, adam)), 5, keep=None)

    @jax.jit
    def by_two():
        params, state = game.init(KEY, None)
        memories = [adam.init({p: params[p] for p in side}) for side in sides]
        for _ in range(5):
            slopes = View(game, Moment(state, None, KEY)).field(params).gradients
            for i, side in enumerate(sides):
                moves, memories[i] = adam.update({p: slopes[p] for p in side}, memories[i])
                params = {**params, **optax.apply_updates({p: params[p] for p in side}, moves)}
        return params

    for player, value in by_two().items():
        np.testing.assert_allclose(end.params[player], value, rtol=1e-12)


@pytest.fixture(scope="module")
def gaussians():
    rng = np.random.default_rng(0)
    return [m @ m.T / 4 + 0.3 * np.eye(4) for m in rng.normal(size=(2, 4, 4))]


def _paid(w, covariance):
    away = w - np.eye(len(w))
    return np.trace(away @ covariance @ away.T)


def test_the_transport_of_gaussians(gaussians):
    """T A T = B, T symmetric and positive, and its cost the Bures distance."""
    a, b = gaussians
    t, root = transport_map(a, b), sqrtm(a)
    np.testing.assert_allclose(t @ a @ t, b, atol=1e-10)
    np.testing.assert_allclose(t, t.T, atol=1e-10)
    assert np.linalg.eigvalsh(t).min() > 0
    assert _paid(t, a) == pytest.approx(np.trace(a) + np.trace(b) - 2 * np.trace(sqrtm(root @ b @ root)), abs=1e-10)


def test_what_training_makes_of_two_gaussians(gaussians):
    """W A W^T = B whatever is paid beside; a displacement picks the transport, the identity loss its own least."""
    a, b = gaussians

    def train(weight):
        game = linear_gaussian(a, b, identity=weight["identity"], displacement=weight["displacement"])
        rule = extragradient(dict.fromkeys(PLAYERS, optax.sgd(0.02)))
        params = simulate(game, rule, 10_000, keep=None)[0].params
        return params[G], params[F]

    weights = {"identity": np.array([0, 0.05, 0]), "displacement": np.array([0, 0, 0.05])}
    maps, back = map(np.asarray, population(train)(weight=weights))
    for w, v in zip(maps, back, strict=True):
        np.testing.assert_allclose(w @ a @ w.T, b, atol=1e-2)
        np.testing.assert_allclose(v @ w, np.eye(4), atol=2e-2)
    best = transport_map(a, b)
    np.testing.assert_allclose(maps[2], best, atol=1e-2)
    least = minimize(lambda angles: _paid(_equilibrium(a, b, _rotation(angles)), b), np.zeros(6)).x
    np.testing.assert_allclose(maps[1], _equilibrium(a, b, _rotation(least)), atol=1.5e-2)
    assert np.abs(maps[1] - best).max() > 0.2
    assert _paid(maps[1], b) < _paid(best, b) - 1e-3 and _paid(maps[1], a) > _paid(best, a) + 1e-3


def _rotation(angles):
    """Of d (d - 1) / 2 angles."""
    d = round((1 + np.sqrt(1 + 8 * len(angles))) / 2)
    turn = np.zeros((d, d))
    turn[np.triu_indices(d, 1)] = angles
    return expm(turn - turn.T)


def _equilibrium(a, b, q):
    return sqrtm(b) @ q @ np.linalg.inv(sqrtm(a))


def test_every_orthogonal_matrix_is_an_equilibrium_of_its_own():
    """Nothing moves at W = B^(1/2) Q A^(-1/2), and d (d - 1) / 2 directions are neutral, in both components."""
    rng = np.random.default_rng(1)
    a, b = (m @ m.T + 0.5 * np.eye(3) for m in rng.normal(size=(2, 3, 3)))

    @jax.jit
    def look(w, v):
        params, state = linear_gaussian(a, b, start=(w, v)).init(KEY, None)
        view = View(linear_gaussian(a, b), Moment(state, None, KEY))
        return view.field(params).gradients, field_jacobian(view, params)

    for sign in (1, -1):
        w = _equilibrium(a, b, _rotation(rng.normal(size=3)) @ np.diag([1, 1, sign]))
        slopes, jacobian = look(w, np.linalg.inv(w))
        np.testing.assert_allclose(np.concatenate([slopes[p] for p in PLAYERS]), 0, atol=1e-10)
        sizes = np.linalg.svd(jacobian, compute_uv=False)
        assert sizes.shape == (36,) and (sizes < 1e-10).sum() == 3 and sizes[-4] > 1e-3


@pytest.mark.parametrize(("a", "b", "turned"), [((1, 1.5), (2, 1), False), ((0.5, 1), (2, 0.3), True)])
def test_of_commuting_covariances_the_identity_loss_picks_the_transport_or_turns_it(a, b, turned):
    """By theta, cos theta = L / P, if P > L; these are what turning spares of E|W b|^2 and costs of 2 E(b . W b)."""
    (a1, a2), (b1, b2) = a, b
    apart, own = (b1 - b2) * (b1 / a1 - b2 / a2), b1 * np.sqrt(b1 / a1) + b2 * np.sqrt(b2 / a2)
    a, b = np.diag(a), np.diag(b)
    game, angles = linear_gaussian(a, b, identity=1.0), np.linspace(0, np.pi, 2001)
    cos, sin = np.cos(angles), np.sin(angles)
    maps = _equilibrium(a, b, np.moveaxis(np.array([[cos, -sin], [sin, cos]]), -1, 0))
    paid = lambda w: game.costs[G]({G: w, F: jnp.linalg.inv(w), D_A: 0 * w, D_B: 0 * w}, None)[0]  # noqa: E731
    least = np.asarray(jax.jit(jax.vmap(paid))(maps)).argmin()
    assert angles[least] == pytest.approx(np.arccos(own / apart) if apart > own else 0, abs=1e-3)
    assert np.allclose(maps[least], transport_map(a, b), atol=1e-3) != turned


def test_covariances_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"shapes \(2, 2\) and \(3, 3\), expected one \[d, d\]"):
        linear_gaussian(np.eye(2), np.eye(3))
