"""Generators whose scores are known: a perfect one scores what real data score, others are caught."""

import importlib
import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from ganjax.data import Dataset, load, ring
from ganjax.data.stacked import stacked
from ganjax.dynamics import ema
from ganjax.errors import ConfigError, DataError
from ganjax.evaluation import METRICS, Recipe, evaluate, pixels, receipt_of, trained_classifier
from ganjax.evaluation.evaluate import chosen_extractor, real_examples
from ganjax.evaluation.extractor import Extractor, Features
from ganjax.evaluation.measures import _found_modes, names_of, published_name
from ganjax.rundir import config_digest
from ganjax.training import Averaged

_spec = importlib.util.spec_from_file_location("scenes", Path(__file__).parent / "scenes.py")
evaluate_module = importlib.import_module("ganjax.evaluation.evaluate")  # the package has a function of this name
scenes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scenes)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def classifier(digits, tmp_path_factory):
    return trained_classifier(digits, tmp_path_factory.mktemp("cache"), recipe=Recipe(steps=150))


@pytest.fixture(scope="module")
def perfect(digits, classifier):
    """The scores of a generator that draws the held-out digits."""
    return _timeless(evaluate(*scenes.replaying(digits, digits.x_test), classifier, count=297))


def _timeless(scores):
    """All but the time of a sample, which is there and has no floor."""
    time = scores.pop("time_per_sample")
    assert time.value > 0 and time.floor is time.held_out is None and time.note.startswith("milliseconds, 128 in")
    return scores


def test_a_perfect_generator_scores_what_held_out_data_score(perfect):
    assert len(perfect) == 12
    for name, score in perfect.items():
        if name != "memorised":
            assert score.value == pytest.approx(score.held_out, rel=1e-6, abs=1e-9), name


def test_a_perfect_generator_scores_its_floor(perfect):
    """Within what two draws of 297 real examples differ by."""
    floor = {name: score.floor for name, score in perfect.items()}
    value = {name: score.value for name, score in perfect.items()}
    assert value["frechet_classifier"] == pytest.approx(floor["frechet_classifier"], rel=0.25)
    assert value["sliced_wasserstein"] == pytest.approx(floor["sliced_wasserstein"], rel=0.25)
    assert value["classifier_score"] == pytest.approx(floor["classifier_score"], rel=0.05) and value["modes"] == 10
    for name in ("precision", "recall", "density", "coverage"):
        assert value[name] == pytest.approx(floor[name], abs=0.12), name
    assert max(value[name] for name in ("duplicates", "memorised", "mode_kl")) < 0.05


def test_a_collapsed_generator_is_caught(digits, classifier, perfect):
    found = _timeless(evaluate(*scenes.replaying(digits, digits.x_test[:1]), classifier, count=297))
    assert found["modes"].value == 1 and found["modes"].floor == 10
    assert found["mode_kl"].value == pytest.approx(math.log(10), rel=1e-5)
    assert found["classifier_score"].value == pytest.approx(1, abs=1e-6)
    assert found["duplicates"].value == 1 and found["coverage"].value < 0.1
    assert found["precision"].value == 1 and found["recall"].value < 0.02
    assert found["frechet_classifier"].value > 5 * perfect["frechet_classifier"].floor
    assert found["kernel_classifier"].value > 20 * abs(perfect["kernel_classifier"].value)
    assert {name: score.floor for name, score in found.items()} == {n: s.floor for n, s in perfect.items()}


def test_a_copying_generator_is_caught(digits, classifier):
    names = ["memorisation", "frechet"]
    found = evaluate(*scenes.replaying(digits, digits.x_train), classifier, count=200, metrics=names)
    assert found["memorised"].value == 1 and found["memorised"].floor < 0.05
    assert "1500 training examples" in found["memorised"].note and list(found) == ["memorised", "frechet_classifier"]


def test_the_same_evaluation_gives_the_same_numbers(digits, classifier):
    setup, state = scenes.replaying(digits, digits.x_test)
    first, second = (_timeless(evaluate(setup, state, classifier, count=64)) for _ in range(2))
    assert first == second


def test_notes_say_what_is_measured_at_another_size(digits, classifier, perfect):
    assert perfect["frechet_classifier"].note == "" and perfect["modes"].note.startswith("of 10, classifier right on ")
    found = evaluate(*scenes.replaying(digits, digits.x_test), classifier, count=1000, metrics=["frechet"])
    assert found["frechet_classifier"].note == "floor at 750 against 750, held out at 297"


def _index():
    """Examples that are their own index."""
    return Dataset(np.arange(100, dtype=np.float32).reshape(100, 1))


@pytest.mark.parametrize(
    ("count", "reference", "sizes"),
    [(30, 40, (40, 40, 30)), (80, 80, (80, 50, 50)), (20, 100, (100, 80, 20)), (500, 20, (20, 20, 80))],
)
def test_the_floor_is_of_two_disjoint_sets(count, reference, sizes):
    whole, (first, second), held_out = real_examples(_index(), pixels(), count, reference)
    assert held_out is None
    assert (len(whole), len(first), len(second)) == sizes
    a, b = set(first.x.ravel()), set(second.x.ravel())
    assert not a & b and len(a) + len(b) == sizes[1] + sizes[2] and a <= set(whole.x.ravel())


def _sorted_by_class():
    """Ten classes of 40 points on a line, class after class, as a folder of classes is read."""
    y = np.repeat(np.arange(10, dtype=np.int32), 40)
    x = (y[:, None] + np.linspace(0, 0.5, 400)[:, None]).astype(np.float32)
    return Dataset(x, y, x + np.float32(0.1), y, name="sorted")


def _knowing():
    """An extractor that names the class of every point of `_sorted_by_class`."""
    return Extractor(
        "floor", "0", lambda weights, x: Features(x, jax.nn.one_hot(x[:, 0].astype("int32"), 10)), (), "none"
    )


def test_held_out_data_at_a_count_are_a_sample_of_the_split():
    data = _sorted_by_class()
    held_out = real_examples(data, pixels(), 60, 60)[2]
    assert set(np.floor(held_out.x[:, 0])) == set(range(10)) and len(held_out) == 60
    setup, state = scenes.replaying(data, data.x_test[::3])
    found = evaluate(setup, state, _knowing(), count=60, metrics=["frechet", "sliced_wasserstein", "modes"])
    assert found["frechet_floor"].held_out < 1 and found["sliced_wasserstein"].held_out < 0.5
    assert found["modes"].held_out == 10 and found["modes"].note == "of 10, floor right on 100.0% of held-out data"


@pytest.mark.parametrize("count", [200, 1000])  # the floor's reference is that of the samples, and a part of it
def test_where_moments_suffice_no_features_are_held(digits, classifier, count, monkeypatch):
    setup, state = scenes.replaying(digits, digits.x_test)
    held = evaluate(setup, state, classifier, count=count, metrics=["frechet", "kernel"])["frechet_classifier"]

    def held_all(*_):
        raise AssertionError("the features of all examples were held")

    monkeypatch.setattr("ganjax.evaluation.measures.extract", held_all)
    streamed = evaluate(setup, state, classifier, count=count, metrics=["frechet"])["frechet_classifier"]
    for name in ("value", "floor", "held_out"):
        np.testing.assert_allclose(getattr(streamed, name), getattr(held, name), rtol=1e-9)


def test_points_are_judged_by_their_modes():
    data = load("ring")
    setup, state = scenes.replaying(data, ring(500, seed=5)[0])
    found = evaluate(setup, state, pixels(), count=500, metrics=["modes", "sliced_wasserstein", "frechet"])
    assert list(found) == ["modes", "high_quality", "mode_kl", "sliced_wasserstein", "frechet_pixels"]
    assert found["modes"].value == 8 and found["high_quality"].value > 0.97 and found["modes"].note == "of 8"
    three = data.x_train[data.y_train < 3][:500]
    found = evaluate(*scenes.replaying(data, three), pixels(), count=500, metrics=["modes"])
    assert found["modes"].value == 3 and found["modes"].floor == 8 == found["modes"].held_out


def test_data_are_known_by_what_they_are_not_by_their_names(tmp_path, monkeypatch):
    for label in ("cat", "dog"):
        (tmp_path / "ring" / label).mkdir(parents=True)
        for k in range(2):
            pixels_ = np.random.default_rng(k).integers(0, 256, (4, 4), np.uint8)
            Image.fromarray(pixels_).save(tmp_path / "ring" / label / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    folder = load("./ring")
    assert folder.name == "ring" and "modes" not in names_of((), folder, None) and "modes" in names_of((), folder, 2)
    found = evaluate(
        *scenes.replaying(replace(load("ring"), name="mine"), ring(50)[0]), pixels(), count=50, metrics=["modes"]
    )
    assert list(found) == ["modes", "high_quality", "mode_kl"]


def test_a_stack_that_was_not_drawn_for_training_is_a_mode():
    """Of 2^3 = 8 combinations one training stack has one, and samples that have all have all modes."""
    x = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1), np.uint8)
    data = stacked(Dataset(x, np.arange(8, dtype=np.int32) % 2, name="photos"), count=1)
    every = SimpleNamespace(labels=np.arange(8))
    assert float(_found_modes(SimpleNamespace(dataset=data), every).captured) == 8
    plain = replace(data, channel_classes=None)
    assert float(_found_modes(SimpleNamespace(dataset=plain), every).captured) == 1


def test_stacked_images_are_known_by_what_they_are(monkeypatch):
    for kind in ("trained", "stacked"):
        monkeypatch.setattr(evaluate_module, f"{kind}_classifier", lambda data, progress, kind=kind: kind)
    x = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), np.uint8)
    assert (
        chosen_extractor(None, Dataset(x, np.arange(8, dtype=np.int32), name="stacked:x"), progress=False) == "trained"
    )
    grey = Dataset(x[..., :1], np.arange(8, dtype=np.int32) % 2, name="photos")
    assert chosen_extractor(None, replace(stacked(grey, count=9), name="x"), progress=False) == "stacked"


def test_points_of_any_width_are_scored():
    x = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    found = evaluate(*scenes.replaying(Dataset(x, x_test=x[::3]), x[50:]), pixels(), count=50)
    assert {"frechet_pixels", "sliced_wasserstein", "duplicates", "memorised"} < set(found) and "modes" not in found


def test_what_does_not_fit_is_said(digits, classifier):
    setup, state = scenes.replaying(digits, digits.x_test)
    with pytest.raises(ConfigError, match="unknown metric 'frechte': did you mean \"frechet\""):
        evaluate(setup, state, classifier, metrics=["frechte"])
    with pytest.raises(ConfigError, match="modes needs an extractor with the classes of the data, such as classifier"):
        evaluate(setup, state, pixels(), metrics=["modes"])
    with pytest.raises(ConfigError, match="--weights is 'ema'"):
        evaluate(setup, state, classifier, count=20, weights="ema", metrics=["modes"])
    with pytest.raises(DataError, match="10 samples against 10 of the 1500 training examples of digits"):
        evaluate(setup, state, classifier, count=10)
    with pytest.raises(ConfigError, match="--extractor fid needs --extractor-file"):
        chosen_extractor("fid", digits, progress=False)
    with pytest.raises(DataError, match="fid looks at images, the data set ring has points"):
        chosen_extractor("fid", load("ring"), Path("fid.safetensors"), progress=False)
    with pytest.raises(ConfigError, match="--extractor-file a is of no use without --extractor fid or efficientnet"):
        chosen_extractor(None, digits, Path("a"), progress=False)
    without = Dataset(digits.x_train, name="photos")
    found = evaluate(*scenes.replaying(without, digits.x_test), pixels(), count=40)
    assert not {"modes", "classifier_score", "memorised"} & set(found) and found["frechet_pixels"].held_out is None


@pytest.mark.parametrize(("name", "reader"), [("fid", "fid_inception"), ("efficientnet_lite0", "efficientnet_lite0")])
def test_published_networks_are_read_from_their_file(digits, monkeypatch, name, reader):
    monkeypatch.setattr(evaluate_module, reader, lambda path: (reader, path))
    assert chosen_extractor(name, digits, Path("a.safetensors"), progress=False) == (reader, Path("a.safetensors"))
    assert chosen_extractor("pixels", digits, progress=False).name == "pixels"
    assert chosen_extractor(None, load("ring"), progress=False).name == "pixels"


@pytest.mark.parametrize(
    ("extractor", "names"),
    [
        ("fid_inception_v3", ("fid", "kid", "inception_score")),
        ("fid_inception_v3_unpinned", ("fid_unpinned", "kid_unpinned", "inception_score_unpinned")),
        ("efficientnet_lite0", ("frechet_efficientnet_lite0", "kernel_efficientnet_lite0", "classifier_score")),
    ],
)
def test_published_names_belong_to_the_published_network(extractor, names):
    assert tuple(published_name(name, extractor) for name in ("frechet", "kernel", "classifier_score")) == names


def test_the_receipt_says_what_was_done(digits, classifier):
    setup, state = scenes.replaying(digits, digits.x_test)
    taken = {"weights": "default", "count": 5000, "reference_count": None, "seed": 3}
    first = receipt_of(setup, state, classifier, {"loss": "hinge", "steps": 10}, **taken)
    assert (first.weights, first.count, first.reference_count, first.seed) == ("raw", 5000, 1500, 3)
    assert first.rows == "drawn without replacement, seed 0"
    assert first.extractor_digest == classifier.digest and first.data_digest == digits.digest
    other = receipt_of(setup, state, classifier, {"loss": "wasserstein", "steps": 10}, **taken)
    assert first.config_digest == config_digest({"steps": 10, "loss": "hinge"}) != other.config_digest


@pytest.mark.parametrize(("channels", "name"), [(4, "fid"), (2, "efficientnet_lite0")])
def test_published_networks_look_at_grey_and_rgb(channels, name):
    data = Dataset(np.arange(2 * 4 * 4 * channels, dtype=np.uint8).reshape(2, 4, 4, channels), name="icons")
    with pytest.raises(DataError, match=f"{name} looks at grey and RGB images.* icons have {channels} channels"):
        chosen_extractor(name, data, Path("a.safetensors"), progress=False)


def test_an_average_that_has_seen_nothing_is_not_on_the_receipt(digits):
    """The raw weights are drawn from then, whatever was asked for."""
    setup, state = scenes.replaying(digits, digits.x_test)
    kept = Averaged("generator", ema(0.9))
    setup = setup._replace(averages={"ema": kept})
    of_now = lambda: (state.params["generator"], state.net_state["generator"])  # noqa: E731
    average = kept.average.init(of_now())
    taken = {"count": 100, "reference_count": None, "seed": 0}
    for seen, expected in (average, "raw"), (kept.average.update(of_now(), average), "ema"):
        for weights in ("default", "ema"):
            found = state.replace(averages={"ema": seen})
            assert receipt_of(setup, found, pixels(), {}, weights=weights, **taken).weights == expected
    assert receipt_of(setup, found, pixels(), {}, weights="raw", **taken).weights == "raw"


def test_one_class_trains_no_classifier(digits, tmp_path):
    """Whatever its number is."""
    for label in (0, 3):
        data = Dataset(digits.x_train, np.full(len(digits.x_train), label, np.int32), name="threes")
        with pytest.raises(
            DataError, match=r"threes has a single class, but a classifier needs classes; take .* --extractor pixels"
        ):
            trained_classifier(data, tmp_path)


def test_every_metric_has_a_way_to_be_left_out(digits):
    assert all(isinstance(metric.lacks(digits, 10), str) for metric in METRICS.values())
