"""The table of the faults that were injected, from what the tests wrote: python tests/faults/report.py [--write]."""

import json
import sys
from pathlib import Path

PARTS = Path(__file__).parents[2] / "runs" / "faults"
REPORT = Path(__file__).parent / "report.json"


def order(name: str) -> tuple[int, str]:
    return int("".join(filter(str.isdigit, name.split()[0]))), name


def table(rows: dict[str, dict]) -> list[str]:
    """A line for each row and one for all."""
    lines = [f"{'row':10} {'injected':>8} {'survived':>8} {'seconds':>8}  fault"]
    for name in sorted(rows, key=order):
        row = rows[name]
        notes = f" ({row['notes']})" if row["notes"] else ""
        lines.append(f"{name:10} {row['injected']:8} {row['survived']:8} {row['seconds']:8.0f}  {row['fault']}{notes}")
    total = [sum(row[column] for row in rows.values()) for column in ("injected", "survived")]
    return [*lines, f"{'all':10} {total[0]:8} {total[1]:8}"]


def main() -> None:
    rows = {path.stem: json.loads(path.read_text()) for path in PARTS.glob("*.json")}
    sys.stdout.write("\n".join(table(rows)) + "\n")
    if "--write" in sys.argv:
        REPORT.write_text(json.dumps({name: rows[name] for name in sorted(rows, key=order)}, indent=2) + "\n")
    if any(row["injected"] != row["survived"] for row in rows.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
