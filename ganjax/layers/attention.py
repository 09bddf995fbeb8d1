"""Self-attention over the positions of a map (SAGAN, Zhang et al. 2019)."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.core import Array
from ganjax.errors import ConfigError
from ganjax.layers.convolution import Conv


class SelfAttention(nn.Module):
    """`x + gamma o(softmax(q(x) k(x)^T) v(x))` with `gamma = 0` at first, so that training begins without it.

    Keys and values are max-pooled by 2, queries and keys have an eighth of the channels, values a half, no map has a
    bias, and the logits are not scaled: the form of the authors' code and of BigGAN's.
    """

    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, H, W, C]; even sides and at least 8 channels."""
        b, h, w, c = x.shape
        if h % 2 or w % 2 or c < 8:
            raise ConfigError(
                f"SelfAttention: x has shape {x.shape}, expected even sides and at least 8 channels; widen the "
                "network, or choose another --attention"
            )
        layer = partial(
            Conv, kernel_size=(1, 1), use_bias=False, kernel_init=self.kernel_init, dtype=self.dtype
        )  # fmt: skip

        def small(y: Array) -> Array:
            return y.reshape(b, h // 2, 2, w // 2, 2, -1).max((2, 4)).reshape(b, h * w // 4, -1)

        query = layer(c // 8, name="query")(x).reshape(b, h * w, -1)
        key = small(layer(c // 8, name="key")(x))
        value = small(layer(c // 2, name="value")(x))
        logits = jnp.einsum("bqc,bkc->bqk", query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits).astype(value.dtype)
        seen = jnp.einsum("bqk,bkc->bqc", weights, value).reshape(b, h, w, -1)
        gamma = self.param("gamma", nn.initializers.zeros, ())
        return x + gamma.astype(x.dtype) * layer(c, name="output")(seen)
