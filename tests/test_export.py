"""The command export, and what a stranger can do with the folder that it writes."""

import contextlib
import dataclasses
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from matrix import FULL

from ganjax import export, launch
from ganjax.commands.base import Loader, describe, stages_of
from ganjax.data import load
from ganjax.data.outline import stand_ins
from ganjax.errors import CheckpointError, ConfigError
from ganjax.evaluation import Record, Score, keep, receipt_of
from ganjax.evaluation.extractor import pixels
from ganjax.kinds import to_bytes
from ganjax.rundir import read_run
from ganjax.training import Keys, draw, in_turn, load_state
from ganjax.training.setup import state_shapes

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
ARGS = ("--smoke", "--quiet", "--conditional", "--judge-every", 60, "--sample-every", 0)  # without figures
FILES = (export.WEIGHTS, export.PROGRAM, export.LATENT, export.CONFIG, export.RECEIPT)


def _experiment(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.EXPERIMENT


def _run(*args, name="vanilla_gan"):
    """(exit code, stdout, stderr) of a command, in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            launch.main(_experiment(name), [str(arg) for arg in args])
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()


def _child(code, folder, **environment):
    """Run a program in the folder, in a fresh process."""
    environment = os.environ | environment
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run directory, setup, state) of a conditional run, with a record of scores."""
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    code, _, err = _run("train", "--workdir", workdir, *ARGS)
    assert code == 0, err
    experiment = _experiment("vanilla_gan")
    config = dataclasses.replace(experiment.config, **experiment.smoke, conditional=True)
    setup = experiment.build(config, load, None)
    state = load_state(setup, workdir)
    for weights in ("ema", "raw"):
        receipt = receipt_of(setup, state, pixels(), {}, weights=weights, count=100, reference_count=None, seed=0)
        score = Score(value=1.5, floor=0.5, held_out=None, better="lower")
        keep(workdir, Record(60, weights, "last", {"frechet": score}, receipt))
    return workdir, setup, state


@pytest.fixture(scope="module")
def shipped(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped") / "generator"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganjax.data.load", None)  # no data are asked for
        code, out, err = _run("export", "--workdir", trained[0], "--out", folder)
    assert code == 0 and out.splitlines()[-1] == str(folder), err
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "README.md"])
    assert [path.name for path in folder.parent.iterdir()] == ["generator"]
    return folder


def test_the_lines_of_the_readme_draw_the_samples_of_the_run(trained, shipped, tmp_path):
    """In a process that has neither ganjax nor Flax: the files are all there is."""
    _, setup, state = trained
    lines = re.search(r"```python\n(.*)```", (shipped / "README.md").read_text(), re.DOTALL)[1]
    for name in (export.PROGRAM, export.LATENT):
        (tmp_path / name).write_bytes((shipped / name).read_bytes())
    more = (
        "import sys\n"
        "known = {name.split('.')[0] for name in sys.modules}\n"
        "assert not known & {'ganjax', 'flax', 'optax', 'orbax', 'safetensors'}, known\n"
        "few = np.asarray(generator.call(latent.call(np.uint32(0), index[5:8]), index[5:8] % 10))\n"
        "np.save('few.npy', few)\n"
    )
    _child(lines + more, tmp_path)
    expected = draw(setup, state, Keys.of(0).samples, 64)
    assert expected.dtype == np.uint8 and expected.std() > 1
    np.testing.assert_array_equal(np.load(tmp_path / "samples.npy"), expected)
    few = to_bytes(np.load(tmp_path / "few.npy"))
    np.testing.assert_array_equal(few, expected[5:8])


def test_the_weights_and_the_config_draw_the_samples_of_the_run(trained, shipped, tmp_path):
    """In another process, by the experiment's own modules, without the run and without its data."""
    _, setup, state = trained
    code = f"""
import importlib.util, sys
import jax, numpy as np
from ganjax.export import rebuild
from ganjax.training import Keys
spec = importlib.util.spec_from_file_location("vanilla_gan", {str(EXPERIMENTS / "vanilla_gan.py")!r})
module = sys.modules["vanilla_gan"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
setup, weights = rebuild({str(shipped)!r}, module.EXPERIMENT)
assert len(setup.streams["data"].dataset.x_train) == 10
index = np.arange(64)
x = jax.jit(setup.sampler().__call__)(weights, Keys.of(0).samples, index, index % 10)
np.save("x.npy", x)
"""
    _child(code, tmp_path, PYTHONPATH=os.pathsep.join(sys.path))
    average = setup.averages["ema"].value(state.averages["ema"])
    index, draws = np.arange(64), jax.jit(setup.sampler().__call__)
    x, raw = (np.asarray(draws(w, Keys.of(0).samples, index, index % 10)) for w in (average, state.weights))
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), x, atol=1e-6)
    assert np.abs(x - raw).max() > 1e-3, "the averaged weights are others"


def test_loaded_it_draws_any_number_with_any_seed_and_labels(trained, shipped):
    _, setup, state = trained
    generator = export.load(shipped)
    np.testing.assert_array_equal(generator.sample(2**32 - 1, 70), draw(setup, state, Keys.of(2**32 - 1).samples, 70))
    sevens, turns = generator.sample(3, 20, given=np.full(20, 7)), generator.sample(3, 20)
    np.testing.assert_array_equal(sevens[[7, 17]], turns[[7, 17]])
    assert not np.array_equal(sevens[8], turns[8])
    for wrong in (np.full(20, 10), np.full(20, -1), np.full(19, 7)):
        with pytest.raises(ConfigError, match=r"expected \[20\] integers from 0 to 9"):
            generator.sample(3, 20, given=wrong)


def test_the_receipt_says_where_it_comes_from(trained, shipped):
    from safetensors import safe_open

    workdir, setup, _ = trained
    receipt, config = (json.loads((shipped / name).read_text()) for name in (export.RECEIPT, export.CONFIG))
    assert (receipt["step"], receipt["weights"], receipt["which"]) == (60, "ema", "last")
    assert receipt["data_digest"] == setup.streams["data"].dataset.digest == config["data"]["data"]["digest"]
    _, out, _ = _run("train", "--workdir", workdir, *ARGS)
    assert receipt["state_digest"] == out.split()[-1]
    assert [record["weights"] for record in receipt["scores"]] == ["ema"]
    assert receipt["scores"][0]["metrics"]["frechet"]["value"] == 1.5
    assert receipt["largest_difference"] < 1e-6 and receipt["versions"]["jax"] == jax.__version__
    assert config["config"] == read_run(workdir)["config"]
    assert config["prior"] == {"distribution": "N(0, I)", "shape": [100], "dtype": "float32"}
    assert config["given"] == {"kind": "class", "shape": [], "dtype": "int32", "classes": 10}
    assert config["output"]["range"] == [-1, 1]
    with safe_open(shipped / export.WEIGHTS, framework="numpy") as file:
        assert file.metadata()["step"] == "60" and set(file.keys()) == set(receipt["leaves"])
    program = jax.export.deserialize(bytearray((shipped / export.PROGRAM).read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu") and program.in_avals[0].shape[1:] == (100,)


def test_an_exported_folder_is_no_run(shipped):
    code, _, err = _run("train", "--workdir", shipped, "--smoke", "--quiet")
    assert code == 2 and "it is not a ganjax run" in err


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flipped", "cut", "deleted"])
def test_damage_is_named(shipped, tmp_path, name, damage):
    for file in shipped.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "deleted":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content if damage == "flipped" else content[:-9])
    for read in (export.load, lambda folder: export.rebuild(folder, _experiment("vanilla_gan"))):
        with pytest.raises(CheckpointError) as error:
            read(tmp_path)
        sentence = str(error.value)
        assert str(tmp_path / name) in sentence and "copy the folder again, or export anew" in sentence
        assert ("No such file" if damage == "deleted" else "is damaged") in sentence and "\n" not in sentence


def test_it_is_written_whole_or_not_at_all(trained, tmp_path, monkeypatch):
    workdir, *_ = trained
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    code, _, err = _run("export", "--workdir", workdir, "--out", tmp_path / "full")
    assert code == 2 and "is not an empty folder" in err and len(list((tmp_path / "full").iterdir())) == 1

    for wrong in (1.0, float("nan")):
        monkeypatch.setattr(export, "_difference", lambda *_, wrong=wrong: wrong)
        code, _, err = _run("export", "--workdir", workdir, "--out", tmp_path / "wrong")
        assert code == 6 and "differs from the run's" in err

    def full(path, content):
        if path.name == export.CONFIG:
            raise OSError(28, "No space left on device", str(path))
        path.write_bytes(content)

    monkeypatch.setattr(export, "_write", full)
    code, _, err = _run("export", "--workdir", workdir, "--out", tmp_path / "disk")
    assert code == 6 and "No space left on device" in err
    assert [path.name for path in tmp_path.iterdir()] == ["full"], "something is left"


def test_what_cannot_be_exported(trained, tmp_path):
    workdir, *_ = trained
    code, _, err = _run("export", "--workdir", workdir, "--out", tmp_path / "x", "--weights", "eam")
    assert code == 2 and "expected one of ['default', 'raw', 'ema']" in err
    code, _, err = _run("export", "--workdir", tmp_path / "none", "--out", tmp_path / "x")
    assert code == 2 and "holds no run" in err
    for which, weights in (("best", "raw"), ("last", "raw")):
        code, out, err = _run(
            "export", "--workdir", workdir, "--out", tmp_path / which, "--which", which, "--weights", weights
        )
        assert code == 0 and f"step 60 ({which}), raw weights" in out, err


TRAINED = [path.stem for path in sorted(EXPERIMENTS.glob("*.py")) if _experiment(path.stem).build]
FAMILIES = (
    "biggan",
    "conditional_mnist",
    "pixelrnn",
    "r3gan",
    "vanilla_gan",
    "vqvae",
)  # of networks, all others by make test-all


@pytest.mark.parametrize("name", [name for name in TRAINED if FULL or name in FAMILIES])
def test_every_experiment_that_trains_can_be_exported(name, tmp_path):
    """With weights that nobody trained: what matters is that the network takes any number of latents."""
    experiment = _experiment(name)
    config = dataclasses.replace(experiment.config, **experiment.smoke)
    loader = Loader(config)
    stages = stages_of(experiment.build(config, loader, None))
    stage, setup = list(stages.items())[-1]
    if not setup.samplers:
        return
    rng = np.random.default_rng(0)

    def leaf(shape):
        return rng.uniform(0.01, 0.02, shape.shape).astype(shape.dtype)

    state = jax.tree.map(leaf, state_shapes(setup))
    run = json.loads(json.dumps(describe(experiment, config, loader) | {"stage": stage}))
    export.export(setup, state, run, tmp_path / "out")
    generator = export.load(tmp_path / "out")
    draws = setup.sampler()
    of_images = draws.given is not None and draws.given[1] != "class"
    asked = in_turn(setup, draws, 3).values if of_images else None  # classes take turns by themselves
    assert generator.sample(0, 3, asked).shape == (3, *setup.imitated(draws).shape)
    again, weights = export.rebuild(tmp_path / "out", experiment)
    index, draws = np.arange(3, dtype=np.int32), again.sampler()
    labels = (index if asked is None else np.asarray(asked)) if draws.given else None  # captions are as they are stored
    if draws.latent is None:  # networks that draw entry by entry, or translate
        return
    z = draws.latents(weights, Keys.of(0).samples, index)
    given = () if labels is None else (labels,)
    np.testing.assert_allclose(
        generator.decode(z, *given), draws.latent.decode(weights, z, labels), rtol=1e-4, atol=1e-5
    )


def test_a_translator_is_compared_on_images_that_are_not_even(tmp_path, monkeypatch):
    """The command exports without the data: of even images, as stand-ins are, InstanceNorm leaves rounding alone."""
    experiment = _experiment("cyclegan")
    config = dataclasses.replace(experiment.config, **experiment.smoke)
    loader = Loader(config)
    experiment.build(config, loader, None)
    run = json.loads(json.dumps(describe(experiment, config, loader)))
    setup = experiment.build(config, stand_ins(run["data"], run["config"]), None)
    rng, given, encoded = np.random.default_rng(0), [], export.encoded_given
    monkeypatch.setattr(export, "encoded_given", lambda *told: given.append(told[2]) or encoded(*told))
    leaf = lambda shape: rng.normal(0, 0.02, shape.shape).astype(shape.dtype)  # noqa: E731
    receipt = export.export(setup, jax.tree.map(leaf, state_shapes(setup)), run, tmp_path / "out")
    assert receipt["largest_difference"] < 1e-4 and given[0].std((1, 2, 3)).min() > 50
