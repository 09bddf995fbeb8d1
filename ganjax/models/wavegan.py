"""WaveGAN (Donahue, McAuley & Puckette 2019, appendix D): DCGAN on waveforms, in one dimension.

Kernels of 25 samples and strides of 4 in the place of 5x5 and 2x2, no norm, and phase shuffle between the
discriminator's convolutions. Their preset, a waveform of 16,384 samples at width 64, has 19,065,345 and 17,427,969
parameters. Waveforms of 1,024 samples take three layers in the place of five, of 4,096 four.

A waveform is a picture of one column here, [B, T, 1, C], so that `ganjax.layers.convolution` makes derivatives fast.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ganjax.core import Array, Critique
from ganjax.errors import DataError
from ganjax.layers.conditioning import joined
from ganjax.layers.convolution import Conv, ConvTranspose
from ganjax.layers.heads import check_labels, critique, projection
from ganjax.layers.phase_shuffle import PhaseShuffle
from ganjax.models.mlp import leaky_relu

STRIDE, KERNEL, BASE = 4, 25, 16  # the shortest map has 16 to 63 steps

_kernel_init = nn.initializers.glorot_uniform()  # the authors', who leave TensorFlow's default
_down = partial(Conv, kernel_size=(KERNEL, 1), strides=(STRIDE, 1), padding="SAME", kernel_init=_kernel_init)
_up = partial(ConvTranspose, kernel_size=(KERNEL, 1), strides=(STRIDE, 1), padding="SAME", kernel_init=_kernel_init)


def quarterings(length: int) -> int:
    """How often a waveform is quartered: while at least 16 steps are left.

    >>> [quarterings(length) for length in (1024, 4096, 8192, 16384, 65536)]
    [3, 4, 4, 5, 6]
    """
    n = 0
    while length >= BASE * STRIDE ** (n + 1):
        n += 1
    return n


def check_length(shape: tuple[int, ...]) -> None:
    """Raises `DataError` for waveforms that cannot be quartered down to 16 to 63 steps.

    Args:
        shape: (samples,) of one waveform.
    """
    n = quarterings(shape[0]) if len(shape) == 1 else 0
    if not n or shape[0] % STRIDE**n:
        whole = STRIDE ** max(n, 1)
        near = f", such as {max(1, round(shape[0] / whole)) * whole:,}" if n else ""
        raise DataError(
            f"waveform shape: got {tuple(shape)}, expected (samples,) of at least {BASE * STRIDE} and a multiple of "
            f"{whole}{near}; cut or pad the waveforms"
        )


def check_waveforms(kind: str, shape: tuple[int, ...]) -> None:
    """Raises `DataError` for examples that are no waveforms, or of a length that `check_length` refuses.

    Args:
        kind: the name of what an example is.
        shape: of an example.
    """
    if kind != "waveform":
        raise DataError(
            f"examples are of the kind {kind} and have the shape {tuple(shape)}, expected waveforms: chirps, an .npz "
            "file with x_train int16 [N, T] and rate, or a folder of WAV files"
        )
    check_length(shape)


class Generator(nn.Module):
    """`G: z -> waveform`, from a map of T / 4^n steps with `width * 2^(n - 1)` channels, ending in tanh.

    With classes, a learned embedding of the label is concatenated to `z` (Mirza & Osindero 2014). Without
    (`num_classes = 0`), labels are ignored.
    """

    shape: tuple[int, ...]  # (samples,)
    width: int = 64  # channels of the last hidden map
    num_classes: int = 0
    embedding: int = 64  # length of a label's vector
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool) -> Array:
        """[B, Z] latents and labels, [B] int32 or vectors [B, E], to waveforms [B, T] in (-1, 1)."""
        del train  # nothing here is random or normalised
        check_length(self.shape)
        check_labels(labels, self.num_classes)
        z = joined(z, labels, self.embedding, self.num_classes, dtype=self.dtype)
        n = quarterings(self.shape[0])
        steps, channels = self.shape[0] // STRIDE**n, self.width * 2 ** (n - 1)
        h = nn.Dense(steps * channels, kernel_init=_kernel_init, dtype=self.dtype)(z)
        h_BxTx1xC = nn.relu(h.reshape(z.shape[0], steps, 1, channels))
        for i in reversed(range(n - 1)):
            h_BxTx1xC = nn.relu(_up(self.width * 2**i, dtype=self.dtype)(h_BxTx1xC))
        return jnp.tanh(_up(1, dtype=self.dtype)(h_BxTx1xC)).reshape(z.shape[0], -1)


class Discriminator(nn.Module):
    """`D: waveform -> logits`, the generator mirrored, its maps but the last shuffled by up to `shuffle` steps.

    With classes, it is a projection discriminator: the logit gains `<embed(y), h(x)>` for the last map `h`, of which
    the logit without classes is linear too (Miyato & Koyama 2018, equation 3).
    """

    width: int = 64  # channels of the first map
    shuffle: int = 2  # n of phase shuffle
    num_classes: int = 0
    heads: Mapping[str, int] | None = None  # name -> size; with any mapping, even {}, it returns a `Critique`
    axis_name: str | None = None  # of the devices that share the batch, whose examples draw their shifts
    dtype: Any = None

    @property
    def by_example(self) -> bool:
        """Whether nothing is drawn for an example by its place in the batch."""
        return self.shuffle == 0

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None, *, train: bool) -> Array | Critique:
        """[B, T] waveforms and labels, [B] int32 or vectors [B, E], to logits [B], with heads to a `Critique`."""
        check_length(x.shape[1:])
        check_labels(labels, self.num_classes)
        n, h_BxTx1xC = quarterings(x.shape[1]), x[:, :, None, None]
        for i in range(n):
            h_BxTx1xC = leaky_relu(_down(self.width * 2**i, dtype=self.dtype)(h_BxTx1xC))
            if i < n - 1:
                h_BxTx1xC = PhaseShuffle(self.shuffle, self.axis_name)(h_BxTx1xC, deterministic=not train)
        h_BxF = h_BxTx1xC.reshape(x.shape[0], -1)
        logits_B = nn.Dense(1, kernel_init=_kernel_init, dtype=self.dtype)(h_BxF)[:, 0]
        logits_B += projection(h_BxF, labels, self.num_classes, dtype=self.dtype)
        return critique(logits_B, h_BxF, self.heads, self.dtype)
