"""What is said of an experiment or a run: `show` and `report`; and `train` of an experiment that computes."""

import dataclasses
from pathlib import Path
from typing import Any

from ganjax.commands.base import Configured, Experiment, config_of, describe, prepare_jax
from ganjax.config import as_record
from ganjax.rundir import check_free, claimed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Show(Configured[Any]):
    """Print the claim, the paper and the resolved configuration."""

    smoke: bool = False
    """Show the smoke size."""

    def run(self, experiment: Experiment) -> None:
        print(experiment.doc.strip() + "\n")
        for name, value in dataclasses.asdict(self.config).items():
            print(f"{name} = {value!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compute(Configured[Any]):
    """Compute the experiment; print its table and the paths of its figures."""

    workdir: Path
    """The run directory."""
    smoke: bool = False
    """Shrink the experiment to seconds."""

    def run(self, experiment: Experiment) -> None:
        import numpy as np

        config = self.config
        check_free(self.workdir)
        prepare_jax(smoke=self.smoke)
        # A closed form that diverges is infinite beyond the largest number.
        with claimed(self.workdir, describe(experiment, config)), np.errstate(over="ignore"):
            print("\n".join(experiment.compute(config, self.workdir)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Write the page of a run: pictures, curves, scores and alarms of all its stages in one file."""

    workdir: Path
    """The run directory."""

    def run(self, experiment: Experiment) -> None:
        config_of(experiment, self.workdir)
        from ganjax.report.page import write_page

        print(write_page(self.workdir, defaults=as_record(experiment.config)))
