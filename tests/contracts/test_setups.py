"""One contract for every setup: trained, stopped, continued to the same bits, drawn, measured, reported, exported."""

import contextlib
import io
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from children import finished, with_devices
from matrix import FULL
from PIL import Image
from setups import DEFAULTS, EXPERIMENTS, build_cyclegan, cyclegan

from ganjax import launch
from ganjax.core import Moment, Owned
from ganjax.data import Dataset
from ganjax.dynamics import View
from ganjax.errors import CheckpointError
from ganjax.report.images import load_image
from ganjax.training import From, fit, load_state, weights_of
from ganjax.training.flops import flops
from ganjax.training.setup import arrays, collate, initial_state, order
from ganjax.training.start import overlaid, take

WORKER = Path(__file__).parent / "setups.py"
SEEN = ["follower", "mute", "vae_gan", "cyclegan", "adda", "mcd", "styles", "lapgan", "growing", "stackgan"]
STAGES = {
    "adda": ["source_only", "adapt"],
    "lapgan": ["level_0", "level_1"],
    "growing": ["small", "large"],
}
DRAWN = {
    "vae_gan": ["prior", "reconstruction"],
    "cyclegan": ["a_to_b", "cycle"],
    "styles": ["styles"],
    "lapgan": ["chain"],
    "growing": ["prior"],
    "stackgan": ["image"],
}
MEASURED = {
    "stackgan": "r_precision",
    "follower": "far",
    "vae_gan": "error",
    "adda": "accuracy",
    "mcd": "accuracy",
    "styles": "path_length",
}


def command(name, *args):
    """(exit code, stdout, stderr) of a command, in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            launch.main(EXPERIMENTS[name], [str(arg) for arg in args])
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()


def images(count, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8), rng.integers(0, 10, count)
    return {"x": x, "y": y, "caption": np.array([f"{'red' if k % 2 else 'blue'} number {k}" for k in y])}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Options for two data sets, of which the second is smaller than a batch."""
    folder = tmp_path_factory.mktemp("data")
    for name, train, seed in (("a", 60, 0), ("b", 7, 1)):
        splits = {"train": images(train, seed), "test": images(21, seed + 10)}
        splits["train"]["y"][:10] = np.arange(10) if train > 10 else splits["train"]["y"][:10]
        np.savez(folder / f"{name}.npz", **{f"{k}_{s}": v for s, own in splits.items() for k, v in own.items()})
    return ["--data", folder / "a.npz", "--target", folder / "b.npz"]


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """name -> (run directory, what its training printed), each trained once."""
    known = {}

    def run(name):
        if name not in known:
            workdir = tmp_path_factory.mktemp(name) / "run"
            code, out, err = command(name, "train", "--workdir", workdir, "--quiet", *data)
            assert code == 0, err
            known[name] = workdir, out
        return known[name]

    return run


def digests(out):
    return re.findall(r"digest ([0-9a-f]{64})", out)


@pytest.mark.parametrize("name", SEEN if FULL else ["cyclegan", "adda", "styles", "growing"])
def test_a_stop_changes_no_bit(name, runs, data, tmp_path):
    _, whole = runs(name)
    part = ["train", "--workdir", tmp_path / "part", "--quiet", *data, "--sample-every", 0]  # nor do samples change one
    assert command(name, *part, "--steps", 3)[0] == 0
    code, out, err = command(name, *part, "--log-every", 2)
    assert code == 0, err
    assert digests(out) == digests(whole) and len(digests(whole)) == len(STAGES.get(name, [""]))


@pytest.mark.parametrize("name", SEEN)
def test_every_command_works_or_says_why_not(name, runs, tmp_path):
    workdir, _ = runs(name)
    for sampler in DRAWN.get(name, []):
        out = tmp_path / f"{sampler}.png"
        code, _, err = command(name, "sample", "--workdir", workdir, "--sampler", sampler, "--out", out, "--count", 5)
        assert code == 0 and out.stat().st_size > 100, err
        code, _, err = command(name, "export", "--workdir", workdir, "--sampler", sampler, "--out", tmp_path / sampler)
        assert code == 0 and (tmp_path / sampler / "receipt.json").is_file(), err
    judged = ["evaluate", "--workdir", workdir, "--quiet", "--count", 21, "--extractor", "pixels"]
    code, said, err = command(name, *judged, *(["--sampler", DRAWN[name][-1]] if name in DRAWN else []))
    assert code == (2 if name == "mute" else 0), err
    if name in MEASURED:
        assert f"{MEASURED[name]} " in said and "of 21 test examples" in said
    if name in DRAWN:
        assert "sliced_wasserstein" in said
    else:
        for words in (["sample", "--out", tmp_path / "x.png"], ["export", "--out", tmp_path / "x"]):
            code, _, err = command(name, *words, "--workdir", workdir)
            assert code == 2 and "has no sampler" in err and err.count("\n") == 1
            assert not (tmp_path / "x").exists() and not (tmp_path / "x.png").exists()
    code, said, err = command(name, "report", "--workdir", workdir)
    assert code == 0 and all(Path(line).stat().st_size > 100 for line in said.splitlines()), err


def _of_kind(kind):
    """Forty training and twenty test examples, and what belongs to them."""
    rng, more = np.random.default_rng(0), {}
    make = {
        "clips": lambda n: rng.integers(0, 256, (n, 5, 4, 4, 1), dtype=np.uint8),
        "points in 3-D": lambda n: rng.normal(size=(n, 3)).astype(np.float32),
        "waveforms": lambda n: rng.integers(-9000, 9000, (n, 40)).astype(np.int16),
        "tokens": lambda n: rng.integers(0, 3, (n, 6)).astype(np.int32),
    }[kind]
    if kind == "waveforms":
        more["rate"] = np.int32(8000)
    if kind == "tokens":
        more["vocabulary"] = np.array(["one", "two", "three"])
    return {"x_train": make(40), "x_test": make(20), **more}


KINDS = ["clips", "tokens", "points in 3-D", "waveforms"]


@pytest.mark.parametrize("kind", KINDS if FULL else KINDS[:2])
def test_every_kind_of_data_goes_every_way(kind, tmp_path):
    np.savez(tmp_path / "data.npz", **_of_kind(kind))
    data, workdir = ["--data", tmp_path / "data.npz"], tmp_path / "run"
    whole = command("stray", "train", "--workdir", workdir, "--quiet", *data)
    assert whole[0] == 0, whole[2]
    part = ["--workdir", tmp_path / "part", "--quiet", "--sample-every", 0]
    for steps in (3, 6):
        code, out, err = command("stray", "train", *part, *data, "--steps", steps)
        assert code == 0, err
    assert digests(out) == digests(whole[1])
    for words in (
        ["sample", "--out", tmp_path / "x.png", "--count", 5],
        ["export", "--out", tmp_path / "out"],
        ["report"],
    ):
        code, _, err = command("stray", *words, "--workdir", workdir)
        assert code == 0, err
    assert load_image(tmp_path / "x.png").shape[0] > 50
    code, out, err = command("stray", "evaluate", "--workdir", workdir, "--count", 20, "--quiet")
    assert code == 0 and "sliced_wasserstein" in out, err


def test_what_is_made_of_examples_asks_for_them(data, tmp_path):
    """And for none that stand in for them, though the first sampler would do without."""
    (tmp_path / "a.npz").write_bytes(data[1].read_bytes())
    options = ["--workdir", tmp_path / "run"]
    assert command("vae_gan", "train", *options, "--quiet", "--data", tmp_path / "a.npz", "--steps", 3)[0] == 0
    (tmp_path / "a.npz").unlink()
    out = ["--out", tmp_path / "x.png", "--count", 3]
    assert command("vae_gan", "sample", *options, *out)[0] == 0
    code, _, err = command("vae_gan", "sample", *options, *out, "--sampler", "reconstruction")
    assert code == 5 and "a.npz: no such file" in err


def test_what_is_given_stands_above_what_is_made_of_it(runs, data, tmp_path):
    """Held-out images by default, those of a file, or a sentence."""
    workdir, _ = runs("cyclegan")
    out = tmp_path / "x.png"
    given = ["sample", "--workdir", workdir, "--count", 4, "--out", out]
    assert command("cyclegan", *given)[0] == 0
    default = load_image(out)
    code, _, err = command("cyclegan", *given, "--given", data[3])
    assert code == 0 and load_image(out).shape == default.shape and (load_image(out) != default).any(), err
    (tmp_path / "mine").mkdir()
    for k in range(2):
        Image.fromarray(np.full((4, 4), 100 * k, np.uint8)).save(tmp_path / "mine" / f"{k}.png")
    code, _, err = command("cyclegan", *given, "--given", tmp_path / "mine")
    assert code == 0 and load_image(out).shape == default.shape, err
    plain = load_image(out)
    for k in range(2):
        Image.fromarray(np.full((4, 4, 3), 100 * k, np.uint8)).save(tmp_path / "mine" / f"{k}.png")
    code, _, err = command("cyclegan", *given, "--given", tmp_path / "mine")
    assert code == 0 and (load_image(out) == plain).all(), f"grey images that are stored as RGB: {err}"
    code, _, err = command("cyclegan", *given, "--given", "digits")
    assert code == 2 and "--given digits has images [N, H, W, C] of (8, 8, 1), expected one set of images" in err
    code, _, err = command("vae_gan", "sample", "--workdir", runs("vae_gan")[0], "--out", out, "--given", "3")
    assert code == 2 and "is asked for nothing" in err


def test_a_receipt_of_measures_says_nothing_of_samples(runs):
    workdir, _ = runs("vae_gan")
    options = ["--workdir", workdir, "--quiet", "--count", 15, "--metrics", "error", "--standing", 3]
    code, said, err = command("vae_gan", "evaluate", *options)
    assert code == 0 and "samples against" not in said, err
    receipt = json.loads(Path(said.splitlines()[-1]).read_text())["receipt"]
    told = {name: receipt[name] for name in ("extractor", "reference", "reference_count", "batch_norm", "labels")}
    assert told == {
        "extractor": "none", "reference": "test", "reference_count": 15,
        "batch_norm": "running statistics", "labels": "none",
    }  # fmt: skip


def test_terms_are_logged_by_name_and_unweighted(runs):
    workdir, _ = runs("vae_gan")
    record = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    costs = {name for name in record if name.split("/")[0] in ("encoder", "decoder", "discriminator")}
    terms = {"encoder/kl", "encoder/feature", "decoder/feature", "decoder/adversarial", "discriminator/adversarial"}
    assert terms <= costs
    assert record["encoder/feature"] == pytest.approx(record["decoder/feature"])
    expected = 0.1 * record["decoder/feature"] + record["decoder/adversarial"]
    assert record["decoder/cost"] == pytest.approx(expected, rel=1e-5)


def test_each_command_takes_the_stage_that_it_is_told(runs):
    workdir, out = runs("adda")
    assert "of the stage source_only digest" in out and "of the stage adapt digest" in out
    for stage in ("source_only", "adapt"):
        code, said, err = command("adda", "evaluate", "--workdir", workdir, "--stage", stage, "--quiet")
        assert code == 0 and f"{workdir / stage / 'scores'}" in said, err
    code, _, err = command("adda", "evaluate", "--workdir", workdir, "--stage", "adept")
    assert code == 2 and "--stage is 'adept', expected one of ['source_only', 'adapt']" in err
    steps = [json.loads((workdir / stage / "config.json").read_text())["steps"] for stage in ("source_only", "adapt")]
    assert steps == [4, 6]
    record = json.loads((workdir / "adapt" / "start.json").read_text())
    assert {player: own["player"] for player, own in record.items()} == {
        "source": "encoder", "target": "encoder", "classifier": "classifier",
    }  # fmt: skip


def test_onlookers_of_a_stage_are_the_players_of_the_one_before(runs, data):
    """Bit for bit, after all its steps; and the target began there, and moved."""
    workdir, _ = runs("adda")
    first, last = (_state("adda", workdir, stage, data) for stage in ("source_only", "adapt"))
    for onlooker, player in (("source", "encoder"), ("classifier", "classifier")):
        assert jax.tree.all(jax.tree.map(np.array_equal, last.params[onlooker], first.params[player]))
    assert not jax.tree.all(jax.tree.map(np.array_equal, last.params["target"], first.params["encoder"]))


def _state(name, workdir, stage, data):
    from ganjax.commands.base import Loader
    from ganjax.commands.train import of_stages

    config = _config(data)
    setups = EXPERIMENTS[name].build(config, Loader(config), None)
    return load_state(of_stages(workdir, setups[stage], list(setups)), workdir / stage)


def _config(data):
    import dataclasses

    return dataclasses.replace(DEFAULTS, data=str(data[1]), target=str(data[3]))


def test_a_stage_that_another_was_begun_from_is_not_lengthened(runs, data):
    workdir, _ = runs("adda")
    code, _, err = command(
        "adda", "train", "--workdir", workdir, "--quiet", *data, "--source-steps", 9, "--allow-config-change"
    )
    assert code == 2 and "the stage source_only is at step 4 of 9, and the stage adapt was begun from it" in err


def test_a_run_begins_from_another_run(runs, data, tmp_path):
    workdir, _ = runs("follower")
    options = ["--quiet", *data[:2], "--target", workdir, "--workdir", tmp_path / "run"]
    code, out, err = command("from", "train", *options)
    assert code == 0, err
    assert json.loads((tmp_path / "run" / "start.json").read_text())["wanderer"]["step"] == 6
    assert digests(out) != digests(runs("follower")[1])
    options[4] = tmp_path / "nowhere"
    options[-1] = tmp_path / "other"
    code, _, err = command("from", "train", *options)
    assert code == 6 and "holds no intact checkpoint to begin from" in err and not (tmp_path / "other").exists()


def test_averaged_weights_are_taken_by_player(runs, data):
    """Of an average of several players, and of one alone; from the files, without the setup that made them."""
    for name, player in (("vae_gan", "decoder"), ("styles", "generator")):
        workdir, setup = runs(name)[0], _built(name, data, "")
        state = load_state(setup, workdir)
        raw, averaged = (weights_of(setup, state, [player], weights)[player] for weights in ("raw", "ema"))
        for weights, expected in (("raw", raw), ("ema", averaged)):
            found = overlaid(raw, take(From(workdir, player, weights)), player)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
        assert not jax.tree.all(jax.tree.map(np.array_equal, raw, averaged))
    with pytest.raises(CheckpointError, match="holds no ema weights of the player 'discriminator'; its players are"):
        take(From(runs("styles")[0], "discriminator", "ema"))


def test_what_does_not_fit_is_named_or_left_fresh(runs):
    taken = take(From(runs("vae_gan")[0], "decoder"))
    kernel = np.ones((3, 16), np.float32)
    fresh = Owned({"Dense_0": {"kernel": kernel, "bias": np.ones(5, np.float32)}}, {})
    with pytest.raises(CheckpointError, match=r"params\.Dense_0\.bias is float32\[16\], expected float32\[5\]"):
        overlaid(fresh, taken, "decoder")
    grown = overlaid(fresh, taken._replace(source=taken.source._replace(grown=True)), "decoder")
    assert (grown.params["Dense_0"]["bias"] == 1).all() and (grown.params["Dense_0"]["kernel"] != 1).any()


def test_a_checkpoint_that_was_chosen_by_withheld_labels_says_so(data, tmp_path):
    options = ["--workdir", tmp_path / "run", "--quiet"]
    code, _, err = command("mcd", "train", *options, *data, "--judge-every", 3)
    assert code == 0, err
    scores = [json.loads(line) for line in (tmp_path / "run" / "judge.jsonl").read_text().splitlines()]
    assert [one["step"] for one in scores] == [3, 6] and all(one["score"] == -one["accuracy"] for one in scores)
    for which, stamped in (("best", True), ("last", False)):
        code, said, err = command("mcd", "evaluate", *options, "--which", which)
        assert code == 0 and ("the checkpoint was chosen by accuracy, which reads what" in said) == stamped, err


def test_two_translators_cost_as_much_as_one_joint_gradient():
    """Of CycleGAN: what g and f share is computed once, though each differentiates a cost of its own."""
    x = {"a": np.zeros((16, 4, 4, 1), np.uint8), "b": np.zeros((16, 4, 4, 1), np.uint8)}
    x["a"][0], x["b"][0] = 255, 255
    game, _ = cyclegan({"a": (4, 4, 1), "b": (4, 4, 1)})
    setup = build_cyclegan(DEFAULTS, lambda name: Dataset(x["a"]), None)
    batch = collate(setup, arrays(setup), {s: np.arange(16) for s in "ab"}, jax.random.key(0))
    params, net_state = game.init(jax.random.key(0), batch)
    moment = Moment(net_state, batch, jax.random.key(0))

    def apart(params, moment):
        return View(game, moment).field(params, ("g", "f")).gradients

    def joint(params, moment):
        both = lambda p: sum(game.costs[player]({**params, **p}, moment)[0] for player in "gf")  # noqa: E731
        return jax.grad(both)({p: params[p] for p in "gf"})

    assert flops(apart, params, moment) <= 1.1 * flops(joint, params, moment)


def test_streams_differ_and_positions_are_unique(data):
    from ganjax.commands.base import Loader

    config = _config(data)
    setup = build_cyclegan(config, Loader(config), None)
    rows = order(setup, 0)(0, 3)
    assert rows["a"].shape == rows["b"].shape == (3, 16) and rows["b"].max() == 6
    assert np.bincount(rows["b"].ravel(), minlength=7).max() - np.bincount(rows["b"].ravel(), minlength=7).min() <= 1
    batch = collate(setup, arrays(setup), {name: own[0] for name, own in rows.items()}, jax.random.key(0))
    assert np.concatenate([batch["a"].position, batch["b"].position]).tolist() == list(range(32))
    flipped = [
        np.allclose(x, y, atol=1e-6) for x, y in zip(batch["a"].x, _encoded(setup, "a", rows["a"][0]), strict=True)
    ]
    twice = dict.fromkeys("ab", setup.streams["a"])
    same = order(setup._replace(streams=twice), 0)(0, 3)
    assert (same["a"] != same["b"]).any(), "two streams of one set show other examples"
    assert 0 < sum(flipped) < 16, "some examples are flipped, and some are not"
    np.testing.assert_allclose(batch["b"].x, _encoded(setup, "b", rows["b"][0]), atol=1e-6)


def _encoded(setup, stream, rows):
    return np.asarray(setup.streams[stream].dataset.x_train[rows].astype(np.float32) / 127.5 - 1)


def test_fit_trains_as_train_does(runs, data):
    from ganjax.commands.base import Loader

    config = _config(data)
    setup = EXPERIMENTS["vae_gan"].build(config, Loader(config), None)
    found, expected = fit(setup, 0, 6), load_state(setup, runs("vae_gan")[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def test_eight_devices_end_where_one_does(runs, data, tmp_path):
    """Of every system in one child; SGD in float32, so up to rounding."""
    names = SEEN if FULL else ["cyclegan", "adda", "styles"]
    done = finished(WORKER.parent / "setups_worker.py", tmp_path, *data, *names, env=with_devices(8))
    assert done.returncode == 0, done.stderr
    for name in names:
        for stage in STAGES.get(name, [""]):
            setup = _built(name, data, stage)
            one, many = (load_state(setup, path / stage) for path in (runs(name)[0], tmp_path / name))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, many)


def _built(name, data, stage):
    from ganjax.commands.base import Loader, stages_of

    config = _config(data)
    return stages_of(EXPERIMENTS[name].build(config, Loader(config), None))[stage]


def test_init_sees_the_batch_of_step_0(data):
    setup, seen = _built("follower", data, ""), []
    game = setup.game._replace(init=lambda key, batch: seen.append(batch.x.shape) or setup.game.init(key, batch))
    initial_state(setup._replace(game=game), 0)
    assert seen == [(16, 4, 4, 1)]
