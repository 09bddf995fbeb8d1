"""The command line of an experiment, as a user types it: exit codes, sentences, and what is left on disk."""

import contextlib
import ctypes
import dataclasses
import importlib.util
import io
import json
import math
import os
import re
import resource
import runpy
import subprocess
import sys
import time
import wave
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from children import finished, with_devices
from matrix import FULL
from PIL import Image

from ganjax import gallery, launch
from ganjax.commands import base
from ganjax.data import load
from ganjax.errors import ConfigError
from ganjax.report.alarms import Alarm
from ganjax.rundir import claimed, latest_step, read_run, write_run
from ganjax.training import Keys, in_turn, train_step
from ganjax.training.sampling import encoded_given
from ganjax.training.setup import batch_shapes, collate, state_shapes

ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.py"))


def load_experiment(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.EXPERIMENT


TRAINED = [name for name in EXPERIMENTS if load_experiment(name).build]


@pytest.fixture
def run(capsys):
    """`run("dcgan", "train", ...)` -> (exit code, stdout, stderr), in this process."""

    def command(name, *args):
        code = _code_of(name, *args)
        out, err = capsys.readouterr()
        return code, out, err

    return command


def _code_of(name, *args):
    try:
        launch.main(load_experiment(name), [str(a) for a in args])
    except SystemExit as end:
        return end.code or 0
    return 0


NO_FIGURES = ("--sample-every", 0)
ALARM = Alarm(10, "modes lost", "Try packing.", {"modes": 3.0})


def _pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _last_line(out):
    return out.strip().splitlines()[-1]


# What trains networks of images takes the way of the first two, and is only traced where test-all runs it.
TRACED = [] if FULL else [name for name in TRAINED if name not in ("vanilla_gan", "dcgan")]


@pytest.mark.parametrize("name", TRACED)
def test_every_experiment_that_trains_is_traced_in_its_smoke_size(name):
    """A step and the samples, down to shapes and dtypes; tests/models and test_export.py run the networks."""
    experiment = load_experiment(name)
    config = dataclasses.replace(experiment.config, **experiment.smoke)
    for setup in base.stages_of(experiment.build(config, load, None)).values():
        _traced(setup)


def _traced(setup):
    state = state_shapes(setup)
    step = train_step(setup.game, setup.dynamics, setup.averages)
    index = jax.ShapeDtypeStruct((setup.examples,), "int32")
    batch = jax.eval_shape(partial(collate, setup), *batch_shapes(setup), Keys.of(0).steps)
    after, metrics = jax.eval_shape(step, state, batch, Keys.of(0).steps)
    assert jax.tree.map(str, after) == jax.tree.map(str, state)
    assert {f"{player}/cost" for player in setup.game.players} < metrics.keys()
    if not setup.samplers:
        return
    draws = setup.sampler()
    asked = encoded_given(setup, draws, in_turn(setup, draws, setup.examples).values, np.arange(setup.examples))
    x = jax.eval_shape(draws.__call__, state.weights, Keys.of(0).samples, index, asked)
    assert x.shape == (setup.examples, *setup.imitated(draws).shape)


# Of several tasks or remedies with the same code one is enough.
LESS = {
    "dynamics_on_gans": ("--digits-steps", 0),
    "mode_collapse": ("--remedies", "packing 2"),
    "dropout_and_noise": ("--remedies", "falling noise"),
    "gan_spectrum": ("--plays", "plain"),  # whose ends are looked at with consensus too
    "wgan": ("--constraints", "spectral"),
}


@pytest.fixture(scope="module")
def dcgan_with_an_alarm(tmp_path_factory):
    """(run directory, (exit code, stdout, stderr)) of the smoke size of dcgan, in which an alarm rings from 10 on."""
    from ganjax.report import alarms

    workdir, out, err = tmp_path_factory.mktemp("dcgan") / "run", io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, jax.numpy_rank_promotion("raise"):
        patch.setattr(alarms, "find_alarms", lambda workdir: [ALARM])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _code_of("dcgan", "train", "--workdir", workdir, "--smoke")
    return workdir, (code, out.getvalue(), err.getvalue())


# The pictures of an experiment's own commands, and the first words of what is printed above each.
OWN_PICTURES = {
    "lapgan": {("chain", "--count", 20): ["chain", "from_4", "single"]},
    "pix2pix": {("panel",): []},
    "progressive": {("film",): []},
    "stackgan": {("panel",): [], ("panel", "--between", "red heart", "blue car"): []},
    "stylegan": {
        ("styles", "--what", "mixing"): [],
        ("styles", "--what", "truncation"): ["psi"] * 5,
        ("styles", "--what", "noise"): ["style"] * 3,
        ("styles", "--what", "projection", "--steps", 2): ["one", "a"] * 2,
    },
    "video": {("panel",): [], ("panel", "--what", "tracks"): []},
    "vqgan": {("codes", "--stage", "codes"): [], ("enlarge",): []},
    "vqvae": {("codes",): []},
}


OTHER_THAN_IMAGES = {"animation", "seqgan", "video", "wavegan"}  # clips, words and sounds: no nearest image is drawn


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in TRACED])
def test_every_experiment_runs_in_its_smoke_size(name, tmp_path, run, request, capsys):
    workdir, less = tmp_path / "run", () if FULL else LESS.get(name, ())
    if name == "dcgan":
        workdir, (code, out, err) = request.getfixturevalue("dcgan_with_an_alarm")
    else:
        code, out, err = run(name, "train", "--workdir", workdir, "--smoke", *less)
    assert code == 0, err
    pictures = [Path(line) for line in out.splitlines() if line.endswith(".png")]
    assert pictures and all(min(_pixels(path).shape[:2]) > 50 for path in pictures)
    if name in TRAINED:
        assert re.fullmatch(r"step \d+( of the stage \w+)? digest [0-9a-f]{64}", _last_line(out))
        drawn = {"panel"} if list(workdir.rglob("samples")) else set()
        drawn |= {"neighbours"} if drawn and name not in OTHER_THAN_IMAGES else set()
        assert {p.stem for p in pictures} >= {"curves", *drawn}
        if FULL:
            for words, printed in OWN_PICTURES.get(name, {}).items():
                _draws(name, words, printed, workdir, tmp_path / "own.png", capsys)
            _continues(name, tmp_path / "part", run, _last_line(out))


def _draws(name, words, printed, workdir, out, capsys):
    """The script, as a user starts it, draws the picture and says this of it."""
    out.unlink(missing_ok=True)
    args = map(str, (f"{name}.py", *words, "--workdir", workdir, "--out", out))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", list(args))
        runpy.run_path(str(ROOT / "experiments" / f"{name}.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    said = [line.split()[0] for line in lines if not line.startswith(str(out.parent))]
    assert str(out) in lines and said[len(said) - len(printed) :] == printed, lines
    assert min(_pixels(out).shape[:2]) > 50


def _continues(name, workdir, run, last_line):
    """Interrupted in the middle of its last stage, with the same command it ends with the same bits."""
    stage = re.search(r"of the stage (\w+)", last_line)
    last, smoke = workdir / (stage[1] if stage else ""), load_experiment(name).smoke

    half = max(1, smoke["steps"] // 2)
    saved = max(1, half // 2)

    def interrupt(setup, seed, workdir, step, state, writers):
        if workdir == last and step > saved:
            for _ in range(1000):  # until the checkpoint before this one is written, beside the steps
                if latest_step(last):
                    raise KeyboardInterrupt
                time.sleep(0.01)

    args = ("train", "--workdir", workdir, "--smoke", "--sample-every", half, "--checkpoint-every", saved)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "observe", interrupt)
        assert run(name, *args)[0] == 130
    code, out, err = run(name, *args)
    assert code == 0 and _last_line(out) == last_line, err


@pytest.mark.parametrize(
    ("name", "option", "word", "meant"),
    [
        ("dynamics_on_gans", "--rules", "extragradeint", "extragradient"),
        ("mode_collapse", "--remedies", "pakcing 4", "packing 4"),
        ("dropout_and_noise", "--remedies", "dropuot", "dropout"),
        ("wgan", "--constraints", "clip", "clipping"),
    ],
)
def test_what_is_compared_is_chosen_by_name(name, option, word, meant, tmp_path, run):
    code, _, err = run(name, "train", "--workdir", tmp_path / "run", "--smoke", option, word)
    assert code == 2 and f'{option}: "{word}" is unknown: did you mean "{meant}"?' in err, err
    assert not (tmp_path / "run").exists()


def test_dcgan_logs_both_norms_and_rings_new_alarms(dcgan_with_an_alarm):
    """An alarm that is there from step 10 on is said once on the terminal, and kept."""
    workdir, (code, _, err) = dcgan_with_an_alarm
    assert code == 0 and err.count("step 10: modes lost (modes 3). Try packing.") == 1, err
    assert json.loads((workdir / "alarms.jsonl").read_text()) == {**ALARM._asdict()}
    records = {r["step"]: r for r in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())}
    for step in (10, 20):
        assert {"Conv_0/operator", "Conv_0/reshaped", "generator/gradient"} <= records[step].keys()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_show_prints_claim_paper_and_config(name, run):
    code, out, _ = run(name, "show")
    assert code == 0
    assert "Claim:" in out and "Paper:" in out and "Command: python experiments/" in out
    assert "steps = " in out or "seed = " in out
    assert len(out.splitlines()) > 8, "the docstring keeps its lines"


def test_help_teaches(run):
    code, out, _ = run("dcgan", "train", "--help")
    assert code == 0
    for option in ("--workdir", "--steps", "--seed", "--data", "--data-dir", "--smoke", "--ema-decay"):
        assert option in out


STOPPED = {
    "vanilla_gan": [],
    "dcgan": ["--spectral-norm"],  # with BatchNorm in both networks and an average over its statistics
}


@pytest.mark.parametrize("name", STOPPED if FULL else ["dcgan"])  # kills and stops of the other are in faults/
def test_a_run_stopped_after_half_of_its_steps_continues_bitwise(name, tmp_path):
    """In fresh processes, as a user does it."""

    def train(workdir, steps):
        args = ["train", "--smoke", "--quiet", *STOPPED[name], "--workdir", tmp_path / workdir]
        args += ["--steps", steps, "--chunk", 5, "--checkpoint-every", 8, "--sample-every", 0]
        done = finished(ROOT / "experiments" / f"{name}.py", *args)
        assert done.returncode == 0, done.stderr
        return _last_line(done.stdout)

    first = train("part", 10)
    assert first.startswith("step 10 digest")
    assert train("part", 20) == train("whole", 20) != first


def test_a_finished_run_changes_no_file_and_makes_missing_figures(tmp_path, run):
    args = ("vanilla_gan", "train", "--workdir", tmp_path, "--smoke", "--quiet")
    _, first, _ = run(*args, "--sample-every", 0)
    assert first.startswith("step 60 digest") and not list(tmp_path.rglob("*.png"))
    code, out, _ = run(*args)
    assert code == 0 and first in out and all(Path(line).exists() for line in out.splitlines()[1:-1])
    assert {path.name for path in tmp_path.rglob("*.png")} == {
        "00000060.png",
        "panel.png",
        "curves.png",
        "neighbours.png",
    }
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    for again in (args, (*args, "--steps", 10)):
        code, out, err = run(*again)
        assert code == 0 and "is finished: it is at step 60" in out and first in out, err
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "panel.png").unlink()
    assert run(*args)[0] == 0 and (tmp_path / "panel.png").exists()


def test_sample_from_raw_and_averaged_weights(tmp_path, run, monkeypatch):
    workdir = tmp_path / "run"
    assert run("vanilla_gan", "train", "--workdir", workdir, "--smoke", "--quiet", *NO_FIGURES)[0] == 0
    monkeypatch.setattr("ganjax.data.load", None)  # images are drawn without the data
    for weights in ("raw", "ema", "default"):
        args = ("sample", "--workdir", workdir, "--count", 9, "--weights", weights)
        code, out, err = run("vanilla_gan", *args, "--out", tmp_path / f"{weights}.png")
        assert code == 0 and out.strip() == str(tmp_path / f"{weights}.png"), err
    raw, ema, default = (_pixels(tmp_path / f"{w}.png") for w in ("raw", "ema", "default"))
    assert (raw != ema).any() and (ema == default).all()
    other = run("vanilla_gan", "sample", "--workdir", workdir, "--count", 9, "--out", tmp_path / "o.png", "--seed", 1)
    assert other[0] == 0 and (_pixels(tmp_path / "o.png") != ema).any()
    code, _, err = run("vanilla_gan", "sample", "--workdir", workdir, "--out", tmp_path / "x.png", "--weights", "eam")
    assert code == 2 and "expected one of" in err and not (tmp_path / "x.png").exists()
    code, _, err = run("dcgan", "sample", "--workdir", workdir, "--out", tmp_path / "x.png")
    assert code == 2 and "experiment 'vanilla_gan', not 'dcgan'" in err


def test_a_run_that_ends_before_its_first_record(tmp_path, run):
    args = ("train", "--workdir", tmp_path, "--smoke", "--data", "ring", "--steps", 5, "--log-every", 10)
    code, out, err = run("vanilla_gan", *args)
    assert code == 0 and "panel.png" in out and "curves.png" not in out and "step 5 digest" in out, err


def test_points_are_trained_and_drawn(tmp_path, run):
    code, out, err = run("vanilla_gan", "train", "--workdir", tmp_path, "--smoke", "--data", "ring", "--steps", 20)
    assert code == 0 and "panel.png" in out, err


def test_points_in_space_are_trained_drawn_and_reported(tmp_path, run):
    np.savez(tmp_path / "a.npz", x_train=np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32))
    workdir = tmp_path / "run"
    args = ("--smoke", "--quiet", "--steps", 4, "--data", tmp_path / "a.npz")
    code, out, err = run("vanilla_gan", "train", "--workdir", workdir, *args)
    assert code == 0 and "panel.png" in out, err
    assert run("vanilla_gan", "report", "--workdir", workdir)[0] == 0


@pytest.mark.parametrize("name", ["seeds", "judges"])
def test_an_experiment_that_computes_leaves_nothing_of_bad_data(name, tmp_path, run):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((500, 3), np.float32))
    code, _, err = run(name, "train", "--workdir", tmp_path / "run", "--smoke", "--data", tmp_path / "a.npz")
    assert code == 5 and len(err.splitlines()) == 1 and not (tmp_path / "run").exists(), err


def test_a_smoke_size_is_compiled_in_less_time_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    base.prepare_jax(start=False)
    plain = os.environ["XLA_FLAGS"].split()
    for _ in range(2):
        base.prepare_jax(start=False, smoke=True)
        assert os.environ["XLA_FLAGS"].split() == [*plain, base.SMOKE_FLAG]
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_opt_preset=DEFAULT")
    base.prepare_jax(start=False, smoke=True)
    assert base.SMOKE_FLAG not in os.environ["XLA_FLAGS"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own rules are those that cost time")
def test_memory_that_is_freed_is_kept_for_the_next():
    """64 MB, ten times over: all pages are cleared for the first alone, which is 16,384 of them."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    base.prepare_jax(start=False)
    cleared = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        block = libc.malloc(2**26)
        libc.memset(block, 1, 2**26)
        libc.free(block)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - cleared < 20_000


def test_a_tilde_is_the_home_directory_in_every_path(tmp_path, run, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(_empty(tmp_path / "here"))
    for command in ("report", "evaluate", "sample --out=~/a.png"):
        code, _, err = run("vanilla_gan", *command.split(), "--workdir=~/runs/a")
        assert code == 2 and f"error: {tmp_path}/home/runs/a holds no run" in err
    _, _, err = run("vanilla_gan", "train", "--workdir=~/runs/a", "--data=~/a.npz")
    assert f"{tmp_path}/home/a.npz: no such file" in err
    code, _, err = run("vanilla_gan", "report", "--workdir=~nobody-of-that-name/a")
    assert code == 2 and "--workdir is ~nobody-of-that-name/a, expected the home of a user who exists" in err
    assert not list((tmp_path / "here").iterdir())


@pytest.fixture
def begun(tmp_path):
    """`begun(x_train)` -> the directory of a run that has no checkpoint yet, on these data in a.npz."""

    def make(x_train):
        np.savez(tmp_path / "a.npz", x_train=x_train)
        config = dataclasses.replace(load_experiment("vanilla_gan").config, data=str(tmp_path / "a.npz"))
        loader = base.Loader(config)
        loader(config.data)
        record = base.describe(load_experiment("vanilla_gan"), config, loader)
        write_run(_empty(tmp_path / "run"), record)
        return tmp_path / "run"

    return make


READ = "holds no checkpoint"  # what a command says of such a run once it has the data that it needs
POINTS = np.random.default_rng(0).normal(size=(80, 2)).astype(np.float32)


@pytest.mark.parametrize("command", ["evaluate", "latent --what interpolation --out x/a.png", "sample --out x/a.png"])
def test_data_that_have_moved_are_found_by_an_option(command, tmp_path, run, begun, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = (*command.split(), "--workdir", begun(POINTS if "sample" in command else _images()))
    (tmp_path / "a.npz").rename(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x_train=_images()[::-1])
    code, _, err = run("vanilla_gan", *args)
    assert code == 5 and re.search("a.npz: no such file.*say where by --data$", err.strip())
    code, _, err = run("vanilla_gan", *args, "--data", "c.npz")
    assert code == 5 and re.search("c.npz holds other data than the run .*digest .*, expected", err)
    code, _, err = run("vanilla_gan", *args, "--data", "b.npz")
    assert code == 6 and READ in err and not (tmp_path / "x").exists()


@pytest.mark.parametrize("command", ["sample --out x/a.png", "export --out x"])
def test_what_needs_no_data_does_not_ask_for_them(command, tmp_path, run, begun, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = (*command.split(), "--workdir", begun(_images()))
    (tmp_path / "a.npz").unlink()
    code, _, err = run("vanilla_gan", *args)
    assert code == 6 and READ in err and not (tmp_path / "x").exists()
    record = read_run(tmp_path / "run")
    write_run(tmp_path / "run", record | {"data": {"shape": "many"}})
    code, _, err = run("vanilla_gan", *args)
    assert code == 5 and "the outline of the data in config.json cannot be read" in err
    del record["data"]  # as runs of older versions have it
    write_run(tmp_path / "run", record)
    code, _, err = run("vanilla_gan", *args)
    assert code == 5 and "a.npz: no such file" in err


def test_a_finished_run_remembers_where_its_data_lie_now(begun):
    workdir = begun(_images())
    record = read_run(workdir)
    config = {**record["config"], "data": "b.npz", "steps": 1}
    with claimed(workdir, {**record, "ganjax": "9", "config": config}, finished=True):
        pass
    assert read_run(workdir) == {**record, "config": {**record["config"], "data": "b.npz"}}


# --- bad input: one sentence, an exit code, nothing created ------------------------------------------------------


def _images(count=80, shape=(8, 8, 1)):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def _truncated_png(folder):
    folder.mkdir()
    for i in range(3):
        Image.fromarray(_images(1)[0, :, :, 0]).resize((64, 64)).save(folder / f"{i}.png")
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])
    return folder


def _empty(folder):
    folder.mkdir()
    return folder


def _npz(x_train, **more):
    """Options for an .npz file of these training images."""

    def options(folder):
        np.savez(folder / "a.npz", x_train=x_train, **more)
        return ["--data", folder / "a.npz"]

    return options


def _photos(mode, suffix=".png", **options):
    """Options for a folder with one picture of this mode."""

    def command(folder):
        photos = _empty(folder / "photos")
        Image.new(mode, (8, 8)).save(photos / f"0{suffix}", **options)
        return ["--data", photos]

    return command


def _split_folders(*names):
    """Options for a folder of folders of these names, a picture in each."""

    def command(folder):
        for name in names:
            (folder / "photos" / name).mkdir(parents=True)
            Image.fromarray(_images(1)[0, :, :, 0]).save(folder / "photos" / name / "0.png")
        return ["--data", folder / "photos"]

    return command


def _pipe(folder):
    os.mkfifo(_empty(folder / "photos") / "0.png")
    return ["--data", folder / "photos"]


def _recording(width):
    """A folder with a recording of 64 samples of so many bytes."""

    def make(folder):
        with wave.open(str(_empty(folder / "sounds") / "0.wav"), "wb") as file:
            file.setparams((1, width, 8000, 64, "NONE", ""))
            file.writeframes(bytes(64 * width))
        return ["--data", folder / "sounds"]

    return make


def _link_to_a_secret(folder):
    Image.fromarray(_images(1)[0, :, :, 0]).save(folder / "secret.png")
    (_empty(folder / "photos") / "0.png").symlink_to("../secret.png")
    return ["--data", folder / "photos"]


BAD = {
    "unknown data set": (5, lambda t: ["--data", "fashon_mnist"], '"fashon_mnist".*did you mean "fashion_mnist"'),
    "missing npz": (5, lambda t: ["--data", t / "no.npz"], "no.npz"),
    "image size": (5, _npz(_images(shape=(30, 30, 1))), r"\(30, 30, 1\).*divisible by 4"),
    "empty folder": (5, lambda t: ["--data", _empty(t / "photos")], "photos"),
    "truncated png": (5, lambda t: ["--data", _truncated_png(t / "photos")], "1.png"),
    "NaN": (5, _npz(np.full((80, 8, 8, 1), np.nan)), "NaN"),
    "a class without images": (
        5,
        lambda t: [*_npz(_images(), y_train=np.arange(80) % 4 + 1)(t), "--conditional"],
        "no training example of 1 of its 5 classes, the first of them 0, .*number the classes",
    ),
    "a class of test images alone": (
        5,
        lambda t: [
            *_npz(_images(), y_train=np.zeros(80, int), x_test=_images(3), y_test=np.array([0, 2, 0]))(t),
            "--conditional",
        ],
        "no training example of 2 of its 3 classes, the first of them 1, ",
    ),
    "no labels": (5, lambda t: [*_npz(_images())(t), "--conditional"], "no labels"),
    "not prepared": (5, lambda t: ["--data", "tfds:mnist", "--data-dir", t / "tfds"], "download_and_prepare"),
    "constant images": (5, _npz(np.full((80, 8, 8, 1), 7, np.uint8)), "every pixel is 7.*expected different images"),
    "float images": (5, _npz(_images() / 255), "x_train has dtype float64, expected uint8"),
    "no channels": (5, _npz(_images()[..., 0]), "x_train has rank 3.*add the channel axis"),
    "channels first": (5, _npz(_images(shape=(3, 8, 8))), "channels last.*transpose"),
    "four channels first": (5, _npz(_images(shape=(4, 32, 32))), "32 channels.*channels last.*transpose"),
    "bits": (5, _npz(_images() % 2), "x_train holds only 0 and 1, expected pixels from 0 to 255"),
    "splits and more": (5, _split_folders("train", "test", "cats"), "train may be a split or .* beside cats, test; "),
    "no examples": (5, _npz(_images(0)), "x_train is empty"),
    "pickled objects": (5, _npz(np.array([{}] * 80)), "pickled Python objects, which are never loaded"),
    "too few labels": (5, _npz(_images(), y_train=np.zeros(79, int)), r"y_train has shape \(79,\), expected \(80,\)"),
    "float labels": (5, _npz(_images(), y_train=np.zeros(80)), "y_train has dtype float64, expected integer"),
    "negative labels": (5, _npz(_images(), y_train=-np.ones(80, int)), "holds the label -1, expected labels from 0"),
    "identifiers": (5, _npz(_images(), y_train=np.arange(80) + 10**6), "label 1000079, expected less than 65536"),
    "another size of test": (5, _npz(_images(), x_test=_images(2, (4, 4, 1))), "x_test has examples of shape"),
    "CMYK": (5, _photos("CMYK", ".jpg"), "0.jpg: mode CMYK, expected L"),
    "16 bits": (5, _photos("I;16"), "0.png: mode I;16, expected L"),
    "another format": (5, _photos("RGB", format="GIF"), "0.png: not a readable PNG"),
    "a WAV of 24 bits": (5, _recording(3), "0.wav: 24 bits a sample, expected 16; convert it"),
    "recordings for a convolution of images": (5, _recording(2), r"image shape: got \(64,\)"),
    "a pipe": (5, _pipe, "0.png: neither a file nor a folder"),
    "a link out": (5, _link_to_a_secret, "0.png: a link that leads out"),
    "control characters": (5, lambda t: ["--data", "a\n\x1b[31mb/"], r"a\\n\\x1b\[31mb: no such folder"),
    "a path too long": (5, lambda t: ["--data", "x" * 300 + "/"], "x: not a path that can be read.*too long"),
    "points for a convolution": (5, lambda t: ["--data", "ring"], r"\(2,\)"),
    "steps": (2, lambda t: ["--steps", 0], "--steps is 0, expected at least 1"),
    "a word for a number": (2, lambda t: ["--steps", "many"], "--steps.*many"),
    "unknown option": (2, lambda t: ["--stesp", 3], '--stesp.*did you mean "--steps"'),
    "unknown loss": (2, lambda t: ["--loss", "hinje"], "hinje.*hinge"),
    "no data set": (5, lambda t: ["--data", ""], "name of the data set is empty"),
    "no turns": (2, lambda t: ["--discriminator-turns", 0], "--discriminator-turns is 0, expected at least 1"),
    "no latent": (2, lambda t: ["--latent", 0], "--latent is 0, expected at least 1"),
    "no width": (2, lambda t: ["--width", 0], "--width is 0, expected at least 1"),
    "decay": (2, lambda t: ["--ema-decay", 2], "--ema-decay is 2.0, expected at least 0 and less than 1"),
    "learning rate": (2, lambda t: ["--learning-rate", "nan"], "--learning-rate is nan, expected a positive number"),
    "a process alone": (2, lambda t: ["--process-count", 2], "--process-count 2 with --coordinator None"),
    "negative seed": (2, lambda t: ["--seed", -1], "--seed is -1"),
    "large seed": (2, lambda t: ["--seed", 2**32], "--seed is 4294967296, expected 0 to 4294967295"),
    "too many steps": (2, lambda t: ["--steps", 2**31], "--steps is 2147483648, expected at most 2147483647"),
    "a fraction of a step": (2, lambda t: ["--steps", "1.5"], "--steps.*1.5"),
    "code for a number": (2, lambda t: ["--steps", f"open('{t}/run', 'w')"], "--steps.*invalid literal.*open"),
    "a typing error with =": (2, lambda t: ["--bath-size=3"], '--bath-size=3.*did you mean "--batch-size"'),
    "no value": (2, lambda t: ["--steps"], "Missing value for argument '--steps'"),
    "a word too many": (2, lambda t: ["digits"], "Unrecognized options: digits"),
    "infinite rate": (2, lambda t: ["--learning-rate", "inf"], "--learning-rate is inf, expected a positive number"),
    "negative weight": (2, lambda t: ["--penalty-weight", -1], "--penalty-weight is -1.0, expected a number"),
    "no records": (2, lambda t: ["--log-every", 0], "--log-every is 0, expected at least 1"),
    "negative judge": (2, lambda t: ["--judge-every", -1], "--judge-every is -1, expected at least 0"),
    "a batch of odd packs": (2, lambda t: ["--batch-size", 7, "--packing", 2], "--batch-size is 7, expected a mult"),
    "packs with labels": (2, lambda t: ["--packing", 2, "--conditional"], "--packing is 2, expected 1 with --condit"),
    "penalty with BatchNorm": (2, lambda t: ["--penalty", "r1"], "--discriminator-norm is batch, expected none with"),
    "a process beyond": (2, lambda t: ["--coordinator", "a:1", "--process-id", 1], "--process-id 1 of --process"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, tmp_path, run):
    expected, make, sentence = BAD[case]
    workdir = tmp_path / "run"
    code, out, err = run("dcgan", "train", "--workdir", workdir, "--smoke", *make(tmp_path))
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == expected and out == "", err
    assert len(lines) == 1 and re.search(sentence, lines[0]), err
    assert lines[0].startswith("error: ") and not workdir.exists()


QUICK = """
import atexit, sys, runpy
def backends():
    assert "jax" not in sys.modules, "JAX was loaded"
    print("no backend")
atexit.register(backends)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("case", ["unknown option", "a word for a number", "steps", "packs with labels"])
def test_bad_options_end_at_once_and_start_no_device(case, tmp_path):
    """As a user does it. The processor's time is counted, for others may keep the machine busy."""
    expected, make, sentence = BAD[case]
    command = [sys.executable, "-c", QUICK, ROOT / "experiments/dcgan.py", "train", "--workdir", tmp_path / "run"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*map(str, [*command, *make(tmp_path)])], capture_output=True, text=True, cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stdout) == (expected, "no backend\n"), done.stderr
    assert re.search(sentence, done.stderr) and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_a_batch_that_eight_devices_cannot_share(tmp_path):
    args = ["train", "--smoke", "--workdir", tmp_path / "run", "--batch-size", 60]
    done = finished(ROOT / "experiments" / "vanilla_gan.py", *args, env=with_devices(8))
    assert done.returncode == 2 and "batch of 60 examples per step cannot be shared by 8 devices" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_workdir_of_another_run_is_left_alone(tmp_path, run):
    workdir = tmp_path / "run"
    assert run("vanilla_gan", "train", "--workdir", workdir, "--smoke", "--steps", 10, *NO_FIGURES)[0] == 0
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    for args, sentence in (
        (("dcgan", "train", "--workdir", workdir, "--smoke"), "experiment 'vanilla_gan', not 'dcgan'"),
        (("bilinear", "train", "--workdir", workdir), "experiment 'vanilla_gan', not 'bilinear'"),
        (("vanilla_gan", "train", "--workdir", workdir, "--smoke", "--seed", 1), "--seed 0 -> 1"),
    ):
        code, _, err = run(*args)
        assert code == 2 and sentence in err
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.txt").write_text("mine")
    code, _, err = run("vanilla_gan", "train", "--workdir", foreign, "--smoke")
    assert code == 2 and "is not empty" in err and [p.name for p in foreign.iterdir()] == ["holiday.txt"]
    assert before == {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}


def test_a_workdir_that_cannot_be_written(tmp_path, run):
    (tmp_path / "file").write_text("mine")
    code, _, err = run("vanilla_gan", "train", "--workdir", tmp_path / "file", "--smoke")
    assert code == 2 and "is a file, expected a directory" in err
    code, _, err = run("vanilla_gan", "train", "--workdir", "/proc/nowhere/run", "--smoke")
    assert code == 6 and err.startswith("error: No such file or directory: /proc") and len(err.splitlines()) == 1


def test_a_damaged_config_is_one_sentence(tmp_path, run):
    for text in ("{", "[]", '{"experiment": "dcgan", "config": {"steps": "many"}, "data_digest": ""}'):
        (tmp_path / "config.json").write_text(text)
        code, _, err = run("dcgan", "sample", "--workdir", tmp_path, "--out", tmp_path / "x.png")
        assert code == 2 and len(err.splitlines()) == 1 and "config.json" in err, err


def test_config_json_names_what_was_run(tmp_path, run):
    args = ("--smoke", "--steps", 10, "--beta1", 0.25, *NO_FIGURES)
    assert run("vanilla_gan", "train", "--workdir", tmp_path / "r", *args)[0] == 0
    record = json.loads((tmp_path / "r/config.json").read_text())
    assert record["experiment"] == "vanilla_gan" and record["config"]["beta1"] == 0.25
    assert record["config"]["data"] == "digits" and len(record["data_digest"]) == 64


def test_an_unprepared_tfds_set_fails_at_once(tmp_path):
    import tensorflow_datasets  # noqa: F401  what a slow disk makes of the import is not counted

    from ganjax.errors import DataError

    began = time.monotonic()
    with pytest.raises(DataError, match=r"tfds:cifar10.*ganjax\[prepare\]"):
        load("tfds:cifar10", str(tmp_path))
    assert time.monotonic() - began < 2


def test_a_path_that_left_all_numbers_says_so():
    """Its plateau is that of rejected steps: sqrt(1 + 1.9^2)^872 is beyond a double."""
    import jax
    import optax

    from ganjax.dynamics import alternating, simultaneous
    from ganjax.games import dirac_gan

    load_experiment("bilinear"), load_experiment("dirac_gan")
    bilinear, dirac = sys.modules["bilinear"], sys.modules["dirac_gan"]
    sgd = {player: optax.sgd(1.9) for player in "ab"}
    with jax.enable_x64(True):
        away, bounded = bilinear._play(bilinear.Config(), [(simultaneous(sgd), 1000), (alternating(sgd), 1000)])
        assert away[1] > 100 and bounded[1] == 0
        rule = dirac._dynamics("simultaneous", 1.9)
        assert int(jax.jit(lambda: dirac._path(dirac_gan("wasserstein"), rule, 1000))()[1]) > 100


def test_every_experiment_says_that_steps_were_rejected():
    """Where a path ends in a plateau; each of them plays the spiral of simultaneous play, or Adam with huge steps."""
    import jax

    from ganjax.dynamics import simultaneous

    for name in ("averaging", "noise_floor", "adam_limit_cycle"):
        load_experiment(name)
    averaging, noise, adam = (sys.modules[name] for name in ("averaging", "noise_floor", "adam_limit_cycle"))
    with jax.enable_x64(True):
        assert "of 1000 steps were not finite" in averaging._play(averaging.Config(), simultaneous, 1.9, 1000)[1]
        assert averaging._play(averaging.Config(), simultaneous, 0.2, 1000)[1] == ""
        huge = adam.Config(lr=1e160, all_lr=(1e160,), steps=10, measured=5)
        assert "of 10 steps were not finite" in adam._radii_by_lr(huge, simultaneous)[1]
    loud = noise.Config(seeds=2, rise_eta=0.5, rise_steps=800)
    mean, said = noise._walk(loud, "simultaneous")
    assert "of 1600 steps were not finite" in said and mean.shape == (2, 801)


def test_points_and_steps_beyond_all_numbers_are_refused():
    """Else a figure of nothing: the logarithmic axis of `averaging` had no value left."""
    load_experiment("averaging")
    config = sys.modules["averaging"].Config
    for wrong in ({"start": (1e150, 1.0)}, {"start": (math.nan, 1.0)}, {"start": (0.0, 0.0)}, {"c": (60.0,)}):
        with pytest.raises(ConfigError, match=f"--{next(iter(wrong))} is .*, expected "):
            config(**wrong)
    config(start=(1e-6, 0.0), c=(10.0,))


def test_closed_forms_beyond_the_largest_number_end_there(capsys, tmp_path, monkeypatch):
    """The table, the figure and the sentence of a spiral that a double cannot hold; only the playing is left out."""
    experiment = load_experiment("bilinear")
    bilinear = sys.modules["bilinear"]
    played = lambda config, plays: [(np.ones((steps + 1, 2)), 735) for _, steps in plays]  # noqa: E731
    monkeypatch.setattr(bilinear, "_play", played)
    monkeypatch.setattr(bilinear, "_factors", lambda etas: dict.fromkeys(bilinear.RULES, np.ones(len(etas))))
    launch.main(experiment, ["train", "--workdir", str(tmp_path / "r"), "--eta", "1.9", "--steps", "1200"])
    assert "simultaneous: 735 of 1200 steps were not finite" in capsys.readouterr().out
    assert (tmp_path / "r/phase_plane.png").stat().st_size > 0


@pytest.mark.parametrize("name", ["biggan", "dcgan"])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_docstring_keeps_its_lines_in_the_help(name, option, run):
    experiment = load_experiment(name)
    code, out, _ = run(name, option)
    assert code == 0 and experiment.doc.strip() in out and "train" in out.replace(experiment.doc.strip(), "")
    assert out.count("Claim:") == 1


@pytest.mark.parametrize("side", [8, 28, 32, 48, 64, 128])
@pytest.mark.parametrize("name", ["biggan", "sngan", "wgan_gp", "r3gan", "dcgan"])
def test_smoke_defaults_fit_images_of_any_side(name, side, tmp_path, run, monkeypatch):
    """All but the compiler: the shapes of the state, by the defaults of the smoke size."""
    import jax

    from ganjax.training import setup as setups

    seen = []
    monkeypatch.setattr(setups, "check", lambda setup: seen.append(setups.state_shapes(setup)) or sys.exit(0))
    monkeypatch.setattr("ganjax.training.check", setups.check)
    labels = np.arange(80) % 3
    data = _npz(_images(shape=(side, side, 3)), y_train=labels)(tmp_path)
    code, _, err = run(name, "train", "--workdir", tmp_path / "run", "--smoke", *data)
    assert code == 0 and len(seen) == 1 and jax.tree.leaves(seen[0].params), err


NO_DEVICE = {
    "unknown": RuntimeError("Unable to initialize backend 'foo': it is not in the list of known backends: ['cpu']."),
    "no plugin": AssertionError(),
}


@pytest.mark.parametrize("what", NO_DEVICE)
@pytest.mark.parametrize("name", ["dcgan", "bilinear"])
def test_a_platform_that_is_not_there(name, what, tmp_path, run, monkeypatch):
    import jax

    def devices():
        raise NO_DEVICE[what]

    monkeypatch.setattr(jax, "devices", devices)
    code, out, err = run(name, "train", "--workdir", tmp_path / "run", "--smoke")
    assert code == 2 and out == "" and len(err.splitlines()) == 1, err
    assert err.startswith("error: JAX finds no device of the platforms 'cpu'") and "leave JAX_PLATFORMS out" in err
    assert not (tmp_path / "run" / "config.json").exists() and not (tmp_path / "run" / "checkpoints").exists()


def test_a_user_without_a_home_directory(monkeypatch):
    """Nothing compiled is kept; what needs a folder says how to name one."""
    import jax

    from ganjax.errors import ConfigError
    from ganjax.evaluation import classifier

    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        base.prepare_jax()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    with pytest.raises(ConfigError, match=r"no home directory .* set XDG_CACHE_HOME to a folder"):
        classifier.default_cache()


def test_a_setup_that_cannot_be_trained_is_refused_before_anything_is_written(tmp_path, run, monkeypatch):
    experiment = load_experiment("vanilla_gan")

    def renamed(*args):
        setup = experiment.build(*args)
        costs = {"artist": setup.game.costs["generator"], "discriminator": setup.game.costs["discriminator"]}
        return setup._replace(game=setup.game._replace(costs=costs), averages={})

    def misread(*args):
        setup = experiment.build(*args)
        return setup._replace(samplers={"prior": setup.sampler()._replace(players=("generatr",))})

    sentences = {renamed: "the cost 'artist' moves the player 'artist'", misread: "'generatr' is not in the game"}
    for build, sentence in sentences.items():
        monkeypatch.setitem(globals(), "load_experiment", lambda name, build=build: experiment._replace(build=build))
        code, _, err = run("vanilla_gan", "train", "--workdir", tmp_path / "run", "--smoke")
        assert code == 2 and "what the experiment builds cannot be trained" in err and sentence in err, err
        assert len(err.splitlines()) == 1 and not (tmp_path / "run").exists()
