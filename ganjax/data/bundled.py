"""Sets that need no download: Fashion-MNIST in part, emoji and glyphs inside the package, and scikit-learn's digits."""

import string
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
FLUENT_CLASSES = (
    "Activities",
    "Animals & Nature",
    "Flags",
    "Food & Drink",
    "Objects",
    "People & Body",
    "Smileys & Emotion",
    "Symbols",
    "Travel & Places",
)
DIGITS_TRAIN = 1500  # of 1,797


def fashion_mnist() -> Dataset:
    """10,000 training and 2,000 test images, 28x28x1, ten equal classes (Xiao, Rasul and Vollgraf, 2017).

    `scripts/cut_fashion_mnist.py` says how they were chosen.
    """
    return replace(_embedded("fashion_mnist"), licence="MIT", class_names=FASHION_CLASSES)


def fluent_emoji() -> Dataset:
    """1,366 training and 228 test emoji, 64x64x3 on white, in nine categories (Microsoft's Fluent Emoji, flat).

    Each has as companions `drawing`, the same emoji as a black drawing, uint8 [N, 64, 64, 1] on white, and `caption`,
    its name as tokens. Variants by gender are on one side; `scripts/cut_fluent_emoji.py` says how.
    """
    return replace(_embedded("fluent_emoji"), licence="MIT", class_names=FLUENT_CLASSES)


def glyphs() -> Dataset:
    """A-Z, a-z and 0-9 in 278 fonts for training and 56 others for testing, 28x28x1, white on black.

    The companion `font` is the class of the font, with its name. `scripts/cut_glyphs.py` says how they were chosen.
    """
    names = tuple(string.ascii_uppercase + string.ascii_lowercase + string.digits)
    return replace(_embedded("glyphs"), licence="SIL Open Font License 1.1", class_names=names)


def _embedded(name: str) -> Dataset:
    with resources.as_file(resources.files("ganjax.data") / "embedded" / f"{name}.npz") as path:
        return replace(load_npz(path), name=name)


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
