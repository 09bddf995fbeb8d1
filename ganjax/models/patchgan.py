"""PatchGAN: a discriminator that judges patches, one logit for each (Isola et al. 2017, section 3.2.2)."""

from functools import partial
from typing import Any, Literal

import flax.linen as nn

from ganjax.checks import check_name, check_range
from ganjax.core import Array
from ganjax.errors import DataError
from ganjax.layers.convolution import Conv
from ganjax.layers.normalisation import BatchNorm, InstanceNorm
from ganjax.models.mlp import leaky_relu

Norm = Literal["instance", "batch", "none"]


def receptive_field(layers: int) -> int:
    """The side in pixels of the patch that a logit sees, with so many layers of stride 2: 7, 16, 34, 70, 142, 286."""
    field = 7  # of the two last convolutions
    for _ in range(layers):
        field = 2 * field + 2
    return field


class PatchDiscriminator(nn.Module):
    """`D: image -> a map of logits`, by 4x4 convolutions, of stride 2 and then twice of stride 1, all padded by 1.

    With 64 channels, 3 layers of stride 2 and InstanceNorm it is the discriminator of CycleGAN (2,764,737 parameters
    of 3 channels), with BatchNorm and images joined to their conditions that of pix2pix (2,768,705 of 6). InstanceNorm
    makes every logit depend on all of the image: the receptive field is that of the convolutions.
    """

    width: int = 64  # channels of the first map; they double with each layer, up to eight times as many
    layers: int = 3  # of stride 2
    norm: Norm = "instance"  # of all maps but the first and the logits
    axis_name: str | None = None  # of the devices that share BatchNorm's statistics
    dtype: Any = None

    @property
    def by_example(self) -> bool:
        """Whether no layer mixes examples."""
        return self.norm != "batch"

    @nn.compact
    def maps(self, x: Array, *, train: bool) -> tuple[Array, ...]:
        """[B, H, W, C] images to the map of each layer, the last one of logits [B, h, w, 1]."""
        check_name("PatchDiscriminator", "norm", self.norm, ("instance", "batch", "none"))
        check_range("PatchDiscriminator", 0, whole=True, layers=self.layers)
        check_range("PatchDiscriminator", 1, whole=True, width=self.width)
        least = 2**self.layers * 3  # what is left for the last two convolutions is 3x3, from which they make 1x1
        if min(x.shape[1:3]) < least:
            raise DataError(
                f"image shape: got {x.shape[1:]}, expected sides of at least {least} for a patch discriminator of "
                f"{self.layers} layers of stride 2. Take fewer layers, or larger images."
            )
        norms: dict[str, Any] = {
            "instance": InstanceNorm,
            "batch": partial(BatchNorm, use_running_average=not train, axis_name=self.axis_name),
            "none": lambda dtype: lambda x: x,
        }
        norm = partial(norms[self.norm], dtype=self.dtype)
        conv = partial(Conv, kernel_size=(4, 4), padding=1, kernel_init=nn.initializers.normal(0.02), dtype=self.dtype)
        strides = [2] * self.layers + [1]
        maps = []
        for i, stride in enumerate(strides):
            bias = i == 0 or self.norm != "batch"
            x = conv(self.width * min(2**i, 8), strides=(stride, stride), use_bias=bias)(x)
            x = leaky_relu(norm()(x) if i else x)
            maps.append(x)
        return (*maps, conv(1)(x))

    def __call__(self, x: Array, *, train: bool) -> Array:
        """[B, H, W, C] images to logits [B, h, w]."""
        return self.maps(x, train=train)[-1][..., 0]
