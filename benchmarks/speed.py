"""Training and sampling speed of ganjax and of PyTorch: the same networks and the same work, interleaved in one run.

    python benchmarks/speed.py --rounds 5 --seconds 4 --workloads mlp28 dcgan32 [--save]
    python benchmarks/speed.py --workloads dcgan32 sngan32 --precision bf16 --largest-batch                # on a GPU
    git worktree add /tmp/before COMMIT && python benchmarks/speed.py --before /tmp/before   # what a change has brought

Each contender lives in a process of its own, which idles while the others are measured. README.md, beside this file,
says what a step is and what the columns mean; workloads.py lists the workloads.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import rates
from contender import Contender, Settings, in_child
from largest import largest_batch
from tqdm import tqdm
from workloads import SAMPLES, WORKLOADS, Workload, data_file

CONTENDERS = ("ganjax", "torch eager", "torch tuned", "torch compiled")
RESULTS = Path(__file__).resolve().parent / "results"


def start(workload: Workload, name: str, settings: Settings, caches: Path) -> tuple[Contender, dict[str, float]]:
    """Start a contender twice: with an empty compilation cache, and with what the first start left there."""
    for variable in ("JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        os.environ[variable] = str(caches / variable)
    cold = Contender(workload, name, settings)
    cold.stop()
    warm = Contender(workload, name, settings)
    return warm, {"cold": cold.first_step, "warm": warm.first_step}


def compare(
    title: str, workload: Workload, settings: Settings, caches: Path, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure all contenders of a workload in turns; one record for each."""
    names = [n for n in CONTENDERS if n in ("ganjax", "torch tuned", *args.contenders)]
    names[1:1] = ["ganjax before"] if settings.before else []
    names = [n for n in names if not (workload.second_order and n == "torch compiled")]
    steps = -(-args.images // SAMPLES) if workload.sample else None
    contenders: list[Contender] = []
    startup, flops = {}, None
    bar = tqdm(total=len(names) * (2 + args.rounds), desc=title, file=sys.stderr, dynamic_ncols=True)
    try:
        for name in names:
            bar.set_postfix_str(f"start {name}")
            try:
                contender, startup[name] = start(workload, name, settings, caches)
            except RuntimeError as error:
                if name != "torch compiled":
                    raise
                tqdm.write(f"{title}: {name} is left out: {str(error).splitlines()[0]}", file=sys.stderr)
                continue
            finally:
                bar.update()
            contenders.append(contender)
            if contender.parameters != contenders[0].parameters:
                raise RuntimeError(f"the networks differ: {[(c.name, c.parameters) for c in contenders]}")
            flops = flops or contender.flops
        for contender in contenders:
            bar.set_postfix_str(f"warm up {contender.name}")
            contender.warm_up(args.seconds)
            bar.update()
        for i in range(args.rounds):
            for contender in contenders:
                bar.set_postfix_str(f"round {i + 1} {contender.name}")
                contender.measure(args.seconds, steps)
                bar.update()
    finally:
        for contender in contenders:
            contender.stop()
        bar.close()
    return [
        {
            "workload": title,
            "contender": c.name,
            "parameters": c.parameters,
            "flops": flops,
            "images": workload.images,
            "steps_per_second": c.rates,
            "time_of_ganjax": median(a / b for a, b in zip(contenders[0].rates, c.rates, strict=True)),
            "megabytes": c.megabytes,
            "first_step": startup[c.name],
        }
        for c in contenders
    ]


def table(records: list[dict[str, Any]], peak: float) -> str:
    """The records in Markdown; `peak` is the best rate measured, in GFLOP/s."""
    lines = [
        "| workload | contender | steps/s, median (range) | images/s | time / ganjax's | GFLOP/s (of the best rate) "
        "| peak MB | first step, cold / warm s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in records:
        steps, begin = r["steps_per_second"], r["first_step"]
        achieved = r["flops"] * median(steps) / 1e9
        lines.append(
            f"| {r['workload']} | {r['contender']} | {_number(median(steps))} ({_number(min(steps))} to "
            f"{_number(max(steps))}) | {_number(r['images'] * median(steps))} | {r['time_of_ganjax']:.2f} | "
            f"{_number(achieved)} ({achieved / peak:.0%}) | {r['megabytes']:.0f} | "
            f"{begin['cold']:.1f} / {begin['warm']:.1f} |"
        )
    return "\n".join(lines)


def _number(value: float) -> str:
    """Three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def goals(records: list[dict[str, Any]], asked: Mapping[str, float | None]) -> str:
    """What was asked for and what was reached, as far as there are goals, in Markdown."""
    lines = ["| workload | time of tuned PyTorch / ganjax's | goal | |", "|---|---|---|---|"]
    for r in records:
        goal = asked[r["workload"]]
        if goal and r["contender"] == "torch tuned":
            reached = r["time_of_ganjax"]
            lines.append(
                f"| {r['workload']} | {reached:.2f} | {goal:g} | {'reached' if reached >= goal else 'missed'} |"
            )
    return "\n".join(lines)


def devices() -> dict[str, str | None]:
    """What each side finds: the name of its GPU, or None."""
    import torch

    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    return {
        "jax": jax.devices()[0].device_kind if jax.default_backend() == "gpu" else None,
        "torch": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def processor(threads: int) -> str:
    """The name of the CPU, its widest vectors, and how many cores are used."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    vectors = next((kind for kind in ("avx512f", "avx2") if kind in text), "no avx2")
    return f"{name[1].strip() if name else 'CPU'}, {vectors}, {threads} core{'s' if threads > 1 else ''}"


def save(report: dict[str, Any], markdown: str, part: str = "") -> Path:
    """Keep the numbers and the tables in results/, named after date, device and part."""
    device = re.sub(r"[^a-z0-9]+", "-", f"{report['device']} {part}".lower()).strip("-")
    path = RESULTS / f"{report['date']}-{device}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    path.with_suffix(".md").write_text(markdown + "\n")
    return path


def main(workloads: Mapping[str, Workload] = WORKLOADS, doc: str = __doc__, *, images: int = 10_000) -> None:
    """Measure what the command line asks for, out of these workloads."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=doc.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that every contender is measured (default 5)")
    parser.add_argument("--seconds", type=float, default=4, help="length of one measurement (default 4)")
    parser.add_argument(
        "--images", type=int, default=images, help="drawn in one measurement of sampling (default: %(default)s)"
    )
    parser.add_argument("--workloads", nargs="+", choices=list(workloads), default=list(workloads))
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=CONTENDERS,
        default=list(CONTENDERS),
        help="ganjax and torch tuned always run",
    )
    parser.add_argument("--before", type=Path, help="a checkout of another commit of ganjax, measured beside this one")
    parser.add_argument("--threads", type=int, default=cores, help="cores that a contender may use (default: all)")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: a GPU if both find one"
    )
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="of the networks")
    parser.add_argument("--largest-batch", action="store_true", help="search the largest batch that fits, too")
    parser.add_argument("--memory", type=float, help="limit of a process in GB while that is searched")
    parser.add_argument("--tries", type=int, default=100, help="end that search after so many (default 100)")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--save", action="store_true", help="keep numbers and tables in benchmarks/results")
    args = parser.parse_args()
    if find_spec("torch") is None:
        print(
            "error: PyTorch, the peer, is not installed; install it with pip install -e .[benchmark]", file=sys.stderr
        )
        sys.exit(2)
    if not 1 <= args.threads <= cores or min(args.rounds, args.images) < 1 or args.seconds <= 0:
        parser.error(f"--threads must be 1 to {cores}, --rounds and --images at least 1 and --seconds positive")
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    gpus = {"jax": None, "torch": None} if args.device == "cpu" else in_child(devices, args.threads)
    if args.device == "gpu" and None in gpus.values():
        parser.error(f"--device gpu needs a GPU for both sides; found {gpus}")
    gpu = None not in gpus.values()
    if args.before and not (args.before / "benchmarks" / "ours.py").is_file():
        parser.error(f"--before is {args.before}, expected a checkout of ganjax with benchmarks/ours.py")
    settings = Settings(args.threads, "gpu" if gpu else "cpu", args.precision, before=args.before)
    report = measure({name: workloads[name] for name in args.workloads}, settings, args)
    report["device"] = f"{gpus['torch']}" if gpu else processor(args.threads)
    markdown = tables(report, workloads)
    print("\n" + markdown)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2))
    if args.save:
        print(f"\n{save(report, markdown)}")
    sys.exit(bool(report["failed"]))


def measure(workloads: Mapping[str, Workload], settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """The whole report, as it is kept."""
    found = {
        **in_child(rates.of_jax, settings.threads, settings),
        **in_child(rates.of_torch, settings.threads, settings),
    }
    records, batches, failed = [], [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, workload in workloads.items():
            path = in_child(data_file, settings.threads, workload, folder)
            try:
                records += compare(title, workload, settings._replace(data=path), folder / title, args)
                for side in ("ganjax", "torch tuned") if args.largest_batch and not workload.sample else ():
                    say = lambda line, who=f"{title}, {side}": tqdm.write(f"{who}: {line}", file=sys.stderr)  # noqa: E731
                    batch, stopped = largest_batch(workload, side, settings, folder, args.memory, say, args.tries)
                    batches.append({"workload": title, "contender": side, "batch": batch, "stopped": stopped})
            except RuntimeError as error:
                failed[title] = str(error)
                tqdm.write(f"{title} is left out: {error}", file=sys.stderr)
    return {
        "date": datetime.date.today().isoformat(),
        "versions": {name: _version(name) for name in ("jax", "jaxlib", "flax", "torch")},
        "settings": {
            **{key: getattr(settings, key) for key in ("threads", "device", "precision")},
            "before": _commit(settings.before) if settings.before else None,
            **{key: getattr(args, key) for key in ("rounds", "seconds", "images", "memory")},
        },
        "rates": found,
        "runs": records,
        "largest_batch": batches,
        "failed": failed,
    }


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def tables(report: dict[str, Any], workloads: Mapping[str, Workload]) -> str:
    """The report in Markdown."""
    settings, runs, peak = report["settings"], report["runs"], max(report["rates"].values())
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    parts = [
        f"{report['date']}, {report['device']}; {versions}; {settings['precision']}, {settings['rounds']} rounds of "
        f"{settings['seconds']:g} s; {settings['images']:,} images drawn at a time"
        + (f"; before is commit {settings['before']}." if settings.get("before") else "."),
        "Best rates measured: "
        + ", ".join(f"{name} {_number(r)} GFLOP/s" for name, r in report["rates"].items())
        + ".",
        table(runs, peak),
    ]
    kind = "goal" if settings["device"] == "cpu" else "gpu_goal"
    asked = {r["workload"]: getattr(workloads[r["workload"]], kind) for r in runs}
    if any(asked.values()):
        parts.append(goals(runs, asked))
    lines = ["| workload | GFLOP of a step | parameters |", "|---|---|---|"]
    for r in runs:
        if r["contender"] == "ganjax":
            counts = ", ".join(f"{player} {n:,}" for player, n in r["parameters"].items())
            lines.append(f"| {r['workload']} | {_number(r['flops'] / 1e9)} | {counts} |")
    parts.append("\n".join(lines))
    if report["largest_batch"]:
        lines = ["| workload | contender | largest batch | what stopped the next |", "|---|---|---|---|"]
        for b in report["largest_batch"]:
            lines.append(f"| {b['workload']} | {b['contender']} | {b['batch']:,} | {b['stopped'].replace('|', '/')} |")
        parts.append("\n".join(lines))
    parts += [f"{title} is left out: {why}" for title, why in report["failed"].items()]
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
