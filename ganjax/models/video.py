"""Networks of clips [B, T, H, W, C]: four generators and a control, a discriminator, and a network of features.

All take latents z ~ N(0, I) that are one vector, and frames as DCGAN does; kernels and norms are DCGAN's.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.core import Array
from ganjax.errors import DataError
from ganjax.layers.motion import moved
from ganjax.layers.volume import VolumeConv, VolumeConvTranspose
from ganjax.models.dcgan import Discriminator, Generator, batch_norm, check_image_shape, doublings, kernel_init
from ganjax.models.mlp import leaky_relu


def check_clip_shape(shape: tuple[int, ...]) -> None:
    """Raises `DataError` for a shape that these networks cannot make.

    Args:
        shape: (frames, height, width, channels) of one clip.
    """
    if len(shape) != 4:
        raise DataError(f"clip shape: got {tuple(shape)}, expected (frames, height, width, channels)")
    if shape[0] < 2:
        raise DataError(
            f"clip shape: got {tuple(shape)}, a clip of one frame, which has no motion; expected at least 2 frames, "
            "or store the frames as images [N, H, W, C] and train experiments/dcgan.py"
        )
    check_image_shape(shape[1:])


def halvings(frames: int, count: int) -> list[int]:
    """The stride in time of each of `count` layers, from the clip inwards: 2 while the frames are even and at least 4.

    >>> halvings(16, 3), halvings(12, 3), halvings(5, 2)
    ([2, 2, 2], [2, 2, 1], [1, 1])
    """
    found = []
    for _ in range(count):
        found.append(2 if frames % 2 == 0 and frames >= 4 else 1)
        frames //= found[-1]
    return found


def kernel_of(stride: int) -> tuple[int, int, int]:
    """4x4x4 where a layer halves or doubles time, 3x4x4 where it keeps it."""
    return (4 if stride == 2 else 3, 4, 4)


class MotionContent(nn.Module):
    """MoCoGAN: what a clip shows is one code, how it moves is a path of codes (Tulyakov et al. 2018, section 3.1).

    `x_t = G(c, m_t)`, `m_t = R(e_t, m_{t-1})` with one content code c of a clip, noise e_t of each frame, m_0 ~ N(0, I)
    and a gated recurrent unit R; G is DCGAN's generator of one frame. The gates of R begin open, so that a path which
    nothing has taught yet keeps what it has, and is smooth. Here `z = (c, m_0, e_1, ..., e_T)`: a longer z makes a
    longer clip of the same weights. R is given `noise e_t`: with none of it m_0 decides the whole motion.
    """

    shape: tuple[int, ...]  # (height, width, channels) of a frame
    content: int = 50  # numbers of c
    motion: int = 10  # numbers of m_t and of e_t
    noise: float = 1.0  # deviation of what R is given of e_t
    hold: float = 2.0  # of gates, where they begin: at each frame sigmoid(-hold) of a code, 12 %, are new
    width: int = 64  # channels of the last hidden map of a frame
    axis_name: str | None = None  # of the devices that share BatchNorm statistics
    dtype: Any = None

    def latents(self, frames: int) -> int:
        """The size of z of a clip of so many frames."""
        return self.content + self.motion * (1 + frames)

    def codes(self, z: Array) -> tuple[Array, Array]:
        """[B, content + motion (1 + T)] to c [B, content] and the path of m_t [B, T, motion]."""
        frames, rest = divmod(z.shape[1] - self.content - self.motion, self.motion)
        if frames < 1 or rest:
            raise ValueError(
                f"{type(self).__name__}: z has {z.shape[1]} numbers, expected {self.content} of content and a multiple "
                f"of {self.motion} of motion, twice that at least: see `latents`"
            )
        content, start = z[:, : self.content], z[:, self.content : self.content + self.motion]
        noise_BxTxM = z[:, self.content + self.motion :].reshape(-1, frames, self.motion)
        cell = nn.GRUCell(self.motion, gate_fn=lambda x: nn.sigmoid(x + self.hold), dtype=self.dtype, name="recurrent")
        return content, jnp.asarray(nn.RNN(cell)(self.noise * noise_BxTxM, initial_carry=start))

    def frame(self, shape: tuple[int, ...]) -> Generator:
        """What draws a frame of codes."""
        return Generator(shape, self.width, axis_name=self.axis_name, dtype=self.dtype, name="frame")

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> Array:
        """[B, content + motion (1 + T)] to [B, T, H, W, C] in [-1, 1]."""
        content, path_BxTxM = self.codes(z)
        batch, frames, _ = path_BxTxM.shape
        held_BxTxD = jnp.broadcast_to(content[:, None], (batch, frames, self.content))
        codes = jnp.concatenate([held_BxTxD, path_BxTxM], -1).reshape(batch * frames, -1)
        return self.frame(self.shape)(codes, train=train).reshape(batch, frames, *self.shape)


class MovedPicture(MotionContent):
    """A picture and its way: content draws it once, motion says where it is (Kosiorek et al. 2018, of one object).

    `x_t = shift(G(c) + 1, p_t) - 1` with `p_t = F - |u_t mod 2 F - F|` along each axis, F the side of a frame less that
    of the picture, `u_1 = F P(m_1)` and `u_t = u_(t-1) + V(m_t)` in pixels, MoCoGAN's path of m_t, P affine and V a
    perceptron of 32 hidden units. So what moves stays what it is and whole, before a background of -1, black, goes
    straight on while its code holds, and is reflected by the walls, which a path unfolds. What it is, where it begins
    and how fast it goes is learned. At first V is about a pixel a frame, forwards alone: u runs on a circle, where a
    thing that goes back is one that has been reflected, and speeds on both sides of 0 would have to stand still between
    them. Places are rounded to whole pixels, as a raster has them: between two of them a picture is blurred, by which a
    discriminator would know it. Derivatives pass straight through, as differences of the pixels on both sides. When it
    is not trained P and V are rounded instead, so that nothing staggers; trained so, V is told too little where it is
    near 0, and stays there. The picture is drawn once a clip, the rest are two products a frame.
    """

    hold: float = 6.0  # 0.2 %: what bounces keeps its speed
    sprite: int = 16  # side of the picture

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> Array:
        """[B, content + motion (1 + T)] to [B, T, H, W, C] in [-1, 1]."""
        content, path_BxTxM = self.codes(z)
        *sides, channels = self.shape
        if self.sprite >= min(sides):
            raise ValueError(f"MovedPicture: sprite is {self.sprite}, expected less than the frame's {sides}")
        free_1x1x2 = (jnp.array(sides) - self.sprite)[None, None]
        first_Bx1x2 = free_1x1x2 * nn.Dense(2, dtype=self.dtype, name="place")(path_BxTxM[:, :1])
        speeds_BxTxD = nn.tanh(nn.Dense(32, dtype=self.dtype, name="speed")(path_BxTxM[:, 1:]))
        steps_BxTx2 = nn.Dense(2, bias_init=nn.initializers.ones, dtype=self.dtype, name="step")(speeds_BxTxD)
        moves_BxTx2 = jnp.concatenate([first_Bx1x2, steps_BxTx2], 1)
        unfolded_BxTx2 = jnp.cumsum(moves_BxTx2 if train else jnp.round(moves_BxTx2), 1)
        places_BxTx2 = free_1x1x2 - jnp.abs(unfolded_BxTx2 % (2 * free_1x1x2) - free_1x1x2)
        places_BxTx2 += jax.lax.stop_gradient(jnp.round(places_BxTx2) - places_BxTx2)
        picture = self.frame((self.sprite, self.sprite, channels))(content, train=train)
        return moved(picture + 1, places_BxTx2, (sides[0], sides[1])) - 1


class Stills(nn.Module):
    """Frames that have nothing to do with each other, `x_t = G(z_t)`: an image generator, for control."""

    shape: tuple[int, ...]  # (height, width, channels) of a frame
    latent: int = 60  # numbers of z_t
    width: int = 64
    axis_name: str | None = None
    dtype: Any = None

    def latents(self, frames: int) -> int:
        """The size of z of so many frames."""
        return self.latent * frames

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> Array:
        """[B, latent T] to [B, T, H, W, C] in [-1, 1]."""
        frames, rest = divmod(z.shape[1], self.latent)
        if frames < 1 or rest:
            raise ValueError(f"Stills: z has {z.shape[1]} numbers, expected a multiple of {self.latent}")
        images = Generator(self.shape, self.width, axis_name=self.axis_name, dtype=self.dtype, name="frame")(
            z.reshape(-1, self.latent), train=train
        )
        return images.reshape(z.shape[0], frames, *self.shape)


class _Trunk(nn.Module):
    """z to the last hidden map: a base volume, doubled in rows, columns and mostly in time, up to `width` channels."""

    shape: tuple[int, ...]  # (frames, height, width, channels)
    width: int
    axis_name: str | None
    dtype: Any

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> tuple[Array, int]:
        """[B, Z] to [B, T / stride, H / 2, W / 2, width], and the stride in time that is left to the last layer."""
        norm = partial(batch_norm, use_running_average=not train, axis_name=self.axis_name, dtype=self.dtype)
        frames, height, width, _ = self.shape
        n = doublings(height, width)
        first, *others = halvings(frames, n)
        base = frames
        for stride in (first, *others):
            base //= stride
        volume = (base, height // 2**n, width // 2**n)
        h = VolumeConvTranspose(self.width * 2 ** (n - 1), volume, volume, **self._how())(z[:, None, None, None])
        h_BxTxHxWxC = nn.relu(norm()(h))
        for i, stride in zip(reversed(range(n - 1)), reversed(others), strict=True):
            layer = VolumeConvTranspose(self.width * 2**i, kernel_of(stride), (stride, 2, 2), **self._how())
            h_BxTxHxWxC = nn.relu(norm()(layer(h_BxTxHxWxC)))
        return h_BxTxHxWxC, first

    def _how(self) -> dict[str, Any]:
        return {"use_bias": False, "kernel_init": kernel_init, "dtype": self.dtype}


class Volume(nn.Module):
    """DCGAN with fractionally strided convolutions over time too (Vondrick et al. 2016, the one stream)."""

    shape: tuple[int, ...]  # (frames, height, width, channels)
    width: int = 64  # channels of the last hidden volume
    axis_name: str | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> Array:
        """[B, Z] to [B, T, H, W, C] in [-1, 1]."""
        check_clip_shape(self.shape)
        h, stride = _Trunk(self.shape, self.width, self.axis_name, self.dtype)(z, train=train)
        up = VolumeConvTranspose(
            self.shape[-1], kernel_of(stride), (stride, 2, 2), kernel_init=kernel_init, dtype=self.dtype
        )
        return jnp.tanh(up(h))


class TwoStream(nn.Module):
    """VGAN: a foreground that moves before a background that does not (Vondrick et al. 2016, equation 3).

    `x = m f + (1 - m) b` with the foreground f in [-1, 1] and its mask m in [0, 1] from one volume of z, and one image
    b, the same for all frames.
    """

    shape: tuple[int, ...]  # (frames, height, width, channels)
    width: int = 64
    axis_name: str | None = None
    dtype: Any = None

    def setup(self) -> None:
        check_clip_shape(self.shape)
        self.trunk = _Trunk(self.shape, self.width, self.axis_name, self.dtype)
        stride = halvings(self.shape[0], 1)[0]
        up = partial(
            VolumeConvTranspose,
            kernel_size=kernel_of(stride),
            strides=(stride, 2, 2),
            kernel_init=kernel_init,
            dtype=self.dtype,
        )
        self.foreground, self.mask = up(self.shape[-1]), up(1)
        self.background = Generator(self.shape[1:], self.width, axis_name=self.axis_name, dtype=self.dtype)

    def __call__(self, z: Array, *, train: bool) -> Array:
        """[B, Z] to [B, T, H, W, C] in [-1, 1]."""
        return self.streams(z, train=train)[0]

    def streams(self, z: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
        """[B, Z] to the clip, and mask [B, T, H, W, 1], foreground [B, T, H, W, C] and background [B, 1, H, W, C]."""
        h, _ = self.trunk(z, train=train)
        f, m = jnp.tanh(self.foreground(h)), jax.nn.sigmoid(self.mask(h))
        b = self.background(z, train=train)[:, None]
        return m * f + (1 - m) * b, {"mask": m, "foreground": f, "background": b}


class _Halved(nn.Module):
    """[B, T, H, W, C] to the last map: convolutions that halve rows, columns and mostly time."""

    width: int
    kernel_init: Any = kernel_init
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        n = doublings(*x.shape[2:4])
        for i, stride in enumerate(halvings(x.shape[1], n)):
            conv = VolumeConv(
                self.width * 2**i,
                kernel_of(stride),
                (stride, 2, 2),
                padding=((1, 1), (1, 1), (1, 1)),
                kernel_init=self.kernel_init,
                dtype=self.dtype,
            )
            x = leaky_relu(conv(x))
        return x


class FrameCritic(nn.Module):
    """DCGAN's discriminator of each frame by itself, without BatchNorm."""

    width: int = 64  # channels of the first map
    dtype: Any = None

    by_example = True  # no layer mixes examples

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, k, H, W, C] to [B, k]."""
        judge = Discriminator(self.width, batch_norm=False, dtype=self.dtype, name="frame")
        return jnp.asarray(judge(x.reshape(-1, *x.shape[2:]), train=False)).reshape(x.shape[:2])


class ClipCritic(nn.Module):
    """Clips to logits by convolutions over time, rows and columns, the last over all that is left of them."""

    width: int = 64  # channels of the first map
    dtype: Any = None

    by_example = True  # no layer mixes examples

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, H, W, C] to [B]."""
        check_clip_shape(x.shape[1:])
        h = _Halved(self.width, dtype=self.dtype)(x)
        rest = (h.shape[1], h.shape[2], h.shape[3])
        return VolumeConv(1, rest, kernel_init=kernel_init, dtype=self.dtype)(h).reshape(-1)


class ClipReader(nn.Module):
    """What is seen in a clip: its features, and of each question the logits of the answers as an affine map of them."""

    heads: Mapping[str, int]  # question -> how many answers
    width: int = 16  # channels of the first map
    features: int = 128

    def setup(self) -> None:
        self.trunk = _Halved(self.width, nn.initializers.lecun_normal())  # nothing but these keeps the scale
        self.last = nn.Dense(self.features)
        self.answers = {name: nn.Dense(size, name=f"head_{name}") for name, size in self.heads.items()}

    def __call__(self, x: Array) -> dict[str, Array]:
        """[B, T, H, W, C] to logits [B, K] of each question."""
        return self.judge(x)[1]

    def judge(self, x: Array) -> tuple[Array, dict[str, Array]]:
        """[B, T, H, W, C] to features [B, F], not negative, and logits."""
        h = nn.relu(self.last(self.trunk(x).reshape(x.shape[0], -1)))
        return h, {name: answer(h) for name, answer in self.answers.items()}
