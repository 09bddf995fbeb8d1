"""StyleGAN2 (Karras et al. 2020), as the code of its successor with adaptive augmentation builds it.

A mapping network takes z to w; each layer of the synthesis network is a convolution that its own w modulates, plus a
noise map of one channel, whose strength is learned from 0; images are sums over resolutions of what a 1x1 layer says of
each ("skip"). The discriminator is residual, and ends with the deviation over groups of a batch. Maps of side s have
`min(base / s, most)` channels, s rounded up to a power of 2.

With `alias_free` the synthesis begins with waves in the place of learned numbers, and its maps are doubled by a filter
of 12 taps that passes little beyond their own resolution: two of the parts of StyleGAN3 (Karras et al. 2021), without
margins, and without nonlinearities at twice the resolution.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_range
from ganjax.core import Array, Critique, Key
from ganjax.errors import DataError
from ganjax.layers.equalised import Conv, Dense, equalised, pixel_norm
from ganjax.layers.heads import critique
from ganjax.layers.minibatch import MinibatchStandardDeviation
from ganjax.layers.modulated import ModulatedConv
from ganjax.layers.resampling import LOW_PASS, SMOOTH, Taps, low_pass_double, smooth_double, smooth_pool

BASE = 4  # least side of the smallest map


class Sizes(NamedTuple):
    """How large both networks are."""

    latent: int  # of z
    style: int  # of w, and of the layers of the mapping network
    mapping: int  # layers of the mapping network
    base: int
    most: int  # channels


SIZES = {
    "config_f": Sizes(512, 512, 8, 32768, 512),  # of 1024 pixels: 30,370,060 and 29,012,513 parameters
    "config_f_256": Sizes(512, 512, 8, 16384, 512),  # of 256: 24,767,458 and 24,001,089
    "medium": Sizes(128, 128, 4, 4096, 128),  # of 64: 1,428,312 and 1,465,025
    "small": Sizes(64, 64, 2, 2048, 64),  # of 64: 350,520 and 366,945
    "smaller": Sizes(64, 64, 2, 1024, 64),  # of 28 or 32
}


def activation(x: Array) -> Array:
    """`sqrt(2) LeakyReLU(0.2)(x)`, about as large as x."""
    return math.sqrt(2) * nn.leaky_relu(x, 0.2)


def sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of the maps, from 4, 5, 6 or 7 to that of the image.

    >>> sides((28, 28, 1)), sides((64, 64, 3))
    ((7, 14, 28), (4, 8, 16, 32, 64))

    Raises:
        DataError: the image is no square, or its side no such number times 2, 4, 8, ...
    """
    side = shape[0]
    found = [side]
    while found[0] % 2 == 0 and found[0] >= 2 * BASE:
        found.insert(0, found[0] // 2)
    if len(shape) != 3 or shape[1] != side or len(found) < 2 or found[0] >= 2 * BASE:
        raise DataError(
            f"image shape: got {tuple(shape)}, expected (side, side, channels) with a side of 4, 5, 6 or 7 times 2, 4, "
            "8, ..., such as 28, 32 or 64; crop, pad or resize the images (30 -> 32)"
        )
    return tuple(found)


def channels(side: int, base: int, most: int) -> int:
    """Of the map of this side."""
    return max(1, min(base >> (side - 1).bit_length(), most))


def waves(frequency: Array, phase: Array, turn: Array, shift: Array, side: int) -> Array:
    """`sin(2 pi (f_c . R (p - t) + phase_c))` at the centres p of the pixels of the square from -1/2 to 1/2.

    A shift t of k pixels moves the maps by k pixels (Karras et al. 2021, section 3.2).

    Args:
        frequency: [C, 2], across and down, in periods a side.
        phase: [C], in periods.
        turn: [B, 2], cosine and sine of R's angle.
        shift: [B, 2], in sides.
        side: pixels.

    Returns:
        [B, side, side, C].
    """
    centres = (jnp.arange(side) + 0.5) / side - 0.5
    x, y = centres[None] - shift[:, :1], centres[None] - shift[:, 1:]  # [B, side]
    cosine, sine = turn[:, :1, None], turn[:, 1:, None]
    across = cosine * x[:, None, :] - sine * y[:, :, None]
    down = sine * x[:, None, :] + cosine * y[:, :, None]
    periods = jnp.stack([across, down], -1) @ frequency.T + phase.reshape(1, 1, 1, -1)
    return jnp.sin(2 * jnp.pi * periods)


def frequencies(count: int, radius: float) -> tuple[Array, Array]:
    """Equally dense in a disc, `[count, 2]`, and phases [count]: fixed ones, where the paper draws them once.

    The k-th lies at `radius sqrt((k + 1/2) / count)`, and each is turned from the last by the golden angle.
    """
    k = np.arange(count)
    angle, length = np.pi * (3 - np.sqrt(5)) * k, radius * np.sqrt((k + 0.5) / count)
    place = np.stack([np.cos(angle), np.sin(angle)], 1) * length[:, None]
    return jnp.asarray(place, jnp.float32), jnp.asarray(np.sqrt(2) * k % 1, jnp.float32)


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


class Waves(nn.Module):
    """The first map of the alias-free synthesis: mixtures of waves of up to a quarter of a period a pixel.

    The style turns and shifts them, at first by nothing.
    """

    features: int
    side: int
    dtype: Any = None

    @nn.compact
    def __call__(self, w: Array) -> Array:
        """[B, W] to [B, side, side, features]."""
        kernel = self.param("transform", nn.initializers.zeros, (w.shape[-1], 4)) / math.sqrt(w.shape[-1])
        start = self.param("transform_bias", lambda key, shape: jnp.eye(1, *shape)[0], (4,))
        moved = w @ kernel + start[None]
        turn = moved[:, :2] / jnp.sqrt(jnp.square(moved[:, :2]).sum(-1, keepdims=True) + 1e-8)
        x = waves(*frequencies(self.features, self.side / 4), turn, moved[:, 2:], self.side)
        return (x @ equalised(self, (self.features, self.features), name="mixture")).astype(self.dtype or x.dtype)


class Layer(nn.Module):
    """A modulated convolution, noise, a bias and the activation."""

    features: int
    resample: Literal["none", "up"] = "none"
    taps: Taps = SMOOTH
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, w: Array, keys: Key | None) -> Array:
        """[B, H, W, C] maps, [B, W], and a key for each example, [B]; without keys there is no noise."""
        conv = ModulatedConv(self.features, resample=self.resample, taps=self.taps, dtype=self.dtype, name="conv")
        x = conv(x, w)
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
    alias_free: bool = False
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
        double, taps = (low_pass_double, LOW_PASS) if self.alias_free else (smooth_double, SMOOTH)
        image, place = jnp.zeros(()), 0

        def layer(x: Array, features: int, resample: Literal["none", "up"], name: str) -> Array:
            nonlocal place
            own = None if keys is None else jax.vmap(lambda k: jax.random.fold_in(k, place))(keys)
            x = Layer(features, resample, taps, self.dtype, name=name)(x, w[:, place], own)
            place += 1
            return x

        x = self._first(w[:, 0], of(all_sides[0]), all_sides[0])
        for side in all_sides:
            if side > all_sides[0]:
                x = layer(x, of(side), "up", f"up_{side}")
            x = layer(x, of(side), "none", f"conv_{side}")
            said = ToImage(self.shape[-1], self.dtype, name=f"image_{side}")(x, w[:, place]).astype(jnp.float32)
            image = double(image) + said if image.ndim else said
        return image

    def _first(self, w: Array, features: int, side: int) -> Array:
        """The smallest map, [B, side, side, features]."""
        if self.alias_free:
            return Waves(features, side, self.dtype, name="waves")(w)
        start = self.param("start", nn.initializers.normal(1.0), (side, side, features))
        return jnp.broadcast_to(start, (w.shape[0], *start.shape))


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
    alias_free: bool = False
    dtype: Any = None

    def setup(self):
        self.mapping = MappingNetwork(self.size, self.layers, dtype=self.dtype)
        self.synthesis = Synthesis(self.shape, self.base, self.most, self.alias_free, self.dtype)
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
            w = jnp.broadcast_to(w[:, None], (w.shape[0], self.synthesis.layers, w.shape[-1]))
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
        least = all_sides[0]
        h = MinibatchStandardDeviation(self.group, name="deviation")(h)
        h = activation(conv(of(least), name=f"conv_{least}")(h))
        features = activation(Dense(of(least), dtype=self.dtype, name="dense")(h.reshape(h.shape[0], -1)))
        logits = Dense(1, dtype=self.dtype, name="logit")(features)[:, 0]
        return critique(logits, features, self.heads, self.dtype)
