"""What the README shows is run."""

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

from ganjax.config import parse
from ganjax.launch import _commands
from ganjax.training.streams import encoded

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_runs_and_both_plays_converge(capsys):
    """v = ab + a^2/4: eigenvalues of the field -1/4 +- i sqrt(15)/4, so both contract at step 0.1."""
    exec(compile(EXAMPLES[0], "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["simultaneous", "alternating"]
    assert all(float(line.split()[1]) < 0.5 for line in lines)


def test_the_setup_trains_and_its_measure_holds():
    names = {}
    exec(compile(EXAMPLES[1], "README.md", "exec"), names)
    state, digits = names["state"], names["digits"]
    batch = encoded(digits, "class", digits.x_test, digits.y_test, None)
    assert state.step == 200 and names["nearest"](state.weights, batch, None).mean() > 0.8


def test_the_population_runs_and_contracts():
    names = {}
    exec(compile(EXAMPLES[2], "README.md", "exec"), names)
    assert names["distances"].shape == (5, 40) and (names["distances"][:, -1] < 0.5).all()


def test_files_and_experiments_that_are_named_exist():
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert path.startswith("http") or (ROOT / path).exists(), path
    for name in re.findall(r"experiments/(\w+)\.py", README):
        assert (ROOT / "experiments" / f"{name}.py").exists()
    table = README.split("| experiment | claim |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {
        path.stem for path in (ROOT / "experiments").glob("*.py")
    }


def test_every_command_that_is_shown_is_understood():
    """Up to the point where it would start: options, their values, and what does not go together."""
    shown = re.sub(r"\\\n\s*", "", README + (ROOT / "docs" / "scaling.md").read_text())
    commands = re.findall(r"^ +(?:srun )?python experiments/(\w+)\.py ([a-z]+ [^\n#]*)", shown, re.MULTILINE)
    assert len(commands) > 15
    for name, words in commands:
        spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        parse(_commands(module.EXPERIMENT, "--smoke" in words), shlex.split(words), prog=name, description="")


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    texts = README + (ROOT / "CONTRIBUTING.md").read_text()
    for target in set(re.findall(r"make (demo|test|lint|format|bench|lock|faults|mutants)\b", texts)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_figures_of_the_faults_are_those_of_the_last_report():
    """README states what tests/faults/report.json holds, which `make faults` writes."""
    rows = json.loads((ROOT / "tests" / "faults" / "report.json").read_text())
    assert all(row["full"] and row["injected"] == row["survived"] for row in rows.values())
    injected = sum(row["injected"] for row in rows.values())
    assert f"{injected:,} faults in {len(rows)} rows, all survived as promised" in README
