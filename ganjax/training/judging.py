"""The light judge of a run: its records in judge.jsonl, and the best state kept beside the newest ones."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from ganjax.core import GameState
from ganjax.training import parallel
from ganjax.training.checkpoint import BEST, Checkpoints
from ganjax.training.writers import Writers

# state on the host -> values, among them "score", which is lower for better samples
Judge = Callable[[GameState], Mapping[str, float]]


class Judging:
    """What happens between chunks where a run is judged.

    `best/<step>` holds the state of the least score, exactly as it was; a run never continues from it. Its score lies
    in the same checkpoint, so that a continued run knows what to beat.

    Args:
        workdir: the run directory.
        judge: needed on the primary process alone.
        writers: those of the primary process.
    """

    def __init__(self, workdir: Path, judge: Judge | None, writers: Writers | None):
        self._judge, self._writers = judge, writers
        self._best = Checkpoints(workdir, folder=BEST, keep=1)
        self._score = self._best.meta().get("score", math.inf)

    def __call__(self, state: GameState) -> None:
        """Judge a host state; every process calls it."""
        score = math.nan
        if self._writers and self._judge:
            values = self._judge(state)
            self._writers.judge(int(state.step), values)
            score = values["score"]
        score = parallel.from_primary(score)
        if score < self._score:
            self._score = score
            self._best.drop_from(int(state.step))
            self._best.save(state, score=score)

    def close(self) -> None:
        """Wait for what is being written."""
        self._best.close()
