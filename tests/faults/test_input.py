"""Bad data and bad options, as a user types them: the table of tests/test_command_line.py in processes of their own."""

import importlib.util
import re
import resource
import subprocess
import sys

from children import finished, forked_seconds
from faults import FULL, ROOT, Row, number

_spec = importlib.util.spec_from_file_location("command_line", ROOT / "tests" / "test_command_line.py")
command_line = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(command_line)


def _seconds():
    """Of the processor, of all children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime + forked_seconds()


def _refused(code, tmp_path, row, longest, forked=False):
    """Every case that ends with this code: one sentence, nothing on disk."""
    cases = {name: case for name, case in command_line.BAD.items() if case[0] == code}
    for name in list(cases)[: number(len(cases))]:
        _, make, sentence = cases[name]
        folder = tmp_path / re.sub(r"\W", "_", name)
        folder.mkdir()
        script = ROOT / "experiments" / "dcgan.py"
        words = ["train", "--smoke", "--workdir", folder / "run", *make(folder)]
        before, command = _seconds(), [sys.executable, script, *map(str, words)]
        if forked:
            done = finished(script, *words)
        else:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        after = _seconds()
        with row.case(name):
            assert done.returncode == code and done.stdout == "", done.stderr
            (line,) = done.stderr.splitlines()
            assert line.startswith("error: ") and re.search(sentence, line), line
            assert not (folder / "run").exists()
            assert after - before < longest


def test_bad_data(tmp_path):
    with Row("R12", "data of a wrong shape, dtype or size, damaged or not finite: exit 5") as row:
        _refused(5, tmp_path, row, longest=60, forked=not FULL)


def test_bad_options(tmp_path):
    with Row("R13", "options that are unknown, of a wrong type, out of range or in conflict: exit 2 in 2 s") as row:
        _refused(2, tmp_path, row, longest=2)
