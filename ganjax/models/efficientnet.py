"""EfficientNet-Lite0 (Tan & Le 2019; Liu 2020): a small classifier of ImageNet, as features of colour images.

Against EfficientNet-B0 it has relu6 for swish and no squeeze-and-excitation. BatchNorm is part of each convolution, as
in inception.py.
"""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax

from ganjax.core import Array

SIZE = 224  # height and width of the images it was trained on
CLASSES = 1000
FEATURES = 1280

# (repeats, kernel, stride of the first, expansion, features)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

_conv = partial(nn.Conv, precision="highest")  # as in inception.py


def by_taps(x: Array, kernel: Array, strides: Sequence[int], padding: Any, **_: Any) -> Array:
    """A depthwise convolution, `sum_ij kernel[i, j] x[s h + i, s w + j]`: a product of whole maps for each tap.

    XLA's own takes minutes for a hundred images on a CPU where convolutions go to Eigen, as `launch` has it.

    Args:
        x: [B, H, W, C].
        kernel: [h, w, 1, C].
        strides: of both axes.
        padding: as `jax.lax.conv_general_dilated` takes it.
    """
    size = kernel.shape[:2]
    pads = lax.padtype_to_pads(x.shape[1:3], size, strides, padding) if isinstance(padding, str) else padding
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    spans = [(n - k) // s * s + 1 for n, k, s in zip(x.shape[1:3], size, strides, strict=True)]
    taps = (
        x[:, i : i + spans[0] : strides[0], j : j + spans[1] : strides[1]] * kernel[i, j][None, None]
        for i, j in np.ndindex(*size)
    )
    return reduce(jnp.add, taps)


class Block(nn.Module):
    """The inverted bottleneck: expand by 1x1, filter each channel, project by 1x1 (Sandler et al. 2018)."""

    features: int
    kernel: int
    strides: int
    expansion: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, ceil(H / strides), ceil(W / strides), features]; added to x where the shape stays."""
        width, h = self.expansion * x.shape[-1], x
        if self.expansion > 1:
            h = nn.relu6(_conv(width, (1, 1), name="expand")(h))
        kernel = (self.kernel, self.kernel)
        depthwise = partial(_conv, feature_group_count=width, conv_general_dilated=by_taps, name="depthwise")
        h = nn.relu6(depthwise(width, kernel, self.strides)(h))
        h = _conv(self.features, (1, 1), name="project")(h)
        return h + x if h.shape == x.shape else h


class EfficientNetLite0(nn.Module):
    """Images to the 1280 features of the last average pool, and logits of ImageNet's 1000 classes."""

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """[B, H, W, 3] scaled by (x - 127) / 128 to features [B, 1280] and logits [B, 1000]."""
        if x.ndim != 4 or x.shape[-1] != 3:
            raise ValueError(f"x has shape {x.shape}, expected [B, H, W, 3]; repeat a grey channel three times.")
        x = nn.relu6(_conv(32, (3, 3), 2, name="stem")(x))
        i = 0
        for repeats, kernel, strides, expansion, features in STAGES:
            for repeat in range(repeats):
                x = Block(features, kernel, 1 if repeat else strides, expansion, name=f"block_{i}")(x)
                i += 1
        x = nn.relu6(_conv(FEATURES, (1, 1), name="head")(x))
        features_BxF = jnp.mean(x, axis=(1, 2))
        return features_BxF, nn.Dense(CLASSES, precision="highest", name="fc")(features_BxF)
