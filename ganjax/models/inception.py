"""The Inception-v3 of the Frechet inception distance (Szegedy et al. 2016; Heusel et al. 2017).

This is the TensorFlow network of 2015-12-05 in the form that pytorch-fid made of it, and not the Inception of
torchvision: it has 1008 logits, its average pools leave the padding out of the mean, and its last block takes a maximum
where the paper has an average. Modules are named as in pytorch-fid. BatchNorm is part of each convolution:

    relu(scale (conv(x, w) - mean) / sqrt(variance + 0.001) + shift) = relu(conv(x, kernel) + bias)

which `scripts/convert_weights.py` works out in double precision.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from ganjax.core import Array

SIZE = 299  # height and width of its input
CLASSES = 1008

# float32 on every machine: by default a GPU multiplies with 10 bits, and nobody could compare distances. These are
# Flax's own convolutions, since nothing here is trained and no derivative needs the fast ones of ganjax.layers.
_conv = partial(nn.Conv, precision="highest")
_max_pool = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))


def _unit(
    x: Array, name: str, features: int, kernel: tuple[int, int] = (1, 1), strides: int = 1, padding: str = "SAME"
) -> Array:
    return nn.relu(_conv(features, kernel, strides, padding, name=name)(x))


_shrink = partial(_unit, kernel=(3, 3), strides=2, padding="VALID")


def _chain(x: Array, name: str, *units: tuple[int, tuple[int, int]]) -> Array:
    """Units of (features, kernel) one after another, called `name_1`, `name_2`, ..."""
    for i, (features, kernel) in enumerate(units, 1):
        x = _unit(x, f"{name}_{i}", features, kernel)
    return x


def _averaged(x: Array, features: int) -> Array:
    """The branch of an average pool whose windows at the border are smaller, not padded with zeros."""
    pooled = nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)
    return _unit(pooled, "branch_pool", features)


class BlockA(nn.Module):
    """Three scales by 1x1, 5x5 and two 3x3 convolutions, and a pool of `pool` features."""

    pool: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, H, W, 224 + pool]."""
        return jnp.concatenate(
            [
                _unit(x, "branch1x1", 64),
                _chain(x, "branch5x5", (48, (1, 1)), (64, (5, 5))),
                _chain(x, "branch3x3dbl", (64, (1, 1)), (96, (3, 3)), (96, (3, 3))),
                _averaged(x, self.pool),
            ],
            axis=-1,
        )


class BlockB(nn.Module):
    """Halves the map of block A."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, (H - 1) // 2, (W - 1) // 2, 480 + C]."""
        double = _chain(x, "branch3x3dbl", (64, (1, 1)), (96, (3, 3)))
        return jnp.concatenate(
            [_shrink(x, "branch3x3", 384), _shrink(double, "branch3x3dbl_3", 96), _max_pool(x)], axis=-1
        )


class BlockC(nn.Module):
    """7x7 and two 7x7 convolutions, each split into 1x7 and 7x1, through `width` channels."""

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, H, W, 768]."""
        w, row, column = self.width, (1, 7), (7, 1)
        return jnp.concatenate(
            [
                _unit(x, "branch1x1", 192),
                _chain(x, "branch7x7", (w, (1, 1)), (w, row), (192, column)),
                _chain(x, "branch7x7dbl", (w, (1, 1)), (w, column), (w, row), (w, column), (192, row)),
                _averaged(x, 192),
            ],
            axis=-1,
        )


class BlockD(nn.Module):
    """Halves the map of block C."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, (H - 1) // 2, (W - 1) // 2, 512 + C]."""
        small = _chain(x, "branch3x3", (192, (1, 1)))
        large = _chain(x, "branch7x7x3", (192, (1, 1)), (192, (1, 7)), (192, (7, 1)))
        return jnp.concatenate(
            [_shrink(small, "branch3x3_2", 320), _shrink(large, "branch7x7x3_4", 192), _max_pool(x)], axis=-1
        )


class BlockE(nn.Module):
    """3x3 convolutions split into 1x3 and 3x1 side by side."""

    maximum: bool  # pool by maximum, which the last block does and probably should not

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, H, W, 2048]."""
        small = _chain(x, "branch3x3", (384, (1, 1)))
        large = _chain(x, "branch3x3dbl", (448, (1, 1)), (384, (3, 3)))
        if self.maximum:
            pool = _unit(_max_pool(x, strides=(1, 1), padding="SAME"), "branch_pool", 192)
        else:
            pool = _averaged(x, 192)
        return jnp.concatenate(
            [
                _unit(x, "branch1x1", 320),
                _unit(small, "branch3x3_2a", 384, (1, 3)),
                _unit(small, "branch3x3_2b", 384, (3, 1)),
                _unit(large, "branch3x3dbl_3a", 384, (1, 3)),
                _unit(large, "branch3x3dbl_3b", 384, (3, 1)),
                pool,
            ],
            axis=-1,
        )


class FidInception(nn.Module):
    """Images to the 2048 features of the last average pool, and logits.

    The Inception Score is computed from logits without the bias of the last layer, by an oversight in the code of
    Salimans et al. (2016) that published scores share; for those, `logit_bias=False` leaves it where it lies.
    """

    logit_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """[B, 299, 299, 3] in [-1, 1] to features [B, 2048] and logits [B, 1008]."""
        if x.shape[1:] != (SIZE, SIZE, 3):
            raise ValueError(f"x has shape {x.shape}, expected [B, {SIZE}, {SIZE}, 3]; resize the images.")
        x = _shrink(x, "Conv2d_1a_3x3", 32)
        x = _unit(x, "Conv2d_2a_3x3", 32, (3, 3), padding="VALID")
        x = _max_pool(_unit(x, "Conv2d_2b_3x3", 64, (3, 3)))
        x = _unit(x, "Conv2d_3b_1x1", 80)
        x = _max_pool(_unit(x, "Conv2d_4a_3x3", 192, (3, 3), padding="VALID"))
        for letter, pool in zip("bcd", (32, 64, 64), strict=True):
            x = BlockA(pool, name=f"Mixed_5{letter}")(x)
        x = BlockB(name="Mixed_6a")(x)
        for letter, width in zip("bcde", (128, 160, 160, 192), strict=True):
            x = BlockC(width, name=f"Mixed_6{letter}")(x)
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(maximum=False, name="Mixed_7b")(x)
        x = BlockE(maximum=True, name="Mixed_7c")(x)
        features_BxF = x.mean(axis=(1, 2))
        return features_BxF, nn.Dense(CLASSES, self.logit_bias, precision="highest", name="fc")(features_BxF)
