"""Sets that need no download: a part of Fashion-MNIST inside the package, and scikit-learn's digits."""

from dataclasses import replace
from importlib import resources

import numpy as np

from ganjax.data.dataset import Dataset, integer_labels
from ganjax.data.npz import load_npz

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DIGITS_TRAIN = 1500  # of 1,797


def fashion_mnist() -> Dataset:
    """10,000 training and 2,000 test images, 28x28x1, ten equal classes (Xiao, Rasul and Vollgraf, 2017).

    `scripts/cut_fashion_mnist.py` says how they were chosen.
    """
    file = resources.files("ganjax.data") / "embedded" / "fashion_mnist.npz"
    with resources.as_file(file) as path:
        data = load_npz(path)
    return replace(data, name="fashion_mnist", licence="MIT", class_names=FASHION_CLASSES)


def digits() -> Dataset:
    """1,500 training and 297 test images, 8x8x1, of handwritten digits (Alpaydin and Kaynak, 1998).

    The 17 grey levels 0..16 become 0..255 and the order is shuffled, as neighbours share a writer.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    order = np.random.default_rng(0).permutation(len(source.target))
    x = np.rint(source.images[order, :, :, None] * (255 / 16)).astype(np.uint8)
    y = integer_labels(source.target[order])
    return Dataset(
        x[:DIGITS_TRAIN],
        y[:DIGITS_TRAIN],
        x[DIGITS_TRAIN:],
        y[DIGITS_TRAIN:],
        name="digits",
        licence="CC BY 4.0, UCI Optical Recognition of Handwritten Digits",
        class_names=tuple("0123456789"),
    )
