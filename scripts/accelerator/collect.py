"""Run a benchmark that keeps its results in benchmarks/results, and take from there what it wrote.

    collect.py --out FOLDER -- benchmarks/convolutions.py layers --rounds 3

numbers.json in FOLDER is what it wrote as .json; results that were there before are as they were.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def main(args: list[str]) -> int:
    """The benchmark's exit code."""
    split = args.index("--")
    out, command = Path(args[args.index("--out") + 1]), args[split + 1 :]
    before = {path: path.read_bytes() for path in RESULTS.glob("*") if path.is_file()}
    try:
        code = subprocess.run([sys.executable, *command], cwd=ROOT).returncode
    finally:
        numbers = {}
        for path in sorted(RESULTS.glob("*")):
            if path.is_file() and path.read_bytes() != before.get(path):
                (out / path.name).write_bytes(path.read_bytes())
                if path.suffix == ".json":
                    numbers[path.stem] = json.loads(path.read_text())
                path.write_bytes(before[path]) if path in before else path.unlink()
        if numbers:
            (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
