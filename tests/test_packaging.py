"""The wheel stands alone: it holds the embedded data and their licence, and works outside of a checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_wheel_brings_its_data(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("ganjax-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "ganjax/data/embedded/fashion_mnist.npz" in names
    assert "ganjax/data/embedded/LICENSE.fashion_mnist" in names
    assert "ganjax/report/page.css" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "experiments", "benchmarks")) for name in names)
    code = "import ganjax, ganjax.data as d; print(ganjax.__file__); print(d.load('fashion_mnist'))"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {code}"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert str(tmp_path / "site") in out and "10000 train, 2000 test" in out


def test_versions_agree():
    import tomllib

    import ganjax

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == ganjax.__version__


def test_every_dependency_is_locked_with_hashes():
    import re
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements.lock").read_text()
    locked = {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    for requirement in project["dependencies"] + project["optional-dependencies"]["dev"]:
        name = re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement).group()).lower()
        assert name in locked, f"{name} is not in requirements.lock; run make lock"
    for block in re.split(r"\n(?=\w)", lock.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]
