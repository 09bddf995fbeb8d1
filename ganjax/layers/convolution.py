"""Convolutions whose derivatives of every order are as fast as their outputs.

`<conv(x, w), y>` is linear in each of `x`, `w` and `y`. A convolution, its input-gradient and its
weight-gradient are the three contractions of this one form, so the derivatives of each are the other two:

    y = convolution(x, w)         dx = input_gradient(w, dy)    dw = weight_gradient(x, dy)
    x = input_gradient(w, y)      dw = weight_gradient(dx, y)   dy = convolution(dx, w)
    w = weight_gradient(x, y)     dx = input_gradient(dw, y)    dy = convolution(x, dw)

Why write them out? XLA on a CPU has fast loops for one layout only, NHWC times HWIO gives NHWC. Autodiff of
`jax.lax.conv_general_dilated` permutes dimension numbers instead of data, and XLA puts them right in a program's
outermost computation alone: inside `scan`, `fori_loop` or `while_loop` a weight-gradient is up to 100 times
slower (https://github.com/jax-ml/jax/issues/12868), and so are the weight-gradient of a transposed convolution
and the second derivatives that gradient penalties need, everywhere. Here every contraction is written in the fast
layout with explicit transposes, and the derivatives stay inside the trio.

The price: `jax.custom_vjp` knows reverse mode only. Hessian-vector products are reverse over reverse.

On other backends the stock form is the fast one; `use_trio` is the switch.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.linear import canonicalize_padding
from jax import lax

from ganjax.core import Array

_CANONICAL = ("NHWC", "HWIO", "NHWC")
_CANONICAL_NUMBERS = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
_FEW_CHANNELS = 4  # up to here copying the windows costs less than a convolution that is narrow

Pair = tuple[int, int]


def use_trio() -> bool:
    """The switch: True where the trio beats the stock convolution, which is on a CPU. Read when tracing."""
    return jax.default_backend() == "cpu"


class Geometry(NamedTuple):
    """The static half of a convolution: `y[i] = sum_k x[stride * i + k - low] w[k]`, for each spatial axis."""

    strides: Pair
    padding: tuple[Pair, Pair]  # (low, high); exact: x_size + low + high = stride * (y_size - 1) + w_size
    x_size: Pair
    w_size: Pair
    y_size: Pair

    @classmethod
    def create(cls, x_size: Pair, w_size: Pair, strides: Pair, padding: Sequence[Pair]) -> "Geometry":
        """Counts the outputs and trims the padding, so that the last window ends where the padded input does."""
        y_size = tuple((n + lo + hi - k) // s + 1 for n, k, s, (lo, hi) in zip(x_size, w_size, strides, padding))
        return cls._exact(x_size, w_size, y_size, strides, [lo for lo, _ in padding])

    @classmethod
    def create_transposed(cls, y_size: Pair, w_size: Pair, strides: Pair, padding: Sequence[Pair]) -> "Geometry":
        """The convolution whose input-gradient is that of `y` dilated by `strides`, under `padding`, stride 1."""
        x_size = tuple((n - 1) * s + 2 + lo + hi - k for n, k, s, (lo, hi) in zip(y_size, w_size, strides, padding))
        return cls._exact(x_size, w_size, y_size, strides, [k - 1 - lo for k, (lo, _) in zip(w_size, padding)])

    @classmethod
    def _exact(cls, x_size: Any, w_size: Any, y_size: Any, strides: Any, lows: Any) -> "Geometry":
        axes = zip(x_size, w_size, y_size, strides, lows)
        padding = tuple((lo, s * (p - 1) + k - n - lo) for n, k, p, s, lo in axes)
        return cls(tuple(strides), padding, tuple(x_size), tuple(w_size), tuple(y_size))

    @property
    def one_window(self) -> bool:
        """Whether the only window is the whole input: then each contraction is a matrix product."""
        return self.x_size == self.w_size and self.padding == ((0, 0), (0, 0))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolution(x: Array, w: Array, geometry: Geometry) -> Array:
    """The contraction over `x` and `w`.

    Args:
        x: [N, H, W, C] input.
        w: [h, w, C, O] kernel.
        geometry: strides, padding and sizes.

    Returns:
        [N, P, Q, O] output.
    """
    if geometry.one_window:
        return jnp.einsum("nhwc,hwco->no", x, w)[:, None, None]
    if x.shape[-1] <= _FEW_CHANNELS:
        return jnp.einsum("npqkc,kco->npqo", _windows(x, geometry), w.reshape(-1, *w.shape[2:]))
    return lax.conv_general_dilated(
        x, w, geometry.strides, geometry.padding, dimension_numbers=_CANONICAL
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def input_gradient(w: Array, y: Array, geometry: Geometry) -> Array:
    """The contraction over `w` and `y`, which is also the transposed (fractionally strided) convolution.

    A stride s interleaves s outputs per axis; each is a convolution of stride 1 with every s-th tap of the
    kernel. Nothing is multiplied by the zeros of a dilated `y`.

    Args:
        w: [h, w, C, O] kernel.
        y: [N, P, Q, O] output of `convolution`, or its cotangent.
        geometry: strides, padding and sizes of that convolution.

    Returns:
        [N, H, W, C] like its input.
    """
    if geometry.one_window:
        return jnp.einsum("hwco,nijo->nhwc", w, y)
    if w.shape[2] <= _FEW_CHANNELS:
        windows = jnp.einsum("kco,npqo->npqkc", w.reshape(-1, *w.shape[2:]), y)
        x = jax.ShapeDtypeStruct((y.shape[0], *geometry.x_size, w.shape[2]), y.dtype)
        return jax.linear_transpose(partial(_windows, geometry=geometry), x)(windows)[0]
    return _phases(w, y, geometry)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def weight_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """The contraction over `x` and `y`: a convolution whose channels are the batch.

    Args:
        x: [N, H, W, C] input.
        y: [N, P, Q, O] output of `convolution`, or its cotangent.
        geometry: strides, padding and sizes.

    Returns:
        [h, w, C, O] like the kernel.
    """
    if geometry.one_window:
        return jnp.einsum("nhwc,nijo->hwco", x, y)
    if x.shape[-1] <= _FEW_CHANNELS:
        w = jnp.einsum("npqkc,npqo->kco", _windows(x, geometry), y)
        return w.reshape(*geometry.w_size, *w.shape[1:])
    w = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        y.transpose(1, 2, 0, 3),
        (1, 1),
        geometry.padding,
        rhs_dilation=geometry.strides,
        dimension_numbers=_CANONICAL,
    )
    return w.transpose(1, 2, 0, 3)


convolution.defvjp(
    lambda x, w, geometry: (convolution(x, w, geometry), (x, w)),
    lambda geometry, xw, y: (input_gradient(xw[1], y, geometry), weight_gradient(xw[0], y, geometry)),
)
input_gradient.defvjp(
    lambda w, y, geometry: (input_gradient(w, y, geometry), (w, y)),
    lambda geometry, wy, x: (weight_gradient(x, wy[1], geometry), convolution(x, wy[0], geometry)),
)
weight_gradient.defvjp(
    lambda x, y, geometry: (weight_gradient(x, y, geometry), (x, y)),
    lambda geometry, xy, w: (input_gradient(w, xy[1], geometry), convolution(xy[0], w, geometry)),
)


def _windows(x: Array, geometry: Geometry) -> Array:
    """[N, P, Q, h * w, C]: what each tap of the kernel sees."""
    (sh, sw), (p, q) = geometry.strides, geometry.y_size
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in geometry.padding), (0, 0, 0)])
    taps = itertools.product(*map(range, geometry.w_size))
    ends = ((i, j, i + sh * (p - 1) + 1, j + sw * (q - 1) + 1) for i, j in taps)
    return jnp.stack([x[:, i:k:sh, j:l:sw] for i, j, k, l in ends], axis=3)


def _phases(w: Array, y: Array, geometry: Geometry) -> Array:
    """The input-gradient, one convolution of stride 1 for each residue of the input's position modulo the stride."""
    axes = zip(geometry.strides, geometry.padding, geometry.x_size, geometry.w_size, geometry.y_size)
    rows, columns = (
        [_phase(b, s, lo, n, k, p) for b in range(s)] for s, (lo, _), n, k, p in axes
    )
    w = w.swapaxes(2, 3)
    x = jnp.stack([jnp.stack([_tap(w, y, r, c) for c in columns], 3) for r in rows], 2)
    n, a, _, b, _, c = x.shape
    height, width = geometry.x_size
    return x.reshape(n, a * len(rows), b * len(columns), c)[:, :height, :width]


def _phase(b: int, s: int, lo: int, x_size: int, w_size: int, y_size: int) -> tuple[slice, Pair, int]:
    """For x[s * j + b] = sum_t w[a + s * t] y[j + shift - t]: the taps in order, the padding of y, the range of j."""
    shift, a = divmod(b + lo, s)
    taps = len(range(a, w_size, s))
    count = -(-x_size // s)
    last = a + s * (taps - 1)
    taken = slice(last, a - 1 if a else None, -s) if taps else slice(0, 0)
    return taken, (taps - 1 - shift, count + shift - y_size), count


def _tap(w: Array, y: Array, row: Any, column: Any) -> Array:
    w = w[row[0], column[0]]
    if 0 in w.shape:  # the stride jumps over this phase
        return jnp.zeros((y.shape[0], row[2], column[2], w.shape[3]), y.dtype)
    return lax.conv_general_dilated(y, w, (1, 1), (row[1], column[1]), dimension_numbers=_CANONICAL)


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[Pair],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """`jax.lax.conv_general_dilated` by the trio where that applies: NHWC and HWIO, one group, no rhs dilation,
    and not both strides and lhs dilation. Everything else, and every other backend, goes to the stock function.

    For `flax.linen.Conv(conv_general_dilated=...)`; the arguments are those of the stock function.

    Returns:
        [N, P, Q, O] in the dtype of the inputs.
    """
    stock = partial(
        lax.conv_general_dilated,
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        feature_group_count,
        batch_group_count,
        precision,
        preferred_element_type,
    )
    ones = (1, 1)
    strides = tuple(window_strides)
    dilation = tuple(lhs_dilation or ones)
    if not (
        use_trio()
        and lhs.ndim == rhs.ndim == 4
        and lhs.dtype == rhs.dtype
        and lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers) == _CANONICAL_NUMBERS
        and feature_group_count == batch_group_count == 1
        and lhs.shape[3] == rhs.shape[2]
        and tuple(rhs_dilation or ones) == ones
        and ones in (strides, dilation)
        and not (isinstance(padding, str) and dilation != ones)
        and precision is None
        and preferred_element_type is None
    ):
        return stock()
    x_size, w_size = lhs.shape[1:3], rhs.shape[:2]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x_size, w_size, strides, padding)
    if dilation == ones:
        geometry = Geometry.create(x_size, w_size, strides, padding)
        return convolution(lhs, rhs, geometry) if min(geometry.y_size) > 0 else stock()
    geometry = Geometry.create_transposed(x_size, w_size, dilation, padding)
    return _transposed(lhs, rhs, geometry) if min(geometry.x_size) > 0 else stock()


def conv_transpose(lhs: Array, rhs: Array, strides: Sequence[int], padding: str | Sequence[Pair]) -> Array:
    """`jax.lax.conv_transpose` of two spatial axes by the trio.

    Args:
        lhs: [N, P, Q, I] input.
        rhs: [h, w, I, O] kernel, which slides unflipped over the dilated input.
        strides: the factors by which the two sides grow.
        padding: 'SAME' (sides grow by exactly `strides`), 'VALID', or (low, high) of the dilated input.

    Returns:
        [N, H, W, O].
    """
    sizes = lhs.shape[1:3], rhs.shape[:2], tuple(strides)
    if isinstance(padding, str):
        padding = [_transposed_padding(k, s, padding) for k, s in zip(*sizes[1:], strict=True)]
    return _transposed(lhs, rhs, Geometry.create_transposed(*sizes, padding))


def _transposed(lhs: Array, rhs: Array, geometry: Geometry) -> Array:
    return input_gradient(rhs[::-1, ::-1].swapaxes(2, 3), lhs, geometry)


def _transposed_padding(k: int, s: int, padding: str) -> Pair:
    """(low, high) that `jax.lax.conv_transpose` means by 'SAME' and 'VALID'."""
    if padding == "VALID":
        return k - 1, max(k, s) - 1
    low = k - 1 if s > k - 1 else -(-(k + s - 2) // 2)
    return low, k + s - 2 - low


class Conv(nn.Conv):
    """`flax.linen.Conv` with fast derivatives: same arguments, parameters and outputs."""

    conv_general_dilated: Any = conv_general_dilated


class ConvTranspose(nn.ConvTranspose):
    """`flax.linen.ConvTranspose` with fast derivatives: same arguments, parameters and outputs.

    Where an argument has no fast form (circular padding, dilated or masked kernels, other than two spatial
    axes), it is the stock layer.
    """

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """[N, P, Q, I] to [N, H, W, features]."""
        padding = canonicalize_padding(self.padding, 2) if inputs.ndim == 4 else None
        stock = self.mask, self.precision, self.preferred_element_type, self.kernel_dilation
        if not use_trio() or padding in (None, "CIRCULAR") or any(option is not None for option in stock):
            return super().__call__(inputs)
        shape = [inputs.shape[-1], self.features]
        if self.transpose_kernel:
            shape.reverse()
        w = self.param("kernel", self.kernel_init, (*self.kernel_size, *shape), self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        inputs, w, bias = self.promote_dtype(inputs, w, bias, dtype=self.dtype)
        if self.transpose_kernel:
            w = w[::-1, ::-1].swapaxes(2, 3)
        strides = self.strides or 1
        y = conv_transpose(inputs, w, (strides, strides) if isinstance(strides, int) else strides, padding)
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)
