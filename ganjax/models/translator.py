"""The translator of CycleGAN: a residual network from image to image (Johnson et al. 2016), and the heads of CUT."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.lax import rsqrt

from ganjax.checks import check_range
from ganjax.core import Array
from ganjax.errors import DataError
from ganjax.layers.convolution import Conv, ConvTranspose
from ganjax.layers.normalisation import InstanceNorm

_init = nn.initializers.normal(0.02)


def reflected(x: Array, by: int) -> Array:
    """[B, H, W, C] to [B, H + 2 by, W + 2 by, C], mirrored at the borders, which are not repeated."""
    return jnp.pad(x, ((0, 0), (by, by), (by, by), (0, 0)), mode="reflect")


class Translator(nn.Module):
    """`G: image -> image` of the same size (Zhu et al. 2017, appendix 7.2): c7s1-w, d2w, d4w, R4w x n, u2w, uw, c7s1-C.

    Convolutions of 7x7 at both ends and of 3x3 between them, of stride 2 on the way down and transposed on the way up;
    all but the last are normalised by InstanceNorm and, but for the second of a block, rectified. Reflected borders at
    7x7 kernels and in the blocks; tanh at the end. With 3 channels, 64 wide: 11,378,179 parameters with 9 blocks and
    7,837,699 with 6.
    """

    channels: int  # C, of the images that it makes
    width: int = 64
    blocks: int = 9
    dtype: Any = None

    by_example = True  # no layer mixes examples

    @nn.compact
    def maps(self, x: Array) -> tuple[Array, ...]:
        """[B, H, W, C'] images to what is seen of them on the way, the last map being the translation [B, H, W, C].

        The others are the layers of CUT: the pixels, both maps of stride 2 before InstanceNorm, and what the first and
        the middle block make.

        Raises:
            DataError: a side is less than 8 or not divisible by 4.
        """
        check_range("Translator", 1, whole=True, channels=self.channels, width=self.width, blocks=self.blocks)
        if min(x.shape[1:3]) < 8 or x.shape[1] % 4 or x.shape[2] % 4:
            raise DataError(
                f"image shape: got {x.shape[1:]}, expected sides of at least 8 that are divisible by 4; crop, pad or "
                "resize them"
            )
        conv = partial(Conv, kernel_init=_init, dtype=self.dtype)
        up = partial(ConvTranspose, kernel_size=(3, 3), strides=(2, 2), padding=((1, 2), (1, 2)), kernel_init=_init)
        norm = lambda h: InstanceNorm(dtype=self.dtype)(h)  # noqa: E731
        wide = lambda features, h: conv(features, (7, 7), padding="VALID")(reflected(h, 3))  # noqa: E731
        seen, w = [x], self.width
        h = nn.relu(norm(wide(w, x)))
        for k in (2, 4):
            seen.append(conv(k * w, (3, 3), strides=(2, 2), padding=1)(h))
            h = nn.relu(norm(seen[-1]))
        for i in range(self.blocks):
            inner = h
            for k in (0, 1):
                inner = norm(conv(4 * w, (3, 3), padding="VALID")(reflected(inner, 1)))
                inner = nn.relu(inner) if k == 0 else inner
            h = h + inner
            if i in (0, self.blocks // 2):
                seen.append(h)
        for k in (2, 1):
            h = nn.relu(norm(up(k * w, dtype=self.dtype)(h)))
        y = jnp.tanh(wide(self.channels, h))
        return (*seen, y.astype(jnp.promote_types(y.dtype, jnp.float32)))

    def features(self, x: Array) -> tuple[Array, ...]:
        """[B, H, W, C'] images to the maps of the way down, without the translation."""
        return self.maps(x)[:-1]

    def __call__(self, x: Array) -> Array:
        """[B, H, W, C'] images to their translations [B, H, W, C], from -1 to 1."""
        return self.maps(x)[-1]


class PatchHeads(nn.Module):
    """What CUT compares: `H_l: vectors of map l -> unit vectors`, two layers for each map (Park et al. 2020, 3)."""

    size: int = 256  # of the vectors, and of the hidden layer

    @nn.compact
    def __call__(self, patches: tuple[Array, ...]) -> tuple[Array, ...]:
        """[B, S, C_l] for each map l to [B, S, size], of length 1."""
        dense = partial(nn.Dense, self.size, kernel_init=_init)
        found = [dense()(nn.relu(dense()(x))) for x in patches]
        # the slope of a norm at 0, where a grey pixel may put a patch, is not finite
        return tuple(h * rsqrt(jnp.square(h).sum(-1, keepdims=True) + 1e-12) for h in found)
