"""BatchNorm as games need it, BatchNorm conditioned on classes or on a vector, and InstanceNorm."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ganjax.checks import check_range
from ganjax.core import Array
from ganjax.layers.conditioning import embedded

# Flax's momentum 0.99 looks back 100 steps, far too long in a game whose players move; 0.9 is what GAN code
# commonly uses. The variance takes a second pass over x, because E[x^2] - E[x]^2 loses digits to cancellation:
# statistics of one and of eight devices would differ by 1e-5 where the mean is five deviations from zero.
BatchNorm = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5, use_fast_variance=False)

# Every channel of every example by its own mean and variance over the map, without scale and offset (Ulyanov et al.
# 2016, as CycleGAN has it): no example depends on another, and every entry depends on the whole map.
InstanceNorm = partial(nn.InstanceNorm, epsilon=1e-5, use_bias=False, use_scale=False, use_fast_variance=False)


class ConditionalBatchNorm(nn.Module):
    """BatchNorm whose scale and offset depend on a condition (de Vries et al. 2017; Miyato & Koyama 2018).

    `y = (1 + s(c)) x_normalised + b(c)`. A class looks `s` and `b` up in tables (`num_classes`), a vector, such as
    BigGAN's shared embedding joined with a part of z, is mapped linearly without bias.
    """

    num_classes: int = 0  # rows of the tables, which vectors [B, F] do not have
    axis_name: str | None = None  # of the devices that share the statistics
    kernel_init: Any = nn.initializers.lecun_normal()  # of the linear maps
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array, *, train: bool) -> Array:
        """[B, ..., C] maps and conditions, [B] int32 classes or [B, F] vectors, to [B, ..., C]."""
        check_range("ConditionalBatchNorm", 0, whole=True, num_classes=self.num_classes)
        normal = BatchNorm(
            use_running_average=not train,
            use_scale=False,
            use_bias=False,
            axis_name=self.axis_name,
            dtype=self.dtype,
        )(x)

        def of_condition(name: str) -> Array:
            starts = {"embedding_init": nn.initializers.zeros, "kernel_init": self.kernel_init}
            found = embedded(condition, x.shape[-1], self.num_classes, **starts, dtype=self.dtype, name=name)
            return jnp.expand_dims(found, tuple(range(1, x.ndim - 1)))

        return normal * (1 + of_condition("scale")) + of_condition("offset")
