"""One contract for every score: a perfect sampler scores its floor on any data, by the command as a user types it."""

import contextlib
import dataclasses
import io
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax import launch
from ganjax.commands.base import Loader, describe
from ganjax.core import Game, Outcome, Sampler
from ganjax.dynamics import simultaneous
from ganjax.evaluation import METRICS, Extractor, light_judge, pixels, read
from ganjax.evaluation.evaluate import asked_of, real_examples
from ganjax.evaluation.extractor import Features
from ganjax.options import TrainConfig
from ganjax.report import grid
from ganjax.report.images import load_image
from ganjax.rundir import write_run
from ganjax.training import Keys, Setup, Stream, draw, in_turn, init_state
from ganjax.training.checkpoint import Checkpoints

SHAPE, NOISE = (4, 4, 1), 0.15  # of images in [-1, 1]: each class is one image with this noise
CLASSES = np.random.default_rng(0).uniform(-0.5, 0.5, (100, *SHAPE)).astype(np.float32)
# name -> labels of the training and of the test examples
LABELS = {
    "balanced": (np.arange(400) % 4, np.arange(200) % 4),
    "skewed": tuple(np.repeat([0, 1, 2, 3], np.array([90, 5, 4, 1]) * k) for k in (4, 2)),
    "from one": (1 + np.arange(400) % 4, 1 + np.arange(200) % 4),
    "gapped": tuple(np.repeat([0, 7, 40, 99], np.array([70, 10, 10, 10]) * k) for k in (4, 2)),
    "sorted by class": (np.repeat(np.arange(4), 200), np.repeat(np.arange(4), 100)),
    "tiny": (np.arange(48) % 2, np.arange(24) % 2),
    "a single class": (np.zeros(400, int), np.zeros(200, int)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    conditional: bool = True


def _asked(weights, key, index, labels):
    """Images of these classes; a function of its own, so that it is compiled once for all data sets."""
    noise = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), SHAPE))(index)
    return weights["generator"].params["classes"][labels] + NOISE * noise


def _build(config, load, axis_name):
    """A game that is over before it begins: its generator draws the classes of the data, exactly as they are."""
    dataset = load(config.data)

    def freely(weights, key, index, labels):
        labels = jax.vmap(lambda i: jax.random.choice(jax.random.fold_in(key, 10**6 + i), dataset.y_train))
        return _asked(weights, key, index, labels(index))

    game = Game(
        lambda key, batch: ({"generator": {"classes": jnp.asarray(CLASSES)}}, {"generator": {}}),
        {"generator": lambda params, moment: (jnp.zeros(()), Outcome({}, {}))},
    )
    dynamics = simultaneous({"generator": optax.sgd(1.0)})
    y = "class" if config.conditional else None
    draws = Sampler(("generator",), "data", _asked if y else freely, given=("data", "class") if y else None)
    return Setup(game, dynamics, {"data": Stream(dataset, 4, y)}, samplers={"perfect": draws})


EXPERIMENT = launch.Experiment("perfect", "A perfect sampler.", Config(), {}, _build)


def _images(y, seed):
    x = CLASSES[y] + NOISE * np.random.default_rng(seed).normal(size=(len(y), *SHAPE))
    return np.clip(np.round((x + 1) * 127.5), 0, 255).astype(np.uint8)


def _looking(weights, x):
    """The pixels, and a class for each image that is the nearest."""
    features = x.reshape(len(x), -1).astype(jnp.float32) / 127.5 - 1
    return Features(features, -20 * ((features[:, None] - weights[None]) ** 2).sum(-1))


def _extractor(name, dataset, *rest, progress):
    return Extractor("classifier", "e" * 64, _looking, CLASSES.reshape(100, -1)[: dataset.classes], "none")


@pytest.fixture
def perfect(tmp_path, monkeypatch):
    """`perfect("skewed")` -> (directory, setup, state) of a perfect run on such data."""
    for module in ("ganjax.evaluation", "ganjax.evaluation.judge"):
        monkeypatch.setattr(f"{module}.chosen_extractor", _extractor)

    def run(name, test=None, **more):
        train, test = LABELS[name] if test is None else (LABELS[name][0], test)
        data = tmp_path / "data.npz"
        np.savez(data, x_train=_images(train, 1), y_train=train, x_test=_images(test, 2), y_test=test)
        config = Config(data=str(data), **more)
        loader = Loader(config)
        setup = _build(config, loader, None)
        checkpoints = Checkpoints(tmp_path / "run")
        state = init_state(setup.game, setup.dynamics, jax.random.key(0), None)
        checkpoints.save(state)
        checkpoints.close()
        write_run(tmp_path / "run", describe(EXPERIMENT, config, loader))
        return tmp_path / "run", setup, state

    return run


def _command(*args):
    """(exit code, stdout, stderr) of a command, in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            launch.main(EXPERIMENT, [str(arg) for arg in args])
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()


def _evaluated(workdir, *args):
    """The record that the command evaluate writes."""
    code, out, err = _command("evaluate", "--workdir", workdir, "--quiet", *args)
    assert code == 0 and err == "", err
    return read(Path(out.splitlines()[-1]))


SHARES = {"precision", "recall", "density", "coverage"}
NEAR = {  # name -> how far a score may be from its floor
    **dict.fromkeys(SHARES, 0.2),
    "kernel_classifier": 0.015,
    "classifier_score": 0.2,
    "modes": 0,
    "mode_kl": 0.1,
    "duplicates": 0.15,
    "memorised": 0.1,
}


def _check_near(name, value, floor):
    """Distances have no scale but their floor; a set that has the classes of the reference may be nearer than it."""
    if name in NEAR:
        assert value == pytest.approx(floor, abs=NEAR[name]), name
    else:
        assert 0 < value < 1.5 * floor, name


@pytest.mark.parametrize("name", LABELS)
def test_a_perfect_sampler_scores_its_floor(perfect, name):
    """By every metric, and so do held-out data in its place, whatever the order and the frequencies of classes."""
    workdir, setup, state = perfect(name)
    record = _evaluated(workdir, "--count", 200)
    assert record.receipt.labels == "those of the reference"
    agreement = record.metrics["agreement"]
    assert agreement.value == pytest.approx(agreement.held_out, abs=0.02) and agreement.value > 0.98
    number = len(np.unique(LABELS[name][0]))
    assert record.metrics["modes"].value == number and record.metrics["modes"].note.startswith(f"of {number},")
    rest = record.metrics.keys() - {"agreement", "time_per_sample"}
    assert rest == {"frechet_classifier", "sliced_wasserstein", *NEAR}
    for metric in rest:
        score = record.metrics[metric]
        _check_near(metric, score.value, score.floor)
        if score.held_out is not None and "held out at" not in score.note:
            _check_near(metric, score.held_out, score.floor)
    light = light_judge(setup, 0, count=200)(state)
    assert 0 < light["score"] < 1.5 * light["floor"] and light["modes"] == number


def test_a_perfect_sampler_without_classes_scores_its_floor(perfect):
    workdir, _, _ = perfect("skewed", conditional=False)
    scores = _evaluated(workdir, "--count", 200, "--metrics", "frechet", "modes").metrics
    for metric, score in scores.items():
        _check_near(metric, score.value, score.floor)
    code, _, err = _command("sample", "--workdir", workdir, "--out", workdir / "a.png", "--classes", 1)
    assert code == 2 and "--classes: the generator of this run takes no classes; leave it out" in err


@pytest.mark.parametrize(("count", "reference"), [(400, 200), (100, 200), (350, 30)])
def test_classes_are_asked_for_as_the_reference_has_them(perfect, count, reference):
    _, setup, _ = perfect("skewed")
    data = setup.streams["data"].dataset
    real = real_examples(data, pixels(), count, reference)
    labels = asked_of(setup, setup.sampler(), real, count).values
    shares = np.bincount(real.reference.y, minlength=4) / reference
    assert labels.shape == (count,) and len(real.reference.y) == reference
    if count % reference == 0:
        np.testing.assert_array_equal(np.bincount(labels, minlength=4) / count, shares)
    np.testing.assert_array_equal(labels[:reference], real.reference.y[:count])
    rows = {x.tobytes(): y for x, y in zip(data.x_train, data.y_train, strict=True)}
    assert all(rows[x.tobytes()] == y for x, y in zip(real.reference.x, real.reference.y, strict=True))


def test_pictures_show_the_classes_that_there_are_and_those_that_are_asked_for(perfect):
    workdir, setup, state = perfect("gapped")
    near = lambda x: (((x[:, None] / 127.5 - 1 - CLASSES) ** 2).sum((2, 3, 4))).argmin(1)  # noqa: E731
    assert near(draw(setup, state, Keys.of(0).samples, 6)).tolist() == [0, 7, 40, 99, 0, 7]
    assert in_turn(setup, setup.sampler(), 5, (40, 7)).values.tolist() == [40, 7, 40, 7, 40]
    out = workdir.parent / "some.png"
    assert _command("sample", "--workdir", workdir, "--count", 4, "--classes", 40, 7, "--out", out)[0] == 0
    expected = grid(draw(setup, state, Keys.of(0).samples, 4, np.array([40, 7, 40, 7])))
    np.testing.assert_array_equal(load_image(out), expected)
    code, _, err = _command("sample", "--workdir", workdir, "--classes", 7, 3, "--out", workdir.parent / "x.png")
    assert code == 2 and not (workdir.parent / "x.png").exists()
    assert err == "error: --classes holds 3, which no training example has; expected some of 0, 7, 40, 99\n"


# -- what cannot be computed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [3, 1])
def test_few_held_out_images_cost_their_own_figures_alone(perfect, number):
    asked = ("--count", 200, "--metrics", "precision_recall", "density_coverage", "frechet", "agreement")
    whole = _evaluated(perfect("balanced")[0], *asked).metrics
    few = _evaluated(perfect("balanced", test=np.arange(number))[0], *asked).metrics
    assert {name: few[name].value for name in whole} == {name: score.value for name, score in whole.items()}
    for name in SHARES:
        assert few[name].held_out is None and "none of held-out data: " in few[name].note
        assert f"has shape ({number}, 16), expected" in few[name].note
    assert (few["frechet_classifier"].held_out is None) == (number == 1) and few["agreement"].held_out == 1


def _broken(scene):
    raise ValueError("kernel_distance: no\nkernel")


def test_a_metric_that_cannot_be_computed_costs_only_itself(perfect, monkeypatch, caplog):
    workdir, setup, state = perfect("balanced")
    monkeypatch.setitem(METRICS, "kernel", METRICS["kernel"]._replace(score=_broken))
    scores = _evaluated(workdir, "--count", 100, "--metrics", "frechet", "kernel", "duplicates").metrics
    assert list(scores) == ["frechet_classifier", "duplicates"]
    assert caplog.messages == ["the metric kernel is left out: kernel_distance: no kernel"]
    code, out, err = _command("evaluate", "--workdir", workdir, "--quiet", "--count", 100, "--metrics", "kernel")
    assert (code, out, err) == (5, "", "error: none of the metrics kernel can be computed of these samples\n")
    monkeypatch.setitem(METRICS, "frechet", METRICS["frechet"]._replace(score=_broken))
    light = light_judge(setup, 0, count=100)(state)
    assert np.isnan(light["score"]) and light["modes"] == 4 and "duplicates" in light


# -- records ----------------------------------------------------------------------------------------------------------


def test_no_record_replaces_one_of_another_protocol(perfect):
    workdir = perfect("balanced")[0]
    ways = [(), ("--seed", 1), ("--count", 60), ("--reference-count", 80), ("--seed", 1, "--count", 60)]
    records = [_evaluated(workdir, "--metrics", "duplicates", "--count", 50, *way) for way in ways]
    assert len(list((workdir / "scores").iterdir())) == len(ways)
    again = _evaluated(workdir, "--metrics", "frechet", "--count", 50, "--seed", 1)
    assert list(again.metrics) == ["duplicates", "frechet_classifier"]
    assert again.metrics["duplicates"] == records[1].metrics["duplicates"]
    paths = [path for path in (workdir / "scores").iterdir() if "-50-seed" in path.name]
    code, out, err = _command("compare", "--scores", *(p for p in paths if read(p).receipt.reference_count == 50))
    assert code == 0 and {"seed 0", "seed 1"} <= {line[-6:] for line in out.splitlines()}, err
    code, _, err = _command("report", "--workdir", workdir)
    page = (workdir / "report.html").read_text()
    assert code == 0 and "Earlier scores" not in page and page.count("<article>") == len(ways), err
    assert "60 samples against 60 real images of the split train, seed 1, seen by classifier" in page


def test_records_of_before_are_read_and_not_compared_with_those_of_now(perfect):
    """They have no word on classes, which then took turns, and other names."""
    workdir = perfect("balanced")[0]
    now = _evaluated(workdir, "--metrics", "duplicates", "--count", 50)
    (path,) = (workdir / "scores").iterdir()
    content = json.loads(path.read_text())
    del content["receipt"]["labels"]
    before = path.with_name("00000000-raw-classifier.json")
    before.write_text(json.dumps(content))
    assert read(before).metrics == now.metrics and read(before).receipt.labels == "in turn"
    assert _command("compare", "--scores", before, before)[0] == 0 and _command("report", "--workdir", workdir)[0] == 0
    code, _, err = _command("compare", "--scores", before, path)
    assert code == 2 and "differ in labels 'in turn' and 'those of the reference'" in err
