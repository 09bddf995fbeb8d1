"""Write THIRD_PARTY.md: the licence of every locked dependency, and of every data set that needs no download.

Run it with the environment that `requirements.lock` makes: `.venv/bin/python scripts/licences.py`.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

from ganjax.data import KNOWN, load

ROOT = Path(__file__).parent.parent
HEAD = """# Third parties

What `make` installs from `requirements.lock`, with the licence that each package declares, and the data sets that need
no download. `scripts/licences.py` writes this file; a test compares.

| package | version | licence |
|---|---|---|
"""
# Locked for other systems than the one that writes the file.
ELSEWHERE = {
    "appnope": "BSD-2-Clause",
    "cffi": "MIT-0",
    "colorama": "BSD-3-Clause",
    "nest-asyncio": "BSD-2-Clause",
    "pycparser": "BSD-3-Clause",
}


def locked(text: str) -> dict[str, str]:
    """Name and version of each package of a lock file."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE))


def licence(package: str) -> str:
    """What an installed package declares, on one line."""
    if package in ELSEWHERE:
        return ELSEWHERE[package]
    declared = metadata.metadata(package)
    first = (declared.get("License-Expression") or declared.get("License") or "UNKNOWN").strip().splitlines()[0]
    classes = [text.split(" :: ")[-1] for text in declared.get_all("Classifier", []) if text.startswith("License ::")]
    plain = len(first) < 40 and first != "UNKNOWN" and not first.startswith(("=", "Copyright", "Apache License"))
    return first if plain else " / ".join(classes) or first


def page(lock: str) -> str:
    """The content of THIRD_PARTY.md."""
    rows = [f"| {name} | {version} | {licence(name)} |" for name, version in locked(lock).items()]
    text = HEAD + "\n".join(rows) + "\n\n| data set | where | licence |\n|---|---|---|\n"
    for name in KNOWN:
        embedded = (ROOT / "ganjax/data/embedded" / f"{name}.npz").exists()
        where = f"`ganjax/data/embedded/`, with `LICENSE.{name}`" if embedded else "scikit-learn"
        terms = load(name).licence
        text += f"| `{name}` | {'made by a formula' if 'generated' in terms else where} | {terms} |\n"
    return text


if __name__ == "__main__":
    try:
        (ROOT / "THIRD_PARTY.md").write_text(page((ROOT / "requirements.lock").read_text()))
    except metadata.PackageNotFoundError as error:
        sys.exit(f"{error.name} is locked, but not installed here; add its licence to ELSEWHERE")
