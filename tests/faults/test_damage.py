"""Damaged checkpoints and logs: real bytes on disk, and what becomes of the run that continues from them."""

import json
import shutil
from functools import cache

import jax
import numpy as np
import pytest
import toy
from faults import FULL, Row, Run, files, flip, number

from ganjax.errors import CheckpointError
from ganjax.training import digest, latest_step, load_state
from ganjax.training.checkpoint import Checkpoints
from ganjax.training.setup import state_shapes
from ganjax.training.state import by_path, digests


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with checkpoints 5 and 10, and the digests of both."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    five = toy.run(folder, 5).state
    return folder, {5: digest(five), 10: digest(toy.run(folder, 10).state)}


def _copy(trained, tmp_path, name):
    return shutil.copytree(trained[0], tmp_path / str(name).replace("/", "_"))


@cache
def _shapes():
    return state_shapes(toy.plain())


def _restored(workdir):
    """(step, digest) of what a run would continue from."""
    checkpoints = Checkpoints(workdir)
    try:
        state = checkpoints.restore(_shapes())
    finally:
        checkpoints.close()
    return int(state.step), digest(state)


def _check(workdir, trained, capsys, row, what):
    """The damaged step 10 is either found out, and 5 taken, or its every bit is as it was."""
    capsys.readouterr()
    with row.case(what):
        step, found = _restored(workdir)
        assert found == trained[1][step], "a wrong state was restored"
        if step == 5:
            (warning,) = capsys.readouterr().err.splitlines()
            assert "warning: checkpoint 10 is damaged" in warning and "falling back to step 5" in warning, warning
            assert (workdir / "corrupt/checkpoints/10").is_dir() and latest_step(workdir) == 5
        return step


DAMAGE = {
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "all but one byte": lambda data: data[:-1],
    "deleted": None,
}


def test_every_file_cut_short_or_deleted(trained, tmp_path, capsys):
    names = [path.relative_to(trained[0] / "checkpoints/10") for path in files(trained[0] / "checkpoints/10")]
    assert len(names) > 8
    with Row("R6", "every file of a checkpoint cut short or deleted") as row:
        found = []
        for name in names:
            for how, change in DAMAGE.items():
                workdir = _copy(trained, tmp_path, f"{name}-{how}")
                path = workdir / "checkpoints/10" / name
                before = path.read_bytes()
                if change is None:
                    path.unlink()
                elif change(before) == before:
                    continue
                else:
                    path.write_bytes(change(before))
                found.append(_check(workdir, trained, capsys, row, f"{name}, {how}"))
                shutil.rmtree(workdir)
        row.notes = f"{found.count(5)} found out, {found.count(10)} without effect on any bit of the state"
        assert found.count(5) > 10


def test_a_bit_flipped_anywhere(trained, tmp_path, capsys):
    """In every file in turn, which takes in the description, the arrays and their index."""
    rng = np.random.default_rng(0)
    with Row("R7", "one bit of a checkpoint's files flipped") as row:
        names = [path.relative_to(trained[0]) for path in files(trained[0] / "checkpoints/10") if path.stat().st_size]
        found = []
        for trial in range(number(300)):
            workdir = _copy(trained, tmp_path, trial)
            name = names[trial % len(names)]
            flip(workdir / name, rng)
            found.append(_check(workdir, trained, capsys, row, f"{name}, trial {trial}"))
            shutil.rmtree(workdir)
        row.notes = f"seed 0; {found.count(5)} found out, {found.count(10)} without effect on any bit of the state"


def test_a_bit_flipped_in_every_leaf(tmp_path, capsys):
    """Written as such by Orbax, which then loads it without a word; the digest is of the leaf before."""
    setup = toy.setup()
    state = toy.run(tmp_path / "run", 5, of=setup).state
    paths, leaves = by_path(state), jax.tree.leaves(state)
    rng = np.random.default_rng(1)
    with Row("R7 leaves", "one bit of every leaf flipped") as row:
        for i, path in list(enumerate(paths))[:: 1 if FULL else 10]:
            workdir = tmp_path / str(i)
            checkpoints = Checkpoints(workdir)
            checkpoints.save(state.replace(step=np.int32(4)))
            flipped = leaves[i].copy()
            flipped.reshape(-1).view(np.uint8)[rng.integers(flipped.nbytes)] ^= 1 << rng.integers(8)
            damaged = jax.tree.unflatten(jax.tree.structure(state), [*leaves[:i], flipped, *leaves[i + 1 :]])
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("ganjax.training.checkpoint.digests", lambda _: digests(state))
                checkpoints.save(damaged.replace(step=np.int32(5)) if path != "step" else damaged)
            checkpoints.close()
            capsys.readouterr()
            with row.case(path):
                kept, _ = _restored(workdir)
                assert kept == 4 or path == "step"
                assert f"the digest of {path} is" in capsys.readouterr().err


def test_no_checkpoint_is_intact(trained, tmp_path):
    """Never a fresh start: exit 6 with all that was tried, each time, and nothing is moved or written."""
    run = Run(tmp_path / "run", steps=40)
    run.digest()
    rng = np.random.default_rng(2)
    for step in run.steps():
        flip(run.workdir / "checkpoints" / str(step) / "meta" / "metadata", rng)
    before = files(run.workdir)
    with Row("R8", "every checkpoint damaged") as row:
        for again in range(2):
            with row.case(again):
                code, out, err = Run(run.workdir, steps=60).finish()
                assert code == 6 and out == "" and len(err.splitlines()) == 1, err
                assert "holds no intact checkpoint" in err and "checkpoint 40 is" in err and "checkpoint 20 is" in err
                assert files(run.workdir) == before


def test_a_damaged_run_ends_as_an_undamaged_one(reference, tmp_path):
    """The command line, over a fallback: the same bits in the end."""
    with Row("R6 end", "the newest checkpoint damaged, the same command again") as row:
        for trial in range(number(10)):
            run = Run(tmp_path / str(trial), steps=200, every=100)
            run.digest()
            flip(run.workdir / "checkpoints/200/meta/metadata", np.random.default_rng(trial))
            with row.case(trial):
                code, out, err = Run(run.workdir, every=100).finish()
                assert code == 0 and out.strip().splitlines()[-1] == reference, err
                assert "checkpoint 200 is damaged" in err and "falling back to step 100" in err


def test_the_last_line_of_the_log_is_cut(tmp_path):
    """Dropped with all records after the checkpoint; no step is recorded twice."""
    with Row("R26", "the last record of the log cut in half") as row:
        for trial in range(number(10)):
            workdir = tmp_path / str(trial)
            toy.run(workdir, 10)
            shutil.rmtree(workdir / "checkpoints/10")
            text = (workdir / "metrics.jsonl").read_text()
            last = text.splitlines()[-1]
            (workdir / "metrics.jsonl").write_text(text[: -1 - max(1, (trial + 1) * len(last) // 12)])
            with row.case(trial):
                toy.run(workdir, 15)
                steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
                assert steps == list(range(1, 16))


def test_reading_falls_back_too_and_moves_nothing(trained, tmp_path, capsys):
    workdir = _copy(trained, tmp_path, "read")
    flip(workdir / "checkpoints/10/meta/metadata", np.random.default_rng(3))
    before = files(workdir)
    assert digest(load_state(toy.setup(), workdir)) == trained[1][5]
    assert "checkpoint 10 is damaged" in capsys.readouterr().err and files(workdir) == before
    shutil.rmtree(workdir / "checkpoints/5")
    with pytest.raises(CheckpointError, match="holds no intact checkpoint: checkpoint 10 is damaged"):
        load_state(toy.setup(), workdir)
