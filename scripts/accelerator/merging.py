"""Results of a run into benchmarks/results, and what belongs into docstrings."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def merge(folder: Path, into: Path) -> str:
    """Keep the results as `<date>-<device>-accelerator.json`, with device, versions and date; what to write where.

    Parts that are done take the place of those of the same device and day; nothing of another device is touched.

    Raises:
        ValueError: no results, those of a dry run, or of a device that is not known.
    """
    path = folder / "results.json"
    if not path.is_file():
        raise ValueError(f"{path} is not there; give the --out of scripts/accelerator.py run")
    found = json.loads(path.read_text())
    if found["dry"]:
        raise ValueError(f"{folder} holds a dry run, whose numbers say nothing; merge that of a device")
    machine = found["parts"].get("machine", {}).get("numbers")
    if not machine:
        raise ValueError(f"{folder}: the part machine has no numbers, so nobody knows whose these are; run it again")
    head = {key: machine[key] for key in ("device", "date", "versions", "driver")}
    slug = re.sub(r"[^a-z0-9]+", "-", head["device"].lower()).strip("-")
    target = into / f"{head['date']}-{slug}-accelerator.json"
    before = json.loads(target.read_text()) if target.exists() else {**head, "parts": {}}
    if before["device"] != head["device"]:
        raise ValueError(f"{target} holds results of {before['device']}, not of {head['device']}; move it away")
    done = {name: part for name, part in found["parts"].items() if "numbers" in part}
    kept = {name: part for name, part in before["parts"].items() if name not in done or done[name]["status"] != "done"}
    merged = {**head, "parts": {**done, **kept} if kept else done}
    into.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(".new")
    beside.write_text(json.dumps(merged, indent=1) + "\n")
    beside.replace(target)
    missing = [f"{name} ({part['status']})" for name, part in found["parts"].items() if name not in done]
    lines = [str(target), f"without numbers: {', '.join(missing) or 'none'}", "", *docstrings(merged)]
    return "\n".join(lines)


def docstrings(merged: Mapping[str, Any]) -> list[str]:
    """What each experiment's docstring should say under "Time" and "What we measured"."""
    where = f"on one {merged['device']}, jax {merged['versions'].get('jax')}, {merged['date']}"
    lines = []
    for name, part in merged["parts"].items():
        numbers = part["numbers"]
        if numbers.get("looks"):
            last = numbers["looks"][-1]
            scores = "; ".join(f"{key} {_spread(value)}" for key, value in last["summary"].items())
            lines.append(
                f"experiments/{numbers['experiment']}.py: {where}: {numbers['seeds']} seeds in one program, "
                f"{last['steps']:,} of {numbers['published_steps']:,} steps in {last['seconds']:.0f} s on "
                f"{numbers['examples']:,} examples of {Path(numbers['data']).name}; {numbers['count']:,} samples: "
                f"{scores}"
            )
        elif "last" in numbers:
            found = {name: one for score in numbers.get("scores", []) for name, one in score["metrics"].items()}
            scores = "; ".join(f"{name} {one['value']:.4g}, floor {one['floor']:.4g}" for name, one in found.items())
            lines.append(
                f"experiments/{numbers['experiment']}.py: {where}: {numbers['steps']:,} steps in "
                f"{numbers['seconds']:.0f} s on {Path(numbers['data']).name}: {scores or 'not judged'}"
            )
        elif name.startswith("profile_"):
            step, launches = numbers["step_seconds"], numbers.get("trace", {}).get("launches_per_step")
            share = ", ".join(f"{100 * u:.1f} % of the best {d} rate" for d, u in numbers["utilisation"].items() if u)
            lines.append(
                f"experiments/{numbers['experiment']}.py: {where}: {1e3 * step:.2f} ms a step of "
                f"{numbers['examples_per_step']} examples, {launches} launches, {share}"
                if step
                else f"experiments/{numbers['experiment']}.py: {where}: no step was measured"
            )
        elif name.startswith("speed_") or name == "largest_batch":
            for run in numbers.get("runs", []):
                rates = sorted(run["steps_per_second"])
                lines.append(
                    f"benchmarks/README.md: {where}, {numbers['settings']['precision']}: {run['workload']}, "
                    f"{run['contender']}: {rates[len(rates) // 2]:.3g} steps/s, time / ganjax's "
                    f"{run['time_of_ganjax']:.2f}"
                )
            lines += [
                f"benchmarks/README.md: {where}: {b['workload']}, {b['contender']}: largest batch {b['batch']:,}"
                for b in numbers.get("largest_batch", [])
            ]
    return lines


def _spread(value: Mapping[str, float | None]) -> str:
    deviation = value["deviation"]
    return f"{value['mean']:.4g}" + (f" +- {deviation:.2g}" if deviation is not None else "")
