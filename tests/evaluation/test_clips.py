"""What judges clips: a network that sees motion, one of frames that does not, and scores beside those of controls."""

from functools import lru_cache

import numpy as np
import pytest

from ganjax.data import Dataset
from ganjax.data.bouncing import bouncing
from ganjax.errors import ConfigError, DataError
from ganjax.evaluation import METRICS
from ganjax.evaluation.classifier import Recipe, clip_classifier, of_frames
from ganjax.evaluation.extractor import extract
from ganjax.evaluation.measures import Comparison, Examples, names_of
from ganjax.metrics.motion import shuffled

OF_CLIPS = Recipe(steps=100, batch_size=32, width=6, features=16)
OF_FRAMES = Recipe(steps=60, batch_size=32, width=4, features=8)


def _clips():
    """Bars that lie and bars that stand."""
    x = np.zeros((640, 8, 8, 1), np.uint8)
    y = (np.arange(640) % 2).astype(np.int32)
    x[y == 0, 3:5], x[y == 1, :, 3:5] = 250, 250
    x[:, 0, 0] = np.random.default_rng(0).integers(20, 60, (640, 1))
    base = Dataset(x[:480], y[:480], x[480:], y[480:], name="bars")
    return bouncing(base, frames=8, side=24)


@lru_cache
def judged(cache):
    data = _clips()
    return data, clip_classifier(data, cache, recipe=OF_CLIPS, of_stills=OF_FRAMES)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def test_the_distance_of_frames_is_blind_to_their_order_and_that_of_clips_is_not(cache):
    data, extractor = judged(cache)
    real = Examples(data.x_train[:240], extractor), Examples(data.x_train[240:], extractor)
    sets = Comparison(Examples(shuffled(data.x_train[240:]), extractor), real[0], real, None, data, extractor)
    frames = METRICS["frame_frechet"].score(sets)["frame_frechet_classifier"]
    assert frames.value == pytest.approx(frames.floor, rel=1e-6)
    clips = METRICS["frechet"].score(sets)["frechet_classifier"]
    assert clips.value > 2 * clips.floor > 0
    scores = METRICS["motion"].score(sets)
    assert list(scores) == ["motion_consistency"], "walls so near that no frame is away from them"
    motion = scores["motion_consistency"]
    rest = METRICS["steadiness"].score(sets)["at_rest"]
    assert rest.floor < 0.01 and rest.better == "lower" and rest.note.endswith("frozen 1.000")
    assert motion.floor == 1 and motion.value < 0.4 and motion.better == "higher"
    assert motion.note.startswith(f"real clips shuffled {motion.value:.3f}, frozen 0.")
    same = METRICS["identity"].score(sets)["identity"]
    assert same.value == same.floor > 0.9, "who it is, shows in every order"


def test_what_goes_straight_on_is_scored_where_walls_are_far():
    base = Dataset(np.random.default_rng(0).integers(128, 256, (60, 12, 12, 1), dtype=np.uint8), name="noise")
    data = bouncing(base, frames=8, side=32)
    real = tuple(Examples(data.x_train[half], None) for half in (slice(30), slice(30, 60)))
    sets = Comparison(Examples(shuffled(data.x_train[30:]), None), real[0], real, None, data, None)
    found = METRICS["motion"].score(sets)["straightness"]
    assert found.floor == 1 and found.value < 0.8 and found.note.endswith("frozen 1.000")


def test_both_networks_are_kept_and_read_back(cache, monkeypatch):
    data, first = judged(cache)
    assert len(list(cache.glob("*.npz"))) == 2 and len(list(cache.glob("clips-*.npz"))) == 1
    monkeypatch.setattr("ganjax.evaluation.classifier.fit", lambda *args, **how: pytest.fail("trained again"))
    again = clip_classifier(data, cache, recipe=OF_CLIPS, of_stills=OF_FRAMES)
    assert again.digest == first.digest and again.frames.digest == first.frames.digest != first.digest
    features, logits = extract(again, data.x_test[:9])
    assert features.shape == (9, 16) and logits.shape == (9, 2)


def test_frames_have_the_class_of_their_clip():
    data = _clips()
    frames = of_frames(data)
    assert frames.x_train.shape == (480 * 8, 24, 24, 1) and frames.name == "frames of bouncing:bars"
    np.testing.assert_array_equal(frames.x_train[8 * 5 + 3], data.x_train[5, 3])
    np.testing.assert_array_equal(frames.y_test, np.repeat(data.y_test, 8))


def test_data_that_cannot_be_judged_so_are_told_why(tmp_path):
    rng = np.random.default_rng(0)
    plain = Dataset(rng.integers(0, 255, (30, 4, 8, 8, 1), dtype=np.uint8), name="mine")
    with pytest.raises(DataError, match=r"frames of mine has no labels.*--extractor pixels"):
        clip_classifier(plain, tmp_path)
    with pytest.raises(DataError, match="a clip of one frame, which has no motion"):
        clip_classifier(Dataset(plain.x_train[:, :1], np.arange(30, dtype=np.int32) % 2), tmp_path)
    with pytest.raises(ConfigError, match="the metric motion needs clips whose law is known"):
        names_of(("motion",), plain, 2)
    with pytest.raises(ConfigError, match="the metric identity needs an extractor with classes"):
        names_of(("identity",), plain, None)
    assert not {"frame_frechet", "motion", "identity"} & set(names_of((), of_frames(_clips()), 2))
