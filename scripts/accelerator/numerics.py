"""Whether the numbers of an accelerator are those of a CPU.

    numerics.py reference --out reference.json       the first 20 steps of every recipe, on this CPU, in float32
    numerics.py compare --out FOLDER --reference reference.json
    numerics.py resume --out FOLDER                  20 steps are 10 steps and 10 more, bit by bit
    numerics.py guard --out FOLDER                   a step with a NaN changes nothing but the two counters
    numerics.py bfloat16 --out FOLDER                bfloat16 networks lose about what float32 ones do

Recipes are in their smoke size, on images that come with the package, by SGD: Adam divides by gradients that are almost
0, where rounding would decide.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "experiments"), str(ROOT)]

RECIPES = (
    "dcgan_cifar", "sngan", "biggan", "r3gan", "wgan_gp", "stacked_mnist", "conditional_mnist", "dcgan", "vanilla_gan",
)  # fmt: skip
# Networks of a few channels are chaotic, and those that begin near 0 stand still: at these rates costs move, and
# rounding stays rounding over 20 steps.
RATES = {
    "biggan": 1e-6, "conditional_mnist": 1e-4, "dcgan": 1e-4, "wgan_gp": 1e-4, "r3gan": 1e-3, "sngan": 1e-3,
}  # fmt: skip
RATE = 1e-2  # of all others
STEPS = 20
# A relative change of every initial parameter by as much as 8 units in the last place of float32: about the rounding of
# a sum of 64 terms. What it does to the costs says how much a recipe amplifies rounding; another device, which rounds
# every sum in its own order, may be ten times as far off, and a part in 100,000 in any case, to which devices of one
# kind are held. A wrong gradient moves costs by 6e-4 and more; over the steps they must move by ten tolerances.
WOBBLE, FACTOR, FLOOR, CEILING = 2.0**-20, 10.0, 1e-5, 3e-4


def _setup(name: str, rate: float | None = None, **changes: Any) -> Any:
    """An experiment's smoke size by SGD, at its rate of RATES by default."""
    import optax

    from ganjax.commands import base

    base.prepare_jax()
    sgd, adam = optax.sgd(rate or RATES.get(name, RATE)), optax.adam
    optax.adam = lambda learning_rate, b1=0.9, b2=0.999, **_: sgd
    try:
        experiment = importlib.import_module(name).EXPERIMENT
        data = "stacked:fashion_mnist" if name == "stacked_mnist" else "fashion_mnist"
        config = replace(experiment.config, **{**experiment.smoke, "batch_size": 16, "data": data, **changes})
        return base.setup_of(experiment, config)
    finally:
        optax.adam = adam


def _train(setup: Any, workdir: Path, steps: int) -> Any:
    """Train until this step; the state and the records of every step since the start."""
    from ganjax.training import Schedule, train

    schedule = Schedule(steps, log_every=1, sample_every=10**6, checkpoint_every=10**6, chunk=10)
    state, _ = train(setup, workdir, seed=0, schedule=schedule, progress=False)
    return state, [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def costs(name: str, *, wobble: float = 0.0, **changes: Any) -> list[list[float]]:
    """Of discriminator and generator in each of the first steps, [steps, 2]."""
    setup = _setup(name, **changes)
    if wobble:
        setup = setup._replace(game=setup.game._replace(init=_wobbled(setup.game.init, wobble)))
    with tempfile.TemporaryDirectory(prefix="ganjax-numerics-") as folder:
        _, records = _train(setup, Path(folder) / "run", STEPS)
    return [[r["discriminator/cost"], r["generator/cost"]] for r in records if "discriminator/cost" in r]


def _wobbled(init: Callable, size: float) -> Callable:
    """The game's `init`, whose parameters are then multiplied by 1 + size N(0, 1)."""

    def wobbled(key: Any, batch: Any) -> Any:
        import jax

        params, net_state = init(key, batch)
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.fold_in(key, 1), len(leaves))
        moved = [x * (1 + size * jax.random.normal(k, x.shape)) for k, x in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(tree, moved), net_state

    return wobbled


def difference(got: Sequence, expected: Sequence) -> float:
    """The largest over steps and players, relative to the player's largest cost."""
    import numpy as np

    got, expected = np.asarray(got), np.asarray(expected)
    return float((np.abs(got - expected).max(0) / np.abs(expected).max(0)).max())


def _amplified(name: str) -> tuple[list[list[float]], float]:
    """The costs of a recipe, and how far a wobble moves them."""
    plain = costs(name)
    return plain, difference(costs(name, wobble=WOBBLE), plain)


def _each(function: Callable, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The function of each name, in processes of four cores, as soon as each is there."""
    workers = max(1, min(len(names), len(os.sched_getaffinity(0)) // 4))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(function, name): name for name in names}
        for future in as_completed(futures):
            yield futures[future], future.result()


def reference(out: Path) -> int:
    """Write what `compare` compares with."""
    import jax

    if jax.default_backend() != "cpu":
        print("error: the reference is of a CPU; set JAX_PLATFORMS=cpu", file=sys.stderr)
        return 2
    found = {}
    for name, (values, moved) in _each(_amplified, RECIPES):
        tolerance = max(FLOOR, FACTOR * moved)
        print(f"{name}: a wobble of {WOBBLE:.1e} moves the costs by {moved:.1e}, tolerance {tolerance:.1e}", flush=True)
        if tolerance > CEILING or difference(values, values[:1]) < 10 * tolerance:
            print(f"error: {name}: rounding hides what a fault does; change its rate in RATES", file=sys.stderr)
            return 1
        found[name] = {
            "tolerance": float(f"{tolerance:.2g}"),
            "costs": [[float(f"{c:.8g}") for c in row] for row in values],
        }
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(found[name])}" for name in RECIPES)
    head = {"jax": jax.__version__, "steps": STEPS, "rates": {name: RATES.get(name, RATE) for name in RECIPES}}
    out.write_text(f'{{"of": {json.dumps(head)},\n "recipes": {{\n{rows}\n}}}}\n')
    print(out)
    return 0


def compare(out: Path, stored: Path) -> int:
    """Every recipe against the reference."""
    expected, found = json.loads(stored.read_text())["recipes"], {}
    for name, got in _each(costs, list(expected)):
        error, tolerance = difference(got, expected[name]["costs"]), expected[name]["tolerance"]
        found[name] = {"difference": error, "tolerance": tolerance, "agrees": error <= tolerance}
        _write(out, {"recipes": found})
        print(f"{name}: {error:.1e}, tolerance {tolerance:.1e}", flush=True)
    return int(not all(one["agrees"] for one in found.values()))


def resume(out: Path) -> int:
    """Two paths to step 20 end in the same bits."""
    from ganjax.training import digest

    found = {}
    for name in ("dcgan", "sngan"):
        digests = {}
        with tempfile.TemporaryDirectory(prefix="ganjax-numerics-") as folder:
            for way, stops in {"straight": (20,), "again": (20,), "resumed": (10, 20)}.items():
                for stop in stops:
                    state, _ = _train(_setup(name), Path(folder) / way, stop)
                digests[way] = digest(state)
        found[name] = digests | {"agrees": len(set(digests.values())) == 1}
        _write(out, found)
    print(json.dumps(found, indent=1))
    return int(not all(one["agrees"] for one in found.values()))


def guard(out: Path) -> int:
    """Steps 8 and 9 are spoiled: they change nothing but the counters, and training goes on."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from ganjax.training import Keys

    setup = _setup("dcgan")
    keys = Keys.of(0)
    bad = [jax.random.key_data(jax.random.fold_in(keys.steps, step)) for step in (7, 8)]
    cost = setup.game.costs["generator"]

    def spoiled(params: Any, moment: Any) -> Any:
        value, outcome = cost(params, moment)
        hit = jnp.stack([(jax.random.key_data(moment.key) == one).all() for one in bad]).any()
        return value + jnp.where(hit, jnp.nan, 0.0), outcome

    setup = setup._replace(game=setup.game._replace(costs={**setup.game.costs, "generator": spoiled}))
    with tempfile.TemporaryDirectory(prefix="ganjax-numerics-") as folder:
        states = {}
        for stop in (7, 9, 20):
            state, records = _train(setup, Path(folder) / "run", stop)
            states[stop] = jax.device_get(state)
    kept = states[7].replace(step=states[9].step, skipped=states[9].skipped)
    same = jax.tree.map(lambda a, b: np.array_equal(a, b), _raw(kept), _raw(states[9]))
    flags = [r["step"] for r in records if r.get("finite") == 0]
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(_raw(states[20])) if leaf.dtype.kind == "f")
    found = {
        "skipped": [int(states[stop].skipped) for stop in (7, 9, 20)],
        "flags": flags,
        "state kept bitwise": all(jax.tree.leaves(same)),
        "finite at the end": bool(finite),
    }
    found["agrees"] = found == {
        "skipped": [0, 2, 2],
        "flags": [8, 9],
        "state kept bitwise": True,
        "finite at the end": True,
    }
    _write(out, found)
    print(json.dumps(found, indent=1))
    return int(not found["agrees"])


def _raw(state: Any) -> Any:
    """Keys, if the state holds any, as numbers."""
    import jax
    import numpy as np

    key = lambda x: jax.dtypes.issubdtype(getattr(x, "dtype", np.float32), jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if key(x) else x), state)


def bfloat16(out: Path) -> int:
    """Networks in bfloat16 that hardly move lose another number than in float32, but within a part in 20 (12 roundings)
    of the largest cost."""
    import numpy as np

    found = {}
    for name in ("dcgan_cifar", "sngan"):
        exact, rounded = (np.array(costs(name, rate=1e-6, precision=p)) for p in ("float32", "bfloat16"))
        moved = float(np.abs(rounded - exact).max() / np.abs(exact).max())
        found[name] = {"difference": moved, "agrees": 0 < moved < 0.05}
        _write(out, found)
    print(json.dumps(found, indent=1))
    return int(not all(one["agrees"] for one in found.values()))


def _write(out: Path, found: Any) -> None:
    from ganjax.files import write_atomically

    write_atomically(out / "numbers.json", json.dumps(found, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("reference", "compare", "resume", "guard", "bfloat16"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reference", type=Path)
    args = parser.parse_args()
    if args.what == "compare":
        return compare(args.out, args.reference)
    return {"reference": reference, "resume": resume, "guard": guard, "bfloat16": bfloat16}[args.what](args.out)


if __name__ == "__main__":
    sys.exit(main())
