"""The evaluation of a generator: one pass over samples, every metric beside what real data score, and the receipt."""

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import jax
import numpy as np

from ganjax import __version__
from ganjax.checks import check_range
from ganjax.core import GameState, Sampler
from ganjax.data import Dataset, subsample
from ganjax.data.dataset import CLASS
from ganjax.data.order import SUBSAMPLE_SEED
from ganjax.errors import ConfigError, DataError, reason
from ganjax.evaluation.classifier import clip_classifier, stacked_classifier, trained_classifier
from ganjax.evaluation.extractor import Extractor, classes, pairs_of_tokens, pixels
from ganjax.evaluation.held_out import split_of
from ganjax.evaluation.measures import METRICS, Comparison, Examples, names_of
from ganjax.evaluation.pretrained import efficientnet_lite0, fid_inception
from ganjax.evaluation.receipt import LABELS, Receipt, Score
from ganjax.rundir import config_digest
from ganjax.training import Given, Keys, Setup, in_turn, name_of_weights
from ganjax.training.sampling import Drawing, drawing, given_of, in_batches

PUBLISHED_NETWORKS = ("fid", "efficientnet_lite0")  # extractors that are read from a file
DEFAULT_EXTRACTOR = {"image": "classifier"}  # by the kind of data; of others the coordinates
OF_CLASSES = {"clip": "classifier", "waveform": "classifier"}  # the same of data with classes
LEAST = 20  # training examples and samples, below which neighbours are no statistics


def evaluate(
    setup: Setup,
    state: GameState,
    extractor: Extractor,
    *,
    metrics: Sequence[str] = (),
    count: int = 10_000,
    reference_count: int | None = None,
    seed: int = 0,
    **how: Unpack[Drawing],
) -> dict[str, Score]:
    """Score `count` samples against the training split of the data that they imitate.

    Every score comes with its floor, the same figure of real examples that are not in the reference, and with that of
    held-out examples, where there are any. Images are judged as 8-bit images, as they would be saved. A generator that
    takes classes is asked for those of the reference. A metric that cannot be computed is left out, with a warning.
    Where no metrics are named, the time of a sample stands beside them.

    Args:
        setup: what was trained.
        state: its state.
        extractor: what looks at samples and data.
        metrics: names from `METRICS`; by default, all that fit the data and the extractor.
        count: samples.
        reference_count: examples of the training split, by default `count`, at most all.
        seed: of the latents.
        how: as of `draw`: sampler, weights, standing statistics, truncation.

    Raises:
        ConfigError: no such sampler, weights or metric, or a metric that does not fit.
        DataError: too few examples, or none of the metrics can be computed.
    """
    check_range("evaluate", 1, whole=True, count=count, reference_count=reference_count)
    check_range("evaluate", 0, whole=True, seed=seed, standing=how.get("standing"))
    draws = setup.sampler(how.get("sampler", ""))
    dataset = setup.imitated(draws)
    chosen = names_of(tuple(metrics), dataset, classes(extractor, dataset.x_train))
    if "agreement" in metrics and not is_conditional(setup, draws):
        raise ConfigError("the metric agreement needs a conditional generator; leave it out of --metrics")
    real = real_examples(dataset, extractor, count, reference_size(dataset, count, reference_count))
    given = asked_of(setup, draws, real, count).values
    labels = given if is_conditional(setup, draws) else None
    calls = drawing(setup, state, Keys.of(seed).samples, count, given, **how)
    x = in_batches(calls.program, count, calls.batch)
    scores = score(Comparison(Examples(x, extractor), *real, dataset, extractor, labels), chosen)
    if not scores:
        raise DataError(f"none of the metrics {', '.join(chosen)} can be computed of these samples")
    if not metrics:
        note = f"milliseconds, {calls.batch} in a call, on {jax.devices()[0].device_kind}"
        scores["time_per_sample"] = Score(
            value=calls.milliseconds(), floor=None, held_out=None, better="lower", note=note
        )
    return scores


def score(sets: Comparison, chosen: Sequence[str]) -> dict[str, Score]:
    """The scores of the metrics of these names, in their order; of one that cannot be computed, a warning."""
    ordered = sorted(chosen, key=lambda metric: METRICS[metric].sees == "moments")  # of features that are held by then
    scores = {metric: _score(metric, sets) for metric in ordered}
    return {name: one for metric in chosen for name, one in scores[metric].items()}


def _score(metric: str, sets: Comparison) -> dict[str, Score]:
    try:
        return METRICS[metric].score(sets)
    except ValueError as error:
        logging.getLogger(__name__).warning("the metric %s is left out: %s", metric, reason(error))
        return {}


def is_conditional(setup: Setup, draws: Sampler) -> bool:
    """Whether a sampler is asked for classes of the data that it imitates."""
    asked = given_of(setup, draws)
    return asked is not None and asked[1] == CLASS and asked[0] is setup.imitated(draws)


def asked_of(setup: Setup, draws: Sampler, real: "Real", count: int) -> Given:
    """What samples are asked for: the classes of the reference, row after row, again and again; else as `in_turn`."""
    if is_conditional(setup, draws) and real.reference.y is not None:
        return Given(np.resize(real.reference.y, count), LABELS)
    return in_turn(setup, draws, count)


def reference_size(dataset: Dataset, count: int, reference_count: int | None) -> int:
    """How many training examples samples are compared with."""
    return min(count if reference_count is None else reference_count, len(dataset.x_train))


class Real(NamedTuple):
    """What samples are judged by."""

    reference: Examples
    floor: tuple[Examples, Examples]  # a reference, and examples that are not in it
    held_out: Examples | None


def real_examples(dataset: Dataset, extractor: Extractor, count: int, size: int) -> Real:
    """A reference of `size` examples, and two sets that share none for the floor, as large if the data suffice.

    Which examples, is the same for all runs and seeds: `subsample`s of the splits.

    Raises:
        DataError: there are too few to judge with.
    """
    total = len(dataset.x_train)
    if min(total, size, count) < LEAST:
        raise DataError(
            f"{count} samples against {size} of the {total} training examples of {dataset.name} cannot be judged, "
            f"expected at least {LEAST} of each"
        )
    first = min(size, total - min(count, total // 2))
    second = min(count, total - first)
    rows = np.split(subsample(total, max(size, first + second)), sorted({first, size}))
    cut = lambda x, y, part: Examples(x[part], extractor, y=None if y is None else y[part])  # noqa: E731
    # So that no example is extracted twice.
    parts = [cut(dataset.x_train, dataset.y_train, part) for part in rows if len(part)]
    x, y = dataset.x_test, dataset.y_test
    held_out = None if x is None else cut(x, y, subsample(len(x), count))
    return Real(_joined(parts[: 1 + (size > first)]), (parts[0], _joined(parts[1:])), held_out)


def _joined(parts: Sequence[Examples]) -> Examples:
    if len(parts) == 1:
        return parts[0]
    y = None if parts[0].y is None else np.concatenate([part.y for part in parts])  # type: ignore[misc]
    return Examples(np.concatenate([part.x for part in parts]), parts[0].extractor, tuple(parts), y)


def chosen_extractor(name: str | None, dataset: Dataset, file: Path | None = None, *, progress: bool) -> Extractor:
    """The extractor of that name; by default a classifier of images, or of what has classes, else coordinates.

    Raises:
        ConfigError: no file is given for an extractor that needs one, or one that takes none.
        DataError: the data do not fit the extractor, or the file cannot be read.
    """
    if file is not None and name not in PUBLISHED_NETWORKS:
        raise ConfigError(f"--extractor-file {file} is of no use without --extractor {' or '.join(PUBLISHED_NETWORKS)}")
    if name is None:
        labelled = OF_CLASSES if (dataset.classes or 0) > 1 else {}
        name = (DEFAULT_EXTRACTOR | labelled).get(dataset.kind.name, "pixels")
    if name == "pixels":
        return pairs_of_tokens() if dataset.kind.name == "tokens" else pixels()
    if name == "classifier" and dataset.channel_classes:
        return stacked_classifier(dataset, progress=progress)
    if name == "classifier" and dataset.kind.name == "clip":
        return clip_classifier(dataset, progress=progress)
    if name == "classifier":
        return trained_classifier(dataset, progress=progress)
    if file is None:
        raise ConfigError(f"--extractor {name} needs --extractor-file, the file of its weights")
    if dataset.kind.name != "image":
        has = f"{dataset.kind.name}s"
        raise DataError(f"--extractor {name} looks at images, the data set {dataset.name} has {has}; use pixels")
    if dataset.shape[-1] not in (1, 3):
        raise DataError(
            f"--extractor {name} looks at grey and RGB images, those of the data set {dataset.name} have "
            f"{dataset.shape[-1]} channels; convert them to RGB, or use --extractor classifier or pixels"
        )
    return {"fid": fid_inception, "efficientnet_lite0": efficientnet_lite0}[name](file)


def receipt_of(
    setup: Setup,
    state: GameState,
    extractor: Extractor,
    config: Mapping[str, Any],
    *,
    count: int,
    reference_count: int | None,
    seed: int,
    **how: Unpack[Drawing],
) -> Receipt:
    """What `evaluate` with these arguments goes by; `config` is that of the run.

    Where nothing looks at samples it says which held-out examples its measures were taken of.
    """
    standing, truncation = how.get("standing", 0), how.get("truncation")
    if extractor.digest:
        draws = setup.sampler(how.get("sampler", ""))
        dataset, players, asked = setup.imitated(draws), draws.players, given_of(setup, draws)
        given = in_turn(setup, draws, 1).how if asked and not is_conditional(setup, draws) else LABELS
        reference, size = "train", reference_size(dataset, count, reference_count)
    else:
        measure = next(iter(setup.measures.values()))
        dataset, players, given = setup.streams[measure.stream].dataset, measure.players, "none"
        reference = split_of(setup, next(iter(setup.measures)))
        size = min(count, len(getattr(dataset, f"x_{reference}")))
        standing, truncation = 0, None  # which no measure knows
    return Receipt(
        extractor=extractor.name,
        extractor_digest=extractor.digest,
        count=count,
        reference=reference,
        reference_count=size,
        rows=f"drawn without replacement, seed {SUBSAMPLE_SEED}",
        resize=extractor.resize,
        weights=name_of_weights(setup, state, players, how.get("weights", "default")),
        batch_norm=f"standing statistics, {standing} passes" if standing else "running statistics",
        labels=given,
        truncation=f"{math.inf if truncation is None else truncation:g}",
        seed=seed,
        ganjax=__version__,
        jax=jax.__version__,
        config_digest=config_digest(config),
        data_digest=dataset.digest,
        device=jax.devices()[0].device_kind,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
