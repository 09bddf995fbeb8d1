"""One contract for every judge of two sets: order does not matter, constants are finite, wrong input is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.metrics import (
    classification_accuracy_score,
    density_coverage,
    duplicates,
    frechet_distance,
    frechet_distance_infinity,
    inception_score,
    intra_class_frechet,
    kernel_distance,
    kernel_distance_subsets,
    memorisation,
    moments,
    ms_ssim,
    ms_ssim_diversity,
    nearest,
    parzen_cross_validated,
    parzen_log_likelihood,
    precision_recall,
    predictions,
    radial_spectrum,
    score_predictions,
    spectral_distance,
)
from ganjax.metrics.domains import proxy_a_distance

ROWS = 40  # of x; y has 50


def _sides(x):
    """A class for each example."""
    return (np.asarray(np.asarray(x).real, np.float64).mean(-1) > 0.5).astype(int)


def _shares(x):
    """A distribution for each example, of any numbers."""
    return x if np.ndim(x) < 2 else x / np.sum(x, 1, keepdims=True)


def _accuracy(x, y):
    return classification_accuracy_score(x, _sides(x), y, _sides(y), y, _sides(y))


def _intra_class(x, y):
    return intra_class_frechet(x, _sides(x), y, _sides(y)).mean


# name -> (of x and y, both [N, F] in (0, 1)) -> a number or several.
FEATURES = {
    "classification_accuracy_score": _accuracy,
    "density_coverage": density_coverage,
    "duplicates": lambda x, y: duplicates(x, within=0.3),
    "intra_class_frechet": _intra_class,
    "kernel_distance": kernel_distance,
    "memorisation": lambda x, y: memorisation(x, y, y)[:6],
    "moments": lambda x, y: frechet_distance(moments(x), moments(y)),
    "nearest": lambda x, y: nearest(x, y).distances.mean(),
    "parzen_log_likelihood": lambda x, y: parzen_log_likelihood(x, y, 0.2),
    "parzen_cross_validated": lambda x, y: parzen_cross_validated(x, y, y),
    "precision_recall": precision_recall,
}
# Their random subsets depend on the order.
DRAWN = {
    "frechet_distance_infinity": lambda x, y: frechet_distance_infinity(x, moments(y), sizes=[9, 40], seed=0)[:2],
    "kernel_distance_subsets": lambda x, y: kernel_distance_subsets(x, y, subsets=3, size=9, seed=0),
    "proxy_a_distance": proxy_a_distance,
}
PREDICTIONS = {
    "inception_score": lambda x, y: inception_score(_shares(x)),
    "predictions": lambda x, y: score_predictions(predictions(_shares(x))),
}
# name -> of x and y, both [N, H, W, C].
IMAGES = {
    "duplicates": lambda x, y: duplicates(x, within=0.3),
    "memorisation": lambda x, y: memorisation(x, y, y)[:6],
    "nearest": lambda x, y: nearest(x, y).distances.mean(),
    "radial_spectrum": lambda x, y: radial_spectrum(x).power,
    "spectral_distance": spectral_distance,
}
DRAWN_IMAGES = {"ms_ssim_diversity": lambda x, y: ms_ssim_diversity(x, pairs=4, seed=0, window=7)}
ON_FEATURES = FEATURES | DRAWN | PREDICTIONS
ON_IMAGES = IMAGES | DRAWN_IMAGES


def _features():
    rng = np.random.default_rng(0)
    x = rng.uniform(0.01, 0.99, size=(ROWS, 6))
    return np.float32(x), np.float32(rng.uniform(0.01, 0.99, size=(ROWS + 10, 6)))


def _images():
    return tuple(np.rint(255 * z).astype(np.uint8).repeat(16, 1).reshape(-1, 8, 12, 1) for z in _features())


def _shuffled(x):
    return x[np.random.default_rng(1).permutation(len(x))]


def _check_order(judge, x, y):
    expected = np.asarray(judge(x, y), np.float64)
    before = x.copy(), y.copy()
    np.testing.assert_allclose(judge(_shuffled(x), y), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(judge(x, _shuffled(y)), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


@pytest.mark.parametrize("name", FEATURES | PREDICTIONS)
def test_the_order_of_features_does_not_matter(name):
    _check_order(ON_FEATURES[name], *_features())


@pytest.mark.parametrize("name", IMAGES)
def test_the_order_of_images_does_not_matter(name):
    _check_order(IMAGES[name], *_images())


@pytest.mark.parametrize("name", ON_FEATURES)
def test_features_of_any_precision_are_judged_in_float64(name):
    """What half or single precision can hold is judged as the same numbers in double precision, JAX arrays too."""
    judge, (x, y) = ON_FEATURES[name], (np.rint(64 * z) / 64 for z in _features())
    if name in PREDICTIONS:  # the ratio must be exact as well
        x = np.eye(6)[np.arange(ROWS) % 4] / 2 + np.eye(6)[np.arange(ROWS) % 3] / 2
    expected = judge(x, y)
    for dtype in (np.float16, np.float32):
        assert np.array_equal(judge(x.astype(dtype), y.astype(dtype)), expected)
    assert np.array_equal(judge(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.bfloat16)), expected)
    assert all(isinstance(value, float) for value in np.atleast_1d(np.asarray(expected)).tolist())


@pytest.mark.parametrize("name", ON_FEATURES)
def test_constant_and_rank_deficient_features_are_finite(name):
    judge, (x, y) = ON_FEATURES[name], _features()
    constant, line = (np.full((len(z), 6), 1 / 3, np.float32) for z in (x, y)), (z[:, :1].repeat(6, 1) for z in (x, y))
    assert np.isfinite(judge(*constant)).all()
    assert np.isfinite(judge(*line)).all()


@pytest.mark.parametrize("name", ON_IMAGES)
def test_constant_images_are_finite(name):
    assert np.isfinite(ON_IMAGES[name](*(np.full_like(z, 7) for z in _images()))).all()


@pytest.mark.parametrize("name", ON_FEATURES)
def test_wrong_features_are_refused(name):
    judge, (x, y) = ON_FEATURES[name], _features()
    with pytest.raises(ValueError, match=rf"^{name}: \w+ has shape \(40,\), expected \[N, "):
        judge(x[:, 0], y)
    with pytest.raises(ValueError, match=rf"^{name}: \w+ has shape \(0, 6\), expected \[N, "):
        judge(x[:0], y)
    for bad in (np.nan, np.inf):
        with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=rf"^{name}: \w+ has values that are not"):
            judge(np.where(np.arange(6) == 2, bad, x), y)
    with pytest.raises(TypeError, match=rf"^{name}: \w+ has dtype complex128, expected"):
        judge(x.astype(complex), y)
    if name in FEATURES and name not in ("duplicates", "moments"):
        with pytest.raises(ValueError, match=rf"^{name}: .*\(40, 6\).* differ beside N"):
            judge(x, y[:, :5])
        with pytest.raises(ValueError, match=rf"^{name}: \w+ has values that are not finite"):
            judge(x, np.where(np.arange(6) == 2, np.nan, y))


@pytest.mark.parametrize("name", ON_IMAGES)
def test_wrong_images_are_refused(name):
    judge, (x, y) = ON_IMAGES[name], _images()
    with pytest.raises(TypeError, match=rf"^{name}: \w+ has dtype int64, expected"):
        judge(x.astype(np.int64), y)
    with pytest.raises(ValueError, match=rf"^{name}: \w+ has values that are not finite"):
        judge(np.full(x.shape, np.nan), y / 255)
    with pytest.raises(ValueError, match=rf"^{name}: \w+ has shape \(40,\)"):
        judge(x[:, 0, 0, 0], y)


@pytest.mark.parametrize("name", ["radial_spectrum", "spectral_distance", "ms_ssim_diversity", "ms_ssim"])
def test_floating_images_in_other_units_are_refused(name):
    """Where images are expected in [-1, 1]: those in 0..255 give numbers too, wrong ones."""
    judge = ON_IMAGES.get(name, lambda x, y: ms_ssim(jnp.asarray(x[:9]), jnp.asarray(y[:9]), window=7))
    x, y = (z.astype(np.float32) for z in _images())
    np.testing.assert_allclose(judge(x / 127.5 - 1, y / 127.5 - 1), judge(*_images()), rtol=1e-3)
    with pytest.raises(ValueError, match=rf"^{name}: \w+ reaches 25\d(\.\d)?, expected floating images in \[-1, 1\]"):
        judge(x, y)
