"""PixelCNN (van den Oord, Kalchbrenner and Kavukcuoglu 2016) and Gated PixelCNN (van den Oord et al. 2016).

Each says the outputs of an observation for every entry of an image, from entries before it in raster order: rows, then
columns, then channels. For `games.autoregressive` it has two methods, `above`, what is seen of rows above, and `say`,
which may both be asked for one place.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from ganjax.core import Array
from ganjax.layers.masked import MaskedConv, Place
from ganjax.likelihoods import unscaled


class Autoregressive(nn.Module):
    """`x [B, H, W, C] -> outputs [B, H, W, C outputs]`, those of an entry from entries before it."""

    outputs: int = 1  # numbers for each entry, of an observation
    width: int = 16  # features, a multiple of the channels of the image
    blocks: int = 6
    num_classes: int = 0

    def __call__(self, x: Array, labels: Array | None = None) -> Array:
        """Labels are [B] integers, of `num_classes` classes; where there is none they are not read."""
        return self.say(x, self.above(x, labels), labels)

    def above(self, x: Array, labels: Array | None = None, place: Place | None = None) -> Any:
        """What `say` is given of the rows above: a tree of [B, H, W, ...], or of [B, 1, W, ...] at a place."""
        return ()

    def say(self, x: Array, above: Any, labels: Array | None = None, place: Place | None = None) -> Array:
        """The outputs, of the whole image or of the pixel at a place, [B, 1, 1, C outputs]."""
        raise NotImplementedError


class OfClass(nn.Module):
    """`V^T onehot(y)`, [B, 1, 1, features]; 0 without classes."""

    features: int
    num_classes: int

    @nn.compact
    def __call__(self, labels: Array | None) -> Array | float:
        if not self.num_classes:
            return 0.0
        if labels is None:
            raise ValueError(f"a network of {self.num_classes} classes was given no labels, expected [B] integers")
        return nn.Embed(self.num_classes, self.features)(labels)[:, None, None]


class Outputs(nn.Module):
    """From the features of a pixel to the outputs of its entries, all of them 0 at first: every value as probable."""

    outputs: int
    features: int
    groups: int

    @nn.compact
    def __call__(self, h: Array, place: Place | None) -> Array:
        h = nn.relu(MaskedConv(self.features, groups=self.groups)(nn.relu(h), place))
        last = MaskedConv(self.groups * self.outputs, groups=self.groups, kernel_init=nn.initializers.zeros)
        y = last(h, place).reshape(*h.shape[:3], self.outputs, self.groups)
        return y.swapaxes(3, 4).reshape(*h.shape[:3], -1)  # groups are interleaved, entries are not


def check_groups(width: int, channels: int) -> None:
    """Raise `ValueError` unless every channel has as many features."""
    if width % channels:
        raise ValueError(f"width is {width}, expected a multiple of the {channels} channels of the images")


class PixelCNN(Autoregressive):
    """A 7x7 layer of mask A, residual blocks 2h - h - 2h with a 3x3 layer of mask B, 1x1 layers: h is the `width`.

    17,761 numbers with the defaults on grey images. It has a blind spot: pixels above and to the right that no chain
    of windows reaches. With N layers of 3x3 alone N (N - 1) / 2 of N (2 N + 1) + N.
    """

    @nn.compact
    def say(self, x: Array, above: Any, labels: Array | None = None, place: Place | None = None) -> Array:
        groups = x.shape[-1]
        check_groups(self.width, groups)
        h = MaskedConv(2 * self.width, (4, 7), 3, "A", groups)(x, place)
        for _ in range(self.blocks):
            g = MaskedConv(self.width, groups=groups)(nn.relu(h), place) + OfClass(self.width, self.num_classes)(labels)
            g = MaskedConv(self.width, (2, 3), 1, groups=groups)(nn.relu(g), place)
            h = h + MaskedConv(2 * self.width, groups=groups)(nn.relu(g), place)
        return Outputs(self.outputs, 2 * self.width, groups)(h, place)


def gate(h: Array, condition: Array | float) -> Array:
    """`tanh(a) sigmoid(b)`, a and b the halves of the features under the condition."""
    a, b = jnp.split(h + condition, 2, -1)
    return nn.tanh(a) * nn.sigmoid(b)


class Vertical(nn.Module):
    """The stack that sees whole rows: what it hands on to each layer of the other, [B, H or 1, W, 2 width]."""

    width: int
    blocks: int
    num_classes: int

    @nn.compact
    def __call__(self, x: Array, labels: Array | None, place: Place | None) -> list[Array]:
        links = []
        for block in range(self.blocks + 1):
            r = 1 if block else 3
            h = MaskedConv(2 * self.width, (r + 1, 2 * r + 1), r, None)(x, place)
            links.append(nn.Dense(2 * self.width)(h))
            if block < self.blocks:
                x = gate(h, OfClass(2 * self.width, self.num_classes)(labels))
        return links


class Horizontal(nn.Module):
    """The stack that sees its own row left of a pixel, and what the vertical one says of the rows above."""

    outputs: int
    width: int
    num_classes: int

    @nn.compact
    def __call__(self, x: Array, above: list[Array], labels: Array | None, place: Place | None, groups: int) -> Array:
        h = x
        for block, link in enumerate(above):
            row = MaskedConv(2 * self.width, (1, 2 if block else 4), 0, "B" if block else "A", groups)(h, place)
            g = gate(row + link, OfClass(2 * self.width, self.num_classes)(labels))
            g = MaskedConv(self.width, groups=groups)(g, place)
            h = h + g if block else g
        return Outputs(self.outputs, self.width, groups)(h, place)


class GatedPixelCNN(Autoregressive):
    """Two stacks without a blind spot: `blocks` + 1 layers, gates `tanh(W * x + V^T y) sigmoid(U * x + R^T y)`.

    The first layer of the vertical stack is 7x7, the others 3x3 (their upper halves, own row included); the image is
    shifted down by a row before it, so that what it says at a pixel is of rows above. Residuals are the horizontal
    stack's alone, as in the paper. Codes, whose numbers have no order, are seen as one of `values`, onehot.
    """

    values: int = 0  # K of codes, which are seen from -1 to 1, in one channel; 0 for pixels, which are numbers

    def setup(self):
        self.vertical = Vertical(self.width, self.blocks, self.num_classes)
        self.horizontal = Horizontal(self.outputs, self.width, self.num_classes)

    def above(self, x: Array, labels: Array | None = None, place: Place | None = None) -> list[Array]:
        check_groups(self.width, x.shape[-1])
        return self.vertical(jnp.pad(self._seen(x), ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1], labels, place)

    def say(self, x: Array, above: Any, labels: Array | None = None, place: Place | None = None) -> Array:
        return self.horizontal(self._seen(x), above, labels, place, x.shape[-1])

    def _seen(self, x: Array) -> Array:
        return nn.one_hot(unscaled(x[..., 0], self.values), self.values, dtype=x.dtype) if self.values else x
