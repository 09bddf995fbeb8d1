"""Weight normalisation that begins where BatchNorm would (Salimans and Kingma 2016)."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from ganjax.core import Array


class WeightNormDense(nn.Module):
    """`y = g (x v / |v|) + b`, each column of v with a length g of its own.

    At the initialisation g and b are chosen so that each output has mean 0 and deviation 1 over the batch that it sees,
    which is that of step 0 (section 3); `nn.WeightNorm` begins with g = 1, whatever the data. So does an output here
    that is one number for all of the batch, as for a batch of one example.
    """

    features: int
    from_data: bool = True  # or g = 1 and b = 0
    train_scale: bool = True  # or g stays what it is at the initialisation
    init_std: float = 0.05  # of v, whose length says how far a step turns it

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, F] to [B, features]."""
        v_FxG = self.param("direction", nn.initializers.normal(self.init_std), (x.shape[-1], self.features), x.dtype)
        y_BxG = x @ (v_FxG / jnp.linalg.norm(v_FxG, axis=0, keepdims=True))

        def scale(_: Array) -> Array:
            std_G = y_BxG.std(0)
            return jnp.where(std_G > 1e-6, 1 / jnp.maximum(std_G, 1e-6), 1) if self.from_data else jnp.ones_like(std_G)

        g_G = self.param("scale", scale)
        g_G = g_G if self.train_scale else lax.stop_gradient(g_G)
        bias = self.param("bias", lambda _: -g_G * y_BxG.mean(0) if self.from_data else jnp.zeros_like(g_G))
        return y_BxG * g_G[None] + bias[None]
