"""SPADE: normalisation whose scales and offsets are drawn from a map, pixel by pixel (Park et al. 2019)."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_name, check_range
from ganjax.core import Array
from ganjax.layers.convolution import Conv
from ganjax.layers.normalisation import BatchNorm, InstanceNorm


def one_hot(labels: Array, count: int) -> Array:
    """A map of labels as one plane for each, [B, H, W] integers to [B, H, W, count] float32.

    A label that there is not is refused where it is known, and inside a compiled function makes its pixel NaN: training
    then stops, where a plane of zeros would pass for a label.

    Raises:
        ValueError: a label below 0 or above `count` - 1.
    """
    ends = {"the least label": labels.min(), "the greatest label": labels.max()}
    check_range("one_hot", 0, count - 1, whole=True, **ends)  # type: ignore[arg-type]
    known = (labels >= 0) & (labels < count)
    return jnp.where(known[..., None], jax.nn.one_hot(labels, count), jnp.nan)


def nearest(m: Array, size: Sequence[int]) -> Array:
    """A map [B, H, W, L] at another size, [B, *size, L]: pixel i of n is the one of number `floor(i N / n)` of N.

    Nothing is mixed, so that planes of a one-hot map stay zeros and ones.
    """
    rows, columns = (np.arange(n) * side // n for n, side in zip(size, m.shape[1:3], strict=True))
    return m if tuple(size) == m.shape[1:3] else m[:, rows][:, :, columns]


class Spade(nn.Module):
    """`y = n(x) (1 + gamma(m)) + beta(m)`, n a norm without parameters, m a map (equations 1 to 3).

    gamma and beta are convolutions of `relu(conv(m))`, m at the size of x: `9 h (L + 2 C) + h + 2 C` parameters for L
    planes, C channels and h hidden ones. Of a map that is constant in space it is conditional BatchNorm (by norm
    "batch") or AdaIN ("instance") exactly only if kernels are 1x1 or the padding repeats the edge: zeros around the map
    are another label, which two 3x3 convolutions carry two pixels inwards.
    """

    hidden: int = 128  # channels of relu(conv(m))
    norm: Literal["batch", "instance"] = "batch"
    kernel: int = 3  # side of all kernels, odd
    padding: Literal["zero", "edge"] = "zero"
    axis_name: str | None = None  # of the devices that share BatchNorm's statistics
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, m: Array, *, train: bool) -> Array:
        """[B, H, W, C] maps of features and [B, H', W', L] maps, mostly one-hot, to [B, H, W, C]."""
        check_name("Spade", "norm", self.norm, ("batch", "instance"))
        check_name("Spade", "padding", self.padding, ("zero", "edge"))
        if self.norm == "batch":
            plain = partial(BatchNorm, use_scale=False, use_bias=False, axis_name=self.axis_name)
            normal = plain(use_running_average=not train, dtype=self.dtype)(x)
        else:
            normal = InstanceNorm(dtype=self.dtype)(x)
        reach, sides = self.kernel // 2, (self.kernel, self.kernel)

        def conv(features: int, h: Array, name: str) -> Array:
            how = "SAME"  # zeros
            if self.padding == "edge":
                h, how = jnp.pad(h, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge"), "VALID"
            return Conv(features, sides, padding=how, dtype=self.dtype, name=name)(h)

        h = jax.nn.relu(conv(self.hidden, nearest(m, x.shape[1:3]).astype(normal.dtype), "shared"))
        gamma, beta = jnp.split(conv(2 * x.shape[-1], h, "modulation"), 2, -1)
        return normal * (1 + gamma) + beta
