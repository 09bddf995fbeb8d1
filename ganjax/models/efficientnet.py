"""EfficientNet-Lite0 (Tan & Le 2019; Liu 2020): a small classifier of ImageNet, as features of colour images.

Against EfficientNet-B0 it has relu6 for swish and no squeeze-and-excitation. BatchNorm is part of each convolution, as
in inception.py.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp

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
        h = nn.relu6(_conv(width, kernel, self.strides, feature_group_count=width, name="depthwise")(h))
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
