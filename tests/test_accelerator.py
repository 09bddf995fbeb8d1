"""scripts/accelerator.py: a run that is cut off keeps what it had, a pack fits, results of two devices never mix."""

import hashlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
from pathlib import Path

import matrix
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "accelerator.py"
sys.path.insert(0, str(SCRIPT.with_suffix("")))
import merging  # noqa: E402
import numerics  # noqa: E402
import packing  # noqa: E402
import parts  # noqa: E402
import profiles  # noqa: E402
import runner  # noqa: E402

WRITES = "import json, sys; json.dump({'found': sys.argv[2]}, open(sys.argv[1] + '/numbers.json', 'w'))"


def _part(name, code=WRITES, seconds=30.0, **more):
    return runner.Part(name, seconds, ("-c", code, "{out}", name), **more)


def _records(out):
    return json.loads((out / "results.json").read_text())["parts"]


def _run(found, out, seconds=60.0, **more):
    return runner.run(found, out, seconds, {}, **more)


def test_a_part_that_fails_keeps_its_last_lines_and_the_next_goes_on(tmp_path):
    code = f"{WRITES}; print('what it said'); sys.exit(3)"
    assert _run([_part("a", code), _part("b")], tmp_path) == 1
    a, b = (_records(tmp_path)[name] for name in "ab")
    assert (a["status"], a["exit_code"], a["tail"]) == ("failed", 3, ["what it said"])
    assert a["numbers"] == {"found": "a"}, "what it had found before it failed"
    assert (b["status"], b["numbers"]) == ("done", {"found": "b"}) and "tail" not in b


def test_a_part_beyond_its_limit_is_ended_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "GRACE", 0.2)
    child = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); "
    stubborn = f"{child}import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WRITES}; time.sleep(60)"
    assert _run([_part("a", stubborn, seconds=1.0), _part("b")], tmp_path) == 1
    a, b = (_records(tmp_path)[name] for name in "ab")
    assert a["status"] == "timed out" and b["status"] == "done"
    state = Path(f"/proc/{int(a['tail'][0])}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z", "its child lives on"


def test_what_is_done_is_skipped_and_what_failed_comes_last(tmp_path):
    log = tmp_path / "log"
    note = f"open({str(log)!r}, 'a').write(sys.argv[2]); " + WRITES.removeprefix("import json, sys; ")
    fails = _part("a", f"import json, sys; {note}; sys.exit(1)")
    well = [_part(name, f"import json, sys; {note}") for name in "bc"]
    assert _run([fails, well[0]], tmp_path / "out") == 1
    assert log.read_text() == "ab"
    assert _run([fails, *well], tmp_path / "out") == 1
    assert log.read_text() == "ab" + "ca", "c was never tried, so it is first; b is done"


def test_what_cannot_be_run_here_is_said_and_fails_nothing(tmp_path):
    lacking = _part("a", "raise SystemExit(9)", lacking="PyTorch is not installed")
    assert _run([lacking, _part("b")], tmp_path) == 0
    assert _records(tmp_path)["a"] == {"status": "skipped", "why": "PyTorch is not installed"}
    assert _run([_part("a")], tmp_path) == 0, "it is there now"
    assert _records(tmp_path)["a"]["status"] == "done"


def test_no_part_is_begun_without_time(tmp_path):
    assert _run([_part("a")], tmp_path, seconds=runner.LEAST / 2) == 1
    assert _records(tmp_path)["a"] == {"status": "no time"} and not (tmp_path / "a").exists()
    assert _run([_part("a")], tmp_path) == 0 and _records(tmp_path)["a"]["status"] == "done"


def test_nothing_is_begun_where_a_vital_part_fails(tmp_path, capsys):
    assert _run([_part("a", "raise SystemExit('no accelerator')", vital=True), _part("b")], tmp_path) == 1
    assert set(_records(tmp_path)) == {"a"} and "no accelerator" in capsys.readouterr().out


def test_a_dry_run_and_one_on_a_device_have_folders_of_their_own(tmp_path):
    _run([_part("a")], tmp_path, dry=True)
    with pytest.raises(ValueError, match="holds the results of a dry run"):
        _run([_part("a")], tmp_path)


RUNS = """
import sys
sys.path.insert(0, sys.argv[1])
import runner
from pathlib import Path
write = "import json, sys; json.dump({'found': sys.argv[2]}, open(sys.argv[1] + '/numbers.json', 'w'))"
wait = write + "; import time; time.sleep(60)"
found = [runner.Part(n, 60, ("-c", c, "{out}", n)) for n, c in (("a", write), ("b", wait), ("c", write))]
runner.run(found, Path(sys.argv[2]), 200, {}, archive=Path(sys.argv[2] + ".zip"))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_cut_off_in_the_middle_keeps_what_it_had(how, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", RUNS, str(SCRIPT.with_suffix("")), str(out)])
    found = out / "b" / "numbers.json"
    while not (found.exists() and found.read_text().endswith("}")):  # b is under way and has found something
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(how)
    assert process.wait(30) == (-how if how == signal.SIGKILL else 128 + how)
    assert _records(out)["a"]["numbers"] == {"found": "a"}
    assert _records(out)["b"]["status"] == "running" and json.loads((out / "b" / "numbers.json").read_text())
    assert (tmp_path / "out.zip").exists()
    left = subprocess.run(["pgrep", "-f", f"{out}/b"], capture_output=True, text=True).stdout.split()
    for pid in map(int, left):
        assert how == signal.SIGKILL, "a part outlived an orderly end"
        os.kill(pid, signal.SIGKILL)
    assert _run([_part(name) for name in "abc"], out) == 0
    assert {name: record["status"] for name, record in _records(out).items()} == dict.fromkeys("abc", "done")


def _source(root, folder, without):
    (folder / "ganjax").mkdir()
    (folder / "ganjax" / "code.py").write_text("pass\n")
    return {}


def _site(size):
    def site(root, folder, without):
        with tarfile.open(folder / "site.tar.xz", "w:xz") as file:
            module = folder.parent / "module.py"
            module.write_bytes(b"#" + np.random.default_rng(0).bytes(size).hex().encode())
            file.add(module, "site/module.py")

    return site


@pytest.fixture
def images(tmp_path):
    """Images as random as none are, so that they do not shrink."""
    rng = np.random.default_rng(0)
    for name, shape in {"mnist": (8, 8, 1), "cifar10": (8, 8, 3)}.items():
        x, y = rng.integers(256, size=(600, *shape), dtype=np.uint8), np.arange(600) % 10
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x[:90], y_test=y[:90])
    return tmp_path


def test_a_pack_fits_and_says_what_it_left_out(images, tmp_path, capsys):
    out = tmp_path / "pack"
    make = {"source": _source, "site": _site(1000)}
    found = packing.pack(ROOT, out, images, megabytes=0.16, **make)
    assert packing.size(out) <= 0.16e6
    said = capsys.readouterr().out
    assert "left out: images of cifar10.npz" in said and "tensorflow-datasets" in said
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {*found["files"], "MANIFEST.json"} >= {"data/mnist.npz", "data/cifar10.npz", "ganjax/code.py"}
    for name, entry in found["files"].items():
        content = (out / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
    with np.load(out / "data" / "cifar10.npz") as cut, np.load(images / "cifar10.npz") as whole:
        few = len(cut["x_train"])
        assert 100 <= few < 600 and len(cut["x_test"]) == min(90, -(-few // 6))
        for name in whole.files:
            assert np.array_equal(cut[name], whole[name][: len(cut[name])])
    from ganjax.data import load

    assert len(load(str(out / "data" / "mnist.npz")).x_train) >= 100, "ganjax reads it as any .npz"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="packs what git has committed")
def test_the_source_leaves_room_for_data(tmp_path):
    """Beside 44 MB of packages and in 60."""
    left_out = packing.source(ROOT, tmp_path, ())
    assert packing.size(tmp_path) < 9e6 and "no part of a run reads them" in left_out.values()
    for name in packing.NOT_READ:
        assert (ROOT / name).exists() and not (tmp_path / "ganjax" / name).exists(), name


def test_a_pack_that_does_not_fit_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"more than 0\.1; leave packages"):
        packing.pack(ROOT, tmp_path / "pack", None, megabytes=0.1, source=_source, site=_site(200_000))
    assert not list(tmp_path.iterdir())


def test_a_pack_is_unpacked_once_and_only_if_it_is_what_was_packed(images, tmp_path):
    out = tmp_path / "pack"
    packing.pack(ROOT, out, images, megabytes=3, source=_source, site=_site(1000))
    environment, data = packing.unpack(out / "ganjax")
    assert environment["PYTHONPATH"].split(os.pathsep)[:2] == [str(out / "site"), str(out / "ganjax")]
    assert data == out / "data" and (out / "site" / "module.py").exists()
    (out / "site" / "module.py").write_text("here")
    packing.unpack(out / "ganjax")
    assert (out / "site" / "module.py").read_text() == "here", "not again"
    with (out / "data" / "mnist.npz").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"mnist\.npz is not the file that was packed"):
        packing.unpack(out / "ganjax")


def test_a_checkout_is_no_pack(tmp_path):
    environment, data = packing.unpack(ROOT, tmp_path)
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT) and data == tmp_path


def test_wrong_arguments_of_pack_are_one_sentence(tmp_path, capsys):
    script = importlib.util.spec_from_file_location("accelerator_script", SCRIPT)
    module = importlib.util.module_from_spec(script)
    script.loader.exec_module(module)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "mnist.npz", x_train=np.zeros(3))
    for words, sentence in (
        (["pack", "--out", str(tmp_path)], "is there already"),
        (["pack", "--out", str(tmp_path / "a"), "--data", str(tmp_path)], "holds none of mnist.npz, cifar10.npz"),
        (["pack", "--out", str(tmp_path / "a"), "--data", str(tmp_path / "data")], "y_train, x_test, y_test missing"),
        (["pack", "--out", str(tmp_path / "a"), "--without", "torch"], "--without torch: not in"),
        (["run", "--out", str(tmp_path / "a"), "--parts", "no"], "--parts no: no such part; known: machine, numerics"),
        (["merge", str(tmp_path)], "results.json is not there"),
    ):
        assert module.main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and sentence in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_lock_holds_what_the_package_needs_but_for_what_is_said():
    """Every dependency of pyproject.toml is in the lock or named as left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w-]+", line)[0].lower() for line in project["dependencies"]]
    held = packing.locked(packing.LOCK.read_text())
    left_out = re.findall(r"[\w-]+", " ".join(packing.NOT_PACKED))
    assert [name for name in names if name.lower() not in held and name not in left_out] == []
    bounds = {
        re.match(r"[\w-]+", line)[0].lower(): line
        for line in packing.HERE.joinpath("wheels.in").read_text().splitlines()
        if line[:1].isalpha()
    }
    mine = {name: line for name, line in zip(names, project["dependencies"], strict=True) if name in held}
    assert {n: b for n, b in bounds.items() if n != "jax"} == mine, "the same lower bounds"
    kept = packing.requirements(packing.LOCK.read_text(), ["tensorstore"])
    assert set(held) - set(packing.locked(kept)) == {"tensorstore"}


def _results(folder, device, date="2026-01-02", dry=False, status="done", number=1):
    machine = {"device": device, "date": date, "driver": None, "versions": {"jax": "0.11.2"}}
    record = {"status": status, "seconds": 1.0, "numbers": {"settings": {"precision": "float32"}, "runs": [
        {"workload": "toy8", "contender": "ganjax", "steps_per_second": [number, number], "time_of_ganjax": 1.0}
    ]}}  # fmt: skip
    found = {"dry": dry, "parts": {
        "machine": {"status": "done", "numbers": machine}, "speed_toy8_float32": record, "guard": {"status": "no time"},
    }}  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(found))
    return folder


def test_results_of_devices_never_mix(tmp_path):
    into = tmp_path / "results"
    said = merging.merge(_results(tmp_path / "a", "NVIDIA H100"), into)
    assert "guard (no time)" in said
    assert "benchmarks/README.md: on one NVIDIA H100, jax 0.11.2, 2026-01-02, float32: toy8, ganjax: 1 steps/s" in said
    merging.merge(_results(tmp_path / "b", "NVIDIA A100", number=2), into)
    one, other = (into / f"2026-01-02-nvidia-{kind}-accelerator.json" for kind in ("h100", "a100"))
    speed = lambda path: json.loads(path.read_text())["parts"]["speed_toy8_float32"]["numbers"]["runs"][0]  # noqa: E731
    assert (speed(one)["steps_per_second"][0], speed(other)["steps_per_second"][0]) == (1, 2)
    assert json.loads(one.read_text())["versions"] == {"jax": "0.11.2"}
    merging.merge(_results(tmp_path / "c", "NVIDIA H100", number=3), into)
    assert speed(one)["steps_per_second"][0] == 3, "of the same device and day"
    merging.merge(_results(tmp_path / "d", "NVIDIA H100", number=4, status="timed out"), into)
    assert speed(one)["steps_per_second"][0] == 3, "what was done stays before what was cut off"
    with pytest.raises(ValueError, match="holds results of NVIDIA H100, not of NVIDIA/H100"):
        merging.merge(_results(tmp_path / "e", "NVIDIA/H100"), into)
    with pytest.raises(ValueError, match="dry run"):
        merging.merge(_results(tmp_path / "f", "CPU", dry=True), into)


def test_docstrings_get_scores_of_seeds():
    look = {"steps": 800, "seconds": 61.0, "summary": {"modes": {"mean": 998.5, "deviation": 1.25}}}
    numbers = {"experiment": "stacked_mnist", "data": "stacked:/d/mnist.npz", "examples": 60000, "seeds": 10,
               "published_steps": 100_000, "count": 26_000, "looks": [{}, look]}  # fmt: skip
    merged = {"device": "X", "date": "2026-01-02", "versions": {"jax": "0.11.2"}, "parts": {"s": {"numbers": numbers}}}
    assert merging.docstrings(merged) == [
        "experiments/stacked_mnist.py: on one X, jax 0.11.2, 2026-01-02: 10 seeds in one program, 800 of 100,000 steps "
        "in 61 s on 60,000 examples of mnist.npz; 26,000 samples: modes 998.5 +- 1.2"
    ]


def test_time_in_which_a_device_computes():
    assert profiles.busy([(5, 6), (0, 2), (1, 3), (2.5, 2.7)]) == 4
    assert profiles.busy([]) == 0


def test_the_difference_of_costs_is_relative_to_each_player():
    expected = [[1.0, 100.0], [2.0, -200.0]]
    assert numerics.difference([[1.0, 100.0], [2.0, -198.0]], expected) == pytest.approx(0.01)
    assert numerics.difference([[1.1, 100.0], [2.0, -200.0]], expected) == pytest.approx(0.05)


def test_the_reference_is_of_every_recipe_and_tells_a_fault_from_rounding():
    found = json.loads(parts.REFERENCE.read_text())
    assert tuple(found["recipes"]) == numerics.RECIPES
    for name, one in found["recipes"].items():
        costs, tolerance = np.array(one["costs"]), one["tolerance"]
        assert costs.shape == (numerics.STEPS, 2) and numerics.FLOOR <= tolerance <= numerics.CEILING, name
        assert numerics.difference(costs, costs[:1]) >= 10 * tolerance, f"{name} stands still"


def test_parts_are_those_that_were_asked_for_in_order_of_worth(tmp_path):
    names = [part.name for part in parts.parts(None)]
    assert names[:5] == ["machine", "numerics", "resume", "guard", "bfloat16"] and len(set(names)) == len(names)
    assert [p.name for p in parts.chosen(None, ["guard", "numerics"])] == ["numerics", "guard"]
    by_name = {part.name: part for part in parts.parts(None)}
    assert "no cifar10.npz" in by_name["sngan"].lacking and "stacked:fashion_mnist" in by_name["stacked_mnist"].command
    for name in ("mnist", "cifar10"):
        (tmp_path / f"{name}.npz").touch()
    by_name = {part.name: part for part in parts.parts(tmp_path)}
    assert by_name["sngan"].lacking == "" and f"stacked:{tmp_path}/mnist.npz" in by_name["stacked_mnist"].command
    for part in parts.parts(None, dry=True):
        assert part.environment["JAX_PLATFORMS"] == "cpu" and not any("{seconds}" in word for word in part.command)


@pytest.mark.skipif(not matrix.FULL, reason="minutes: GANJAX_TESTS=full")
def test_a_dry_run_ends_green(tmp_path):
    command = [sys.executable, str(SCRIPT), "run", "--dry", "--minutes", "60", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + json.dumps(_records(tmp_path), indent=1)
    records = _records(tmp_path)
    assert {record["status"] for record in records.values()} <= {"done", "skipped"}
    assert all("numbers" in record for record in records.values() if record["status"] == "done")
    assert records["dcgan_cifar"]["pictures"] and records["sngan"]["pictures"]
    assert records["profile_dcgan_cifar"]["numbers"]["trace"]["launches_per_step"] > 0
