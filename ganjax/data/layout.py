"""Maps of labels made of images: each pixel belongs to one of a few colours, which k-means finds."""

from dataclasses import replace

import numpy as np

from ganjax.checks import check_range
from ganjax.data.dataset import Companion, Dataset
from ganjax.errors import DataError
from ganjax.kinds import MAP

LAYOUT = "layout"  # the companion
PIXELS = 20_000  # that k-means looks at


def palette(x: np.ndarray, colours: int) -> np.ndarray:
    """The centres of k-means of the colours of 20,000 pixels, the darkest first, rounded to whole levels.

    The same images give the same palette, to the last bit: pixels and starts are drawn with seed 0. Where the pixels
    have fewer colours than are asked for, the last one fills up.

    Args:
        x: [N, H, W, C] uint8.
        colours: how many, K.

    Returns:
        [K, C] uint8.
    """
    from sklearn.cluster import KMeans

    check_range("palette", 1, 256, whole=True, colours=colours)
    flat = x.reshape(-1, x.shape[-1])
    chosen = flat[np.random.default_rng(0).integers(0, len(flat), min(PIXELS, len(flat)))].astype(np.float64)
    few = min(colours, len(np.unique(chosen, axis=0)))
    centres = np.rint(KMeans(few, n_init=4, random_state=0).fit(chosen).cluster_centers_)
    ordered = centres[np.lexsort((*centres.T, centres.sum(1)))].astype(np.uint8)
    return ordered[np.minimum(np.arange(colours), few - 1)]


def layouts(x: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The number of the nearest colour [K, C] of each pixel, the first of equally near ones: int32 [N, H, W]."""
    best, label = None, np.zeros(x.shape[:-1], np.int32)
    for number, colour in enumerate(colours.astype(np.int32)):
        away = np.zeros(x.shape[:-1], np.int32)
        for channel, level in enumerate(colour):
            away += np.square(x[..., channel].astype(np.int32) - level)
        if best is None:
            best = away
            continue
        nearer = away < best
        best[nearer], label[nearer] = away[nearer], number
    return label


def with_layout(dataset: Dataset, colours: int) -> tuple[Dataset, np.ndarray]:
    """The data set with the companion "layout", maps of so many labels, and their colours [K, C] uint8.

    Palette and pixels are those of the training split; held-out images get its labels.

    Raises:
        DataError: the examples are no images.
    """
    if dataset.kind.name != "image":
        raise DataError(f"the data set {dataset.name} has {dataset.kind.plural}, expected images to make layouts of")
    dataset = dataset.in_memory()
    found = palette(dataset.x_train, colours)
    train, test = (None if x is None else layouts(x, found) for x in (dataset.x_train, dataset.x_test))
    own = Companion(train, test, MAP)  # type: ignore[arg-type]
    return replace(dataset, companions={**dataset.companions, LAYOUT: own}), found
