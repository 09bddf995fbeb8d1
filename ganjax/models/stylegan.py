"""StyleGAN2 (Karras et al. 2020), as the code of its successor with adaptive augmentation builds it.

A mapping network takes z to w; each layer of the synthesis network is a convolution that its own w modulates, plus a
noise map of one channel, whose strength is learned from 0; images are sums over resolutions of what a 1x1 layer says of
each ("skip"). The discriminator is residual, and ends with the deviation over groups of a batch. Maps of side s have
`min(base / s, most)` channels.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.checks import check_range
from ganjax.core import Array, Critique, Key
from ganjax.errors import DataError
from ganjax.layers.equalised import Conv, Dense, pixel_norm
from ganjax.layers.heads import critique
from ganjax.layers.minibatch import MinibatchStandardDeviation
from ganjax.layers.modulated import ModulatedConv
from ganjax.layers.resampling import smooth_double, smooth_pool

BASE = 4  # side of the smallest map


def activation(x: Array) -> Array:
    """`sqrt(2) LeakyReLU(0.2)(x)`, about as large as x."""
    return math.sqrt(2) * nn.leaky_relu(x, 0.2)


def sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of the maps, 4 to that of the image.

    Raises:
        DataError: the image is no square of a power of 2 of at least 8.
    """
    side = shape[0]
    if len(shape) != 3 or shape[1] != side or side < 2 * BASE or side & (side - 1):
        raise DataError(
            f"image shape: got {tuple(shape)}, expected (side, side, channels) with a side of 8, 16, 32, 64, ...; "
            "crop, pad or resize the images (28 -> 32)"
        )
    return tuple(BASE * 2**i for i in range(int(math.log2(side // BASE)) + 1))


def channels(side: int, base: int, most: int) -> int:
    """Of the map of this side."""
    return min(base // side, most)


class MappingNetwork(nn.Module):
    """`z [B, Z] -> w [B, W]`: z of unit second moment, then layers that learn at a hundredth of the others' rate."""

    size: int = 512  # W, and of the layers
    layers: int = 8
    rate: float = 0.01
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array) -> Array:
        check_range("stylegan.MappingNetwork", 1, whole=True, layers=self.layers)
        w = pixel_norm(z)
        for i in range(self.layers):
            w = activation(Dense(self.size, rate=self.rate, dtype=self.dtype, name=f"dense_{i}")(w))
        return w


class Layer(nn.Module):
    """A modulated convolution, noise, a bias and the activation."""

    features: int
    resample: str = "none"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, w: Array, keys: Key | None) -> Array:
        """[B, H, W, C] maps, [B, W], and a key for each example, [B]; without keys there is no noise."""
        x = ModulatedConv(self.features, resample=self.resample, dtype=self.dtype, name="conv")(x, w)
        strength = self.param("noise", nn.initializers.zeros, ())
        if keys is not None:
            x = x + (strength * jax.vmap(lambda k: jax.random.normal(k, (*x.shape[1:3], 1)))(keys)).astype(x.dtype)
        return activation(
            x + self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype).reshape(1, 1, 1, -1)
        )


class ToImage(nn.Module):
    """A 1x1 modulated convolution without demodulation."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        conv = ModulatedConv(
            self.features, 1, demodulate=False, gain=x.shape[-1] ** -0.5, dtype=self.dtype, name="conv"
        )
        y = conv(x, w)
        return y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype).reshape(1, 1, 1, -1)


class Synthesis(nn.Module):
    """`w [B, layers, W] -> image [B, side, side, C]`, without bounds; each layer has a w of its own."""

    shape: tuple[int, ...]  # (side, side, channels)
    base: int = 32768
    most: int = 512  # channels
    dtype: Any = None

    @property
    def layers(self) -> int:
        """How many w it takes: of each convolution, the last one shared with the layer of the image."""
        return 2 * len(sides(self.shape))

    @nn.compact
    def __call__(self, w: Array, keys: Key | None = None) -> Array:
        """With keys [B], one for each example, of its noise maps; without them there is no noise."""
        all_sides = sides(self.shape)
        if w.ndim != 3 or w.shape[1] != self.layers:
            raise ValueError(f"stylegan.Synthesis: w has shape {w.shape}, expected [B, {self.layers}, W]")
        of = partial(channels, base=self.base, most=self.most)
        start = self.param("start", nn.initializers.normal(1.0), (BASE, BASE, of(BASE)))
        x = jnp.broadcast_to(start, (len(w), *start.shape))
        image, place = None, 0

        def layer(x: Array, features: int, resample: str, name: str) -> Array:
            nonlocal place
            own = None if keys is None else jax.vmap(lambda k: jax.random.fold_in(k, place))(keys)
            x = Layer(features, resample, self.dtype, name=name)(x, w[:, place], own)
            place += 1
            return x

        for side in all_sides:
            if side > BASE:
                x = layer(x, of(side), "up", f"up_{side}")
            x = layer(x, of(side), "none", f"conv_{side}")
            said = ToImage(self.shape[-1], self.dtype, name=f"image_{side}")(x, w[:, place]).astype(jnp.float32)
            image = said if image is None else smooth_double(image) + said
        return image


class Generator(nn.Module):
    """Both, and the running mean of w that truncation draws towards: the variable `w_avg` of the collection "styles".

    Called with latents as `games.styles.style_prior` draws them, a dictionary of

    - z, other: [B, Z], of which the second one takes over
    - cut: [B] integers, from this layer on (style mixing);
    - noise: [B, 2] uint32, the data of a key for the noise maps.
    """

    shape: tuple[int, ...]
    size: int = 512  # W
    layers: int = 8  # of the mapping network
    base: int = 32768
    most: int = 512
    decay: float = 0.995  # of w_avg, a step
    dtype: Any = None

    def setup(self):
        self.mapping = MappingNetwork(self.size, self.layers, dtype=self.dtype)
        self.synthesis = Synthesis(self.shape, self.base, self.most, self.dtype)
        self.w_avg = self.variable("styles", "w_avg", jnp.zeros, (self.size,))

    def __call__(self, latent: Mapping[str, Array], *, train: bool) -> Array:
        """Images [B, side, side, C]; in training w_avg moves towards the mean of the batch's w."""
        w = self.styles(latent["z"])
        if train and not self.is_initializing():
            self.w_avg.value = self.decay * self.w_avg.value + (1 - self.decay) * jax.lax.stop_gradient(w.mean(0))
        return self.render(self.mixed(w, self.styles(latent["other"]), latent["cut"]), latent["noise"])

    def styles(self, z: Array) -> Array:
        """[B, Z] to w [B, W]."""
        return self.mapping(z).astype(jnp.float32)

    def mixed(self, w: Array, other: Array, cut: Array) -> Array:
        """The w of every layer, [B, layers, W]: those of `other` from layer `cut` on."""
        later = jnp.arange(self.synthesis.layers)[None] >= cut[:, None]
        return jnp.where(later[..., None], other[:, None], w[:, None])

    def truncated(self, w: Array, psi: float) -> Array:
        """`w_avg + psi (w - w_avg)`, [..., W]: one image for 0, all that there are for 1."""
        mean = self.w_avg.value.reshape(*[1] * (w.ndim - 1), -1)
        return mean + psi * (w - mean)

    def render(self, w: Array, noise: Array | None = None) -> Array:
        """[B, layers, W], or [B, W] for all layers, and the data of keys [B, 2], to images; without keys no noise."""
        if w.ndim == 2:
            w = jnp.broadcast_to(w[:, None], (len(w), self.synthesis.layers, w.shape[-1]))
        return self.synthesis(w, None if noise is None else jax.random.wrap_key_data(noise))


class Discriminator(nn.Module):
    """`D: image -> logits`: residual blocks that halve the map, then the deviation over groups and two dense layers."""

    base: int = 32768
    most: int = 512  # channels
    group: int = 4  # examples whose deviation is taken; a batch that it does not divide is refused
    heads: Mapping[str, int] | None = None  # name -> size; with any mapping, even {}, it returns a `Critique`
    dtype: Any = None

    by_example = False  # examples of a group are compared

    @nn.compact
    def __call__(self, x: Array) -> Array | Critique:
        """[B, side, side, C] images to logits [B]."""
        all_sides = sides(x.shape[1:])
        of = partial(channels, base=self.base, most=self.most)
        conv = partial(Conv, dtype=self.dtype)
        h = activation(conv(of(all_sides[-1]), 1, name="image")(x))
        for side in all_sides[:0:-1]:
            y = activation(conv(of(side), name=f"conv_{side}")(h))
            y = activation(conv(of(side // 2), resample="down", name=f"down_{side}")(y))
            short = conv(of(side // 2), 1, use_bias=False, name=f"short_{side}")(smooth_pool(h))
            h = (y + short) * math.sqrt(0.5)
        h = MinibatchStandardDeviation(self.group, name="deviation")(h)
        h = activation(conv(of(BASE), name=f"conv_{BASE}")(h))
        features = activation(Dense(of(BASE), dtype=self.dtype, name="dense")(h.reshape(len(h), -1)))
        logits = Dense(1, dtype=self.dtype, name="logit")(features)[:, 0]
        return critique(logits, features, self.heads, self.dtype)
