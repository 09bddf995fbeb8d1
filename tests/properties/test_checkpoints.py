"""Whatever a file of a checkpoint becomes: the state as it was, an older one as it was, or one sentence."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganjax.core import GameState
from ganjax.errors import CheckpointError
from ganjax.training.checkpoint import Checkpoints
from ganjax.training.state import digest


def _state(step):
    rng = np.random.default_rng(step)
    params = {"one": {"kernel": rng.normal(size=(3, 4)).astype(np.float32), "half": jnp.bfloat16(rng.normal())}}
    return GameState(np.int32(step), params, {"one": {"n": np.arange(step)[:3]}}, (), {}, np.int32(0))


STATES = {step: _state(step) for step in (3, 7)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "run"
    checkpoints = Checkpoints(folder)
    for state in STATES.values():
        checkpoints.save(state)
    checkpoints.close()
    return folder


@given(data=st.data())
@settings(max_examples=60)
def test_any_bytes_anywhere(saved, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(saved, folder)
    places = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        content = path.read_bytes()
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, len(content)))
        path.write_bytes(content[:start] + data.draw(st.binary(max_size=40)) + content[stop:])
    try:
        checkpoints = Checkpoints(folder)
        try:
            found = checkpoints.restore(STATES[7])
        finally:
            checkpoints.close()
    except CheckpointError as error:
        assert "\n" not in str(error) and "damaged" in str(error)
    else:
        assert digest(found) == digest(STATES[int(found.step)])
    shutil.rmtree(folder.parent)
