"""The command line that every experiment gets: `train`, `sample`, `latent`, `evaluate`, ..., as `Experiment` says."""

import dataclasses
import os
import sys
from collections.abc import Mapping

from ganjax.commands.base import Experiment, fail
from ganjax.commands.draw import Latent, Sample
from ganjax.commands.score import Compare, Evaluate
from ganjax.commands.ship import Export
from ganjax.commands.train import Profile, Train
from ganjax.commands.watch import Compute, Report, Show
from ganjax.config import parse
from ganjax.errors import CheckpointError, GanjaxError, PeerError, printable

__all__ = ["Experiment", "main"]


def main(experiment: Experiment, args: list[str] | None = None, *, more: Mapping[str, type] | None = None) -> None:
    """Run an experiment's command line and exit with the code of what happened.

    Args:
        experiment: whose.
        args: its words; by default those of the process.
        more: commands of this experiment alone, dataclasses with a method `run(experiment)`, keyed by name.
    """
    args = sys.argv[1:] if args is None else args
    try:
        if args[:1] in (["--help"], ["-h"]):
            print(experiment.doc.strip() + "\n")  # line by line as it stands; tyro would run them together
        commands = {**_commands(experiment, "--smoke" in args), **(more or {})}
        command = parse(commands, args, prog=f"{experiment.name}.py", description="")
        command.run(experiment)
    except PeerError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(error.exit_code)  # an orderly end would wait for the process that is gone
    except GanjaxError as error:
        fail(str(error), error.exit_code)
    except OSError as error:  # an unwritable directory, a full disk
        sentence = f"{error.strerror or error}: {error.filename or 'while reading or writing'}"
        fail(printable(sentence), CheckpointError.exit_code)
    except KeyboardInterrupt:
        fail("interrupted; a training run continues from its newest checkpoint with the same command", 130)


def _commands(experiment: Experiment, smoke: bool) -> dict[str, type]:
    """The sub-commands as dataclasses, the experiment's config spliced in as options."""
    config = dataclasses.replace(experiment.config, **experiment.smoke) if smoke else experiment.config
    field = ("config", type(config), dataclasses.field(default=config))
    train = Train if experiment.build else Compute
    commands = {
        "train": dataclasses.make_dataclass("train", [field], bases=(train,), frozen=True, kw_only=True),
        "show": dataclasses.make_dataclass("show", [field], bases=(Show,), frozen=True, kw_only=True),
    }
    for command in commands.values():
        command.__doc__ = command.__mro__[1].__doc__
    if not experiment.build:
        return commands | {"report": Report}
    trained = {"sample": Sample, "latent": Latent, "evaluate": Evaluate, "compare": Compare, "report": Report}
    trained |= {"export": Export}
    short = (
        "config",
        type(config),
        dataclasses.field(default=dataclasses.replace(config, steps=min(config.steps, 200))),
    )
    commands["profile"] = dataclasses.make_dataclass("profile", [short], bases=(Profile,), frozen=True, kw_only=True)
    commands["profile"].__doc__ = Profile.__doc__
    return commands | trained
