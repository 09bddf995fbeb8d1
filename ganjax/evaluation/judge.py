"""The light judge: a score of few samples, cheap enough to be taken many times while a run trains."""

import math

import jax

from ganjax.checks import check_range
from ganjax.core import GameState
from ganjax.errors import ConfigError
from ganjax.evaluation.evaluate import asked_of, chosen_extractor, real_examples, score
from ganjax.evaluation.extractor import classes
from ganjax.evaluation.held_out import measured
from ganjax.evaluation.measures import METRICS, Comparison, Examples
from ganjax.training import Keys, Setup, draw
from ganjax.training.judging import Judge

COUNT = 2000  # samples
STREAM = 2**31  # folded into the key of samples: the best step is not to be best on the latents of the evaluation


def light_judge(setup: Setup, seed: int, *, count: int = COUNT, progress: bool = False) -> Judge:
    """A judge for `train`, which goes by `Setup.score`: a measure of held-out examples, or a score of samples.

    Samples are scored by the Frechet distance of labelled images under a classifier of them, else by the transport
    distance, pixel by pixel of images without classes as coordinate by coordinate of points. Beside it the modes that
    samples hit are counted, where they are known, and duplicates. Real data are looked at once. Samples come from the
    weights that `draw` takes by default, and have the classes of the reference.

    Args:
        setup: what is trained.
        seed: of the run; the same latents are judged at every step.
        count: samples, and as many training examples.
        progress: show a progress bar while the classifier is trained.

    Returns:
        `state -> {"score", ...}`; lower scores are better, so that a measure where more is better is scored with its
        sign changed. A score that cannot be computed is NaN. Of samples also "floor", what real examples score,
        "count", "modes", ...; of a measure also its value by its name.

    Raises:
        ConfigError: there is neither a measure nor a sampler.
        DataError: too few examples.
    """
    check_range("light_judge", 1, whole=True, count=count)
    by = setup.judged_by
    if not by:
        raise ConfigError("this experiment has no sampler and no measure to judge by; leave out --judge-every")
    if by in setup.measures:
        return _of_measure(setup, by, seed)
    return _of_samples(setup, by, seed, count, progress)


def _of_measure(setup: Setup, name: str, seed: int) -> Judge:
    take, sign = measured(setup, name, seed), -1.0 if setup.measures[name].better == "higher" else 1.0

    def judge(state: GameState) -> dict[str, float]:
        value = take(state)
        return {"score": sign * value, name: value}

    return judge


def _of_samples(setup: Setup, name: str, seed: int, count: int, progress: bool) -> Judge:
    draws = setup.sampler(name)
    dataset = setup.imitated(draws)
    classless = dataset.y_train is None or (dataset.classes or 0) < 2
    extractor = chosen_extractor("pixels" if classless else None, dataset, progress=progress)
    first = "sliced_wasserstein" if extractor.name == "pixels" else "frechet"
    known = classes(extractor, dataset.x_train)
    chosen = [first, *(name for name in ("modes", "duplicates") if not METRICS[name].lacks(dataset, known))]
    real = real_examples(dataset, extractor, count, min(count, len(dataset.x_train)))
    given = asked_of(setup, draws, real, count).values
    key = jax.random.fold_in(Keys.of(seed).samples, STREAM)

    def judge(state: GameState) -> dict[str, float]:
        x = draw(setup, state, key, count, given, sampler=name)
        sets = Comparison(Examples(x, extractor), *real, dataset, extractor)
        scores = {metric: score(sets, [metric]) for metric in reversed(chosen)}
        main = next(iter(scores[first].values()), None)
        value, floor = (main.value, main.floor or 0.0) if main else (math.nan, math.nan)
        values = {name: one.value for metric in chosen for name, one in scores[metric].items()}
        return {"score": value, "floor": floor, "count": count, **values}

    return judge
