"""Contractions of 3x3 convolutions of stride 1 with 16 products for 36 (Winograd 1980, Lavin and Gray 2016).

Along each axis two neighbouring outputs, from inputs d0 to d3 and taps g0 to g2, need four products instead of six:

    A x = (d0 - d2, d1 + d2, d2 - d1, d1 - d3)              C y = (y0, y0 + y1, y0 - y1, -y1)
    B w = (g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2)

    <conv(x, w), y> = sum_t (A x)_t (B w)_t (C y)_t

so the three contractions of the form are, as in `ganjax.layers.few_products`,

    y = C^T(A x . B w)                dx = A^T(B w . C y)          dw = B^T(A x . C y)

In two dimensions t runs over 4 x 4, and each t is a matrix product over channels or tiles. What is multiplied is four
times as large as x and y: it must stay in a cache, so a batch goes through in parts. The rewriting is exact; in float32
the error against float64 is 3e-7 to 6e-7, relative in norm, where the direct form has 2e-7 to 4e-7.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from ganjax.core import Array
from ganjax.layers import few_products
from ganjax.layers.few_products import Padding, Size, both, interleaved, later, padded, transposed

AT_ONCE = 2**19  # numbers of x and y, as many tiles cover, that go through together: a quarter of an L3 of 32 MiB


def tiled(dtype: jnp.dtype, strides: Size, w_shape: Sequence[int], y_shape: Sequence[int]) -> bool:
    """Whether F(2x2, 3x3) is to be taken: many channels, and one example at least fits into the cache.

    Twice the channels that 9 products for 16 need, as benchmarks/convolutions.py measures. Not in bfloat16, where sums
    of inputs lose a bit, nor of a batch of any size, as exported programs take it.
    """
    return (
        dtype in few_products.WIDE
        and tuple(strides) == (1, 1)
        and tuple(w_shape[:2]) == (3, 3)
        and w_shape[2] >= 2 * few_products.LEAST[0]
        and w_shape[3] >= 2 * few_products.LEAST[1]
        and not jax.export.is_symbolic_dim(y_shape[0])
        and _parts(y_shape, sum(w_shape[2:])) is not None
    )


@partial(jax.jit, static_argnames="padding")
def convolution(x: Array, w: Array, padding: Padding) -> Array:
    """The contraction of [N, H, W, C] with [3, 3, C, O] to [N, P, Q, O]."""
    p, q = (n + low + high - 2 for n, (low, high) in zip(x.shape[1:3], padding, strict=True))
    kernels = _b_of(w)

    def part(x: Array) -> Array:
        a, tiles = _a_of(x, padding)
        m = [(a @ b).reshape(len(x), *tiles, -1) for a, b in zip(a, kernels, strict=True)]
        y = transposed(lambda m, axis: jnp.stack([m[0] + m[1] + m[2], m[1] - m[2] - m[3]], axis + 1), m, (1, 2))
        return y.reshape(len(x), 2 * tiles[0], 2 * tiles[1], -1)[:, :p, :q]

    return _by_parts(part, (len(x), p, q), sum(w.shape[2:]), x)


@partial(jax.jit, static_argnames=("padding", "x_size"))
def input_gradient(w: Array, y: Array, padding: Padding, x_size: Size) -> Array:
    """The contraction of [3, 3, C, O] with [N, P, Q, O] to [N, H, W, C], of the same convolution."""
    kernels = _b_of(w)

    def part(y: Array) -> Array:
        c, tiles = _c_of(y)
        m = [
            lax.dot_general(c, b, (((1,), (1,)), ((), ()))).reshape(len(y), *tiles, -1)
            for c, b in zip(c, kernels, strict=True)
        ]
        x = transposed(_a_transposed, m, (1, 2))
        ends = zip(x_size, x.shape[1:3], padding, strict=True)
        return padded(x, [(-low, n + low - there) for n, there, (low, _) in ends])

    return _by_parts(part, y.shape[:3], sum(w.shape[2:]), y)


@partial(jax.jit, static_argnames="padding")
def weight_gradient(x: Array, y: Array, padding: Padding) -> Array:
    """The contraction of [N, H, W, C] with [N, P, Q, O] to [3, 3, C, O]."""

    def part(x: Array, y: Array) -> Array:
        ends = zip(_a_of(x, padding)[0], _c_of(y)[0], strict=True)
        m = [lax.dot_general(c, a, (((0,), (0,)), ((), ()))).T for a, c in ends]
        return transposed(_b_transposed, m, (0, 0))

    return _by_parts(part, y.shape[:3], x.shape[3] + y.shape[3], x, y, total=True)


def _parts(y_shape: Sequence[int], channels: int) -> int | None:
    """The fewest equal parts of a batch that are small enough; None where one example is not."""
    n, p, q = y_shape[:3]
    each = 4 * math.ceil(p / 2) * math.ceil(q / 2) * channels
    return next((k for k in range(1, n + 1) if n % k == 0 and n // k * each <= AT_ONCE), None)


def _by_parts(part: Callable, y_shape: Sequence[int], channels: int, *of_batch: Array, total: bool = False) -> Array:
    """Of the parts of a batch, one after another, what `part` makes of them, in a row or in sum."""
    count = _parts(y_shape, channels) or 1
    if count == 1:
        return part(*of_batch)
    parts = tuple(z.reshape(count, -1, *z.shape[1:]) for z in of_batch)
    if not total:
        made = lax.map(lambda parts: part(*parts), parts)
        return made.reshape(-1, *made.shape[2:])
    zero = jnp.zeros_like(jax.eval_shape(part, *(z[0] for z in parts)))
    return lax.scan(lambda sum_, parts: (sum_ + part(*parts), None), zero, parts)[0]


def _a_of(x: Array, padding: Padding) -> tuple[list[Array], Size]:
    """A x: 16 of [N T, C]; and the tiles T of rows and columns."""
    tiles = tuple((n + low + high - 1) // 2 for n, (low, high) in zip(x.shape[1:3], padding, strict=True))
    ends = zip(x.shape[1:3], padding, tiles, strict=True)

    def a(z: Array, axis: int) -> list[Array]:
        last = z.shape[axis] - 3
        d = [lax.slice_in_dim(z, j, j + last, 2, axis) for j in range(4)]
        return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]

    x = lax.optimization_barrier(padded(x, [(low, 2 * t + 2 - n - low) for n, (low, _), t in ends]))
    return both(a, x, (1, 2)), tiles


def _a_transposed(m: Sequence[Array], axis: int) -> Array:
    """Spread t tiles over 2 t + 2 places."""
    even = later(m[0], axis, 0) + later(m[1] + m[2] - m[0], axis, 1)
    return interleaved(even, later(m[1] - m[2] + m[3], axis, 0) - later(m[3], axis, 1), axis)


def _b_of(w: Array) -> list[Array]:
    """B w: 16 of [C, O]."""

    def b(taps: Array, axis: int) -> list[Array]:
        g = [lax.index_in_dim(taps, tap, axis, keepdims=False) for tap in range(3)]
        outer, inner = (g[0] + g[2]) / 2, g[1] / 2
        return [g[0], outer + inner, outer - inner, g[2]]

    return both(b, w, (0, 0))


def _b_transposed(m: Sequence[Array], axis: int) -> Array:
    half, difference = (m[1] + m[2]) / 2, (m[1] - m[2]) / 2
    return jnp.stack([m[0] + half, difference, half + m[3]], axis)


def _c_of(y: Array) -> tuple[list[Array], Size]:
    """C y: 16 of [N T, O]; and the tiles."""
    y = padded(y, [(0, size % 2) for size in y.shape[1:3]])

    def c(z: Array, axis: int) -> list[Array]:
        even, odd = (lax.slice_in_dim(z, start, None, 2, axis) for start in (0, 1))
        return [even, even + odd, even - odd, -odd]

    return both(c, y, (1, 2)), (y.shape[1] // 2, y.shape[2] // 2)
