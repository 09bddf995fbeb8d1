"""Small classifiers whose last hidden layer serves as features: convolutions for images and for the spectrograms of
waveforms, a perceptron for points.
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn

from ganjax.core import Array
from ganjax.layers.convolution import Conv
from ganjax.models.mlp import dense
from ganjax.sounds import log_mel


class _Convolutions(nn.Module):
    """[B, H, W, C] -> [B, F]: 4x4 convolutions of stride 2 until no side is longer than 7, one at least."""

    width: int
    features: int

    def __call__(self, x: Array) -> Array:
        return self.maps(x)[-1]

    @nn.compact
    def maps(self, x: Array) -> tuple[Array, ...]:
        """What each layer makes of images: maps [B, H, W, C], and last the features."""
        conv = partial(Conv, kernel_size=(4, 4), strides=(2, 2), padding="SAME")
        width, maps = self.width, [nn.relu(conv(self.width)(x))]
        while max(maps[-1].shape[1:3]) > 7:
            width = min(2 * width, 4 * self.width)
            maps.append(nn.relu(conv(width)(maps[-1])))
        return (*maps, nn.relu(nn.Dense(self.features)(maps[-1].reshape(x.shape[0], -1))))


class _Spectrogram(nn.Module):
    """[B, T] -> [B, F]: convolutions of the log-mel spectrogram, whose usual range becomes about -1 to 1."""

    rate: float
    width: int
    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return _Convolutions(self.width, self.features)(log_mel(x, self.rate)[..., None] / 8)


class _Perceptron(nn.Module):
    """[B, D] -> [B, F], layers with ReLU whose kinks lie all over the plane."""

    hidden: Sequence[int]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.hidden:
            x = nn.relu(dense(width, x.shape[-1], "uniform")(x))
        return x


class Classifier(nn.Module):
    """Features of a trunk, and the logits of classes as an affine map of them."""

    trunk: nn.Module  # x [B, ...] -> features [B, F]
    num_classes: int

    def setup(self) -> None:
        self.head = nn.Dense(self.num_classes)

    def __call__(self, x: Array) -> Array:
        """[B, ...] examples to logits [B, K]."""
        return self.head(self.trunk(x))

    def judge(self, x: Array) -> tuple[Array, Array]:
        """[B, ...] examples to features [B, F], not negative, and logits [B, K]."""
        features = self.trunk(x)
        return features, self.head(features)

    def maps(self, x: Array) -> tuple[Array, ...]:
        """[B, H, W, C] images to what each layer of the trunk makes of them, its features [B, F] last."""
        return self.trunk.maps(x)  # type: ignore[attr-defined]


def classifier(
    shape: tuple[int, ...], num_classes: int, *, width: int = 32, features: int = 128, rate: float | None = None
) -> Classifier:
    """The classifier that fits the data: convolutions for images of any size and channels, else a perceptron.

    Of waveforms the convolutions see the log-mel spectrogram, `sounds.log_mel`.

    Args:
        shape: of one example, (height, width, channels), (coordinates,) or (samples,).
        num_classes: K, of the logits.
        rate: samples a second of waveforms; None of all else.
        width: channels of the first convolution, doubled with each halving of the image up to four times as many.
        features: units of the last hidden layer.

    Raises:
        ValueError: the shape is neither, or there are fewer than two classes.
    """
    if len(shape) not in (1, 3):
        raise ValueError(f"classifier: the shape of an example is {shape}, expected (height, width, channels) or (D,)")
    if num_classes < 2:
        raise ValueError(f"classifier: num_classes is {num_classes}, expected at least 2")
    if rate is not None:
        return Classifier(_Spectrogram(rate, width, features), num_classes)
    trunk = _Convolutions(width, features) if len(shape) == 3 else _Perceptron((features, features))
    return Classifier(trunk, num_classes)
