"""Train an experiment at its published settings for so many seconds, look at it on the way, and judge it.

    training.py together stacked_mnist --seeds 10 --metric modes --count 26000 --data D --seconds S --out FOLDER
    training.py alone sngan --count 10000 --data D --seconds S --out FOLDER

`together`: several seeds as one program (experiments/seeds.py), judged after 500 steps, 1,000, 2,000, ... and at the
end, each time with a row of samples of each seed. `alone`: the command line of the experiment, stopped in time; the run
in FOLDER/run is continued if there is one; then `sample` and `evaluate`.
"""

import argparse
import importlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "experiments"), str(ROOT)]
FIRST = 500  # steps before the first look
COLUMNS = 16  # samples of each seed in a picture


def together(args: argparse.Namespace) -> int:
    """Write a record for every look: steps, seconds, the score of each seed, its mean and deviation."""
    end = time.monotonic() + args.seconds
    from ganjax import launch

    launch._prepare_jax()
    import jax
    import numpy as np
    import seeds as program

    from ganjax.evaluation import chosen_extractor, evaluate
    from ganjax.report import Row, rows
    from ganjax.training import Keys, check, draw

    experiment = importlib.import_module(args.experiment).EXPERIMENT
    config = replace(experiment.config, **{**(experiment.smoke if args.smoke else {}), "data": args.data})
    setup, members = launch._setup(experiment, config), np.arange(args.seeds)
    check(setup)
    extractor = chosen_extractor(None, setup.dataset, progress=False)
    found: dict[str, Any] = {
        "experiment": args.experiment, "data": setup.dataset.name, "examples": len(setup.dataset.x_train),
        "seeds": args.seeds, "published_steps": config.steps, "metric": args.metric, "count": args.count, "looks": [],
    }  # fmt: skip
    began, judging, state = time.monotonic(), 0.0, {"next": 5 if args.smoke else FIRST, "longest": 0.0}

    def look(taken: int, states: Any) -> None:
        nonlocal judging
        jax.block_until_ready(states)
        start = time.monotonic()
        seconds, host, scores, pictures = start - began - judging, jax.device_get(states), [], []
        for member in members:
            one = jax.tree.map(lambda leaf, m=int(member): leaf[m], host)
            scores.append(
                {
                    name: {"value": float(score.value), "floor": None if score.floor is None else float(score.floor)}
                    for name, score in evaluate(
                        setup, one, extractor, metrics=(args.metric,), count=args.count
                    ).items()
                }
            )
            title = ", ".join(f"{name} {score['value']:.3g}" for name, score in scores[-1].items())
            pictures.append(Row(draw(setup, one, Keys.of(int(member)).samples, COLUMNS), f"seed {member}", title))
        record = {"steps": taken, "seconds": round(seconds, 1), "skipped": [int(k) for k in host.skipped], "scores": scores}
        record["summary"] = {
            name: {"mean": float(np.mean(values)), "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None}
            for name in scores[0]
            if all(name in one for one in scores) and (values := [one[name]["value"] for one in scores])
        }
        found["looks"].append(record)
        _write(args.out, found)
        rows(pictures, args.out / f"step-{taken}.png", title=f"{args.experiment} after {taken:,} steps")
        judging += time.monotonic() - start
        state["longest"] = max(state["longest"], time.monotonic() - start)
        print(f"step {taken} after {seconds:.0f} s: {record['summary']}", flush=True)

    def watch(taken: int, states: Any) -> bool:
        if taken >= state["next"]:
            state["next"] *= 2
            look(taken, states)
        return time.monotonic() + 1.2 * state["longest"] + 2 > end

    steps, taken = 0, []

    def ended(count: int, states: Any) -> bool:
        taken.append(count)
        return watch(count, states)

    final = program.trained(setup, members, config.steps, config.chunk, watch=ended)
    steps = taken[-1]
    if not found["looks"] or found["looks"][-1]["steps"] != steps:
        look(steps, final)
    return 0


def alone(args: argparse.Namespace) -> int:
    """Train by the command line until the time is up but for a quarter, then draw and score."""
    run, script = args.out / "run", str(ROOT / "experiments" / f"{_file(args.experiment)}.py")
    small = ["--smoke"] if args.smoke else []
    began = time.monotonic()
    command = [sys.executable, script, "train", "--workdir", str(run), "--quiet", "--data", args.data, *small]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        code = process.wait(0.75 * args.seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # it saves, then ends
        code = process.wait()
    if code not in (0, 128 + signal.SIGTERM):
        return code
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, Any] = {
        "experiment": _file(args.experiment), "data": args.data, "count": args.count, "finished": code == 0,
        "steps": records[-1]["step"], "seconds": round(time.monotonic() - began, 1), "last": records[-1],
    }  # fmt: skip
    _write(args.out, found)
    for words in (
        ["sample", "--out", str(args.out / "samples.png")],
        ["evaluate", "--count", str(args.count), "--metrics", "frechet"],
    ):
        code = subprocess.run([sys.executable, script, words[0], "--workdir", str(run), *words[1:]], cwd=ROOT).returncode
        if code:
            return code
    found["scores"] = [json.loads(path.read_text()) for path in sorted((run / "scores").glob("*.json"))]
    _write(args.out, found)
    return 0


def _file(prefix: str) -> str:
    """The first experiment whose name begins so."""
    return min(path.stem for path in (ROOT / "experiments").glob(f"{prefix}*.py"))


def _write(out: Path, found: Any) -> None:
    out.mkdir(parents=True, exist_ok=True)
    beside = out / "numbers.json.new"
    beside.write_text(json.dumps(found, indent=1) + "\n")
    beside.replace(out / "numbers.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=("together", "alone"))
    parser.add_argument("experiment")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--metric", default="frechet")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    return {"together": together, "alone": alone}[args.how](args)


if __name__ == "__main__":
    sys.exit(main())
