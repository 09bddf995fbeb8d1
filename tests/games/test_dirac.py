"""Every closed form of the Dirac-GAN's variants, against the game played."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matrix import cases
from scipy.integrate import quad, solve_ivp

from ganjax.core import Game, Moment, Outcome
from ganjax.dynamics import (
    View,
    alternating,
    clipped,
    consensus,
    field_jacobian,
    gradient_norm,
    runge_kutta,
    simultaneous,
    spectral_radius,
    update_jacobian,
    vector_field,
)
from ganjax.dynamics.adjustments import adjusted
from ganjax.dynamics.predictions import (
    CURVATURE,
    SLOPE,
    alternating_multipliers,
    clipping_band,
    consensus_dirac_eigenvalues,
    critical_gamma,
    critical_noise,
    dirac_eigenvalues,
    gradient_norm_eigenvalues,
    gradient_penalty_amplitude,
    gradient_penalty_cycle,
    gradient_penalty_period,
    instance_noise_eigenvalues,
    logistic_slope,
    non_saturating_flow,
    non_saturating_radius,
    one_sided_excess,
    penalty_alternating_rate,
    penalty_eigenvalues,
    penalty_simultaneous_rate,
    penalty_step_limit,
    simultaneous_growth,
    simultaneous_multipliers,
    turns_multipliers,
)
from ganjax.games import dirac_gan
from ganjax.training import init_state, simulate

pytestmark = pytest.mark.usefixtures("float64")
KEY = jax.random.key
NO_STATE = {"generator": {}, "discriminator": {}}
GAN, WASSERSTEIN = SLOPE["gan"], SLOPE["wasserstein"]


def _sgd(h):
    return {"generator": optax.sgd(h), "discriminator": optax.sgd(h)}


def _point(theta, psi):
    return {"generator": jnp.asarray(theta, float), "discriminator": jnp.asarray(psi, float)}


def _gradients(game, theta, psi, adjust=()):
    """`(v_theta, v_psi)` at each of the points, [2, ...]."""

    def at(theta, psi):
        field = adjusted(View(game, Moment(NO_STATE, None, KEY(0))), _point(theta, psi), adjust, ((),) * len(adjust))
        return jnp.stack([field.gradients["generator"], field.gradients["discriminator"]])

    return np.asarray(jax.jit(jax.vmap(at, out_axes=1))(jnp.asarray(theta, float), jnp.asarray(psi, float)))


def _flow_eigenvalues(game, adjust=(), at=(0.0, 0.0)):
    """Those of `-J`, in the order of the predictions: the upper, or the right one first."""
    return _ordered(np.linalg.eigvals(-_field_jacobian(game, adjust, at)))


def _field_jacobian(game, adjust, at):
    return np.asarray(
        jax.jit(lambda z: field_jacobian(View(game, Moment(NO_STATE, None, KEY(0))), _point(*z), adjust))(at)
    )


def _ordered(pair):
    return pair[np.lexsort((-pair.imag, -pair.real.round(9)))]


def _step_jacobian(game, dynamics):
    return jax.jit(lambda: _origin_jacobian(game, dynamics))()


def _step_jacobians(game, rule, sizes):
    """At the origin, of a rule of each step size: [n, 2, 2], in one program."""
    return np.asarray(jax.jit(jax.vmap(lambda h: _origin_jacobian(game, rule(_sgd(h)))))(jnp.asarray(sizes)))


def _origin_jacobian(game, dynamics):
    state = init_state(game, dynamics, KEY(0), None).replace(params=_point(0.0, 0.0))
    return update_jacobian(game, dynamics, state, None, KEY(0))


def _play(game, dynamics, steps):
    """[steps + 1, 2], theta and psi."""
    _, path = simulate(game, dynamics, steps)
    return jnp.stack([path["generator"], path["discriminator"]], axis=-1)


def _flow(game, h, steps):
    return _play(game, runge_kutta(_sgd(h), step=h), steps)


def _radius(path):
    return np.hypot(path[..., 0], path[..., 1])


POINTS = np.array([(0.7, -1.2), (1.0, 1.0), (-0.3, 2.0), (1.5, 0.4), (-2.0, -0.8)]).T

# -- the field, against derivatives by hand ---------------------------------------------------------------------------

# variant -> (game, (theta, psi) -> the flow (theta', psi')), with s the logistic function
VARIANTS = {
    "gan": (dirac_gan(), lambda a, b, s: (-b * s(-a * b), a * s(-a * b))),
    "relativistic": (dirac_gan(relativistic=True), lambda a, b, s: (-b * s(-a * b), a * s(-a * b))),
    "non_saturating": (dirac_gan(non_saturating=True), lambda a, b, s: (-b * s(a * b), a * s(-a * b))),
    "wasserstein": (dirac_gan("wasserstein"), lambda a, b, s: (-b, a)),
    "r1": (dirac_gan(penalty="r1", gamma=0.3), lambda a, b, s: (-b * s(-a * b), a * s(-a * b) - 0.3 * b)),
    "r2": (dirac_gan(penalty="r2", gamma=0.3), lambda a, b, s: (-b * s(-a * b), a * s(-a * b) - 0.3 * b)),
    "non_saturating_r1": (
        dirac_gan(non_saturating=True, penalty="r1", gamma=0.3),
        lambda a, b, s: (-b * s(a * b), a * s(-a * b) - 0.3 * b),
    ),
    "wasserstein_r1": (dirac_gan("wasserstein", penalty="r1", gamma=0.3), lambda a, b, s: (-b, a - 0.3 * b)),
    "wasserstein_noise": (dirac_gan("wasserstein", instance_noise=0.7), lambda a, b, s: (-b, a)),
    "gp": (
        dirac_gan("wasserstein", penalty="gp", gamma=0.7, target=0.9),
        lambda a, b, s: (-b, a - 0.7 * (abs(b) - 0.9) * np.sign(b)),
    ),
    "dragan": (
        dirac_gan("wasserstein", penalty="dragan", gamma=0.7, target=0.9),
        lambda a, b, s: (-b, a - 0.7 * (abs(b) - 0.9) * np.sign(b)),
    ),
    "lp": (
        dirac_gan("wasserstein", penalty="lp", gamma=0.7, target=0.9),
        lambda a, b, s: (-b, a - 0.7 * np.maximum(abs(b) - 0.9, 0) * np.sign(b)),
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_field_is_the_one_derived_by_hand(name):
    """A relative tolerance: no component is 0 at these points, so that a gradient of 0 cannot pass."""
    game, flow = VARIANTS[name]
    expected = np.stack(flow(*POINTS, lambda t: 1 / (1 + np.exp(-t))))
    assert (np.abs(expected) > 1e-2).all()
    np.testing.assert_allclose(-_gradients(game, *POINTS), expected, rtol=1e-12)


def test_the_expectation_over_instance_noise():
    """`E x f'(psi x)` and `psi E f'(psi x)` by adaptive quadrature, and within five standard errors by Monte Carlo."""
    sigma, density = 0.7, lambda x: np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    mean = lambda g: quad(lambda x: g(x) * density(x), -12, 12, epsabs=1e-13, epsrel=1e-12)[0]  # noqa: E731
    found = -_gradients(dirac_gan(instance_noise=sigma), *POINTS)
    draws = sigma * np.random.default_rng(0).normal(size=(2, 200_000))
    for (theta, psi), flow in zip(POINTS.T, found.T, strict=True):
        fake = lambda x, theta=theta: theta + sigma * x  # noqa: E731
        expected = (
            -psi * mean(lambda x, psi=psi, fake=fake: logistic_slope(psi * fake(x))),
            mean(lambda x, psi=psi, fake=fake: fake(x) * logistic_slope(psi * fake(x)))
            - mean(lambda x, psi=psi: sigma * x * logistic_slope(-psi * sigma * x)),
        )
        np.testing.assert_allclose(flow, expected, rtol=1e-9)
        x_fake, x_real = theta + draws[0], draws[1]
        samples = (
            -psi * logistic_slope(psi * x_fake),
            x_fake * logistic_slope(psi * x_fake) - x_real * logistic_slope(-psi * x_real),
        )
        for value, sample in zip(flow, samples, strict=True):
            assert abs(value - sample.mean()) < 5 * sample.std() / np.sqrt(sample.size)


def test_consensus_is_the_gradient_of_the_squared_field():
    """GAN_stability halves the term in `f' f''`; the origin cannot tell, (0.7, -1.2) can.

    `|v|^2 / 2 = r^2 f'^2 / 2` with `r^2 = theta^2 + psi^2` has the gradient `theta f'^2 + r^2 f' f'' psi` in theta, and
    the same with the letters exchanged in psi: (.6822, -.7842), which central differences confirm; half of the second
    term gives (.5118, -.6848).
    """
    theta, psi = 0.7, -1.2
    plain = _gradients(dirac_gan(), [theta], [psi])[:, 0]
    term = _gradients(dirac_gan(), [theta], [psi], (consensus(1.0),))[:, 0] - plain
    slope = logistic_slope(theta * psi)
    square = theta**2 + psi**2
    pull, turn = np.array([theta, psi]) * slope**2, square * slope * -slope * (1 - slope) * np.array([psi, theta])
    np.testing.assert_allclose(term, pull + turn, rtol=1e-12)
    half = lambda a, b: (a**2 + b**2) * logistic_slope(a * b) ** 2 / 2  # noqa: E731
    e = 1e-5
    numeric = [half(theta + e, psi) - half(theta - e, psi), half(theta, psi + e) - half(theta, psi - e)]
    np.testing.assert_allclose(term, np.array(numeric) / (2 * e), rtol=1e-9)
    np.testing.assert_allclose(term, [0.6822, -0.7842], atol=1e-4)
    np.testing.assert_allclose(pull + turn / 2, [0.5118, -0.6848], atol=1e-4)


def test_the_gradient_norm_of_the_generator_by_hand():
    """`gamma/2 (theta f')^2` adds `gamma (theta f'^2 + theta^2 psi f' f'')` to the generator's gradient alone."""
    theta, psi = POINTS
    adjust = (gradient_norm(0.8, players=("generator",)),)
    term = _gradients(dirac_gan(), theta, psi, adjust) - _gradients(dirac_gan(), theta, psi)
    slope = logistic_slope(theta * psi)
    expected = 0.8 * (theta * slope**2 - theta**2 * psi * slope**2 * (1 - slope))
    np.testing.assert_allclose(term[0], expected, rtol=1e-11)
    np.testing.assert_array_equal(term[1], 0.0)


def test_spectral_normalisation_of_one_number_leaves_nothing_to_learn():
    """`D(x) = x psi / |psi|` depends on the sign of psi alone; without the gradient through |psi| it would not show."""

    def normalised(norm):
        def cost(params, moment):
            theta, psi = params["generator"], params["discriminator"]
            return -optax.losses.sigmoid_binary_cross_entropy(psi / norm(psi) * theta, jnp.ones(())), Outcome({}, {})

        costs = {
            "generator": cost,
            "discriminator": lambda *args: (-cost(*args)[0], Outcome({}, {})),
        }
        return Game(lambda key, batch: (_point(1.0, 1.0), NO_STATE), costs)

    exact = _gradients(normalised(jnp.abs), *POINTS)
    np.testing.assert_allclose(exact[1], 0.0, atol=1e-15)
    assert (np.abs(exact[0]) > 0.1).all(), "the generator still learns"
    powers = np.array([1.0, -2.0, 0.5])  # no rounding
    np.testing.assert_array_equal(_gradients(normalised(jnp.abs), np.array([0.3, 1.0, -2.0]), powers)[1], 0.0)
    frozen = _gradients(normalised(lambda psi: jax.lax.stop_gradient(jnp.abs(psi))), *POINTS)
    assert (np.abs(frozen[1]) > 0.05).all()


# -- eigenvalues at the origin ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("game", "slope"),
    [
        (dirac_gan(), GAN),
        (dirac_gan(non_saturating=True), GAN),
        (dirac_gan(relativistic=True), GAN),
        (dirac_gan("wasserstein"), WASSERSTEIN),
        (dirac_gan("wasserstein", penalty="lp", gamma=0.7), WASSERSTEIN),  # inside |psi| < 1
        (dirac_gan("wasserstein", instance_noise=0.7), WASSERSTEIN),
    ],
)
def test_without_regularisation_the_eigenvalues_are_imaginary(game, slope):
    np.testing.assert_allclose(_flow_eigenvalues(game), dirac_eigenvalues(slope), atol=1e-9)
    np.testing.assert_allclose(dirac_eigenvalues(slope), [1j * slope, -1j * slope])


def _sweep(build, values):
    """The flow's eigenvalues for each value of a parameter, [n, 2], in one program; build: value -> (game, adjust)."""

    def at(value):
        game, adjust = build(value)
        return -field_jacobian(View(game, Moment(NO_STATE, None, KEY(0))), _point(0.0, 0.0), adjust)

    return np.stack([_ordered(np.linalg.eigvals(j)) for j in np.asarray(jax.jit(jax.vmap(at))(jnp.asarray(values)))])


GAMMAS = np.array([0.0, 0.1, 0.3, 0.9, 1.3, 2.5, 5.0])


@pytest.mark.parametrize(
    "f, penalty, non_saturating", cases(product(("wasserstein", "gan"), ("r1", "r2"), (False, True)))
)
def test_eigenvalues_of_zero_centred_penalties(f, penalty, non_saturating):
    build = lambda gamma: (dirac_gan(f, non_saturating=non_saturating, penalty=penalty, gamma=gamma), ())  # noqa: E731
    np.testing.assert_allclose(_sweep(build, GAMMAS), penalty_eigenvalues(GAMMAS, SLOPE[f]), atol=1e-9)


def test_the_critical_gamma_parts_turning_from_not_turning():
    assert (critical_gamma(GAN), critical_gamma(WASSERSTEIN)) == (1.0, 2.0)
    for f, slope in SLOPE.items():
        build = lambda gamma, f=f: (dirac_gan(f, penalty="r1", gamma=gamma), ())  # noqa: E731
        below, above = _sweep(build, critical_gamma(slope) * np.array([0.999, 1.001]))
        assert np.abs(below.imag).min() > 0.01 * slope and not above.imag.any() and above.real.max() < 0


def test_eigenvalues_with_instance_noise():
    """Real from `sigma^2 = f' / |f''| = 2` on."""
    sigma = np.array([0.0, 0.3, 0.7, 1.0, 1.38, 1.45, 2.0])
    found = _sweep(lambda s: (dirac_gan(instance_noise=s), ()), sigma)
    np.testing.assert_allclose(found, instance_noise_eigenvalues(sigma, GAN, CURVATURE["gan"]), atol=1e-9)
    critical = critical_noise(GAN, CURVATURE["gan"])
    np.testing.assert_allclose(critical, np.sqrt(2))
    below, above = _sweep(lambda s: (dirac_gan(instance_noise=s), ()), critical * np.array([0.999, 1.001]))
    assert np.abs(below.imag).min() > 0.01 and not above.imag.any() and above.real.max() < 0


@pytest.mark.parametrize("f", ["gan", "wasserstein"])
def test_eigenvalues_of_the_adjustments(f):
    """JARE, the gradient norm in both costs, is consensus at the origin; Nagarajan and Kolter's is like R1."""
    game = dirac_gan(f)
    for adjust, predicted in (
        (consensus, consensus_dirac_eigenvalues),
        (gradient_norm, consensus_dirac_eigenvalues),
        (lambda gamma: gradient_norm(gamma, players=("generator",)), gradient_norm_eigenvalues),
    ):
        found = _sweep(lambda gamma, adjust=adjust: (game, (adjust(gamma),)), GAMMAS)
        np.testing.assert_allclose(found, predicted(GAMMAS, SLOPE[f]), atol=1e-9)


# -- discrete play near the origin ------------------------------------------------------------------------------------

H = 0.2
# name -> (game, adjustment, the flow's eigenvalues, (a, d): the pull of generator and discriminator on themselves)
LINEAR = {
    "gan": (dirac_gan(), None, dirac_eigenvalues(GAN), (0, 0)),
    "wasserstein": (dirac_gan("wasserstein"), None, dirac_eigenvalues(WASSERSTEIN), (0, 0)),
    "r1": (dirac_gan(penalty="r1", gamma=0.3), None, penalty_eigenvalues(0.3, GAN), (0, -0.3)),
    "r1_overdamped": (dirac_gan(penalty="r1", gamma=2.0), None, penalty_eigenvalues(2.0, GAN), (0, -2.0)),
    "wasserstein_r1": (
        dirac_gan("wasserstein", penalty="r1", gamma=0.3),
        None,
        penalty_eigenvalues(0.3, WASSERSTEIN),
        (0, -0.3),
    ),
    "noise": (dirac_gan(instance_noise=0.7), None, instance_noise_eigenvalues(0.7, GAN, -0.25), (0, -0.245)),
    "consensus": (dirac_gan(), consensus(1.0), consensus_dirac_eigenvalues(1.0, GAN), (-0.25, -0.25)),
    "gradient_norm": (
        dirac_gan(),
        gradient_norm(1.0, players=("generator",)),
        gradient_norm_eigenvalues(1.0, GAN),
        (-0.25, 0),
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_rates_of_simultaneous_and_alternating_play(name):
    game, adjust, eigenvalues, (a, d) = LINEAR[name]
    slope = WASSERSTEIN if name.startswith("wasserstein") else GAN
    for rule, predicted in (
        (simultaneous, simultaneous_multipliers(eigenvalues, H)),
        (alternating, alternating_multipliers(H, slope, a, d)),
    ):
        matrix = np.asarray(_step_jacobian(game, rule(_sgd(H), adjust=adjust)))
        np.testing.assert_allclose(_ordered(np.linalg.eigvals(matrix)), _ordered(predicted), atol=1e-9)
        np.testing.assert_allclose(spectral_radius(matrix), np.abs(predicted).max(), rtol=1e-9)


@pytest.mark.parametrize(("f", "gamma"), [("gan", 0.3), ("gan", 0.9), ("wasserstein", 0.3), ("wasserstein", 1.7)])
def test_rates_of_r1(f, gamma):
    """`sqrt(1 - h gamma + h^2 f'^2)` and, in turns, `sqrt(1 - h gamma)`, which does not depend on f."""
    game, sizes = dirac_gan(f, penalty="r1", gamma=gamma), (0.01, 0.1)
    matrices = [_step_jacobians(game, rule, sizes) for rule in (simultaneous, alternating)]
    for h, *steps in zip(sizes, *matrices, strict=True):
        assert gamma < 2 * SLOPE[f] - h * SLOPE[f] ** 2
        together, in_turn = map(spectral_radius, steps)
        np.testing.assert_allclose(together, penalty_simultaneous_rate(h, gamma, SLOPE[f]), rtol=1e-9)
        np.testing.assert_allclose(in_turn, penalty_alternating_rate(h, gamma), rtol=1e-9)


@pytest.mark.parametrize("play", ["simultaneous", "alternating"])
@pytest.mark.parametrize("gamma", [0.1, 0.3, 1.0, 1.5])
def test_r1_is_stable_up_to_the_step_limit(gamma, play):
    game, rule = dirac_gan(penalty="r1", gamma=gamma), {"simultaneous": simultaneous, "alternating": alternating}[play]
    limit = penalty_step_limit(gamma, GAN, play)
    if play == "simultaneous" and gamma <= 1:
        np.testing.assert_allclose(limit, gamma / GAN**2)
    radius = [*map(spectral_radius, _step_jacobians(game, rule, limit * np.array([0.99, 1.01])))]
    assert radius[0] < 1 - 1e-5 and radius[1] > 1 + 1e-5


@pytest.mark.parametrize(("n_g", "n_d"), [(1, 1), (1, 5), (3, 2)])
def test_alternating_play_is_bounded_while_alpha_is_below_two(n_g, n_d):
    """Mescheder et al. 2018, section 2: `alpha = sqrt(n_g n_d) h f'(0)`."""
    limit = 2 / (np.sqrt(n_g * n_d) * GAN)
    sizes, turns = (0.2, 0.99 * limit, 1.01 * limit), {"generator": n_g, "discriminator": n_d}
    for h, matrix in zip(sizes, _step_jacobians(dirac_gan(), partial(alternating, turns=turns), sizes), strict=True):
        found = np.linalg.eigvals(matrix)
        predicted = turns_multipliers(h, GAN, n_g, n_d)
        np.testing.assert_allclose(_ordered(found), _ordered(predicted), atol=1e-9)
        alpha = np.sqrt(n_g * n_d) * h * GAN
        np.testing.assert_allclose(
            _ordered(predicted),
            _ordered(1 - alpha**2 / 2 + np.array([1, -1]) * np.sqrt(complex((1 - alpha**2 / 2) ** 2 - 1))),
            atol=1e-12,
        )
        if alpha < 2:
            np.testing.assert_allclose(np.abs(found), 1.0, atol=1e-9)
        else:
            assert np.abs(found).max() > 1.01


def test_clipping_does_not_act_inside():
    dynamics = simultaneous({"generator": optax.sgd(H), "discriminator": clipped(optax.sgd(H), 1.0)})
    found = np.linalg.eigvals(np.asarray(_step_jacobian(dirac_gan("wasserstein"), dynamics)))
    np.testing.assert_allclose(
        _ordered(found), _ordered(simultaneous_multipliers(dirac_eigenvalues(WASSERSTEIN), H)), atol=1e-9
    )


# -- orbits: conservation, growth, the non-saturating game ------------------------------------------------------------


@pytest.mark.parametrize("f", ["gan", "wasserstein"])
def test_the_flow_conserves_the_radius(f):
    """By ganjax's Runge-Kutta, and the orbit by scipy's integrator with the field written by hand."""
    path = np.asarray(jax.jit(lambda: _flow(dirac_gan(f), 0.02, 2000))())
    np.testing.assert_allclose(_radius(path), np.sqrt(2), rtol=1e-9)
    slope = (lambda t: 1.0) if f == "wasserstein" else logistic_slope
    oracle = solve_ivp(
        lambda t, z: slope(z[0] * z[1]) * np.array([-z[1], z[0]]), (0, 40), [1.0, 1.0], rtol=1e-11, atol=1e-12
    )
    np.testing.assert_allclose(path[-1], oracle.y[:, -1], atol=1e-7)


def test_simultaneous_play_grows_by_an_exact_factor():
    path = np.asarray(_play(dirac_gan(), simultaneous(_sgd(H)), 500))
    square = (path**2).sum(-1)
    np.testing.assert_allclose(square[1:] / square[:-1], simultaneous_growth(*path[:-1].T, H), rtol=1e-12)
    assert square[-1] > 4 * square[0]
    path = np.asarray(_play(dirac_gan("wasserstein"), simultaneous(_sgd(H)), 100))
    np.testing.assert_allclose(_radius(path)[1:] / _radius(path)[:-1], np.sqrt(1 + H**2), rtol=1e-12)


def test_the_non_saturating_game_has_a_limit_cycle():
    """`sqrt(2 h)`: half a per cent on average, 2 % anywhere on the cycle; at h = .4, 3 %."""
    steps = np.array([0.05, 0.1, 0.2, 0.4])
    run = lambda h: _play(dirac_gan(non_saturating=True), simultaneous(_sgd(h)), 12_000)[-500:]  # noqa: E731
    radius = _radius(np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(steps))))
    np.testing.assert_allclose(radius.mean(1), non_saturating_radius(steps), rtol=5e-3)
    away = np.abs(radius / non_saturating_radius(steps)[:, None] - 1).max(1)
    assert (away < [0.02, 0.02, 0.02, 0.035]).all()


def test_the_flow_of_the_non_saturating_game_converges_slowly():
    """`r^2 = r0^2 / (1 + r0^2 t / 8)` from small radii, `sqrt(8 / t)` from anywhere."""
    start, h, steps = 0.3, 0.1, 20_000
    run = lambda x: _flow(dirac_gan(non_saturating=True, start=(x, 0.0)), h, steps)  # noqa: E731
    near, far = _radius(np.asarray(jax.jit(jax.vmap(run))(jnp.array([start, 1.5]))))
    t = h * np.arange(steps + 1)
    np.testing.assert_allclose(near, non_saturating_flow(t, start), rtol=0.01)
    np.testing.assert_allclose(far[-1], np.sqrt(8 / t[-1]), rtol=0.02)
    assert near[-1] < 0.25 * start


def test_alternating_play_of_the_non_saturating_game_follows_the_flow():
    """`sqrt(8 / (h n))`; the orbit is an ellipse of axes `sqrt(1 +- h f' / 2)`, so the radius is of a mean square."""
    run = lambda h: _play(dirac_gan(non_saturating=True), alternating(_sgd(h)), 50_000)[-1000:]  # noqa: E731
    steps = np.array([0.1, 0.2, 0.4])
    path = np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(steps)))
    radius = np.sqrt((path**2).sum(-1).mean(-1))
    np.testing.assert_allclose(radius, np.sqrt(8 / (steps * 49_500)), rtol=0.02)
    np.testing.assert_allclose(radius, non_saturating_flow(steps * 49_500, np.sqrt(2)), rtol=0.02)


# -- the Wasserstein GAN, clipped and penalised -----------------------------------------------------------------------


def _clipped_play(rule, h, c, steps):
    dynamics = rule({"generator": optax.sgd(h), "discriminator": clipped(optax.sgd(h), c)})
    return np.asarray(jax.jit(lambda: _play(dirac_gan("wasserstein", start=(2.0, 0.1)), dynamics, steps))())


@pytest.mark.parametrize("rule", [simultaneous, alternating])
def test_clipping_ends_on_the_circle_of_its_bound(rule):
    """The flow is the limit of small steps: from r = 2 to r = c, and no further."""
    radius = _radius(_clipped_play(rule, 1e-4, 0.7, 200_000)[-80_000:])
    assert clipping_band(0.7, 1e-4, "flow") == (0.7, 0.7)
    np.testing.assert_allclose(radius, 0.7, rtol=5e-4)


@pytest.mark.parametrize("h", [0.02, 0.05, 0.2])
def test_clipped_play_stays_in_its_band(h):
    """Both ends are reached: simultaneous play moves between c and `c exp(kappa phi)`, .700 to .750 at h = .05."""
    for rule, play in ((simultaneous, "simultaneous"), (alternating, "alternating")):
        radius = _radius(_clipped_play(rule, h, 0.7, int(400 / h))[-int(100 / h) :])
        np.testing.assert_allclose([radius.min(), radius.max()], clipping_band(0.7, h, play), rtol=h**2 / 2 + 1e-4)
    np.testing.assert_allclose(clipping_band(0.7, 0.05), [0.7, 0.7502], atol=1e-4)


def _crossings(path, h):
    """The times at which theta passes 0 upwards, interpolated."""
    theta = path[:, 0]
    k = np.flatnonzero((theta[:-1] < 0) & (theta[1:] >= 0))
    return h * (k - theta[k] / (theta[k + 1] - theta[k]))


GP_SETTINGS = np.array([(0.7, 1.0), (0.3, 1.5), (1.2, 0.5), (0.05, 1.0)])


def test_the_limit_cycle_of_the_gradient_penalty():
    """Amplitude, period and the whole cycle in the flow, at four settings; DRAGAN's is the same."""
    h, steps = 2e-3, 60_000

    def run(gamma, target, scale):
        game = dirac_gan("wasserstein", penalty="gp", gamma=gamma, target=target, start=(scale * target, 0.0))
        return _flow(game, h, steps)[-8000:]

    starts = [1.3 * gradient_penalty_amplitude(g, t) / t if g > 0.1 else 4 / np.pi for g, t in GP_SETTINGS]
    paths = np.asarray(jax.jit(jax.vmap(run))(*jnp.asarray(GP_SETTINGS.T), jnp.asarray(starts)))
    for (gamma, target), path in zip(GP_SETTINGS, paths, strict=True):
        amplitude = gradient_penalty_amplitude(gamma, target)
        np.testing.assert_allclose(np.abs(path[:, 0]).max(), amplitude, rtol=1e-3)
        np.testing.assert_allclose(np.diff(_crossings(path, h)), gradient_penalty_period(gamma), rtol=2e-3)
        cycle = gradient_penalty_cycle(gamma, target, 4000)
        away = [np.hypot(*(cycle - z).T).min() for z in path[::200]]
        assert max(away) < 3e-3 * amplitude
    np.testing.assert_allclose(gradient_penalty_amplitude(0.7, 1.0), 1.3266, atol=1e-4)
    np.testing.assert_allclose(gradient_penalty_amplitude(1e-6, 1.0), 4 / np.pi, rtol=1e-6)
    same = [np.asarray(_flow(dirac_gan("wasserstein", penalty=p), 0.05, 200)) for p in ("gp", "dragan")]
    np.testing.assert_array_equal(*same)


def test_a_cycle_needs_oscillation():
    with pytest.raises(ValueError, match="no limit cycle at gamma 2"):
        gradient_penalty_amplitude(2.0, 1.0)
    with pytest.raises(ValueError, match=r"no limit cycle at gamma 0.1, h 0.2 \(simultaneous\)"):
        gradient_penalty_amplitude(0.1, 1.0, 0.2, "simultaneous")


@pytest.mark.parametrize("play", ["simultaneous", "alternating"])
def test_discrete_play_has_a_larger_cycle(play):
    """The decay per radian of a step instead of the flow's: at gamma .7 1.342 for h = .01 and 1.778 (1.782) for .2."""
    rule = {"simultaneous": simultaneous, "alternating": alternating}[play]
    steps = np.array([0.01, 0.05, 0.2])
    game = dirac_gan("wasserstein", penalty="gp", gamma=0.7)
    path = np.asarray(jax.jit(jax.vmap(lambda h: _play(game, rule(_sgd(h)), 20_000)[-10_000:]))(jnp.asarray(steps)))
    predicted = [gradient_penalty_amplitude(0.7, 1.0, h, play) for h in steps]
    np.testing.assert_allclose(np.abs(path[..., 0]).max(1), predicted, rtol=5e-3)


@pytest.mark.parametrize("target", [1.0, 0.6])
def test_the_one_sided_penalty_decays_to_the_circle_of_its_target(target):
    """Not to the origin, and at a predicted pace; inside, the radius is conserved."""
    gamma, h, steps = 0.8, 2.5e-3, 60_000
    run = lambda x: _flow(dirac_gan("wasserstein", penalty="lp", gamma=gamma, target=target, start=(x, 0.0)), h, steps)  # noqa: E731
    outside, inside = _radius(np.asarray(jax.jit(jax.vmap(run))(jnp.array([1.5, 0.4]))))
    np.testing.assert_allclose(inside, 0.4, rtol=1e-7)
    excess = outside - target
    assert 0 < excess[-1] < 1e-3
    middle = steps // 5
    pace = one_sided_excess(h * (steps - middle), gamma, target, excess[middle])
    np.testing.assert_allclose(excess[-1], pace, rtol=0.05)


def test_regularised_play_converges_and_the_rest_does_not():
    """The last column of the table, by the radius after 3000 steps of h = .2."""
    both = {"simultaneous": simultaneous(_sgd(H)), "alternating": alternating(_sgd(H))}

    def final(game, dynamics):
        return float(_radius(np.asarray(_play(game, dynamics, 3000))[-1]))

    for name in ("r1", "r2", "non_saturating_r1", "wasserstein_r1"):
        assert all(final(VARIANTS[name][0], dynamics) < 1e-9 for dynamics in both.values()), name
    for adjust in (consensus(1.0), gradient_norm(1.0, players=("generator",))):
        assert final(dirac_gan(), simultaneous(_sgd(H), adjust=adjust)) < 1e-9
        assert final(dirac_gan(), alternating(_sgd(H), adjust=adjust)) < 1e-9
    assert final(dirac_gan(instance_noise=0.7), both["simultaneous"]) < 1e-9
    for name in ("gp", "lp", "dragan", "gan", "relativistic"):
        assert all(final(VARIANTS[name][0], dynamics) > 0.5 for dynamics in both.values()), name


def test_vector_field_moves_nobody_else():
    """The penalty is the discriminator's: the generator's gradient does not see it."""
    field = [vector_field(dirac_gan(penalty=p), _point(1.0, 2.0), Moment(NO_STATE, None, KEY(0))) for p in (None, "r1")]
    assert field[0].gradients["generator"] == field[1].gradients["generator"]
    np.testing.assert_allclose(field[1].gradients["discriminator"] - field[0].gradients["discriminator"], 2.0)
