"""The light judge: what it says of a perfect and of a collapsed generator, of images and of points."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.data import Dataset, load, ring
from ganjax.errors import ConfigError, DataError
from ganjax.evaluation import Recipe, light_judge, trained_classifier
from ganjax.evaluation import judge as module
from ganjax.training import Keys

_spec = importlib.util.spec_from_file_location("scenes", Path(__file__).parent / "scenes.py")
scenes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scenes)


def test_images(tmp_path, monkeypatch):
    digits = load("digits")
    short = trained_classifier(digits, tmp_path, recipe=Recipe(steps=60))
    monkeypatch.setattr(module, "chosen_extractor", lambda name, dataset, progress: short)
    setup, perfect = scenes.replaying(digits, digits.x_test)
    _, collapsed = scenes.replaying(digits, digits.x_test[:1].repeat(297, 0))
    judge = light_judge(setup, 0, count=297)
    good, bad = judge(perfect), judge(collapsed)
    assert list(good) == ["score", "floor", "count", "frechet_classifier", "modes", "mode_kl", "duplicates"]
    assert good["score"] == good["frechet_classifier"] == pytest.approx(good["floor"], rel=0.3)
    assert good["modes"] == 10 and good["duplicates"] < 0.05 and good["count"] == 297
    assert bad["score"] > 5 * good["score"] and bad["modes"] == 1 and bad["duplicates"] == 1
    assert judge(perfect) == good and bad["floor"] == good["floor"]


def test_points(monkeypatch):
    data, keys = load("ring"), []
    setup, state = scenes.replaying(data, ring(500, seed=5)[0])
    draw = module.draw
    monkeypatch.setattr(module, "draw", lambda *args, **how: keys.append(args[2]) or draw(*args, **how))
    found = light_judge(setup, 0, count=500)(state)
    assert found["score"] == found["sliced_wasserstein"] < 3 * found["floor"]
    assert found["modes"] == 8
    assert not jnp.array_equal(jax.random.key_data(keys[0]), jax.random.key_data(Keys.of(0).samples)), (
        "the best step would be best on the latents of the evaluation"
    )


@pytest.mark.parametrize("labels", [None, np.zeros(60, np.int32)])
def test_images_without_classes_are_judged_by_their_pixels(labels):
    x = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1), dtype=np.uint8)
    setup, good = scenes.replaying(Dataset(x, labels, name="photos"), x[30:])
    _, bad = scenes.replaying(setup.imitated(setup.sampler()), x[30:] // 4)
    judge = light_judge(setup, 0, count=30)
    found = judge(good)
    assert list(found) == ["score", "floor", "count", "sliced_wasserstein", "duplicates"]
    assert found["score"] < 2 * found["floor"] and judge(bad)["score"] > 2 * found["score"]


def test_what_cannot_be_judged():
    images = Dataset(np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), dtype=np.uint8), name="photos")
    setup, _ = scenes.replaying(images, images.x_train)
    with pytest.raises(DataError, match="10 samples against 10 of the 40 training examples of photos"):
        light_judge(setup, 0, count=10)
    with pytest.raises(ConfigError, match="no sampler and no measure to judge by; leave out --judge-every"):
        light_judge(setup._replace(samplers={}), 0)
