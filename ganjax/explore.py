"""What the latent space of a trained generator holds: paths, sums of class means, truncation, projections."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_name, check_range
from ganjax.core import Array, GameState, Key, Latent, Sampler, Weights, noise
from ganjax.data import Dataset, subsample
from ganjax.data.dataset import CLASS
from ganjax.errors import ConfigError
from ganjax.games import latents
from ganjax.report import Panel, Row, Series, panels, rows
from ganjax.report.neighbours import find_neighbours
from ganjax.training import Keys, Setup, weights_of
from ganjax.training.sampling import classes_of, in_batches

COLUMNS = 11  # images of a path
THRESHOLDS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, np.inf)  # of truncation
MEASURED = 512  # samples that judge a threshold
SORTED, LEAST = 2048, 10  # samples that the classifier sorts, and the fewest that make a mean
NOISE = 0.2  # standard deviation of what a projection leaves unexplained, of pixels in [-1, 1]


class Trained(NamedTuple):
    """A trained generator, and the data it imitates."""

    data: Dataset
    sampler: Sampler
    way: Latent  # that of the sampler
    weights: Weights
    key: Key  # of the latents
    classes: np.ndarray | None  # [K] int32, that it is told, in turn; None without labels

    def latent(self, start: int, count: int, threshold: float | None = None) -> Array:
        """Draws of the prior, [count, ...]; draw i is the same whatever else is drawn."""
        return self.sampler.latents(self.weights, self.key, jnp.arange(start, start + count), threshold)

    def images(self, z: Array, index: np.ndarray) -> np.ndarray:
        """The images of latents [N, ...], uint8 [N, H, W, C]; image i is of the class whose turn `index[i]` is."""
        decode = jax.jit(self.way.decode)

        def of(place: np.ndarray) -> Array:
            place = np.minimum(place, len(z) - 1)
            labels = None if self.classes is None else jnp.asarray(self.classes[index[place] % len(self.classes)])
            return self.data.kind.decode(decode(self.weights, z[place], labels))

        return in_batches(of, len(z))

    def nearest(self, images: np.ndarray) -> float:
        """The median L2 distance to the nearest training image, pixels in [0, 1]."""
        return float(np.median(find_neighbours(images, self.data.x_train, 1)[1]))


def explore(
    what: str,
    setup: Setup,
    state: GameState,
    out: Path,
    *,
    count: int,
    weights: str = "default",
    seed: int = 0,
    classes: Sequence[int] = (),
    sampler: str = "",
) -> list[str]:
    """Write a picture of the latent space.

    Args:
        what: one of `VIEWS`.
        setup: what was trained.
        state: its state.
        out: the .png to write.
        count: rows of interpolation and arithmetic, columns of the others.
        weights: which, as `weights_of` takes them.
        seed: of the latents.
        classes: what a conditional generator is asked for, in turn; by default all that have training examples.
        sampler: its name; the first by default.

    Returns:
        What to print: the numbers, then the paths of the pictures.

    Raises:
        ConfigError: generator or data do not have what it takes.
    """
    check_name("explore", "what", what, VIEWS)
    check_range("explore", 1, whole=True, count=count)
    draws = setup.sampler(sampler)
    way, asked = _checked(what, setup, draws, classes), classes_of(setup, draws, classes)
    chosen = weights_of(setup, state, draws.players, weights)
    generator = Trained(setup.imitated(draws).in_memory(), draws, way, chosen, Keys.of(seed).samples, asked)
    if not isinstance(generator.latent(0, 1), Array):
        others = [name for name, other in setup.samplers.items() if other.latent is not None and other.latent.normal]
        raise ConfigError(f"--what {what}: what is drawn is made of more than one vector; try --sampler {others}")
    return [*VIEWS[what](generator, out, count), str(out)]


def interpolation(generator: Trained, out: Path, count: int) -> list[str]:
    """Pairs of draws, the straight path above the one along the sphere (White 2016)."""
    ends = generator.latent(0, count), generator.latent(count, count)
    index, middle, content, lines = np.repeat(np.arange(count), COLUMNS), COLUMNS // 2, {}, []
    for name, path in {"linear": latents.linear, "spherical": latents.spherical}.items():
        z = jax.jit(path, static_argnums=2)(*ends, COLUMNS)
        images = generator.images(z.reshape(count * COLUMNS, -1), index)
        content[name] = images.reshape(count, COLUMNS, *images.shape[1:])
        lines += [_of_points(generator, f"{name}, middle", z[:, middle], content[name][:, middle])]
    lines += [_of_points(generator, "ends", ends[0], content["linear"][:, 0])]
    pairs = [Row(content[name][place], name) for place in range(count) for name in content]
    heads = [f"t = {t:.1f}" for t in np.linspace(0, 1, COLUMNS)]
    rows(pairs, out, title="Paths between two latents", heads=heads, group=2)
    return lines


def _of_points(generator: Trained, name: str, z: Array, images: np.ndarray) -> str:
    length = float(jnp.linalg.norm(z, axis=-1).mean())
    return (
        f"{name:18} mean |z| {length:6.2f}, median L2 distance to the training images {generator.nearest(images):.2f}"
    )


def truncation(generator: Trained, out: Path, count: int) -> list[str]:
    """Samples by threshold: how they lose diversity, and come nearer to training images, as blank ones also do."""
    index, content, table = np.arange(max(MEASURED, count)), [], {}
    for threshold in THRESHOLDS:
        name = "all" if np.isinf(threshold) else f"|z_j| <= {threshold:g}"
        z = generator.latent(0, len(index), None if np.isinf(threshold) else threshold)
        images = generator.images(z, index)
        table[name] = diversity(images), generator.nearest(images)
        content.append(Row(images[:count], name, "diversity {:.2f}\nnearest {:.2f}".format(*table[name])))
    rows(content, out, title="The same latents, truncated")
    held_out = generator.data.x_test
    if held_out is not None and len(held_out) > 1:
        real = held_out[subsample(len(held_out), len(index))]
        table["held-out images"] = diversity(real), generator.nearest(real)
    curve = out.with_name(f"{out.stem}_curve.png")
    _draw_curve(table, curve)
    lines = [f"{name:16} {spread:10.2f} {near:10.2f}" for name, (spread, near) in table.items()]
    return [f"{'':16} {'diversity':>10} {'nearest':>10}", *lines, str(curve)]


def _draw_curve(table: dict[str, tuple[float, float]], out: Path) -> None:
    """Diversity over closeness, a point for each threshold, a star for real images."""
    spread, near = np.array(list(table.values()))[: len(THRESHOLDS)].T
    kinds = ["points"] * len(THRESHOLDS) + ["star"]
    parts = [Series([x], [y], name, kind) for (name, (y, x)), kind in zip(table.items(), kinds, strict=False)]
    parts.append(Series(near, spread, tint=len(THRESHOLDS) - 1))
    x, y = "median L2 distance to the nearest training image", "mean L2 distance between two images"
    panels([Panel(parts, x, y, "Diversity and closeness by threshold")], out, size=(5.6, 4.2))


def arithmetic(generator: Trained, out: Path, count: int) -> list[str]:
    """`a - b + c` of the mean latents of three classes (Radford et al. 2016), as a classifier sorts the samples."""
    classify, accuracy = classifier(generator.data)
    means, found = _class_means(generator, classify)
    order = lambda key: jax.random.permutation(key, found)[:3]  # noqa: E731
    triples = np.asarray(noise(order, jax.random.fold_in(generator.key, SORTED), jnp.arange(count)))
    parts = means[triples]  # [count, 3, Z]
    z = jnp.concatenate([parts, latents.arithmetic(*jnp.split(parts, 3, axis=1))], axis=1)
    images = generator.images(z.reshape(4 * count, -1), np.arange(4 * count))
    seen = classify(images).reshape(count, 4)
    names = np.array(generator.data.class_names or [f"class {label}" for label in range(len(means))])
    sums = ["{} - {} + {}".format(*names[triple]) for triple in triples]
    notes = [f"seen as {name}" for name in names[seen[:, 3]]]
    rows(
        [Row(*row) for row in zip(images.reshape(count, 4, *images.shape[1:]), sums, notes, strict=True)],
        out, title="Arithmetic on mean latents of classes", heads=["a", "b", "c", "a - b + c"],
    )  # fmt: skip
    own, of_parts = (seen[:, :3] == triples).mean(), (seen[:, 3:] == triples[:, ::2]).any(1).mean()
    return [
        f"the classifier has {accuracy}",
        f"{own:.0%} of the means are seen as their own class, {of_parts:.0%} of the results as a or c",
        *(f"{total}: {note}" for total, note in zip(sums, notes, strict=True)),
    ]


def _class_means(generator: Trained, classify: Callable[[np.ndarray], np.ndarray]) -> tuple[Array, np.ndarray]:
    """Mean latents [classes, Z], and the classes that the generator draws."""
    z, classes = generator.latent(0, SORTED), generator.data.classes or 0
    group = classify(generator.images(z, np.arange(SORTED)))
    found = np.flatnonzero(np.bincount(group, minlength=classes) >= LEAST)
    if len(found) < 3:
        raise ConfigError(
            f"--what arithmetic: the classifier sees {len(found)} classes with at least {LEAST} of {SORTED} samples, "
            "expected at least 3; train longer"
        )
    return latents.group_means(z, jnp.asarray(group), groups=classes), found


def projection(generator: Trained, out: Path, count: int) -> list[str]:
    """Held-out images above the nearest ones that the generator makes, and training images likewise, as a control."""
    data, content, lines = generator.data, [], []
    pixels, compiled = data.x_train[0].size, jax.jit(partial(_projected, generator.way))
    sets: dict[str, Any] = {"held out": (data.x_test, data.y_test), "training": (data.x_train, data.y_train)}
    count = min(count, *(len(x) for x, _ in sets.values()))
    for name, (split, y) in sets.items():
        chosen = subsample(len(split), count)
        x, labels = split[chosen], None if generator.classes is None else y[chosen]
        real = np.asarray(data.kind.encode(jnp.asarray(x)))
        x_hat = np.asarray(compiled(generator.weights, real, labels, generator.key))
        error = np.sqrt(np.square(x_hat - real).mean((1, 2, 3))) / 2
        content += [Row(x, name), Row(data.kind.decode(x_hat), "projected", f"RMSE {np.median(error):.3f}")]
        lines.append(f"{name}: median RMSE {np.median(error):.3f} of {' '.join(f'{one:.3f}' for one in error)}")
    near = generator.nearest(content[0].images) / np.sqrt(pixels)
    rows(content, out, title="Images and their projections", group=2)
    return [*lines, f"held out, the nearest training image instead: median RMSE {near:.3f} (pixels in [0, 1])"]


def _projected(way: Latent, weights: Weights, x: Array, labels: Array | None, key: Key) -> Array:
    """The images nearest to x, with the noise of NOISE in every pixel."""
    decode = lambda z: way.decode(weights, z, labels)  # noqa: E731
    return latents.project(decode, x, key, size=way.normal, prior_weight=NOISE**2 / x[0].size).x_hat


VIEWS = {
    "interpolation": interpolation,
    "arithmetic": arithmetic,
    "truncation": truncation,
    "projection": projection,
}


def diversity(images: np.ndarray) -> float:
    """The mean L2 distance of two different images of uint8 [N, H, W, C], pixels in [0, 1]."""
    from scipy.spatial.distance import pdist

    return float(pdist(images.reshape(len(images), -1) / 255).mean())


def classifier(data: Dataset) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Logistic regression on whitened principal components: `uint8 [N, H, W, C] -> int [N]`, and how good it is."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    flat = lambda images: images.reshape(len(images), -1).astype(np.float32) / 255  # noqa: E731
    pca = PCA(min(50, *flat(data.x_train).shape), whiten=True, svd_solver="randomized", random_state=0)
    model = make_pipeline(pca, LogisticRegression(C=0.1, max_iter=1000)).fit(flat(data.x_train), data.y_train)
    held_out = data.y_test is not None
    x, y = (data.x_test, data.y_test) if held_out else (data.x_train, data.y_train)
    accuracy = f"{model.score(flat(x), y):.1%} of the {'held-out' if held_out else 'training'} images right"
    return lambda images: model.predict(flat(images)), accuracy


def _checked(what: str, setup: Setup, draws: Sampler, classes: Sequence[int]) -> Latent:
    """The way from a latent to an image, if there is one and the data have what it takes."""
    data, way, told = setup.imitated(draws), draws.latent, draws.given is not None
    name = f"the data set {data.name} has"
    found = 0 if data.y_train is None else len(np.unique(data.y_train))
    needed = [
        (VIEWS, "this experiment has no generator with a latent input", way is not None),
        (VIEWS, f"{name} {data.kind.name}s, expected images", data.kind.name == "image"),
        (VIEWS, "what is drawn is given more than a class", draws.given is None or draws.given[1] == CLASS),
        (("truncation", "projection"), "the prior of this experiment is not N(0, I)", way is not None and way.normal),
        (("projection",), f"{name} no held-out images", data.x_test is not None),
        (("projection",), f"{name} no labels of held-out images", data.y_test is not None or not told),
        (("projection",), "each image has a class of its own; leave --classes out", not classes),
        (("arithmetic",), f"{name} no labels to train the classifier of the samples on", data.y_train is not None),
        (("arithmetic",), f"{name} training images of {found} classes, expected at least 3", found >= 3),
        (("arithmetic",), "the generator is told the class, so its latent says nothing of it", not told),
    ]
    for views, problem, fine in needed:
        if what in views and not fine:
            raise ConfigError(f"--what {what}: {problem}")
    return way  # type: ignore[return-value]
