"""Train an experiment at its published settings for so many seconds, look at it on the way, and judge it.

    training.py together stacked_mnist --seeds 10 --metric modes --count 26000 --data D --seconds S --out FOLDER
    training.py alone sngan --count 10000 --data D --seconds S --out FOLDER

`together`: several seeds as one program (`ganjax.training.fit`), judged after 500 steps, 1,000, 2,000, ... and at the
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
    from ganjax.commands import base

    base.prepare_jax()
    import jax
    import numpy as np

    from ganjax.training import check, fit

    experiment = importlib.import_module(args.experiment).EXPERIMENT
    config = replace(experiment.config, **{**(experiment.smoke if args.smoke else {}), "data": args.data})
    setup = base.setup_of(experiment, config)
    check(setup)
    looks = Looks(args, setup, config.steps)
    following, taken = 5 if args.smoke else FIRST, 0  # the step of the next look, steps so far

    def watch(steps: int, states: Any) -> bool:
        nonlocal following, taken
        taken = steps
        if steps >= following and looks.idle() >= 2 * looks.longest:
            following = 2 * steps
            looks.take(steps, jax.block_until_ready(states))
        reserve = 1.2 * looks.longest if looks.longest else 0.25 * args.seconds
        return steps == config.steps or time.monotonic() + reserve + 2 > end

    final = fit(setup, np.arange(args.seeds), config.steps, chunk=config.chunk, watch=watch)
    looks.take(taken, final)
    return 0


class Looks:
    """What is seen of the runs of several seeds, in numbers.json and in pictures."""

    def __init__(self, args: argparse.Namespace, setup: Any, steps: int):
        """Train the classifier that judges, or find it."""
        from ganjax.evaluation import chosen_extractor
        from ganjax.evaluation.evaluate import real_examples

        self._args, self._setup, self.longest = args, setup, 0.0  # seconds of a look
        self._data = data = setup.imitated(setup.sampler())
        self._extractor = chosen_extractor(None, data, progress=False)
        self._real = real_examples(data, self._extractor, args.count, min(args.count, len(data.x_train)))
        self._numbers: dict[str, Any] = {
            "experiment": args.experiment,
            "data": data.name,
            "examples": len(data.x_train),
            "seeds": args.seeds,
            "published_steps": steps,
            "metric": args.metric,
            "count": args.count,
            "looks": [],
        }
        self._began = self._last = time.monotonic()

    def idle(self) -> float:
        """Seconds since the last look."""
        return time.monotonic() - self._last

    def take(self, steps: int, states: Any) -> None:
        """Judge every seed after so many steps, unless that has been done, and draw a row of each."""
        import jax
        import numpy as np

        from ganjax.evaluation.evaluate import score
        from ganjax.evaluation.measures import Comparison, Examples
        from ganjax.report import Row, rows
        from ganjax.training import Keys, draw

        records, args, start = self._numbers["looks"], self._args, time.monotonic()
        if records and records[-1]["steps"] == steps:
            return
        host, scores, pictures = jax.device_get(states), [], []
        for seed in range(args.seeds):
            one = jax.tree.map(lambda leaf, m=seed: leaf[m], host)
            x = draw(self._setup, one, Keys.of(seed).samples, args.count)
            sets = Comparison(Examples(x, self._extractor), *self._real, self._data, self._extractor)
            found = score(sets, (args.metric,))
            scores.append({name: {"value": float(s.value), "floor": _number(s.floor)} for name, s in found.items()})
            title = ", ".join(f"{name} {s.value:.3g}" for name, s in found.items())
            pictures.append(Row(x[:COLUMNS], f"seed {seed}", title))
        values = {name: [one[name]["value"] for one in scores] for name in scores[0]}
        summary = {
            name: {"mean": float(np.mean(v)), "deviation": float(np.std(v, ddof=1)) if len(v) > 1 else None}
            for name, v in values.items()
        }
        seconds = round(start - self._began, 1)  # of training, compiling included
        records.append(
            {"steps": steps, "seconds": seconds, "skipped": host.skipped.tolist(), "scores": scores, "summary": summary}
        )
        _write(args.out, self._numbers)
        rows(pictures, args.out / f"step-{steps}.png", title=f"{args.experiment} after {steps:,} steps")
        print(f"step {steps} after {seconds} s: {summary}", flush=True)
        took = time.monotonic() - start
        self.longest, self._began, self._last = max(self.longest, took), self._began + took, start + took


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


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
    log = run / "metrics.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if code not in (0, 128 + signal.SIGTERM) or not records:
        print(f"error: training ended with exit code {code} after {len(records)} records", file=sys.stderr)
        return 1
    found: dict[str, Any] = {
        "experiment": _file(args.experiment), "data": args.data, "count": args.count, "finished": code == 0,
        "steps": records[-1]["step"], "seconds": round(time.monotonic() - began, 1), "last": records[-1],
    }  # fmt: skip
    _write(args.out, found)
    for words in (
        ["sample", "--out", str(args.out / "samples.png")],
        ["evaluate", "--count", str(args.count), "--metrics", "frechet"],
    ):
        code = subprocess.run(
            [sys.executable, script, words[0], "--workdir", str(run), *words[1:]], cwd=ROOT
        ).returncode
        if code:
            return code
    found["scores"] = [json.loads(path.read_text()) for path in sorted((run / "scores").glob("*.json"))]
    _write(args.out, found)
    return 0


def _file(prefix: str) -> str:
    """The first experiment whose name begins so."""
    return min(path.stem for path in (ROOT / "experiments").glob(f"{prefix}*.py"))


def _write(out: Path, found: Any) -> None:
    from ganjax.files import write_atomically

    write_atomically(out / "numbers.json", json.dumps(found, indent=1) + "\n")


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
