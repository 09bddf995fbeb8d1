"""The networks of the workloads in PyTorch, layer for layer those of ganjax, as the public code bases write them.

`mlp` as PyTorch-GAN has it, `dcgan` as the tutorials do, `resnet` the 32x32 networks of SNGAN and WGAN-GP with the
blocks of mimicry (Lee & Town 2020), but for nearest-neighbour doubling, as in the published Chainer and TensorFlow
code, where mimicry interpolates linearly. Each returns generator and discriminator.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Networks = tuple[nn.Module, nn.Module]


def mlp(shape: Sequence[int], latent: int, *, generator: Sequence[int], discriminator: Sequence[int]) -> Networks:
    """Perceptrons with LeakyReLU(0.2); hidden widths from input to output. Images [B, C, H, W] end in tanh."""
    size = math.prod(shape)
    g, d = _perceptron(latent, *generator, size), _perceptron(size, *discriminator, 1)
    if len(shape) == 3:
        g.extend([nn.Tanh(), nn.Unflatten(1, (shape[2], *shape[:2]))])
        d.insert(0, nn.Flatten())
    return g.apply(_initialise), d.apply(_initialise)


def _perceptron(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


def dcgan(shape: Sequence[int], latent: int, *, width: int, norm: bool = True) -> Networks:
    """DCGAN whose base map is 4x4 or 7x7; without `norm` the discriminator has biases instead of BatchNorm."""
    side, channels = shape[0], shape[2]
    doublings = (side // 4).bit_length() - 1  # 28: 2 from 7x7, 32: 3 from 4x4
    base = side // 2**doublings
    widths = [width * 2**i for i in range(doublings)]  # from the image inwards
    up: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1)), nn.ConvTranspose2d(latent, widths[-1], base, bias=False)]
    for wide, narrow in pairwise(reversed(widths)):
        up += [nn.BatchNorm2d(wide), nn.ReLU(), nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)]
    up += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()]
    down: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for narrow, wide in pairwise(widths):
        down += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=not norm), *([nn.BatchNorm2d(wide)] if norm else [])]
        down.append(nn.LeakyReLU(0.2))
    down.append(nn.Conv2d(widths[-1], 1, base))
    return nn.Sequential(*up).apply(_initialise), nn.Sequential(*down).apply(_initialise)


def _initialise(layer: nn.Module) -> None:
    """The scales of ganjax: dense kernels `1 / sqrt(fan_in)`, convolutions and BatchNorm 0.02, biases 0."""
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, 0, layer.in_features**-0.5)
    elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1, 0.02)
    if getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.bias)


def resnet(shape: Sequence[int], latent: int, *, generator: int, discriminator: int, critic: bool) -> Networks:
    """Residual networks for 32x32: spectral normalisation and a sum over positions, or, for a `critic`, a mean."""
    g = nn.Sequential(
        _linear(latent, 16 * generator),
        nn.Unflatten(1, (generator, 4, 4)),
        *(_UpBlock(generator) for _ in range(3)),
        *(nn.BatchNorm2d(generator), nn.ReLU()),
        *(_conv(generator, shape[2], gain=1.0), nn.Tanh()),
    )
    d = nn.Sequential(
        _DownBlock(shape[2], discriminator, pool=True, first=True),
        *(_DownBlock(discriminator, discriminator, pool=pool) for pool in (True, False, False)),
        *(nn.ReLU(), _Positions("mean" if critic else "sum")),
        _linear(discriminator, 1),
    )
    if not critic:
        for layer in list(d.modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                spectral_norm(layer)
    return g, d


def _conv(fan_in: int, fan_out: int, side: int = 3, gain: float = math.sqrt(2)) -> nn.Conv2d:
    layer = nn.Conv2d(fan_in, fan_out, side, padding=side // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _linear(fan_in: int, fan_out: int) -> nn.Linear:
    layer = nn.Linear(fan_in, fan_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class _UpBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm_0, self.norm_1 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv_0, self.conv_1 = _conv(width, width), _conv(width, width)
        self.shortcut = _conv(width, width, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_0(F.interpolate(F.relu(self.norm_0(x)), scale_factor=2, mode="nearest"))
        h = self.conv_1(F.relu(self.norm_1(h)))
        return h + self.shortcut(F.interpolate(x, scale_factor=2, mode="nearest"))


class _DownBlock(nn.Module):
    def __init__(self, fan_in: int, fan_out: int, *, pool: bool, first: bool = False):
        super().__init__()
        self.pool, self.first = pool, first
        self.conv_0 = _conv(fan_in, fan_out if first else fan_in)
        self.conv_1 = _conv(fan_out if first else fan_in, fan_out)
        self.shortcut = _conv(fan_in, fan_out, 1, gain=1.0) if pool or fan_in != fan_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_1(F.relu(self.conv_0(x if self.first else F.relu(x))))
        if not self.pool:
            return h + self.shortcut(x)
        if self.first:
            return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))
        return F.avg_pool2d(h, 2) + F.avg_pool2d(self.shortcut(x), 2)


class _Positions(nn.Module):
    def __init__(self, reduction: str):
        super().__init__()
        self.reduction = reduction

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3)) if self.reduction == "sum" else x.mean((2, 3))
