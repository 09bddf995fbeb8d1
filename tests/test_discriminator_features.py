"""The experiment `discriminator_features`: what the linear classifier and the features beside it rest on."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ganjax.data import Dataset, load
from ganjax.errors import ConfigError, DataError
from ganjax.evaluation import extract

_path = Path(__file__).parents[1] / "experiments" / "discriminator_features.py"
_spec = importlib.util.spec_from_file_location("discriminator_features", _path)
EXPERIMENT = sys.modules["discriminator_features"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(EXPERIMENT)
SMALL = replace(EXPERIMENT.Config(), **EXPERIMENT.SMOKE)


def _points(test_shift=0.0):
    """Two classes in the plane, the first coordinate of which tells them apart, held-out points elsewhere."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 2)).astype(np.float32), np.resize([0, 1], 80).astype(np.int32)
    x[:, 0] += 3 * y
    return Dataset(x[:60], y[:60], x[60:] + np.float32(test_shift), y[60:], name="points")


@pytest.mark.fault("feature pipelines: the scaler is fitted on test images too, which cancels what sets them apart")
def test_scaling_and_machine_know_the_labelled_examples_alone():
    """Held-out points that are all shifted are all named by the old boundary; scaled among themselves they were not."""
    told = _points()
    machine = EXPERIMENT.machine(told)
    assert (EXPERIMENT.named(machine, told) == told.y_test).mean() > 0.8
    assert (EXPERIMENT.named(machine, _points(test_shift=50)) == 1).all()
    one = replace(told, x_test=told.x_test[3:4], y_test=told.y_test[3:4])
    assert EXPERIMENT.named(machine, one) == EXPERIMENT.named(machine, told)[3]


def test_a_choice_of_labels_is_the_same_for_all_features_and_c_sees_the_first_alone(monkeypatch):
    from sklearn.model_selection import GridSearchCV

    told, fitted, searched = _points(), [], []
    real = GridSearchCV.fit
    monkeypatch.setattr(GridSearchCV, "fit", lambda self, x, y: searched.append(x) or real(self, x, y))
    monkeypatch.setattr(EXPERIMENT, "named", lambda machine, part: fitted.append(part) or part.y_test)
    assert EXPERIMENT.accuracies(told, 5, 3) == [1.0, 1.0, 1.0]
    EXPERIMENT.accuracies(replace(told, x_train=told.x_train * 2), 5, 3)
    assert len(searched) == 2 and np.array_equal(searched[0], fitted[0].x_train)
    for first, second in zip(fitted[:3], fitted[3:], strict=True):
        assert np.array_equal(2 * first.x_train, second.x_train) and np.bincount(first.y_train).tolist() == [5, 5]
    assert not np.array_equal(fitted[0].x_train, fitted[1].x_train)


def test_features_of_patches_by_hand():
    """An image of two channels: every window cut by hand, its distances to the centres, means over quarters."""
    x = np.random.default_rng(3).integers(0, 256, (40, 6, 5, 2), np.uint8)
    extractor = EXPERIMENT.patches(x, replace(SMALL, clusters=4))
    features, _ = extract(extractor, x[:2])
    mean, axes, centres = extractor.weights
    near = np.empty((4, 3, 4))
    for i in range(4):
        for j in range(3):
            patch = x[1, i : i + 3, j : j + 3].transpose(2, 0, 1).ravel().astype(np.float64)
            patch = (patch - patch.mean()) / np.sqrt(patch.var() + 10)
            distance = np.linalg.norm((patch - mean) @ axes - centres, axis=1)
            near[i, j] = np.maximum(0, distance.mean() - distance)
    quarters = [near[:2, :1], near[:2, 1:], near[2:, :1], near[2:, 1:]]
    np.testing.assert_allclose(features[1], np.concatenate([q.mean((0, 1)) for q in quarters]), atol=1e-3)
    assert features[1].max() > 0.1


def test_the_untrained_network_has_statistics_and_its_first_weights():
    """Two steps at a rate of zero move nothing but BatchNorm's statistics; labels do not reach the game."""
    data = load("digits")
    setup, _ = EXPERIMENT.build(SMALL, data)
    assert setup.streams["data"].y is None
    from ganjax.training.setup import initial_state
    from ganjax.training.state import by_path

    state, untrained = EXPERIMENT.trained(setup, SMALL)
    before = by_path(initial_state(setup, SMALL.seed).weights["discriminator"])
    now, after = by_path(untrained), by_path(state.weights["discriminator"])
    kernels = [path for path in before if "kernel" in path]
    stats = [path for path in before if "batch_stats" in path]
    assert kernels and stats
    for path in kernels:
        assert np.array_equal(now[path], before[path]) and not np.array_equal(after[path], before[path])
    for path in stats:
        assert not np.array_equal(now[path], before[path])


def test_what_cannot_be_labelled_is_refused():
    digits = load("digits")
    with pytest.raises(ConfigError, match=r"--per-class is \(500,\), expected at most 1"):
        EXPERIMENT.check_labels(digits, replace(SMALL, per_class=(500,)))
    with pytest.raises(DataError, match="expected images with labels"):
        EXPERIMENT.check_labels(load("ring"), SMALL)
    with pytest.raises(ConfigError, match="--patch is 9, expected at most the side of an image, 8"):
        EXPERIMENT.check_labels(digits, replace(SMALL, patch=9))
    with pytest.raises(ConfigError, match="numbers of at least 3"):
        replace(SMALL, per_class=(2,))
