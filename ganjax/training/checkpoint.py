"""Checkpoints of the whole state: asynchronous and atomic, by Orbax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath

from ganjax.core import GameState
from ganjax.errors import CheckpointError


class Checkpoints:
    """The checkpoints of one run directory, newest kept.

    Args:
        workdir: the run directory; checkpoints lie in `<workdir>/checkpoints/<step>`.
        keep: how many of the newest to keep.
    """

    def __init__(self, workdir: Path, *, keep: int = 2):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._directory = epath.Path(workdir.resolve() / "checkpoints")
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    @property
    def latest(self) -> int | None:
        """The newest step that was saved completely, or None."""
        return self._manager.latest_step()

    def save(self, state: GameState, meta: dict[str, Any]) -> None:
        """Write a host state in the background; a step that is there already is left as it is."""
        step = int(state.step)
        if step == self.latest:
            return
        args = self._ocp.args.Composite(
            state=self._ocp.args.StandardSave(_by_path(state)), meta=self._ocp.args.JsonSave(meta)
        )
        try:
            self._manager.save(step, args=args)
        except OSError as error:
            raise CheckpointError(f"checkpoint {step} could not be written to {self._directory}: {error}") from error

    def restore(self, like: GameState) -> GameState:
        """The newest state, as NumPy arrays; structure, shapes and dtypes must be those of `like`."""
        step, expected = self.latest, _by_path(like)
        target = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in expected.items()}
        args = self._ocp.args.Composite(state=self._ocp.args.StandardRestore(target))
        try:
            found = self._manager.restore(step, args=args).state
        except (ValueError, KeyError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"checkpoint {step} in {self._directory} cannot be continued: {reason}") from error
        for path, leaf in expected.items():
            if (found[path].shape, found[path].dtype) != (leaf.shape, leaf.dtype):
                raise CheckpointError(
                    f"checkpoint {step} in {self._directory}: {path} is {found[path].dtype}{found[path].shape}, "
                    f"expected {leaf.dtype}{leaf.shape}; the run was made with another model or optimiser"
                )
        return jax.tree.unflatten(jax.tree.structure(like), [found[path] for path in expected])

    def close(self) -> None:
        """Wait for what is being written."""
        self._manager.wait_until_finished()
        self._manager.close()


def _by_path(state: GameState) -> dict[str, Any]:
    """The leaves keyed by path, in the state's order: a form that restores without the optimisers' classes."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }
