"""Convolutions whose derivatives of every order are as fast as their outputs.

`<conv(x, w), y>` is linear in each of `x`, `w` and `y`. A convolution, its input-gradient and its
weight-gradient are the three contractions of this one form, so the derivatives of each are the other two:

    y = convolution(x, w)         dx = input_gradient(w, dy)    dw = weight_gradient(x, dy)
    x = input_gradient(w, y)      dw = weight_gradient(dx, y)   dy = convolution(dx, w)
    w = weight_gradient(x, y)     dx = input_gradient(dw, y)    dy = convolution(x, dw)

Why write them out? XLA on a CPU has fast loops for one layout only, NHWC times HWIO gives NHWC. Autodiff of
`jax.lax.conv_general_dilated` permutes dimension numbers instead of data, and XLA puts them right in a
program's outermost computation alone: inside `scan`, `fori_loop` or `while_loop` a weight-gradient is up to
100 times slower (https://github.com/jax-ml/jax/issues/12868). So are, by a smaller factor but everywhere, the
weight-gradient of a transposed convolution and the second derivatives that gradient penalties need. Here
every contraction is written in the fast layout with explicit transposes, and the derivatives stay inside the
trio.

Inside the trio, `ganjax.layers.few_products` and `ganjax.layers.winograd` take over where fewer or larger products win,
in programs for a CPU alone; `few=False` refuses them.

The price: `jax.custom_vjp` knows reverse mode only. Hessian-vector products are reverse over reverse.

On other backends the stock form is used; `use_trio` is the switch.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.linear import canonicalize_padding
from jax import lax

from ganjax.core import Array
from ganjax.layers import few_products, winograd

Size = tuple[int, ...]  # one number for each of the two spatial axes
Padding = Sequence[tuple[int, int]]  # (low, high) for each; negative ones crop

_WIDE = 16  # channels from which a strided input-gradient is faster phase by phase than over a dilated map
_CANONICAL = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # NHWC, HWIO, NHWC


def use_trio() -> bool:
    """The switch: True where the trio beats the stock convolution, which is on a CPU. Read when tracing."""
    return jax.default_backend() == "cpu"


class Geometry(NamedTuple):
    """The static half of a convolution, `y[i] = sum_k x[stride * i + k - low] w[k]` along both spatial axes.

    The padding is exact: `x_size + low + high = stride * (y_size - 1) + w_size`. Rows that no window reads
    are cropped by a smaller, perhaps negative, high.
    """

    strides: Size
    padding: tuple[tuple[int, int], ...]
    x_size: Size
    w_size: Size
    y_size: Size
    few: bool = True  # by fewer or larger products where `few_products` says that these win

    @classmethod
    def create(cls, x_size: Size, w_size: Size, strides: Size, padding: Padding) -> "Geometry":
        """That of a convolution of `x` under any padding."""
        axes = zip(x_size, w_size, strides, padding, strict=True)
        y_size = tuple((n + low + high - k) // s + 1 for n, k, s, (low, high) in axes)
        return cls._exact(strides, [low for low, _ in padding], x_size, w_size, y_size)

    @classmethod
    def create_transposed(cls, y_size: Size, w_size: Size, strides: Size, padding: Padding) -> "Geometry":
        """That whose input-gradient slides over `y` dilated by `strides` and padded by `padding`."""
        axes = zip(y_size, w_size, strides, padding, strict=True)
        x_size = tuple((n - 1) * s + low + high - k + 2 for n, k, s, (low, high) in axes)
        lows = [k - 1 - low for k, (low, _) in zip(w_size, padding, strict=True)]
        return cls._exact(strides, lows, x_size, w_size, y_size)

    @classmethod
    def _exact(cls, strides: Size, lows: Sequence[int], x_size: Size, w_size: Size, y_size: Size) -> "Geometry":
        axes = zip(strides, lows, x_size, w_size, y_size, strict=True)
        padding = tuple((low, s * (p - 1) + k - n - low) for s, low, n, k, p in axes)
        return cls(strides, padding, x_size, w_size, y_size)

    def reached(self, w: Array) -> tuple[Array, "Geometry"]:
        """The taps of a kernel that lie on the input in some window, and the geometry of these: not all, of small maps.

        4x4 kernels of stride 2 see four numbers of a 2x2 map, and the convolution is a matrix product.
        """
        axes = zip(self.strides, self.padding, self.x_size, self.w_size, self.y_size, strict=True)
        ends = [(max(0, low - s * (p - 1)), min(k, low + n)) for s, (low, _), n, k, p in axes]
        w_size = tuple(max(0, stop - start) for start, stop in ends)
        if w_size == self.w_size or 0 in w_size:
            return w, self
        lows = [low - start for (low, _), (start, _) in zip(self.padding, ends, strict=True)]
        geometry = self._exact(self.strides, lows, self.x_size, w_size, self.y_size)._replace(few=self.few)
        return w[tuple(slice(*each) for each in ends)], geometry

    @property
    def one_window(self) -> bool:
        """Whether the only window is the whole input: then each contraction is a matrix product."""
        return self.x_size == self.w_size and self.padding == ((0, 0), (0, 0))


@cache
def _member_by_member(strides: Size, padding: Padding, lhs_dilation: Size, rhs_dilation: Size) -> Callable:
    """The canonical convolution; where both operands are mapped by `vmap`, one member after another.

    There `jax.vmap` would make a grouped convolution, which XLA on a CPU runs at a third of the speed.
    """

    @jax.custom_batching.custom_vmap
    def conv(x: Array, w: Array) -> Array:
        return lax.conv_general_dilated(
            x, w, strides, padding, lhs_dilation, rhs_dilation, dimension_numbers=_CANONICAL
        )

    @conv.def_vmap
    def members(size: int, batched: Sequence[bool], x: Array, w: Array) -> tuple[Array, bool]:
        if all(batched):
            return lax.map(lambda pair: conv(*pair), (x, w)), True
        if batched[0]:  # more examples
            y = conv(x.reshape(-1, *x.shape[2:]), w)
            return y.reshape(size, -1, *y.shape[1:]), True
        y = conv(x, jnp.moveaxis(w, 0, 3).reshape(*w.shape[1:4], -1))  # more output channels
        return jnp.moveaxis(y.reshape(*y.shape[:3], size, -1), 3, 0), True

    return conv


def _conv(
    x: Array, w: Array, strides: Size, padding: Padding, *, lhs_dilation: Size = (1, 1), rhs_dilation: Size = (1, 1)
) -> Array:
    return _member_by_member(strides, tuple(padding), lhs_dilation, rhs_dilation)(x, w)


def _on_cpu(fast: Callable, other: Callable, *operands: Array) -> Array:
    """`fast` in programs for a CPU, `other` in those for all else: what is exported is lowered for several."""
    return lax.platform_dependent(*operands, cpu=fast, default=other)


def _halved(geometry: Geometry, dtype: jnp.dtype, c: int, o: int) -> bool:
    shape = (*geometry.w_size, c, o)
    return geometry.few and few_products.halved(dtype, geometry.strides, shape, geometry.y_size)


def _thin(geometry: Geometry, dtype: jnp.dtype, c: int, o: int) -> bool:
    return geometry.few and few_products.thin(dtype, geometry.strides, (*geometry.w_size, c, o))


def _narrow(geometry: Geometry, dtype: jnp.dtype, c: int, o: int) -> bool:
    return geometry.few and few_products.narrow(dtype, geometry.strides, (*geometry.w_size, c, o))


def _tiled(geometry: Geometry, n: int, dtype: jnp.dtype, c: int, o: int) -> bool:
    shapes = (*geometry.w_size, c, o), (n, *geometry.y_size)
    return geometry.few and winograd.tiled(dtype, geometry.strides, *shapes)


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
    strides, padding = geometry.strides, geometry.padding
    direct = partial(_conv, strides=strides, padding=padding)
    if _halved(geometry, x.dtype, *w.shape[2:]):
        return _on_cpu(partial(few_products.convolution, padding=padding), direct, x, w)
    if _thin(geometry, x.dtype, *w.shape[2:]):
        return _on_cpu(partial(few_products.convolution_of_windows, strides=strides, padding=padding), direct, x, w)
    if _narrow(geometry, x.dtype, *w.shape[2:]):
        return _on_cpu(partial(few_products.convolution_to_few, padding=padding), direct, x, w)
    if _tiled(geometry, x.shape[0], x.dtype, *w.shape[2:]):
        return _on_cpu(partial(winograd.convolution, padding=padding), direct, x, w)
    return direct(x, w)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def input_gradient(w: Array, y: Array, geometry: Geometry) -> Array:
    """The contraction over `w` and `y`, which is also the transposed (fractionally strided) convolution.

    Args:
        w: [h, w, C, O] kernel.
        y: [N, P, Q, O] output of `convolution`, or its cotangent.
        geometry: strides, padding and sizes of that convolution.

    Returns:
        [N, H, W, C] like its input.
    """
    if geometry.one_window:
        return jnp.einsum("hwco,nijo->nhwc", w, y)
    direct = partial(_direct_input_gradient, geometry=geometry)
    if _halved(geometry, w.dtype, *w.shape[2:]):
        return _on_cpu(partial(few_products.input_gradient, padding=geometry.padding), direct, w, y)
    if _narrow(geometry, w.dtype, w.shape[3], w.shape[2]):
        return _on_cpu(lambda w, y: few_products.convolution_to_few(y, *_reversed(w, geometry)), direct, w, y)
    if _tiled(geometry, y.shape[0], w.dtype, *w.shape[2:]):
        tiled = partial(winograd.input_gradient, padding=geometry.padding, x_size=geometry.x_size)
        return _on_cpu(tiled, direct, w, y)
    return direct(w, y)


def _direct_input_gradient(w: Array, y: Array, geometry: Geometry) -> Array:
    """Phase by phase where strides would insert zeros, or over the dilated map."""
    if geometry.strides != (1, 1) and w.shape[2] >= _WIDE and all(map(operator.ge, geometry.w_size, geometry.strides)):
        return _by_phase(w, y, geometry)
    kernel, padding = _reversed(w, geometry)
    return _conv(y, kernel, (1, 1), padding, lhs_dilation=geometry.strides)


def _reversed(w: Array, geometry: Geometry) -> tuple[Array, Padding]:
    """Kernel and padding of the convolution of `y` that is the input-gradient."""
    axes = zip(geometry.w_size, geometry.padding, strict=True)
    return w[::-1, ::-1].swapaxes(2, 3), tuple((k - 1 - low, k - 1 - high) for k, (low, high) in axes)


def _by_phase(w: Array, y: Array, geometry: Geometry) -> Array:
    """The strided `input_gradient` without the zeros of a dilated `y`: one convolution for each phase of the stride.

    `x[s i + r]` depends on the taps `k = r + low - s t` of the kernel alone, and is the sum of `y[i + t] w[k]` over t.
    """
    rows, columns = (list(phases) for phases in map(_phases, *geometry[:5]))
    maps = [
        jnp.stack([_conv(y, w[k, l][::-1, ::-1].swapaxes(2, 3), (1, 1), (p, q)) for l, q in columns], 3)
        for k, p in rows
    ]  # each [N, H / s, W / s, s, C]
    x = jnp.stack(maps, 2)
    (n, h, s, w_, t, c), (height, width) = x.shape, geometry.x_size
    return x.reshape(n, h * s, w_ * t, c)[:, :height, :width]


def _phases(stride: int, padding: tuple[int, int], n: int, kernel: int, p: int) -> Iterator[tuple[slice, tuple]]:
    """The taps of the kernel in each phase of one axis, and the padding of `y` [p] for `n / stride` outputs."""
    count = -(-n // stride)
    for r in range(stride):
        first, taps = (r + padding[0]) % stride, range((r + padding[0]) % stride, kernel, stride)
        low = len(taps) - 1 - (r + padding[0]) // stride
        yield slice(first, None, stride), (low, count - 1 + len(taps) - low - p)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def weight_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """The contraction over `x` and `y`: a convolution that has the batch for its input channels.

    Args:
        x: [N, H, W, C] input.
        y: [N, P, Q, O] output of `convolution`, or its cotangent.
        geometry: strides, padding and sizes.

    Returns:
        [h, w, C, O] like the kernel.
    """
    if geometry.one_window:
        return jnp.einsum("nhwc,nijo->hwco", x, y)
    direct = partial(_direct_weight_gradient, geometry=geometry)
    if _halved(geometry, x.dtype, x.shape[3], y.shape[3]):
        return _on_cpu(partial(few_products.weight_gradient, padding=geometry.padding), direct, x, y)
    if _thin(geometry, x.dtype, x.shape[3], y.shape[3]):
        own = {"w_size": geometry.w_size, "strides": geometry.strides, "padding": geometry.padding}
        return _on_cpu(partial(few_products.weight_gradient_of_windows, **own), direct, x, y)
    if _narrow(geometry, x.dtype, x.shape[3], y.shape[3]):
        return _on_cpu(partial(_weight_gradient_of_few, geometry=geometry), direct, x, y)
    if _tiled(geometry, x.shape[0], x.dtype, x.shape[3], y.shape[3]):
        return _on_cpu(partial(winograd.weight_gradient, padding=geometry.padding), direct, x, y)
    return direct(x, y)


def _direct_weight_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    x, y = x.transpose(3, 1, 2, 0), y.transpose(1, 2, 0, 3)
    return _conv(x, y, (1, 1), geometry.padding, rhs_dilation=geometry.strides).transpose(1, 2, 0, 3)


def _weight_gradient_of_few(x: Array, y: Array, geometry: Geometry) -> Array:
    """That of stride 1 with the few channels of `y` for a batch, not the many of `x`: `y` slides over `x`, reversed."""
    beyond = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(geometry.w_size, geometry.padding, strict=True)]
    y = lax.optimization_barrier(few_products.padded(y, beyond))
    w = _conv(y.transpose(3, 1, 2, 0), x.transpose(1, 2, 0, 3), (1, 1), ((0, 0), (0, 0)))
    return w[:, ::-1, ::-1].transpose(1, 2, 3, 0)


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


def conv_general_dilated(  # noqa: PLR0913  lax's own
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Padding,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    *,
    few: bool = True,
) -> Array:
    """`jax.lax.conv_general_dilated` with fast derivatives, for `flax.linen.Conv(conv_general_dilated=...)`.

    The trio covers NHWC and HWIO, one group, no rhs dilation, not strides and lhs dilation together, default
    precision. All else, and every other backend, goes to the stock function, whose arguments these are; `few` is
    whether fewer products may be taken where they win.

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
        and lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers) == _CANONICAL
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
        geometry = Geometry.create(x_size, w_size, strides, padding)._replace(few=few)
        return convolution(lhs, *geometry.reached(rhs)) if min(geometry.y_size) > 0 else stock()
    geometry = Geometry.create_transposed(x_size, w_size, dilation, padding)._replace(few=few)
    return _transposed(lhs, rhs, geometry) if min(geometry.x_size) > 0 else stock()


def conv_transpose(
    lhs: Array, rhs: Array, strides: Sequence[int], padding: str | Padding, *, few: bool = True
) -> Array:
    """`jax.lax.conv_transpose` of two spatial axes, by the trio where that is faster.

    Args:
        lhs: [N, P, Q, I] input.
        rhs: [h, w, I, O] kernel, which slides unflipped over the dilated input.
        strides: the factors by which the two sides grow.
        padding: 'SAME' (sides grow by exactly `strides`), 'VALID', or (low, high) of the dilated input.
        few: whether fewer products may be taken where they win.

    Returns:
        [N, H, W, O].
    """
    if not use_trio():
        return lax.conv_transpose(lhs, rhs, strides, padding)
    sizes = lhs.shape[1:3], rhs.shape[:2], tuple(strides)
    if isinstance(padding, str):
        padding = [_transposed_padding(k, s, padding) for k, s in zip(*sizes[1:], strict=True)]
    return _transposed(lhs, rhs, Geometry.create_transposed(*sizes, padding)._replace(few=few))


def _transposed(lhs: Array, rhs: Array, geometry: Geometry) -> Array:
    w, geometry = geometry.reached(rhs[::-1, ::-1].swapaxes(2, 3))
    return input_gradient(w, lhs, geometry)


def _transposed_padding(k: int, s: int, padding: str) -> tuple[int, int]:
    """(low, high) that `jax.lax.conv_transpose` means by 'SAME' and 'VALID'."""
    if padding == "VALID":
        return k - 1, max(k, s) - 1
    if padding != "SAME":
        raise ValueError(f"padding: got {padding!r}, expected 'SAME', 'VALID' or (low, high) for each axis.")
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
        planar = inputs.ndim == 4 and not isinstance(self.kernel_size, int) and len(self.kernel_size) == 2
        padding = canonicalize_padding(self.padding, 2) if planar else None
        stock = self.mask, self.precision, self.preferred_element_type, self.kernel_dilation
        if not use_trio() or padding in (None, "CIRCULAR") or any(option is not None for option in stock):
            return super().__call__(inputs)
        shape = [inputs.shape[-1], self.features]
        if self.transpose_kernel:
            shape.reverse()
        height, width = self.kernel_size  # type: ignore[misc]
        kernel = self.param("kernel", self.kernel_init, (height, width, *shape), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        x: Any
        w: Any
        b: Any
        x, w, b = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        if self.transpose_kernel:
            w = w[::-1, ::-1].swapaxes(2, 3)
        strides = self.strides or 1
        y = conv_transpose(x, w, (strides, strides) if isinstance(strides, int) else strides, padding)
        return y if b is None else y + b.reshape(1, 1, 1, -1)
