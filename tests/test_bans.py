"""What the package never does: unpickle, evaluate text, unpack archives, or reach for the network."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# scripts/ is for those who prepare data and weights; it holds the one torch.load, of a file whose sha256 is pinned.
FILES = sorted(path for folder in ("ganjax", "experiments") for path in (ROOT / folder).rglob("*.py"))
MODULES = {
    *(
        "pickle",
        "cPickle",
        "_pickle",
        "dill",
        "cloudpickle",
        "joblib",
        "shelve",
        "marshal",
        "dbm",
    ),  # run what they read
    *("torch", "yaml", "ctypes", "code", "runpy", "subprocess"),
    *("tarfile", "socket", "ssl", "ftplib", "http", "urllib", "requests", "httpx", "aiohttp", "gdown"),
    "huggingface_hub",
}
NAMES = {"eval", "exec", "compile", "__import__"}
METHODS = {"exec", "system", "popen", "import_module", "exec_module", "read_pickle"}
METHODS |= {"extractall", "extract", "unpack_archive", "download_and_prepare", "urlopen", "urlretrieve"}


def offences(source):
    """What is banned in a program, as `line: what`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [(node, f"import {a.name}") for a in names if {a.name, a.name.split(".")[0]} & MODULES]
            case ast.ImportFrom(module=str(module), names=names):
                whole = {module, module.split(".")[0], *(f"{module}.{a.name}" for a in names)}
                found += [(node, f"from {module}")] if whole & MODULES else []
            case ast.Call(func=ast.Name(id=name)) if name in NAMES:
                found.append((node, f"{name}()"))
            case ast.Call(func=ast.Attribute(attr=name)) if name in METHODS:
                found.append((node, f".{name}()"))
            case ast.Call(func=ast.Attribute(value=ast.Name(id="np" | "numpy" | "jnp"), attr="load"), keywords=given):
                found += [] if any(k.arg == "allow_pickle" for k in given) else [(node, "np.load() as it comes")]
            case ast.keyword(arg="allow_pickle", value=value) if getattr(value, "value", True) is not False:
                found.append((node, "allow_pickle"))
    return [f"{node.lineno}: {what}" for node, what in found]


# One call of the C library that runs already; it reads nothing.
EXCEPTIONS = {"ganjax/memory.py": "import ctypes"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_banned(path):
    exception = EXCEPTIONS.get(path.relative_to(ROOT).as_posix())
    assert [found for found in offences(path.read_text()) if found.split(": ")[1] != exception] == []


BANNED = [
    "import pickle",
    "import pickle as p",
    "from pickle import loads",
    "import yaml",
    "from joblib import load",
    "import torch",
    "from torch.serialization import load",
    "import shelve",
    "import marshal",
    "import tarfile",
    "import urllib.request",
    "from urllib import request",
    "import http.client",
    "import socket",
    "eval('1')",
    "exec(text)",
    "compile(text, '', 'exec')",
    "__import__('os')",
    "os.system('x')",
    "importlib.import_module(name)",
    "np.load(path)",
    "f(allow_pickle=True)",
    "f(allow_pickle=flag)",
    "archive.extractall(folder)",
    "archive.extract(name)",
    "shutil.unpack_archive(path)",
    "builder.download_and_prepare()",
]


@pytest.mark.parametrize("source", BANNED)
def test_the_ban_sees(source):
    assert offences(source)


@pytest.mark.parametrize("source", ["jitted.lower(x).compile()", "np.load(path, allow_pickle=False)", "load(path)"])
def test_the_ban_lets_pass(source):
    assert not offences(source)


FIRST = re.compile(r"\b[xy]_(?:train|test)\[\s*:\s*(?![01]\])[\w(]")  # [:0] and [:1] are asked for their shape alone


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_first_rows_of_a_split_are_never_taken_for_a_sample(path):
    """Folders of classes are sorted by class: `data.subsample` says which rows stand for a split."""
    assert not FIRST.findall(path.read_text())


def test_the_first_rows_are_seen():
    assert all(FIRST.search(f"data.{cut}") for cut in ("x_test[:count]", "y_train[: len(x)]", "x_train[:64]"))
    assert not any(FIRST.search(f"data.{cut}") for cut in ("x_test[:1]", "x_train[rows[:5]]", "x_train[..., :1]"))
