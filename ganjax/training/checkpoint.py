"""Checkpoints of the whole state: asynchronous and atomic, by Orbax; verified leaf by leaf, by sha256.

Orbax notices a file that was cut short, but loads a flipped bit as a wrong weight. So the digest of every leaf is
committed with it, and a state that differs is never continued: the newest intact one is.
"""

import contextlib
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from tqdm import tqdm

from ganjax import __version__
from ganjax.core import GameState
from ganjax.errors import CheckpointError, reason
from ganjax.training import parallel
from ganjax.training.identity import differences
from ganjax.training.state import by_path, digest_of, digests, kind

NEWEST, BEST = "checkpoints", "best"  # the folders of a run directory that hold states
CORRUPT = "corrupt"  # the folder that damaged ones are moved to


class _Damage(Exception):
    """What is wrong with a checkpoint."""


class Checkpoints:
    """The checkpoints of one run directory, the newest kept.

    Args:
        workdir: the run directory; checkpoints lie in `<workdir>/<folder>/<step>`.
        folder: the name of their folder.
        keep: how many of the newest to keep.
        read_only: touch nothing, so that a run in progress can be read.
        run: from `identity`; it is saved with every state, and a state of another run is not restored.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        folder: str = NEWEST,
        keep: int = 2,
        read_only: bool = False,
        run: Mapping[str, Any] | None = None,
    ):
        import orbax.checkpoint as ocp

        _silence_the_other_leaves()
        self._ocp = ocp
        self._directory = epath.Path(workdir.resolve() / folder)
        self._read_only, self._run = read_only, run
        writing = {"max_to_keep": keep, "create": True, "cleanup_tmp_directories": True}
        options = {"read_only": True, "create": False} if read_only else writing
        # Processes that save to two folders at a time must not wait for each other in the wrong one.
        prefix = ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=folder)
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(**options, multiprocessing_options=prefix),
            item_handlers={"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()},
        )

    @property
    def latest(self) -> int | None:
        """The newest step that was saved completely, or None."""
        return self._manager.latest_step()

    def save(self, state: GameState, **more: float) -> None:
        """Write a host state in the background, with its digests, what the bitwise promise depends on, and `more`.

        Raises:
            CheckpointError: this save, or the one before it, failed.
        """
        step = int(state.step)
        kinds, shas = {path: kind(leaf) for path, leaf in by_path(state).items()}, digests(state)
        leaves = {path: [kinds[path], shas[path]] for path in kinds}
        run = {} if self._run is None else {"run": dict(self._run)}
        meta = {"step": step, "ganjax": __version__, **_circumstances(), **run, **more, "leaves": leaves}
        args = self._ocp.args.Composite(
            state=self._ocp.args.StandardSave(by_path(state)),
            meta=self._ocp.args.JsonSave(meta | {"sha256": _sha256(meta)}),
        )
        with self._errors(f"checkpoint {step} could not be written to {self._directory}"):
            self._manager.save(step, args=args)

    def meta(self) -> dict[str, Any]:
        """What was saved beside the newest state; nothing if there is none, or, with a warning, if it is damaged."""
        try:
            return {} if self.latest is None else self._meta(self.latest)
        except _Damage as damage:
            _warn(f"checkpoint {self.latest} in {self._directory} is damaged: {damage}")
            return {}

    def drop_from(self, step: int) -> None:
        """Delete what was saved at this step and later, as by a run that died and is repeated."""
        self._manager.wait_until_finished()
        for later in [kept for kept in self._manager.all_steps() if kept >= step]:
            self._manager.delete(later)

    def restore(self, like: GameState, *, allow_change: bool = False) -> GameState:
        """The newest intact state, as NumPy arrays; `allow_change` takes that of another run too.

        Damaged ones are named on standard error and, unless `read_only`, moved to `<workdir>/corrupt/<folder>`; but
        never if no other is left, so that a run whose checkpoints are all damaged cannot begin anew unnoticed.

        Raises:
            CheckpointError: there is none, all are damaged, the leaves are not those of `like` by name, shape and
                dtype, or it was saved by another run. What was saved without an identity fits every run.
        """
        rejected: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._read(step, like, allow_change)
            except _Damage as damage:
                rejected[step] = str(damage)
                continue
            if rejected:
                self._reject(rejected, step)
            return state
        if rejected:
            tried = "; ".join(f"checkpoint {step} is damaged ({why})" for step, why in rejected.items())
            raise CheckpointError(
                f"{self._directory} holds no intact checkpoint: {tried}; restore one from a copy, or begin anew in "
                "another --workdir"
            )
        raise CheckpointError(f"{self._directory} holds no checkpoint; train first")

    def leaves(self) -> tuple[int, dict[str, np.ndarray]]:
        """The newest intact state as leaves by path, whatever made it, and its step.

        Raises:
            CheckpointError: there is none.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                meta = self._meta(step)["leaves"]
                return step, self._verified(step, {path: _zeros(said) for path, (said, _) in meta.items()}, meta)
            except _Damage as damage:
                _warn(f"checkpoint {step} in {self._directory} is damaged: {damage}")
        raise CheckpointError(f"{self._directory} holds no intact checkpoint to begin from; train that run first")

    def close(self) -> None:
        """Wait for what is being written.

        Raises:
            CheckpointError: it failed.
        """
        try:
            with self._errors(f"a checkpoint could not be written to {self._directory}"):
                self._manager.wait_until_finished()
        finally:
            self._manager.close()

    def _meta(self, step: int) -> dict[str, Any]:
        """What was saved beside a state, verified."""
        with _damage("its description"):
            meta = dict(
                self._manager.restore(step, args=self._ocp.args.Composite(meta=self._ocp.args.JsonRestore())).meta
            )
        if meta.pop("sha256", None) != _sha256(meta):
            raise _Damage("the digest of its description differs from the recorded one")
        return meta

    def _read(self, step: int, like: GameState, allow_change: bool) -> GameState:
        expected, meta = by_path(like), self._meta(step)
        recorded = meta["leaves"]
        for path in sorted(recorded.keys() | expected.keys()):
            was = recorded[path][0] if path in recorded else "missing"
            wants = kind(expected[path]) if path in expected else "missing"
            if was != wants:
                raise CheckpointError(
                    f"checkpoint {step} in {self._directory} cannot be continued: {path} is {was}, expected {wants}; "
                    "the run was made with another model or optimiser"
                )
        if self._run is not None and not allow_change and (changed := differences(meta.get("run", {}), self._run)):
            raise CheckpointError(
                f"checkpoint {step} in {self._directory} is of another run, which differs in {', '.join(changed)}; "
                "train with what it was made with, or in another directory (allow_change=True, which is "
                "--allow-config-change, continues it all the same)"
            )
        target = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in expected.items()}
        leaves = self._verified(step, target, recorded)
        state = jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in expected])
        for name, now in _circumstances().items():
            if meta[name] != now and not self._read_only:
                _warn(
                    f"checkpoint {step} was saved with {name} {meta[name]!r}, now it is {now!r}: the "
                    "continued run agrees with an uninterrupted one up to rounding, not bit by bit"
                )
        return state

    def _verified(self, step: int, target: Mapping[str, np.ndarray], recorded: Mapping[str, Any]) -> dict[str, Any]:
        """The leaves of a state by path, each compared with the digest that was recorded of it."""
        with _damage("its arrays"):
            args = self._ocp.args.Composite(state=self._ocp.args.StandardRestore(dict(target)))
            leaves = dict(self._manager.restore(step, args=args).state)
            shas = {path: digest_of(path, leaves[path]) for path in target}
        for path, sha in shas.items():
            if sha != recorded[path][1]:
                raise _Damage(f"the digest of {path} is {sha[:8]}, recorded {recorded[path][1][:8]}")
        return leaves

    def _reject(self, rejected: Mapping[int, str], good: int) -> None:
        """Name the damaged steps, and put them out of the way."""
        place = self._directory.parent / CORRUPT / self._directory.name
        for step, why in rejected.items():
            kept = "" if self._read_only else f" (damaged copy kept in {place / str(step)})"
            _warn(f"checkpoint {step} is damaged: {why}; falling back to step {good}{kept}")
        if self._read_only:
            return

        def move() -> None:
            place.mkdir(parents=True, exist_ok=True)
            for step in rejected:
                with contextlib.suppress(FileNotFoundError):
                    (place / str(step)).rmtree()
                os.replace(self._directory / str(step), place / str(step))

        parallel.on_primary(move)
        self._manager.reload()

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Orbax's failures, of whatever class, as one sentence."""
        try:
            yield
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            raise CheckpointError(f"{what}: {reason(error)}") from error


@contextlib.contextmanager
def _damage(what: str) -> Iterator[None]:
    """Whatever a library says of damaged bytes."""
    try:
        yield
    except Exception as error:
        raise _Damage(f"{what} cannot be read: {reason(error)}") from error


def _silence_the_other_leaves() -> None:
    """Orbax reads and writes the leaves side by side. Where one fails, that error is raised, and the loop of the others
    is closed: their callbacks complain of it, and asyncio logs whatever else failed among them when it is collected,
    both in hundreds of lines which bury the reason."""
    logging.getLogger("asyncio").addFilter(_is_not_of_another_leaf)
    before = sys.unraisablehook
    if getattr(before, "__name__", "") == "without_closed_loops":
        return

    def without_closed_loops(what: Any) -> None:
        if str(what.exc_value) != "Event loop is closed":
            before(what)

    sys.unraisablehook = without_closed_loops


def _is_not_of_another_leaf(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(("Future exception was never", "Task exception was never"))


def _zeros(said: str) -> np.ndarray:
    """An array of what `state.kind` says: "float32[2, 3]"."""
    dtype, _, shape = said.partition("[")
    return np.zeros([int(size) for size in shape.rstrip("]").split(",") if size], np.dtype(dtype))


def _warn(sentence: str) -> None:
    tqdm.write(f"warning: {sentence}", file=sys.stderr)


def _circumstances() -> dict[str, Any]:
    """What a continued run must share with the one before to be bitwise the same."""
    return {"jax": jax.__version__, "devices": jax.device_count(), "xla_flags": os.environ.get("XLA_FLAGS", "")}


def _sha256(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
