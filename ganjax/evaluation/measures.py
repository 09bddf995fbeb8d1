"""The metrics by name: each of a generator's samples, of held-out data in their place, and of real data as floor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from ganjax import metrics
from ganjax.data import Dataset
from ganjax.data.bouncing import FASTEST
from ganjax.errors import ConfigError, did_you_mean, reason
from ganjax.evaluation.extractor import Extractor, extract, extract_moments
from ganjax.evaluation.receipt import Score
from ganjax.metrics.motion import (
    at_rest,
    centres,
    frozen,
    identity,
    ink_variation,
    motion_consistency,
    reach,
    shuffled,
    straightness,
)

# The metrics whose published names belong to the Inception network with its published weights.
INCEPTION = "fid_inception_v3"
PUBLISHED = {"frechet": "fid", "kernel": "kid", "classifier_score": "inception_score"}
COPIES = 0.01  # the share of real examples that are called as close as copies


@dataclass(frozen=True, eq=False)
class Examples:
    """A set of examples as the metrics see them; features are held from when a metric asks for them."""

    x: np.ndarray  # [N, ...] uint8 images or float32 points
    extractor: Extractor
    parts: tuple["Examples", ...] = ()  # disjoint, whose rows are those of x, in their order
    y: np.ndarray | None = None  # [N] int32, the classes of real examples, where the data set says them

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def _extracted(self) -> tuple[np.ndarray, np.ndarray | None]:
        if not self.parts:
            return extract(self.extractor, self.x)
        features, logits = zip(*(part._extracted for part in self.parts), strict=True)
        return np.concatenate(features), None if logits[0] is None else np.concatenate(logits)

    @property
    def features(self) -> np.ndarray:
        """[N, F] float32."""
        return self._extracted[0]

    @property
    def logits(self) -> np.ndarray | None:
        """[N, K] float32, if the extractor has classes."""
        return self._extracted[1]

    @cached_property
    def moments(self) -> metrics.Moments:
        """The moments of the features, without holding them if nothing else has asked for them."""
        if self.parts:
            return reduce(metrics.merge, (part.moments for part in self.parts))
        if "_extracted" in vars(self):
            return metrics.moments(self.features)
        return extract_moments(self.extractor, self.x)

    @cached_property
    def frames(self) -> "Examples":
        """The frames of clips, [N T, H, W, C], as the extractor's network of frames sees them."""
        if self.parts:
            parts = tuple(part.frames for part in self.parts)
            return Examples(np.concatenate([part.x for part in parts]), parts[0].extractor, parts)
        return Examples(self.x.reshape(-1, *self.x.shape[2:]), self.extractor.frames or self.extractor)

    @cached_property
    def labels(self) -> jax.Array:
        """The predicted classes, [N] int32."""
        return jnp.asarray(self.logits).argmax(-1).astype(jnp.int32)


class Comparison(NamedTuple):
    """All that the scores of a generator are taken from."""

    samples: Examples
    reference: Examples  # of the training split
    floor: tuple[Examples, Examples]  # a reference, and real examples in the place of samples that are not in it
    held_out: Examples | None  # a `subsample` of the test split
    dataset: Dataset
    extractor: Extractor
    labels: np.ndarray | None = None  # [N] int32, the classes that the samples were asked for


class Metric(NamedTuple):
    """A metric, or several that are computed together."""

    sees: Literal["features", "moments"]  # what of the examples; those that see moments are scored last
    lacks: Callable[[Dataset, int | None], str]  # (data, classes of the extractor) -> what is missing, or nothing
    score: Callable[[Comparison], dict[str, Score]]


Values = dict[str, float]


def _paired(better: Literal["lower", "higher"], values: Callable[..., Values], sets: Comparison) -> dict[str, Score]:
    """Score samples, floor and held-out data by one function `(sets, real, fake) -> values`."""
    ours = values(sets, sets.reference, sets.samples)
    floor = values(sets, *sets.floor)
    held_out, missing = _of_held_out(values, sets)
    note = ", ".join(filter(None, (_sizes(sets), missing)))
    return {
        name: Score(value=value, floor=floor[name], held_out=held_out.get(name), better=better, note=note)
        for name, value in ours.items()
    }


def _of_held_out(values: Callable[..., Values], sets: Comparison) -> tuple[Values, str]:
    """The figures of held-out data, and why there are none if they are too few for the metric."""
    if sets.held_out is None:
        return {}, ""
    try:
        return values(sets, sets.reference, sets.held_out), ""
    except ValueError as error:
        return {}, f"none of held-out data: {reason(error)}"


def _sizes(sets: Comparison) -> str:
    """A note if floor or held-out data were taken with other numbers than the samples."""
    count, reference = len(sets.samples), len(sets.reference)
    real, stand_in = map(len, sets.floor)
    notes = []
    if (stand_in, real) != (count, reference):
        notes.append(f"floor at {stand_in} against {real}")
    if sets.held_out is not None and len(sets.held_out) != count:
        notes.append(f"held out at {len(sets.held_out)}")
    return ", ".join(notes)


def published_name(name: str, extractor: str) -> str:
    """What a metric may be called with this extractor.

    >>> [published_name("frechet", name) for name in ("fid_inception_v3", "fid_inception_v3_unpinned", "classifier")]
    ['fid', 'fid_unpinned', 'frechet_classifier']
    """
    if extractor.startswith(INCEPTION):
        return PUBLISHED[name] + extractor.removeprefix(INCEPTION)
    return name if name == "classifier_score" else f"{name}_{extractor}"


def _frechet(sets: Comparison, real: Examples, fake: Examples) -> Values:
    name = published_name("frechet", sets.extractor.name)
    return {name: metrics.frechet_distance(fake.moments, real.moments)}


def _kernel(sets: Comparison, real: Examples, fake: Examples) -> Values:
    return {published_name("kernel", sets.extractor.name): metrics.kernel_distance(fake.features, real.features)}


def _classifier_score(sets: Comparison, real: Examples, fake: Examples) -> Values:
    del real
    probabilities = softmax(np.asarray(fake.logits, np.float64), axis=1)
    name = published_name("classifier_score", sets.extractor.name)
    return {name: metrics.inception_score(probabilities).mean}


def _precision_recall(sets: Comparison, real: Examples, fake: Examples) -> Values:
    del sets
    return metrics.precision_recall(real.features, fake.features)._asdict()


def _density_coverage(sets: Comparison, real: Examples, fake: Examples) -> Values:
    del sets
    return metrics.density_coverage(real.features, fake.features)._asdict()


def _sliced_wasserstein(sets: Comparison, real: Examples, fake: Examples) -> Values:
    del sets
    size = min(len(real), len(fake))
    x, y = jax.device_put((fake.features[:size], real.features[:size]))
    return {"sliced_wasserstein": float(metrics.sliced_wasserstein(x, y, jax.random.key(0)))}


def _duplicates(sets: Comparison, real: Examples, fake: Examples) -> Values:
    """Samples that are as close to another one as hardly any two real examples are."""
    del sets
    examples = _comparable(real.x)
    apart = metrics.nearest(examples[1::2], examples[::2]).distances
    return {"duplicates": metrics.duplicates(_comparable(fake.x), within=float(np.quantile(apart, COPIES))).share}


def _comparable(x: np.ndarray) -> np.ndarray:
    """Examples as distances take them, [N, ...] uint8 or floating: waveforms and tokens become float32, flat."""
    return x if x.dtype == np.uint8 or np.issubdtype(x.dtype, np.floating) else x.reshape(len(x), -1).astype(np.float32)


def _found_modes(sets: Comparison, fake: Examples) -> metrics.Modes:
    """The modes of a mixture whose centres are known; else classes that the extractor sees, of those of the data.

    Stacked images have every combination of their channels' classes, whether or not it was drawn for training.
    """
    if sets.dataset.mixture:
        centres, std = sets.dataset.mixture
        return metrics.modes(jax.device_put(fake.x), jax.device_put(centres), std)
    data = sets.dataset
    number = np.full(data.classes or 0, -1, np.int32)
    known = np.arange(len(number)) if data.channel_classes else np.unique(data.y_train)  # type: ignore[arg-type]
    number[known] = np.arange(len(known))
    return metrics.label_modes(jnp.asarray(number)[fake.labels], len(known))


def _captured(sets: Comparison, real: Examples, fake: Examples) -> Values:
    del real
    modes = _found_modes(sets, fake)
    quality = {"high_quality": float(modes.high_quality)} if sets.dataset.mixture else {}
    return {"modes": float(modes.captured), **quality}


def _mode_kl(sets: Comparison, real: Examples, fake: Examples) -> Values:
    del real
    return {"mode_kl": float(_found_modes(sets, fake).reverse_kl)}


def _frame_frechet(sets: Comparison, real: Examples, fake: Examples) -> Values:
    """Of all frames, whatever their order."""
    del sets
    name = f"frame_frechet_{real.frames.extractor.name}"
    return {name: metrics.frechet_distance(fake.frames.moments, real.frames.moments)}


def _motion(sets: Comparison, real: Examples, fake: Examples) -> Values:
    """The walls are as far apart as the things of training clips come."""
    del real
    places = sets.dataset.companions["motion"].train
    free = int(places[:, 0].max()), int(places[:, 2].max())
    tracks, sides = centres(fake.x), fake.x.shape[2:4]
    found = {"motion_consistency": float(motion_consistency(tracks, free, fastest=FASTEST).mean())}
    if fake.x.shape[1] > 2 and (reach(sides, free, FASTEST) > 0).all():
        found["straightness"] = straightness(tracks, sides, free, fastest=FASTEST)
    return found


def _unsteadiness(sets: Comparison, real: Examples, fake: Examples) -> Values:
    del sets, real
    return {
        "at_rest": float(at_rest(centres(fake.x)).mean()),
        "ink_variation": float(ink_variation(fake.x).mean()),
    }


def _identity(sets: Comparison, real: Examples, fake: Examples) -> Values:
    del sets, real
    return {"identity": float(identity(np.asarray(fake.frames.labels).reshape(len(fake), -1)).mean())}


def _controls(better: Literal["lower", "higher"], values: Callable[..., Values], sets: Comparison) -> dict[str, Score]:
    """The scores, and in their notes those of real clips whose frames are shuffled, or all the first."""
    scores = _paired(better, values, sets)
    real, stand_in = sets.floor
    said = dict.fromkeys(scores, "")
    for name, change in (("shuffled", shuffled), ("frozen", frozen)):
        for metric, value in values(sets, real, Examples(change(stand_in.x), stand_in.extractor)).items():
            said[metric] += f"{', ' if said[metric] else 'real clips '}{name} {value:.3f}"
    return _noted(scores, said)


def _lacks_clips(dataset: Dataset, classes: int | None) -> str:
    del classes
    return "" if dataset.kind.name == "clip" else "clips"


def _lacks_motion(dataset: Dataset, classes: int | None) -> str:
    return _lacks_clips(dataset, classes) or (
        "" if "motion" in dataset.companions else "clips whose law is known, such as the data bouncing:digits"
    )


def _lacks_named_clips(dataset: Dataset, classes: int | None) -> str:
    return _lacks_clips(dataset, classes) or _lacks_classes(dataset, classes)


def _modes(sets: Comparison) -> dict[str, Score]:
    scores = _paired("higher", _captured, sets) | _paired("lower", _mode_kl, sets)
    total = len(_found_modes(sets, sets.reference).histogram)
    return _noted(scores, {"modes": f"of {total}{_trust(sets)}", "mode_kl": "nats, from equal shares"})


def _trust(sets: Comparison) -> str:
    """How often the extractor names the class of a held-out example."""
    right = None if sets.dataset.mixture else _right(sets.held_out)
    return "" if right is None else f", {sets.extractor.name} right on {right:.1%} of held-out data"


def _right(held_out: Examples | None) -> float | None:
    """The share of held-out examples whose class the extractor names, where there are any with classes."""
    if held_out is None or held_out.y is None:
        return None
    return float(np.mean(np.asarray(held_out.labels) == held_out.y))


def _noted(scores: Mapping[str, Score], said: Mapping[str, str]) -> dict[str, Score]:
    """The score with a remark in front of its note."""
    notes = {name: ", ".join(filter(None, (said.get(name), score.note))) for name, score in scores.items()}
    return {name: replace(score, note=notes[name]) for name, score in scores.items()}


def _agreement(sets: Comparison) -> dict[str, Score]:
    """How often the extractor sees the class that a sample was asked for, beside its accuracy on held-out data."""
    if sets.labels is None:
        return {}
    value = float(np.mean(np.asarray(sets.samples.labels) == sets.labels))
    note = "samples taken for the class that was asked for"
    return {"agreement": Score(value=value, floor=None, held_out=_right(sets.held_out), better="higher", note=note)}


def _memorisation(sets: Comparison) -> dict[str, Score]:
    """The floor is what one half of the held-out data scores against the other: nobody copied them."""
    data = sets.dataset.in_memory()
    held_out, train = _comparable(np.asarray(data.x_test)), _comparable(np.asarray(data.x_train))
    copies = metrics.memorisation(_comparable(sets.samples.x), train, held_out)
    control = metrics.memorisation(held_out[::2], train, held_out[1::2])
    note = f"nearer to one of {len(train)} training examples than {COPIES:.0%} of held-out ones"
    return {"memorised": Score(value=copies.closer, floor=control.closer, held_out=None, better="lower", note=note)}


def _nothing(dataset: Dataset, classes: int | None) -> str:
    del dataset, classes
    return ""


def _lacks_classes(dataset: Dataset, classes: int | None) -> str:
    del dataset
    return "" if classes else "an extractor with classes"


def _lacks_modes(dataset: Dataset, classes: int | None) -> str:
    known = dataset.mixture is not None or (dataset.y_train is not None and classes == dataset.classes)
    return "" if known else "an extractor with the classes of the data, such as classifier, or the data ring or grid"


def _lacks_own_classes(dataset: Dataset, classes: int | None) -> str:
    fits = classes is not None and classes == dataset.classes
    return "" if fits else "an extractor with the classes of the data, such as classifier"


def _lacks_held_out(dataset: Dataset, classes: int | None) -> str:
    del classes
    return "" if dataset.x_test is not None and len(dataset.x_test) >= 4 else "held-out data"


METRICS: dict[str, Metric] = {
    "frechet": Metric("moments", _nothing, partial(_paired, "lower", _frechet)),
    "kernel": Metric("features", _nothing, partial(_paired, "lower", _kernel)),
    "classifier_score": Metric("features", _lacks_classes, partial(_paired, "higher", _classifier_score)),
    "precision_recall": Metric("features", _nothing, partial(_paired, "higher", _precision_recall)),
    "density_coverage": Metric("features", _nothing, partial(_paired, "higher", _density_coverage)),
    "modes": Metric("features", _lacks_modes, _modes),
    "agreement": Metric("features", _lacks_own_classes, _agreement),
    "sliced_wasserstein": Metric("features", _nothing, partial(_paired, "lower", _sliced_wasserstein)),
    "duplicates": Metric("features", _nothing, partial(_paired, "lower", _duplicates)),
    "memorisation": Metric("features", _lacks_held_out, _memorisation),
    "frame_frechet": Metric("moments", _lacks_clips, partial(_paired, "lower", _frame_frechet)),
    "motion": Metric("features", _lacks_motion, partial(_controls, "higher", _motion)),
    "steadiness": Metric("features", _lacks_motion, partial(_controls, "lower", _unsteadiness)),
    "identity": Metric("features", _lacks_named_clips, partial(_controls, "higher", _identity)),
}


def names_of(chosen: tuple[str, ...], dataset: Dataset, classes: int | None) -> tuple[str, ...]:
    """The chosen metrics, or all that fit the data where none is chosen.

    Raises:
        ConfigError: an unknown metric, or one that does not fit; says what it needs.
    """
    for name in chosen:
        if name not in METRICS:
            known = ", ".join(METRICS)
            raise ConfigError(f"unknown metric {name!r}{did_you_mean(name, METRICS) or '.'} Known: {known}")
        if lacks := METRICS[name].lacks(dataset, classes):
            raise ConfigError(f"the metric {name} needs {lacks}; leave it out of --metrics")
    return chosen or tuple(name for name, metric in METRICS.items() if not metric.lacks(dataset, classes))
