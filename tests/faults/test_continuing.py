"""What may differ when a run is continued, and what may not."""

import json
from pathlib import Path

import devices_worker
import numpy as np
import pytest
import toy
from children import finished, with_devices
from faults import FULL, Row, Run, contents

from ganjax.config import option
from ganjax.errors import CheckpointError, ConfigError
from ganjax.rundir import MAY_CHANGE, check_continues, read_run
from ganjax.training import loop

WORKER = Path(devices_worker.__file__)


def _other(name, value):
    """A value of the same kind that the option takes."""
    if name in ("loss", "penalty", "play"):
        return {"loss": "hinge", "penalty": "r1", "play": "simultaneous"}[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value, 3]
    return "other" if value is None or isinstance(value, str) else value + 1


def test_every_field_of_the_config(tmp_path):
    """Each alone: allowed, or an error that shows the old and the new value."""
    run = Run(tmp_path / "run", steps=20)
    run.digest()
    old = read_run(run.workdir)
    with Row("R14", "one field of the config changed") as row:
        for name, value in old["config"].items():
            new = {**old, "config": {**old["config"], name: _other(name, value)}}
            with row.case(name):
                if name in MAY_CHANGE:
                    check_continues(run.workdir, old, new)
                else:
                    shown = f"{option(name)} {value!r} -> {new['config'][name]!r}"
                    with pytest.raises(ConfigError) as error:
                        check_continues(run.workdir, old, new)
                    assert shown in str(error.value) and "--allow-config-change" in str(error.value)
        before = contents(run.workdir)
        with row.case("the command"):
            code, _, err = Run(run.workdir, "--beta1", 0.25, steps=40).finish()
            assert code == 2 and "--beta1 0.5 -> 0.25" in err and contents(run.workdir) == before, err
        with row.case("the command, another model"):
            code, _, err = Run(run.workdir, "--generator-hidden", 32, "--allow-config-change", steps=40).finish()
            assert code == 6 and "expected float32[32]" in err and contents(run.workdir) == before, err
        with row.case("the command, allowed"):
            code, _, err = Run(run.workdir, "--beta1", 0.25, "--allow-config-change", steps=40).finish()
            assert code == 0, err
            found = json.loads((run.workdir / "config.json").read_text())
            assert found["config"]["beta1"] == 0.25 and found["changes"] == ["--beta1 0.5 -> 0.25"]
            assert Run(run.workdir, "--beta1", 0.25, steps=60).finish()[0] == 0, "no switch is needed any more"


def test_leaves_that_do_not_fit(tmp_path):
    """A leaf more, a leaf less and one of another shape; each is named, and nothing is touched."""
    toy.run(tmp_path / "run", 5)
    before = contents(tmp_path)
    more = toy.setup()
    more.averages["second"] = more.averages["ema"]
    cases = {
        "added": (more, r"averages\.second.* is missing, expected"),
        "removed": (toy.setup()._replace(averages={}), r"averages\.ema.* is int32.*, expected missing"),
        "reshaped": (toy.setup(width=9), r"BatchNorm_0.* is float32\[8\], expected float32\[9\]"),
    }
    with Row("R15", "a leaf added, removed or reshaped") as row:
        for name, (setup, sentence) in cases.items():
            with row.case(name):
                with pytest.raises(CheckpointError, match=sentence):
                    toy.run(tmp_path / "run", 10, of=setup)
                assert contents(tmp_path) == before


def test_another_number_of_devices(tmp_path):
    """Saved on some devices, continued on others: the same bits when restored, the same losses to 1e-6 later on."""

    def play(devices, workdir, steps):
        if devices == 1:  # as this process has
            restored, last = devices_worker.played(workdir, steps)
        else:
            done = finished(WORKER, workdir, steps, env=with_devices(devices))
            assert done.returncode == 0, done.stderr
            restored, last = done.stdout.split()
        return restored, last, np.load(workdir / f"{steps}.npy")

    with Row("R17", "the number of devices changed between save and restore") as row:
        _, _, whole = play(1, tmp_path / "whole", 60)
        orders = [(1, 4, 2, 1), (4, 2, 1, 4), (2, 4, 1, 2), (1, 2, 4, 1), (4, 1, 4, 2), (2, 1, 2, 4)]
        for order in orders if FULL else orders[:1]:
            workdir, saved = tmp_path / "-".join(map(str, order)), None
            with row.case(order):
                for i, devices in enumerate(order, 1):
                    restored, last, costs = play(devices, workdir, 15 * i)
                    assert (saved or "none") == restored, "restored another state than was saved"
                    saved = last
                np.testing.assert_allclose(costs, whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scan", [True, False])
def test_the_step_is_traced_once(tmp_path, monkeypatch, scan):
    """Over saves, samples, judgements and a resume in each of two processes' lives."""
    with Row(f"R24 {'scanned' if scan else 'dispatched'}", "50 steps with saves and observations, and a resume") as row:
        for life, steps in enumerate((30, 50)):
            traces, plain = [], loop.unguarded_step

            def counted(*args, plain=plain, traces=traces, **kwargs):
                step = plain(*args, **kwargs)
                return lambda *a: traces.append(1) or step(*a)

            with row.case(life), monkeypatch.context() as patch:
                patch.setattr(loop, "unguarded_step", counted)
                toy.run(tmp_path, steps, of=toy.setup()._replace(scan=scan), observe=lambda *_: None)
                assert len(traces) == 1, f"{len(traces)} traces"
