"""A trained generator as a folder of files that live without the run: its weights, its program, and their receipt.

    generator.safetensors   the weights: params and net_state (BatchNorm statistics, u) of each player, by path
    generator.jaxexport     (z [b, ...] float32, given [b, ...] if it is asked for anything) -> x [b, ...] float32
    latent.jaxexport        (seed uint32, index [b] int32) -> z [b, ...]: the draws of the prior, b is any number
    config.json             experiment, configuration, data, prior, what is given and the range of x
    receipt.json            step, weights, sha256 of these four files, of the state and of the data, versions, scores
    README.md               the lines that draw samples with jax and numpy alone, for people to read and change

A sampler without a latent has one program instead of the two: draw.jaxexport, (seed, index [b], given) -> x.

The programs are StableHLO for CPU, CUDA and TPU with the weights in them. JAX reads them for about half a year after
it wrote them; the weights last. On a CPU the generator is traced with the trio of `layers.convolution`: its forward
half is convolutions in the canonical layout and matrix products, which are valid on every platform; the forms with
fewer products are in the branch for a CPU alone.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import __version__
from ganjax.checks import check_name
from ganjax.config import from_record
from ganjax.core import GameState, Owned, PyTree, Sampler, Weights
from ganjax.data import stand_ins
from ganjax.data.dataset import CLASS
from ganjax.errors import CheckpointError, ConfigError, reason
from ganjax.evaluation import receipt as scores
from ganjax.files import naming
from ganjax.kinds import to_bytes
from ganjax.rundir import config_digest
from ganjax.training import Keys, Setup, check_classes, digest, in_turn, name_of_weights, weights_of
from ganjax.training.sampling import encoded_given, given_kind, given_of, in_batches, of_split
from ganjax.training.setup import state_shapes
from ganjax.training.state import by_path, kind

FORMAT = 2
PLATFORMS = ("cpu", "cuda", "tpu")
WEIGHTS, PROGRAM, LATENT = "generator.safetensors", "generator.jaxexport", "latent.jaxexport"
DRAW = "draw.jaxexport"
CONFIG, RECEIPT, README = "config.json", "receipt.json", "README.md"
TOLERANCE = 1e-3  # of x in [-1, 1], by which the exported program may differ from the run's own samples


@dataclasses.dataclass(frozen=True)
class Shipped:
    """An exported generator, verified and ready to draw."""

    config: dict[str, Any]  # config.json
    receipt: dict[str, Any]  # receipt.json
    draw: Callable[..., jax.Array]  # (seed, index [B], given [B, ...] if it is asked for) -> x [B, ...] float32
    latent: Callable[[int, np.ndarray], jax.Array] | None  # (seed, index [B]) -> z [B, ...]
    decode: Callable[..., jax.Array] | None  # (z [B, ...], given [B, ...] if it is asked for) -> x [B, ...] float32

    def sample(self, seed: int, count: int, given: np.ndarray | None = None) -> np.ndarray:
        """The samples that the command `sample` draws with this seed; classes take turns unless labels are given.

        Args:
            seed: of the latents.
            count: how many.
            given: [count, ...] what config.json asks for under "given": integer labels, images, ...

        Returns:
            [count, ...]: uint8 images, or float32 points.
        """
        asked = self.config["given"]
        if given is None and asked and asked["classes"]:
            given = np.arange(count) % asked["classes"]
        if (given is not None and not asked) or (asked and not _fits(asked, given, count)):
            wanted = "none: this generator is asked for nothing"
            if asked:
                integers = f"integers from 0 to {asked['classes'] - 1}" if asked["classes"] else asked["dtype"]
                wanted = f"{[count, *asked['shape']]} {integers}"
            got = "nothing" if given is None else f"{np.shape(given)} {np.ravel(given)[:5]}..."
            raise ConfigError(f"given: got {got}, expected {wanted}")
        decode = to_bytes if self.config["output"]["to_uint8"] else lambda x: x

        def of(index: np.ndarray) -> jax.Array:
            own = [np.asarray(given, asked["dtype"])[np.minimum(index, count - 1)]] if asked else []
            return decode(self.draw(seed, index, *own))

        return in_batches(of, count, self.config["batch"])  # as the run draws


def _fits(asked: Mapping[str, Any], given: Any, count: int) -> bool:
    if np.shape(given) != (count, *asked["shape"]):
        return False
    return not asked["classes"] or bool(np.min(given) >= 0 and np.max(given) < asked["classes"])


def export(
    setup: Setup,
    state: GameState,
    run: Mapping[str, Any],
    out: Path,
    *,
    weights: str = "default",
    which: str = "last",
    workdir: Path | None = None,
    sampler: str = "",
) -> dict[str, Any]:
    """Write the generator of a state to the folder `out`: whole, or not at all.

    Args:
        setup: what was trained.
        state: its state, on the host.
        run: what `config.json` of the run directory says: experiment, config and data.
        out: the folder; it must not exist, or be empty.
        weights: "raw", the name of an average, or "default" as in `draw`.
        which: what to say of the checkpoint, "last" or "best".
        workdir: the run directory whose scores of this step and these weights go into the receipt.
        sampler: its name; the first by default.

    Returns:
        The receipt.

    Raises:
        ConfigError: the experiment has no generator, no such weights, or `out` holds something.
        DataError: a class of the data has no training example.
        CheckpointError: the exported program draws other samples than the run.
    """
    check_name("export", "which", which, ("last", "best"))
    check_folder(out)
    draws = setup.sampler(sampler)
    asked = given_of(setup, draws)
    if asked is not None and asked[1] == CLASS:
        check_classes(asked[0])  # whoever loads it can ask for any of them
    name = name_of_weights(setup, state, draws.players, weights)
    chosen = jax.device_put(weights_of(setup, state, draws.players, weights))  # a sampler may index them
    config = describe(setup, run, chosen, sampler)
    leaves = {path: np.asarray(leaf, order="C") for path, leaf in by_path(_named(chosen)).items()}
    facts = {
        "format": FORMAT,
        "experiment": run["experiment"],
        "stage": run.get("stage", ""),
        "step": int(state.step),
        "weights": name,
        "which": which,
        "config_digest": config_digest(run["config"]),
        "data_digest": setup.imitated(draws).digest,
        "state_digest": digest(state),
    }
    with _whole_folder(out) as folder:
        _write(folder / WEIGHTS, _safetensors(leaves, facts))
        programs = _programs(setup, draws, chosen, config)
        for file, (function, shapes) in programs.items():
            _write(folder / file, _serialised(function, *shapes))
        _write(folder / CONFIG, _json(config))
        _write(folder / README, _readme(config, facts).encode())
        receipt = facts | {
            "sha256": {name: _sha256(folder / name) for name in (WEIGHTS, *programs, CONFIG)},
            "weights_digest": digest(_named(chosen)),
            "leaves": {path: kind(leaf) for path, leaf in leaves.items()},
            "scores": _scores(workdir, int(state.step), name),
            "versions": {package: version(package) for package in ("jax", "jaxlib", "flax", "numpy")},
            "ganjax": __version__,
            "device": jax.devices()[0].device_kind,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        receipt["largest_difference"] = _difference(folder, setup, draws, chosen)
        if not receipt["largest_difference"] <= TOLERANCE:
            raise CheckpointError(
                f"the exported generator differs from the run's by {receipt['largest_difference']:.1e}, expected at "
                f"most {TOLERANCE}; nothing was written"
            )
        _write(folder / RECEIPT, _json(receipt | {"receipt_sha256": _digest_of(receipt)}))
    return receipt


def load(folder: str | Path) -> Shipped:
    """Read an exported generator; what it takes is in the folder, the run may be gone.

    Raises:
        CheckpointError: a file is missing, damaged, or written by a JAX that this one does not understand.
    """
    folder = Path(folder)
    receipt = verify(folder)
    try:
        config = json.loads((folder / CONFIG).read_text())
        programs = _read(folder)
    except Exception as error:  # JAX and flatbuffers raise several kinds
        raise CheckpointError(
            f"{folder} cannot be read by jax {jax.__version__} ({reason(error)}); it was written by jax "
            f"{receipt['versions']['jax']}: install that, or rebuild the generator from {WEIGHTS}"
        ) from error
    return Shipped(config, receipt, *programs)


def _read(folder: Path) -> tuple[Callable[..., jax.Array], Callable | None, Callable | None]:
    """Draw, latent and decode of a folder, the last two where it has them."""
    found = {
        name: jax.jit(jax.export.deserialize(bytearray((folder / name).read_bytes())).call)
        for name in (DRAW, LATENT, PROGRAM)
        if (folder / name).exists()
    }
    if DRAW in found:
        return lambda seed, index, *given: found[DRAW](np.uint32(seed), np.int32(index), *given), None, None
    latent, decode = lambda seed, index: found[LATENT](np.uint32(seed), np.int32(index)), found[PROGRAM]
    return lambda seed, index, *given: decode(latent(seed, index), *given), latent, decode


def verify(folder: Path) -> dict[str, Any]:
    """The receipt of an exported generator, after comparing the sha256 of every file with it.

    Raises:
        CheckpointError: names the first file that is missing or differs.
    """
    remedy = "copy the folder again, or export anew"
    try:
        receipt = json.loads((folder / RECEIPT).read_text())
        kept = receipt.pop("receipt_sha256")
        files, intact = dict(receipt["sha256"]), kept == _digest_of(receipt)
    except OSError as error:
        raise CheckpointError(f"{folder / RECEIPT}: {error.strerror}; {remedy}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{folder / RECEIPT} is damaged: it is no receipt; {remedy}") from None
    if not intact:
        raise CheckpointError(f"{folder / RECEIPT} is damaged: its sha256 differs from the recorded one; {remedy}")
    for name, expected in files.items():
        try:
            found = _sha256(folder / name)
        except OSError as error:
            raise CheckpointError(f"{folder / name}: {error.strerror}; {remedy}") from None
        if found != expected:
            raise CheckpointError(
                f"{folder / name} is damaged: its sha256 is {found[:12]}, the receipt says {expected[:12]}; {remedy}"
            )
    return receipt


def rebuild(folder: str | Path, experiment: Any) -> tuple[Setup, Weights]:
    """The generator as the experiment's own modules, with the weights of the safetensors file; no data set is needed.

    Args:
        folder: what `export` wrote.
        experiment: the `launch.Experiment` of that name.

    Returns:
        `(setup, weights)`: `setup.sampler()(weights, key, index, given)` draws. The data sets of the setup are
        stand-ins of the right shape.

    Raises:
        CheckpointError: as `load`; or the weights are not those of the experiment.
        ConfigError: another experiment.
    """
    from safetensors.numpy import load_file

    folder = Path(folder)
    verify(folder)
    config = json.loads((folder / CONFIG).read_text())
    if config["experiment"] != experiment.name:
        raise ConfigError(f"{folder} holds a generator of {config['experiment']!r}, not of {experiment.name!r}")
    data = config["data"]
    own = from_record(experiment.config, config["config"])
    built = experiment.build(own, stand_ins(data, config["config"]), None)
    setup = built if isinstance(built, Setup) else built[config["stage"]]
    shapes = state_shapes(setup)
    players = setup.sampler(config["sampler"]).players
    like = _named({player: Owned(shapes.params[player], shapes.net_state[player]) for player in players})
    leaves = load_file(folder / WEIGHTS)
    wanted = {path: kind(leaf) for path, leaf in by_path(like).items()}
    found = {path: kind(leaf) for path, leaf in leaves.items()}
    for path in sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path)):
        raise CheckpointError(
            f"{folder / WEIGHTS}: {path} is {found.get(path, 'missing')}, the generator of {experiment.name} has "
            f"{wanted.get(path, 'none')}; use ganjax {json.loads((folder / RECEIPT).read_text())['ganjax']}"
        )
    tree = jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(leaves[path]) for path in wanted])
    return setup, {player: Owned(own["params"], own["net_state"]) for player, own in tree.items()}


def check_folder(out: Path) -> None:
    """Raise `ConfigError` unless the folder can be made."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"--out {out} exists and is not an empty folder; choose another one")


def describe(setup: Setup, run: Mapping[str, Any], chosen: Weights, sampler: str = "") -> dict[str, Any]:
    """What a stranger must know to draw."""
    draws = setup.sampler(sampler)
    data, prior = setup.imitated(draws), None
    if draws.latent is not None:
        z = jax.eval_shape(_latent_of(draws, chosen), *_latent_shapes(1))
        distribution = "N(0, I)" if draws.latent.normal else f"as {LATENT} draws it"
        told = lambda part: {"shape": list(part.shape[1:]), "dtype": part.dtype.name}  # noqa: E731
        of_z = {"parts": {name: told(z[name]) for name in z}} if isinstance(z, Mapping) else told(z)
        prior = {"distribution": distribution, **of_z}
    bytes_ = data.x_train.dtype == np.uint8
    return {
        "format": FORMAT,
        "experiment": run["experiment"],
        "stage": run.get("stage", ""),
        "config": run["config"],
        "sampler": sampler or next(iter(setup.samplers)),
        "batch": draws.batch,
        "data": run["data"],
        "prior": prior,
        "given": _asked(setup, draws),
        "output": {
            "shape": list(data.shape),
            "dtype": "float32",
            "range": [-1, 1] if bytes_ else None,
            "to_uint8": "clip(round((x + 1) * 127.5), 0, 255)" if bytes_ else None,
        },
    }


def _asked(setup: Setup, draws: Sampler) -> dict[str, Any] | None:
    """What an example of what is given looks like, as stored."""
    asked = given_of(setup, draws)
    if asked is None:
        return None
    dataset, what = asked
    example: Any = of_split(dataset, what, "train")
    classes = dataset.classes if what == CLASS else None
    return {
        "kind": given_kind(setup, draws).name, "shape": list(example.shape[1:]), "dtype": example.dtype.name,
        "classes": classes,
    }  # fmt: skip


def _named(chosen: Weights) -> PyTree:
    return {player: {"params": own.params, "net_state": own.net_state} for player, own in chosen.items()}


def _latent_of(draws: Sampler, chosen: Weights) -> Callable:
    """`(seed, index [b]) -> z [b, ...]`: what `draw` sees for that seed."""
    return lambda seed, index: draws.latents(chosen, Keys.of(seed).samples, index)


def _programs(setup: Setup, draws: Sampler, chosen: Weights, config: Mapping[str, Any]) -> dict[str, tuple]:
    """File -> (function, shapes of its arguments), of these weights."""
    (size,), asked = jax.export.symbolic_shape("b"), config["given"]
    given = [jax.ShapeDtypeStruct((size, *asked["shape"]), asked["dtype"])] if asked else []

    def encoded(given: tuple) -> PyTree:
        return given_kind(setup, draws).encode(given[0]) if given else None

    def draw(seed: jax.Array, index: jax.Array, *given: jax.Array) -> jax.Array:
        return draws(chosen, Keys.of(seed).samples, index, encoded(given)).astype(jnp.float32)

    if draws.latent is None or draws.draw is not None:
        return {DRAW: (draw, [*_latent_shapes(size), *given])}
    decode = draws.latent.decode

    def generator(z: jax.Array, *given: jax.Array) -> jax.Array:
        return decode(chosen, z, encoded(given)).astype(jnp.float32)

    z = jax.tree.map(
        lambda part: jax.ShapeDtypeStruct((size, *part["shape"]), part["dtype"]),
        config["prior"].get("parts", config["prior"]),
        is_leaf=lambda part: "shape" in part,
    )
    return {LATENT: (_latent_of(draws, chosen), _latent_shapes(size)), PROGRAM: (generator, [z, *given])}


def _parts(prior: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a latent by their names: z alone, or what the dictionary z holds."""
    return {f"z['{name}']": part for name, part in prior["parts"].items()} if "parts" in prior else {"z": prior}


def _latent_shapes(size: Any) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct((), jnp.uint32), jax.ShapeDtypeStruct((size,), jnp.int32)]


def _serialised(function: Callable, *shapes: jax.ShapeDtypeStruct) -> bytes:
    return bytes(jax.export.export(jax.jit(function), platforms=PLATFORMS)(*shapes).serialize())


def _safetensors(leaves: dict[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    from safetensors.numpy import save

    return save(leaves, metadata={name: str(value) for name, value in facts.items()})


def _scores(workdir: Path | None, step: int, weights: str) -> list[dict[str, Any]]:
    """The records of `<workdir>/scores` of this step and these weights, as they are."""
    if workdir is None:
        return []
    paths = sorted((workdir / "scores").glob(f"{step:08d}-{weights}-*.json"))
    own = [path for path in paths if scores.read(path).weights == weights]  # which says what is wrong with a file
    return [json.loads(path.read_text()) for path in own]


def _difference(folder: Path, setup: Setup, draws: Sampler, chosen: Weights) -> float:
    """The largest |x' - x| over a batch, of what the files draw and what the run draws.

    Images that it is asked for are noise: those of the stand-ins are even, of which InstanceNorm leaves rounding alone.
    """
    draw, *_ = _read(folder)
    index, values = np.arange(draws.batch, dtype=np.int32), in_turn(setup, draws, draws.batch).values
    if values is not None and values.dtype == np.uint8 and given_kind(setup, draws).name == "image":
        values = np.random.default_rng(0).integers(0, 256, values.shape, np.uint8)
    found = draw(0, index, *([] if values is None else [values]))
    given = encoded_given(setup, draws, values, index)
    expected = jax.jit(lambda *told: draws(*told))(chosen, Keys.of(0).samples, index, given)
    return float(np.abs(np.asarray(found) - np.asarray(expected, np.float32)).max())


@contextlib.contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place at the end; nothing is left of it if anything fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp"))
    try:
        yield folder
        os.chmod(folder, 0o755)  # mkdtemp makes private ones
        with naming(out):
            os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    with naming(path), open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(receipt: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(receipt, sort_keys=True).encode()).hexdigest()


def _readme(config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """How to draw with jax and numpy alone."""
    asked, output, prior = config["given"], config["output"], config["prior"]
    shape = ", ".join(map(str, asked["shape"])) if asked else ""
    wanted = f"`given` [b{shape and ', ' + shape}] {asked['dtype']}, a {asked['kind']} for each sample" if asked else ""
    if asked and asked["classes"]:
        wanted = f"`labels` [b] int32, 0 to {asked['classes'] - 1}"
    given = f", np.int32(index % {asked['classes']})" if asked and asked["classes"] else ", given" if asked else ""
    names = (LATENT, PROGRAM) if prior else (DRAW,)
    called = ("latent", "generator") if prior else ("draw",)
    lines = [
        "import jax",
        "import numpy as np",
        "from jax import export",
        "",
        f"names = {names!r}".replace("'", '"'),
        f"{', '.join(called)}{'' if prior else ','} = "
        '(export.deserialize(bytearray(open(name, "rb").read())) for name in names)',
        "index = np.arange(64, dtype=np.int32)  # sample i depends on the seed and i alone",
    ]
    if asked and not asked["classes"]:
        lines.append(f"given = np.zeros((64, {shape}), np.{asked['dtype']})  # yours")
    if prior:
        lines += [
            "z = latent.call(np.uint32(0), index)  # the seed, 0 to 4294967295",
            f"x = np.asarray(generator.call(z{given}))",
        ]
    else:
        lines.append(f"x = np.asarray(draw.call(np.uint32(0), index{given}))  # the seed, 0 to 4294967295")
    if output["to_uint8"]:
        lines.append("x = np.clip(np.round((x + 1) * 127.5), 0, 255).astype(np.uint8)")
    lines.append('np.save("samples.npy", x)')
    parts = " and ".join(
        f"`{name}` [b, {', '.join(map(str, part['shape']))}] {part['dtype']}"
        for name, part in (_parts(prior) if prior else {}).items()
    )
    inputs = [
        f"{parts}, drawn from {prior['distribution']}"
        if prior
        else "the seed and `index` [b] int32, the samples' numbers",
        *([wanted] if wanted else []),
    ]
    about = [
        f"The generator of the experiment `{facts['experiment']}` after step {facts['step']} ({facts['which']}), "
        f"{facts['weights']} weights, trained on {', '.join(own['name'] for own in config['data'].values())}.",
        "",
        f"Input {'; '.join(inputs)}. Output `x` [b, {', '.join(map(str, output['shape']))}] float32"
        + (", black at -1 and white at 1; clip what is beyond." if output["range"] else "."),
        "It runs on CPU, CUDA and TPU and needs jax and numpy (`pip install jax flatbuffers`); run in this folder:",
    ]
    end = (
        f"JAX reads `*.jaxexport` for about half a year after jax {version('jax')} wrote them. `{WEIGHTS}` lasts: "
        "`ganjax.export.rebuild` makes the generator from it. `receipt.json` has their sha256."
    )
    return "\n".join(["# A generator", "", *about, "", "```python", *lines, "```", "", end, ""])
