"""One device, eight devices, and two processes of two devices give the same numbers for the same global batch."""

import contextlib
import os
import runpy
import socket
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from children import started, with_devices

from ganjax import launch
from ganjax.core import plain
from ganjax.data import Dataset
from ganjax.dynamics import alternating, lookahead
from ganjax.errors import ConfigError
from ganjax.training import Setup, Stream, check, parallel

WORKER = Path(__file__).parent / "parallel_worker.py"
SCRIPT = Path(__file__).parents[2] / "experiments" / "vanilla_gan.py"


def _start(devices, *args):
    return started(WORKER, *args, env=with_devices(devices))


def _finish(process):
    output = process.communicate(timeout=300)
    assert process.returncode == 0, output


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "state.npz"
    _finish(_start(1, out))
    return dict(np.load(out))


def _compare(got, expected, devices):
    """Each leaf within 1e-6 of its own norm, BatchNorm statistics and power-iteration vectors included."""
    assert got.pop("devices") == devices
    assert got.keys() == expected.keys() - {"devices", "start"}
    for path, leaf in got.items():
        error = np.linalg.norm(np.ravel(leaf - expected[path])) / max(np.linalg.norm(np.ravel(expected[path])), 1e-3)
        assert error < 1e-6, f"{path}: {error:.1e}"


def test_the_reference_is_worth_comparing(one_device):
    assert one_device["devices"] == 1
    assert any("batch_stats" in path for path in one_device) and any("spectral" in path for path in one_device)
    moved = one_device[".params['generator']['Dense_0']['kernel']"] - one_device["start"]
    assert np.linalg.norm(moved) > 1e-3 * np.linalg.norm(one_device["start"])


@pytest.mark.fault("flaxmodels: a replicated state is replicated again on resume")
def test_eight_devices(one_device, tmp_path):
    _finish(_start(8, tmp_path / "state.npz"))
    _compare(dict(np.load(tmp_path / "state.npz")), one_device, 8)


def test_two_processes_of_two_devices(one_device, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    workers = [_start(2, tmp_path / "state.npz", address, 2, i) for i in range(2)]
    try:
        for worker in workers:
            _finish(worker)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    _compare(dict(np.load(tmp_path / "state.npz")), one_device, 4)


def test_a_directory_that_is_refused_ends_both_processes(tmp_path):
    """So that none waits for the other; here they are told who they are by options."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "letter.txt").write_text("dear")
    args = ["train", "--smoke", "--quiet", "--workdir", tmp_path, "--steps", 20]
    args += ["--coordinator", address, "--process-count", 2, "--process-id"]
    workers = [started(SCRIPT, *args, i) for i in range(2)]
    (_, error), (_, other_error) = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [2, 2], error + other_error
    assert "is not empty" in error and "process 0 refused" in other_error


def _launched(workdir, environments):
    """(exit code, stdout, stderr) of one process for each environment, with --coordinator auto."""
    args = ["train", "--smoke", "--quiet", "--workdir", workdir, "--steps", 4, "--chunk", 4, "--coordinator", "auto"]
    workers = [started(SCRIPT, *args, env=os.environ | one) for one in environments]
    try:
        outputs = [worker.communicate(timeout=300) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [(worker.returncode, *output) for worker, output in zip(workers, outputs, strict=True)]


def test_slurm_says_who_is_who(tmp_path):
    """The variables that srun sets; the port follows from the job's number. Process 0 alone prints and draws."""
    base = 65535 - 2**12 + 1
    with socket.socket() as free:
        for job in range(os.getpid() % 2**11, 2**12):
            with contextlib.suppress(OSError):
                free.bind(("127.0.0.1", base + job))
                break
    shared = {
        "SLURM_JOB_ID": str(job),
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
    }
    environments = [shared | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(2)]
    (code, first, err), (other, second, other_err) = _launched(tmp_path / "run", environments)
    assert (code, other) == (0, 0), err + other_err
    assert first.splitlines()[-1].startswith("step 4 digest ") and ".png" in first
    assert "digest" not in second and ".png" not in second


def test_no_launcher_is_one_sentence(tmp_path):
    ((code, _, err),) = _launched(tmp_path / "run", [{}])
    assert code == 2, err
    assert len(err.splitlines()) == 1 and not (tmp_path / "run").exists()
    assert err.startswith("error: --coordinator auto cannot find the other processes") and "srun" in err


@pytest.mark.parametrize("options", [("auto", 2, 0), ("auto", 1, 1), ("here", 2, 0), ("here:80", 2, 2), (None, 2, 0)])
def test_an_option_too_many_or_too_few(tmp_path, options):
    with pytest.raises(ConfigError, match="expected an id from 0 to count - 1 and host:port, auto alone, or none"):
        launch.Train(workdir=tmp_path, coordinator=options[0], process_count=options[1], process_id=options[2])


@pytest.mark.usefixtures("compiled_once")
def test_a_checkpoint_moves_between_devices_and_processes(tmp_path):
    """1 device, 4 devices, 2 processes of 2 devices, and back: the same bits restored, the same losses to 1e-6."""
    worker = Path(__file__).parents[1] / "faults" / "devices_worker.py"
    played = runpy.run_path(str(worker))["played"]

    def play(devices, processes, workdir, steps):
        if devices == processes == 1:  # as this process is
            return *played(workdir, steps), np.load(workdir / f"{steps}.npy")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        clusters = [[address, processes, i] for i in range(processes)] if processes > 1 else [[]]
        workers = [started(worker, workdir, steps, *cluster, env=with_devices(devices)) for cluster in clusters]
        outputs = [one.communicate(timeout=300) for one in workers]
        assert all(one.returncode == 0 for one in workers), outputs
        restored, saved = outputs[0][0].splitlines()[-1].split()  # Gloo writes lines of its own
        return restored, saved, np.load(workdir / f"{steps}.npy")

    *_, whole = play(1, 1, tmp_path / "whole", 40)
    before = "none"
    for i, (devices, processes) in enumerate([(1, 1), (4, 1), (2, 2), (1, 1)], 1):
        restored, saved, costs = play(devices, processes, tmp_path / "moved", 10 * i)
        assert restored == before, f"{processes} x {devices} restored another state than was saved"
        before = saved
    np.testing.assert_allclose(costs, whole, rtol=1e-6, atol=1e-6)


def test_a_dynamics_of_one_device_is_refused_on_several(monkeypatch):
    """It would train each device by itself, and nothing would say so."""
    data, sgd = Dataset(np.zeros((16, 2), np.float32)), {"one": optax.sgd(0.1)}
    game = plain({"one": 1.0}, {"one": lambda p: p["one"] ** 2})
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    check(Setup(game, lookahead(alternating(sgd, axis_name="data"), k=2, alpha=0.5), {"data": Stream(data, 8)}))
    with pytest.raises(ConfigError, match=r"without axis_name, so each of the 8 devices would train by itself; build"):
        check(Setup(game, lookahead(alternating(sgd), k=2, alpha=0.5), {"data": Stream(data, 8)}))


def test_an_indivisible_batch_is_an_error(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    parallel.check_batch(64)
    with pytest.raises(ConfigError, match="batch of 60 examples per step cannot be shared by 8 devices"):
        parallel.check_batch(60)
