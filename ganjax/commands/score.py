"""Numbers of what a run has trained: `evaluate` and `compare`."""

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

from ganjax.commands.base import Experiment, OfRun, opened
from ganjax.commands.draw import check_drawing
from ganjax.config import require
from ganjax.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(OfRun):
    """Score a trained generator: a table with what real data score, and a receipt in scores/ of the run directory."""

    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    which: Literal["last", "best"] = "last"
    """The newest checkpoint, or the best one by the judge of a run with --judge-every; the receipt says which."""
    metrics: tuple[str, ...] = ()
    """Some of the experiment's own measures of held-out examples, and of frechet, kernel, classifier_score, agreement,
    precision_recall, density_coverage, modes, sliced_wasserstein, duplicates, memorisation, and of clips frame_frechet,
    motion, identity; by default, all that fit the data and the extractor."""
    count: int = 10_000
    """How many samples; scores of different counts cannot be compared."""
    reference_count: int | None = None
    """How many training examples they are compared with; by default as many, at most all."""
    extractor: Literal["classifier", "pixels", "fid", "efficientnet_lite0"] | None = None
    """What looks at images: a classifier trained on the data themselves (default for images and labelled clips),
    the pixels or coordinates (default for points), the Inception network of published distances, or a smaller network
    of ImageNet."""
    extractor_file: Path | None = None
    """The weights of fid or efficientnet_lite0, as scripts/convert_weights.py wrote them."""
    sampler: str = ""
    """Which of the experiment's samplers; by default the first."""
    seed: int = 0
    """Seed of the latents."""
    truncation: float | None = None
    """Redraw entries of z beyond this threshold (BigGAN), or go this part of the way from the mean style (StyleGAN):
    truer samples, less diverse ones."""
    standing: int = 0
    """Passes of 64 samples that BatchNorm's statistics are taken from anew, as BigGAN does; 0 takes those that were
    averaged in training."""
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self):
        for name in ("count", "reference_count"):
            require(self, name, getattr(self, name) is None or getattr(self, name) >= 1, "at least 1")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        check_drawing(self)

    def run(self, experiment: Experiment) -> None:
        run = opened(experiment, self)
        from ganjax import evaluation, gallery
        from ganjax.evaluation.held_out import reads_withheld
        from ganjax.training import load_state

        setup, named = run.setup, set(self.metrics)
        measures = [name for name in setup.measures if not named or name in named]
        metrics = tuple(name for name in self.metrics if name not in setup.measures)
        if not setup.samplers and not setup.measures:
            raise ConfigError("this experiment has no sampler and no measure: there is nothing to score")
        state = load_state(setup, run.workdir, best=self.which == "best")
        scores: dict[str, evaluation.Score] = {}
        for name in measures:
            how: Any = {"seed": self.seed, "count": self.count, "weights": self.weights}
            scores[name] = evaluation.score_of(setup, state, name, **how)
        protocol = {name: getattr(self, name) for name in ("weights", "count", "reference_count", "seed")}
        drawing = {name: getattr(self, name) for name in ("standing", "sampler", "truncation")}
        extractor = evaluation.NOTHING
        if setup.samplers and (metrics or not self.metrics):
            data = setup.imitated(setup.sampler(self.sampler))
            extractor = evaluation.chosen_extractor(self.extractor, data, self.extractor_file, progress=not self.quiet)
            scores |= evaluation.evaluate(setup, state, extractor, metrics=metrics, **protocol, **drawing)
        elif metrics:
            raise ConfigError(f"--metrics {metrics[0]}: this experiment has no sampler, only {list(setup.measures)}")
        if self.which == "best" and setup.judged_by in setup.measures and reads_withheld(setup, setup.judged_by):
            warning = f"the checkpoint was chosen by {setup.judged_by}, which reads what training withholds"
            for name, score in scores.items():
                scores[name] = dataclasses.replace(score, note=", ".join(filter(None, (score.note, warning))))
        receipt = evaluation.receipt_of(setup, state, extractor, run.found["config"], **protocol, **drawing)
        record = evaluation.Record(int(state.step), receipt.weights, self.which, scores, receipt)
        path = evaluation.keep(run.workdir, record)
        judged = (
            f"{self.count} samples against {receipt.reference_count} training examples, as {extractor.name} sees them"
        )
        print(
            f"step {record.step} ({self.which}), {receipt.weights} weights{f': {judged}' if extractor.digest else ''}"
        )
        print("\n".join([*evaluation.table(scores), str(path)]))
        gallery.warn(run.workdir)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare:
    """Put scores side by side, if they were taken by the same protocol."""

    scores: tuple[Path, ...]
    """Files that evaluate wrote, at least two."""
    across_weights: bool = False
    """Compare raw and averaged weights."""

    def run(self, experiment: Experiment) -> None:
        from ganjax.evaluation import compare

        comparison = compare(self.scores, across_weights=self.across_weights)
        for warning in comparison.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print("\n".join(comparison.lines))
