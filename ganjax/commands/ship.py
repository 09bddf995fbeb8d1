"""What leaves a run: `export`."""

import dataclasses
from pathlib import Path
from typing import Literal

from ganjax.commands.base import Experiment, OfRun, opened


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export(OfRun):
    """Write a trained generator as a folder that lives without the run: weights, program, config and receipt."""

    out: Path
    """The folder to make; it is written whole or not at all."""
    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    which: Literal["last", "best"] = "last"
    """The newest checkpoint, or the best one by the judge of a run with --judge-every."""
    sampler: str = ""
    """Which of the experiment's samplers; by default the first."""

    def run(self, experiment: Experiment) -> None:
        run = opened(experiment, self, needs="nothing")
        from ganjax import export
        from ganjax.training import load_state

        state = load_state(run.setup, run.workdir, best=self.which == "best")
        how = {"weights": self.weights, "which": self.which, "sampler": self.sampler}
        receipt = export.export(run.setup, state, run.found, self.out, workdir=run.workdir, **how)
        print(
            f"step {receipt['step']} ({self.which}), {receipt['weights']} weights; it draws the run's samples "
            f"to {receipt['largest_difference']:.1e}"
        )
        print(self.out)
