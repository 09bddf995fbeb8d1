"""Every number and name of the API is refused outside its range, by a sentence that begins with what it is."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax import augment, divergences, operators, spectral, transport
from ganjax.data import load, points, subsample
from ganjax.data.folder import load_folder
from ganjax.data.order import positions_of_steps
from ganjax.data.stacked import stacked
from ganjax.dynamics import ema, predictions, simultaneous
from ganjax.errors import ConfigError
from ganjax.games import Sight, gan, latents, linear_gan, matrix_game, normal_prior, quadratic
from ganjax.layers.dropout import Dropout
from ganjax.layers.heads import check_labels
from ganjax.layers.minibatch import Maxout, MinibatchDiscrimination, MinibatchStandardDeviation
from ganjax.layers.resampling import Conv3x3
from ganjax.layers.residual import DownBlock, UpBlock
from ganjax.layers.residual import stacked as stacked_blocks
from ganjax.layers.resize import bilinear
from ganjax.losses import LOSSES
from ganjax.metrics import (
    density_tv,
    frechet_bias,
    histogram_modes,
    inception_score,
    label_modes,
    merge_predictions,
    modes,
    perfect_coverage,
    perfect_density_tv,
    perfect_modes,
    precision_recall,
    score_predictions,
)
from ganjax.metrics.inception_score import Predictions
from ganjax.models import dcgan, mlp, resnet
from ganjax.penalties import r1

# Arguments that are right, for each closed form; those of FREE may be any number.
FORMS = {
    "adam_radius": {"lr": 0.1, "b1": 0.5, "b2": 0.9},
    "alternating_adam_radius": {"lr": 0.1, "b1": 0.5, "b2": 0.9},
    "adam_angle": {"b1": 0.5, "b2": 0.9},
    "alternating_adam_angle": {"b1": 0.5, "b2": 0.9},
    "adam_slowness": {"angle": 0.1, "b1": 0.5, "b2": 0.9},
    "ema_gain": {"decay": 0.9, "multiplier": 1j},
    "ema_attenuation": {"decay": 0.9, "angle": 1.0},
    "ema_lag": {"decay": 0.9, "angle": 1.0},
    "ema_spiral_ratio": {"decay": 0.9, "eta": 0.1},
    "ema_flow_attenuation": {"tau": 1.0, "speed": 1.0},
    "ema_mean": {"decay": 0.9, "multiplier": 1j, "count": 3},
    "uniform_mean": {"multiplier": 1j, "count": 3},
    "tail_mean": {"multiplier": 1j, "start": 1, "count": 3},
    "simultaneous_mean": {"eta": 0.1, "start": 1j, "end": 1.0, "steps": 3},
    "alternating_mean": {"eta": 0.1, "start": 1j, "end": 1.0, "steps": 3},
    "decaying_step_exponents": {"c": 0.5},
    "decaying_step_norm": {"c": 0.5, "steps": 3},
    "decaying_step_mean": {"c": 0.5, "steps": 3},
    "simultaneous_multiplier": {"eta": 0.1},
    "two_time_scale_multiplier": {"eta_a": 0.1, "eta_b": 0.2},
    "proximal_multiplier": {"eta": 0.1},
    "competitive_multiplier": {"eta": 0.1},
    "extragradient_multiplier": {"eta": 0.1, "gamma": 0.2},
    "consensus_multiplier": {"eta": 0.1, "gamma": 0.2},
    "opponent_lookahead_multiplier": {"eta": 0.1, "alpha": 0.2},
    "lola_multiplier": {"eta": 0.1, "alpha": 0.2},
    "runge_kutta_multiplier": {"eta": 0.1, "order": 4},
    "lookahead_multiplier": {"multiplier": 1j, "k": 5, "alpha": 0.5},
    "optimistic_roots": {"eta": 0.1},
    "optimistic_orbit": {"eta": 0.5, "start": 1j, "steps": 3},
    "heavy_ball_roots": {"eta": 0.1, "beta": -0.5},
    "alternating_momentum_roots": {"eta": 0.1, "beta_a": -0.5, "beta_b": 0.0},
    "alternating_momentum_converges": {"beta_a": -0.5, "beta_b": 0.0},
    "alternating_momentum_flip": {"beta_a": -0.5, "beta_b": 0.0},
    "alternating_matrix": {"eta": 0.1, "eta_b": 0.2},
    "turns_matrix": {"eta": 0.1, "turns": 2},
    "unrolled_matrix": {"eta": 0.1, "steps": 2, "step": 0.1},
    "alternating_invariant": {"a": 1.0, "b": 1.0, "eta": 0.1},
    "two_time_scale_invariant": {"a": 1.0, "b": 1.0, "eta_a": 0.1, "eta_b": 0.2},
    "weighted_energy": {"a": 1.0, "b": 1.0, "eta_a": 0.1, "eta_b": 0.2},
    "closing_step": {"n": 3},
    "simultaneous_drift": {"eta": 0.1},
    "alternating_generator": {"eta": 0.1},
    "average_opponent_flow": {"t": 1.0},
    "ema_opponent_exponents": {"tau": 1.0},
    "damped_limit": {"gamma": 1.0},
    "dirac_eigenvalues": {"slope": 0.5},
    "penalty_eigenvalues": {"gamma": 1.0, "slope": 0.5},
    "critical_gamma": {"slope": 0.5},
    "instance_noise_eigenvalues": {"sigma": 1.0, "slope": 0.5, "curvature": -0.25},
    "critical_noise": {"slope": 0.5, "curvature": -0.25},
    "consensus_dirac_eigenvalues": {"gamma": 1.0, "slope": 0.5},
    "gradient_norm_eigenvalues": {"gamma": 1.0, "slope": 0.5},
    "four_scalars_eigenvalues": {"cycle": 1.0, "penalty": 0.5, "identity": 0.5},
    "simultaneous_multipliers": {"eigenvalues": 1j, "h": 0.1},
    "alternating_multipliers": {"h": 0.1, "slope": 0.5},
    "turns_multipliers": {"h": 0.1, "slope": 0.5, "n_g": 1, "n_d": 2},
    "penalty_simultaneous_rate": {"h": 0.1, "gamma": 0.5, "slope": 0.5},
    "penalty_alternating_rate": {"h": 0.1, "gamma": 0.5},
    "penalty_step_limit": {"gamma": 0.5, "slope": 0.5, "play": "alternating"},
    "logistic_slope": {"t": 1.0},
    "simultaneous_growth": {"theta": 1.0, "psi": 1.0, "h": 0.1},
    "non_saturating_flow": {"t": 1.0, "radius": 1.0},
    "non_saturating_radius": {"h": 0.1},
    "clipping_band": {"c": 1.0, "h": 0.1, "play": "simultaneous"},
    "gradient_penalty_amplitude": {"gamma": 1.0, "target": 1.0, "h": 0.1, "play": "alternating"},
    "gradient_penalty_period": {"gamma": 1.0},
    "gradient_penalty_cycle": {"gamma": 1.0, "target": 1.0, "points": 8},
    "one_sided_excess": {"t": 1.0, "gamma": 1.0, "target": 1.0, "excess": 0.1},
    "simultaneous_noise": {"eta": 0.1, "steps": 3, "std": 1.0},
    "alternating_noise": {"eta": 0.1, "steps": 3, "std": 1.0},
    "proximal_floor": {"eta": 0.1, "std": 1.0},
    "extragradient_floor": {"eta": 0.1, "std": 1.0},
    "past_extragradient_floor": {"eta": 0.1, "std": 1.0},
    "optimistic_floor": {"eta": 0.1, "std": 1.0},
    "lookahead_floor": {"eta": 0.1, "k": 5, "alpha": 0.5, "std": 1.0},
    "lookahead_floor_limit": {"k": 5, "alpha": 0.5, "std": 1.0},
    "regularised_floor": {"eta": 0.1, "mu": 0.5, "std": 1.0},
    "consensus_floor": {"eta": 0.1, "gamma": 0.5, "std": 1.0},
    "noise_rise": {"floor": 1.0, "multiplier": 0.9, "steps": 3},
    "lookahead_rise": {"eta": 0.1, "k": 5, "alpha": 0.5, "steps": 3, "std": 1.0},
    "optimistic_rise": {"eta": 0.1, "steps": 3, "std": 1.0},
}
FREE = {"angle", "multiplier", "end", "a", "b", "theta", "psi", "floor", "eigenvalues", "curvature", "speed"}
FREE_OF = {  # of these forms alone
    "logistic_slope": {"t"},
    "optimistic_orbit": {"start"},
    "simultaneous_mean": {"start"},
    "alternating_mean": {"start"},
    **{
        name: {"slope"}
        for name in (
            "penalty_eigenvalues", "instance_noise_eigenvalues", "consensus_dirac_eigenvalues",
            "gradient_norm_eigenvalues", "alternating_multipliers", "turns_multipliers",
        )
    },
}  # fmt: skip
FUNCTIONS = [name for name in predictions.__all__ if inspect.isfunction(getattr(predictions, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_closed_form_of_numbers_that_no_game_has(name):
    """Negative rates, decays and counts gave numbers without a meaning, often plausible ones."""
    form, good = getattr(predictions, name), FORMS[name]
    assert np.isfinite(form(**good)).all()
    for argument, value in good.items():
        if argument in FREE | FREE_OF.get(name, set()):
            continue
        for bad in ("flwo",) if isinstance(value, str) else (-1, np.nan):
            with pytest.raises((ValueError, TypeError), match=f"{argument} is"):
                form(**good | {argument: bad})


IMAGES = jnp.ones((2, 4, 4, 8))
LINE = jnp.array([0.0, 1.0])
KEY = partial(jax.random.key, 0)
HALVES = jnp.array([0.5, 0.5])


def _called(module: nn.Module, *inputs, **options):
    return lambda: jax.eval_shape(lambda: module.init(KEY(), *inputs, **options))


# (what is called, an argument out of its range), keyed by how the sentence begins.
OTHERS = {
    "predictions": {
        "alternating_generator: eta is 2, .* less than 2": lambda: predictions.alternating_generator(2),
        "adam_angle: b1 is 1.5, expected more than -1, less than 1": lambda: predictions.adam_angle(1.5, 1.5),
        "lookahead_multiplier: alpha is 2": lambda: predictions.lookahead_multiplier(1j, 5, 2),
        "penalty_simultaneous_rate: gamma is 3, expected at least 0, at most 1": lambda: (
            predictions.penalty_simultaneous_rate(0.1, 3, 0.5)
        ),
        "critical_noise: curvature is 0.0, expected less than 0": lambda: predictions.critical_noise(1.0, 0.0),
        "clipping_band: play is 'flwo', .*did you mean \"flow\"": lambda: predictions.clipping_band(1.0, 0.1, "flwo"),
        "closing_step: n is 3.5, expected a whole number": lambda: predictions.closing_step(3.5),
        "ema: decay is 1": lambda: ema(1),
        "ema: decay is nan": lambda: ema(np.nan),
    },
    "games": {
        "project: learning_rate is -0.1": lambda: latents.project(
            lambda z: z, jnp.ones((1, 2)), KEY(), size=2, learning_rate=-0.1
        ),
        "project: prior_weight is -1": lambda: latents.project(
            lambda z: z, jnp.ones((1, 2)), KEY(), size=2, prior_weight=-1
        ),
        "group_means: group is .* expected at least 0, at most 1": lambda: latents.group_means(
            jnp.ones((2, 3)), jnp.array([0, 2]), groups=2
        ),
        "group_means: groups is 0": lambda: latents.group_means(jnp.ones((2, 3)), jnp.array([0, 2]), groups=0),
        "a path has floating ends, got int32": lambda: latents.linear(jnp.arange(2), jnp.arange(2), 3),
        "quadratic, the spectrum: real is": lambda: quadratic([complex(np.nan, 1)]),
        "matrix_game: payoff is": lambda: matrix_game(jnp.array([[np.nan]])),
        "linear_gan: covariance is": lambda: linear_gan(jnp.zeros(1), jnp.array([[np.inf]])),
    },
    "layers and models": {
        "Dropout: rate is 1.5": lambda: Dropout(1.5).apply({}, LINE, deterministic=False),
        "Dropout: rate is -0.5": lambda: Dropout(-0.5).apply({}, LINE, deterministic=False),
        "Maxout: pieces is 0": _called(Maxout(2, 0), IMAGES[:, 0, 0]),
        "MinibatchDiscrimination: dims is 0": _called(MinibatchDiscrimination(dims=0), IMAGES[:, 0, 0]),
        "minibatch layer: group is -2": _called(MinibatchStandardDeviation(group=-2), IMAGES),
        "Conv3x3: resample is 'dwon', .*did you mean \"down\"": _called(Conv3x3(8, resample="dwon"), IMAGES),
        "UpBlock: resample is 'down'": _called(UpBlock(8, norm=lambda x: x, resample="down"), IMAGES),
        "DownBlock: resample is 'up'": _called(DownBlock(8, resample="up"), IMAGES),
        "bilinear: size is": lambda: bilinear(IMAGES, (0, 4)),
        "labels: labels is .* at most 2": lambda: check_labels(jnp.array([0, 3]), 3),
        "labels: labels is .* at least 0": lambda: check_labels(np.array([-1, 0]), 3),
        "labels: num_classes is -1": lambda: check_labels(None, -1),
        "attention is 16, but no block ends in a map": lambda: stacked_blocks(
            DownBlock, IMAGES, [], attention=16, remat=False
        ),
        "dense: initialisation is 'unifrom', .*did you mean \"uniform\"": lambda: mlp.dense(2, 2, "unifrom"),
        "mlp.Discriminator: minibatch is 'stdev'": _called(mlp.Discriminator(minibatch="stdev"), LINE, train=True),
        "mlp.Discriminator: maxout is -1": _called(mlp.Discriminator(maxout=-1), LINE, train=True),
        "dcgan.Generator: conditioning is 'batchnorm', .*\"batch_norm\"": _called(
            dcgan.Generator((8, 8, 1), conditioning="batchnorm"), IMAGES[:, 0, 0], train=True
        ),
        "resnet.Discriminator: pooling is 'max'": _called(resnet.Discriminator(pooling="max"), IMAGES),
    },
    "mathematics": {
        "cutout: share is 2": lambda: augment.cutout(IMAGES, 0, 0, share=2),
        "power_iteration: steps is -1": lambda: spectral.power_iteration(jnp.eye(2), LINE, -1),
        "alpha_divergence: alpha is nan": lambda: divergences.alpha_divergence(np.nan),
        "nodes: panels is 0": lambda: divergences.nodes(0, 1, 0),
        "nodes: upper is 0, expected more than 1": lambda: divergences.nodes(1, 0),
        "discrete: p is": lambda: divergences.jensen_shannon_divergence(jnp.array([1.5, -0.5]), HALVES),
        "kl_gaussians: std_q is": lambda: divergences.kl_gaussians(LINE, HALVES, LINE, -HALVES),
        "pearson_gaussians: std is 0.0": lambda: divergences.pearson_gaussians(LINE, LINE, 0.0),
        "wasserstein_1d: y_weights is": lambda: transport.wasserstein_1d(LINE, LINE, y_weights=jnp.array([2.0, -1.0])),
        "wasserstein_1d: the sum of x_weights is 0.0": lambda: transport.wasserstein_1d(LINE, LINE, x_weights=0 * LINE),
        "wasserstein_gaussians_1d: std_2 is -1": lambda: transport.wasserstein_gaussians_1d(0, 1, 0, -1),
        "operator_bounds: strides is": lambda: operators.operator_bounds(IMAGES, (0, 1)),
        "operator_norm: steps is 0": lambda: operators.operator_norm(IMAGES, (4, 4), KEY(), steps=0),
        "lipschitz_estimate: length is -1": lambda: operators.lipschitz_estimate(jnp.sum, LINE, steps=1, length=-1),
    },
    "metrics": {
        "modes: std is -1": lambda: modes(jnp.ones((2, 2)), jnp.ones((1, 2)), -1),
        "modes: radius is -3": lambda: modes(jnp.ones((2, 2)), jnp.ones((1, 2)), 1.0, radius=-3),
        "histogram_modes: least is 20": lambda: histogram_modes(jnp.array([1, 2]), 3, least=20),
        "histogram_modes: histogram is": lambda: histogram_modes(jnp.array([1, -2]), 3),
        "histogram_modes: the sum of the histogram is 3, expected at most 2": lambda: histogram_modes(
            jnp.array([1, 2]), 2
        ),
        "label_modes: classes is 0": lambda: label_modes(jnp.array([0]), 0),
        "perfect_modes: count is 0": lambda: perfect_modes(8, 0),
        "density_tv: reach is 0": lambda: density_tv(jnp.ones((2, 2)), jnp.ones((1, 2)), 1.0, reach=0),
        "perfect_density_tv: number is -1": lambda: perfect_density_tv(-1, 5),
        "frechet_bias: count is -5": lambda: frechet_bias(2, -5),
        "perfect_coverage: real is 3, expected at least 6": lambda: perfect_coverage(3, 10),
        "perfect_coverage: fake is -10": lambda: perfect_coverage(10, -10),
        "precision_recall: k is 2.5": lambda: precision_recall(np.eye(4), np.eye(4), k=2.5),
        "inception_score: splits is 1.5": lambda: inception_score(np.eye(4), splits=1.5),
        "score_predictions: count is 0": lambda: score_predictions(Predictions(0, np.zeros(2), 0.0)),
        "merge_predictions: probabilities have shapes": lambda: merge_predictions(
            Predictions(1, np.ones(1), 0.0), Predictions(1, np.ones(2), 0.0)
        ),
    },
    "another kind": {
        "gan: loss is 'hinge', expected ganjax.losses.AdversarialLoss": lambda: gan(
            nn.Dense(2), nn.Dense(1), "hinge", prior=normal_prior(2)
        ),
        "gan: spectral is True, expected collections.abc.Mapping": lambda: gan(
            nn.Dense(2), nn.Dense(1), LOSSES["hinge"], prior=normal_prior(2), spectral=True
        ),
        "gan: spectral of generator is True, expected ganjax.spectral.SpectralNorm": lambda: gan(
            nn.Dense(2), nn.Dense(1), LOSSES["hinge"], prior=normal_prior(2), spectral={"generator": True}
        ),
        "gan: sight is 2, expected ganjax.games.sight.Sight": lambda: gan(
            nn.Dense(2), nn.Dense(1), LOSSES["hinge"], prior=normal_prior(2), sight=2
        ),
        "gan: discriminator/r1 is .*, expected ganjax.games.terms.Term": lambda: gan(
            nn.Dense(2), nn.Dense(1), LOSSES["hinge"], prior=normal_prior(2), terms={"discriminator": {"r1": r1()}}
        ),
        "Sight: augment is 'ada', expected ganjax.augment.Augmentation": lambda: Sight(augment="ada"),
        "dynamics: the optimiser of a is 0.1": lambda: simultaneous({"a": 0.1}),
        "dynamics: adjust is 'c', expected": lambda: simultaneous({}, adjust="consensus"),
    },
    "data": {
        "ring_centres: modes is 0": lambda: points.ring(5, modes=0),
        "ring_centres: radius is -1": lambda: points.ring(5, radius=-1),
        "a mixture: sigma is -0.1": lambda: points.grid(5, sigma=-0.1),
        "a mixture: count is 0": lambda: points.ring(0),
        "grid_centres: side is 2.5": lambda: points.grid(5, side=2.5),
        "swiss_roll: noise is -1": lambda: points.swiss_roll(5, noise=-1),
        "subsample: count is -1": lambda: subsample(10, -1),
        "positions_of_steps: steps is -1": lambda: positions_of_steps(0, 0, -1, batch_size=1, size=2),
        "stacked: count is 0": lambda: stacked(None, count=0),
        "load: on_bad is 'skpi', .*did you mean \"skip\"": lambda: load("digits", on_bad="skpi"),
        "load_folder: on_bad is 'ignore'": lambda: load_folder("/", on_bad="ignore"),
    },
}  # fmt: skip


@pytest.mark.parametrize("where", OTHERS)
def test_what_is_out_of_range_is_refused_by_name(where):
    for sentence, call in OTHERS[where].items():
        with pytest.raises((ValueError, TypeError, ConfigError), match=f"^{sentence}"):
            call()
