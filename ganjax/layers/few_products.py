"""Contractions of strided convolutions with fewer or larger matrix products, where these win on a CPU.

**4x4 kernels of stride 2 with 9 products for 16** (minimal filtering F(2, 2), Winograd 1980). Along each axis such a
convolution is a sum over the two phases of the stride, and each phase a convolution of two taps and stride 1. Two
neighbouring outputs of that, from inputs d0, d1, d2 and taps g0, g1, need three products instead of four:

    A x = (d0 - d1, d1, d1 - d2)      B w = (g0, g0 + g1, g1)      C y = (y0, y0 + y1, -y1)

    <conv(x, w), y> = sum_t (A x)_t (B w)_t (C y)_t

so the three contractions of the form are

    y = C^T(A x . B w)                dx = A^T(B w . C y)          dw = B^T(A x . C y)

In two dimensions t runs over 3 x 3. A matrix product for each t sums over channels, phases, or tiles; what two
contractions share (A x, say) is computed once in a program. The rewriting is exact; in float32 the error against
float64 is two to three times that of the direct form.

**First layers as one product.** With few input channels the windows of all outputs are laid side by side, and their
product with the kernel is y, that with y the kernel's gradient.

**Last layers as one product.** With few features, whose columns fill no register, a pixel is multiplied by all taps of
the kernel at once, and what falls on an output is summed. It is the input-gradient of first layers too.

All take and give what the trio of `ganjax.layers.convolution` does, which chooses where by `halved`, `thin`, `narrow`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.core import Array

Size = tuple[int, ...]
Padding = Sequence[tuple[int, int]]

WIDE = (jnp.float32, jnp.float64)
LEAST = (64, 64)  # channels of x and of y from which 9 products win over 16, as benchmarks/convolutions.py measures
THIN, FEATURES = 4, 16  # most channels on one side, fewest on the other, for which one product of all windows wins


def halved(dtype: jnp.dtype, strides: Size, w_shape: Sequence[int], y_size: Size) -> bool:
    """Whether F(2, 2) is to be taken: 4x4 kernels [4, 4, C, O] of stride 2, many channels, tiles of two outputs.

    Not in bfloat16, where sums of inputs lose a bit. An odd side filled up with zeros wins nothing (7x7 outputs).
    """
    return (
        dtype in WIDE
        and tuple(strides) == (2, 2)
        and tuple(w_shape[:2]) == (4, 4)
        and w_shape[2] >= LEAST[0]
        and w_shape[3] >= LEAST[1]
        and all(size % 2 == 0 for size in y_size)
    )


def thin(dtype: jnp.dtype, strides: Size, w_shape: Sequence[int]) -> bool:
    """Whether all windows are to be laid side by side: few input channels, kernels a multiple of the stride > 1."""
    return (
        dtype in WIDE
        and min(strides) > 1
        and all(k % s == 0 for k, s in zip(w_shape[:2], strides, strict=True))
        and w_shape[2] <= THIN
        and w_shape[3] >= FEATURES
    )


def narrow(dtype: jnp.dtype, strides: Size, w_shape: Sequence[int]) -> bool:
    """Whether outputs are to be summed from one product: few of their channels, stride 1."""
    return dtype in WIDE and tuple(strides) == (1, 1) and w_shape[2] >= FEATURES and w_shape[3] <= THIN


@partial(jax.jit, static_argnames="padding")
def convolution(x: Array, w: Array, padding: Padding) -> Array:
    """The contraction of [N, H, W, C] with [4, 4, C, O] to [N, P, Q, O]: stride 2, exact padding, P and Q even."""
    n, (p, q) = len(x), _y_size(x, padding)
    m = [(a @ b).reshape(n, p // 2, q // 2, -1) for a, b in zip(_a_of(x, padding), _b_of(w), strict=True)]
    y = transposed(lambda m, axis: jnp.stack([m[0] + m[1], m[1] - m[2]], axis + 1), m, (1, 2))
    return y.reshape(n, p, q, -1)


@partial(jax.jit, static_argnames="padding")
def input_gradient(w: Array, y: Array, padding: Padding) -> Array:
    """The contraction of [4, 4, C, O] with [N, P, Q, O] to [N, H, W, C], of the same convolution."""
    (n, p, q, _), c = y.shape, w.shape[2]
    m = [
        lax.dot_general(b, a, (((1,), (1,)), ((), ()))).reshape(n, p // 2, q // 2, -1)
        for a, b in zip(_b_of(w), _c_of(y), strict=True)
    ]
    grid = transposed(_a_transposed, m, (1, 2)).reshape(n, p + 2, q + 2, 2, 2, c)
    x = grid.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * p + 4, 2 * q + 4, c)
    return padded(x, [(-low, -high - 2) for low, high in padding])


@partial(jax.jit, static_argnames="padding")
def weight_gradient(x: Array, y: Array, padding: Padding) -> Array:
    """The contraction of [N, H, W, C] with [N, P, Q, O] to [4, 4, C, O]."""
    c, o = x.shape[3], y.shape[3]
    m = [_over_rows(a, b).reshape(2, 2, c, o) for a, b in zip(_a_of(x, padding), _c_of(y), strict=True)]
    w = transposed(lambda m, axis: jnp.stack([m[0] + m[1], m[1] + m[2]], axis), m, (0, 1))
    return w.reshape(4, 4, c, o)


@partial(jax.jit, static_argnames=("strides", "padding"))
def convolution_of_windows(x: Array, w: Array, strides: Size, padding: Padding) -> Array:
    """[N, H, W, C] with [h, w, C, O] to [N, P, Q, O] as one product; h and w are multiples of the strides."""
    windows = _windows(x, w.shape[:2], strides, padding)
    (rows, s), (columns, t) = _taps(w.shape[:2], strides)
    w = w.reshape(rows, s, columns, t, *w.shape[2:]).transpose(0, 2, 1, 3, 4, 5)
    return (windows.reshape(-1, windows.shape[3]) @ w.reshape(windows.shape[3], -1)).reshape(*windows.shape[:3], -1)


@partial(jax.jit, static_argnames=("w_size", "strides", "padding"))
def weight_gradient_of_windows(x: Array, y: Array, w_size: Size, strides: Size, padding: Padding) -> Array:
    """[N, H, W, C] with [N, P, Q, O] to [h, w, C, O], likewise."""
    c, o = x.shape[3], y.shape[3]
    windows = _windows(x, w_size, strides, padding)
    (rows, s), (columns, t) = _taps(w_size, strides)
    w = _over_rows(windows.reshape(-1, windows.shape[3]), y.reshape(-1, o))
    return w.reshape(rows, columns, s, t, c, o).transpose(0, 2, 1, 3, 4, 5).reshape(*w_size, c, o)


@partial(jax.jit, static_argnames="padding")
def convolution_to_few(x: Array, w: Array, padding: Padding) -> Array:
    """[N, H, W, C] with [h, w, C, O] to [N, P, Q, O], stride 1, as one product and the sum of what taps make of it."""
    rows, columns, c, o = w.shape
    taps = (x.reshape(-1, c) @ w.transpose(2, 0, 1, 3).reshape(c, -1)).reshape(*x.shape[:3], -1)
    taps = padded(taps, padding)
    taps = taps.reshape(*taps.shape[:3], rows, columns, o)
    p, q = taps.shape[1] - rows + 1, taps.shape[2] - columns + 1
    places = (taps[:, i : i + p, j : j + q, i, j] for i, j in product(range(rows), range(columns)))
    return sum(places, jnp.zeros((), x.dtype))


def _taps(w_size: Size, strides: Size) -> list[tuple[int, int]]:
    """(taps, phases) of each axis."""
    return [(k // s, s) for k, s in zip(w_size, strides, strict=True)]


def _windows(x: Array, w_size: Size, strides: Size, padding: Padding) -> Array:
    """[N, P, Q, h w C], the entries of a window by taps, then phases, of rows and columns."""
    (rows, _), (columns, _) = _taps(w_size, strides)
    grid = _space_to_depth(x, strides, padding)
    p, q = grid.shape[1] - rows + 1, grid.shape[2] - columns + 1
    places = [grid[:, i : i + p, j : j + q] for i, j in product(range(rows), range(columns))]
    return lax.optimization_barrier(jnp.concatenate(places, 3))


def _over_rows(x: Array, y: Array) -> Array:
    """x^T y. With y to the left: 1.14 times as fast as the other way round."""
    return lax.dot_general(y, x, (((0,), (0,)), ((), ()))).T


def _y_size(x: Array, padding: Padding) -> Size:
    return tuple((n + low + high) // 2 - 1 for n, (low, high) in zip(x.shape[1:3], padding, strict=True))


def _space_to_depth(x: Array, strides: Size, padding: Padding) -> Array:
    """[N, H, W, C], padded, to [N, H / s, W / t, s t C]: the grid on which the phases of the stride lie.

    Rows and columns that no window reaches are left out.
    """
    (n, _, _, c), (s, t) = x.shape, strides
    x = padded(x, padding)
    h, w = x.shape[1] // s, x.shape[2] // t
    return x[:, : h * s, : w * t].reshape(n, h, s, w, t, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h, w, s * t * c)


def padded(z: Array, ends: Padding) -> Array:
    """[N, H, W, C] with (low, high) more rows and columns, which are zero, or so many less."""
    return lax.pad(z, jnp.zeros((), z.dtype), [(0, 0, 0), *((low, high, 0) for low, high in ends), (0, 0, 0)])


def both(one: Callable, z: Array, axes: tuple[int, int]) -> list[Array]:
    """A map of one axis to n arrays, along two axes: n^2 matrices, the last axis as it is."""
    return [v.reshape(-1, v.shape[-1]) for row in one(z, axes[0]) for v in one(row, axes[1])]


def transposed(one: Callable, m: Sequence[Array], axes: tuple[int, int]) -> Array:
    """The transpose of such a map, from n arrays to one along an axis, along two axes: from n^2 arrays."""
    n = math.isqrt(len(m))
    return one([one(m[i : i + n], axes[1]) for i in range(0, n * n, n)], axes[0])


def later(z: Array, axis: int, by: int) -> Array:
    """[N, H, W, C] with one more place along an axis, what is there moved by 0 or 1."""
    return padded(z, [(by, 1 - by) if k == axis else (0, 0) for k in (1, 2)])


def interleaved(even: Array, odd: Array, axis: int) -> Array:
    """Even and odd places of an axis."""
    places = jnp.stack([even, odd], axis + 1)
    return places.reshape(*places.shape[:axis], -1, *places.shape[axis + 2 :])


def _a_of(x: Array, padding: Padding) -> list[Array]:
    """A x: 9 of [N P Q / 4, 4 C]."""

    def a(z: Array, axis: int) -> list[Array]:
        n = z.shape[axis] - 1
        d = [lax.slice_in_dim(z, start, n + min(start, 1), 2, axis) for start in range(3)]
        return [d[0] - d[1], d[1], d[1] - d[2]]

    return both(a, lax.optimization_barrier(_space_to_depth(x, (2, 2), padding)), (1, 2))


def _a_transposed(m: Sequence[Array], axis: int) -> Array:
    """Spread n tiles over 2 n + 2 places, of which the last is zero."""
    return interleaved(later(m[0], axis, 0) - later(m[2], axis, 1), later(m[1] - m[0] + m[2], axis, 0), axis)


def _b_of(w: Array) -> list[Array]:
    """B w: 9 of [4 C, O]."""

    def b(taps: Array, axis: int) -> list[Array]:
        g = [lax.index_in_dim(taps, tap, axis, keepdims=False) for tap in (0, 1)]
        return [g[0], g[0] + g[1], g[1]]

    return both(b, w.reshape(2, 2, 2, 2, *w.shape[2:]), (0, 1))  # taps and phases of rows, of columns


def _c_of(y: Array) -> list[Array]:
    """C y: 9 of [N P Q / 4, O]."""

    def c(z: Array, axis: int) -> list[Array]:
        even, odd = (lax.slice_in_dim(z, start, None, 2, axis) for start in (0, 1))
        return [even, even + odd, -odd]

    return both(c, y, (1, 2))
