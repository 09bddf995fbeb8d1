"""An extractor that needs no download: a classifier of the data set itself, trained here as a game of one player."""

import dataclasses
import hashlib
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import __version__
from ganjax.core import Array, PyTree
from ganjax.data import Dataset
from ganjax.data.npz import read_arrays
from ganjax.dynamics import simultaneous
from ganjax.errors import DataError
from ganjax.evaluation.extractor import Extractor, Features, extract
from ganjax.files import cache_directory, write_atomically
from ganjax.games import classification
from ganjax.models.classifier import Classifier, classifier
from ganjax.training import Keys, Setup, digest, train_step
from ganjax.training import setup as setups

CHUNK = 50  # steps per compiled call


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the classifier is made; with the data and the versions it names the file that keeps it."""

    seed: int = 0
    steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 1e-3  # of Adam, falling to zero along a cosine
    width: int = 32  # channels of the first convolution
    features: int = 128  # units of the last hidden layer, which are the features


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
    if dataset.y_train is None or (dataset.classes or 0) < 2:
        raise DataError(
            f"the data set {dataset.name} has {'no labels' if dataset.y_train is None else 'a single class'}, which a "
            "classifier needs; use --extractor pixels, or a network that is trained already, such as --extractor fid "
            "with --extractor-file"
        )
    recipe = recipe or Recipe()
    model = classifier(dataset.shape, dataset.classes or 0, width=recipe.width, features=recipe.features)
    setup, key = _setup(dataset.in_memory(), model, recipe), _key(dataset, recipe)
    path = (cache or default_cache()) / f"{key}.npz"
    params = _read(path, setup)
    if params is None:
        params = _fit(setup, recipe, progress)
        _write(path, params)
    return _extractor(model, params)


def stacked_classifier(
    dataset: Dataset, cache: Path | None = None, *, recipe: Recipe | None = None, progress: bool = False
) -> Extractor:
    """The classifier of stacked images (`data.stacked`): that of their first channel, applied to every channel.

    Features are those of the channels joined. Class `a + K b + K^2 c` has the sum of the log-probabilities of a, b, c.
    """
    classes = round((dataset.classes or 0) ** (1 / 3))
    if dataset.y_train is None or classes**3 != dataset.classes or dataset.shape[2:] != (3,):
        raise DataError(
            f"the data set {dataset.name} has {dataset.classes} classes, expected stacks of K^3 with labels"
        )
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
    return cache_directory() / "classifiers"


def _extractor(model: Classifier, params: PyTree) -> Extractor:
    def apply(weights: PyTree, x: Array) -> Features:
        x = x.astype(jnp.float32) / 127.5 - 1 if x.ndim == 4 else x
        return Features(*model.apply({"params": weights}, x, method="judge"))

    before = "x / 127.5 - 1 of images, x of points"
    sha = hashlib.sha256(f"{before} {digest(params)}".encode()).hexdigest()
    return Extractor("classifier", sha, apply, params, "none")


def _setup(dataset: Dataset, model: Classifier, recipe: Recipe) -> Setup:
    adam = optax.adam(optax.cosine_decay_schedule(recipe.learning_rate, recipe.steps))
    batch_size = min(recipe.batch_size, len(dataset.x_train))
    return Setup(classification(model), simultaneous({"classifier": adam}), dataset, batch_size, labelled=True)


def _fit(setup: Setup, recipe: Recipe, progress: bool) -> PyTree:
    """The trained parameters, on the host."""
    from tqdm import tqdm

    keys, positions = Keys.of(recipe.seed), setups.order(setup, recipe.seed)
    step, index = train_step(setup.game, setup.dynamics), jnp.arange(setup.batch_size, dtype=jnp.int32)

    @partial(jax.jit, donate_argnums=0)
    def chunk(state, data, rows):
        return jax.lax.scan(lambda s, row: step(s, setups.gather(data, row, index), keys.steps), state, rows)[0]

    state, data = setups.initial_state(setup, keys.init), jax.device_put(setups.arrays(setup))
    label = f"classifier of {setup.dataset.name}"
    with tqdm(total=recipe.steps, desc=label, unit="step", disable=not progress, dynamic_ncols=True) as bar:
        for start in range(0, recipe.steps, CHUNK):
            count = min(CHUNK, recipe.steps - start)
            state = chunk(state, data, positions(start, count))
            bar.update(count)
    return jax.device_get(state.params["classifier"])


def _key(dataset: Dataset, recipe: Recipe) -> str:
    versions = {"ganjax": __version__, "jax": jax.__version__, "flax": flax.__version__}
    what = {"data": dataset.digest, "recipe": dataclasses.asdict(recipe), **versions}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _flat(params: PyTree) -> dict[str, Any]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


def _write(path: Path, params: PyTree) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **_flat(params))
    write_atomically(path, buffer.getvalue())


def _read(path: Path, setup: Setup) -> PyTree | None:
    """The kept parameters, or None where there are none that fit."""
    like = setups.state_shapes(setup).params["classifier"]
    expected = _flat(like)
    try:
        found = read_arrays(path, expected, required=next(iter(expected)))
    except DataError:
        return None
    if {n: (a.shape, a.dtype) for n, a in found.items()} != {n: (a.shape, a.dtype) for n, a in expected.items()}:
        return None
    return jax.tree.unflatten(jax.tree.structure(like), [found[name] for name in expected])
