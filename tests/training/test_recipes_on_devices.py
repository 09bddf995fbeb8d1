"""Every recipe loses the same on one device, on several, and on two processes, and continues from each other's states.

All start from the checkpoint that one device made at step 10 and take 50 steps more by SGD. For `make test`
test_parallel.py does this with one pair of networks that has what depends on a batch.
"""

import json
import os
import socket
from pathlib import Path

import matrix
import numpy as np
import pytest
from children import CHEAPLY, started, with_devices

WORKER = Path(__file__).parent / "recipes_worker.py"
FULL = os.environ.get("GANJAX_DEVICES") == "full"  # all recipes on 2, 4 and 8 devices and on two processes
RECIPES = ["conditional_mnist", "sngan", "wgan_gp", "pix2pix", "spade", "cyclegan", "adaptation"]
RECIPES += ["wavegan", "video", "seqgan"]  # waveforms, clips, tokens
RECIPES += ["biggan", "dcgan_cifar", "r3gan", "stacked_mnist"] if FULL else []
FIRST, LAST = 10, 60
pytestmark = pytest.mark.skipif(not (FULL or matrix.FULL), reason="of make test-all")


def _start(devices, folder, start, *cluster):
    folder.mkdir(exist_ok=True)
    args = folder, FIRST, LAST, start, *cluster, "--", *RECIPES
    return started(WORKER, *args, env=with_devices(devices, CHEAPLY))


def _finish(*workers):
    for worker in workers:
        try:
            output = worker.communicate(timeout=1500)
        finally:
            for other in workers if worker.returncode else ():
                other.kill()
        assert worker.returncode == 0, output


def _costs(folder, name):
    """[steps, players] after the common checkpoint."""
    records = map(json.loads, (folder / name / "metrics.jsonl").read_text().splitlines())
    return np.array([[r[key] for key in sorted(r) if key.endswith("/cost")] for r in records if r["step"] > FIRST])


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "runs"
    _finish(_start(1, folder, "-"))
    return folder


def _compare(folder, one):
    for name in RECIPES:
        got, expected = _costs(folder, name), _costs(one, name)
        assert got.shape == expected.shape and len(got) == LAST - FIRST and got.shape[1] > 1
        assert np.abs(np.diff(expected, axis=0)).max() > 1e-4, f"{name} stands still"
        error = np.abs(got - expected).max(0) / np.abs(expected).max(0)
        limit = 1e-4 if name == "seqgan" else 1e-5  # the value of its surrogate is a mean of what cancels
        assert error.max() < limit, f"{name}: {error}"


@pytest.mark.parametrize("devices", [2, 4, 8] if FULL else [8])
def test_devices(devices, one, tmp_path):
    _finish(_start(devices, tmp_path / "runs", one))
    _compare(tmp_path / "runs", one)


@pytest.mark.skipif(not FULL, reason="compiles every recipe again: GANJAX_DEVICES=full")
def test_two_processes_of_two_devices(one, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    _finish(*(_start(2, tmp_path / "runs", one, address, 2, i) for i in range(2)))
    _compare(tmp_path / "runs", one)
