"""What reads captions and what looks at pictures: the encoders of text-to-image models.

Captions are tokens of words, [B, L] int32. What is known of the words, their pieces or their letters, is a table that
the modules are given, `data.text.hashed_words` or `data.text.spelled`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.core import Array
from ganjax.layers.convolution import Conv
from ganjax.layers.resampling import Conv3x3, mean_pool


class PiecesOfWords(nn.Module):
    """A linear map of the hashed n-grams of a caption, as in fastText (Bojanowski et al. 2017), or two layers of it.

    Without a hidden layer and with its initial weights it is a random projection.
    """

    table: Any  # [words, places] int8, the counts of each word
    features: int = 128
    hidden: int = 0  # units between; 0 for none

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """[B, L] int32 to [B, features]."""
        counts_BxP = jnp.asarray(self.table)[tokens].astype(jnp.float32).sum(1)
        square = jnp.square(counts_BxP).sum(1, keepdims=True)
        h_BxP = counts_BxP * jax.lax.rsqrt(jnp.maximum(square, 1.0))  # of length 1, as `data.text.hashed`
        if self.hidden:
            h_BxP = nn.relu(nn.Dense(self.hidden)(h_BxP))
        return nn.Dense(self.features, use_bias=False)(h_BxP)


class CharacterTransformer(nn.Module):
    """Attention over the characters of a caption, before which each word has a blank; their mean says it all.

    Layers normalise first (Xiong et al. 2020). Places that no word needs are masked, so that padding changes nothing.
    """

    table: Any  # [words, characters] int32, 0 pads
    features: int = 128
    width: int = 64
    layers: int = 2
    heads: int = 4

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """[B, L] int32 to [B, features]."""
        letters_BxS = jnp.asarray(self.table)[tokens].reshape(tokens.shape[0], -1)
        known_BxS = letters_BxS > 0
        place_BxS = jnp.maximum(jnp.cumsum(known_BxS, 1) - 1, 0)  # gaps between words take none
        h_BxSxW = nn.Embed(int(self.table.max()) + 1, self.width, name="letters")(letters_BxS)
        h_BxSxW += nn.Embed(letters_BxS.shape[1], self.width, name="places")(place_BxS)
        mask = known_BxS[:, None, None]
        for _ in range(self.layers):
            x = nn.LayerNorm()(h_BxSxW)
            h_BxSxW += nn.MultiHeadDotProductAttention(self.heads)(x, x, mask=mask)
            x = nn.Dense(2 * self.width)(nn.LayerNorm()(h_BxSxW))
            h_BxSxW += nn.Dense(self.width)(nn.relu(x))
        seen = known_BxS[..., None].astype(h_BxSxW.dtype)
        mean_BxW = (nn.LayerNorm()(h_BxSxW) * seen).sum(1) / jnp.maximum(seen.sum(1), 1)
        return nn.Dense(self.features)(mean_BxW)


class PictureReader(nn.Module):
    """Three halvings by convolutions and two layers: the vector of a picture, or logits of its class.

    Pictures that are larger than `side` are halved to it first, so that one reader judges all stages by what the
    smallest can show.
    """

    outputs: int
    side: int  # of the pictures that it looks at, divisible by 8
    width: int = 32
    pooled: bool = False  # 3x3 convolutions whose maps are averaged in the place of 4x4 ones of stride 2

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, outputs]."""
        while x.shape[1] > self.side:
            x = mean_pool(x)
        for i in range(3):
            width = self.width * 2**i
            if self.pooled:
                x = nn.relu(Conv3x3(width, "down")(x))
            else:
                x = nn.relu(Conv(width, (4, 4), strides=(2, 2), padding=1)(x))
        x = nn.relu(nn.Dense(4 * self.width)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.outputs)(x)
