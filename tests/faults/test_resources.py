"""Memory, disk and time: too little of the first two, and much of the third."""

import asyncio
import gc
import os
import re
import shutil
import statistics
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from faults import FULL, Row, Run, number

from ganjax.core import Game, Outcome
from ganjax.data import Dataset
from ganjax.dynamics import alternating
from ganjax.errors import CheckpointError, OutOfMemoryError
from ganjax.training import Schedule, Setup, Stream, digest, feed, latest_step, load_state, train

# Networks whose arrays are larger than anything else that a run writes.
LARGE = ("--generator-hidden", 256, 256, "--log-every", 100)


def _fails_to_write(run, **options):
    """The code of the second half of a run, whose first has left a checkpoint; it must be there afterwards."""
    before = run.steps()
    code, out, err = run.finish(**options)
    assert code == 6 and out == "", (code, err)
    assert len(err.splitlines()) == 1 and err.startswith("error: ") and str(run.workdir) in err, err
    assert run.steps()[-1] >= before[-1]
    return err


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The last line of an uninterrupted run of 80 steps."""
    return Run(tmp_path_factory.mktemp("whole") / "run", *LARGE, steps=80, every=40).digest()


def test_a_file_that_cannot_grow(whole, tmp_path):
    """The system refuses to write more than 200 kB into any file: EFBIG in the thread that writes checkpoints."""
    with Row("R5", "no room for a checkpoint: a limit of file sizes") as row:
        for trial in range(number(10)):
            workdir = tmp_path / str(trial)
            Run(workdir, *LARGE, steps=40).digest()
            with row.case(trial):
                err = _fails_to_write(Run(workdir, *LARGE, steps=80), largest_file=200_000)
                assert "File too large" in err
                assert Run(workdir, *LARGE, steps=80).digest() == whole
                assert not Run(workdir).unfinished()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root can mount a small disk")
def test_a_full_disk(whole, tmp_path):
    disk = tmp_path / "disk"
    with Row("R5 disk", "no room for a checkpoint: a disk of 8 MB") as row:
        for trial in range(number(5)):
            disk.mkdir(exist_ok=True)
            mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk]
            if subprocess.run(mount, capture_output=True).returncode:
                pytest.skip("this root cannot mount a disk")
            try:
                run = Run(disk / "run", *LARGE, steps=40)
                run.digest()
                free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                (disk / "filler").write_bytes(bytes(free - 300_000))
                with row.case(trial):
                    assert "No space left on device" in _fails_to_write(Run(disk / "run", *LARGE, steps=80))
                    (disk / "filler").unlink()
                    assert Run(disk / "run", *LARGE, steps=80).digest() == whole
            finally:
                subprocess.run(["umount", disk], check=True)


def test_a_save_that_fails_in_the_background(tmp_path, monkeypatch):
    """Whatever the writing thread meets is raised by the next save, or at the end."""
    import orbax.checkpoint as ocp

    async def broken(self, *_, **__):
        raise OSError(5, "Input/output error")

    with Row("R22", "an error in the thread that writes a checkpoint") as row:
        for trial, steps in enumerate((10, 15, 25)):
            workdir = tmp_path / str(trial)
            first = digest(toy.run(workdir, 5).state)
            with monkeypatch.context() as patch:
                patch.setattr(ocp.type_handlers.NumpyHandler, "serialize", broken)
                with row.case(f"{steps} steps"), pytest.raises(CheckpointError, match="Input/output error"):
                    toy.run(workdir, steps)
            with row.case(f"{steps} steps, what is left"):
                assert latest_step(workdir) == 5 and digest(load_state(toy.setup(), workdir)) == first


def test_leaves_beside_the_one_that_failed_say_nothing(tmp_path, caplog):
    """Orbax raises the first error; whatever else failed is a future that nobody asks, of which asyncio complains."""
    with Row("R5 log", "several leaves that cannot be written, in one line") as row:
        toy.run(tmp_path, 5)
        loop = asyncio.new_event_loop()
        with row.case("the others"):
            loop.create_future().set_exception(OSError(27, "File too large"))
            gc.collect()
            assert not caplog.records
        with row.case("whatever else asyncio has to say"):
            loop.call_exception_handler({"message": "a transport was lost"})
            assert [record.getMessage() for record in caplog.records] == ["a transport was lost"]
        loop.close()


def test_the_saved_state_is_the_one_of_its_step(tmp_path):
    """The save goes on in the background while the next steps reuse the buffers."""
    with Row("R21", "steps taken while a checkpoint is written") as row:
        for trial in range(number(5)):
            workdir = tmp_path / str(trial)
            toy.run(workdir, 15, seed=trial)
            shutil.rmtree(workdir / "checkpoints/15")
            with row.case(trial):
                saved = load_state(toy.setup(), workdir)
                assert int(saved.step) == 10
                assert digest(saved) == digest(toy.run(tmp_path / f"{trial} whole", 10, seed=trial).state)


def test_a_batch_too_large_for_the_memory(tmp_path, monkeypatch, request):
    """A real allocation of 32 TB in the step, which quick programs cannot make, and a MemoryError on the host."""

    def eight(huge):
        def cost(params, moment):
            value = jnp.square(params["one"] - moment.batch.x.mean()).sum()
            if huge:
                held = jax.lax.stop_gradient(params["one"])  # XLA of jaxlib 0.11 ends the process on the derivative
                scores = jnp.broadcast_to(held, (2**20, 2**20, 8))  # 32 TB once sorted
                value += jnp.sort(scores, axis=0)[0].sum()
            return value, Outcome({}, {})

        game = Game(lambda key, batch: ({"one": jnp.zeros(8)}, {"one": {}}), {"one": cost})
        return Setup(game, alternating({"one": optax.adam(0.1)}), {"data": Stream(toy.dataset(), 4)})

    def short(*_):
        raise MemoryError("Unable to allocate 9 TiB")

    with Row("R16", "more than fits into the memory") as row:
        workdir = tmp_path / "run"
        saved = digest(toy.run(workdir, 5, of=eight(huge=False)).state)
        for what in ("host", "device"):
            with row.case(what), monkeypatch.context() as patch:
                if what == "host":
                    patch.setattr(feed, "arrays", short)
                else:
                    request.getfixturevalue("as_users")
                of = eight(huge=what == "device")
                with pytest.raises(OutOfMemoryError, match=r"too small for turns of 4 examples .*lower --batch-size"):
                    toy.run(workdir, 10, of=of, allow_change=True)
                assert digest(load_state(of, workdir)) == saved


def test_a_long_run_stays_as_small_as_it_was(tmp_path):
    """Memory, open files and checkpoints over 10^5 steps of a toy game."""

    def cost(params, moment):
        return jnp.square(params["one"] - moment.batch.x.mean()) + 0 * jax.random.normal(moment.key), Outcome({}, {})

    game = Game(lambda key, batch: ({"one": jnp.zeros(())}, {"one": {}}), {"one": cost})
    data = Dataset(np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32))
    setup = Setup(game, alternating({"one": optax.adam(0.1)}), {"data": Stream(data, 4)})
    sizes, opened = [], []

    def observe(step, state, writers):
        status = Path("/proc/self/status").read_text()
        sizes.append(int(re.search(r"VmRSS:\s+(\d+)", status)[1]))
        opened.append(len(os.listdir("/proc/self/fd")))

    steps = number(100_000)
    schedule = Schedule(steps, 100, sample_every=steps // 20, checkpoint_every=steps // 100, chunk=100)
    with Row("R25", f"{steps:,} steps without a break") as row, row.case("soak"):
        train(setup, tmp_path, seed=0, schedule=schedule, observe=observe, progress=False)
        warm = len(sizes) // 4
        grown = sizes[-1] / sizes[warm] - 1
        row.notes = (
            f"memory {grown:+.1%} after warm-up, at least {min(opened[warm:])} open files, at most {max(opened[warm:])}"
        )
        assert grown < 0.05, row.notes
        half = len(opened) // 2  # some are open while a checkpoint is written, of which there were a hundred
        assert statistics.median(opened[half:]) <= statistics.median(opened[:half]) + 5, opened
        assert len(list((tmp_path / "checkpoints").iterdir())) <= 2
    assert FULL or steps == 10_000
