"""A trained generator as a folder of files that live without the run: its weights, its program, and their receipt.

    generator.safetensors   the weights: params and net_state (BatchNorm statistics, u) of the generator, by path
    generator.jaxexport     (z [b, ...] float32, labels [b] int32 if there are classes) -> x [b, ...] float32
    latent.jaxexport        (seed uint32, index [b] int32) -> z [b, ...]: the draws of the prior, b is any number
    config.json             experiment, configuration, data, prior, labels and the range of x
    receipt.json            step, weights, sha256 of these four files, of the state and of the data, versions, scores
    README.md               the lines that draw samples with jax and numpy alone, for people to read and change

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
from ganjax.core import GameState, PyTree
from ganjax.data import outline, stand_in
from ganjax.errors import CheckpointError, ConfigError, reason
from ganjax.evaluation import receipt as scores
from ganjax.files import naming
from ganjax.games import Normal, Sampler
from ganjax.rundir import config_digest
from ganjax.training import Keys, Setup, check_classes, digest, name_of_weights, weights_of
from ganjax.training.sampling import BATCH, as_data, in_batches
from ganjax.training.setup import state_shapes
from ganjax.training.state import by_path, kind

FORMAT = 1
PLATFORMS = ("cpu", "cuda", "tpu")
WEIGHTS, PROGRAM, LATENT = "generator.safetensors", "generator.jaxexport", "latent.jaxexport"
CONFIG, RECEIPT, README = "config.json", "receipt.json", "README.md"
TOLERANCE = 1e-3  # of x in [-1, 1], by which the exported program may differ from the run's own samples


@dataclasses.dataclass(frozen=True)
class Shipped:
    """An exported generator, verified and ready to draw."""

    config: dict[str, Any]  # config.json
    receipt: dict[str, Any]  # receipt.json
    latent: Callable[[int, np.ndarray], jax.Array]  # (seed, index [B]) -> z [B, ...]
    decode: Callable[..., jax.Array]  # (z [B, ...], labels [B] where there are classes) -> x [B, ...] float32

    def sample(self, seed: int, count: int, labels: np.ndarray | None = None) -> np.ndarray:
        """The samples that the command `sample` draws with this seed; classes take turns unless `labels` are given.

        Returns:
            [count, ...]: uint8 images, or float32 points.
        """
        classes = self.config["labels"] and self.config["labels"]["classes"]
        if labels is None:
            labels = np.arange(count) % (classes or 1)
        elif not classes or np.shape(labels) != (count,) or np.min(labels) < 0 or np.max(labels) >= classes:
            wanted = (
                f"[{count}] integers from 0 to {classes - 1}" if classes else "none: this generator takes no labels"
            )
            raise ConfigError(f"labels: got {np.shape(labels)} {np.ravel(labels)[:5]}..., expected {wanted}")
        kind = np.dtype(np.uint8 if self.config["output"]["to_uint8"] else np.float32)

        def of(index: np.ndarray) -> jax.Array:
            given = [np.asarray(labels, np.int32)[np.minimum(index, count - 1)]] if classes else []
            return as_data(self.decode(self.latent(seed, index), *given), kind)

        return in_batches(of, count)  # as the run draws


def export(
    setup: Setup,
    state: GameState,
    run: Mapping[str, Any],
    out: Path,
    *,
    weights: str = "default",
    which: str = "last",
    workdir: Path | None = None,
) -> dict[str, Any]:
    """Write the generator of a state to the folder `out`: whole, or not at all.

    Args:
        setup: what was trained.
        state: its state, on the host.
        run: what `config.json` of the run directory says: experiment and config.
        out: the folder; it must not exist, or be empty.
        weights: "raw", the name of an average, or "default" as in `draw`.
        which: what to say of the checkpoint, "last" or "best".
        workdir: the run directory whose scores of this step and these weights go into the receipt.

    Returns:
        The receipt.

    Raises:
        ConfigError: the experiment has no generator, no such weights, or `out` holds something.
        DataError: a class of the data has no training example.
        CheckpointError: the exported program draws other samples than the run.
    """
    check_name("export", "which", which, ("last", "best"))
    check_free(out)
    draws = _sampler(setup)
    if setup.labelled:
        check_classes(setup.dataset)  # whoever loads it can ask for any of them
    name = name_of_weights(setup, state, "generator", weights)
    params, net_state = jax.tree.map(np.asarray, weights_of(setup, state, "generator", weights))
    config = describe(setup, run)
    leaves = {path: np.ascontiguousarray(leaf) for path, leaf in by_path(_named(params, net_state)).items()}
    facts = {
        "format": FORMAT,
        "experiment": run["experiment"],
        "step": int(state.step),
        "weights": name,
        "which": which,
        "config_digest": config_digest(run["config"]),
        "data_digest": setup.dataset.digest,
        "state_digest": digest(state),
    }
    with _whole_folder(out) as folder:
        _write(folder / WEIGHTS, _safetensors(leaves, facts))
        _write(folder / LATENT, _serialised(_latent_of(draws), *_latent_shapes()))
        _write(folder / PROGRAM, _serialised(_decode_of(draws, params, net_state), *_decode_shapes(config)))
        _write(folder / CONFIG, _json(config))
        _write(folder / README, _readme(config, facts).encode())
        receipt = facts | {
            "sha256": {name: _sha256(folder / name) for name in (WEIGHTS, PROGRAM, LATENT, CONFIG)},
            "weights_digest": digest(_named(params, net_state)),
            "leaves": {path: kind(leaf) for path, leaf in leaves.items()},
            "scores": _scores(workdir, int(state.step), name),
            "versions": {package: version(package) for package in ("jax", "jaxlib", "flax", "numpy")},
            "ganjax": __version__,
            "device": jax.devices()[0].device_kind,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        receipt["largest_difference"] = _difference(folder, config, draws, params, net_state)
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
        decode, latent = (jax.export.deserialize(bytearray((folder / name).read_bytes())) for name in (PROGRAM, LATENT))
    except Exception as error:  # JAX and flatbuffers raise several kinds
        raise CheckpointError(
            f"{folder} cannot be read by jax {jax.__version__} ({reason(error)}); it was written by jax "
            f"{receipt['versions']['jax']}: install that, or rebuild the generator from {WEIGHTS}"
        ) from error
    draw = jax.jit(latent.call)
    return Shipped(config, receipt, lambda seed, index: draw(np.uint32(seed), np.int32(index)), jax.jit(decode.call))


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


def rebuild(folder: str | Path, experiment: Any) -> tuple[Setup, PyTree, PyTree]:
    """The generator as the experiment's own modules, with the weights of the safetensors file; no data set is needed.

    Args:
        folder: what `export` wrote.
        experiment: the `launch.Experiment` of that name.

    Returns:
        `(setup, params, net_state)`: `setup.sample.decode(params, net_state, z, labels)` draws. The data set of the
        setup is a stand-in of the right shape.

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
    setup = experiment.build(from_record(experiment.config, config["config"]), stand_in(data, data["digest"]), None)
    shapes = state_shapes(setup)
    like = _named(shapes.params["generator"], shapes.net_state["generator"])
    leaves = load_file(folder / WEIGHTS)
    wanted = {path: kind(leaf) for path, leaf in by_path(like).items()}
    found = {path: kind(leaf) for path, leaf in leaves.items()}
    for path in sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path)):
        raise CheckpointError(
            f"{folder / WEIGHTS}: {path} is {found.get(path, 'missing')}, the generator of {experiment.name} has "
            f"{wanted.get(path, 'none')}; use ganjax {json.loads((folder / RECEIPT).read_text())['ganjax']}"
        )
    tree = jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in wanted])
    return setup, tree["params"], tree["net_state"]


def check_free(out: Path) -> None:
    """Raise `ConfigError` unless the folder can be made."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"--out {out} exists and is not an empty folder; choose another one")


def describe(setup: Setup, run: Mapping[str, Any]) -> dict[str, Any]:
    """What a stranger must know to draw."""
    draws, data = _sampler(setup), setup.dataset
    z = jax.eval_shape(_latent_of(draws), *_latent_shapes(1))
    images = len(data.shape) == 3
    return {
        "format": FORMAT,
        "experiment": run["experiment"],
        "config": run["config"],
        "data": {**outline(data), "digest": data.digest},
        "prior": {
            "distribution": "N(0, I)" if isinstance(draws.prior, Normal) else f"as {LATENT} draws it",
            "shape": list(z.shape[1:]),
            "dtype": z.dtype.name,
        },
        "labels": {"classes": data.classes, "dtype": "int32"} if setup.labelled else None,
        "output": {
            "shape": list(data.shape),
            "dtype": "float32",
            "range": [-1, 1] if images else None,
            "to_uint8": "clip(round((x + 1) * 127.5), 0, 255)" if images else None,
        },
    }


def _sampler(setup: Setup) -> Sampler:
    if not isinstance(setup.sample, Sampler):
        raise ConfigError("this experiment has no generator to export: its samples have no latent")
    return setup.sample


def _named(params: PyTree, net_state: PyTree) -> PyTree:
    return {"params": params, "net_state": net_state}


def _latent_of(draws: Sampler) -> Callable:
    """`(seed, index [b]) -> z [b, ...]`: what `draw` sees for that seed."""
    return lambda seed, index: draws.latent(Keys.of(seed).samples, index)


def _decode_of(draws: Sampler, params: PyTree, net_state: PyTree) -> Callable:
    """`(z, [labels]) -> x` in float32, of these weights."""

    def decode(z: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        return draws.decode(params, net_state, z, labels).astype(jnp.float32)

    return decode


def _batch() -> Any:
    return jax.export.symbolic_shape("b")[0]


def _latent_shapes(size: int | None = None) -> list[jax.ShapeDtypeStruct]:
    size = _batch() if size is None else size
    return [jax.ShapeDtypeStruct((), jnp.uint32), jax.ShapeDtypeStruct((size,), jnp.int32)]


def _decode_shapes(config: Mapping[str, Any]) -> list[jax.ShapeDtypeStruct]:
    size = _batch()
    z = jax.ShapeDtypeStruct((size, *config["prior"]["shape"]), config["prior"]["dtype"])
    return [z, jax.ShapeDtypeStruct((size,), jnp.int32)] if config["labels"] else [z]


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


def _difference(folder: Path, config: dict[str, Any], draws: Sampler, params: PyTree, net_state: PyTree) -> float:
    """The largest |x' - x| over a batch, of what the files draw and what the run draws."""
    read = [jax.export.deserialize(bytearray((folder / name).read_bytes())) for name in (LATENT, PROGRAM)]
    index = np.arange(BATCH, dtype=np.int32)
    labels = np.int32(index % config["labels"]["classes"]) if config["labels"] else None
    latent, decode = (jax.jit(one.call) for one in read)
    found = decode(latent(np.uint32(0), index), *([] if labels is None else [labels]))
    expected = jax.jit(draws)(params, net_state, Keys.of(0).samples, index, labels)
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
    labels, output = config["labels"], config["output"]
    given = f", index % {labels['classes']}" if labels else ""
    lines = [
        "import jax",
        "import numpy as np",
        "from jax import export",
        "",
        'names = ("latent.jaxexport", "generator.jaxexport")',
        'latent, generator = (export.deserialize(bytearray(open(name, "rb").read())) for name in names)',
        "index = np.arange(64, dtype=np.int32)  # sample i depends on the seed and i alone",
        "z = latent.call(np.uint32(0), index)  # the seed, 0 to 4294967295",
        f"x = np.asarray(generator.call(z{given}))",
    ]
    if output["to_uint8"]:
        lines.append("x = np.clip(np.round((x + 1) * 127.5), 0, 255).astype(np.uint8)")
    lines.append('np.save("samples.npy", x)')
    about = [
        f"The generator of the experiment `{facts['experiment']}` after step {facts['step']} ({facts['which']}), "
        f"{facts['weights']} weights, trained on {config['data']['name']}.",
        "",
        f"Input `z` [b, {', '.join(map(str, config['prior']['shape']))}] {config['prior']['dtype']}, drawn from "
        f"{config['prior']['distribution']}"
        + (f"; `labels` [b] int32, 0 to {labels['classes'] - 1}" if labels else "")
        + f". Output `x` [b, {', '.join(map(str, output['shape']))}] float32"
        + (", black at -1 and white at 1; clip what is beyond." if output["range"] else "."),
        "It runs on CPU, CUDA and TPU and needs jax and numpy (`pip install jax flatbuffers`); run in this folder:",
    ]
    end = (
        f"JAX reads `*.jaxexport` for about half a year after jax {version('jax')} wrote them. `{WEIGHTS}` lasts: "
        "`ganjax.export.rebuild` makes the generator from it. `receipt.json` has their sha256."
    )
    return "\n".join(["# A generator", "", *about, "", "```python", *lines, "```", "", end, ""])
