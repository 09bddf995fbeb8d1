"""The light judge: a score of few samples, cheap enough to be taken many times while a run trains."""

import math

import jax

from ganjax.checks import check_range
from ganjax.core import GameState
from ganjax.errors import ConfigError
from ganjax.evaluation.evaluate import asked_labels, chosen_extractor, real_examples, score
from ganjax.evaluation.extractor import classes
from ganjax.evaluation.measures import METRICS, Examples, Scene
from ganjax.training import Keys, Setup, draw
from ganjax.training.judging import Judge

COUNT = 2000  # samples
STREAM = 2**31  # folded into the key of samples: the best step is not to be best on the latents of the evaluation


def light_judge(setup: Setup, seed: int, *, count: int = COUNT, progress: bool = False) -> Judge:
    """A judge for `train`: Frechet distance of labelled images under a classifier of them, else transport distance.

    Images without classes are compared pixel by pixel, as points are coordinate by coordinate.

    Beside the score it counts the modes that samples hit, where that is known, and duplicates. Real data are looked at
    once. Samples come from the weights that `draw` takes by default, and have the classes of the reference.

    Args:
        setup: what is trained.
        seed: of the run; the same latents are judged at every step.
        count: samples, and as many training examples.
        progress: show a progress bar while the classifier is trained.

    Returns:
        `state -> {"score", "floor", "count", "modes", ...}`; lower scores are better, and the floor is what real
        examples score. A score that cannot be computed is NaN.

    Raises:
        ConfigError: there is no generator.
        DataError: too few examples.
    """
    check_range("light_judge", 1, whole=True, count=count)
    dataset = setup.dataset
    if setup.sample is None:
        raise ConfigError("this experiment has no generator to judge; leave out --judge-every")
    classless = dataset.y_train is None or (dataset.classes or 0) < 2
    extractor = chosen_extractor("pixels" if classless else None, dataset, progress=progress)
    first = "sliced_wasserstein" if extractor.name == "pixels" else "frechet"
    known = classes(extractor, dataset.x_train)
    chosen = [first, *(name for name in ("modes", "duplicates") if not METRICS[name].lacks(dataset, known))]
    real = real_examples(dataset, extractor, count, min(count, len(dataset.x_train)))
    labels = asked_labels(setup, real, count)
    key = jax.random.fold_in(Keys.of(seed).samples, STREAM)

    def judge(state: GameState) -> dict[str, float]:
        scene = Scene(Examples(draw(setup, state, key, count, labels), extractor), *real, dataset, extractor)
        scores = {metric: score(scene, [metric]) for metric in reversed(chosen)}
        main = next(iter(scores[first].values()), None)
        value, floor = (main.value, main.floor or 0.0) if main else (math.nan, math.nan)
        values = {name: one.value for metric in chosen for name, one in scores[metric].items()}
        return {"score": value, "floor": floor, "count": count, **values}

    return judge
