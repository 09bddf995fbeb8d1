"""The PyTorch side of `speed.py`: the networks, the game and the work of a ganjax step, as a PyTorch user writes them.

Three variants of the same step:

    eager     the plain training loop of most tutorials: contiguous, Adam's loop over tensors, fakes detached
    tuned     what pays on a CPU: channels-last, fused Adam, no graph for the discriminator's fakes, its weights
              frozen in the generator's turn, the average in one call, denormals flushed
    compiled  tuned, with both costs through torch.compile
"""

import copy
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

BATCH, LATENT, DECAY = 64, 100, 0.999
PENALISED = {"wgan_gp28": 5, "r1_28": 1}  # workloads with a gradient penalty -> turns of the discriminator


def networks(workload: str) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of `experiments/vanilla_gan.py` or `experiments/dcgan.py`, for 28x28x1 images."""
    if workload == "mlp28":
        generator, discriminator = _perceptron(LATENT, 256, 512, 1024, 784), _perceptron(784, 512, 256, 1)
        generator.extend([nn.Tanh(), nn.Unflatten(1, (1, 28, 28))])
        discriminator.insert(0, nn.Flatten())
    else:
        plain = workload in PENALISED
        generator = nn.Sequential(
            nn.Unflatten(1, (LATENT, 1, 1)),
            *(nn.ConvTranspose2d(LATENT, 128, 7, bias=False), nn.BatchNorm2d(128), nn.ReLU()),
            *(nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
            *(nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh()),
        )
        discriminator = nn.Sequential(
            *(nn.Conv2d(1, 64, 4, 2, 1), nn.LeakyReLU(0.2)),
            nn.Conv2d(64, 128, 4, 2, 1, bias=plain),
            nn.Identity() if plain else nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2),
            nn.Conv2d(128, 1, 7),
        )
    return generator.apply(_initialise), discriminator.apply(_initialise)


def _perceptron(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


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


def images() -> Tensor:
    """The embedded training images, [N, 1, 28, 28] uint8; read without importing ganjax."""
    file = Path(find_spec("ganjax").origin).parent / "data" / "embedded" / "fashion_mnist.npz"
    return torch.from_numpy(np.load(file)["x_train"]).permute(0, 3, 1, 2).contiguous()


def create(workload: str, variant: str, threads: int) -> tuple[dict[str, int], Callable[[int], float]]:
    """Build a variant.

    Returns:
        The number of parameters of each player, and `run(steps) -> the discriminator's last cost`.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    tuned = variant != "eager"
    generator, discriminator = networks(workload)
    if tuned:
        torch.set_flush_denormal(True)
        generator.to(memory_format=torch.channels_last)
        discriminator.to(memory_format=torch.channels_last)
    average = copy.deepcopy(generator).requires_grad_(False)
    adam = {"lr": 2e-4, "betas": (0.5, 0.999), "fused": tuned or None}
    d_adam = torch.optim.Adam(discriminator.parameters(), **adam)
    g_adam = torch.optim.Adam(generator.parameters(), **adam)
    data = images()

    def averaged(module: nn.Module) -> list[Tensor]:
        """What ganjax averages: parameters and BatchNorm statistics."""
        return [t.detach() for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]

    def slopes(x: Tensor) -> Tensor:
        """The gradient of each example's logit, [B, size], differentiable once more."""
        x = x.requires_grad_(True)
        return torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)[0].flatten(1)

    def discriminator_cost(real: Tensor, fake: Tensor) -> Tensor:
        if workload == "wgan_gp28":
            e = torch.rand(BATCH, 1, 1, 1)
            penalty = (slopes(e * real + (1 - e) * fake).norm(dim=1) - 1).square().mean()
            return (discriminator(fake) - discriminator(real)).mean() + 10 * penalty
        cost = (softplus(-discriminator(real)) + softplus(discriminator(fake))).mean()
        return cost if workload != "r1_28" else cost + 5 * slopes(real).square().sum(1).mean()

    def generator_cost(z: Tensor) -> Tensor:
        logits = discriminator(generator(z))
        return -logits.mean() if workload == "wgan_gp28" else softplus(-logits).mean()

    fakes = generator
    if variant == "compiled":
        fakes, discriminator_cost, generator_cost = map(torch.compile, (fakes, discriminator_cost, generator_cost))

    def step() -> Tensor:
        for _ in range(PENALISED.get(workload, 1)):
            real = data[torch.randint(len(data), (BATCH,))].float() / 127.5 - 1
            with torch.set_grad_enabled(not tuned):
                fake = fakes(torch.randn(BATCH, LATENT))
            d_cost = discriminator_cost(real, fake.detach())
            d_adam.zero_grad()
            d_cost.backward()
            d_adam.step()

        if tuned:
            discriminator.requires_grad_(False)
        g_cost = generator_cost(torch.randn(BATCH, LATENT))
        g_adam.zero_grad()
        g_cost.backward()
        g_adam.step()
        if tuned:
            discriminator.requires_grad_(True)
            torch._foreach_lerp_(mean, latest, 1 - DECAY)
        else:
            for old, new in zip(mean, latest, strict=True):
                old.lerp_(new, 1 - DECAY)
        return d_cost.detach()

    mean, latest = averaged(average), averaged(generator)

    def run(steps: int) -> float:
        return [step() for _ in range(steps)][-1].item()

    players = {"discriminator": discriminator, "generator": generator}
    return {name: sum(p.numel() for p in module.parameters()) for name, module in players.items()}, run
