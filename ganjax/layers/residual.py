"""The residual blocks of SNGAN, SAGAN and BigGAN (Gulrajani et al. 2017; Miyato et al. 2018, appendix B.4)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax

from ganjax.checks import check_name
from ganjax.core import Array
from ganjax.errors import ConfigError
from ganjax.layers.attention import SelfAttention
from ganjax.layers.convolution import Conv
from ganjax.layers.resampling import Conv3x3, double, mean_pool

_xavier = partial(nn.initializers.variance_scaling, mode="fan_avg", distribution="uniform")
XAVIER = _xavier(1.0)
KERNEL, SHORTCUT = _xavier(2.0), XAVIER  # gain sqrt(2) before a ReLU, 1 elsewhere


class UpBlock(nn.Module):
    """`norm, ReLU, (double), conv, norm, ReLU, conv`, plus the doubled input through a 1x1 convolution."""

    features: int
    norm: Callable[[Array], Array]  # called inside the block, where it makes its modules
    resample: str = "up"  # or none
    kernel_init: Any = KERNEL
    shortcut_init: Any = SHORTCUT
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, 2H, 2W, features]."""
        check_name("UpBlock", "resample", self.resample, ("up", "none"))
        conv = partial(Conv3x3, self.features, kernel_init=self.kernel_init, dtype=self.dtype)
        h = conv(resample=self.resample, name="conv_0")(jax.nn.relu(self.norm(x)))
        h = conv(name="conv_1")(jax.nn.relu(self.norm(h)))
        if self.resample != "none" or x.shape[-1] != self.features:
            x = Conv(self.features, (1, 1), kernel_init=self.shortcut_init, dtype=self.dtype, name="shortcut")(x)
        return h + (double(x) if self.resample == "up" else x)


class DownBlock(nn.Module):
    """`ReLU, conv, ReLU, conv, (pool)`, plus the pooled input through a 1x1 convolution."""

    features: int
    resample: str = "down"  # or none
    hidden: int | None = None  # channels between the convolutions; those of the input by default
    first: bool = False  # the block on the image itself: no ReLU before it, hidden = features
    kernel_init: Any = KERNEL
    shortcut_init: Any = SHORTCUT
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, H / 2, W / 2, features]."""
        check_name("DownBlock", "resample", self.resample, ("down", "none"))
        conv = partial(Conv3x3, kernel_init=self.kernel_init, dtype=self.dtype)
        hidden = self.hidden or (self.features if self.first else x.shape[-1])
        h = conv(hidden, name="conv_0")(x if self.first else jax.nn.relu(x))
        h = conv(self.features, resample=self.resample, name="conv_1")(jax.nn.relu(h))
        small = mean_pool(x) if self.resample == "down" else x
        if self.resample != "none" or x.shape[-1] != self.features:
            small = Conv(self.features, (1, 1), kernel_init=self.shortcut_init, dtype=self.dtype, name="shortcut")(
                small
            )
        return h + small


def stacked(
    block: Any,
    x: Array,
    each: Sequence[Mapping[str, Any]],
    *,
    attention: int,
    remat: bool,
    attention_init: Any = XAVIER,
    dtype: Any = None,
    **options: Any,
) -> Array:
    """One block after another. Called inside a module, which then owns them as block_0, block_1 and so on.

    Args:
        block: `UpBlock` or `DownBlock`.
        x: [B, H, W, C].
        each: the arguments of each block of its own.
        attention: side of the map behind whose first block self-attention is (Zhang et al. 2019); 0 for none.
        remat: compute the blocks again in the backward pass rather than keep them.
        attention_init: kernels of the self-attention.
        dtype: what all of them compute in.
        options: arguments of all blocks.

    Raises:
        ConfigError: there is no map of the side `attention`.
    """
    make = nn.remat(block) if remat else block
    for i, own in enumerate(each):
        x = make(**own, **options, dtype=dtype, name=f"block_{i}")(x)
        if attention and x.shape[1] == attention:
            x, attention = SelfAttention(kernel_init=attention_init, dtype=dtype)(x), 0
    if attention:
        raise ConfigError(f"attention is {attention}, but no block ends in a map of that side; take that of one, or 0")
    return x
