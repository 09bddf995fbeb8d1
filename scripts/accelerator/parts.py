"""The parts of a run, in order of worth: numerics, speed, convolutions, training, profiles."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from runner import ROOT, Part

CHILDREN = Path(__file__).resolve().parent
REFERENCE = CHILDREN / "reference.json"
EXACT = {"JAX_DEFAULT_MATMUL_PRECISION": "float32"}  # no TF32
DETERMINISTIC = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()}
DRY = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
DRY_SECONDS = 300  # of any part, on a machine that others use too

# Which workloads, in which precision, and for how long at most; see benchmarks/workloads.py.
SPEED = [
    ("dcgan32", "float32", 120),
    ("dcgan32", "bf16", 120),
    ("sngan32", "bf16", 180),
    ("sngan32", "float32", 180),
    ("mlp28", "float32", 120),
    ("toy8", "float32", 120),
    ("sample_dcgan", "float32", 120),
    ("wgangp_res_s", "float32", 180),
]
OUT = ("--out", "{out}")
FIRST_SPEED, FIRST_PROFILES = 3, 2  # of these that come before the training, the others after it
PROFILES = ["dcgan_cifar", "sngan", "biggan", "r3gan", "wgan_gp", "vanilla_gan"]


def _child(name: str, *words: str) -> tuple[str, ...]:
    return (str(CHILDREN / f"{name}.py"), *words)


def _speed(workload: str, precision: str, *more: str) -> tuple[str, ...]:
    contenders = ("--contenders", "torch tuned")
    return (
        "benchmarks/speed.py", "--workloads", workload, "--precision", precision, "--json", "{out}/numbers.json",
        *contenders, *more,
    )  # fmt: skip


def _experiment(prefix: str) -> str:
    """Why there is no such experiment; "" if there is."""
    return "" if list((ROOT / "experiments").glob(f"{prefix}*.py")) else f"there is no experiments/{prefix}*.py yet"


def parts(data: Path | None, *, dry: bool = False) -> list[Part]:
    """All parts, in order of worth.

    Args:
        data: a folder with mnist.npz and cifar10.npz, as far as they are at hand.
        dry: everything in miniature, on the CPU.
    """
    speed, largest = _races(dry)
    names = ["dcgan_cifar", "vanilla_gan"] if dry else PROFILES
    small = ("--smoke",) if dry else ()
    profiles = [Part(f"profile_{name}", 60, _child("profiles", name, *OUT, *small)) for name in names]
    convolutions = Part(
        "convolutions",
        90,
        _child(
            "collect", *OUT, "--", "benchmarks/convolutions.py", "layers", "--save", "--rounds", "1" if dry else "3"
        ),
        {},
        "" if (ROOT / "benchmarks" / "convolutions.py").exists() else "there is no benchmarks/convolutions.py yet",
    )
    found = [*_numerics(dry), *speed[:FIRST_SPEED], convolutions, *profiles[:FIRST_PROFILES], *_trained(data, dry)]
    found += [*speed[FIRST_SPEED:], *profiles[FIRST_PROFILES:], largest]
    if not dry:
        return found
    return [
        part._replace(
            seconds=DRY_SECONDS, command=tuple(w.replace("{seconds}", "200") for w in part.command),
            environment={**part.environment, **DRY},
        )
        for part in found
    ]  # fmt: skip


def _numerics(dry: bool) -> list[Part]:
    """The machine, then whether it computes what others do."""
    told = ("--seconds", ".02") if dry else ("--accelerator",)
    return [
        Part("machine", 60, _child("machine", *OUT, *told), vital=True),
        Part("numerics", 200, _child("numerics", "compare", *OUT, "--reference", str(REFERENCE)), EXACT),
        Part("resume", 60, _child("numerics", "resume", *OUT), DETERMINISTIC),
        Part("guard", 45, _child("numerics", "guard", *OUT)),
        Part("bfloat16", 60, _child("numerics", "bfloat16", *OUT), EXACT),
    ]


def _races(dry: bool) -> tuple[list[Part], Part]:
    """Against PyTorch: speed, and the largest batch."""
    torch = "" if find_spec("torch") else "PyTorch is not installed"
    races = [("dcgan28", "float32", 0), ("dcgan28", "bf16", 0)] if dry else SPEED
    brief = ("--rounds", "1", "--seconds", ".2") if dry else ("--rounds", "3", "--seconds", "2")
    speed = [
        Part(f"speed_{workload}_{precision}", limit, _speed(workload, precision, *brief), {}, torch)
        for workload, precision, limit in races
    ]
    once = ("--rounds", "1", "--seconds", ".1", "--tries", "2") if dry else ("--rounds", "1", "--seconds", "1")
    command = _speed("toy8" if dry else "dcgan32", "float32", "--largest-batch", *once)
    return speed, Part("largest_batch", 180, command, {}, torch)


def _trained(data: Path | None, dry: bool) -> list[Part]:
    """Experiments as published, as far as the time goes."""
    has = {name: bool(data and (data / f"{name}.npz").exists()) for name in ("mnist", "cifar10")}
    stacks = f"stacked:{data}/mnist.npz" if has["mnist"] else "stacked:fashion_mnist"
    no_cifar = "" if dry or has["cifar10"] else "no cifar10.npz; give its folder by --data"
    small = ("--smoke",) if dry else ()

    def training(name: str, command: str, *words: str, why: str = "", limit: float) -> Part:
        return Part(name, limit, _child("training", command, *words, *OUT, "--seconds", "{seconds}", *small), {}, why)

    colour = ("--data", "digits" if dry else f"{data}/cifar10.npz")
    grey = ("--data", "stacked:digits" if dry else stacks)
    many, few = ("--count", "100" if dry else "26000"), ("--count", "100" if dry else "10000")
    return [
        training("stacked_mnist", "together", "stacked_mnist", *grey, "--seeds", "2" if dry else "10",
                 "--metric", "modes", *many, limit=240),
        training("dcgan_cifar", "together", "dcgan_cifar", *colour, "--seeds", "2" if dry else "3",
                 "--metric", "frechet", *few, why=no_cifar, limit=150),
        training("sngan", "alone", "sngan", *colour, *few, why=no_cifar, limit=240),
        training("stylegan", "alone", "stylegan", *colour, *few, why=_experiment("stylegan") or no_cifar, limit=240),
    ]  # fmt: skip


NAMES = [part.name for part in parts(None)]


def chosen(data: Path | None, names: Sequence[str] | None, *, dry: bool = False) -> list[Part]:
    """Those of these names, in order of worth; all by default.

    Raises:
        ValueError: there is no such part.
    """
    found = parts(data, dry=dry)
    unknown = set(names or ()) - {part.name for part in found}
    if unknown:
        known = ", ".join(part.name for part in found)
        raise ValueError(f"--parts {' '.join(sorted(unknown))}: no such part{' of --dry' * dry}; known: {known}")
    return [part for part in found if not names or part.name in names]
