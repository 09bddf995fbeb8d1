"""PixelRNN (van den Oord, Kalchbrenner and Kavukcuoglu 2016): the past of a pixel through the states of an LSTM."""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from ganjax.core import Array
from ganjax.layers.masked import MaskedConv, Place
from ganjax.models.pixelcnn import Autoregressive, OfClass, Outputs, check_groups


def advanced(gates: Array, cell: Array) -> tuple[Array, Array]:
    """State and cell after a step: `c = s(f) c + s(i) tanh(g)`, `h = s(o) tanh(c)`, s the sigmoid.

    Args:
        gates: [..., 4 width], what o, f, i and g are given.
        cell: [..., width], before it.
    """
    o, f, i, g = jnp.split(gates, 4, -1)
    cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * nn.tanh(g)
    return nn.sigmoid(o) * nn.tanh(cell), cell


class RowLSTM(nn.Module):
    """`x [B, H, W, I] -> states [B, H, W, width]`, row after row, a state from the three states above it.

    It sees a triangle of the past. With a place it remembers the states of rows above, as `MaskedConv` does.
    """

    width: int
    groups: int = 1  # channels of the image

    @nn.compact
    def __call__(self, x: Array, place: Place | None = None) -> Array:
        inputs = MaskedConv(4 * self.width, (1, 2), groups=self.groups)(x, place)
        kernel = self.param("kernel", nn.linear.default_kernel_init, (3 * self.width, 4 * self.width))

        def step(carry: tuple[Array, Array], row: Array) -> tuple[tuple[Array, Array], Array]:
            h, cell = carry  # [B, W + 2, width], padded, and [B, W, width]
            above = jnp.concatenate([h[:, :-2], h[:, 1:-1], h[:, 2:]], -1)
            h, cell = advanced(row + above @ kernel, cell)
            return (jnp.pad(h, ((0, 0), (1, 1), (0, 0))), cell), h

        if place is None:
            b, _, w, _ = x.shape
            start = jnp.zeros((b, w + 2, self.width), x.dtype), jnp.zeros((b, w, self.width), x.dtype)
            return jnp.moveaxis(lax.scan(step, start, jnp.moveaxis(inputs, 1, 0))[1], 0, 1)
        return self._remembered(inputs, place, step)

    def _remembered(self, inputs: Array, place: Place, step: Callable) -> Array:
        """The state at a pixel, of those that are kept, and kept with them: [B, 1, 1, width]."""
        none, column = jnp.zeros_like(place.row), jnp.asarray(place.column)
        size = (inputs.shape[0], place.size[0] + 1, place.size[1] + 2, 2 * self.width)
        states = self.variable("cache", "states", jnp.zeros, size, inputs.dtype)
        seen = lax.dynamic_slice(states.value, (none, place.row, column, none), (size[0], 1, 3, size[3]))
        above, cell = jnp.split(seen[:, 0], 2, -1)
        (_, cell), h = step((above, cell[:, 1:2]), inputs[:, 0])
        now = jnp.concatenate([h, cell], -1)[:, None]
        states.value = lax.dynamic_update_slice(states.value, now, (none, place.row + 1, column + 1, none))
        return h[:, None]


def skewed(x: Array) -> Array:
    """[B, H, W, ...] to [B, H, W + H - 1, ...], row r moved r columns to the right: diagonals become columns."""
    b, h, w, *rest = x.shape
    wide = jnp.pad(x, ((0, 0), (0, 0), (0, h)) + ((0, 0),) * len(rest))
    return wide.reshape(b, h * (w + h), *rest)[:, :-h].reshape(b, h, w + h - 1, *rest)


def unskewed(x: Array) -> Array:
    """The way back."""
    b, h, wide, *rest = x.shape
    flat = jnp.pad(x.reshape(b, h * wide, *rest), ((0, 0), (0, h)) + ((0, 0),) * len(rest))
    return flat.reshape(b, h, wide + 1, *rest)[:, :, : wide + 1 - h]


class DiagonalLSTM(nn.Module):
    """`x [B, H, W, I] -> states [B, H, W, width]`, a state from those to the left and above: it sees that quadrant."""

    width: int
    groups: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        inputs = skewed(MaskedConv(4 * self.width, groups=self.groups)(x))
        kernel = self.param("kernel", nn.linear.default_kernel_init, (2 * self.width, 4 * self.width))

        def step(carry: tuple[Array, Array], column: Array) -> tuple[tuple[Array, Array], Array]:
            h, cell = carry  # [B, H, width], of the column before, which is the diagonal before
            above = jnp.pad(h, ((0, 0), (1, 0), (0, 0)))[:, :-1]
            h, cell = advanced(column + jnp.concatenate([above, h], -1) @ kernel, cell)
            return (h, cell), h

        start = jnp.zeros((*x.shape[:2], self.width), x.dtype)
        _, h = lax.scan(step, (start, start), jnp.moveaxis(inputs, 2, 0))
        return unskewed(jnp.moveaxis(h, 0, 2))


class DiagonalBiLSTM(nn.Module):
    """From the left, and from the right shifted down by a row: together all of the past."""

    width: int
    groups: int = 1

    @nn.compact
    def __call__(self, x: Array, place: Place | None = None) -> Array:
        if place is not None:
            raise ValueError("DiagonalBiLSTM sees whole images alone: draw with games.autoregressive.naively")
        from_left = DiagonalLSTM(self.width, self.groups)(x)
        from_right = DiagonalLSTM(self.width, self.groups)(x[:, :, ::-1])[:, :, ::-1]
        return from_left + jnp.pad(from_right, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]


class PixelRNN(Autoregressive):
    """A 7x7 layer of mask A, `blocks` LSTM layers with residuals, 1x1 layers; h is the `width`, 2h between layers.

    Rows see what `PixelCNN` sees, with no bound on how far up. Diagonals see all of the past but one pixel: what the
    7x7 layer says at the end of a row is not of that row's last pixel, so only the four columns below it, and later
    rows, know of it.
    """

    layer: Literal["row", "diagonal"] = "row"

    @nn.compact
    def say(self, x: Array, above: Any, labels: Array | None = None, place: Place | None = None) -> Array:
        groups = x.shape[-1]
        check_groups(self.width, groups)
        layer = {"row": RowLSTM, "diagonal": DiagonalBiLSTM}[self.layer]
        h = MaskedConv(2 * self.width, (4, 7), 3, "A", groups)(x, place)
        h = h + OfClass(2 * self.width, self.num_classes)(labels)
        for _ in range(self.blocks):
            h = h + MaskedConv(2 * self.width, groups=groups)(layer(self.width, groups)(h, place), place)
        return Outputs(self.outputs, 2 * self.width, groups)(h, place)
