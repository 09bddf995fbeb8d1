"""The experiment `augmentation_by_gan`: who sees which images, equal steps, and paired differences."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ganjax.augment import jitter
from ganjax.core import Batch
from ganjax.data import load
from ganjax.data.scarce import with_labels
from ganjax.errors import ConfigError, DataError

_path = Path(__file__).parents[1] / "experiments" / "augmentation_by_gan.py"
_spec = importlib.util.spec_from_file_location("augmentation_by_gan", _path)
EXPERIMENT = sys.modules["augmentation_by_gan"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(EXPERIMENT)
SMALL = replace(EXPERIMENT.Config(), **EXPERIMENT.SMOKE)
SAMPLE = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)


def _samples(config, part):
    """An image that no data set has, again and again, with the classes in turn."""
    drawn = EXPERIMENT.sizes(config, len(part.x_train))[1]
    return np.repeat(SAMPLE[None], drawn, 0), np.resize(np.arange(10, dtype=np.int32), drawn)


@pytest.mark.fault("augmentation studies: the GAN was trained on the full set, of which the classifier sees a part")
def test_the_gan_and_the_classifiers_see_the_labelled_images_alone():
    digits = load("digits")
    part = with_labels(digits, 30, 1)
    rows = {image.tobytes() for image in part.x_train}
    held_out = {image.tobytes() for image in digits.x_test}
    gan = EXPERIMENT.gan_of(SMALL, part).streams["data"].dataset
    assert {image.tobytes() for image in gan.x_train} == rows and len(rows) == 30
    for arm, (kind, _) in EXPERIMENT.ARMS.items():
        own = EXPERIMENT.classifier_of(SMALL, arm, part, _samples(SMALL, part)).streams["data"].dataset
        seen = {image.tobytes() for image in own.x_train}
        sample = {SAMPLE.tobytes()}
        assert seen == {"samples": sample, "mixed": rows | sample}.get(kind, rows), arm
        assert not seen & held_out and np.array_equal(own.x_test, digits.x_test)


@pytest.mark.fault("augmentation studies: longer training is credited to samples")
def test_all_arms_take_equal_steps_of_equal_batches(monkeypatch):
    """And their rates fall to zero over the same steps; a spy in the place of training."""
    part, taken, falling = with_labels(load("digits"), 30), [], []
    setups = {arm: EXPERIMENT.classifier_of(SMALL, arm, part, _samples(SMALL, part)) for arm in EXPERIMENT.ARMS}
    assert {setup.examples for setup in setups.values()} == {SMALL.batch_size}
    assert {arm for arm, setup in setups.items() if setup.streams["data"].prepare} == {"moves", "samples and moves"}
    decay = EXPERIMENT.optax.cosine_decay_schedule
    monkeypatch.setattr(EXPERIMENT.optax, "cosine_decay_schedule", lambda *how: falling.append(how) or decay(*how))
    monkeypatch.setattr(EXPERIMENT, "fit", lambda setup, seed, steps: taken.append((seed, steps)))
    monkeypatch.setattr(EXPERIMENT, "measured", lambda setup, name: lambda state: 0.5)
    for arm in EXPERIMENT.ARMS:
        EXPERIMENT.learned(SMALL, arm, part, _samples(SMALL, part), 3)
    assert taken == [(3, SMALL.steps)] * 6 and falling == [(1e-3, SMALL.steps)] * 6


def test_moved_images_are_turned_shifted_and_flipped():
    """A ramp over the columns: its slopes in the middle say by which angle it was turned and whether it is mirrored."""
    ramp = jnp.broadcast_to(jnp.arange(8.0)[None, :, None], (8, 8, 1))
    keys, one = jax.random.split(jax.random.key(0), 400), Batch(ramp, jnp.int32(7), jnp.int32(0))

    def moved(**how):
        return jax.jit(jax.vmap(lambda key: EXPERIMENT.moves(replace(SMALL, **how))(key, one)))(keys)

    found = moved(rotation=20.0, flip=True)
    x = np.asarray(found.x)[..., 0]
    across, down = x[:, 3, 4] - x[:, 3, 3], x[:, 4, 3] - x[:, 3, 3]
    np.testing.assert_allclose(np.hypot(across, down), 1, rtol=1e-4)
    angle = np.degrees(np.arctan2(down, np.abs(across)))
    assert stats.kstest(angle, stats.uniform(-20, 40).cdf).pvalue > 1e-3
    assert 150 < (across < 0).sum() < 250 and (found.y == 7).all()
    alone = jax.jit(jax.vmap(lambda key: jitter(SMALL.shift, flip=False)(key, one)))(keys)
    np.testing.assert_array_equal(moved(rotation=0.0).x, alone.x)
    assert len(np.unique(alone.x[:, 3, 3, 0])) == 3
    with pytest.raises(ConfigError, match="--rotation is 200"):
        replace(SMALL, rotation=200.0)


@pytest.mark.parametrize(("images", "share"), [(20, 0.5), (100, 0.25), (5000, 0.8)])
def test_the_share_of_samples_is_that_which_was_asked_for(images, share):
    """Each image as often as any other; duplicates are as many examples as the mixture has."""
    config = replace(SMALL, share=share, pool=2000)
    copies, drawn = EXPERIMENT.sizes(config, images)
    assert drawn / (copies * images + drawn) == pytest.approx(share, abs=1e-3) and drawn > 1400
    part = with_labels(load("digits"), 20)
    sets = {kind: EXPERIMENT.training_set(SMALL, kind, part, _samples(SMALL, part)) for kind in ("duplicates", "mixed")}
    assert len(sets["duplicates"].x_train) == len(sets["mixed"].x_train) == 40
    for own, times in zip(sets.values(), (2, 1), strict=True):
        first = (own.x_train == part.x_train[0]).all((1, 2, 3))
        assert first.sum() == times and (own.y_train[first] == part.y_train[0]).all()


def test_intervals_are_those_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    base = rng.normal(size=5)
    other = base + 0.1 + 0.01 * rng.normal(size=5)
    mean, half = EXPERIMENT.interval(other - base)
    oracle = stats.ttest_rel(other, base).confidence_interval(0.95)
    np.testing.assert_allclose((mean - half, mean + half), oracle, rtol=1e-9)
    assert np.isnan(EXPERIMENT.interval(base[:1])[1])


def test_the_table_pairs_the_same_choices():
    """Two choices of which the second is harder: the gain is a point in both, though accuracies differ by 20."""
    part = with_labels(load("digits"), 20)
    found = {
        2: [
            EXPERIMENT.Found(
                {arm: base + 0.01 * (arm == "moves") for arm in EXPERIMENT.ARMS},
                0.9,
                part.x_train[:10],
                part.x_train[:10],
            )
            for base in (0.5, 0.7)
        ]
    }
    lines = EXPERIMENT.table(replace(SMALL, arms=("moves",)), load("digits"), found)
    said = {line[:22].strip(): line[22:].strip() for line in lines}
    assert said["images alone"] == "60.00" and said["moves"] == "61.00 (+1.00 ± 0.00)"
    assert "duplicates" not in said and said["right samples"].endswith("90.0")


def test_what_cannot_be_labelled_is_refused():
    with pytest.raises(ConfigError, match=r"--per-class is \(500,\), expected at most 1"):
        EXPERIMENT.check_labels(load("digits"), replace(SMALL, per_class=(500,)))
    with pytest.raises(DataError, match="expected images with labels"):
        EXPERIMENT.check_labels(load("ring"), SMALL)
    with pytest.raises(ConfigError, match='--arms: "move" is unknown: did you mean "moves"'):
        replace(SMALL, arms=("move",))
    with pytest.raises(ConfigError, match="more than 0 and less than 1"):
        replace(SMALL, share=1.0)
