"""Stacked images: three grey ones in the channels of one, so that K classes make K^3 modes (Srivastava et al. 2017)."""

from dataclasses import replace

import numpy as np

from ganjax.checks import check_range
from ganjax.data.dataset import Dataset
from ganjax.errors import DataError

COUNT = 128_000  # training stacks, as in PacGAN (Lin et al. 2018)
TEST_COUNT = 26_000  # as many as samples are judged by


def stacked(base: Dataset, *, count: int = COUNT, test_count: int = TEST_COUNT, seed: int = 0) -> Dataset:
    """Stacks of three images drawn independently; label `a + K b + K^2 c` for the classes a, b, c of its channels.

    Args:
        base: labelled grey images, [N, H, W, 1] uint8.
        count: training stacks.
        test_count: stacks of held-out images, where there are any.
        seed: of the choice.

    Raises:
        DataError: the base is not grey or has no labels.
    """
    check_range("stacked", 1, whole=True, count=count, test_count=test_count)
    if base.shape[2:] != (1,) or base.y_train is None:
        raise DataError(
            f"stacked:{base.name}: its examples have shape {base.shape} and "
            f"{'no labels' if base.y_train is None else 'labels'}, expected labelled grey images [H, W, 1]"
        )
    classes = base.classes or 0

    def stack(x: np.ndarray, y: np.ndarray, number: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.random.default_rng((seed, stream)).integers(len(x), size=(3, number))
        labels = sum(classes**k * y[row] for k, row in enumerate(rows))
        return np.concatenate([x[row] for row in rows], axis=-1), np.asarray(labels, np.int32)

    x_train, y_train = stack(base.x_train, base.y_train, count, 0)
    x_test, y_test = None, None
    if base.x_test is not None and base.y_test is not None:
        x_test, y_test = stack(base.x_test, base.y_test, test_count, 1)
    names = base.class_names or tuple(map(str, range(classes)))
    return replace(
        base,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        name=f"stacked:{base.name}",
        companions={},  # of single images
        channel_classes=classes,
        class_names=tuple(
            f"{names[i]} {names[j]} {names[k]}" for k in range(classes) for j in range(classes) for i in range(classes)
        ),
    )
