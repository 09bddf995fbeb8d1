"""Checkpoints of the whole state: asynchronous and atomic, by Orbax."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath

from ganjax import __version__
from ganjax.core import GameState
from ganjax.errors import CheckpointError, reason

NEWEST, BEST = "checkpoints", "best"  # the folders of a run directory that hold states


def latest_step(workdir: Path, folder: str = NEWEST) -> int | None:
    """The newest step that a run directory holds completely, or None."""
    place = workdir / folder
    steps = [int(path.name) for path in place.iterdir() if path.name.isdigit()] if place.is_dir() else []
    return max(steps, default=None)


class Checkpoints:
    """The checkpoints of one run directory, the newest kept.

    Args:
        workdir: the run directory; checkpoints lie in `<workdir>/<folder>/<step>`.
        folder: the name of their folder.
        keep: how many of the newest to keep.
        read_only: touch nothing, so that a run in progress can be read.
    """

    def __init__(self, workdir: Path, *, folder: str = NEWEST, keep: int = 2, read_only: bool = False):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._directory = epath.Path(workdir.resolve() / folder)
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
        """Write a host state in the background, with what the bitwise promise depends on, and `more`, beside it.

        Raises:
            CheckpointError: this save, or the one before it, failed.
        """
        step = int(state.step)
        meta = {
            "step": step,
            "ganjax": __version__,
            "jax": jax.__version__,
            "devices": jax.device_count(),
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
            **more,
        }
        args = self._ocp.args.Composite(
            state=self._ocp.args.StandardSave(_by_path(state)), meta=self._ocp.args.JsonSave(meta)
        )
        with self._errors(f"checkpoint {step} could not be written to {self._directory}"):
            self._manager.save(step, args=args)

    def meta(self) -> dict[str, Any]:
        """What was saved beside the newest state; nothing if there is none."""
        step = self.latest
        if step is None:
            return {}
        args = self._ocp.args.Composite(meta=self._ocp.args.JsonRestore())
        with self._errors(f"checkpoint {step} in {self._directory} cannot be read"):
            return self._manager.restore(step, args=args).meta

    def drop_from(self, step: int) -> None:
        """Delete what was saved at this step and later, as by a run that died and is repeated."""
        self._manager.wait_until_finished()
        for later in [kept for kept in self._manager.all_steps() if kept >= step]:
            self._manager.delete(later)

    def restore(self, like: GameState) -> GameState:
        """The newest state, as NumPy arrays.

        Raises:
            CheckpointError: there is none, it cannot be read, or its leaves are not those of `like` by name, shape
                and dtype.
        """
        step, expected = self.latest, _by_path(like)
        if step is None:
            raise CheckpointError(f"{self._directory} holds no checkpoint; train first")
        with self._errors(f"checkpoint {step} in {self._directory} cannot be read"):
            found = self._manager.item_metadata(step)["state"].tree
        for path in sorted(found.keys() | expected.keys()):
            was, wants = _kind(found.get(path)), _kind(expected.get(path))
            if was != wants:
                raise CheckpointError(
                    f"checkpoint {step} in {self._directory} cannot be continued: {path} is {was}, expected {wants}; "
                    "the run was made with another model or optimiser"
                )
        target = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in expected.items()}
        args = self._ocp.args.Composite(state=self._ocp.args.StandardRestore(target))
        with self._errors(f"checkpoint {step} in {self._directory} cannot be read"):
            leaves = self._manager.restore(step, args=args).state
        return jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in expected])

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

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Orbax's failures, of whatever class, as one sentence."""
        try:
            yield
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            raise CheckpointError(f"{what}: {reason(error)}") from error


def _by_path(state: GameState) -> dict[str, Any]:
    """The leaves keyed by path, in the state's order: a form that restores without the optimisers' classes."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def _kind(leaf: Any) -> str:
    return "missing" if leaf is None else f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
