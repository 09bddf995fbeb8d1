"""Views of a latent space that is known, and the command as a user types it."""

import importlib.util
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax import explore as module
from ganjax import launch
from ganjax.core import GameState, Sampler
from ganjax.data import Dataset, subsample
from ganjax.errors import ConfigError
from ganjax.explore import COLUMNS, MEASURED, THRESHOLDS, VIEWS, diversity, explore
from ganjax.games import normal_prior, sampler, uniform_prior
from ganjax.kinds import to_bytes
from ganjax.report.images import load_image
from ganjax.training import Keys, Setup, Stream, draw

SHAPES = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)


class Known(nn.Module):
    """Three shapes mixed by z [B, 3]; the label k adds 0.1 k to every pixel."""

    def __call__(self, z, labels=None):
        x = 0.15 * jnp.tensordot(z, SHAPES, 1)
        return x if labels is None else x + 0.1 * labels.reshape(-1, 1, 1, 1)


def _made(z):
    return to_bytes(np.asarray(Known().apply({}, jnp.asarray(z, jnp.float32))))


def _dataset(**changes):
    """Class k is the shape k with something of the others; the generator can make every image."""
    y = np.arange(150, dtype=np.int32) % 3
    x = _made(np.random.default_rng(1).normal(0, 0.3, (150, 3)) + np.eye(3)[y])
    arrays = {"x_train": x[:100], "y_train": y[:100], "x_test": x[100:], "y_test": y[100:]}
    return Dataset(**{**arrays, "name": "shapes", "class_names": ("one", "two", "three"), **changes})


def _setup(data=None, prior=None, labelled=False, **options):
    given = ("data", "class") if labelled else None
    options = {"samplers": {"prior": sampler(Known(), prior or normal_prior(3), given=given)}, **options}
    return Setup(game=None, dynamics=None, streams={"data": Stream(data or _dataset(), 1)}, **options)


NOTHING = jnp.zeros((), jnp.int32)
STATE = GameState(NOTHING, {"generator": {}}, {"generator": {}}, (), {}, NOTHING)


@pytest.fixture
def look(tmp_path, monkeypatch):
    """`look("truncation", setup, count=...)` -> (the rows of the picture, what is printed)."""
    shown = []
    monkeypatch.setattr(module, "rows", lambda content, out, **options: shown.extend(content))

    def of(what, setup, **options):
        lines = explore(what, setup, STATE, tmp_path / "latent.png", **options)
        assert lines[-1] == str(tmp_path / "latent.png")
        return shown, lines[:-1]

    return of


def test_paths_lead_from_sample_to_sample(look):
    shown, lines = look("interpolation", _setup(), count=2, seed=4)
    samples = draw(_setup(), STATE, Keys.of(4).samples, 4)
    assert [row.caption for row in shown] == ["linear", "spherical"] * 2
    for place, row in enumerate(shown):
        np.testing.assert_array_equal(row.images[[0, -1]], samples[[place // 2, place // 2 + 2]])
        assert len(row.images) == COLUMNS
    z = [np.asarray(jax.random.normal(jax.random.fold_in(Keys.of(4).samples, i), (3,))) for i in range(4)]
    middle = [(z[0] + z[2]) / 2, (z[1] + z[3]) / 2]
    np.testing.assert_array_equal(shown[2].images[COLUMNS // 2], _made(middle)[1])
    length = {line.split(",")[0]: float(re.search(r"\|z\| +([\d.]+)", line)[1]) for line in lines}
    np.testing.assert_allclose(length["linear"], np.linalg.norm(middle, axis=1).mean(), atol=0.005)
    np.testing.assert_allclose(length["spherical"], np.linalg.norm(z, axis=1).mean(), atol=0.005)


def _distances(a, b):
    """By hand, in double precision."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) / 255 for x in (a, b))
    return np.sqrt((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T + 1e-12)


def test_truncation_judges_the_runs_own_samples(look):
    shown, lines = look("truncation", _setup(labelled=True), count=5, seed=2)
    samples = draw(_setup(labelled=True), STATE, Keys.of(2).samples, MEASURED)
    np.testing.assert_array_equal(shown[-1].images, samples[:5])
    table = {line[:16].strip(): np.array(line[16:].split(), float) for line in lines[1:-1]}
    assert list(table) == [f"|z_j| <= {t:g}" for t in THRESHOLDS[:-1]] + ["all", "held-out images"]
    train, test = _dataset().x_train, _dataset().x_test
    for name, x in {"all": samples, "held-out images": test}.items():
        spread = _distances(x, x)[np.triu_indices(len(x), 1)].mean()
        np.testing.assert_allclose(table[name], [spread, np.median(_distances(x, train).min(1))], atol=0.006)
    spread = np.array([table[name][0] for name in table])[:-1]
    assert (np.diff(spread) > 0).all() and spread[0] < 0.5 * spread[-1]
    assert shown[0].note == "diversity {:.2f}\nnearest {:.2f}".format(*table["|z_j| <= 0.25"])
    assert load_image(lines[-1]).shape[0] > 100


def _by_class(**changes):
    """The data with both splits sorted by class, as a folder of classes is read."""
    data = _dataset(**changes)
    order = {"train": np.argsort(data.y_train, kind="stable"), "test": np.argsort(data.y_test, kind="stable")}
    return _dataset(**{f"{a}_{s}": getattr(data, f"{a}_{s}")[order[s]] for a in "xy" for s in order})


def test_images_of_a_split_that_is_sorted_by_class_are_of_all_classes(look, monkeypatch):
    data, compared = _by_class(), []
    shown, _ = look("projection", _setup(data), count=12)
    for row, (x, y) in zip(shown[::2], [(data.x_test, data.y_test), (data.x_train, data.y_train)], strict=True):
        assert {int(y[(x == image).all((1, 2, 3))][0]) for image in row.images} == {0, 1, 2}
    monkeypatch.setattr(module, "MEASURED", 12)
    monkeypatch.setattr(module, "diversity", lambda images: compared.append(images) or 0.0)
    look("truncation", _setup(data), count=2)
    rows = subsample(50, 12)
    np.testing.assert_array_equal(compared[-1], data.x_test[rows])


def test_diversity_by_hand():
    images = np.zeros((3, 2, 2, 1), np.uint8)
    images[1], images[2, 0, 0] = 255, 255  # distances 2, 1 and sqrt(3)
    np.testing.assert_allclose(diversity(images), (2 + 1 + np.sqrt(3)) / 3)


def test_arithmetic_keeps_what_was_added_and_drops_what_was_taken(look):
    shown, lines = look("arithmetic", _setup(), count=6)
    assert re.match(r"the classifier has (9\d|100)\.\d% of the held-out images right", lines[0])
    assert lines[1] == "100% of the means are seen as their own class, 100% of the results as a or c"
    assert len({row.caption for row in shown}) > 1 and len(lines) == 8
    for row in shown:
        a, b, c = re.split(" [-+] ", row.caption)
        assert {a, b, c} == {"one", "two", "three"} and row.note in (f"seen as {a}", f"seen as {c}")
        axis = [("one", "two", "three").index(name) for name in (a, b, c)]
        pixels = row.images.reshape(4, -1).astype(float) / 127.5 - 1
        mix = np.linalg.lstsq(0.15 * SHAPES.reshape(3, -1).T, pixels.T, rcond=None)[0].T
        np.testing.assert_allclose(mix[3], mix[0] - mix[1] + mix[2], atol=0.03)
        assert (mix[:3].argmax(1) == axis).all()


def test_arithmetic_needs_three_classes_among_the_samples(look):
    with pytest.raises(ConfigError, match=r"sees \d classes .* expected at least 3; train longer"):
        look("arithmetic", _setup(prior=lambda key: 0.1 + 0 * normal_prior(3)(key)), count=2)


def test_held_out_images_that_can_be_made_are_found_and_noise_is_not(look):
    noise = np.random.default_rng(5).integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)
    shown, lines = look("projection", _setup(_dataset(x_train=noise)), count=60)
    held_out, training, control = (float(re.search(r"median RMSE ([\d.]+)", line)[1]) for line in lines)
    assert held_out < 0.005 and training > 0.2 and control > 0.2
    assert [row.caption for row in shown] == ["held out", "projected", "training", "projected"]
    assert all(len(row.images) == 50 for row in shown), "no more than there are held-out images"
    error = np.sqrt(np.square((shown[0].images - shown[1].images.astype(float)) / 255).mean((1, 2, 3)))
    np.testing.assert_allclose(np.array(lines[0].split("of ")[1].split(), float), error, atol=0.003)


def test_a_generator_that_is_told_the_class_projects_with_the_images_own(look):
    labels = np.full(50, 2, np.int32)
    brighter = to_bytes(np.asarray(Known().apply({}, jnp.eye(3), jnp.full(3, 2))))
    data = _dataset(x_test=np.resize(brighter, (50, 8, 8, 1)), y_test=labels)
    _, lines = look("projection", _setup(data, labelled=True), count=3)
    assert float(re.search(r"median RMSE ([\d.]+)", lines[0])[1]) < 0.005


def _of_classes(number):
    """The shapes, of which so many are told apart, by labels that leave some out."""
    return _dataset(y_train=5 * (np.arange(100, dtype=np.int32) % number), y_test=None, class_names=None)


def test_the_classes_that_are_asked_for_take_turns(look):
    """Class k is brighter by 0.1 k; by default those take turns that training images have."""
    for asked, expected in ((10, 5), [10, 5, 10]), ((), [0, 5, 10]):
        shown, _ = look("interpolation", _setup(_of_classes(3), labelled=True), count=3, classes=asked)
        plain, _ = look("interpolation", _setup(), count=3)
        for place, row in enumerate(shown[:6]):
            added = (row.images.astype(float) - plain[6:][place].images).mean() / 127.5
            np.testing.assert_allclose(added, 0.1 * expected[place // 2], atol=0.2)
        shown.clear()


@pytest.mark.parametrize(
    ("what", "labelled", "classes", "sentence"),
    [
        ("interpolation", False, (1,), "--classes: the generator of this run takes no classes"),
        ("truncation", True, (0, 7), "--classes holds 7, which no training example has; expected some of 0, 1, 2"),
        ("projection", True, (1,), "each image has a class of its own; leave --classes out"),
    ],
)
def test_wrong_classes(look, what, labelled, classes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        look(what, _setup(labelled=labelled), count=2, classes=classes)


POINTS = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
PLAIN = Sampler(("generator",), "data", lambda *told: None)
REFUSED = {
    "a function": (
        "interpolation",
        lambda: _setup(samplers={"x": PLAIN}),
        "no generator with a latent input",
    ),
    "points": ("interpolation", lambda: _setup(Dataset(POINTS, name="ring")), "ring has points, expected images"),
    "uniform": ("truncation", lambda: _setup(prior=uniform_prior(3)), r"prior of this experiment is not N\(0, I\)"),
    "no test": ("projection", lambda: _setup(_dataset(x_test=None, y_test=None)), "has no held-out images"),
    "no labels": ("arithmetic", lambda: _setup(_dataset(y_train=None, y_test=None)), "shapes has no labels"),
    "told": ("arithmetic", lambda: _setup(labelled=True), "is told the class"),
    "one class": ("arithmetic", lambda: _setup(_of_classes(1)), "training images of 1 classes, expected at least 3"),
    "two classes": ("arithmetic", lambda: _setup(_of_classes(2)), "training images of 2 classes, expected at least 3"),
    "no test labels": ("projection", lambda: _setup(_dataset(y_test=None), labelled=True), "no labels of held-out"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_view_needs(case, look):
    what, setup, sentence = REFUSED[case]
    with pytest.raises(ConfigError, match=f"--what {what}: .*{sentence}"):
        look(what, setup(), count=2)


# -- the command ------------------------------------------------------------------------------------------------------

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "vanilla_gan.py"


@pytest.fixture
def run(capsys):
    """`run("latent", ...)` -> (exit code, stdout, stderr)."""
    spec = importlib.util.spec_from_file_location("vanilla_gan", EXPERIMENT)
    sys.modules["vanilla_gan"] = experiment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(experiment)

    def command(*args):
        code = 0
        try:
            launch.main(experiment.EXPERIMENT, [str(a) for a in args])
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return command


def test_the_command_draws_every_view_of_a_trained_run(tmp_path, run):
    workdir = tmp_path / "run"
    assert run("train", "--workdir", workdir, "--smoke", "--quiet", "--steps", 20, "--sample-every", 0)[0] == 0
    for what in VIEWS:
        args = ("latent", "--workdir", workdir, "--what", what, "--count", 3)
        code, out, err = run(*args, "--out", tmp_path / what / "a.png")
        assert code == 0 and out.splitlines()[-1] == str(tmp_path / what / "a.png"), err
        assert min(load_image(tmp_path / what / "a.png").shape[:2]) > 150
    args = ("latent", "--workdir", workdir, "--what", "interpolation", "--count", 3, "--out", tmp_path / "b.png")
    assert run(*args, "--weights", "raw", "--seed", 1)[0] == 0
    assert (load_image(tmp_path / "b.png") != load_image(tmp_path / "interpolation" / "a.png")).any()
    code, _, err = run(*args, "--weights", "eam")
    assert code == 2 and "--weights is 'eam', expected one of" in err


def test_help_says_what_there_is(run):
    code, out, _ = run("latent", "--help")
    assert code == 0
    for word in (*VIEWS, "--what", "--count", "--weights", "--seed", "control"):
        assert word in out


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--what", "interpolatoin"), "interpolatoin"),
        (("--what", "truncation", "--count", 0), "--count is 0, expected at least 1"),
        (("--what", "truncation"), "holds no run; train one first"),
    ],
)
def test_a_wrong_command_is_one_sentence(args, sentence, tmp_path, run):
    code, out, err = run("latent", "--workdir", tmp_path / "run", "--out", tmp_path / "x.png", *args)
    assert code == 2 and out == "" and sentence in err and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
