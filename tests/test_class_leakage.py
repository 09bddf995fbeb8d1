"""The experiment `class_leakage`: what moves between two classes, who is confused with whom, and what is cut."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matrix
import numpy as np
import pytest
from scipy.stats import norm, truncnorm

from ganjax import launch
from ganjax.data import load
from ganjax.errors import ConfigError
from ganjax.games import latents
from ganjax.models import biggan, dcgan

_path = Path(__file__).parents[1] / "experiments" / "class_leakage.py"
_spec = importlib.util.spec_from_file_location("class_leakage", _path)
EXPERIMENT = sys.modules["class_leakage"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(EXPERIMENT)
SMALL = replace(EXPERIMENT.Config(), **EXPERIMENT.SMOKE)


@pytest.mark.fault("BigGAN demos: z is clipped to the threshold, which is another law, with mass on it")
def test_redrawing_leaves_the_variance_of_the_closed_form():
    """1 - 2 tau phi(tau) / (2 Phi(tau) - 1), which clipping does not: it leaves .516 at 1."""
    for tau, variance in {2: 0.7737, 1.5: 0.5515, 1: 0.2911, 0.5: 0.0806, 0.04: 0.00053}.items():
        exact = 1 - 2 * tau * norm.pdf(tau) / (2 * norm.cdf(tau) - 1)
        assert exact == pytest.approx(variance, abs=6e-5 if tau > 0.1 else 6e-6)
        assert truncnorm.var(-tau, tau) == pytest.approx(exact, rel=1e-6)
    z = np.asarray(latents.truncated(jax.random.key(0), (20_000,), 1.0), np.float64)
    assert z.var() == pytest.approx(0.2911, abs=0.01) and (np.abs(z) < 1).all()
    clipped = np.clip(jax.random.normal(jax.random.key(0), (20_000,)), -1, 1)
    assert clipped.var() == pytest.approx(0.516, abs=0.02) and (np.abs(clipped) == 1).mean() > 0.3


@pytest.mark.parametrize("network", ["dcgan", "biggan"])
def test_the_way_from_class_to_class(network):
    """At the ends the images of the classes themselves, in the middle the mean embedding; other classes stay."""
    if network == "dcgan":
        module = dcgan.Generator((8, 8, 1), width=2, conditioning="batch_norm", num_classes=3)
    else:
        module = biggan.Generator((8, 8, 1), width=1, num_classes=3, embedding=4)
    z = jax.random.normal(jax.random.key(0), (2, 4))
    variables = jax.jit(lambda z: module.init(jax.random.key(1), z, jnp.zeros(2, jnp.int32), train=False))(z)
    leaves, tree = jax.tree.flatten(variables["params"])
    keys = jax.random.split(jax.random.key(2), len(leaves))  # tables of BatchNorm begin at zero
    params = tree.unflatten([x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)])

    @jax.jit
    def decode(params, label):
        return module.apply({**variables, "params": params}, z, jnp.full(2, label), train=False)

    moved = {t: EXPERIMENT.between(params, 0, 2, t) for t in (0.0, 0.5, 1.0)}
    assert np.array_equal(decode(moved[0.0], 0), decode(params, 0))
    assert np.array_equal(decode(moved[1.0], 0), decode(params, 2))
    assert not np.allclose(decode(params, 0), decode(params, 2), atol=1e-3)
    assert np.array_equal(decode(moved[0.5], 1), decode(params, 1))
    tables = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(moved[0.5]) if path[-1].key == "embedding"]
    before = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == "embedding"]
    assert len(tables) == (1 if network == "biggan" else 4)
    for now, old in zip(tables, before, strict=True):
        np.testing.assert_allclose(now[0], (old[0] + old[2]) / 2, atol=1e-6)
        assert np.array_equal(now[1:], old[1:])


def test_rows_of_the_confusion_are_what_was_asked_for():
    data = SimpleNamespace(classes=3, class_names=("a", "b", "c"))
    asked, found = np.array([0, 0, 0, 0, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    samples = EXPERIMENT.confusion(asked, found, data)
    assert samples.tolist() == [[0.25, 0.75, 0], [0, 0, 0], [0.5, 0, 0.5]]
    real = np.array([[0.6, 0.4, 0], [0, 1, 0], [0, 0, 1]])
    lines = EXPERIMENT.told_of_confusion(data, {"samples": samples, "held-out images": real}, 6)
    assert "37.5% of samples, 80.0% of held-out images" in lines[0]  # of the classes that were asked for
    assert lines[1].startswith("leaks most: c seen as a 50.0% against 0.0%; a seen as b 75.0% against 40.0%")


def test_statistics_of_a_dcgan_undo_the_scale_of_z():
    """BatchNorm behind a linear map without bias, of z and of z / 2: the images are the same but for its epsilon."""
    module = dcgan.Generator((8, 8, 1), width=2)
    z = jax.random.normal(jax.random.key(0), (16, 4))
    variables = module.init(jax.random.key(1), z[:2], train=False)
    large = jax.tree.map(lambda leaf: 50 * leaf if leaf.ndim > 1 else leaf, variables["params"])

    @jax.jit
    def images(z):
        return module.apply({**variables, "params": large}, z, train=True, mutable=["batch_stats"])[0]

    np.testing.assert_allclose(images(z / 2), images(z), atol=1e-3)
    assert images(z).std() > 0.1


@pytest.mark.fault("BigGAN: samples of a truncated prior under statistics of the whole one")
def test_statistics_are_measured_for_each_threshold(monkeypatch):
    """Every threshold is drawn with passes of its own, of the same z, as many of each class."""
    digits, asked = load("digits"), []

    def draw(setup, state, key, count, given, **how):
        asked.append(how)
        assert np.bincount(given).tolist() == [4] * 10
        return digits.x_train[:count]

    features = np.random.default_rng(0).normal(size=(len(digits.x_train), 5))
    monkeypatch.setattr(EXPERIMENT, "draw", draw)
    monkeypatch.setattr(EXPERIMENT, "checked", lambda setup, draws: digits)
    monkeypatch.setattr(EXPERIMENT, "classes_of", lambda setup, draws: np.arange(10))
    monkeypatch.setattr(
        EXPERIMENT, "extract", lambda classify, x: (features[: len(x)], np.eye(10)[np.arange(len(x)) % 10])
    )
    points = EXPERIMENT.truncation(
        replace(SMALL, thresholds=(2.0, 0.5)), SimpleNamespace(sampler=lambda: None), None, None, 7
    )
    assert asked == [{"standing": 7, "truncation": cut} for cut in (0.5, 2.0, None)]
    assert [point.threshold for point in points] == [0.5, 2.0, np.inf]
    assert [point.deviation for point in points] == pytest.approx([0.0806**0.5, 0.7737**0.5, 1], abs=2e-4)
    assert points[0].agreement == pytest.approx(0.1) and points[0].precision > 0


@pytest.mark.skipif(not matrix.FULL, reason="compiles BigGAN twice: GANJAX_TESTS=full")
def test_a_run_of_biggan_is_looked_at(tmp_path, monkeypatch):
    """Trained in its smoke size, hierarchical latents and all; what is looked at is its newest checkpoint."""
    monkeypatch.syspath_prepend(_path.parent)
    import biggan as trained

    run, out = tmp_path / "run", tmp_path / "leakage"
    launch.main(trained.EXPERIMENT, ["train", "--smoke", "--workdir", str(run)])
    setup, state = EXPERIMENT.of_run(run)
    assert int(state.step) == trained.SMOKE["steps"] and setup.imitated(setup.sampler()).name == "digits"
    launch.main(EXPERIMENT.EXPERIMENT, ["train", "--smoke", "--run", str(run), "--workdir", str(out)])
    kept = json.loads((out / "results.json").read_text())
    np.testing.assert_allclose(np.sum(kept["confusion"]["samples"], 1), 1)
    assert np.shape(kept["turning"]) == (4, EXPERIMENT.COLUMNS) and len(kept["truncation"]["1"]) == 2
    assert all((out / f"{name}.png").exists() for name in ("confusion", "interpolation", "curves"))


def test_a_run_that_is_none_or_has_no_classes_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(_path.parent)  # as where the script is run
    with pytest.raises(ConfigError, match="holds no run; train one first"):
        EXPERIMENT.of_run(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"experiment": "judges", "config": {}, "data_digest": ""}))
    with pytest.raises(ConfigError, match="is a run of 'judges', expected one of biggan, conditional_mnist"):
        EXPERIMENT.of_run(tmp_path)
    plain = EXPERIMENT.recipe.convolutional(EXPERIMENT.ConvolutionalConfig(width=4, latent=4), load("digits"), None)
    with pytest.raises(ConfigError, match="is not told the class"):
        EXPERIMENT.checked(plain, plain.sampler())
