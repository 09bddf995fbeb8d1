"""LeNet as domain adaptation has it (Tzeng et al. 2017), what is said of its features, and the networks of CoGAN."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ganjax.checks import check_range
from ganjax.core import Array, Critique
from ganjax.errors import DataError
from ganjax.layers.convolution import Conv, ConvTranspose
from ganjax.layers.normalisation import BatchNorm

LEAST = 16  # pixels of a side, of which two convolutions and halvings leave one
SIDE = 28  # of the images that `GeneratorPair` makes

_prelu = partial(nn.PReLU, negative_slope_init=0.25)


def pooled(x: Array) -> Array:
    """The largest of each 2x2 pixels, [B, H, W, C] to [B, H / 2, W / 2, C]; an odd last row or column is left out.

    It is `nn.max_pool`, whose gradient XLA scatters entry by entry on a CPU; equal pixels share theirs here.
    """
    height, width = x.shape[1] // 2, x.shape[2] // 2
    return x[:, : 2 * height, : 2 * width].reshape(x.shape[0], height, 2, width, 2, -1).max((2, 4))


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Raise `DataError` about images that the convolutions leave nothing of."""
    if len(shape) != 3 or min(shape[:2]) < LEAST:
        raise DataError(
            f"image shape: got {tuple(shape)}, expected (height, width, channels) with sides of at least {LEAST} for "
            "LeNet; enlarge the images, to 28 for example"
        )


class Encoder(nn.Module):
    """`x -> features`: two 5x5 convolutions, each pooled, and a layer; with 10 classes 431,080 parameters for 28x28x1.

    Pixels from -1 to 1 are seen from 0 to 1, black as nothing.
    """

    features: int | None = 500  # or all of the last map, and no third layer
    widths: Sequence[int] = (20, 50)  # channels of the two maps
    batch_norm: bool = False  # before each ReLU
    axis_name: str | None = None  # of the devices that share BatchNorm's statistics

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """[B, H, W, C] images to features [B, F], not negative."""
        check_image_shape(x.shape[1:])

        def activated(h: Array) -> Array:
            if self.batch_norm:
                h = BatchNorm(use_running_average=not train, axis_name=self.axis_name)(h)
            return nn.relu(h)

        h_BxHxWxC = (x + 1) / 2
        for width in self.widths:
            h_BxHxWxC = activated(pooled(Conv(width, (5, 5), padding="VALID")(h_BxHxWxC)))
        h_BxF = h_BxHxWxC.reshape(x.shape[0], -1)
        return h_BxF if self.features is None else activated(nn.Dense(self.features)(h_BxF))


class Classifier(nn.Module):
    """`features [B, F] -> logits [B, K]`, a perceptron; of Ganin et al. (2016) with 100 and 100 units."""

    num_classes: int
    hidden: Sequence[int] = (100, 100)

    @nn.compact
    def __call__(self, h: Array) -> Array:
        return _perceptron(h, self.hidden, self.num_classes)


class ClassifierPair(nn.Module):
    """`features [B, F] -> logits [B, 2, K]` of two perceptrons, the classifiers of MCD (Saito et al. 2018)."""

    num_classes: int
    hidden: Sequence[int] = (100,)

    @nn.compact
    def __call__(self, h: Array) -> Array:
        return jnp.stack([_perceptron(h, self.hidden, self.num_classes) for _ in range(2)], 1)


class Critic(nn.Module):
    """`h [B, F] -> u [B]`, log-odds that h is of the source.

    Two logits are made, as in the authors' code, of which a softmax sees the difference alone: 257,002 parameters on 10
    logits, 502,002 on 500 features.
    """

    hidden: Sequence[int] = (500, 500)

    @nn.compact
    def __call__(self, h: Array) -> Array:
        two_Bx2 = _perceptron(h, self.hidden, 2)
        return two_Bx2[:, 0] - two_Bx2[:, 1]


def _perceptron(h: Array, hidden: Sequence[int], outputs: int) -> Array:
    for width in hidden:
        h = nn.relu(nn.Dense(width)(h))
    return nn.Dense(outputs)(h)


class GeneratorPair(nn.Module):
    """`z -> (x_a, x_b)`: a generator whose last layer alone is double (Liu and Tuzel 2016); 28x28 pixels.

    With z of 100 numbers and one channel 7,842,694 parameters, as the authors' code has; BatchNorm without affine maps.
    """

    channels: int = 1
    width: int = 1024  # channels of the first map, halved with each doubling of the sides
    axis_name: str | None = None  # of the devices that share BatchNorm's statistics

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> tuple[Array, Array]:
        """[B, Z] latents to two images [B, 28, 28, C] that share all but their last step."""
        check_range("GeneratorPair", 8, whole=True, width=self.width)
        norm = partial(
            BatchNorm, use_scale=False, use_bias=False, use_running_average=not train, axis_name=self.axis_name
        )
        h_BxHxWxC = _prelu()(norm()(ConvTranspose(self.width, (4, 4), padding="VALID")(z[:, None, None])))
        for k in (1, 2, 3):  # sides of 7, 13, 25
            up = ConvTranspose(self.width // 2**k, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
            h_BxHxWxC = _prelu()(norm()(up(h_BxHxWxC)))
        a, b = (ConvTranspose(self.channels, (6, 6), padding=((4, 4), (4, 4)))(h_BxHxWxC) for _ in "ab")
        return jnp.tanh(a), jnp.tanh(b)


class DiscriminatorPair(nn.Module):
    """`(x_a, x_b) -> (Critique, Critique)`: a discriminator whose first layer alone is double (Liu and Tuzel 2016).

    Its critiques have a head of classes, called "class". For 28x28x1 and 10 classes 432,603 parameters, as the authors'
    code has, by which there is no activation between convolutions and pooling.
    """

    num_classes: int
    widths: Sequence[int] = (20, 50)
    features: int = 500

    @nn.compact
    def __call__(self, x_a: Array, x_b: Array) -> tuple[Critique, Critique]:
        """Images [B, H, W, C] of each domain to what is said of them, in their order."""
        check_image_shape(x_a.shape[1:])
        first = [pooled(Conv(self.widths[0], (5, 5), padding="VALID")(x)) for x in (x_a, x_b)]
        h_BxHxWxC = pooled(Conv(self.widths[1], (5, 5), padding="VALID")(jnp.concatenate(first)))
        h_BxF = _prelu()(nn.Dense(self.features)(h_BxHxWxC.reshape(h_BxHxWxC.shape[0], -1)))
        two_Bx2, classes_BxK = nn.Dense(2)(h_BxF), nn.Dense(self.num_classes)(h_BxF)
        both = Critique(two_Bx2[:, 0] - two_Bx2[:, 1], h_BxF, {"class": classes_BxK})
        return _part(both, slice(None, x_a.shape[0])), _part(both, slice(x_a.shape[0], None))


def _part(said: Critique, rows: slice) -> Critique:
    heads: dict[str, Any] = {name: head[rows] for name, head in said.heads.items()}
    return Critique(said.logits[rows], said.features[rows], heads)  # type: ignore[index]
