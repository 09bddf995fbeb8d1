"""An extractor that needs no download: a classifier of the data set itself, trained here as a game of one player."""

import dataclasses
import hashlib
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import __version__
from ganjax.augment import jitter
from ganjax.core import Array, Batch, Key, PyTree
from ganjax.data import Companion, Dataset
from ganjax.data.npz import read_arrays
from ganjax.dynamics import simultaneous
from ganjax.errors import DataError, reason
from ganjax.evaluation.extractor import Extractor, Features, extract
from ganjax.files import cache_folder, write_atomically
from ganjax.games import classification
from ganjax.kinds import CLASS as CLASS_KIND
from ganjax.kinds import Kind
from ganjax.models.classifier import Classifier, classifier
from ganjax.models.video import ClipReader, check_clip_shape
from ganjax.training import Setup, Stream, digest, fit
from ganjax.training.setup import state_shapes
from ganjax.training.state import by_path


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the classifier is made; with the data and the versions it names the file that keeps it."""

    seed: int = 0
    steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 1e-3  # of Adam, falling to zero along a cosine
    width: int = 32  # channels of the first convolution
    features: int = 128  # units of the last hidden layer, which are the features


Prepare = Callable[[Key, Batch], Batch]

OF_CLIPS = Recipe(steps=800, batch_size=64, width=16)


def trained_classifier(
    dataset: Dataset, cache: Path | None = None, *, recipe: Recipe | None = None, progress: bool = False
) -> Extractor:
    """The classifier of a labelled data set, trained once and kept.

    Its features are the last hidden layer after ReLU. Training runs on one device whatever there is, so that the
    weights do not depend on how many there are; on another kind of processor they may differ, and so does the digest.

    Args:
        dataset: with labels of at least two classes.
        cache: the folder that keeps classifiers, by default `$XDG_CACHE_HOME/ganjax/classifiers`.
        recipe: how to train it.
        progress: show a progress bar on standard error.

    Raises:
        DataError: there are no labels, or a single class.
    """
    if dataset.y_train is None or dataset.y_train.min() == dataset.y_train.max():
        raise DataError(
            f"the data set {dataset.name} has {'no labels' if dataset.y_train is None else 'a single class'}, but a "
            "classifier needs classes; take labelled data (a sub-folder for each class), or score a run by the command "
            "evaluate with --extractor pixels, or with fid and its --extractor-file"
        )
    recipe = recipe or Recipe()
    sizes = {"width": recipe.width, "features": recipe.features}
    model = classifier(dataset.shape, dataset.classes or 0, rate=dataset.kind.facts.get("rate"), **sizes)
    setup, key = _setup(dataset.in_memory(), model, recipe, "class"), _key(dataset, recipe)
    params = _trained(setup, key, recipe, dataset.name, cache, progress)
    return _extractor(model, params, dataset.kind)


def stacked_classifier(
    dataset: Dataset, cache: Path | None = None, *, recipe: Recipe | None = None, progress: bool = False
) -> Extractor:
    """The classifier of stacked images (`data.stacked`): that of their first channel, applied to every channel.

    Features are those of the channels joined. Class `a + K b + K^2 c` has the sum of the log-probabilities of a, b, c.
    """
    classes = dataset.channel_classes
    if dataset.y_train is None or classes is None:
        raise DataError(f"the data set {dataset.name} is not stacked, expected labelled images of data.stacked")
    single = Dataset(dataset.x_train[..., :1], dataset.y_train % classes, name=f"first channel of {dataset.name}")
    base = trained_classifier(single, cache, recipe=recipe, progress=progress)

    def apply(weights: PyTree, x: Array) -> Features:
        channels = jnp.moveaxis(x, -1, 1).reshape(-1, *x.shape[1:3], 1)
        features, logits = base.apply(weights, channels)
        a, b, c = jnp.moveaxis(jax.nn.log_softmax(logits).reshape(len(x), 3, classes), 1, 0)  # type: ignore[arg-type]
        joined = c[:, :, None, None] + b[:, None, :, None] + a[:, None, None, :]
        return Features(features.reshape(len(x), -1), joined.reshape(len(x), -1))

    digest = hashlib.sha256(f"channel by channel {base.digest}".encode()).hexdigest()
    return Extractor("classifier", digest, apply, base.weights, base.resize)


def clip_classifier(
    dataset: Dataset,
    cache: Path | None = None,
    *,
    recipe: Recipe = OF_CLIPS,
    of_stills: Recipe | None = None,
    progress: bool = False,
) -> Extractor:
    """What is seen in clips of classes, and by the classifier of their frames in these, both trained once and kept.

    Features are the last hidden layer of convolutions over time, rows and columns that name the class of a clip and,
    where the data say how clips move (`data.bouncing`), the velocity at its first frame along each axis: so that they
    see what no frame shows. In training a clip is shifted a little each time that it is seen.

    Args:
        dataset: clips with labels of at least two classes.
        cache: as of `trained_classifier`.
        recipe: of the network of clips.
        of_stills: of that of frames, by default the one of images.
        progress: show progress bars on standard error.

    Raises:
        DataError: there are no labels, a single class, or clips of one frame.
    """
    check_clip_shape(dataset.shape)
    frames = trained_classifier(of_frames(dataset), cache, recipe=of_stills, progress=progress)
    told, heads = _questions(dataset.in_memory())
    model = ClipReader(heads, width=recipe.width, features=recipe.features)
    setup = _setup(told, model, recipe, tuple(heads), _shifted(min(dataset.shape[1:3]) // 8))
    params = _trained(setup, f"clips-{_key(dataset, recipe)}", recipe, dataset.name, cache, progress)

    def apply(weights: PyTree, x: Array) -> Features:
        features, logits = model.apply({"params": weights}, dataset.kind.encode(x), method="judge")
        return Features(features, logits["class"])

    sha = hashlib.sha256(f"clips as x / 127.5 - 1 {digest(params)} frames {frames.digest}".encode()).hexdigest()
    return Extractor("classifier", sha, apply, params, "none", frames)


def of_frames(dataset: Dataset) -> Dataset:
    """All frames of clips as images, each with the class of its clip."""
    data = dataset.in_memory()
    count = data.shape[0]

    def split(x: np.ndarray | None, y: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        still = None if x is None else x.reshape(-1, *x.shape[2:])
        return still, None if y is None else np.repeat(y, count)

    (x_train, y_train), (x_test, y_test) = split(data.x_train, data.y_train), split(data.x_test, data.y_test)
    name = f"frames of {data.name}"
    return Dataset(x_train, y_train, x_test, y_test, name, data.licence, data.class_names)  # type: ignore[arg-type]


def _questions(data: Dataset) -> tuple[Dataset, dict[str, int]]:
    """The training clips with what is asked of them: their class and, where it is known, how fast they move."""
    heads = {"class": data.classes or 0}
    beside: dict[str, Companion] = {}
    if "motion" in data.companions:
        motion = data.companions["motion"].train
        for name, speed in (("down", motion[:, 1]), ("right", motion[:, 3])):
            kinds, number = np.unique(speed, return_inverse=True)
            beside[name], heads[name] = Companion(number.astype(np.int32), None, CLASS_KIND), len(kinds)
    return dataclasses.replace(data, x_test=None, y_test=None, companions=beside), heads


def accuracy(extractor: Extractor, x: np.ndarray, y: np.ndarray) -> float:
    """The share of examples whose class has the largest logit.

    Raises:
        ValueError: the extractor has no classes.
    """
    _, logits = extract(extractor, x)
    if logits is None:
        raise ValueError(f"accuracy: the extractor {extractor.name} has no logits; use a classifier")
    return float((logits.argmax(1) == y).mean())


def default_cache() -> Path:
    """The folder that keeps trained classifiers."""
    return cache_folder("classifiers")


def _extractor(model: Classifier, params: PyTree, kind: Kind) -> Extractor:
    def apply(weights: PyTree, x: Array) -> Features:
        return Features(*model.apply({"params": weights}, kind.encode(x), method="judge"))

    before = "x / 127.5 - 1 of images, x of points"
    if "rate" in kind.facts:
        before = f"log-mel spectrogram of x / 32768 at {kind.facts['rate']} samples a second"
    sha = hashlib.sha256(f"{before} {digest(params)}".encode()).hexdigest()
    return Extractor("classifier", sha, apply, params, "none")


def _trained(setup: Setup, key: str, recipe: Recipe, name: str, cache: Path | None, progress: bool) -> PyTree:
    """The parameters that the cache keeps under the key, trained and kept if there are none."""
    path = (cache or default_cache()) / f"{key}.npz"
    params = _read(path, setup)
    if params is None:
        label = f"classifier of {name}"
        params = fit(setup, recipe.seed, recipe.steps, label=label, progress=progress).params["classifier"]
        _keep(path, params)
    return params


def _shifted(pixels: int) -> Prepare:
    """A shift of up to so many pixels, the same for all frames of a clip: neither its class nor its speed changes."""
    move = jitter(pixels, flip=False)

    def moved(key: Key, one: Batch) -> Batch:
        found = move(key, one._replace(x=jnp.moveaxis(one.x, 0, 2)))
        return found._replace(x=jnp.moveaxis(found.x, 2, 0))

    return moved


def _setup(
    dataset: Dataset, model: nn.Module, recipe: Recipe, y: str | tuple[str, ...], prepare: Prepare | None = None
) -> Setup:
    adam = optax.adam(optax.cosine_decay_schedule(recipe.learning_rate, recipe.steps))
    batch_size = min(recipe.batch_size, len(dataset.x_train))
    return Setup(
        classification(model),
        simultaneous({"classifier": adam}),
        {"data": Stream(dataset, batch_size, y=y, prepare=prepare)},
    )


def _key(dataset: Dataset, recipe: Recipe) -> str:
    versions = {"ganjax": __version__, "jax": jax.__version__, "flax": flax.__version__}
    what = {"data": dataset.digest, "recipe": dataclasses.asdict(recipe), **versions}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _keep(path: Path, params: PyTree) -> None:
    """Write the parameters for the next time, if the cache can be written."""
    buffer = io.BytesIO()
    np.savez(buffer, **by_path(params))
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        logging.getLogger(__name__).warning(
            "the classifier cannot be kept and is trained anew the next time, %s: %s; set XDG_CACHE_HOME to a folder "
            "that can be written", path, reason(error),
        )  # fmt: skip


def _read(path: Path, setup: Setup) -> PyTree | None:
    """The kept parameters, or None where there are none that fit."""
    like = state_shapes(setup).params["classifier"]
    expected = by_path(like)
    try:
        leaves = read_arrays(path, expected, required=next(iter(expected)))
    except (DataError, OSError):
        return None
    if {n: (a.shape, a.dtype) for n, a in leaves.items()} != {n: (a.shape, a.dtype) for n, a in expected.items()}:
        return None
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in expected])
