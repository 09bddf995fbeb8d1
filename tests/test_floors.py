"""The architecture's floors: a module imports from lower floors only, and importing has no side effect."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ganjax"
FLOORS = {
    "errors": 0,
    "checks": 0,
    "core": 0,
    "config": 0,
    "files": 0,
    "interruption": 0,
    "memory": 0,
    "options": 0,
    "rundir": 0,
    "kinds": 1,
    "alignment": 1,
    "chains": 1,
    "estimators": 1,
    "ngrams": 1,
    "likelihoods": 1,
    "gaussians": 1,
    "losses": 1,
    "divergences": 1,
    "penalties": 1,
    "transport": 1,
    "spectral": 1,
    "operators": 1,
    "augment": 1,
    "sounds": 1,
    "dynamics": 2,
    "layers": 2,
    "games": 3,
    "models": 3,
    "data": 4,
    "metrics": 4,
    "training": 5,
    "report": 6,
    "evaluation": 6,
    "explore": 7,
    "export": 7,
    "profile": 7,
    "gallery": 7,
    "recipe": 7,
    "enumerated": 7,
    "adaptation": 7,
    "commands": 8,
    "launch": 9,
}
# Two parts of one floor do not know each other, save for these.
SIDEWAYS = {
    ("config", "errors"),
    ("checks", "errors"),
    ("options", "config"),
    ("rundir", "errors"),
    ("rundir", "config"),
    ("rundir", "files"),
    ("files", "errors"),
    ("losses", "divergences"),
    ("operators", "spectral"),
}
# Floors that must stay apart: games receive modules and read no command line, reports read files.
FORBIDDEN = {
    "games": {"models", "config", "options"},
    "training": {"games", "models"},
    "report": {"training", "games", "models", "dynamics", "core"},
}


def _part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _imports(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {
                f"{node.module}.{alias.name}" if node.module == "ganjax" else node.module for alias in node.names
            }
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return {_part(m) for m in modules if m.startswith("ganjax.") and m != "ganjax.__version__"}


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in FLOORS, f"{own} has no floor"
    for other in _imports(path) - {own}:
        assert other in FLOORS, f"{path} imports the unknown part {other}"
        assert FLOORS[other] < FLOORS[own] or (own, other) in SIDEWAYS, f"{own} imports {other}, which is not below it"
        assert other not in FORBIDDEN.get(own, set()), f"{own} must not know {other}"


def test_the_package_never_prints_and_never_asserts():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno} asserts; raise an error that helps"
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            assert not called or (path.parent.name == "commands" or path.name == "launch.py"), (
                f"{path}:{node.lineno} prints"
            )


def test_importing_starts_no_backend_and_no_heavy_dependency():
    code = (
        "import sys, ganjax.launch, ganjax.games, ganjax.dynamics, ganjax.training\n"
        "import ganjax.data, ganjax.report, ganjax.evaluation, ganjax.models.dcgan\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized(), 'a backend was started'\n"
        "names = {'tensorflow_datasets', 'matplotlib', 'sklearn', 'orbax.checkpoint', 'tensorflow', 'safetensors'}\n"
        "heavy = names & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_command_line_of_config_is_free_of_jax():
    code = "import sys, ganjax.rundir, ganjax.options; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
