"""Resident or streamed, whole or in parts, by any number of threads or devices: the same bits. No thread is left."""

import threading
import time
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from children import finished, with_devices

from ganjax.core import Game, Outcome
from ganjax.data import Dataset
from ganjax.dynamics import alternating
from ganjax.errors import DataError, DivergedError, OutOfMemoryError
from ganjax.training import Schedule, Setup, Stream, digest, feed, parallel, train
from ganjax.training.setup import order

WORKER = Path(__file__).parent / "feed_worker.py"
pytestmark = pytest.mark.usefixtures("compiled_once")


def _game():
    """Two tables with a row for each class, which follow the examples and each other."""

    def cost(player, other):
        def of(params, moment):
            x, labels = moment.batch.x.reshape(-1, 16), moment.batch.y
            return jnp.square(params[player][labels] - x * params[other][labels]).mean(), Outcome({}, {})

        return of

    tables = {"discriminator": jnp.ones((3, 16)), "generator": jnp.zeros((3, 16))}
    costs = {"discriminator": cost("discriminator", "generator"), "generator": cost("generator", "discriminator")}
    return Game(lambda key, batch: (tables, {"discriminator": {}, "generator": {}}), costs)


def _dataset(count=50):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8)
    return Dataset(x, rng.integers(0, 3, count).astype(np.int32))


def _setup(x=None, scan=True):
    """With `x` in the place of the training images."""
    adam, dataset = optax.adam(1e-2), _dataset()
    if x is not None:
        _ = dataset.digest  # is kept: to take it would be to read them all
        object.__setattr__(dataset, "x_train", x)  # what is checked when it is made is not what is tested here
    dynamics = alternating({"discriminator": adam, "generator": adam}, turns={"discriminator": 2})
    return Setup(_game(), dynamics, {"data": Stream(dataset, 4, y="class")}, scan=scan)


@cache
def _plain(scan):
    return _setup(scan=scan)  # one object, which is compiled once


def _train(workdir, steps=23, setup=None, **how):
    schedule = Schedule(steps, **{"log_every": 1, "sample_every": 7, "checkpoint_every": 10, "chunk": 4, **how})
    return train(setup or _plain(True), workdir, seed=3, schedule=schedule, progress=False)


STREAMED = {"resident_megabytes": 0}


def _threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("feed")]


class Images:
    """An array that is read row by row, by `read(row, image)`."""

    def __init__(self, read):
        self._x, self._read = _dataset().x_train, read
        self.shape, self.dtype, self.nbytes, self.ndim = self._x.shape, self._x.dtype, self._x.nbytes, 4

    def __len__(self):
        return len(self._x)

    def __getitem__(self, rows):
        return np.stack([self._read(row, self._x[row]) for row in np.arange(len(self._x))[rows]])


@pytest.mark.parametrize("scan", [True, False])
def test_a_stream_ends_in_the_bits_of_the_resident_set(tmp_path, scan):
    resident = digest(_train(tmp_path / "resident", setup=_plain(scan)).state)
    for workers in (1, 4):
        found = _train(tmp_path / str(workers), setup=_plain(scan), workers=workers, **STREAMED)
        assert digest(found.state) == resident
    for steps in (9, 13, 23):  # nor does it matter where a run is stopped, and which way it goes on
        part = _train(tmp_path / "part", steps, _plain(scan), **(STREAMED if steps != 13 else {}))
    assert part.began == 13 and digest(part.state) == resident


def test_a_chunk_of_large_examples_is_shorter(tmp_path, monkeypatch):
    monkeypatch.setattr(feed, "CHUNK_BYTES", 2 * 12 * 20)  # of two steps of 12 examples and their labels
    assert feed.fitting(_setup(), 4) == 2 and feed.fitting(_setup(), 1) == 1
    assert digest(_train(tmp_path / "a", **STREAMED).state) == digest(_train(tmp_path / "b").state)
    monkeypatch.setattr(feed, "CHUNK_BYTES", 1)
    assert feed.fitting(_setup(), 4) == 1


def test_where_the_limit_is():
    setup = Setup(None, None, {"data": Stream(_dataset(2**16), 4)})  # of 16 bytes: 1 MiB
    assert feed.is_resident(setup, 1) and not feed.is_resident(setup, 0)
    assert not feed.is_resident(_setup(Images(lambda row, image: image)), 10**6)


def test_four_devices(tmp_path):
    done = finished(WORKER, tmp_path, env=with_devices(4))
    assert done.returncode == 0, done.stderr
    devices, *digests = (tmp_path / "digests").read_text().split()
    assert devices == "4" and len(digests) == 3 and len(set(digests)) == 1


def test_a_process_reads_the_rows_of_its_own_devices(monkeypatch):
    """Two processes of two devices read each row once between them, each device what `deal` gives it."""
    monkeypatch.setattr(jax, "devices", lambda: list("abcd"))
    positions, found = np.arange(24).reshape(3, 8), []
    for local in ("ac", "bd"):
        monkeypatch.setattr(jax, "local_devices", lambda local=local: list(local))
        found.append(parallel.shares(positions))
    np.testing.assert_array_equal(found[1][0], positions[:, 1::4])
    assert found[0].shape == (2, 3, 2)
    np.testing.assert_array_equal(np.sort(np.ravel(found)), np.arange(24))


def test_what_is_read_and_how_far_ahead():
    """Every step's rows once, the chunk's and those of the next two, and no others."""
    read = []
    setup = _setup(Images(lambda row, image: read.append(row) or image))
    positions = order(setup, 3)
    spans = [(0, 2), (2, 1), (3, 2), (5, 2), (7, 2)]
    chunks = feed.streamed(setup, positions, spans, 4, workers=1)
    assert read == [], "nothing before it is asked for"
    first = next(chunks)
    assert first.steps == 2 and first.rows["data"].shape == (4, 12) and first.data["data"]["x"].shape == (48, 4, 4, 1)
    deadline = time.monotonic() + 5
    while len(read) < 5 * 12 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    np.testing.assert_array_equal(read, np.ravel(positions(0, 5)["data"]))
    x = np.asarray(first.data["data"]["x"])[np.asarray(first.rows["data"])[1]]
    np.testing.assert_array_equal(x, _dataset().x_train[positions(1, 1)["data"][0]])
    labels = np.asarray(first.data["data"]["y"])[np.asarray(first.rows["data"])[1]]
    np.testing.assert_array_equal(labels, _dataset().y_train[positions(1, 1)["data"][0]])
    assert [chunk.steps for chunk in chunks] == [1, 2, 2, 2]
    np.testing.assert_array_equal(read, np.ravel(positions(0, 9)["data"]))
    assert not _threads()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            DataError("a.png: not a readable image; remove it"),
            pytest.raises(DataError, match=r"a\.png: not a readable"),
        ),
        (MemoryError(), pytest.raises(OutOfMemoryError, match="is too small for turns of 4 examples")),
    ],
)
def test_what_fails_in_a_thread_ends_the_run(tmp_path, error, expected):
    row = order(_setup(), 3)(3, 1)["data"][0, 5]  # of the fourth step

    def read(i, image):
        if i == row:
            raise error
        return image

    with expected:
        _train(tmp_path, setup=_setup(Images(read)), chunk=2)
    assert not _threads()
    assert not (tmp_path / "checkpoints" / "4").exists()


def test_to_close_waits_for_one_step_of_each_thread():
    """A slow disk, 33 steps queued of which each takes 0.24 s."""
    setup = _setup(Images(lambda row, image: time.sleep(0.02) or image))
    chunks = feed.streamed(setup, order(setup, 0), [(0, 1), (1, 16), (17, 16), (33, 16)], 16, workers=2)
    thread = threading.Thread(target=lambda: next(chunks))
    thread.start()
    thread.join(timeout=60)
    began = time.monotonic()
    chunks.close()
    assert time.monotonic() - began < 2 and not _threads()


def test_a_stopped_run_leaves_no_thread(tmp_path):
    asked = []
    schedule = Schedule(1000, chunk=4, **STREAMED)
    stop = lambda: asked.append(1) or len(asked) > 2  # noqa: E731
    state, _ = train(_setup(), tmp_path, seed=3, schedule=schedule, stop=stop, progress=False)
    assert int(state.step) == 8 and not _threads()


@pytest.mark.parametrize("how", [{}, STREAMED])
def test_a_rejected_step_is_blamed_on_its_own_examples(tmp_path, how):
    """The fifth rejected step is played again with what it saw: both leaves are bad in some steps, one in others."""

    def cost(params, moment):
        bad = jnp.where(moment.batch.x.max() > 250 / 127.5 - 1, jnp.nan, 1.0)
        return params["one"]["a"] + params["one"]["b"] * bad, Outcome({}, {})

    game = Game(lambda key, batch: ({"one": {"a": jnp.ones(()), "b": jnp.ones(())}}, {"one": {}}), {"one": cost})
    x = np.random.default_rng(0).integers(0, 200, (40, 4, 4, 1), np.uint8)
    x[:, 0, 0] = 255
    setup = Setup(game, alternating({"one": optax.sgd(0.1)}), {"data": Stream(Dataset(x), 4)})
    with pytest.raises(DivergedError, match=r"step 5: .*the first of the player one: params\.one\.b"):
        _train(tmp_path, setup=setup, **how)
