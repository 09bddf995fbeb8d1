"""The wheel stands alone: it holds the embedded data and their licence, and works outside of a checkout."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

from hatchling.build import build_wheel

ROOT = Path(__file__).parent.parent


OUTSIDE = """
import runpy, sys
import ganjax
print(ganjax.__file__)
for command in {commands}:
    sys.argv = ["vanilla_gan.py", *command]
    runpy.run_path("vanilla_gan.py", run_name="__main__")
"""


def test_the_wheel_brings_its_data(tmp_path, monkeypatch):
    """Built by what pip asks to build it."""
    monkeypatch.chdir(ROOT)
    wheel = tmp_path / build_wheel(str(tmp_path))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site := tmp_path / "site")  # found before the editable install
    for data in ("fashion_mnist", "fluent_emoji", "glyphs"):
        assert {f"ganjax/data/embedded/{data}.npz", f"ganjax/data/embedded/LICENSE.{data}"} <= set(names)
        assert any(name.endswith(f"licenses/ganjax/data/embedded/LICENSE.{data}") for name in names)
    assert "ganjax/report/page.css" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "experiments", "benchmarks")) for name in names)
    shutil.copy(ROOT / "experiments" / "vanilla_gan.py", tmp_path)

    train = ["train", "--workdir", "run", "--smoke", "--steps", "5", "--log-every", "1", "--data", "fashion_mnist"]
    train += ["--sample-every", "0"]  # all that is no Python belongs to the data and to the report
    command = [sys.executable, "-c", OUTSIDE.format(commands=[train, ["report", "--workdir", "run"]])]
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site)) and "step 5 digest" in done.stdout and "report.html" in done.stdout


def test_versions_agree():
    import ganjax

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == ganjax.__version__


def test_every_dependency_is_locked_with_hashes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements.lock").read_text()
    locked = {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    for requirement in project["dependencies"] + project["optional-dependencies"]["dev"]:
        name = re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement).group()).lower()
        assert name in locked, f"{name} is not in requirements.lock; run make lock"
    for block in re.split(r"\n(?=\w)", lock.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_third_parties_are_listed_with_their_licence():
    script = runpy.run_path(str(ROOT / "scripts" / "licences.py"))
    locked = script["locked"]((ROOT / "requirements.lock").read_text())
    listed = (ROOT / "THIRD_PARTY.md").read_text()
    rows = dict(re.findall(r"^\| `?([\w.-]+)`? \| [^|]+ \| (\S[^|]*) \|$", listed, re.MULTILINE))
    assert len(locked) > 100
    for name, version in locked.items():
        assert f"| {name} | {version} |" in listed, f"{name} is missing; run scripts/licences.py"
        assert rows[name] != "UNKNOWN", name
    embedded = ROOT / "ganjax" / "data" / "embedded"
    for path in embedded.glob("*.npz"):
        assert path.stem in rows and (embedded / f"LICENSE.{path.stem}").stat().st_size > 500
    installed = {d.name.lower().replace("_", "-").replace(".", "-"): d.version for d in metadata.distributions()}
    here = {name: installed.get(name) for name in locked if name not in script["ELSEWHERE"]}
    if here == {name: locked[name] for name in here}:  # the environment of the lock
        assert script["page"]((ROOT / "requirements.lock").read_text()) == listed
