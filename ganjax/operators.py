"""The true spectral norm of a convolution as a linear operator, and how steep a whole discriminator is.

Spectral normalisation divides a kernel [h, w, I, O] by the norm of the matrix [h w I, O], which is not the norm of the
convolution: with strides (s, t), `|W| <= |A| <= sqrt(ceil(h / s) ceil(w / t)) |W|`. The upper bound always holds. The
lower one needs an output whose whole window lies on distinct pixels of the image, so an image at least as large as
the kernel: a 3 x 3 kernel on a 1 x 1 image sees its centre alone.
"""

import math
from collections.abc import Callable
from functools import reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_range
from ganjax.core import Array, Key, Metrics, PyTree

Size = tuple[int, int]
Padding = str | tuple[tuple[int, int], tuple[int, int]]


def reshaped_norm(kernel: Array) -> Array:
    """`|W|`, the largest singular value of a kernel [..., O] as the matrix [inputs, O]; what `spectral_norm` uses."""
    return jnp.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), ord=2)


def operator_bounds(kernel: Array, strides: Size = (1, 1)) -> tuple[Array, Array]:
    """Lower and upper bound of the operator norm of a convolution, from its reshaped kernel.

    Args:
        kernel: [h, w, I, O] floating.
        strides: of the convolution.

    Returns:
        `|W|`, for images that hold a whole window, and `sqrt(ceil(h / s) ceil(w / t)) |W|`, for all.
    """
    check_range("operator_bounds", 1, whole=True, strides=strides)
    norm = reshaped_norm(kernel)
    overlap = math.prod(math.ceil(k / s) for k, s in zip(kernel.shape[:2], strides, strict=True))
    return norm, math.sqrt(overlap) * norm


def circular_norm(kernel: Array, size: Size, strides: Size = (1, 1)) -> Array:
    """The norm of a convolution with circular padding, exactly, by the Fourier transform (Sedghi et al. 2019).

    With `K(w)` [O, I] the transform of the kernel at frequency w, the singular values of the operator are those of all
    K(w). With strides, frequencies that the subsampling maps on one are joined: `[K(w_1), ..., K(w_st)] / sqrt(st)`.

    Args:
        kernel: [h, w, I, O] floating.
        size: height and width of the image, divisible by the strides.
        strides: of the convolution.
    """
    check_range("circular_norm", 1, whole=True, size=size, strides=strides)
    _check_kernel("circular_norm", kernel)
    if any(n % s for n, s in zip(size, strides, strict=True)):
        raise ValueError(f"circular_norm: the size {size} is not divisible by the strides {strides}")
    h, w, inputs, outputs = kernel.shape
    rows, columns = jnp.arange(h) % size[0], jnp.arange(w) % size[1]  # a kernel larger than the image wraps
    image = jnp.zeros((*size, inputs, outputs), kernel.dtype).at[rows[:, None], columns[None, :]].add(kernel)
    k = jnp.fft.fft2(image, axes=(0, 1))
    (n, m), (s, t) = size, strides
    k = k.reshape(s, n // s, t, m // t, inputs, outputs).transpose(1, 3, 0, 2, 4, 5)
    return jnp.linalg.norm(k.reshape(n // s, m // t, -1, outputs), ord=2, axis=(2, 3)).max() / math.sqrt(s * t)


def operator_norm(
    kernel: Array,
    size: Size,
    key: Key,
    *,
    strides: Size = (1, 1),
    padding: Padding = "SAME",
    steps: int = 100,
) -> Array:
    """The norm of a convolution with zero padding, by power iteration on the operator (Gouk et al. 2021, section 4).

    `x <- A^T A x / |A^T A x|`, then `|A x|`: never above the norm, and never falling with the number of steps. A
    transposed convolution has the norm of the convolution that it transposes.

    Args:
        kernel: [h, w, I, O] floating.
        size: height and width of the image that the convolution reads.
        key: of the first image.
        strides: of the convolution.
        padding: "SAME", "VALID", or (low, high) for each axis.
        steps: how many.
    """
    check_range("operator_norm", 1, whole=True, size=size, strides=strides, steps=steps)
    _check_kernel("operator_norm", kernel)

    def forward(x: Array) -> Array:
        return jax.lax.conv_general_dilated(
            x[None], kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
        )[0]

    x = jax.random.normal(key, (*size, kernel.shape[2]), kernel.dtype)
    transpose = jax.linear_transpose(forward, x)

    def unit(x: Array) -> Array:
        norm = jnp.linalg.norm(x.ravel())
        return x / jnp.where(norm > 0, norm, 1)

    x = jax.lax.fori_loop(0, steps, lambda _, x: unit(transpose(forward(x))[0]), unit(x))
    return jnp.linalg.norm(forward(x).ravel())


def norms_of_convolutions(module: nn.Module, *inputs: Array, steps: int = 20, **options) -> Callable[[PyTree], Metrics]:
    """What a Flax module's convolutions do to their inputs, as a function of its parameters, to log in training.

    The module is traced once, without computing, to see what size of image each convolution reads.

    Args:
        module: its convolutions are `flax.linen.Conv`, or subclasses, with two spatial axes.
        *inputs: what the module is called with; only shapes matter.
        steps: of each power iteration.
        **options: keywords of the call, such as `train=False`.

    Returns:
        `params -> {"<layer>/operator": |A|, "<layer>/reshaped": |W|}`, for every convolution.
    """
    check_range("norms_of_convolutions", 1, whole=True, steps=steps)
    seen: dict[tuple[str, ...], tuple[Size, Size, Padding]] = {}

    def note(call, args, kwargs, context):
        layer = context.module
        if isinstance(layer, nn.Conv) and context.method_name == "__call__":
            strides = layer.strides or 1
            strides = (strides, strides) if isinstance(strides, int) else (strides[0], strides[1])
            padding = layer.padding if isinstance(layer.padding, str) else _pairs(layer.padding)
            height, width = args[0].shape[1:3]
            seen[tuple(layer.path)] = ((height, width), strides, padding)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        jax.eval_shape(lambda: module.init(keys, *inputs, **options))
    if not seen:
        raise ValueError("norms_of_convolutions: the module has no flax.linen.Conv")

    def measure(params: PyTree) -> Metrics:
        found = {}
        for path, (size, strides, padding) in seen.items():
            kernel = reduce(lambda tree, name: tree[name], path, params)["kernel"]
            name = "/".join(path)
            key = jax.random.key(0)
            found[f"{name}/operator"] = operator_norm(kernel, size, key, strides=strides, padding=padding, steps=steps)
            found[f"{name}/reshaped"] = reshaped_norm(kernel)
        return found

    return measure


def lipschitz_estimate(critic: Callable[[Array], Array], x: Array, *, steps: int = 0, length: float = 0.1) -> Array:
    """A lower bound of the Lipschitz constant of a discriminator: the largest `|grad D|` that is found.

    From each given point, gradient ascent of `|grad D(x)|` by steps of a fixed length; the largest value on the way
    counts, so more steps never give less.

    Args:
        critic: x [B, ...] -> logits [B], example by example.
        x: [B, ...] where the search begins.
        steps: of the ascent.
        length: of one step, in the units of x.
    """
    check_range("lipschitz_estimate", 0, whole=True, steps=steps)
    check_range("lipschitz_estimate", 0, above=True, length=length)
    axes = tuple(range(1, x.ndim))

    def steepness(x: Array) -> Array:
        slope = jax.grad(lambda x: critic(x).sum())(x)
        square = (slope**2).sum(axes)
        return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)

    def climb(_, state: tuple[Array, Array]) -> tuple[Array, Array]:
        x, best = state
        way = jax.grad(lambda x: steepness(x).sum())(x)
        norm = jnp.sqrt((way**2).sum(axes, keepdims=True))
        x = x + length * way / jnp.where(norm > 0, norm, 1)
        return x, jnp.maximum(best, steepness(x))

    return jax.lax.fori_loop(0, steps, climb, (x, steepness(x)))[1].max()


def _pairs(padding) -> tuple[tuple[int, int], tuple[int, int]]:
    if isinstance(padding, int):
        return ((padding, padding),) * 2
    first, second = ((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    return first, second


def _check_kernel(name: str, kernel: Array) -> None:
    if kernel.ndim != 4 or not jnp.issubdtype(kernel.dtype, np.floating):
        raise ValueError(
            f"{name}: the kernel has shape {kernel.shape} and dtype {kernel.dtype}, expected [h, w, I, O] floating"
        )
