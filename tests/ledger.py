"""The ledger: where short runs of every experiment that trains end, to the last bit, under many sets of options.

    python tests/ledger.py            runs all rows and says which ended elsewhere than ledger.json has it
    python tests/ledger.py --write    writes ledger.json anew; the change belongs into the CHANGELOG

A change of structure must not move a digest. Digests hold for one compiler on one kind of processor, which the ledger
names; on another the last costs are compared instead, to a hundredth.
"""

import argparse
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from children import AS_THE_LEDGER, finished

LEDGER = Path(__file__).with_suffix(".json")
EXPERIMENTS = Path(__file__).parents[1] / "experiments"
LENGTH = "--smoke --quiet --steps 6 --chunk 3 --log-every 1 --sample-every 0 --checkpoint-every 100"

PENALTIES = ("one_sided", "dragan", "r1", "r2", "zero_centred", "consistency")
DYNAMICS = (
    *("simultaneous", "extragradient", "past_extragradient", "optimistic", "runge_kutta", "lookahead", "unrolled"),
    *("opponent_lookahead", "lola", "history_of_opponents", "against_average", "competitive"),
)
ADJUSTMENTS = ("consensus", "symplectic", "gradient_norm", "historical_averaging")
ROWS = (
    "vanilla_gan",
    "vanilla_gan --data ring --packing 4",
    "vanilla_gan --loss wasserstein --penalty gradient_penalty --discriminator-turns 2",
    "vanilla_gan --accumulate 2 --instance-noise 0.1 --orthogonal 1e-4",
    "vanilla_gan --data ring --penalty r1 --penalty-every 4",
    "dcgan",
    "dcgan --spectral-norm --conditional",
    "dcgan --data digits --packing 2 --loss relativistic_average",
    "conditional_mnist",
    "conditional_mnist --conditioning concatenation",
    "conditional_mnist --conditioning auxiliary",
    "conditional_mnist --generator-conditioning concatenation",
    "dcgan_cifar",
    "dcgan_cifar --discriminator-norm none --augment diffaugment",
    "dcgan_cifar --discriminator-norm none --augment ada --penalty r1 --penalty-every 2",
    "dcgan_cifar --average tail --average-start 2 --decay-steps 8",
    "dcgan_cifar --average none --discriminator-turns 3 --clip 0.01",
    "stacked_mnist",
    "sngan",
    "sngan --spectral-norm both --precision bfloat16",
    "sngan --conditional",
    "wgan_gp",
    "biggan",
    "biggan --remat --accumulate 2",
    "r3gan",
    *(f"wgan_gp --data digits --penalty {name}" for name in PENALTIES),
    *(f"dcgan_cifar --data digits --dynamics {name}" for name in DYNAMICS),
    *(f"dcgan_cifar --data digits --adjust {name}" for name in ADJUSTMENTS),
)


def machine() -> str:
    """What the bits depend on beside this code."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    widest = max(re.findall(r"\bavx2\b|\bavx512f\b", text), key=len, default="")  # processors of one name differ
    return f"jaxlib {version('jaxlib')}, {model[1] if model else platform.machine()} {widest}".strip()


def end(row: str) -> dict:
    """The digest of the last state, and the costs of the last step."""
    name, *options = row.split()
    workdir = Path(tempfile.mkdtemp())
    try:
        args = ["train", "--workdir", workdir / "run", *LENGTH.split(), *options]
        done = finished(EXPERIMENTS / f"{name}.py", *args, env=os.environ | {"XLA_FLAGS": AS_THE_LEDGER})
        if done.returncode:
            raise RuntimeError(f"{row}: {done.stderr}")
        last = json.loads((workdir / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    finally:
        shutil.rmtree(workdir)
    costs = {key: float(f"{value:.6g}") for key, value in last.items() if key.endswith("/cost")}
    return {"digest": done.stdout.split()[-1], "costs": costs}


def moved(expected: dict, found: dict, *, bits: bool) -> bool:
    """Whether a run ended elsewhere than the ledger says."""
    if bits:
        return found["digest"] != expected["digest"]
    costs = expected["costs"]
    near = (
        abs(found["costs"].get(key, float("inf")) - cost) <= 0.01 * max(1.0, abs(cost)) for key, cost in costs.items()
    )
    return found["costs"].keys() != costs.keys() or not all(near)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the ledger anew")
    parser.add_argument("--only", default="", help="rows that hold this word")
    args = parser.parse_args()
    rows = [row for row in ROWS if args.only in row]
    kept = json.loads(LEDGER.read_text()) if LEDGER.exists() else {"machine": machine(), "rows": {}}
    bits = kept["machine"] == machine()
    ends, elsewhere = {}, []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, found in zip(rows, pool.map(end, rows), strict=True):
            ends[row] = found
            there = not args.write and (row not in kept["rows"] or moved(kept["rows"][row], found, bits=bits))
            elsewhere += [row] * there
            print("MOVED" if there else "ok   ", found["digest"][:12], row, flush=True)
    if args.write:
        before = kept["rows"] if args.only else {}
        LEDGER.write_text(json.dumps({"machine": machine(), "rows": before | ends}, indent=1) + "\n")
    print(
        f"{len(elsewhere)} of {len(rows)} rows ended elsewhere" + ("" if bits else f" (costs: not {kept['machine']})")
    )
    sys.exit(bool(elsewhere))


if __name__ == "__main__":
    main()
