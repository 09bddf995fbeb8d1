"""Autoencoders of perceptrons; without hidden layers they are linear, which is principal component analysis."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from flax import linen as nn

from ganjax.core import Array


class Autoencoder(nn.Module):
    """`encode: x [B, ...] -> h [B, L]`, `decode: h -> x`, each an affine map for each width but for the activations.

    With `tied`, the decoder's matrices are the encoder's transposed.
    """

    shape: tuple[int, ...]  # of an example
    size: int  # L
    hidden: Sequence[int] = ()  # widths, from x to h
    tied: bool = False
    bias: bool = True
    activation: Callable[[Array], Array] = nn.relu

    def setup(self) -> None:
        widths = (math.prod(self.shape), *self.hidden, self.size)
        draw, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        pairs = list(enumerate(pairwise(widths)))
        self.down = [self.param(f"down_{k}", draw, pair) for k, pair in pairs]
        self.up = [w.T if self.tied else self.param(f"up_{k}", draw, w.shape[::-1]) for k, w in enumerate(self.down)]
        if self.bias:
            self.down_bias = [self.param(f"down_bias_{k}", zeros, (n,)) for k, (_, n) in pairs]
            self.up_bias = [self.param(f"up_bias_{k}", zeros, (n,)) for k, (n, _) in pairs]

    def encode(self, x: Array) -> Array:
        h = x.reshape(x.shape[0], -1)
        for k, w in enumerate(self.down):
            h = (self.activation(h) if k else h) @ w
            h = h + self.down_bias[k][None] if self.bias else h
        return h

    def decode(self, h: Array) -> Array:
        for k, w in reversed(list(enumerate(self.up))):
            h = (self.activation(h) if k < len(self.up) - 1 else h) @ w
            h = h + self.up_bias[k][None] if self.bias else h
        return h.reshape(h.shape[0], *self.shape)

    def __call__(self, x: Array) -> Array:
        return self.decode(self.encode(x))
