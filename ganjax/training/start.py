"""How a run begins from another one: players take weights from an earlier stage or from any run directory."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ganjax.core import Owned, PyTree
from ganjax.errors import CheckpointError
from ganjax.files import write_atomically
from ganjax.training.checkpoint import Checkpoints
from ganjax.training.state import by_path, digests, kind

START = "start.json"  # what was taken, in the directory of the run that took it


class From(NamedTuple):
    """The origin of a player's parameters and `net_state`; its optimiser begins anew."""

    run: str | Path  # the name of an earlier stage, or a run directory; its newest checkpoint is read
    player: str  # of that run
    weights: str = "raw"  # or the name of an average of that run
    grown: bool = False  # take leaves of equal path and shape, and leave the others fresh; else all must fit


class Taken(NamedTuple):
    """What was read: leaves by path, and where they are from."""

    leaves: Mapping[str, np.ndarray]  # "params.<path>" and "net_state.<path>"
    step: int
    source: From


def take(source: From) -> Taken:
    """Read a player's weights from the newest intact checkpoint of another run.

    Raises:
        CheckpointError: there is no checkpoint, no such player in it, or no such average of the player.
    """
    checkpoints = Checkpoints(Path(source.run), read_only=True)
    try:
        step, leaves = checkpoints.leaves()
    finally:
        checkpoints.close()
    taken = _raw(leaves, source.player) if source.weights == "raw" else _averaged(leaves, source)
    if not taken:
        known = sorted({path.split(".")[1] for path in leaves if path.startswith("params.")})
        averages = sorted({path.split(".")[1] for path in leaves if path.startswith("averages.")})
        raise CheckpointError(
            f"{source.run} holds no {source.weights} weights of the player {source.player!r}; its players are {known}, "
            f"its averages {averages}"
        )
    return Taken(taken, step, source)


def _raw(leaves: Mapping[str, np.ndarray], player: str) -> dict[str, np.ndarray]:
    return {part + path: leaf for part in ("params", "net_state") for path, leaf in _below(leaves, f"{part}.{player}")}


def _averaged(leaves: Mapping[str, np.ndarray], source: From) -> dict[str, np.ndarray]:
    """Every average is `total / weight`; one of several players has them between `total` and the pair."""
    root = f"averages.{source.weights}"
    if f"{root}.weight" not in leaves:
        return {}
    weight = float(leaves[f"{root}.weight"]) or 1.0
    several = any(path.startswith(f"{root}.total.{source.player}.") for path in leaves)
    total = f"{root}.total.{source.player}" if several else f"{root}.total"
    averaged = {
        part + path: (leaf / weight).astype(leaf.dtype) if np.issubdtype(leaf.dtype, np.inexact) else leaf
        for number, part in enumerate(("params", "net_state"))
        for path, leaf in _below(leaves, f"{total}.{number}")
    }
    own = {f"params{path}": leaf.shape for path, leaf in _below(leaves, f"params.{source.player}")}
    return averaged if own.items() <= {path: leaf.shape for path, leaf in averaged.items()}.items() else {}


def _below(leaves: Mapping[str, np.ndarray], root: str) -> list[tuple[str, np.ndarray]]:
    """Those at this path and below, the rest of the path with its dot."""
    return [(path[len(root) :], leaf) for path, leaf in leaves.items() if path == root or path.startswith(f"{root}.")]


def overlaid(fresh: Owned, taken: Taken, player: str) -> Owned:
    """What a player begins with: its own leaves, replaced by those that were taken.

    Args:
        fresh: arrays, or their shapes.
        taken: for this player.
        player: its name, for what is said.

    Raises:
        CheckpointError: a leaf is missing, left over or of another shape or dtype, and the source is not `grown`.
    """
    like = {"params": fresh.params, "net_state": fresh.net_state}
    own = by_path(like)
    for path in sorted(own.keys() | taken.leaves.keys()):
        was = kind(taken.leaves[path]) if path in taken.leaves else "missing"
        wants = kind(own[path]) if path in own else "missing"
        if was != wants and not taken.source.grown:
            raise CheckpointError(
                f"{player} cannot begin with {taken.source.player} of {taken.source.run}: {path} is {was}, expected "
                f"{wants}; take it from a run with the same network, or with grown=True what fits"
            )
    fits = {path: leaf for path, leaf in taken.leaves.items() if path in own and kind(leaf) == kind(own[path])}
    if not fits:
        raise CheckpointError(f"nothing of {taken.source.player} of {taken.source.run} fits {player}")
    tree = jax.tree.unflatten(jax.tree.structure(like), [fits.get(path, leaf) for path, leaf in own.items()])
    return Owned(tree["params"], tree["net_state"])


def started(init: Any, taken: Mapping[str, Taken]) -> Any:
    """A game's `init` whose players begin with what was taken."""

    def begin(key: Any, batch: PyTree) -> tuple[dict, dict]:
        params, net_state = init(key, batch)
        for player, own in taken.items():
            started = overlaid(Owned(params[player], net_state[player]), own, player)
            params, net_state = {**params, player: started.params}, {**net_state, player: started.net_state}
        return params, net_state

    return begin


def keep(workdir: Path, taken: Mapping[str, Taken]) -> None:
    """Write what was taken, from which step of which run, with one sha256 of its leaves, to `start.json`."""
    record = {
        player: {
            "run": str(own.source.run), "player": own.source.player, "weights": own.source.weights, "step": own.step,
            "sha256": hashlib.sha256("".join(digests(dict(own.leaves)).values()).encode()).hexdigest(),
        }
        for player, own in taken.items()
    }  # fmt: skip
    write_atomically(workdir / START, json.dumps(record, indent=2) + "\n")
