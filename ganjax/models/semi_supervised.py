"""The networks by which Salimans et al. (2016) read MNIST from a hundred labels."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax

from ganjax.core import Array, Critique
from ganjax.layers.dropout import GaussianNoise
from ganjax.layers.normalisation import BatchNorm
from ganjax.layers.weight_norm import WeightNormDense


def k_plus_one(class_logits: Array, features: Array) -> Critique:
    """What a classifier of K classes says as a discriminator: `D(x) = Z / (Z + 1)`, `Z = sum_k exp(l_k)`.

    That is a softmax over K + 1 classes whose last logit, of generated examples, is 0 (section 5 of Salimans et al.
    2016), so that the logit of "real" is `log Z`.

    Args:
        class_logits: l, [B, K].
        features: [B, F].

    Returns:
        logits log Z [B], features, and the head "class", l.
    """
    return Critique(jax.nn.logsumexp(class_logits, -1), features, {"class": class_logits})


class Discriminator(nn.Module):
    """`x -> Critique` of K classes and one: a perceptron with weight normalisation, and noise on every layer's input.

    Pixels from -1 to 1 are seen from 0 to 1. 1,541,020 parameters for 784 pixels and 10 classes. Hidden layers keep the
    lengths of their weights, as in the authors' code: they could grow until the noise is nothing beside them.
    """

    num_classes: int
    hidden: Sequence[int] = (1000, 500, 250, 250, 250)
    input_noise: float = 0.3  # standard deviation
    hidden_noise: float = 0.5
    axis_name: str | None = None  # of the devices that share the batch

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Critique:
        """[B, ...] examples to what is said of them; features [B, F] are the last hidden layer, before its noise."""
        h_BxF = (x.reshape(x.shape[0], -1) + 1) / 2
        features_BxF = h_BxF
        for i, width in enumerate((*self.hidden, self.num_classes)):
            std = self.hidden_noise if i else self.input_noise
            h_BxF = GaussianNoise(std, self.axis_name)(h_BxF, deterministic=not train)
            h_BxF = WeightNormDense(width, train_scale=i == len(self.hidden), init_std=0.1)(h_BxF)
            if i < len(self.hidden):
                features_BxF = h_BxF = nn.relu(h_BxF)
        return k_plus_one(h_BxF, features_BxF)


class Generator(nn.Module):
    """`z -> x`, softplus units with BatchNorm, the last layer of normalised weights; pixels from -1 up.

    The authors' last units are sigmoids. Pixels that are drawn wholly white in the first steps then hardly move again,
    features of samples stay far from the real ones and the discriminator learns nothing from them; with softplus, as
    in a port (Sleepychord/ImprovedGAN-pytorch, its README), the generator keeps up. See experiments/semi_supervised.py.
    """

    shape: tuple[int, ...]  # of one example
    hidden: Sequence[int] = (500, 500)
    axis_name: str | None = None  # of the devices that share BatchNorm's statistics

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> Array:
        """[B, Z] latents to examples [B, *shape]."""
        for width in self.hidden:
            z = nn.Dense(width, use_bias=False)(z)
            z = nn.softplus(BatchNorm(use_running_average=not train, axis_name=self.axis_name)(z))
        x_BxF = WeightNormDense(math.prod(self.shape), from_data=False, name="pixels")(z)
        return (2 * nn.softplus(x_BxF) - 1).reshape(z.shape[0], *self.shape)
